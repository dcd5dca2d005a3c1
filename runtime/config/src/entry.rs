//! Entries of the form `{ from: .., KIND: { .. } }`: the stages of a pipeline, the layers of a
//! model.

use super::decode::{Problem, Problems};
use super::node::{Node, Path, short};
use super::suggest;

static NO_FIELDS: Node = Node::Map(Vec::new());

/// The one kind that an entry names, and its fields.
#[derive(Clone, Debug)]
pub struct Entry<'n> {
    /// Which of the kinds.
    pub kind: usize,
    /// The kind's fields; an empty map if none are written.
    pub body: &'n Node,
    /// Where they are.
    pub body_path: Path,
}

/// Finds the one kind of an entry, or adds everything that is wrong to `problems`.
///
/// `own_keys` are the keys that an entry may have beside its kind, and `what` says what an entry
/// is, such as `stage`. A kind without fields may also be written as plain text: `relu`.
pub fn entry<'n>(
    node: &'n Node,
    path: &Path,
    own_keys: &[&str],
    kinds: &[&str],
    what: &str,
    problems: &mut Problems,
) -> Option<Entry<'n>> {
    let position = |name: &str| kinds.iter().position(|kind| *kind == name);
    let one = with_article(what);
    let unknown = |name: &str, path: Path, on_key: bool| Problem {
        path,
        on_key,
        message: format!("there is no {what} `{}`", short(name)),
        // Nothing near may be something of one's own, which only one's own program has.
        help: suggest::help(name, kinds).map(|help| match suggest::nearest(name, kinds) {
            Some(_) => help,
            None => format!("{help}; {one} of your own crate is known to that crate's program"),
        }),
    };
    let entries = match node {
        Node::Map(entries) => entries,
        Node::Text(name) => {
            let Some(kind) = position(name) else {
                problems.push(unknown(name, path.clone(), false));
                return None;
            };
            return Some(Entry { kind, body: &NO_FIELDS, body_path: path.clone() });
        }
        other => {
            problems.push(Problem {
                path: path.clone(),
                on_key: false,
                message: format!("expected {one}, found {}", other.describe()),
                help: Some(format!("write its kind and fields, as in {}", sample(kinds))),
            });
            return None;
        }
    };
    let before = problems.len();
    let mut found: Option<Entry<'n>> = None;
    for (key, value) in entries.iter().filter(|(key, _)| !own_keys.contains(&key.as_str())) {
        let here = path.join(key);
        match (position(key), &found) {
            (None, _) => problems.push(unknown(key, here, true)),
            (Some(_), Some(first)) => problems.push(Problem {
                path: here,
                on_key: true,
                message: format!("{one} has one kind; this has `{}` too", kinds[first.kind]),
                help: Some(format!("make `{key}` {one} of its own")),
            }),
            (Some(kind), None) => {
                let body = if matches!(value, Node::Null) { &NO_FIELDS } else { value };
                found = Some(Entry { kind, body, body_path: here });
            }
        }
    }
    if problems.len() > before {
        return None;
    }
    if found.is_none() {
        problems.push(Problem {
            path: path.clone(),
            on_key: true,
            message: format!("this {what} has no kind"),
            help: Some(format!("add one, as in {}", sample(kinds))),
        });
    }
    found
}

/// `an optimizer` for `optimizer`.
fn with_article(what: &str) -> String {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {what}")
}

fn sample(kinds: &[&str]) -> String {
    format!("`{}: {{}}`", kinds.first().unwrap_or(&"kind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 2] = ["relu", "pool"];

    fn map(entries: &[(&str, Node)]) -> Node {
        Node::Map(entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    fn messages(node: &Node) -> Vec<String> {
        let mut problems = Problems::new();
        let found = entry(node, &Path::default(), &["name"], &KINDS, "layer", &mut problems);
        assert_eq!(found.is_none(), !problems.is_empty());
        problems.into_iter().map(|p| format!("{} {:?}", p.message, p.help)).collect()
    }

    #[test]
    fn one_kind_is_found_with_its_fields() {
        let mut problems = Problems::new();
        let node = map(&[("name", Node::Text("a".into())), ("pool", Node::Null)]);
        let path = Path(vec!["layers".into()]);
        let found = entry(&node, &path, &["name"], &KINDS, "layer", &mut problems).expect("a kind");
        assert_eq!((found.kind, found.body), (1, &Node::Map(vec![])));
        assert_eq!(found.body_path.to_string(), "layers.pool");
        let node = Node::Text("relu".into());
        assert_eq!(
            entry(&node, &path, &[], &KINDS, "layer", &mut problems).map(|e| e.kind),
            Some(0)
        );
        assert!(problems.is_empty());
    }

    #[test]
    fn anything_else_is_told() {
        assert_eq!(
            messages(&map(&[("rellu", Node::Null), ("x", Node::Null)])),
            [
                r#"there is no layer `rellu` Some("did you mean `relu`?")"#,
                r#"there is no layer `x` Some("known are `relu`, `pool`; a layer of your own crate is known to that crate's program")"#
            ]
        );
        assert!(
            messages(&map(&[("relu", Node::Null), ("pool", Node::Null)]))[0].contains("one kind")
        );
        assert!(messages(&map(&[("name", Node::Null)]))[0].contains("no kind"));
        assert!(messages(&Node::Int(1))[0].starts_with("expected a layer, found `1`"));
        assert_eq!(with_article("optimizer"), "an optimizer");
        assert!(messages(&Node::Text("poll".into()))[0].contains("did you mean `pool`?"));
    }
}
