//! Who a client is by its certificate.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::{Auth, ClientAuth, Config};
use http::Method;
use rcgen::DnType;
use rustls::{ClientConfig, HandshakeKind};

use crate::pki::{self, Authority, Pair};
use crate::programs::until;
use crate::support::Server;
use crate::wire::{HTTP1, HTTP2, Offer, Wire, full, handshake};

const RULES: &str = "rules: [{users: ['cert:alice'], repositories: 'team/**', actions: [pull, push]}, \
    {groups: ['cert:platform'], repositories: 'all/**', actions: ['*']}, \
    {users: [alice], repositories: 'mine/**', actions: ['*']}]";

/// `auth` as it is written, checked beside `http.tls`.
fn auth(text: &str) -> Auth {
    let text = format!(
        "version: 0.1\nstorage: inmemory\nhttp: {{tls: {{certificate: /c, key: /k, clientcas: [/ca]}}}}\nauth: {text}"
    );
    Config::load(&text, []).unwrap().config.auth.unwrap()
}

/// With a user alice, whose password is s3cr3t.
fn beside_passwords(directory: &Path) -> Auth {
    let file = directory.join("htpasswd");
    std::fs::write(&file, format!("alice:{}\n", bcrypt::hash("s3cr3t", 4).unwrap())).unwrap();
    auth(&format!("{{htpasswd: {{realm: docks, path: {}}}, certificate: {{}}, {RULES}}}", file.display()))
}

/// A server that shows a certificate of this authority, and takes those of clients that are signed by the same.
async fn server(authority: &Authority, directory: &Path, mode: ClientAuth, auth: Auth) -> Server {
    authority.issue("localhost").write(directory);
    let ca = directory.join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let mut tls = pki::settings(directory);
    (tls.clientcas, tls.clientauth) = (vec![ca], Some(mode));
    Server::start(true, |config| (config.http.tls, config.auth) = (Some(tls), Some(auth))).await
}

fn offer(authority: &Authority, certificate: Option<&Pair>, protocols: &[&str]) -> Arc<ClientConfig> {
    Offer { certificate, protocols, ..Offer::to(authority) }.config()
}

/// Begins an upload to a repository; the status, or none if there is no connection.
async fn push(server: &Server, config: &Arc<ClientConfig>, authorization: Option<&str>, name: &str) -> Option<u16> {
    let mut wire = Wire::tls(server.running.address(), config.clone()).await.ok()?;
    push_on(&mut wire, authorization, name).await
}

async fn push_on(wire: &mut Wire, authorization: Option<&str>, name: &str) -> Option<u16> {
    let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
    let path = format!("/v2/{name}/blobs/uploads/");
    let answer = wire.send_with(Method::POST, &path, &headers, full("")).await.ok()?;
    Some(answer.status.as_u16())
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

#[tokio::test]
async fn a_certificate_is_somebody_by_name_and_by_group() {
    let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
    let directory = tempfile::tempdir().unwrap();
    let auth = beside_passwords(directory.path());
    let server = server(&known, directory.path(), ClientAuth::VerifyClientCertIfGiven, auth).await;
    let cn = |name| (DnType::CommonName, name);
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("alice:{password}")));
    let (right, wrong) = (basic("s3cr3t"), basic("wrong"));
    let alice = known.issue_to(&[cn("alice")]);
    let bob = known.issue_to(&[cn("bob"), (DnType::OrganizationalUnitName, "platform")]);
    let long = "a".repeat(2000);
    let odd = ["", " ", "al\0ice", &long].map(|name| known.issue_to(&[cn(name)]));
    let two = known.issue_to(&[cn("alice"), (DnType::CustomDnType(vec![2, 5, 4, 3]), "root")]);
    let nameless = known.issue_to(&[(DnType::OrganizationalUnitName, "platform")]);
    let (stranger, past) = (unknown.issue_to(&[cn("alice")]), known.issue_until(&[cn("alice")], now() - 60));
    for protocol in [HTTP1, HTTP2] {
        let config = |certificate| offer(&known, certificate, &[protocol]);
        for (certificate, authorization, team, all, mine) in [
            (Some(&alice), None, Some(202), Some(401), Some(401)),
            (Some(&bob), None, Some(401), Some(202), Some(401)),
            (None, None, Some(401), Some(401), Some(401)),
            (Some(&stranger), None, None, None, None),
            (Some(&past), None, None, None, None),
            (Some(&two), None, Some(401), Some(401), Some(401)),
            (Some(&nameless), None, Some(401), Some(401), Some(401)),
            (Some(&odd[0]), None, Some(401), Some(401), Some(401)),
            (Some(&odd[1]), None, Some(401), Some(401), Some(401)),
            (Some(&odd[2]), None, Some(401), Some(401), Some(401)),
            (Some(&odd[3]), None, Some(401), Some(401), Some(401)),
            // Other credentials come first, right or wrong.
            (Some(&alice), Some(&right), Some(403), Some(403), Some(202)),
            (Some(&alice), Some(&wrong), Some(401), Some(401), Some(401)),
            (Some(&nameless), Some(&right), Some(403), Some(403), Some(202)),
        ] {
            let config = config(certificate);
            let authorization = authorization.map(String::as_str);
            for (name, expected) in [("team/app", team), ("all/app", all), ("mine/app", mine)] {
                let found = push(&server, &config, authorization, name).await;
                assert_eq!(found, expected, "{protocol} {name} {authorization:?}");
            }
        }
    }
    server.running.stop().await;
}

#[tokio::test]
async fn a_certificate_alone_is_enough_and_one_that_was_not_verified_is_nobody() {
    let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
    let alice = known.issue_to(&[(DnType::CommonName, "alice")]);
    let nobody = known.issue_to(&[]);
    let forged = unknown.issue_to(&[(DnType::CommonName, "alice")]);
    let (everything, ruled) = ("{certificate: {}}", format!("{{certificate: {{prefix: 'cert:'}}, {RULES}}}"));
    let plain = "{certificate: {}, rules: [{users: ['*'], repositories: 'team/{user}/**', actions: [pull, push]}]}";
    for (mode, auth, expected) in [
        (ClientAuth::RequireAndVerifyClientCert, auth(everything), [Some(202), Some(202), Some(403), None]),
        (ClientAuth::RequireAndVerifyClientCert, auth(&ruled), [Some(202), Some(403), Some(403), None]),
        (ClientAuth::RequireAndVerifyClientCert, auth(plain), [Some(202), Some(403), Some(403), None]),
        // No configuration that is read from a file can say this.
        (ClientAuth::RequireAnyClientCert, auth(everything), [Some(403), Some(403), Some(403), Some(403)]),
        (ClientAuth::RequestClientCert, auth(everything), [Some(403), Some(403), Some(403), Some(403)]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = server(&known, directory.path(), mode, auth).await;
        let found = [
            push(&server, &offer(&known, Some(&alice), &[HTTP1]), None, "team/alice/app").await,
            push(&server, &offer(&known, Some(&alice), &[HTTP1]), None, "other/app").await,
            push(&server, &offer(&known, Some(&nobody), &[HTTP1]), None, "team/alice/app").await,
            push(&server, &offer(&known, Some(&forged), &[HTTP1]), None, "team/alice/app").await,
        ];
        assert_eq!(found, expected, "{mode:?}");
        server.running.stop().await;
    }
}

/// A connection that is kept, and a session that is resumed, could outlive the certificate, which is verified for neither.
#[tokio::test]
async fn a_certificate_that_has_ended_since_counts_no_more() {
    let authority = Authority::new("known");
    let directory = tempfile::tempdir().unwrap();
    let auth = beside_passwords(directory.path());
    let server = server(&authority, directory.path(), ClientAuth::RequireAndVerifyClientCert, auth).await;
    let address = server.running.address();
    for (version, protocol) in rustls::ALL_VERSIONS.chunks(1).zip([HTTP1, HTTP2]) {
        let end = now() + 2;
        let alice = authority.issue_until(&[(DnType::CommonName, "alice")], end);
        let offer =
            Offer { certificate: Some(&alice), versions: version, protocols: &[protocol], ..Offer::to(&authority) };
        let config = offer.config();
        let mut kept = Wire::tls(address, config.clone()).await.unwrap();
        assert_eq!(push_on(&mut kept, None, "team/app").await, Some(202));
        let resumed = handshake(address, config.clone()).await.unwrap();
        assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        let mut resumed = Wire::agreed(resumed).await;
        assert_eq!(push_on(&mut resumed, None, "team/app").await, Some(202));
        until(async || now() > end).await;
        let later = handshake(address, config.clone()).await.unwrap();
        assert_eq!(later.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        let mut later = Wire::agreed(later).await;
        assert_eq!(push_on(&mut later, None, "team/app").await, Some(401), "{version:?}");
        // Who renews the certificate is made to connect with it.
        for wire in [&mut kept, &mut resumed] {
            until(async || {
                let answer = push_on(wire, None, "team/app").await;
                assert!(matches!(answer, None | Some(401)), "{answer:?}");
                answer.is_none()
            })
            .await;
        }
        let fresh = Offer { certificate: Some(&alice), versions: version, ..Offer::to(&authority) }.config();
        assert_eq!(push(&server, &fresh, None, "team/app").await, None);
    }
    server.running.stop().await;
}

#[tokio::test]
async fn whose_authority_is_taken_out_is_nobody_from_then_on() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let directory = tempfile::tempdir().unwrap();
    let auth = beside_passwords(directory.path());
    let server = server(&first, directory.path(), ClientAuth::VerifyClientCertIfGiven, auth).await;
    let address = server.running.address();
    let subject = [(DnType::CommonName, "alice")];
    let (old, new) = (first.issue_to(&subject), second.issue_to(&subject));
    let (old, new) = (offer(&first, Some(&old), &[HTTP2]), offer(&first, Some(&new), &[HTTP2]));
    let mut kept = Wire::tls(address, old.clone()).await.unwrap();
    assert_eq!(push_on(&mut kept, None, "team/app").await, Some(202));
    assert_eq!(push(&server, &new, None, "team/app").await, None);
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, format!("{}{}", first.pem, second.pem)).unwrap();
    until(async || push(&server, &new, None, "team/app").await == Some(202)).await;
    assert_eq!(push_on(&mut kept, None, "team/app").await, Some(202), "its authority is still there");
    std::fs::write(&ca, &second.pem).unwrap();
    until(async || push_on(&mut kept, None, "team/app").await == Some(401)).await;
    assert_eq!(push(&server, &old, None, "team/app").await, None);
    server.running.stop().await;
}
