//! From a tree of plain values to the types, with errors that name the key.
//!
//! This is a deserializer and not serde_json's for three reasons. An unknown key is reported with its path and the known
//! names, so that the nearest can be told. A plain value is read as its key's type wants it, as Go's YAML does: text is a
//! boolean where it says yes or no, and a number is text where text is wanted. And a map whose keys are 0, 1, 2 … is a
//! list where a list is wanted, for that is what variables leave where the file has no list.

use std::fmt::{self, Display};

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Map, Value};

/// Reads `T` from a tree.
pub(crate) fn read<T: DeserializeOwned>(tree: &Value) -> Result<T, Refusal> {
    T::deserialize(Node(tree))
}

/// Why a tree is not a `T`, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The keys that lead to the place, the innermost first.
    keys: Vec<String>,
    pub(crate) problem: Problem,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The last key of the path is not one of these.
    Unknown { known: &'static [&'static str] },
    /// Anything else, in words.
    Other(String),
}

impl Refusal {
    /// The keys that lead to the place, the outermost first.
    pub(crate) fn path(&self) -> Vec<&str> {
        self.keys.iter().rev().map(String::as_str).collect()
    }

    fn below(mut self, key: impl Display) -> Self {
        self.keys.push(key.to_string());
        self
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Other(message) => f.write_str(message),
            Problem::Unknown { known } => {
                let key = self.keys.first().map(String::as_str).unwrap_or_default();
                match nearest(key, known) {
                    Some(name) => write!(f, "there is no such key; did you mean {name}?"),
                    None => write!(f, "there is no such key; here are known {}", known.join(", ")),
                }
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self { keys: Vec::new(), problem: Problem::Other(message.to_string()) }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self { keys: vec![field.to_owned()], problem: Problem::Unknown { known: expected } }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom("must be set").below(field)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("{variant:?} is not known; write one of {}", expected.join(", ")))
    }
}

/// The known name that a key was most likely meant to be, if one is near enough.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|name| (distance(key, name), *name)).min()?;
    (near.0 <= (key.chars().count() / 3).max(1)).then_some(near.1)
}

/// How many characters must be put in, left out, replaced or swapped with their neighbour to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replaced = row[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

/// A value of the tree.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Value);

impl Node<'_> {
    fn is_not<'de, V: Visitor<'de>>(self, visitor: &V) -> Refusal {
        let found = match self.0 {
            Value::Null => Unexpected::Other("nothing"),
            Value::Bool(given) => Unexpected::Bool(*given),
            Value::Number(_) => Unexpected::Other("a number"),
            Value::String(given) => Unexpected::Str(given),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        };
        de::Error::invalid_type(found, visitor)
    }
}

/// What Go reads as a boolean, in YAML or in the parameters of a driver.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "f" | "0" => Some(false),
        _ => None,
    }
}

macro_rules! integers {
    ($($deserialize:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            match self.0 {
                Value::String(text) => match (text.trim().parse(), text.trim().parse()) {
                    (Ok(number), _) => visitor.visit_u64(number),
                    (_, Ok(number)) => visitor.visit_i64(number),
                    _ => Err(de::Error::invalid_type(Unexpected::Str(text), &"a whole number")),
                },
                Value::Number(_) => self.deserialize_any(visitor),
                _ => Err(self.is_not(&visitor)),
            }
        }
    )*};
}

macro_rules! texts {
    ($($deserialize:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            match self.0 {
                Value::String(text) => visitor.visit_str(text),
                Value::Bool(given) => visitor.visit_string(given.to_string()),
                Value::Number(given) => visitor.visit_string(given.to_string()),
                _ => Err(self.is_not(&visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(given) => visitor.visit_bool(*given),
            Value::Number(given) => match (given.as_u64(), given.as_i64(), given.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, Some(number)) => visitor.visit_f64(number),
                _ => Err(self.is_not(&visitor)),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(list) => visitor.visit_seq(List { entries: list.iter().collect(), next: 0 }),
            Value::Object(map) => visitor.visit_map(Section { entries: map.iter(), current: None }),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Bool(given) => visitor.visit_bool(*given),
            Value::String(text) => match truth(text) {
                Some(given) => visitor.visit_bool(given),
                None => Err(de::Error::invalid_type(Unexpected::Str(text), &"true or false")),
            },
            _ => Err(self.is_not(&visitor)),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    texts! { deserialize_str deserialize_string deserialize_identifier }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let entries = match self.0 {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) if !map.is_empty() => numbered(map)?,
            _ => return Err(self.is_not(&visitor)),
        };
        visitor.visit_seq(List { entries, next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Section { entries: map.iter(), current: None }),
            _ => Err(self.is_not(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Bool(given) => visitor.visit_enum(given.to_string().into_deserializer()),
            _ => Err(de::Error::custom("must be a name")),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

/// The entries of a map whose keys are 0, 1, 2 …, in that order.
fn numbered(map: &Map<String, Value>) -> Result<Vec<&Value>, Refusal> {
    let key = |index: usize| map.get(&index.to_string()).ok_or(index);
    (0..map.len()).map(key).collect::<Result<_, _>>().map_err(|index| {
        let given: Vec<_> = map.keys().map(String::as_str).collect();
        de::Error::custom(format!("is a list and has no entry {index}, but {}", given.join(", ")))
    })
}

struct List<'a> {
    entries: Vec<&'a Value>,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for List<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(Node(entry)).map(Some).map_err(|refusal| refusal.below(index))
    }
}

struct Section<'a> {
    entries: serde_json::map::Iter<'a>,
    current: Option<(&'a String, &'a Value)>,
}

impl<'de> de::MapAccess<'de> for Section<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        self.current = self.entries.next();
        self.current.map(|(key, _)| seed.deserialize(key.as_str().into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for without its key"));
        };
        seed.deserialize(Node(value)).map_err(|refusal| refusal.below(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        enabled: bool,
        interval: u32,
        name: Option<String>,
        headers: BTreeMap<String, Vec<String>>,
        inner: Vec<Inner>,
        level: Option<Level>,
    }

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        file: String,
    }

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Info,
    }

    #[test]
    fn plain_values_are_read_as_the_key_wants_them() {
        let expected = Sample {
            enabled: true,
            interval: 5,
            name: Some("7".into()),
            headers: [("a".into(), vec!["1".into(), "true".into()])].into(),
            inner: vec![Inner { file: "/f".into() }],
            level: Some(Level::Info),
        };
        for tree in [
            json!({"enabled": true, "interval": 5, "name": "7", "headers": {"a": ["1", "true"]}, "inner": [{"file": "/f"}], "level": "info"}),
            json!({"enabled": "yes", "interval": "5", "name": 7, "headers": {"a": [1, true]}, "inner": {"0": {"file": "/f"}}, "level": "info"}),
        ] {
            assert_eq!(read::<Sample>(&tree), Ok(expected.clone()), "{tree}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (tree, path, message) in [
            (json!({"enable": true}), "enable", "there is no such key; did you mean enabled?"),
            (
                json!({"x": 1}),
                "x",
                "there is no such key; here are known enabled, interval, name, headers, inner, level",
            ),
            (
                json!({"inner": [{"file": "a"}, {"fiel": "b"}]}),
                "inner.1.fiel",
                "there is no such key; did you mean file?",
            ),
            (json!({"inner": [{}]}), "inner.0.file", "must be set"),
            (json!({"inner": {"1": {}}}), "inner", "is a list and has no entry 0, but 1"),
            (json!({"inner": "x"}), "inner", "invalid type: string \"x\", expected a sequence"),
            (json!({"level": "loud"}), "level", "\"loud\" is not known; write one of info"),
            (json!({"enabled": "maybe"}), "enabled", "invalid type: string \"maybe\", expected true or false"),
            (json!({"interval": -1}), "interval", "invalid value: integer `-1`, expected u32"),
            (json!({"interval": "5s"}), "interval", "invalid type: string \"5s\", expected a whole number"),
        ] {
            let refusal = read::<Sample>(&tree).unwrap_err();
            assert_eq!((refusal.path().join("."), refusal.to_string()), (path.to_owned(), message.to_owned()));
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        for (key, expected) in [
            ("adr", Some("addr")),
            ("addrs", Some("addr")),
            ("hots", Some("host")),
            ("drain_timeout", Some("draintimeout")),
            ("x", None),
            ("certificate", None),
        ] {
            assert_eq!(nearest(key, &["addr", "host", "draintimeout"]), expected, "{key}");
        }
    }
}
