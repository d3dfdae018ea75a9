//! [pure] What a client wants of the issuer: Docker's `GET`, and OAuth 2.0's `POST` (RFC 6749, 4.3 and 6; RFC 8693).

use super::scope::{self, Scope, ScopeError};

/// The grant type of an exchange of tokens (RFC 8693, 2.1).
pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The type of the tokens that are issued.
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The types of tokens of others that are taken, and that may be wanted.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";

/// How a client shows who it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Not at all.
    Nothing,
    Password {
        name: String,
        password: Vec<u8>,
    },
    Refresh(String),
    /// A token of another issuer.
    Token(String),
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) shown: Shown,
    /// Whom the token is to be for; this registry if it is not said.
    pub(crate) service: Option<String>,
    pub(crate) scopes: Vec<Scope>,
    /// Whether a refresh token is wanted as well.
    pub(crate) offline: bool,
    /// Whether the answer is that of an exchange, which says what kind of token it is.
    pub(crate) is_exchange: bool,
}

/// Why it cannot be told what is wanted; the codes are those of RFC 6749, 5.2.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is there twice")]
    Twice(String),
    #[error("the grant type {0:?} is none of password, refresh_token and {EXCHANGE}")]
    GrantType(String),
    #[error("a {of} of the type {found:?} is not {can}")]
    TokenType { of: &'static str, found: String, can: &'static str },
    #[error(transparent)]
    Scope(#[from] ScopeError),
}

impl RequestError {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            RequestError::GrantType(_) => "unsupported_grant_type",
            RequestError::Scope(_) => "invalid_scope",
            _ => "invalid_request",
        }
    }
}

type Fields = [(String, String)];

/// The value of a field that may be there once. An empty one is none (RFC 6749, 3.1).
fn once<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>, RequestError> {
    let mut found = fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(RequestError::Twice(name.to_owned())),
        (value, None) => Ok(value.filter(|value| !value.is_empty())),
    }
}

fn required<'a>(fields: &'a Fields, name: &'static str) -> Result<&'a str, RequestError> {
    once(fields, name)?.ok_or(RequestError::Missing(name))
}

/// What `GET` wants; name and password are in a header.
pub(crate) fn of_query(query: &Fields, shown: Shown) -> Result<Wanted, RequestError> {
    let scopes = query.iter().filter(|(key, _)| key == "scope").map(|(_, value)| value.as_str());
    Ok(Wanted {
        shown,
        service: once(query, "service")?.map(str::to_owned),
        scopes: scope::parse(scopes)?,
        offline: once(query, "offline_token")?.is_some_and(|value| matches!(value, "true" | "1")),
        is_exchange: false,
    })
}

/// What `POST` wants.
pub(crate) fn of_form(form: &Fields) -> Result<Wanted, RequestError> {
    let scopes = scope::parse(once(form, "scope")?)?;
    let service = once(form, "service")?;
    let offline = once(form, "access_type")? == Some("offline");
    let (shown, service, is_exchange) = match required(form, "grant_type")? {
        "password" => {
            let (name, password) = (required(form, "username")?, required(form, "password")?);
            (Shown::Password { name: name.to_owned(), password: password.as_bytes().to_vec() }, service, false)
        }
        "refresh_token" => (Shown::Refresh(required(form, "refresh_token")?.to_owned()), service, false),
        EXCHANGE => {
            let token = required(form, "subject_token")?.to_owned();
            let shown = match required(form, "subject_token_type")? {
                JWT | ID_TOKEN | ACCESS_TOKEN => Shown::Token(token),
                REFRESH_TOKEN => Shown::Refresh(token),
                found => {
                    let can =
                        "one of jwt, id_token, access_token and refresh_token (urn:ietf:params:oauth:token-type:…)";
                    return Err(RequestError::TokenType { of: "subject_token", found: found.to_owned(), can });
                }
            };
            if let Some(found) =
                once(form, "requested_token_type")?.filter(|found| ![ACCESS_TOKEN, JWT].contains(found))
            {
                let (of, can) = ("requested_token", "issued: access_token and jwt are");
                return Err(RequestError::TokenType { of, found: found.to_owned(), can });
            }
            // Whoever names the service by its address and by its name means the name.
            (shown, service.or(once(form, "audience")?), true)
        }
        other => return Err(RequestError::GrantType(other.to_owned())),
    };
    Ok(Wanted { shown, service: service.map(str::to_owned), scopes, offline, is_exchange })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(String, String)> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').map(|(key, value)| (key.into(), value.into())).unwrap()).collect()
    }

    fn told(shown: &Shown) -> String {
        match shown {
            Shown::Nothing => "nothing".to_owned(),
            Shown::Password { name, password } => format!("{name}:{}", String::from_utf8_lossy(password)),
            Shown::Refresh(token) => format!("refresh {token}"),
            Shown::Token(token) => format!("token {token}"),
        }
    }

    fn check(wanted: Result<Wanted, RequestError>, expected: Result<(&str, Option<&str>, usize, bool, bool), &str>) {
        match (wanted, expected) {
            (Ok(Wanted { shown, service, scopes, offline, is_exchange }), Ok(expected)) => {
                assert_eq!((told(&shown).as_str(), service.as_deref(), scopes.len(), offline, is_exchange), expected);
            }
            (Err(error), Err(expected)) => {
                let text = format!("{}: {error}", error.code());
                assert!(text.starts_with(expected), "{text} is not {expected}");
            }
            (Ok(_), Err(expected)) => panic!("is not refused: {expected}"),
            (Err(error), Ok(_)) => panic!("{error}"),
        }
    }

    #[test]
    fn what_docker_asks_is_read() {
        for (query, expected) in [
            ("", Ok(("nothing", None, 0, false, false))),
            (
                "account=a&service=r.example&scope=repository:a:pull&scope=repository:b:pull repository:c:pull&client_id=docker",
                Ok(("nothing", Some("r.example"), 3, false, false)),
            ),
            ("offline_token=true&service=", Ok(("nothing", None, 0, true, false))),
            ("offline_token=false", Ok(("nothing", None, 0, false, false))),
            ("service=a&service=b", Err("invalid_request: service is there twice")),
            ("scope=a", Err("invalid_scope: scope \"a\" is not")),
        ] {
            check(of_query(&fields(query), Shown::Nothing), expected);
        }
    }

    #[test]
    fn what_oauth_asks_is_read() {
        let exchange = format!("grant_type={EXCHANGE}&subject_token=t");
        for (form, expected) in [
            (
                "grant_type=password&username=a&password=p:q&service=r&scope=repository:a:pull repository:b:pull&client_id=x"
                    .to_owned(),
                Ok(("a:p:q", Some("r"), 2, false, false)),
            ),
            (
                "grant_type=password&username=a&password=p&access_type=offline".to_owned(),
                Ok(("a:p", None, 0, true, false)),
            ),
            ("grant_type=refresh_token&refresh_token=t&service=r".to_owned(), Ok(("refresh t", Some("r"), 0, false, false))),
            (format!("{exchange}&subject_token_type={ID_TOKEN}&audience=r"), Ok(("token t", Some("r"), 0, false, true))),
            (format!("{exchange}&subject_token_type={JWT}&service=r&audience=x"), Ok(("token t", Some("r"), 0, false, true))),
            (
                format!("{exchange}&subject_token_type={ACCESS_TOKEN}&requested_token_type={ACCESS_TOKEN}"),
                Ok(("token t", None, 0, false, true)),
            ),
            (format!("{exchange}&subject_token_type={REFRESH_TOKEN}"), Ok(("refresh t", None, 0, false, true))),
            (String::new(), Err("invalid_request: grant_type is missing")),
            ("grant_type=authorization_code".to_owned(), Err("unsupported_grant_type: the grant type \"authorization_code\"")),
            ("grant_type=password&username=a".to_owned(), Err("invalid_request: password is missing")),
            ("grant_type=password&username=&password=p".to_owned(), Err("invalid_request: username is missing")),
            ("grant_type=password&grant_type=password".to_owned(), Err("invalid_request: grant_type is there twice")),
            (
                "grant_type=password&username=a&username=b&password=p".to_owned(),
                Err("invalid_request: username is there twice"),
            ),
            ("grant_type=refresh_token".to_owned(), Err("invalid_request: refresh_token is missing")),
            (exchange.clone(), Err("invalid_request: subject_token_type is missing")),
            (format!("{exchange}&subject_token_type=saml2"), Err("invalid_request: a subject_token of the type \"saml2\"")),
            (
                format!("{exchange}&subject_token_type={JWT}&requested_token_type={REFRESH_TOKEN}"),
                Err("invalid_request: a requested_token of the type"),
            ),
            ("grant_type=refresh_token&refresh_token=t&scope=x".to_owned(), Err("invalid_scope: ")),
        ] {
            check(of_form(&fields(&form)), expected);
        }
    }
}
