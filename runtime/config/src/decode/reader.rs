//! A [`Node`] as serde reads it, knowing at every moment where it is.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::fault::Fault;
use super::neutral::Neutral;
use crate::node::Node;

/// What is expected where text is.
pub(super) const TEXT: &str = "text";

/// What is expected where a number is. All numbers end up in 32 bits sooner or later; closer to 0
/// than this, GPUs take them for 0.
const REAL: &str = "a number that 32 bits can hold, 0 or from 1.2e-38 to 3.4e38 in size";

/// What to read differently from what is written.
#[derive(Debug, Default)]
pub(super) struct Patches {
    /// Keys to skip.
    pub(super) dropped: BTreeSet<Vec<String>>,
    /// Values, written or missing, in whose place a harmless one is read.
    pub(super) neutral: BTreeSet<Vec<String>>,
}

impl Patches {
    pub(super) fn len(&self) -> usize {
        self.dropped.len() + self.neutral.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads one value.
pub(super) struct Reader<'a> {
    node: &'a Node,
    path: Vec<String>,
    patches: &'a Patches,
}

impl<'a> Reader<'a> {
    pub(super) fn new(node: &'a Node, path: &[String], patches: &'a Patches) -> Self {
        Self { node, path: path.to_vec(), patches }
    }

    fn fault(&self, expected: impl Into<String>) -> Fault {
        Fault::expected(expected, self.node.describe()).at(&self.path)
    }

    /// The whole number here, if it lies between these two.
    fn whole(&self, min: i128, max: i128) -> Result<i128, Fault> {
        let value = match self.node.value() {
            Node::Int(value) => i128::from(*value),
            Node::UInt(value) => i128::from(*value),
            _ => return Err(self.fault("a whole number")),
        };
        if value < min && min == 0 {
            Err(self.fault("a whole number, 0 or above"))
        } else if value < min || value > max {
            Err(self.fault(format!("a whole number from {min} to {max}")))
        } else {
            Ok(value)
        }
    }

    fn real(&self) -> Result<f64, Fault> {
        let value = match self.node.value() {
            Node::Int(value) => *value as f64,
            Node::UInt(value) => *value as f64,
            Node::Float(value) if value.is_finite() => *value,
            _ => return Err(self.fault("a number")),
        };
        let single = value as f32;
        if single.is_normal() || value == 0.0 { Ok(value) } else { Err(self.fault(REAL)) }
    }

    /// Text, or anything else on one line as it is written: a class may be called 0x10, a folder
    /// 2024.
    fn text(&self) -> Result<Cow<'a, str>, Fault> {
        self.node.scalar().ok_or_else(|| self.fault(TEXT))
    }

    fn list(self, expected: &str) -> Result<Elements<'a>, Fault> {
        match self.node {
            Node::List(items) => {
                Ok(Elements { items, next: 0, path: self.path, patches: self.patches })
            }
            _ => Err(self.fault(expected)),
        }
    }

    fn map(self, expected: &str) -> Result<Fields<'a>, Fault> {
        let entries: &[(String, Node)] = match self.node {
            Node::Map(entries) => entries,
            Node::Null => &[],
            _ => return Err(self.fault(expected)),
        };
        let depth = self.path.len();
        let mut keys: Vec<(&str, Option<&Node>)> = Vec::new();
        for (key, value) in entries {
            let at = child(&self.path, key);
            if !self.patches.dropped.contains(&at) {
                let written = !self.patches.neutral.contains(&at);
                keys.push((key, written.then_some(value)));
            }
        }
        for at in &self.patches.neutral {
            let is_missing = at.len() == depth + 1
                && at.starts_with(&self.path)
                && !entries.iter().any(|(key, _)| *key == at[depth]);
            if is_missing {
                keys.push((&at[depth], None));
            }
        }
        Ok(Fields { keys, next: 0, path: self.path, patches: self.patches })
    }
}

fn child(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let value = self.whole(<$type>::MIN as i128, <$type>::MAX as i128)?;
            visitor.$visit(value as $type).map_err(|fault: Fault| fault.at(&self.path))
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    whole_numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_i128 visit_i128 i128;
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (path, node) = (self.path.clone(), self.node);
        match node.value() {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Int(value) => visitor.visit_i64(*value),
            Node::UInt(value) => visitor.visit_u64(*value),
            Node::Float(_) => visitor.visit_f64(self.real()?),
            Node::Text(value) => visitor.visit_str(value),
            Node::List(_) => visitor.visit_seq(self.list("a list")?),
            Node::Map(_) => visitor.visit_map(self.map("a map")?),
            Node::Written { .. } => visitor.visit_unit(),
        }
        .map_err(|fault: Fault| fault.found(node).at(&path))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value() {
            Node::Bool(value) => visitor.visit_bool(*value).map_err(|f: Fault| f.at(&self.path)),
            _ => Err(self.fault("`true` or `false`")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f32(self.real()? as f32).map_err(|fault: Fault| fault.at(&self.path))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(self.real()?).map_err(|fault: Fault| fault.at(&self.path))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(&self.text()?).map_err(|fault: Fault| fault.at(&self.path))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Map(entries) if entries.is_empty() => visitor.visit_unit(),
            _ => Err(self.fault("nothing")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(&path))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        visitor.visit_seq(self.list("a list")?).map_err(|fault| fault.at(&path))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        let expected = format!("a list of {len}");
        let elements = self.list(&expected)?;
        if elements.items.len() != len {
            let found = format!("a list of {}", elements.items.len());
            return Err(Fault::expected(expected, found).at(&path));
        }
        visitor.visit_seq(elements).map_err(|fault| fault.at(&path))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        visitor.visit_map(self.map("a map")?).map_err(|fault| fault.at(&path))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        visitor.visit_map(self.map("a map of fields")?).map_err(|fault| fault.at(&path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Self { node, path, patches } = self;
        let chosen = match node {
            Node::Text(name) => Chosen { name, body: &Node::Null, by_key: false, path, patches },
            Node::Map(entries) if entries.len() == 1 => {
                let (name, body) = &entries[0];
                Chosen { name, body, by_key: true, path, patches }
            }
            _ => {
                let expected = format!("one of {}", crate::suggest::list(variants));
                return Err(Fault::expected(expected, node.describe()).at(&path));
            }
        };
        let path = chosen.path.clone();
        visitor.visit_enum(chosen).map_err(|fault| fault.at(&path))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

struct Elements<'a> {
    items: &'a [Node],
    next: usize,
    path: Vec<String>,
    patches: &'a Patches,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let path = child(&self.path, &self.next.to_string());
        self.next += 1;
        if self.patches.neutral.contains(&path) {
            return seed.deserialize(Neutral::new()).map(Some).map_err(|fault| fault.at(&path));
        }
        seed.deserialize(Reader::new(node, &path, self.patches))
            .map(Some)
            .map_err(|fault| fault.at(&path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Fields<'a> {
    /// The keys with their values, or without one where a harmless one is to be read.
    keys: Vec<(&'a str, Option<&'a Node>)>,
    next: usize,
    path: Vec<String>,
    patches: &'a Patches,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, _)) = self.keys.get(self.next) else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = (*key).into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.at_key(&self.path, key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, value) = self.keys[self.next];
        self.next += 1;
        let path = child(&self.path, key);
        match value {
            Some(node) => seed.deserialize(Reader::new(node, &path, self.patches)),
            None => seed.deserialize(Neutral::new()),
        }
        .map_err(|fault| fault.at(&path))
    }
}

/// One variant of an enum: `name`, or `name: body`.
struct Chosen<'a> {
    name: &'a str,
    body: &'a Node,
    by_key: bool,
    path: Vec<String>,
    patches: &'a Patches,
}

impl<'a> Chosen<'a> {
    fn body(self) -> Reader<'a> {
        let path = if self.by_key { child(&self.path, self.name) } else { self.path };
        Reader { node: self.body, path, patches: self.patches }
    }
}

impl<'de> EnumAccess<'de> for Chosen<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        match seed.deserialize(name) {
            Ok(value) => Ok((value, self)),
            Err(fault) if self.by_key => Err(fault.at_key(&self.path, self.name)),
            Err(fault) => Err(fault.at(&self.path)),
        }
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let is_empty = match self.body {
            Node::Null => true,
            Node::Map(entries) => entries.is_empty(),
            _ => false,
        };
        if is_empty { Ok(()) } else { Err(self.body().fault("no fields")) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let body = self.body();
        let path = body.path.clone();
        if body.patches.neutral.contains(&path) && !path.is_empty() {
            return seed.deserialize(Neutral::new()).map_err(|fault| fault.at(&path));
        }
        seed.deserialize(body).map_err(|fault| fault.at(&path))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.body().deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.body().deserialize_struct("", fields, visitor)
    }
}
