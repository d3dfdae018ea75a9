//! JSON, read as Go's `encoding/json` reads it into a struct: what CNCF Distribution has stored was read so, and so do
//! most clients read it.
//!
//! * Keys match whatever their case. Of a key that stands there twice, the last counts ([`Field::then`]).
//! * `null` counts as absent.
//! * Half of a surrogate pair, and bytes that are not UTF-8, count as U+FFFD.
//! * A value of another type than the field has is an error of that field alone: the rest is read all the same, and who
//!   asks decides whether it matters.
//!
//! Which fields a manifest has is not known here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The length of `\uXXXX`, in bytes.
const ESCAPE_BYTES: usize = 6;

/// The text of a document, with whatever is no Unicode replaced.
pub(super) fn text(raw: &[u8]) -> Cow<'_, str> {
    let mut text = String::from_utf8_lossy(raw);
    let halves = lone_surrogates(text.as_bytes());
    if !halves.is_empty() {
        let whole = text.to_mut();
        for at in halves {
            whole.replace_range(at + 2..at + ESCAPE_BYTES, "fffd");
        }
    }
    text
}

/// Where escapes begin that are one half of a surrogate pair without the other.
fn lone_surrogates(text: &[u8]) -> Vec<usize> {
    let unit = |at: usize| -> Option<u16> {
        let escape = text.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
    };
    let (mut lone, mut at) = (Vec::new(), 0);
    while let Some(step) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += step;
        let next = unit(at + ESCAPE_BYTES);
        at += match unit(at) {
            // An escape of one character; the one behind the backslash may be a backslash.
            None => 2,
            Some(0xd800..=0xdbff) if matches!(next, Some(0xdc00..=0xdfff)) => 2 * ESCAPE_BYTES,
            Some(0xd800..=0xdfff) => {
                lone.push(at);
                ESCAPE_BYTES
            }
            Some(_) => ESCAPE_BYTES,
        };
    }
    lone
}

/// Whether a key is meant to be this one, as Go folds case: two letters outside ASCII count as well.
fn is_key(found: &str, name: &str) -> bool {
    let folded = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    found == name || found.chars().map(folded).eq(name.chars().map(folded))
}

/// Reads a key: the one of these names that it is, if any.
pub(super) struct Key(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|name| is_key(text, name)).copied())
    }
}

/// A value of another type than its field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) found: &'static str,
    pub(super) expected: &'static str,
}

/// What stands in a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Field<T> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// A value of its type.
    Is(T),
    /// Something else.
    Wrong(Wrong),
}

impl<T> Field<T> {
    /// Takes what the key says when it stands there once more. In a field that is no list, map or pointer, `null` changes
    /// nothing.
    pub(super) fn then(&mut self, next: Self) {
        if !next.is_absent() {
            *self = next;
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// The value, if there is one of the right type.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Field::Is(value) => Some(value),
            Field::Absent | Field::Wrong(_) => None,
        }
    }

    /// The value, if there is any.
    pub(super) fn checked(self) -> Result<Option<T>, Wrong> {
        match self {
            Field::Is(value) => Ok(Some(value)),
            Field::Absent => Ok(None),
            Field::Wrong(wrong) => Err(wrong),
        }
    }
}

/// What a field can hold: made from the one or two types of JSON that fit. An error is one of the document, never of the
/// value.
pub(super) trait Value: Sized {
    /// What the value should be, for whoever wrote something else.
    const EXPECTED: &'static str;

    fn text(_text: &str) -> Option<Self> {
        None
    }

    fn integer(_number: i64) -> Option<Self> {
        None
    }

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de, T: Value> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyType(PhantomData))
    }
}

/// Takes a value of whatever type.
struct AnyType<T>(PhantomData<T>);

impl<T: Value> AnyType<T> {
    fn field(value: Option<T>, found: &'static str) -> Field<T> {
        value.map_or(Field::Wrong(Wrong { found, expected: T::EXPECTED }), Field::Is)
    }
}

impl<'de, T: Value> Visitor<'de> for AnyType<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Absent)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Field<T>, E> {
        Ok(Self::field(None, "a boolean"))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field<T>, E> {
        Ok(Self::field(T::integer(number), "a number"))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<T>, E> {
        Ok(Self::field(i64::try_from(number).ok().and_then(T::integer), "a number"))
    }

    fn visit_f64<E>(self, _number: f64) -> Result<Field<T>, E> {
        Ok(Self::field(None, "a number that is not whole"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<T>, E> {
        Ok(Self::field(T::text(text), "a string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field<T>, A::Error> {
        Ok(Self::field(T::list(list)?, "a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Field<T>, A::Error> {
        Ok(Self::field(T::object(object)?, "an object"))
    }
}

impl Value for String {
    const EXPECTED: &'static str = "a string";

    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Value for i64 {
    const EXPECTED: &'static str = "a whole number of 64 bits";

    fn integer(number: i64) -> Option<Self> {
        Some(number)
    }
}

/// Strings, and the first element that is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strings {
    pub(super) values: Vec<String>,
    pub(super) wrong: Option<Wrong>,
}

impl Value for Strings {
    const EXPECTED: &'static str = "a list of strings";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut strings = Strings::default();
        while let Some(element) = list.next_element::<Field<String>>()? {
            match element.checked() {
                Ok(text) => strings.values.push(text.unwrap_or_default()),
                Err(wrong) => drop(strings.wrong.get_or_insert(wrong)),
            }
        }
        Ok(Some(strings))
    }
}

/// Whether every value of an object is a string: the first that is not. The strings are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unkept {
    pub(super) wrong: Option<(String, Wrong)>,
}

/// A string that is not kept.
struct AnyString;

impl Value for AnyString {
    const EXPECTED: &'static str = <String as Value>::EXPECTED;

    fn text(_text: &str) -> Option<Self> {
        Some(AnyString)
    }
}

impl Value for Unkept {
    const EXPECTED: &'static str = "an object of strings";

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut unkept = Unkept::default();
        while let Some(key) = object.next_key::<Cow<'_, str>>()? {
            if let Field::Wrong(wrong) = object.next_value::<Field<AnyString>>()? {
                unkept.wrong.get_or_insert_with(|| (crate::digest::excerpt(&key), wrong));
            }
        }
        Ok(Some(unkept))
    }
}

/// The strings of an object. A value that is `null` counts as an empty one, and of another type as none.
impl Value for BTreeMap<String, String> {
    const EXPECTED: &'static str = <Unkept as Value>::EXPECTED;

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut strings = BTreeMap::new();
        while let Some((key, value)) = object.next_entry::<String, Field<String>>()? {
            if let Ok(value) = value.checked() {
                strings.insert(key, value.unwrap_or_default());
            }
        }
        Ok(Some(strings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_unicode_is_replaced() {
        fn check(raw: &[u8], expected: &str) {
            assert_eq!(text(raw), expected, "{}", String::from_utf8_lossy(raw));
            // What is right already is not copied.
            assert_eq!(matches!(text(raw), Cow::Borrowed(_)), raw == expected.as_bytes(), "{expected}");
        }
        check(br#"{"a":"b"}"#, r#"{"a":"b"}"#);
        check(b"\"\xff\xfe\"", "\"\u{fffd}\u{fffd}\"");
        check(br#""\ud83d\ude00""#, r#""\ud83d\ude00""#);
        check(br#""\ud800""#, r#""\ufffd""#);
        check(br#""\udc00\ud800""#, r#""\ufffd\ufffd""#);
        check(br#""\ud800\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#);
        check(br#""\ud800A\ud8""#, r#""\ufffdA\ud8""#);
        // The first backslash makes the second a letter.
        check(br#""\\ud800\n""#, r#""\\ud800\n""#);
        check(br#""\"#, r#""\"#);
        check(br#""\u"#, r#""\u"#);
        check("\"\\u00\u{e4}x\"".as_bytes(), "\"\\u00\u{e4}x\"");
    }

    #[test]
    fn keys_match_whatever_their_case() {
        for (found, expected) in [
            ("layers", true),
            ("Layers", true),
            ("LAYERS", true),
            ("layer\u{17f}", true),
            ("layer", false),
            ("layerss", false),
            ("l\u{e4}yers", false),
        ] {
            assert_eq!(is_key(found, "layers"), expected, "{found}");
        }
        assert!(is_key("schemaversion", "schemaVersion") && is_key("\u{212a}ey", "key"));
    }

    #[test]
    fn a_value_of_another_type_ends_nothing() {
        fn check<T: Value + fmt::Debug + PartialEq>(json: &str, expected: &Field<T>) {
            assert_eq!(&serde_json::from_str::<Field<T>>(json).unwrap(), expected, "{json}");
        }
        let wrong = |found, expected| Wrong { found, expected };
        check("null", &Field::<String>::Absent);
        check("\"a\"", &Field::Is("a".to_owned()));
        for (json, found) in [
            ("5", "a number"),
            ("1.5", "a number that is not whole"),
            ("true", "a boolean"),
            ("[[1],{\"a\":[]}]", "a list"),
            ("{\"a\":{\"b\":[1]}}", "an object"),
        ] {
            check(json, &Field::<String>::Wrong(wrong(found, "a string")));
        }
        check("-5", &Field::Is(-5));
        check("9223372036854775808", &Field::<i64>::Wrong(wrong("a number", "a whole number of 64 bits")));
        check("\"a\"", &Field::<i64>::Wrong(wrong("a string", "a whole number of 64 bits")));
        let values = vec!["a".to_owned(), String::new(), "b".to_owned()];
        check("[\"a\",null,\"b\"]", &Field::Is(Strings { values: values.clone(), wrong: None }));
        let with_number = Strings { values, wrong: Some(wrong("a number", "a string")) };
        check("[\"a\",5,null,\"b\",[]]", &Field::Is(with_number));
        check("{\"a\":\"b\",\"c\":null}", &Field::Is(Unkept { wrong: None }));
        let first = Some(("c".to_owned(), wrong("a list", "a string")));
        check("{\"a\":\"b\",\"c\":[],\"d\":5}", &Field::Is(Unkept { wrong: first }));
        let kept = [("a", "b"), ("e", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        check("{\"a\":\"b\",\"c\":[],\"d\":5,\"e\":null}", &Field::Is(BTreeMap::from(kept)));
        assert!(serde_json::from_str::<Field<String>>("[1").is_err());
    }
}
