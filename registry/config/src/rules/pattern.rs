//! [pure] Patterns of names and of repositories, with placeholders for what is known of whoever asks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest pattern in bytes.
const MAX_BYTES: usize = 512;

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty, or very long.
    #[error("it has {0} bytes, not 1 to {MAX_BYTES}")]
    Length(usize),
    /// A placeholder is not closed, or is none.
    #[error("a placeholder is a name in braces, such as {{user}}")]
    Placeholder,
    /// Stars stand where they mean nothing.
    #[error("** stands for whole components: a/**, **/b, a/**/b")]
    Stars,
    /// A component can be none of a repository's name.
    #[error(
        "{0:?} can be no part of a repository's name: those are small letters and digits, with . _ __ or - between"
    )]
    Component(String),
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What is known of whoever asks, by this name.
    Of(String),
    /// Any characters; of a repository, those of one component.
    Star,
}

/// A pattern of names of users, groups and the like: `*` is any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    text: String,
    pieces: Vec<Piece>,
}

/// A pattern of names of repositories: `*` is any characters of one component, `**` any components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any number of components, none included.
    Any,
    Component(Vec<Piece>),
}

impl Part {
    fn text(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Of(name) => format!("{{{name}}}"),
            Piece::Star => "*".to_owned(),
        };
        match self {
            Part::Any => "**".to_owned(),
            Part::Component(pieces) => pieces.iter().map(piece).collect(),
        }
    }
}

/// What is known of whoever asks, by the name of a placeholder.
pub trait Known {
    /// The value; none if there is none.
    fn value(&self, name: &str) -> Option<&str>;
}

fn pieces(text: &str) -> Result<Vec<Piece>, PatternError> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['*', '{', '}']) {
        if at > 0 {
            pieces.push(Piece::Text(rest[..at].to_owned()));
        }
        match rest.as_bytes()[at] {
            b'*' => {
                pieces.push(Piece::Star);
                rest = &rest[at + 1..];
            }
            b'{' => {
                let (name, behind) = rest[at + 1..].split_once('}').ok_or(PatternError::Placeholder)?;
                let is_name = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
                if name.is_empty() || !name.chars().all(is_name) {
                    return Err(PatternError::Placeholder);
                }
                pieces.push(Piece::Of(name.to_owned()));
                rest = behind;
            }
            _ => return Err(PatternError::Placeholder),
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Whether pieces without placeholders are this text. A star takes as little as it can, and more where that does not do: the
/// time is that of both lengths multiplied.
fn is(pieces: &[Piece], text: &str) -> bool {
    let (mut at, mut left) = (0, text);
    // Where the last star was, and what is left when it takes one character more.
    let mut again: Option<(usize, &str)> = None;
    loop {
        match pieces.get(at) {
            Some(Piece::Star) => {
                again = Some((at, left));
                at += 1;
            }
            Some(Piece::Text(expected)) if left.starts_with(expected.as_str()) => {
                left = &left[expected.len()..];
                at += 1;
            }
            None if left.is_empty() => return true,
            _ => {
                let Some((star, from)) = again else { return false };
                let Some(character) = from.chars().next() else { return false };
                left = &from[character.len_utf8()..];
                again = Some((star, left));
                at = star + 1;
            }
        }
    }
}

/// The pieces with what is known in place of the placeholders; none if something is not known or may not stand there.
fn filled(pieces: &[Piece], known: &dyn Known, may_stand: impl Fn(&str) -> bool) -> Option<Vec<Piece>> {
    let fill = |piece: &Piece| match piece {
        Piece::Of(name) => {
            known.value(name).filter(|value| may_stand(value)).map(|value| Piece::Text(value.to_owned()))
        }
        piece => Some(piece.clone()),
    };
    pieces.iter().map(fill).collect()
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(PatternError::Length(text.len()));
        }
        Ok(NamePattern { text: text.to_owned(), pieces: pieces(text)? })
    }
}

impl NamePattern {
    /// Whether this is such a name, for somebody of whom this is known.
    #[must_use]
    pub fn matches(&self, name: &str, known: &dyn Known) -> bool {
        filled(&self.pieces, known, |value| !value.is_empty()).is_some_and(|pieces| is(&pieces, name))
    }
}

/// Whether this is a letter or a digit of a repository's name, and no separator.
fn is_plain(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit()
}

/// Whether a text can stand in a component of a repository's name: what is between letters and digits is one separator.
fn is_within(text: &str) -> bool {
    text.split(is_plain)
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

/// Whether a text can be one component of a repository's name, or several with slashes between.
fn is_path(text: &str) -> bool {
    text.split('/')
        .all(|component| component.starts_with(is_plain) && component.ends_with(is_plain) && is_within(component))
}

/// Whether pieces can be a component of a repository's name, with something for what is not said.
fn is_component(pieces: &[Piece]) -> bool {
    let begins = |piece: &Piece| !matches!(piece, Piece::Text(text) if !text.starts_with(is_plain));
    let ends = |piece: &Piece| !matches!(piece, Piece::Text(text) if !text.ends_with(is_plain));
    pieces.first().is_some_and(begins)
        && pieces.last().is_some_and(ends)
        && pieces.iter().all(|piece| !matches!(piece, Piece::Text(text) if !is_within(text)))
}

impl FromStr for RepositoryPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(PatternError::Length(text.len()));
        }
        let part = |component: &str| {
            if component == "**" {
                return Ok(Part::Any);
            }
            if component.contains("**") {
                return Err(PatternError::Stars);
            }
            let pieces = pieces(component)?;
            match is_component(&pieces) {
                true => Ok(Part::Component(pieces)),
                false => Err(PatternError::Component(component.to_owned())),
            }
        };
        Ok(RepositoryPattern { text: text.to_owned(), parts: text.split('/').map(part).collect::<Result<_, _>>()? })
    }
}

impl RepositoryPattern {
    /// Whether this is such a repository, for somebody of whom this is known. What stands for a placeholder is taken as it
    /// is: it has to be a name, or several with slashes between, and no star in it means anything.
    #[must_use]
    pub fn matches(&self, name: &str, known: &dyn Known) -> bool {
        let components: Vec<&str> = name.split('/').collect();
        self.parts_of(known).is_some_and(|parts| are(&parts, &components))
    }

    /// What every name that it matches begins with; of a pattern of everything, nothing.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let text = &self.text[..self.text.find(['*', '{']).unwrap_or(self.text.len())];
        // No component may be behind the last slash.
        text.strip_suffix('/').unwrap_or(text)
    }

    /// The pattern with what is known in place of the placeholders; none if something is not known or may not stand there.
    #[must_use]
    pub fn of(&self, known: &dyn Known) -> Option<Self> {
        let parts = self.parts_of(known)?;
        let text: Vec<String> = parts.iter().map(Part::text).collect();
        Some(RepositoryPattern { text: text.join("/"), parts })
    }

    fn parts_of(&self, known: &dyn Known) -> Option<Vec<Part>> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Any => parts.push(Part::Any),
                Part::Component(pieces) => match &pieces[..] {
                    // A whole component may become several.
                    [Piece::Of(of)] => {
                        let value = known.value(of).filter(|value| is_path(value))?;
                        let component = |text: &str| Part::Component(vec![Piece::Text(text.to_owned())]);
                        parts.extend(value.split('/').map(component));
                    }
                    pieces => {
                        let may_stand = |value: &str| is_path(value) && !value.contains('/');
                        parts.push(Part::Component(filled(pieces, known, may_stand)?));
                    }
                },
            }
        }
        Some(parts)
    }
}

/// Whether the components of a name are these parts; as [`is`], with whole components.
fn are(parts: &[Part], components: &[&str]) -> bool {
    let (mut at, mut left) = (0, components);
    let mut again: Option<(usize, &[&str])> = None;
    // How many components there were for the last `**` to take: as many as can be, since those before take few.
    let mut for_last = 0;
    loop {
        match (parts.get(at), left.split_first()) {
            (Some(Part::Any), _) => {
                again = Some((at, left));
                for_last = left.len();
                at += 1;
            }
            (Some(Part::Component(pieces)), Some((first, rest))) if is(pieces, first) => {
                left = rest;
                at += 1;
            }
            // What lies behind `a/` is not `a` itself.
            (None, None) => return parts.last() != Some(&Part::Any) || for_last > 0,
            _ => {
                let Some((any, from)) = again else { return false };
                let Some((_, rest)) = from.split_first() else { return false };
                left = rest;
                again = Some((any, rest));
                at = any + 1;
            }
        }
    }
}

macro_rules! is_text {
    ($pattern:ty) => {
        impl TryFrom<String> for $pattern {
            type Error = PatternError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$pattern> for String {
            fn from(pattern: $pattern) -> String {
                pattern.text
            }
        }

        impl fmt::Display for $pattern {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.text)
            }
        }
    };
}

is_text!(NamePattern);
is_text!(RepositoryPattern);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Somebody(BTreeMap<&'static str, &'static str>);

    impl Known for Somebody {
        fn value(&self, name: &str) -> Option<&str> {
            self.0.get(name).copied()
        }
    }

    fn somebody() -> Somebody {
        Somebody(BTreeMap::from([
            ("user", "alice"),
            ("namespace", "team-a"),
            ("repository", "acme/app"),
            ("star", "**"),
            ("dots", ".."),
            ("capital", "Alice"),
            ("empty", ""),
            ("slash", "a/"),
        ]))
    }

    #[test]
    fn repositories_are_matched_by_components() {
        for (pattern, name, expected) in [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("team/app", "team/app", true),
            ("team/app", "team/app2", false),
            ("team/app", "team", false),
            ("team/*", "team/app", true),
            ("team/*", "team", false),
            ("team/*", "team/a/b", false),
            ("team/**", "team/app", true),
            ("team/**", "team/a/b/c", true),
            ("team/**", "team", false),
            ("team/**", "teams/app", false),
            ("**/app", "app", true),
            ("**/app", "a/b/app", true),
            ("**/app", "a/b/app2", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/x/y", false),
            ("a/**/b/**/c", "a/b/b/c", true),
            ("a/**/b/**/c", "a/c", false),
            ("a-*-z/x", "a-b-c-z/x", true),
            ("a*/x", "a/x", true),
            ("a*b*c", "aXbXc", true),
            ("a-*__b.{user}---c", "a-x__b.alice---c", true),
            ("a*b*c", "aXc", false),
            ("{namespace}/**", "team-a/app", true),
            ("{namespace}/**", "team-b/app", false),
            ("ci/{repository}/**", "ci/acme/app/main", true),
            ("ci/{repository}/**", "ci/acme/app", false),
            ("ci/{repository}", "ci/acme/app", true),
            ("ci/{repository}/**", "ci/acme/other/main", false),
            ("x-{namespace}", "x-team-a", true),
            ("x-{repository}", "x-acme/app", false),
            ("{nobody}/**", "nobody/app", false),
            ("{star}/app", "a/app", false),
            ("{star}/app", "**/app", false),
            ("{dots}/app", "../app", false),
            ("{capital}/app", "Alice/app", false),
            ("{empty}/app", "/app", false),
            ("{slash}/app", "a//app", false),
        ] {
            let parsed: RepositoryPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(name, &somebody()), expected, "{pattern} {name}");
            assert_eq!(String::from(parsed), pattern);
        }
    }

    #[test]
    fn names_are_matched_by_characters() {
        for (pattern, name, expected) in [
            ("*", "anybody", true),
            ("*", "", true),
            ("alice", "alice", true),
            ("alice", "Alice", false),
            ("keycloak:*", "keycloak:platform", true),
            ("github:repo:acme/*", "github:repo:acme/app:ref:refs/heads/main", true),
            ("github:repo:acme/*", "github:repo:acme2/app", false),
            ("{namespace}/*", "team-a/builder", true),
            ("{namespace}/*", "team-b/builder", false),
            ("{nobody}*", "nobody", false),
            ("{star}", "anybody", false),
            ("{empty}x", "x", false),
            ("*@example.com", "a@b@example.com", true),
        ] {
            let parsed: NamePattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(name, &somebody()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let component = |text: &str| PatternError::Component(text.into());
        for (text, expected) in [
            ("", PatternError::Length(0)),
            (&"a".repeat(MAX_BYTES + 1), PatternError::Length(MAX_BYTES + 1)),
            ("{user", PatternError::Placeholder),
            ("user}", PatternError::Placeholder),
            ("{}", PatternError::Placeholder),
            ("{a b}", PatternError::Placeholder),
            ("a**", PatternError::Stars),
            ("***", PatternError::Stars),
            ("a/**b/c", PatternError::Stars),
            ("a//b", component("")),
            ("/a", component("")),
            ("a/", component("")),
            ("Team/**", component("Team")),
            ("a b", component("a b")),
            ("ä", component("ä")),
            ("a/../b", component("..")),
            ("./a", component(".")),
            ("a/-b", component("-b")),
            ("a_/b", component("a_")),
            ("a..b", component("a..b")),
            ("a._b", component("a._b")),
            ("a/.*", component(".*")),
            ("{user}-/a", component("{user}-")),
            ("a.__*", component("a.__*")),
        ] {
            assert_eq!(text.parse::<RepositoryPattern>().unwrap_err(), expected, "{text}");
        }
        assert_eq!("{".parse::<NamePattern>().unwrap_err(), PatternError::Placeholder);
    }

    /// What a pattern means, found out by trying everything.
    fn by_trying(parts: &[&str], components: &[&str]) -> bool {
        match (parts, components) {
            ([], []) => true,
            (["**"], rest) => !rest.is_empty(),
            (["**", more @ ..], _) => (0..=components.len()).any(|taken| by_trying(more, &components[taken..])),
            ([part, more @ ..], [component, rest @ ..]) => (*part == "*" || part == component) && by_trying(more, rest),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_means_what_trying_everything_finds(
            parts in proptest::collection::vec("a|b|[*]|[*][*]", 1..6),
            components in proptest::collection::vec("a|b", 1..6),
        ) {
            let (pattern, name) = (parts.join("/"), components.join("/"));
            let parsed: RepositoryPattern = pattern.parse().unwrap();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let components: Vec<&str> = components.iter().map(String::as_str).collect();
            let found = parsed.matches(&name, &Somebody(BTreeMap::new()));
            proptest::prop_assert_eq!(found, by_trying(&parts, &components), "{} {}", pattern, name);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z*{}/._-]{0,20}|\\PC{0,20}", name in "[a-z/]{0,20}") {
            if let Ok(pattern) = text.parse::<RepositoryPattern>() {
                let _ = pattern.matches(&name, &somebody());
            }
            if let Ok(pattern) = text.parse::<NamePattern>() {
                let _ = pattern.matches(&name, &somebody());
            }
        }
    }
}
