//! From text to [`Node`]s and back to places in the text. The only file that names the YAML
//! library.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};

use super::node::{Node, Path, short};
use super::written::{Again, Mark};
use super::{escape, merge, shared, token};

/// The longest text that is read, in bytes.
pub const TEXT_MAX: usize = 1 << 20;

/// What a document may weigh once its aliases are written out: a few hundred bytes of aliases of
/// aliases can stand for terabytes.
const WEIGHT_MAX: usize = 8 << 20;

/// What one value weighs beside its text.
const NODE_WEIGHT: usize = 8;

/// What the library says that it expected when a key is a list or a map.
const KEY_EXPECTED: &str = "a key that is plain text";

const DEEP: &str = "too deeply nested";

/// A text that is YAML.
#[derive(Clone, Debug)]
pub struct Document {
    text: String,
    /// As written.
    raw: Node,
    /// With `<<` merged.
    node: Node,
    /// Where the values are, as written.
    mark: Mark,
}

/// Why a text is not YAML that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes.
    pub span: Option<Range<usize>>,
    /// What to do next.
    pub help: Option<String>,
}

impl Unreadable {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, help: None }
    }
}

impl Document {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        if text.len() > TEXT_MAX {
            let message = format!("the text has {} bytes; at most {TEXT_MAX} are read", text.len());
            return Err(Unreadable::new(message));
        }
        // The library counts a byte order mark in some places and not in others.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        if let Some(start) = token::too_deep(&text) {
            return Err(Unreadable { span: Some(start..start + 1), ..Unreadable::new(DEEP) });
        }
        let build = Build { weight: Cell::new(0), refusal: RefCell::new(None) };
        let parsed = build.deserialize(serde_yaml::Deserializer::from_str(&text));
        let mut raw = parsed.map_err(|error| {
            let refusal = build.refusal.borrow_mut().take();
            unreadable(&text, &error, refusal)
        })?;
        if raw == Node::Null {
            return Err(Unreadable::new("the text is empty"));
        }
        let again = Again { text: &text, node: &mut raw };
        let mark = again
            .deserialize(serde_yaml::Deserializer::from_str(&text))
            .map_err(|error| unreadable(&text, &error, None))?;
        let mut document = Self { text, raw, node: Node::Null, mark };
        match merge::merge(&document.raw, &Path::default()) {
            Ok(node) => document.node = node,
            Err(path) => {
                let message = "`<<` takes a map, or a list of maps, to merge";
                let span = document.find(&path, false);
                return Err(Unreadable { span, ..Unreadable::new(message) });
            }
        }
        Ok(document)
    }

    /// The text of a document that says this.
    ///
    /// # Errors
    /// If the library refuses a value.
    pub fn write(node: &Node) -> anyhow::Result<String> {
        Ok(serde_yaml::to_string(node)?)
    }

    /// The text that was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where a value, or its key, is written: its bytes. What is not written, such as a default, is
    /// placed at the nearest key around it.
    pub fn locate(&self, path: &Path, on_key: bool) -> Option<Range<usize>> {
        let (mut parts, mut on_key) = (path.0.as_slice(), on_key);
        while !parts.is_empty() {
            let written = merge::written(&self.raw, parts);
            if let Some(span) = written.and_then(|path| self.find(&path, on_key)) {
                return Some(span);
            }
            parts = &parts[..parts.len() - 1];
            on_key = true;
        }
        None
    }

    /// What else changes, or stays, when the value at this path is replaced: what an anchor names is
    /// one value in several places.
    pub fn reach(&self, path: &Path) -> shared::Reach {
        let find = |path: &Path| self.begin(path);
        shared::reach(&self.text, &self.raw, &self.mark, &path.0, &find)
    }

    /// The values and keys with control characters that come of an escape in double quotes: their
    /// places, and what they hold.
    pub fn escapes(&self) -> Vec<(Range<usize>, String)> {
        escape::controls(&self.raw)
            .into_iter()
            .filter_map(|(path, on_key, what)| Some((self.find(&path, on_key)?, what)))
            .filter(|(span, _)| self.text[span.clone()].starts_with('"'))
            .collect()
    }

    /// Sorts places as they come in the text, without looking into the text.
    pub fn order(&self, path: &Path) -> Vec<usize> {
        let mut node = &self.raw;
        let mut order = Vec::new();
        for part in merge::written(&self.raw, &path.0).unwrap_or_else(|| path.clone()).0 {
            let Some((position, child)) = merge::child(node, &part) else { break };
            order.push(position);
            node = child;
        }
        order
    }

    /// The library gives no places of values that it could read, but it tells where reading
    /// failed. So the text is read again and made to fail where the place is wanted.
    fn find(&self, written: &Path, on_key: bool) -> Option<Range<usize>> {
        let start = token::skip_properties(&self.text, self.seek(written, on_key)?);
        Some(start..token::end(&self.text, start))
    }

    /// Where a value begins, its anchor included.
    fn begin(&self, written: &Path) -> Option<usize> {
        self.seek(written, false)
    }

    fn seek(&self, written: &Path, on_key: bool) -> Option<usize> {
        let seek = Seek { path: &written.0, on_key };
        let error = seek.deserialize(serde_yaml::Deserializer::from_str(&self.text)).err()?;
        offset(&self.text, &error)
    }
}

/// Where in the text, in bytes, the library failed.
fn offset(text: &str, error: &serde_yaml::Error) -> Option<usize> {
    Some(token::floor(text, error.location()?.index()))
}

fn unreadable(text: &str, error: &serde_yaml::Error, refusal: Option<String>) -> Unreadable {
    let span = offset(text, error).map(|start| {
        // The end of the text has nothing to underline: point at its last line instead.
        let start = start.min(text.trim_end().len());
        start..token::end(text, start)
    });
    let said = error.to_string();
    let message = if let Some(refusal) = refusal {
        refusal
    } else if said.contains("recursion limit") {
        DEEP.to_owned()
    } else if said.contains("repetition limit") {
        "the aliases repeat too much".to_owned()
    } else if said.contains(KEY_EXPECTED) {
        "a key must be plain text".to_owned()
    } else if said.contains("more than one document") {
        "only one YAML document is read; `---` begins another".to_owned()
    } else {
        let place = error
            .location()
            .map(|at| format!(" at line {} column {}", at.line(), at.column()))
            .unwrap_or_default();
        format!("this is not YAML: {}", said.replacen(&place, "", 1))
    };
    let help = escape::is_of_escape(&said).then(|| escape::HELP.to_owned());
    Unreadable { span, help, ..Unreadable::new(message) }
}

/// Builds a [`Node`].
struct Build {
    weight: Cell<usize>,
    /// The reason in our own words: the library puts paths and places around what it is told.
    refusal: RefCell<Option<String>>,
}

impl Build {
    fn refuse<E: serde::de::Error>(&self, message: impl Into<String>) -> E {
        self.refusal.borrow_mut().get_or_insert(message.into());
        E::custom("refused")
    }

    fn weigh<E: serde::de::Error>(&self, text: usize) -> Result<(), E> {
        let weight = self.weight.get() + NODE_WEIGHT + text;
        self.weight.set(weight);
        if weight > WEIGHT_MAX { Err(self.refuse("the aliases repeat too much")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for &Build {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Build {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.weigh(0).map(|()| Node::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.weigh(0).map(|()| Node::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.weigh(0).map(|()| Node::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.weigh(0)?;
        Ok(i64::try_from(value).map_or(Node::UInt(value), Node::Int))
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Node, E> {
        Err(self.refuse("this number does not fit 64 bits"))
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Node, E> {
        Err(self.refuse("this number does not fit 64 bits"))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        self.weigh(0).map(|()| Node::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        self.weigh(value.len()).map(|()| Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.weigh(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        self.weigh(0)?;
        let seen = RefCell::new(HashSet::new());
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(Key { build: self, seen: &seen })? {
            entries.push((key, map.next_value_seed(self)?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(self.refuse("tags, which begin with `!`, have no meaning here"))
    }
}

/// Reads a key, and refuses it if the map has it already.
///
/// The refusal happens here and not in the map, because here the library knows the key's place.
struct Key<'a> {
    build: &'a Build,
    seen: &'a RefCell<HashSet<String>>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KEY_EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        self.build.weigh::<E>(key.len())?;
        if self.seen.borrow_mut().insert(key.to_owned()) {
            Ok(key.to_owned())
        } else {
            Err(self.build.refuse(format!("`{}` is written twice", short(key))))
        }
    }
}

/// Fails at a place.
#[derive(Clone, Copy)]
struct Seek<'a> {
    path: &'a [String],
    on_key: bool,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seek<'_> {
    /// Fails, if this is the place, without having read anything of it.
    fn arrive<E: serde::de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() { Err(E::custom("here")) } else { Ok(()) }
    }
}

macro_rules! arrive {
    ($($method:ident $type:ty;)*) => {
        $(fn $method<E: serde::de::Error>(self, _: $type) -> Result<(), E> {
            self.arrive()
        })*
    };
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    arrive! {
        visit_bool bool;
        visit_i64 i64;
        visit_u64 u64;
        visit_f64 f64;
        visit_str &str;
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.arrive()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.arrive()?;
        let wanted = self.path[0].parse().unwrap_or(usize::MAX);
        for _ in 0..wanted {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        if self.path.len() == 1 && self.on_key {
            // A list has no keys: the element itself is meant.
            let element = Seek { path: &[], on_key: false };
            return items.next_element_seed(element).map(|_| ());
        }
        items.next_element_seed(Seek { path: &self.path[1..], ..self })?;
        Err(A::Error::custom("not found"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.arrive()?;
        let is_last = self.path.len() == 1;
        let key = SeekKey { key: &self.path[0], fails: is_last && self.on_key };
        while let Some(found) = map.next_key_seed(key)? {
            if found {
                map.next_value_seed(Seek { path: &self.path[1..], ..self })?;
                break;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom("not found"))
    }
}

/// Tells whether a key is this one, or fails at it.
#[derive(Clone, Copy)]
struct SeekKey<'a> {
    key: &'a str,
    fails: bool,
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SeekKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KEY_EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        let found = key == self.key;
        if found && self.fails { Err(E::custom("here")) } else { Ok(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path(text.split('.').map(str::to_owned).collect())
    }

    /// The underlined text and its line.
    fn found(text: &str, at: &str, on_key: bool) -> (String, usize) {
        let document = Document::parse(text).expect("YAML");
        let span = document.locate(&path(at), on_key).expect("a place");
        (text[span.clone()].to_owned(), text[..span.start].lines().count().max(1))
    }

    fn refusal(text: &str) -> String {
        let refused = Document::parse(text).expect_err("not usable");
        match refused.span {
            Some(span) => format!("{} @{}", refused.message, &text[span]),
            None => refused.message,
        }
    }

    const TEXT: &str = "\
seed: 0
stages:
  read: { reader: { split: train, 'q': \"two words\" } }
  crop:
    from: read   # where from
    cropper: &crop
      size: 24
      ünï: [1, 2, { deep: x }]
  again: { from: crop, cropper: { <<: *crop, size: 30 } }
  more:
    cropper:
      <<: [*crop]
";

    #[test]
    fn places_are_found_in_block_and_flow_style() {
        assert_eq!(found(TEXT, "seed", true), ("seed".to_owned(), 1));
        assert_eq!(found(TEXT, "stages.read.reader.split", false).0, "train");
        assert_eq!(found(TEXT, "stages.read.reader.q", false).0, "\"two words\"");
        assert_eq!(found(TEXT, "stages.read.reader.q", true).0, "'q'");
        assert_eq!(found(TEXT, "stages.crop.from", false).0, "read");
        assert_eq!(found(TEXT, "stages.crop.cropper.size", false), ("24".to_owned(), 7));
        assert_eq!(found(TEXT, "stages.crop.cropper.ünï.1", false).0, "2");
        assert_eq!(found(TEXT, "stages.crop.cropper.ünï.2.deep", true).0, "deep");
        assert_eq!(found(TEXT, "stages.crop.cropper.ünï.2", true).0, "{");
        assert_eq!(found(TEXT, "stages.read.reader", false).0, "{");
    }

    #[test]
    fn what_is_not_written_is_placed_at_the_key_around_it() {
        assert_eq!(found(TEXT, "stages.crop.cropper.colour.depth", false).0, "cropper");
        assert_eq!(Document::parse("a: 1").expect("YAML").locate(&path("b.c"), false), None);
    }

    #[test]
    fn merged_values_are_read_and_placed_where_they_are_written() {
        let document = Document::parse(TEXT).expect("YAML");
        let stages = document.node().get("stages").expect("stages");
        let size = |id: &str| {
            stages.get(id).and_then(|s| s.get("cropper")).and_then(|c| c.get("size")).cloned()
        };
        assert_eq!(size("again"), Some(Node::Int(30)));
        assert_eq!(size("more"), Some(Node::Int(24)));
        assert_eq!(found(TEXT, "stages.again.cropper.size", false), ("30".to_owned(), 9));
        assert_eq!(found(TEXT, "stages.again.cropper.ünï.0", false).0, "1");
        assert_eq!(found(TEXT, "stages.more.cropper.size", false), ("24".to_owned(), 7));
    }

    #[test]
    fn places_sort_as_they_are_written() {
        let document = Document::parse(TEXT).expect("YAML");
        let order = |at: &str| document.order(&path(at));
        assert!(order("seed") < order("stages.read"));
        assert!(order("stages.crop.from") < order("stages.crop.cropper.size"));
        assert!(order("stages.crop.cropper.size") < order("stages.again"));
    }

    #[test]
    fn what_is_not_usable_is_refused() {
        assert_eq!(refusal("a: 1\nb: 2\na: 3\n"), "`a` is written twice @a");
        assert_eq!(refusal("{x: {b: 1, b: 2}}"), "`b` is written twice @b");
        assert_eq!(refusal(""), "the text is empty");
        assert_eq!(refusal("# nothing\n"), "the text is empty");
        assert_eq!(refusal("{[]: 1}"), "a key must be plain text @[");
        assert_eq!(
            refusal("a: 1\n---\nb: 2\n"),
            "only one YAML document is read; `---` begins another"
        );
        assert!(refusal("a: !tag 1").starts_with("tags"));
        assert!(refusal("a: 123456789012345678901234567890").starts_with("this number"));
        assert!(refusal("a: [1, 2\nb: 3").starts_with("this is not YAML: "));
        assert!(refusal("a: *b").contains("unknown anchor"));
        assert_eq!(refusal("a: {<<: 3}"), "`<<` takes a map, or a list of maps, to merge @3");
        assert!(refusal(&"a".repeat(TEXT_MAX + 1)).starts_with("the text has 1048577 bytes"));
        assert_eq!(
            Document::parse("\u{feff}a: 1").map(|d| d.node),
            Document::parse("a: 1").map(|d| d.node)
        );
    }

    #[test]
    fn bombs_are_refused() {
        // Were they read, this would not end, or not have the memory.
        for part in ["[", "{a: ", "- ", "? ", "[{"] {
            assert!(Document::parse(&part.repeat(TEXT_MAX / part.len())).is_err(), "{part}");
        }
        let mut laughs = "a0: &a0 [x, x]\n".to_owned();
        for i in 1..60 {
            laughs += &format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1);
        }
        assert!(refusal(&laughs).starts_with("the aliases repeat too much"));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(100_000));
        assert!(refusal(&long).starts_with("the aliases repeat too much"));
        let loop_ = "a: &a [*a]";
        assert!(Document::parse(loop_).is_err());
    }
}
