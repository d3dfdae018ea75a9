//! What is said to an identity service and what its answers mean: TempAuth (version 1), and Keystone's tokens for a
//! password, versions 2 and 3. Nothing is sent from here.

use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::credentials::Secrets;
use super::options::{SwiftOptions, wrong};
use super::wire::{body, moment};
use crate::StoreError;
use crate::http::RequestBody;

/// The kind of service that the catalog lists stores as.
const OBJECT_STORE: &str = "object-store";
/// The domain that Keystone has from the beginning, by its name.
const DEFAULT_DOMAIN: &str = "Default";

/// Which protocol the service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
    Three,
}

/// The service, and what is asked for there.
#[derive(Clone)]
pub(super) struct Identity {
    address: String,
    version: Version,
    options: SwiftOptions,
    interface: &'static str,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What the service gives.
#[derive(Debug)]
pub(super) struct Grant {
    /// What every request carries.
    pub(super) token: HeaderValue,
    /// The address of the account at the store, without a slash at its end.
    pub(super) storage: String,
    /// How long the token lasts from its beginning; none where that is not said.
    pub(super) lasts: Option<Duration>,
    /// The tenant's id.
    pub(super) tenant: Option<String>,
}

impl Identity {
    /// Takes the service from the settings.
    pub(super) fn new(options: &SwiftOptions) -> Result<Self, StoreError> {
        let address = options.auth_url.trim_end_matches('/');
        let uri: Uri = address.parse().map_err(|_| wrong("authurl", "must be an address"))?;
        if uri.scheme().is_none() || uri.host().is_none() {
            return Err(wrong("authurl", "must be an address such as https://identity.example/v3"));
        }
        let version = match options.auth_version {
            Some(1) => Version::One,
            Some(2) => Version::Two,
            Some(3) => Version::Three,
            // Zero is what docker-registry has for unset.
            Some(0) | None => version_of(address).ok_or_else(|| {
                wrong("authversion", "must be 1, 2 or 3, since authurl has neither v1, v2 nor v3 in it")
            })?,
            Some(_) => return Err(wrong("authversion", "must be 1, 2 or 3")),
        };
        let interface = match options.endpoint_type.as_deref() {
            None | Some("" | "public") => "public",
            Some("internal") => "internal",
            Some("admin") => "admin",
            Some(_) => return Err(wrong("endpointtype", "must be public, internal or admin")),
        };
        Ok(Identity { address: address.to_owned(), version, options: options.clone(), interface })
    }

    /// Where the service is, without a name or password in the address.
    pub(super) fn place(&self) -> String {
        let uri = self.address.parse::<Uri>().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
    }

    /// The request for a token.
    pub(super) fn request(&self, secrets: &Secrets) -> Result<Request<RequestBody>, http::Error> {
        let (path, content) = match self.version {
            Version::One => {
                let header = |text: &str| {
                    HeaderValue::from_bytes(text.as_bytes()).map(|mut value| {
                        value.set_sensitive(true);
                        value
                    })
                };
                return Request::builder()
                    .method(Method::GET)
                    .uri(&self.address)
                    .header("x-auth-user", header(&secrets.username)?)
                    .header("x-auth-key", header(&secrets.password)?)
                    .body(body(Default::default()));
            }
            Version::Two => ("tokens", self.version_two(secrets)),
            Version::Three => ("auth/tokens", self.version_three(secrets)),
        };
        Request::builder()
            .method(Method::POST)
            .uri(format!("{}/{path}", self.address))
            .header(CONTENT_TYPE, "application/json")
            .body(body(content.to_string().into()))
    }

    fn version_two(&self, secrets: &Secrets) -> Value {
        let mut auth = json!({ "passwordCredentials": { "username": secrets.username, "password": secrets.password } });
        if let Some(id) = &self.options.tenant_id {
            auth["tenantId"] = json!(id);
        } else if let Some(name) = &self.options.tenant {
            auth["tenantName"] = json!(name);
        }
        json!({ "auth": auth })
    }

    fn version_three(&self, secrets: &Secrets) -> Value {
        let options = &self.options;
        let user_domain = domain([(&options.domain, "name"), (&options.domain_id, "id")]);
        let user = json!({ "name": secrets.username, "password": secrets.password, "domain": user_domain });
        let mut auth = json!({ "identity": { "methods": ["password"], "password": { "user": user } } });
        if let Some(id) = &options.trust_id {
            auth["scope"] = json!({ "OS-TRUST:trust": { "id": id } });
        } else if let Some(id) = &options.tenant_id {
            auth["scope"] = json!({ "project": { "id": id } });
        } else if let Some(name) = &options.tenant {
            // A project without a domain of its own is looked for in the user's.
            let project_domain = domain([
                (&options.tenant_domain, "name"),
                (&options.tenant_domain_id, "id"),
                (&options.domain, "name"),
                (&options.domain_id, "id"),
            ]);
            auth["scope"] = json!({ "project": { "name": name, "domain": project_domain } });
        }
        json!({ "auth": auth })
    }

    /// Reads a good answer. The error says what is missing.
    pub(super) fn grant(&self, headers: &HeaderMap, content: &[u8]) -> Result<Grant, String> {
        match self.version {
            Version::One => first(headers),
            Version::Two => self.second(content),
            Version::Three => self.third(headers, content),
        }
    }

    fn second(&self, content: &[u8]) -> Result<Grant, String> {
        let Second { access } = read(content)?;
        let endpoints = access.catalog.into_iter().filter(|service| service.kind == OBJECT_STORE);
        let endpoints = endpoints.flat_map(|service| service.endpoints);
        let address =
            endpoints.filter(|endpoint| self.is_here(&[&endpoint.region])).find_map(|endpoint| match self.interface {
                "internal" => endpoint.internal,
                "admin" => endpoint.admin,
                _ => endpoint.public,
            });
        Ok(Grant {
            token: token(&access.token.id)?,
            storage: address.map(|address| trimmed(&address)).ok_or_else(|| self.nowhere())?,
            lasts: lasts(access.token.issued_at.as_deref(), access.token.expires.as_deref()),
            tenant: access.token.tenant.map(|tenant| tenant.id).or_else(|| self.options.tenant_id.clone()),
        })
    }

    fn third(&self, headers: &HeaderMap, content: &[u8]) -> Result<Grant, String> {
        let Third { token: body } = read(content)?;
        let endpoints = body.catalog.into_iter().filter(|service| service.kind == OBJECT_STORE);
        let mut endpoints = endpoints.flat_map(|service| service.endpoints);
        let address = endpoints.find(|endpoint| {
            endpoint.interface == self.interface && self.is_here(&[&endpoint.region, &endpoint.region_id])
        });
        let subject = text(headers, "x-subject-token").ok_or("no X-Subject-Token in the answer")?;
        Ok(Grant {
            token: token(subject)?,
            storage: address.map(|endpoint| trimmed(&endpoint.url)).ok_or_else(|| self.nowhere())?,
            lasts: lasts(body.issued_at.as_deref(), body.expires_at.as_deref()),
            tenant: body.project.map(|project| project.id).or_else(|| self.options.tenant_id.clone()),
        })
    }

    fn is_here(&self, regions: &[&Option<String>]) -> bool {
        let wanted = self.options.region.as_deref().filter(|region| !region.is_empty());
        wanted.is_none_or(|wanted| regions.iter().any(|region| region.as_deref() == Some(wanted)))
    }

    fn nowhere(&self) -> String {
        let region = self.options.region.as_deref().unwrap_or("any");
        format!("the catalog has no {} endpoint of type {OBJECT_STORE} in region {region}", self.interface)
    }
}

/// The version that an address has in it, looked for as docker-registry does.
fn version_of(address: &str) -> Option<Version> {
    let versions = [("v3", Version::Three), ("v2", Version::Two), ("v1", Version::One)];
    versions.into_iter().find(|(text, _)| address.contains(text)).map(|(_, version)| version)
}

/// The first that is set; else the one that is always there.
fn domain<const N: usize>(candidates: [(&Option<String>, &str); N]) -> Value {
    let mut set = candidates.into_iter().filter_map(|(value, by)| Some((value.as_deref()?, by)));
    let (value, by) = set.find(|(value, _)| !value.is_empty()).unwrap_or((DEFAULT_DOMAIN, "name"));
    json!({ by: value })
}

fn first(headers: &HeaderMap) -> Result<Grant, String> {
    let storage = text(headers, "x-storage-url").ok_or("no X-Storage-Url in the answer")?;
    let subject = text(headers, "x-auth-token").or_else(|| text(headers, "x-storage-token"));
    let lasts = text(headers, "x-auth-token-expires").and_then(|seconds| seconds.parse().ok());
    Ok(Grant {
        token: token(subject.ok_or("no X-Auth-Token in the answer")?)?,
        storage: trimmed(storage),
        lasts: lasts.map(Duration::from_secs),
        tenant: None,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(HeaderName::from_static(name))?.to_str().ok()
}

fn token(text: &str) -> Result<HeaderValue, String> {
    let mut token = HeaderValue::from_str(text).map_err(|_| "a token that cannot be sent")?;
    token.set_sensitive(true);
    Ok(token)
}

fn trimmed(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}

/// How long a token lasts, by the service's own clock; by ours where it does not say when it was made.
fn lasts(issued: Option<&str>, expires: Option<&str>) -> Option<Duration> {
    let expires = moment(expires?)?;
    let issued = issued.and_then(moment).unwrap_or_else(Timestamp::now);
    Some(Duration::try_from(expires.duration_since(issued)).unwrap_or_default())
}

fn read<T: for<'de> Deserialize<'de>>(content: &[u8]) -> Result<T, String> {
    // What the parser would cite of the answer may be a token.
    serde_json::from_slice(content)
        .map_err(|error| format!("an answer that makes no sense, at column {}", error.column()))
}

#[derive(Deserialize)]
struct Second {
    access: Access,
}

#[derive(Deserialize)]
struct Access {
    token: SecondToken,
    #[serde(rename = "serviceCatalog", default)]
    catalog: Vec<Service<SecondEndpoint>>,
}

#[derive(Deserialize)]
struct SecondToken {
    id: String,
    expires: Option<String>,
    issued_at: Option<String>,
    tenant: Option<Named>,
}

#[derive(Deserialize)]
struct SecondEndpoint {
    region: Option<String>,
    #[serde(rename = "publicURL")]
    public: Option<String>,
    #[serde(rename = "internalURL")]
    internal: Option<String>,
    #[serde(rename = "adminURL")]
    admin: Option<String>,
}

#[derive(Deserialize)]
struct Third {
    token: ThirdToken,
}

#[derive(Deserialize)]
struct ThirdToken {
    expires_at: Option<String>,
    issued_at: Option<String>,
    project: Option<Named>,
    #[serde(default)]
    catalog: Vec<Service<ThirdEndpoint>>,
}

#[derive(Deserialize)]
struct ThirdEndpoint {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: String,
}

#[derive(Deserialize)]
struct Service<E> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "Vec::new")]
    endpoints: Vec<E>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(auth_url: &str) -> SwiftOptions {
        SwiftOptions { auth_url: auth_url.into(), ..SwiftOptions::default() }
    }

    fn secrets() -> Secrets {
        Secrets { username: "me".into(), password: "pass".into(), secret_key: None, access_key: None }
    }

    #[test]
    fn the_version_is_read_from_the_address_unless_it_is_set() {
        let check = |address: &str, set: Option<u8>, expected: Result<Version, &str>| {
            let identity = Identity::new(&SwiftOptions { auth_version: set, ..options(address) });
            match (identity, expected) {
                (Ok(identity), Ok(version)) => assert_eq!(identity.version, version, "{address}"),
                (Err(error), Err(text)) => assert!(error.to_string().starts_with(text), "{error}"),
                (found, expected) => panic!("{address}: {found:?}, not {expected:?}"),
            }
        };
        check("http://swift.example/auth/v1.0", None, Ok(Version::One));
        check("http://identity.example/v2.0/", Some(0), Ok(Version::Two));
        check("http://identity.example/v3", None, Ok(Version::Three));
        check("http://identity.example/", Some(3), Ok(Version::Three));
        check("http://identity.example/", None, Err("storage.swift.authversion: must be"));
        check("http://identity.example/", Some(4), Err("storage.swift.authversion: must be"));
        check("identity.example/v3", None, Err("storage.swift.authurl: must be"));
        check("", None, Err("storage.swift.authurl: must be"));
        let error = Identity::new(&SwiftOptions { endpoint_type: Some("x".into()), ..options("http://a/v3") });
        assert!(error.unwrap_err().to_string().starts_with("storage.swift.endpointtype: must be"));
    }

    #[test]
    fn a_place_has_no_secret_in_it() {
        let identity = Identity::new(&options("http://me:SECRET@identity.example:5000/v3")).unwrap();
        assert_eq!(identity.place(), "http://identity.example:5000/v3");
    }

    #[test]
    fn version_one_is_two_headers() {
        let identity = Identity::new(&options("http://swift.example/auth/v1.0")).unwrap();
        let request = identity.request(&secrets()).unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.headers()["x-auth-user"], "me");
        assert_eq!(request.headers()["x-auth-key"], "pass");
        assert!(request.headers()["x-auth-key"].is_sensitive());

        let mut headers = HeaderMap::new();
        assert_eq!(identity.grant(&headers, b"").unwrap_err(), "no X-Storage-Url in the answer");
        headers.insert("x-storage-url", HeaderValue::from_static("http://swift.example/v1/AUTH_me/"));
        assert_eq!(identity.grant(&headers, b"").unwrap_err(), "no X-Auth-Token in the answer");
        headers.insert("x-auth-token", HeaderValue::from_static("t"));
        headers.insert("x-auth-token-expires", HeaderValue::from_static("300"));
        let grant = identity.grant(&headers, b"").unwrap();
        assert_eq!(
            (grant.storage.as_str(), grant.lasts),
            ("http://swift.example/v1/AUTH_me", Some(Duration::from_secs(300)))
        );
        assert!(!format!("{grant:?}").contains("\"t\""));
    }

    #[test]
    fn version_two_names_the_tenant_by_id_or_name() {
        let check = |options: SwiftOptions, expected: Value| {
            assert_eq!(Identity::new(&options).unwrap().version_two(&secrets()), expected);
        };
        let user = json!({ "username": "me", "password": "pass" });
        let plain = options("http://identity.example/v2.0");
        check(plain.clone(), json!({ "auth": { "passwordCredentials": user } }));
        let named = SwiftOptions { tenant: Some("t".into()), ..plain };
        check(named.clone(), json!({ "auth": { "passwordCredentials": user, "tenantName": "t" } }));
        let by_id = SwiftOptions { tenant_id: Some("7".into()), ..named };
        check(by_id, json!({ "auth": { "passwordCredentials": user, "tenantId": "7" } }));
    }

    #[test]
    fn version_two_finds_the_store_in_the_catalog() {
        let content = json!({ "access": {
            "token": { "id": "t", "issued_at": "2026-01-01T00:00:00.000000", "expires": "2026-01-01T01:00:00Z", "tenant": { "id": "7", "name": "x" } },
            "user": { "id": "u" },
            "serviceCatalog": [
                { "type": "image", "endpoints": [{ "region": "one", "publicURL": "http://image" }] },
                { "type": "object-store", "name": "swift", "endpoints": [
                    { "region": "one", "publicURL": "http://one/v1/AUTH_7/", "internalURL": "http://in.one/v1/AUTH_7" },
                    { "region": "two", "publicURL": "http://two/v1/AUTH_7", "adminURL": "http://admin.two/v1" },
                ] },
            ],
        } });
        let content = content.to_string();
        let check = |region: Option<&str>, interface: Option<&str>, expected: Option<&str>| {
            let options = SwiftOptions {
                region: region.map(str::to_owned),
                endpoint_type: interface.map(str::to_owned),
                ..options("http://identity.example/v2.0")
            };
            let grant = Identity::new(&options).unwrap().grant(&HeaderMap::new(), content.as_bytes());
            assert_eq!(grant.ok().map(|grant| grant.storage).as_deref(), expected);
        };
        check(None, None, Some("http://one/v1/AUTH_7"));
        check(Some("two"), Some("public"), Some("http://two/v1/AUTH_7"));
        check(Some("one"), Some("internal"), Some("http://in.one/v1/AUTH_7"));
        check(Some("two"), Some("admin"), Some("http://admin.two/v1"));
        check(Some("three"), None, None);
    }

    #[test]
    fn version_three_says_who_and_for_what() {
        let check = |options: SwiftOptions, domain: Value, scope: Value| {
            let asked = Identity::new(&options).unwrap().version_three(&secrets());
            let user = json!({ "name": "me", "password": "pass", "domain": domain });
            assert_eq!(asked["auth"]["identity"], json!({ "methods": ["password"], "password": { "user": user } }));
            assert_eq!(asked["auth"]["scope"], scope);
        };
        let plain = options("http://identity.example/v3");
        let set = |text: &str| Some(text.to_owned());
        check(plain.clone(), json!({ "name": "Default" }), Value::Null);
        let named = SwiftOptions { domain: set("d"), tenant: set("t"), ..plain.clone() };
        check(named.clone(), json!({ "name": "d" }), json!({ "project": { "name": "t", "domain": { "name": "d" } } }));
        let domains = SwiftOptions { tenant_domain_id: set("9"), ..named.clone() };
        check(domains, json!({ "name": "d" }), json!({ "project": { "name": "t", "domain": { "id": "9" } } }));
        let by_id = SwiftOptions { tenant_id: set("7"), domain: None, domain_id: set("8"), ..named };
        check(by_id.clone(), json!({ "id": "8" }), json!({ "project": { "id": "7" } }));
        let trusted = SwiftOptions { trust_id: set("5"), ..by_id };
        check(trusted, json!({ "id": "8" }), json!({ "OS-TRUST:trust": { "id": "5" } }));
        let tenant = SwiftOptions { tenant: set("t"), ..plain };
        let scope = json!({ "project": { "name": "t", "domain": { "name": "Default" } } });
        check(tenant, json!({ "name": "Default" }), scope);
    }

    #[test]
    fn version_three_finds_the_store_in_the_catalog() {
        let content = json!({ "token": {
            "issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2026-01-01T01:00:00.000000Z",
            "project": { "id": "7", "name": "x", "domain": { "id": "default", "name": "Default" } },
            "catalog": [
                { "type": "identity", "id": "a", "name": "keystone", "endpoints": [] },
                { "type": "object-store", "id": "b", "name": "swift", "endpoints": [
                    { "id": "1", "interface": "admin", "region": "one", "region_id": "one", "url": "http://admin.one/v1" },
                    { "id": "2", "interface": "public", "region": "one", "region_id": "one", "url": "http://one/v1/AUTH_7" },
                    { "id": "3", "interface": "public", "region": null, "region_id": "two", "url": "http://two/v1/AUTH_7" },
                ] },
            ],
        } });
        let content = content.to_string();
        let mut headers = HeaderMap::new();
        let grant = |headers: &HeaderMap, region: Option<&str>| {
            let options = SwiftOptions { region: region.map(str::to_owned), ..options("http://identity.example/v3") };
            Identity::new(&options).unwrap().grant(headers, content.as_bytes())
        };
        assert_eq!(grant(&headers, None).unwrap_err(), "no X-Subject-Token in the answer");
        headers.insert("x-subject-token", HeaderValue::from_static("t"));
        let first = grant(&headers, None).unwrap();
        assert_eq!((first.storage.as_str(), first.tenant.as_deref()), ("http://one/v1/AUTH_7", Some("7")));
        assert_eq!(first.lasts, Some(Duration::from_secs(3600)));
        assert_eq!(grant(&headers, Some("two")).unwrap().storage, "http://two/v1/AUTH_7");
        let nowhere = grant(&headers, Some("three")).unwrap_err();
        assert_eq!(nowhere, "the catalog has no public endpoint of type object-store in region three");
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_not_cited() {
        let identity = Identity::new(&options("http://identity.example/v2.0")).unwrap();
        let error = identity.grant(&HeaderMap::new(), br#"{"access":{"token":{"id":["SECRET"]}}}"#).unwrap_err();
        assert!(!error.contains("SECRET"), "{error}");
    }
}
