//! Backslashes in double quotes, and control characters in text.

use std::borrow::Cow;

use super::node::{Node, Path};

/// What to do about a backslash that was not meant as the beginning of an escape.
pub const HELP: &str = "in double quotes a backslash begins an escape, such as `\\t` for a \
                               tab; write the text in single quotes, '..', or paths with /";

/// Whether the YAML library complains about an escape.
pub(super) fn is_of_escape(said: &str) -> bool {
    let parts = ["unknown escape character", "expected hexadecimal number", "Unicode character"];
    parts.iter().any(|part| said.contains(part))
}

/// The keys and texts of a document that hold control characters: where each is, whether it is a
/// key, and what it holds. Those of block scalars hold line ends by nature.
pub(super) fn controls(node: &Node) -> Vec<(Path, bool, String)> {
    let mut found = Vec::new();
    collect(node, &mut Path::default(), &mut found);
    found
}

fn collect(node: &Node, path: &mut Path, found: &mut Vec<(Path, bool, String)>) {
    let control = |text: &str| text.chars().find(|letter| letter.is_control()).map(name);
    match node {
        Node::Text(text) => {
            found.extend(control(text).map(|what| (path.clone(), false, what)));
        }
        Node::List(items) => {
            for (position, item) in items.iter().enumerate() {
                path.0.push(position.to_string());
                collect(item, path, found);
                path.0.pop();
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                path.0.push(key.clone());
                found.extend(control(key).map(|what| (path.clone(), true, what)));
                collect(value, path, found);
                path.0.pop();
            }
        }
        _ => {}
    }
}

/// A control character for people.
fn name(letter: char) -> String {
    match letter {
        '\t' => "a tab".to_owned(),
        '\n' => "a line end".to_owned(),
        other => format!("the control character {}", other.escape_default()),
    }
}

/// Text for a terminal: control characters as YAML and Rust write them, `\t`, `\u{7}`. Line ends
/// stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |letter: char| letter.is_control() && letter != '\n';
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if hidden(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(visible("photos\train"), "photos\\train");
        assert_eq!(visible("a\u{7}b\u{1b}[31m\r\nc"), "a\\u{7}b\\u{1b}[31m\\r\nc");
        assert!(matches!(visible("C:\\Users\n"), Cow::Borrowed("C:\\Users\n")));
    }

    #[test]
    fn control_characters_are_found_in_texts_and_keys() {
        let text = |text: &str| Node::Text(text.to_owned());
        let list = Node::List(vec![text("plain"), text("photos\train")]);
        let node = Node::Map(vec![("a".to_owned(), list), ("b\n".to_owned(), Node::Int(1))]);
        let found: Vec<(String, bool, String)> = controls(&node)
            .into_iter()
            .map(|(path, on_key, what)| (path.to_string(), on_key, what))
            .collect();
        let expected = [
            ("a.1".to_owned(), false, "a tab".to_owned()),
            ("b\n".to_owned(), true, "a line end".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}
