//! [pure] What a token claims (RFC 7519, and Distribution's specification of token authentication), and whether that counts
//! here and now.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::auth::{Grant, Grants};
use crate::jose::strict;

/// How far two clocks may differ, in seconds.
pub(crate) const LEEWAY_SECONDS: i64 = 60;

/// Why the claims of a token do not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// They cannot be read.
    #[error("its claims cannot be read: {0}")]
    Form(String),
    /// Somebody else has issued it.
    #[error("its issuer, {0:?}, is another")]
    Issuer(String),
    /// It is for somebody else.
    #[error("it is for {0:?}")]
    Audience(Vec<String>),
    /// It has ended.
    #[error("it ended at {0} (seconds since 1970)")]
    Ended(i64),
    /// It does not end.
    #[error("it has no end (exp)")]
    Endless,
    /// It has not begun.
    #[error("it does not begin before {0} (seconds since 1970)")]
    Early(i64),
}

/// The claims. One that is there twice is an error.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    pub(crate) sub: Option<String>,
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    exp: Option<Date>,
    #[serde(default)]
    nbf: Option<Date>,
    #[serde(default)]
    access: Option<Vec<Resource>>,
}

/// One text, or a list of them.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
    #[default]
    Nobody,
}

/// What is granted on one thing.
#[derive(Debug, Deserialize)]
struct Resource {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    class: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    actions: Option<Vec<String>>,
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// A `NumericDate`: seconds since 1970, of which a part may be a fraction (RFC 7519, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date(i64);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;
        impl Visitor<'_> for Seconds {
            type Value = Date;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("seconds since 1970")
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Date, E> {
                Ok(Date(seconds))
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Date, E> {
                Ok(Date(i64::try_from(seconds).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Date, E> {
                match seconds.is_finite() {
                    // A cast that does not fit is the nearest that does.
                    true => Ok(Date(seconds.floor() as i64)),
                    false => Err(E::custom("not a number of seconds")),
                }
            }
        }
        deserializer.deserialize_any(Seconds)
    }
}

impl Claims {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, ClaimsError> {
        strict::from_slice(payload).map_err(|error| ClaimsError::Form(error.to_string()))
    }

    /// Whether the token is one of this issuer, for this service, and counts `now`; until when it does, in seconds since 1970.
    pub(crate) fn check(&self, issuer: &str, service: &str, now: i64) -> Result<i64, ClaimsError> {
        let said = self.iss.as_deref().unwrap_or_default();
        if said != issuer {
            return Err(ClaimsError::Issuer(said.to_owned()));
        }
        let audience = match &self.aud {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Many(many) => many,
            Audience::Nobody => &[],
        };
        if !audience.iter().any(|audience| audience == service) {
            return Err(ClaimsError::Audience(audience.to_vec()));
        }
        let Some(Date(end)) = self.exp else { return Err(ClaimsError::Endless) };
        let until = end.saturating_add(LEEWAY_SECONDS);
        if now > until {
            return Err(ClaimsError::Ended(end));
        }
        match self.nbf {
            Some(Date(begin)) if now < begin.saturating_sub(LEEWAY_SECONDS) => Err(ClaimsError::Early(begin)),
            _ => Ok(until),
        }
    }

    /// What the token grants.
    pub(crate) fn grants(self) -> Grants {
        // What is no pattern lists nothing.
        let patterns = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect();
        let grant = |Resource { kind, class, name, actions, repositories }| Grant {
            kind,
            class: class.unwrap_or_default(),
            name,
            actions: actions.unwrap_or_default(),
            repositories: repositories.map(patterns).unwrap_or_default(),
        };
        Grants::new(self.access.unwrap_or_default().into_iter().map(grant).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn check(claims: &str) -> Result<i64, ClaimsError> {
        Claims::parse(claims.as_bytes())?.check("issuer", "registry", NOW)
    }

    #[test]
    fn the_claims_of_a_good_token_count() {
        let end = NOW + 300;
        for claims in [
            format!(r#"{{"iss":"issuer","aud":"registry","exp":{end}}}"#),
            format!(r#"{{"iss":"issuer","aud":["other","registry"],"exp":{end},"nbf":{NOW},"iat":{NOW}}}"#),
            format!(r#"{{"iss":"issuer","aud":["registry"],"exp":{end}.7,"nbf":null,"sub":null,"access":null}}"#),
            format!(r#"{{"iss":"issuer","aud":"registry","exp":{end},"nbf":{}}}"#, NOW + LEEWAY_SECONDS),
        ] {
            assert_eq!(check(&claims), Ok(end + LEEWAY_SECONDS), "{claims}");
        }
        let just = format!(r#"{{"iss":"issuer","aud":"registry","exp":{}}}"#, NOW - LEEWAY_SECONDS);
        assert_eq!(check(&just), Ok(NOW));
        assert_eq!(check(r#"{"iss":"issuer","aud":"registry","exp":1e300}"#), Ok(i64::MAX));
    }

    #[test]
    fn claims_that_do_not_count_say_why() {
        let end = NOW + 300;
        for (claims, expected) in [
            (format!(r#"{{"aud":"registry","exp":{end}}}"#), ClaimsError::Issuer(String::new())),
            (format!(r#"{{"iss":"Issuer","aud":"registry","exp":{end}}}"#), ClaimsError::Issuer("Issuer".into())),
            (format!(r#"{{"iss":"issuer","exp":{end}}}"#), ClaimsError::Audience(vec![])),
            (format!(r#"{{"iss":"issuer","aud":null,"exp":{end}}}"#), ClaimsError::Audience(vec![])),
            (
                format!(r#"{{"iss":"issuer","aud":"Registry","exp":{end}}}"#),
                ClaimsError::Audience(vec!["Registry".into()]),
            ),
            (r#"{"iss":"issuer","aud":"registry"}"#.into(), ClaimsError::Endless),
            (
                format!(r#"{{"iss":"issuer","aud":"registry","exp":{}}}"#, NOW - LEEWAY_SECONDS - 1),
                ClaimsError::Ended(NOW - LEEWAY_SECONDS - 1),
            ),
            (r#"{"iss":"issuer","aud":"registry","exp":-1}"#.into(), ClaimsError::Ended(-1)),
            (
                format!(r#"{{"iss":"issuer","aud":"registry","exp":{end},"nbf":{}}}"#, NOW + LEEWAY_SECONDS + 1),
                ClaimsError::Early(NOW + LEEWAY_SECONDS + 1),
            ),
        ] {
            assert_eq!(check(&claims).unwrap_err(), expected, "{claims}");
        }
        for claims in [
            "",
            "7",
            r#"{"iss":"issuer","iss":"issuer","aud":"registry","exp":9999999999}"#,
            r#"{"iss":"issuer","aud":"registry","exp":1,"exp":9999999999}"#,
            r#"{"iss":"issuer","aud":"registry","exp":9999999999,"access":[],"access":[]}"#,
            r#"{"iss":"issuer","aud":"registry","exp":"9999999999"}"#,
            r#"{"iss":"issuer","aud":{"registry":true},"exp":9999999999}"#,
            r#"{"iss":"issuer","aud":["registry",7],"exp":9999999999}"#,
            r#"{"iss":"issuer","aud":"registry","exp":9999999999,"access":{"type":"repository"}}"#,
        ] {
            assert!(matches!(check(claims), Err(ClaimsError::Form(_))), "{claims}");
        }
    }
}
