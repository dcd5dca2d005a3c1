//! Merge keys: `<<: *base` gives a map the keys of another that it does not have itself.

use std::collections::HashSet;

use super::node::{Node, Path};

pub(super) const MERGE: &str = "<<";

/// The document with all merge keys merged, or the path of one that has nothing to merge.
pub(super) fn merge(raw: &Node, path: &Path) -> Result<Node, Path> {
    match raw {
        Node::List(items) => items
            .iter()
            .enumerate()
            .map(|(position, item)| merge(item, &path.join(position)))
            .collect::<Result<_, _>>()
            .map(Node::List),
        Node::Map(entries) => {
            let mut merged = Vec::new();
            for (key, value) in entries.iter().filter(|(key, _)| key != MERGE) {
                merged.push((key.clone(), merge(value, &path.join(key))?));
            }
            if let Some(value) = raw.get(MERGE) {
                let mut has: HashSet<String> = merged.iter().map(|(key, _)| key.clone()).collect();
                let at = path.join(MERGE);
                for source in sources(value).ok_or_else(|| at.clone())? {
                    let Node::Map(entries) = merge(source, &at)? else { return Err(at) };
                    for (key, value) in entries {
                        if has.insert(key.clone()) {
                            merged.push((key, value));
                        }
                    }
                }
            }
            Ok(Node::Map(merged))
        }
        plain => Ok(plain.clone()),
    }
}

/// The maps that a merge key names.
fn sources(value: &Node) -> Option<&[Node]> {
    match value {
        Node::Map(_) => Some(std::slice::from_ref(value)),
        Node::List(items) if items.iter().all(|item| matches!(item, Node::Map(_))) => Some(items),
        _ => None,
    }
}

/// Where a path of the merged document leads in the document as written.
pub(super) fn written(raw: &Node, path: &[String]) -> Option<Path> {
    let Some((first, rest)) = path.split_first() else { return Some(Path::default()) };
    if let Some((_, value)) = child(raw, first) {
        return written(value, rest).map(|Path(below)| prefix(&[first], below));
    }
    let value = raw.get(MERGE)?;
    if matches!(value, Node::Map(_)) {
        return written(value, path).map(|Path(below)| prefix(&[MERGE], below));
    }
    sources(value)?.iter().enumerate().find_map(|(position, source)| {
        let Path(below) = written(source, path)?;
        Some(prefix(&[MERGE, &position.to_string()], below))
    })
}

fn prefix(front: &[&str], back: Vec<String>) -> Path {
    Path(front.iter().map(|part| (*part).to_owned()).chain(back).collect())
}

/// The value of a key or at a list position, and its number in the map or list.
pub(super) fn child<'n>(node: &'n Node, part: &str) -> Option<(usize, &'n Node)> {
    match node {
        Node::Map(entries) => entries
            .iter()
            .enumerate()
            .find(|(_, (key, _))| key == part)
            .map(|(position, (_, value))| (position, value)),
        Node::List(items) => {
            let position = part.parse().ok()?;
            items.get(position).map(|item| (position, item))
        }
        _ => None,
    }
}
