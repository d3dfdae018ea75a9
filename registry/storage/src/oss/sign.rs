//! Signatures of requests, versions 1 and 4 of Alibaba Cloud's object store, as its documentation describes them
//! ("Include a V4 signature in the header", "V4 signatures in presigned URLs", and the same for V1).
//!
//! Pure: the time and the keys are given, and nothing is sent from here. Version 4 is meant for whoever knows the region,
//! version 1 for whoever does not.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::credentials::Keys;

/// The name of version 4.
const V4: &str = "OSS4-HMAC-SHA256";
/// What the hash of the body is said to be. The store takes nothing else: the body is guarded by TLS.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How long an address of version 4 may be good, by the documentation.
const MAX_VALIDITY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What stays as it is in a query: what RFC 3986 calls unreserved.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What stays as it is in a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// The parameters that version 1 signs; the others that the driver sends it leaves out. `versionId` is not sent: the
/// published signatures have it.
const SIGNED_BY_V1: [&str; 7] =
    ["continuation-token", "delete", "partNumber", "security-token", "uploadId", "uploads", "versionId"];

/// A parameter of a query: a name and a value, neither of them encoded. One without a value has an empty one.
pub(super) type Parameter = (&'static str, String);
/// A header: its name in small letters, and its value.
pub(super) type Header = (&'static str, String);

/// What of a request its signature is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signable<'a> {
    /// The method.
    pub(super) method: &'a str,
    /// The bucket, however the address names it.
    pub(super) bucket: &'a str,
    /// The name of the object; empty if the request is about the bucket.
    pub(super) name: &'a str,
    /// The parameters, in any order.
    pub(super) query: &'a [Parameter],
    /// The headers, in any order.
    pub(super) headers: &'a [Header],
}

/// With what a request is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signer<'a> {
    /// Whose signature it is.
    pub(super) keys: &'a Keys,
    /// The region, such as `cn-hangzhou`; none for version 1.
    pub(super) region: Option<&'a str>,
    /// When it is signed.
    pub(super) now: Timestamp,
}

/// The parameters as they stand in an address: encoded, in the order of their encoded names, as version 4 signs them.
pub(super) fn query_text(query: &[Parameter]) -> String {
    let mut pairs: Vec<(String, String)> = query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort();
    let mut text = String::new();
    for (name, value) in pairs {
        let (ampersand, equals) = (if text.is_empty() { "" } else { "&" }, if value.is_empty() { "" } else { "=" });
        let _ = write!(text, "{ampersand}{name}{equals}{value}");
    }
    text
}

/// A path as it stands in an address.
pub(super) fn path_text(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

impl Signer<'_> {
    /// The headers that make the request one of the keys' owner: `authorization`, and those that it rests on.
    pub(super) fn headers(&self, request: &Signable<'_>) -> Vec<Header> {
        let mut added: Vec<Header> = Vec::with_capacity(4);
        match self.region {
            Some(_) => {
                added.push(("x-oss-content-sha256", UNSIGNED.to_owned()));
                added.push(("x-oss-date", self.stamp()));
            }
            None => added.push(("date", http_date(self.now))),
        }
        if let Some(token) = &self.keys.token {
            added.push(("x-oss-security-token", token.clone()));
        }
        let headers: Vec<Header> = request.headers.iter().chain(&added).cloned().collect();
        let request = Signable { headers: &headers, ..*request };
        let id = &self.keys.id;
        let authorization = match self.region {
            Some(region) => {
                let signature = self.v4_signature(region, &request);
                format!("{V4} Credential={id}/{},Signature={signature}", self.scope(region))
            }
            None => format!("OSS {id}:{}", self.v1_signature(&http_date(self.now), &request)),
        };
        added.push(("authorization", authorization));
        added
    }

    /// The parameters that make an address good for `validity`: those of the request, and the signature.
    pub(super) fn parameters(&self, request: &Signable<'_>, validity: Duration) -> Vec<Parameter> {
        let validity = validity.min(MAX_VALIDITY).as_secs();
        let mut query = request.query.to_vec();
        let id = &self.keys.id;
        let token = self.keys.token.clone();
        if let Some(region) = self.region {
            query.extend(token.map(|token| ("x-oss-security-token", token)));
            query.push(("x-oss-signature-version", V4.to_owned()));
            query.push(("x-oss-date", self.stamp()));
            query.push(("x-oss-expires", validity.to_string()));
            query.push(("x-oss-credential", format!("{id}/{}", self.scope(region))));
            let signature = self.v4_signature(region, &Signable { query: &query, ..*request });
            query.push(("x-oss-signature", signature));
        } else {
            let expires = self.now.as_second().saturating_add_unsigned(validity).to_string();
            query.extend(token.map(|token| ("security-token", token)));
            let signature = self.v1_signature(&expires, &Signable { query: &query, ..*request });
            query.push(("Expires", expires));
            query.push(("OSSAccessKeyId", id.clone()));
            query.push(("Signature", signature));
        }
        query
    }

    fn stamp(&self) -> String {
        self.now.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    fn day(&self) -> String {
        self.now.strftime("%Y%m%d").to_string()
    }

    fn scope(&self, region: &str) -> String {
        format!("{}/{region}/oss/aliyun_v4_request", self.day())
    }

    fn v4_signature(&self, region: &str, request: &Signable<'_>) -> String {
        let canonical = hex(digest::digest(&digest::SHA256, v4_canonical(request).as_bytes()).as_ref());
        let text = format!("{V4}\n{}\n{}\n{canonical}", self.stamp(), self.scope(region));
        let mut key = format!("aliyun_v4{}", self.keys.secret).into_bytes();
        for step in [self.day().as_str(), region, "oss", "aliyun_v4_request"] {
            key = mac(hmac::HMAC_SHA256, &key, step).as_ref().to_vec();
        }
        hex(mac(hmac::HMAC_SHA256, &key, &text).as_ref())
    }

    fn v1_signature(&self, date: &str, request: &Signable<'_>) -> String {
        let text = v1_text(date, request);
        STANDARD.encode(mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.keys.secret.as_bytes(), &text))
    }
}

/// The request in the one form that version 4 hashes. No header is signed beyond those that always are.
fn v4_canonical(request: &Signable<'_>) -> String {
    let Signable { method, bucket, name, query, headers } = request;
    let path = path_text(&format!("/{bucket}/{name}"));
    let is_signed = |name: &str| name.starts_with("x-oss-") || name == "content-type" || name == "content-md5";
    format!("{method}\n{path}\n{}\n{}\n\n{UNSIGNED}", query_text(query), header_lines(headers, is_signed))
}

/// The text that version 1 signs.
fn v1_text(date: &str, request: &Signable<'_>) -> String {
    let Signable { method, bucket, name, query, headers } = request;
    let value = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value.trim());
    let (md5, content_type) = (value("content-md5"), value("content-type"));
    let lines = header_lines(headers, |name| name.starts_with("x-oss-"));
    let mut signed: Vec<&Parameter> = query.iter().filter(|(name, _)| SIGNED_BY_V1.contains(name)).collect();
    signed.sort();
    let mut resource = format!("/{bucket}/{name}");
    for (position, (name, value)) in signed.into_iter().enumerate() {
        let (sign, equals) = (if position == 0 { '?' } else { '&' }, if value.is_empty() { "" } else { "=" });
        let _ = write!(resource, "{sign}{name}{equals}{value}");
    }
    format!("{method}\n{md5}\n{content_type}\n{date}\n{lines}{resource}")
}

/// One line for each header that is signed, in the order of their names.
fn header_lines(headers: &[Header], is_signed: impl Fn(&str) -> bool) -> String {
    let mut signed: Vec<&Header> = headers.iter().filter(|(name, _)| is_signed(name)).collect();
    signed.sort();
    signed.into_iter().fold(String::new(), |mut lines, (name, value)| {
        let _ = writeln!(lines, "{name}:{}", value.trim());
        lines
    })
}

/// A time as HTTP writes it.
pub(super) fn http_date(time: Timestamp) -> String {
    let mut text = String::new();
    // A timestamp beyond what HTTP can write is beyond the year 9999.
    let _ = rfc2822::DateTimePrinter::new().print_timestamp_rfc9110(&time, &mut text);
    text
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(algorithm, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(token: Option<&str>) -> Keys {
        Keys { id: "ak".to_owned(), secret: "sk".to_owned(), token: token.map(str::to_owned), expires: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn named(headers: &[Header], wanted: &str) -> String {
        headers.iter().find(|(name, _)| *name == wanted).unwrap_or_else(|| panic!("no {wanted}")).1.clone()
    }

    /// The parameters of the vectors below, with everything that has to be encoded.
    fn odd_query() -> Vec<Parameter> {
        let pairs = [
            ("param1", "value1"),
            ("+param1", "value3"),
            ("|param1", "value4"),
            ("+param2", ""),
            ("|param2", ""),
            ("param2", ""),
        ];
        pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
    }

    fn odd_headers(content_type: &str) -> Vec<Header> {
        let pairs = [("x-oss-head1", "value"), ("abc", "value"), ("zabc", "value"), ("xyz", "value")];
        let pairs = pairs.into_iter().chain([("content-type", content_type)]);
        pairs.map(|(name, value)| (name, value.to_owned())).collect()
    }

    // The signatures of version 4 are those that Alibaba Cloud publishes with its SDKs (alibabacloud-oss-go-sdk-v2,
    // oss/signer/signer_test.go, and alibabacloud-oss-python-sdk-v2, tests/unit/signer/test_v4.py).
    #[test]
    fn headers_of_version_4_are_signed_as_the_vendor_signs_them() {
        let (query, headers) = (odd_query(), odd_headers("text/plain"));
        let request =
            Signable { method: "PUT", bucket: "bucket", name: "1234+-/123/1.txt", query: &query, headers: &headers };
        for (time, token, day, signature) in [
            (1_702_743_657, None, "20231216", "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe"),
            (
                1_702_784_856,
                Some("token"),
                "20231217",
                "b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
            ),
        ] {
            let signer = Signer { keys: &keys(token), region: Some("cn-hangzhou"), now: at(time) };
            let added = signer.headers(&request);
            let scope = format!("ak/{day}/cn-hangzhou/oss/aliyun_v4_request");
            let expected = format!("OSS4-HMAC-SHA256 Credential={scope},Signature={signature}");
            assert_eq!(named(&added, "authorization"), expected);
            assert_eq!(added.iter().any(|(name, _)| *name == "x-oss-security-token"), token.is_some());
        }
    }

    #[test]
    fn addresses_of_version_4_are_signed_as_the_vendor_signs_them() {
        let (query, headers) = (odd_query(), odd_headers("application/octet-stream"));
        let request =
            Signable { method: "PUT", bucket: "bucket", name: "1234+-/123/1.txt", query: &query, headers: &headers };
        for (time, token, date, signature) in [
            (
                1_702_781_677,
                None,
                "20231217T025437Z",
                "a39966c61718be0d5b14e668088b3fa07601033f6518ac7b523100014269c0fe",
            ),
            (
                1_702_785_388,
                Some("token"),
                "20231217T035628Z",
                "3817ac9d206cd6dfc90f1c09c00be45005602e55898f26f5ddb06d7892e1f8b5",
            ),
        ] {
            let signer = Signer { keys: &keys(token), region: Some("cn-hangzhou"), now: at(time) };
            let parameters = signer.parameters(&request, Duration::from_secs(599));
            assert_eq!(named(&parameters, "x-oss-date"), date);
            assert_eq!(named(&parameters, "x-oss-expires"), "599");
            assert_eq!(named(&parameters, "x-oss-credential"), "ak/20231217/cn-hangzhou/oss/aliyun_v4_request");
            assert_eq!(named(&parameters, "x-oss-signature"), signature);
        }
    }

    #[test]
    fn an_address_is_good_for_no_longer_than_the_store_allows() {
        let request = Signable { method: "GET", bucket: "b", name: "k", query: &[], headers: &[] };
        let signer = Signer { keys: &keys(None), region: Some("cn-hangzhou"), now: at(1_702_781_677) };
        let parameters = signer.parameters(&request, Duration::from_secs(1 << 40));
        assert_eq!(named(&parameters, "x-oss-expires"), "604800");
    }

    // From the same file of the Go SDK.
    #[test]
    fn version_1_signs_as_the_vendor_does() {
        let headers: Vec<Header> = [
            ("content-md5", "eB5eJF1ptWaXm4bijSPyxw=="),
            ("content-type", "text/html"),
            ("x-oss-meta-author", "alice"),
            ("x-oss-meta-magic", "abracadabra"),
            ("x-oss-date", "Wed, 28 Dec 2022 10:27:41 GMT"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec();
        let request =
            Signable { method: "PUT", bucket: "examplebucket", name: "nelson", query: &[], headers: &headers };
        let signer = Signer { keys: &keys(None), region: None, now: at(1_672_223_261) };
        let added = signer.headers(&request);
        assert_eq!(named(&added, "date"), "Wed, 28 Dec 2022 10:27:41 GMT");
        assert_eq!(named(&added, "authorization"), "OSS ak:kSHKmLxlyEAKtZPkJhG9bZb5k7M=");
    }

    // From the same file of the Go SDK.
    #[test]
    fn addresses_of_version_1_are_signed_as_the_vendor_signs_them() {
        let query = [("versionId", "versionId".to_owned())];
        for (name, token, expires, signature) in [
            ("key", None, 1_699_807_420, "dcLTea+Yh9ApirQ8o8dOPqtvJXQ="),
            ("key+123", Some("token"), 1_699_808_204, "jzKYRrM5y6Br0dRFPaTGOsbrDhY="),
        ] {
            let request = Signable { method: "GET", bucket: "bucket", name, query: &query, headers: &[] };
            let signer = Signer { keys: &keys(token), region: None, now: at(expires - 60) };
            let parameters = signer.parameters(&request, Duration::from_secs(60));
            assert_eq!(named(&parameters, "Expires"), expires.to_string());
            assert_eq!(named(&parameters, "OSSAccessKeyId"), "ak");
            assert_eq!(named(&parameters, "Signature"), signature);
        }
    }

    #[test]
    fn version_1_signs_only_the_parameters_that_it_knows() {
        let query: Vec<Parameter> = [("uploadId", "A+/="), ("partNumber", "2"), ("max-keys", "7"), ("uploads", "")]
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec();
        let headers = [("content-type", "text/plain".to_owned())];
        let request = Signable { method: "PUT", bucket: "b", name: "a b", query: &query, headers: &headers };
        let text = v1_text("1699807420", &request);
        assert_eq!(text, "PUT\n\ntext/plain\n1699807420\n/b/a b?partNumber=2&uploadId=A+/=&uploads");
    }

    #[test]
    fn a_query_is_in_the_order_of_its_encoded_names() {
        let query: Vec<Parameter> = [("prefix", "a b/+"), ("list-type", "2"), ("delimiter", "/"), ("uploads", "")]
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec();
        assert_eq!(query_text(&query), "delimiter=%2F&list-type=2&prefix=a%20b%2F%2B&uploads");
        assert_eq!(path_text("/b/sha256:ü/~ x"), "/b/sha256%3A%C3%BC/~%20x");
    }
}
