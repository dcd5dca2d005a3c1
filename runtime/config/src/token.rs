//! How far the word at a place in the text goes, so that it can be underlined.

/// The nearest place at or before this one that is not inside a letter.
pub fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The end of the word, quoted or plain, that starts here.
pub(super) fn end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let mut letters = rest.char_indices();
    let length = match letters.next() {
        None => return start,
        Some((_, quote @ ('"' | '\''))) => {
            let mut escaped = false;
            letters
                .find(|(_, letter)| {
                    let ends = *letter == quote && !escaped;
                    escaped = quote == '"' && *letter == '\\' && !escaped;
                    ends || *letter == '\n'
                })
                .map(|(at, letter)| if letter == '\n' { at } else { at + 1 })
        }
        Some((_, mark)) if "{}[],|>".contains(mark) => Some(mark.len_utf8()),
        Some(_) => letters
            .find(|(at, letter)| {
                let before = &rest[*at..];
                "\r\n,]}".contains(*letter)
                    || before.starts_with(" #")
                    || before.starts_with(": ")
                    || before.starts_with(":\n")
                    || before.starts_with(":\r")
                    || before == ":"
            })
            .map(|(at, _)| at),
    };
    let word = &rest[..length.unwrap_or(rest.len())];
    let first = rest.chars().next().map_or(0, char::len_utf8);
    start + word.trim_end().len().max(first)
}

/// The start of the word behind an anchor, `&name word`.
pub(super) fn skip_properties(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    if !rest.starts_with('&') {
        return start;
    }
    let name = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let gap = rest[name..].find(|letter: char| !letter.is_whitespace()).unwrap_or(0);
    start + name + gap
}

/// The place of a bracket that is open in more brackets than anybody writes.
///
/// The library takes time by the square of the depth before it refuses it.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    const DEPTH_MAX: usize = 256;
    let mut depth = 0;
    let mut quote = None;
    // What came before decides whether a mark means something.
    let (mut before, mut before_word) = ('\n', '\n');
    let mut comment = false;
    for (at, letter) in text.char_indices() {
        match (letter, quote) {
            ('\n', _) => comment = false,
            _ if comment => {}
            (mark, Some(open)) if mark == open && (open == '\'' || before != '\\') => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) if "\n[{,:-?".contains(before_word) => quote = Some(letter),
            ('#', None) if before.is_whitespace() => comment = true,
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth = depth.max(1) - 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Some(at);
        }
        before = letter;
        if !letter.is_whitespace() || letter == '\n' {
            before_word = letter;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> &str {
        &text[..end(text, 0)]
    }

    #[test]
    fn words_end_where_yaml_ends_them() {
        assert_eq!(word("24\nx"), "24");
        assert_eq!(word("a b # c"), "a b");
        assert_eq!(word("key: v"), "key");
        assert_eq!(word("a:b, c"), "a:b");
        assert_eq!(word("x } }"), "x");
        assert_eq!(word("'it''s' x"), "'it'");
        assert_eq!(word(r#""a\"b" c"#), r#""a\"b""#);
        assert_eq!(word("\"open\nx"), "\"open");
        assert_eq!(word("[1, 2]"), "[");
        assert_eq!(word("é"), "é");
        assert_eq!(word("\u{2028} x\n"), "\u{2028} x");
        assert_eq!(word("\u{2028}\n"), "\u{2028}");
        assert_eq!(word(""), "");
    }

    #[test]
    fn depth_counts_brackets_that_nest() {
        assert_eq!(too_deep(&"[".repeat(300)), Some(256));
        assert_eq!(too_deep(&"[ # ]\n".repeat(300)), Some(256 * 6));
        assert_eq!(too_deep(&"[ ']', ".repeat(300)), Some(256 * 7));
        assert_eq!(too_deep(&"a: \"[\" # don't [\nb: { c: [d] }\n".repeat(300)), None);
    }

    #[test]
    fn anchors_are_stepped_over() {
        assert_eq!(skip_properties("&crop 24", 0), 6);
        assert_eq!(skip_properties("&crop\n  a: 1", 0), 8);
        assert_eq!(skip_properties("24", 0), 0);
    }
}
