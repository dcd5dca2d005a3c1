//! Why a value could not be read, and where.

use std::fmt;

use serde::de;

use crate::node::{Node, short};

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    UnknownField { name: String, known: &'static [&'static str] },
    UnknownVariant { name: String, known: &'static [&'static str] },
    MissingField(&'static str),
    Type { expected: String, found: String },
    Other(String),
}

/// What is wrong, and where. Boxed, because it travels in every `Result` of the reader.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) what: Box<What>,
    /// Unknown until the reader that was at work when it happened adds it.
    path: Option<Vec<String>>,
    /// Whether the path's last key is to blame and not its value.
    pub(super) on_key: bool,
}

impl Fault {
    pub(super) fn new(what: What) -> Self {
        Self { what: Box::new(what), path: None, on_key: false }
    }

    /// Something else was expected here.
    pub(super) fn expected(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(What::Type { expected: expected.into(), found: found.into() })
    }

    /// Says what was found as it is written: a visitor knows the value alone.
    pub(super) fn found(mut self, node: &Node) -> Self {
        if let (None, What::Type { found, .. }, Node::Written { .. }) =
            (&self.path, &mut *self.what, node)
        {
            *found = node.describe();
        }
        self
    }

    /// Adds the place, unless one further in is known already.
    pub(super) fn at(mut self, path: &[String]) -> Self {
        self.path.get_or_insert_with(|| path.to_vec());
        self
    }

    /// Adds the place of a key, unless one further in is known already.
    pub(super) fn at_key(mut self, path: &[String], key: &str) -> Self {
        if self.path.is_none() {
            self.on_key = true;
            self.path = Some(path.iter().cloned().chain([key.to_owned()]).collect());
        }
        self
    }

    pub(super) fn path(&self) -> &[String] {
        self.path.as_deref().unwrap_or_default()
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Other(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(people(expected), people_found(found))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(people(expected), people_found(found))
    }

    fn invalid_length(found: usize, expected: &dyn de::Expected) -> Self {
        Self::expected(people(expected), format!("{found}"))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownField { name: name.to_owned(), known })
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownVariant { name: name.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::MissingField(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(What::Other(format!("the field `{field}` is given twice")))
    }
}

/// Serde names Rust's types where people know the YAML's.
fn people(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    if text.starts_with("struct ") || text.contains("map") {
        "a map of fields".to_owned()
    } else if text.starts_with("a nonzero") {
        "a whole number above 0".to_owned()
    } else {
        text
    }
}

fn people_found(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Bool(value) => format!("`{value}`"),
        de::Unexpected::Unsigned(value) => format!("`{value}`"),
        de::Unexpected::Signed(value) => format!("`{value}`"),
        de::Unexpected::Float(value) => format!("`{value}`"),
        de::Unexpected::Str(value) => format!("\"{}\"", short(value)),
        de::Unexpected::Unit => "nothing".to_owned(),
        de::Unexpected::Seq => "a list".to_owned(),
        de::Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}
