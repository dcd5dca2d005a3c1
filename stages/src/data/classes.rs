//! The classes of one's own data, as a number or by their names.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use config::shorthand::Shorthand;
use flow::stage::Mismatch;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::thousands;

/// Models score every class, and some things are kept for each: more than these are no classes.
const MOST: usize = 1 << 16;

/// How many classes there are, or their names in the order of their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Classes {
    /// So many.
    Count(usize),
    /// With these names.
    Names(Vec<String>),
}

impl Classes {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::Names(names) => names.len(),
        }
    }

    /// Their names; numbers if they have none.
    pub fn names(&self) -> Vec<String> {
        self.names_from(0)
    }

    /// The same where numbers do not begin at 0.
    pub fn names_from(&self, first: usize) -> Vec<String> {
        match self {
            Self::Count(count) => (first..first + count).map(|class| class.to_string()).collect(),
            Self::Names(names) => names.clone(),
        }
    }

    /// What is wrong with them.
    pub fn check(&self) -> Option<Mismatch> {
        let count = self.count();
        if !(2..=MOST).contains(&count) {
            let [most, found] = [MOST, count].map(|classes| thousands(classes as u64));
            let message = format!("expected 2 to {most} classes, found {found}");
            let help = match count {
                0 | 1 => "with a single class there is nothing to tell apart",
                _ => "a model has a score for each class: group them, or use fewer",
            };
            return Some(Mismatch::field("classes", message).help(help));
        }
        let Self::Names(names) = self else { return None };
        let mut seen = HashSet::new();
        let twice = names.iter().find(|name| !seen.insert(*name))?;
        let message = format!("the class `{twice}` is named twice");
        Some(Mismatch::field("classes", message).help("name each once, in the order of the labels"))
    }
}

impl<'de> Deserialize<'de> for Classes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("a number of classes such as 10, or their names, `[cat, dog]`")
            .whole(|count| usize::try_from(count).ok().map(Self::Count))
            .list(|names: Vec<Name>| {
                Some(Self::Names(names.into_iter().map(|Name(name)| name).collect()))
            })
            .read(deserializer)
    }
}

/// A name. YAML takes some for numbers or truth values; what counts is how they are written.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a class")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(name.to_owned()))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

impl JsonSchema for Classes {
    fn schema_name() -> Cow<'static, str> {
        "Classes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 2, "maximum": MOST },
                {
                    "type": "array",
                    "items": { "type": ["string", "integer"] }
                }
            ]
        })
    }
}

/// Says where the classes that a model was trained on are not those of the data at hand. A list
/// without names is of no data.
pub fn differ(trained: &[String], found: &[String]) -> Option<String> {
    if trained.is_empty() || found.is_empty() || trained == found {
        return None;
    }
    // Earlier versions numbered all classes without names from 0, whatever the files did.
    if trained.len() == found.len() && first_of(trained) == Some(0) && first_of(found).is_some() {
        return None;
    }
    let pairs = trained.iter().zip(found).enumerate();
    let first = pairs.map(|(number, (was, is))| (number, was, is)).find(|(_, was, is)| was != is);
    Some(match first {
        Some((number, was, is)) => format!("class {number} was `{was}`, and here it is `{is}`"),
        None => format!("there were {} classes, and here are {}", trained.len(), found.len()),
    })
}

/// The first of classes that are called by numbers in a row.
fn first_of(classes: &[String]) -> Option<usize> {
    let first: usize = classes.first()?.parse().ok()?;
    let numbered = classes.iter().zip(first..).all(|(class, number)| *class == number.to_string());
    numbered.then_some(first)
}

/// What a label that is no class should make a person think of: `lowest` and `highest` are the
/// ends of all labels found, and `first` is the label of the first class.
pub(super) fn labels_hint(lowest: i64, highest: i64, first: i64, classes: usize) -> String {
    let last = first + classes as i64 - 1;
    if lowest.abs_diff(first) == 1 && highest.abs_diff(lowest) == last.abs_diff(first) {
        return format!(
            "labels run from {lowest} to {highest} where {first} to {last} are expected: they are \
             off by one"
        );
    }
    format!("labels run from {lowest} to {highest}; expected are {first} to {last}")
}

#[cfg(test)]
mod tests {
    use config::decode::{Problems, decode};
    use config::node::Path;
    use config::yaml::Document;

    use super::*;

    #[test]
    fn a_number_and_names_are_read_and_anything_else_is_explained() {
        let read = |text| serde_json::from_str::<Classes>(text);
        assert_eq!(read("10").expect("a number"), Classes::Count(10));
        let document = Document::parse("[cat, 7, 0x10, 1e3, True, no]").expect("YAML");
        let mut problems = Problems::new();
        let names = decode::<Classes>(document.node(), &Path::default(), &mut problems);
        assert_eq!(names.expect("names").names(), ["cat", "7", "0x10", "1e3", "True", "no"]);
        assert_eq!(read(r#"["cat"]"#).expect("names").names(), ["cat"]);
        assert_eq!(Classes::Count(3).names(), ["0", "1", "2"]);
        assert_eq!(Classes::Count(3).names_from(1), ["1", "2", "3"]);
        for wrong in ["-1", "\"cat\"", "{}"] {
            let told = read(wrong).expect_err(wrong).to_string();
            assert!(told.contains("such as 10, or their names"), "{told}");
        }
    }

    #[test]
    fn other_classes_are_told() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(differ(&names("cat dog"), &names("cat dog")), None);
        assert_eq!(differ(&[], &names("cat dog")), None);
        let other = differ(&names("cat dog"), &names("cat cow")).expect("other classes");
        assert_eq!(other, "class 1 was `dog`, and here it is `cow`");
        let fewer = differ(&names("cat dog"), &names("cat")).expect("fewer classes");
        assert_eq!(fewer, "there were 2 classes, and here are 1");
        // As an earlier version called the classes of files that begin with 1.
        assert_eq!(differ(&names("0 1 2"), &names("1 2 3")), None);
        assert!(differ(&names("1 2 3"), &names("0 1 2")).is_some());
        assert!(differ(&names("0 1 2"), &names("1 2 4")).is_some());
    }

    #[test]
    fn impossible_classes_are_told() {
        let names = |names: &[&str]| Classes::Names(names.iter().map(|n| (*n).into()).collect());
        assert_eq!(names(&["cat", "dog"]).check(), None);
        assert_eq!(Classes::Count(65_536).check(), None);
        for (wrong, part) in [
            (Classes::Count(1), "found 1"),
            (Classes::Count(65_537), "expected 2 to 65,536 classes, found 65,537"),
            (names(&["cat"]), "found 1"),
            (names(&["cat", "dog", "cat"]), "`cat` is named twice"),
        ] {
            assert!(wrong.check().expect("wrong").message.contains(part), "{wrong:?}");
        }
        for (ends, first) in [((1, 10), 0), ((0, 9), 1)] {
            let told = labels_hint(ends.0, ends.1, first, 10);
            let expected = format!("where {first} to {} are expected", first + 9);
            assert!(told.contains(&expected) && told.contains("off by one"), "{told}");
        }
        let wide = labels_hint(0, 10, 1, 10);
        assert_eq!(wide, "labels run from 0 to 10; expected are 1 to 10");
    }
}
