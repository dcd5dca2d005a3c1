//! Values that stand in several places: behind an anchor, or merged by `<<`.
//!
//! A value is replaced as if the file were edited where the value is written. Inside of what an
//! anchor names, and at the anchor itself, that changes every place which the anchor reaches. An
//! alias, and a key that comes from a merged map, are replaced by themselves.

use super::merge::{self, MERGE};
use super::node::{Node, Path};
use super::written::Mark;

/// What else changes, or stays, when a value is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The other places that change as well.
    pub also: Vec<Path>,
    /// The places of the same value that do not.
    pub left: Vec<Path>,
    /// The anchor that the value stands behind, and its line.
    pub anchor: Option<(String, usize)>,
}

/// A value as written.
struct Place<'n> {
    path: Path,
    node: &'n Node,
    mark: &'n Mark,
}

/// The document as written, with the places of its values by the bytes at which they begin.
struct Written<'n> {
    raw: &'n Node,
    places: Vec<Place<'n>>,
    begin: &'n dyn Fn(&Path) -> Option<usize>,
}

/// What replacing the value at this path of the merged document reaches. `begin` tells where a
/// value of the document as written begins in the text.
pub(super) fn reach(
    text: &str,
    raw: &Node,
    mark: &Mark,
    path: &[String],
    begin: &dyn Fn(&Path) -> Option<usize>,
) -> Reach {
    if path.is_empty() || !text.contains('&') || !text.contains('*') {
        return Reach::default();
    }
    let mut places = Vec::new();
    collect(raw, mark, &mut Path::default(), &mut places);
    Written { raw, places, begin }.reach(text, path)
}

fn collect<'n>(node: &'n Node, mark: &'n Mark, path: &mut Path, places: &mut Vec<Place<'n>>) {
    places.push(Place { path: path.clone(), node, mark });
    let mut enter = |part: String, node: &'n Node, mark: Option<&'n Mark>| {
        if let Some(mark) = mark {
            path.0.push(part);
            collect(node, mark, path, places);
            path.0.pop();
        }
    };
    match node {
        Node::List(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, item)| enter(at.to_string(), item, mark.inside.get(at)));
        }
        Node::Map(entries) => {
            let entries = entries.iter().enumerate();
            entries.for_each(|(at, (key, item))| enter(key.clone(), item, mark.inside.get(at)));
        }
        _ => {}
    }
}

impl Written<'_> {
    fn reach(&self, text: &str, path: &[String]) -> Reach {
        // The innermost value around the path that is written.
        let around = (0..path.len()).rev().find_map(|length| {
            let written = merge::written(self.raw, &path[..length])?;
            Some((length, written))
        });
        let Some((length, container)) = around else { return Reach::default() };
        let rest = &path[length..];
        let all_of = |container: Vec<Path>| -> Vec<Path> {
            let below = |place: Path| Path([place.0.as_slice(), rest].concat());
            container.into_iter().map(below).collect()
        };
        let mut also = all_of(self.same(&container));
        let mut left = Vec::new();
        let mut of = container.clone();
        if let ([key], Some(value)) = (rest, merge::written(self.raw, path)) {
            let places = self.same(&value);
            let own = container.join(key) == value;
            let defined_here = places.first().is_some_and(|first| also.contains(first));
            if own && defined_here {
                also.extend(places);
            } else {
                left = places.into_iter().filter(|place| !also.contains(place)).collect();
            }
            of = value;
        }
        let named = Path(path.to_vec());
        let shown = |places: Vec<Path>, depth: usize| {
            let mut shown: Vec<Path> = Vec::new();
            for place in places {
                let merged = self.merged(&place);
                if merged != named && !shown.contains(&merged) && self.is_seen(&place, depth) {
                    shown.push(merged);
                }
            }
            shown
        };
        let also = shown(also, rest.len());
        let mut left = shown(left, 1);
        left.retain(|place| !also.contains(place));
        let anchor = self.anchor(text, &of);
        Reach { also, left, anchor }
    }

    /// The places of one value, in the order of the file: the first one is where it is defined.
    fn same(&self, path: &Path) -> Vec<Path> {
        let Some(this) = self.places.iter().find(|place| place.path == *path) else {
            return vec![path.clone()];
        };
        if path.0.is_empty() {
            return vec![path.clone()];
        }
        let begin = (self.begin)(path);
        let alike = |place: &&Place<'_>| {
            place.path == *path
                || (place.mark.at == this.mark.at
                    && place.node == this.node
                    && begin.is_some()
                    && (self.begin)(&place.path) == begin)
        };
        self.places.iter().filter(alike).map(|place| place.path.clone()).collect()
    }

    /// The path in the merged document of a place in the document as written.
    fn merged(&self, place: &Path) -> Path {
        let mut node = Some(self.raw);
        let mut parts = Vec::new();
        let mut inside_merge = false;
        for part in &place.0 {
            let is_list = matches!(node, Some(Node::List(_)));
            node = node.and_then(|node| merge::child(node, part)).map(|(_, child)| child);
            if part == MERGE {
                inside_merge = true;
            } else if inside_merge && is_list {
                // One of several maps that are merged.
                inside_merge = false;
            } else {
                inside_merge = false;
                parts.push(part.clone());
            }
        }
        Path(parts)
    }

    /// Whether a place is seen in the merged document: a map that merges another may have the key
    /// itself. The last `depth` parts may not be written yet.
    fn is_seen(&self, place: &Path, depth: usize) -> bool {
        let written = place.0.len() - depth.min(place.0.len());
        (1..=place.0.len()).all(|length| {
            let part = Path(place.0[..length].to_vec());
            let merged = self.merged(&part);
            let is_key = merged.0.last() == part.0.last() && part.0[length - 1] != MERGE;
            let found = merge::written(self.raw, &merged.0);
            !is_key || found == Some(part) || (found.is_none() && length > written)
        })
    }

    /// The anchor at a value or nearest around it.
    fn anchor(&self, text: &str, path: &Path) -> Option<(String, usize)> {
        (1..=path.0.len()).rev().find_map(|length| {
            let start = (self.begin)(&Path(path.0[..length].to_vec()))?;
            let rest = text.get(start..)?.strip_prefix('&')?;
            let end = rest.find(|letter: char| letter.is_whitespace() || ",[]{}".contains(letter));
            let line = text[..start].matches('\n').count() + 1;
            Some((rest[..end.unwrap_or(rest.len())].to_owned(), line))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Document;

    const TEXT: &str = "\
read:
  format: &f { images: { size: 24 } }
  base: &b
    crop: &c 8
    pad: { n: 1 }
test:
  format: *f
  size: *c
  twin: { <<: *b, crop: 9 }
  more: { <<: [*b] }
copy: [&e {}, *e, 24]
";

    /// What else changes, what stays, and the anchor.
    fn told(path: &str) -> (String, String, String) {
        let document = Document::parse(TEXT).expect("YAML");
        let reach = document.reach(&Path(path.split('.').map(str::to_owned).collect()));
        let line =
            |paths: Vec<Path>| paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let anchor = reach.anchor.map_or(String::new(), |(name, line)| format!("{name} {line}"));
        (line(reach.also), line(reach.left), anchor)
    }

    fn is(path: &str, also: &str, left: &str, anchor: &str) {
        let expected = (also.to_owned(), left.to_owned(), anchor.to_owned());
        assert_eq!(told(path), expected, "{path}");
    }

    #[test]
    fn what_is_inside_an_anchored_value_changes_everywhere() {
        is("read.format.images.size", "test.format.images.size", "", "f 2");
        is("test.format.images.size", "read.format.images.size", "", "f 2");
        // What is not written yet as well.
        is("test.format.images.alpha", "read.format.images.alpha", "", "f 2");
        is("test.format.images.alpha.deep", "read.format.images.alpha.deep", "", "f 2");
        is("copy.1.x", "copy.0.x", "", "e 11");
    }

    #[test]
    fn the_anchor_takes_its_aliases_along_and_an_alias_leaves_the_anchor() {
        is("read.format", "test.format", "", "f 2");
        is("test.format", "", "read.format", "f 2");
        is("test.size", "", "read.base.crop test.more.crop", "c 4");
    }

    #[test]
    fn merged_maps_follow_unless_they_have_the_key_themselves() {
        is("read.base.crop", "test.more.crop test.size", "", "c 4");
        is("read.base.pad.n", "test.twin.pad.n test.more.pad.n", "", "b 3");
        is("test.more.pad.n", "read.base.pad.n test.twin.pad.n", "", "b 3");
        is("read.base.new", "test.twin.new test.more.new", "", "b 3");
        is("test.twin.crop", "", "", "");
        is("test.more.pad", "", "read.base.pad test.twin.pad", "b 3");
        is("test.more.new", "", "", "");
    }

    #[test]
    fn values_that_only_look_alike_are_left_alone() {
        is("copy.2", "", "", "");
        assert_eq!(told("read"), (String::new(), String::new(), String::new()));
        assert_eq!(told("nobody.knows"), (String::new(), String::new(), String::new()));
    }
}
