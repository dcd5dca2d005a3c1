//! Values that can be written in several forms, such as a number in place of a map.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The forms in which a `T` can be written. `L` is what a list is read as, and `M` what a map is.
///
/// serde's `untagged` would only say that no form fits; this says what was expected, and faults inside
/// a list or a map keep their place.
///
/// ```
/// use config::shorthand::Shorthand;
///
/// #[derive(Debug, PartialEq)]
/// struct Size([u64; 2]);
///
/// let size = Shorthand::new("a side such as 24, or [height, width]")
///     .whole(|side| Some(Size([side; 2])))
///     .list(|sides| Some(Size(sides)));
/// let read = |text| size.read(&mut serde_json::Deserializer::from_str(text));
/// assert_eq!(read("24").unwrap(), Size([24, 24]));
/// assert_eq!(read("[24, 16]").unwrap(), Size([24, 16]));
/// assert!(read("-1").unwrap_err().to_string().contains("expected a side such as 24"));
/// ```
pub struct Shorthand<T, L = IgnoredAny, M = IgnoredAny> {
    expected: &'static str,
    nothing: Option<fn() -> T>,
    boolean: Option<fn(bool) -> T>,
    whole: Option<fn(u64) -> Option<T>>,
    number: Option<fn(f64) -> T>,
    text: Option<fn(&str) -> Option<T>>,
    list: Option<fn(L) -> Option<T>>,
    map: Option<fn(M) -> T>,
}

impl<T> Shorthand<T> {
    /// No form yet; `expected` tells people of all that there will be.
    pub const fn new(expected: &'static str) -> Self {
        Self {
            expected,
            nothing: None,
            boolean: None,
            whole: None,
            number: None,
            text: None,
            list: None,
            map: None,
        }
    }
}

impl<T, L, M> Shorthand<T, L, M> {
    /// `null`, or nothing at all.
    pub fn nothing(self, make: fn() -> T) -> Self {
        Self { nothing: Some(make), ..self }
    }

    /// `true` or `false`.
    pub fn boolean(self, make: fn(bool) -> T) -> Self {
        Self { boolean: Some(make), ..self }
    }

    /// A whole number from 0 upwards. `None` refuses it.
    pub fn whole(self, make: fn(u64) -> Option<T>) -> Self {
        Self { whole: Some(make), ..self }
    }

    /// Any number that is no [whole](Self::whole) one, if those have a form of their own.
    pub fn number(self, make: fn(f64) -> T) -> Self {
        Self { number: Some(make), ..self }
    }

    /// Text. `None` refuses it.
    pub fn text(self, make: fn(&str) -> Option<T>) -> Self {
        Self { text: Some(make), ..self }
    }

    /// A list that is read as an `L2`. `None` refuses it.
    pub fn list<L2>(self, make: fn(L2) -> Option<T>) -> Shorthand<T, L2, M> {
        let Self { expected, nothing, boolean, whole, number, text, map, .. } = self;
        Shorthand { expected, nothing, boolean, whole, number, text, list: Some(make), map }
    }

    /// A map that is read as an `M2`.
    pub fn map<M2>(self, make: fn(M2) -> T) -> Shorthand<T, L, M2> {
        let Self { expected, nothing, boolean, whole, number, text, list, .. } = self;
        Shorthand { expected, nothing, boolean, whole, number, text, list, map: Some(make) }
    }

    /// Reads whichever form is there.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn read<'de, D>(&self, deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        L: Deserialize<'de>,
        M: Deserialize<'de>,
    {
        deserializer.deserialize_any(Forms(self))
    }
}

struct Forms<'a, T, L, M>(&'a Shorthand<T, L, M>);

impl<'de, T, L: Deserialize<'de>, M: Deserialize<'de>> Visitor<'de> for Forms<'_, T, L, M> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.expected)
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        let make = self.0.nothing.ok_or_else(|| E::invalid_type(Unexpected::Unit, &self))?;
        Ok(make())
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        self.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        let unexpected = Unexpected::Bool(value);
        let make = self.0.boolean.ok_or_else(|| E::invalid_type(unexpected, &self))?;
        Ok(make(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        let unexpected = Unexpected::Unsigned(value);
        match (self.0.whole, self.0.number) {
            (Some(make), _) => make(value).ok_or_else(|| E::invalid_value(unexpected, &self)),
            (None, Some(make)) => Ok(make(value as f64)),
            (None, None) => Err(E::invalid_type(unexpected, &self)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        let unexpected = Unexpected::Signed(value);
        match (u64::try_from(value), self.0.number) {
            (Ok(value), _) => self.visit_u64(value),
            (Err(_), Some(make)) => Ok(make(value as f64)),
            (Err(_), None) => Err(E::invalid_value(unexpected, &self)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        let unexpected = Unexpected::Float(value);
        let make = self.0.number.ok_or_else(|| E::invalid_type(unexpected, &self))?;
        Ok(make(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        let unexpected = Unexpected::Str(value);
        let make = self.0.text.ok_or_else(|| E::invalid_type(unexpected, &self))?;
        make(value).ok_or_else(|| E::invalid_value(unexpected, &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        let make = self.0.list.ok_or_else(|| A::Error::invalid_type(Unexpected::Seq, &self))?;
        let read = L::deserialize(SeqAccessDeserializer::new(list))?;
        make(read).ok_or_else(|| A::Error::invalid_value(Unexpected::Seq, &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let make = self.0.map.ok_or_else(|| A::Error::invalid_type(Unexpected::Map, &self))?;
        M::deserialize(MapAccessDeserializer::new(map)).map(make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        Shorthand::new("something")
            .nothing(|| "nothing".to_owned())
            .boolean(|value| value.to_string())
            .whole(|value| (value < 9).then(|| format!("{value} whole")))
            .number(|value| format!("{value} real"))
            .text(|text| (text != "no").then(|| text.to_owned()))
            .list(|list: Vec<u8>| list.first().map(ToString::to_string))
            .map(|map: std::collections::BTreeMap<String, bool>| format!("{map:?}"))
            .read(&mut serde_json::Deserializer::from_str(text))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_is_read_as_it_is_written() {
        for (text, value) in [
            ("null", "nothing"),
            ("true", "true"),
            ("7", "7 whole"),
            ("-7", "-7 real"),
            ("0.5", "0.5 real"),
            (r#""yes""#, "yes"),
            ("[3, 4]", "3"),
            (r#"{ "a": true }"#, r#"{"a": true}"#),
        ] {
            assert_eq!(read(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_a_form_refuses_is_told_with_what_was_expected() {
        for text in ["9", r#""no""#, "[]"] {
            assert!(read(text).expect_err(text).contains("expected something"), "{text}");
        }
        // What is wrong inside is told by what reads it.
        assert!(read("[-1]").expect_err("no byte").contains("expected u8"));
    }

    #[test]
    fn a_form_that_is_not_given_is_refused() {
        let none: Shorthand<()> = Shorthand::new("something else");
        for text in ["null", "true", "7", "-7", "0.5", r#""yes""#, "[3]", "{}"] {
            let read = none.read(&mut serde_json::Deserializer::from_str(text));
            let told = read.expect_err(text).to_string();
            assert!(told.contains("expected something else"), "{text}: {told}");
        }
    }
}
