//! Name and password from an `Authorization: Basic` header (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, header};

/// What the headers of a request hold of name and password.
#[derive(PartialEq, Eq)]
pub(crate) enum Basic {
    /// Both.
    Given { name: String, password: Vec<u8> },
    /// None, or those of another scheme.
    Absent,
    /// The scheme, and behind it something else.
    Malformed,
}

pub(crate) fn read(headers: &HeaderMap) -> Basic {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Basic::Absent };
    let Ok(text) = value.to_str() else { return Basic::Malformed };
    let (scheme, encoded) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Basic::Absent;
    }
    decode(encoded.trim()).unwrap_or(Basic::Malformed)
}

fn decode(encoded: &str) -> Option<Basic> {
    let mut name = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some(Basic::Given { name: String::from_utf8(name).ok()?, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_password_are_taken_apart() {
        let given = |name: &str, password: &str| Basic::Given { name: name.into(), password: password.into() };
        for (header, expected) in [
            (Some("Basic YWxpY2U6czNjcjN0"), given("alice", "s3cr3t")),
            (Some("basic  YWxpY2U6czNjcjN0"), given("alice", "s3cr3t")),
            (Some("Basic YTpiOmM="), given("a", "b:c")),
            (Some("Basic YTpiOmM"), given("a", "b:c")),
            (Some("Basic Og=="), given("", "")),
            (None, Basic::Absent),
            (Some("Bearer YWxpY2U6czNjcjN0"), Basic::Absent),
            (Some("Basic"), Basic::Malformed),
            (Some("Basic YWxpY2U="), Basic::Malformed),
            (Some("Basic !"), Basic::Malformed),
            (Some("Basic /zph"), Basic::Malformed),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(header::AUTHORIZATION, header.parse().unwrap());
            }
            assert!(read(&headers) == expected, "{header:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_a_client_encodes_is_read_back(name in "[^:\\p{C}]{0,20}", password: Vec<u8>, padded: bool) {
            let pair = [name.as_bytes(), b":", &password].concat();
            let encoded = if padded { STANDARD.encode(pair) } else { STANDARD_NO_PAD.encode(pair) };
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, format!("Basic {encoded}").parse().unwrap())]);
            let expected = Basic::Given { name, password };
            proptest::prop_assert!(read(&headers) == expected);
        }

        #[test]
        fn no_header_makes_the_reader_panic(text in "(Basic |basic|Bearer )?[ -~]{0,40}") {
            let _ = read(&HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().unwrap())]));
        }
    }
}
