//! The host that a request is for: said once, and well-formed (RFC 9112, section 3.2). What stands in front of a server and
//! the server itself could otherwise take a request to be for different hosts.

use http::{HeaderMap, Version, header};

/// Why a request is for no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    #[error("the request has no Host header")]
    Missing,
    #[error("the request has more than one Host header")]
    Several,
    #[error("the Host header of the request is malformed")]
    Malformed,
}

/// Looks at the `Host` of a request. HTTP/1.0 did not have it yet, and HTTP/2 says it otherwise.
pub(crate) fn check(version: Version, headers: &HeaderMap) -> Result<(), HostError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Err(HostError::Missing),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(HostError::Several),
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(HostError::Malformed),
    }
}

/// Whether this is a host with or without a port (RFC 3986, section 3.2.2), or nothing, which a client sends whose address
/// has no host.
fn is_host(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let (host, port) = match text.strip_prefix(b"[") {
        Some(inner) => {
            let Some(end) = inner.iter().position(|byte| *byte == b']') else { return false };
            let (literal, behind) = (&inner[..end], &inner[end + 1..]);
            if literal.is_empty() || !literal.iter().all(|byte| is_plain(byte) || *byte == b':') {
                return false;
            }
            (&[][..], behind)
        }
        None => text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len())),
    };
    let is_port = |text: &[u8]| text.strip_prefix(b":").is_some_and(|port| port.iter().all(u8::is_ascii_digit));
    host.iter().all(is_plain) && (port.is_empty() || is_port(port))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_is_for_one_host() {
        use HostError::{Malformed, Missing, Several};
        fn check_all(version: Version, hosts: &[&[u8]], expected: Result<(), HostError>) {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_bytes(host).unwrap());
            }
            assert_eq!(check(version, &headers), expected, "{version:?} {headers:?}");
        }
        let (old, new, second) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        check_all(new, &[], Err(Missing));
        check_all(old, &[], Ok(()));
        check_all(second, &[], Ok(()));
        for version in [old, new, second] {
            check_all(version, &[b"a", b"a"], Err(Several));
            check_all(version, &[b"a", b"b"], Err(Several));
            check_all(version, &[b"a b"], Err(Malformed));
        }
        for host in
            ["", "a", "a:5000", "A.example:", "127.0.0.1:1", "[::1]", "[::1]:5000", "[fe80::1%25eth0]:1", "x_y~%41"]
        {
            check_all(new, &[host.as_bytes()], Ok(()));
        }
        for host in [
            "a/b", "a@b", "a:b", "a:1:2", "::1", "[", "[]", "[::1", "[::1]x", "[::1]:x", "[a/b]", "a\\b", "<a>", "a#b",
            "a?b",
        ] {
            check_all(new, &[host.as_bytes()], Err(Malformed));
        }
        check_all(new, &[b"\xe9"], Err(Malformed));
    }
}
