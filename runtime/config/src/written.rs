//! How values are written: the text of numbers and truth values, and the place of everything.
//!
//! The YAML library gives a value by its type, or any scalar as text, not both. So a document is
//! read a second time, along the values that were found in the first.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::node::Node;

/// Where a value and what is inside it are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The byte at which the first key or plain scalar of it begins, if it has one. Two places with
    /// different bytes are different values; two with the same byte may be one value and its alias.
    pub(super) at: Option<usize>,
    /// The same of the values of a map or list, in their order.
    pub(super) inside: Vec<Mark>,
}

/// Reads again what was read as `node`, and gives the places.
pub(super) struct Again<'a> {
    pub(super) text: &'a str,
    pub(super) node: &'a mut Node,
}

impl Again<'_> {
    /// The place of a text that is a part of the document's.
    fn place(&self, part: &str) -> Option<usize> {
        let at = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (at < self.text.len()).then_some(at)
    }
}

impl<'de> DeserializeSeed<'de> for Again<'_> {
    type Value = Mark;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Mark, D::Error> {
        match self.node {
            Node::Null => {
                deserializer.deserialize_ignored_any(IgnoredAny).map(|IgnoredAny| Mark::default())
            }
            Node::List(_) => deserializer.deserialize_seq(self),
            Node::Map(_) => deserializer.deserialize_map(self),
            _ => deserializer.deserialize_str(self),
        }
    }
}

impl<'de> Visitor<'de> for Again<'_> {
    type Value = Mark;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was read before")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Mark, E> {
        let value = std::mem::replace(self.node, Node::Null);
        *self.node = as_written(value, text);
        Ok(Mark::default())
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Mark, E> {
        let at = self.place(text);
        self.visit_str::<E>(text).map(|mark| Mark { at, ..mark })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Mark, A::Error> {
        let mut mark = Mark::default();
        if let Node::List(items) = self.node {
            for node in items {
                let next = list.next_element_seed(Again { text: self.text, node })?;
                mark.inside.extend(next);
            }
        }
        mark.at = mark.inside.iter().find_map(|inside| inside.at);
        Ok(mark)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Mark, A::Error> {
        let mut mark = Mark::default();
        let text = self.text;
        if let Node::Map(entries) = self.node {
            for (name, node) in entries {
                let mut key = Node::Text(std::mem::take(name));
                let found = map.next_key_seed(Again { text, node: &mut key })?;
                if let Node::Text(text) = key {
                    *name = text;
                }
                let inside = map.next_value_seed(Again { text, node })?;
                mark.at = mark.at.or(found.and_then(|key| key.at)).or(inside.at);
                mark.inside.push(inside);
            }
        }
        Ok(mark)
    }
}

/// A value with its text. A whole number stays one however it is written: `1e3`, `16.0`.
fn as_written(value: Node, text: &str) -> Node {
    let value = match (value, whole(text)) {
        (Node::Float(_), Some(number)) => number,
        (value, _) => value,
    };
    value.written_as(text)
}

/// The whole number that a decimal text stands for, exactly.
fn whole(text: &str) -> Option<Node> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut number: u64 = 0;
    let mut places = i64::from(exponent) - after.len() as i64;
    // Zeros wait until another digit follows, or a power of ten takes them.
    let mut zeros: i64 = 0;
    for digit in before.bytes().chain(after.bytes()) {
        let digit = char::from(digit).to_digit(10)?;
        zeros += 1;
        if digit > 0 {
            number = shift(number, zeros)?.checked_add(u64::from(digit))?;
            zeros = 0;
        }
    }
    places += zeros;
    if number > 0 {
        number = shift(number, places)?;
    }
    match negative {
        false => Some(i64::try_from(number).map_or(Node::UInt(number), Node::Int)),
        true => 0_i64.checked_sub_unsigned(number).map(Node::Int),
    }
}

/// So many zeros behind a number.
fn shift(number: u64, zeros: i64) -> Option<u64> {
    if number == 0 {
        return Some(0);
    }
    number.checked_mul(10_u64.checked_pow(u32::try_from(zeros).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_told_exactly() {
        for (text, expected) in [
            ("1e3", Some(Node::Int(1000))),
            ("16.0", Some(Node::Int(16))),
            ("-1.25E2", Some(Node::Int(-125))),
            ("+0.5e1", Some(Node::Int(5))),
            ("100.0e-2", Some(Node::Int(1))),
            ("0.000", Some(Node::Int(0))),
            ("0e999999999", Some(Node::Int(0))),
            ("-0.0", Some(Node::Int(0))),
            ("9007199254740993.0", Some(Node::Int(9_007_199_254_740_993))),
            ("1.8446744073709551615e19", Some(Node::UInt(u64::MAX))),
            ("-9223372036854775808.0", Some(Node::Int(i64::MIN))),
            ("1.8446744073709551616e19", None),
            ("-9223372036854775809.0", None),
            ("1.5", None),
            ("1e-1", None),
            ("1e400", None),
            ("1e99999999999", None),
            (".inf", None),
            (".nan", None),
        ] {
            assert_eq!(whole(text), expected, "{text}");
        }
    }
}
