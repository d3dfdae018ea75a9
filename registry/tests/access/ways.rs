//! The paths of the issuer, and every way to show it who one is.

use std::path::Path;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::lab::{basic, escaped};
use crate::paths::{Content, FORM, ISSUER, Kind, methods};
use crate::schemes::{Class, Mint};
use crate::support::Answer;
use crate::support::jwt::{Documents, Signer, set};
use crate::{Cell, send};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SCOPE: &str = "repository:team/app:pull";
const RULES: &str = "rules: [{users: [alice, 'id:alice'], repositories: 'team/**', actions: ['*']}, \
    {users: [other, 'id:other'], repositories: 'other/**', actions: ['*']}]";

pub(crate) const PASSWORD: &str = "/auth/token, a form with a password";
pub(crate) const OWN_TOKEN: &str = "/auth/token, an exchange of a token of this issuer";
pub(crate) const REVOCATION: &str = "/auth/revoke, a form with a refresh token";
/// Every way that is not that of a password in a header.
pub(crate) const SHOWN: [&str; 8] = [
    "/auth/token, a token of another issuer as the password",
    "/auth/token, the credential of a pull secret as the password",
    PASSWORD,
    "/auth/token, a form with a refresh token",
    "/auth/token, an exchange of a refresh token",
    "/auth/token, an exchange of a token of another issuer",
    OWN_TOKEN,
    REVOCATION,
];

/// The kinds of credentials, of each of which every way has one.
const KINDS: [(&str, Class); 6] = [
    ("none", Class::None),
    ("malformed", Class::Bad),
    ("wrong", Class::Bad),
    ("of nobody", Class::Bad),
    ("another repository's", Class::Other),
    ("right", Class::Right),
];

/// One for each of the kinds, in their order.
type OfKinds<T> = [T; KINDS.len()];

/// What a request brings besides its path.
enum Brought {
    Header(Option<String>),
    Form(String),
}

struct Way {
    shown: &'static str,
    brought: OfKinds<Brought>,
}

/// Another issuer, whose users are called `id:NAME` here.
struct Other {
    documents: Documents,
    signer: Signer,
}

impl Other {
    async fn serve() -> Other {
        let (documents, signer) = (Documents::serve().await, Signer::new("id"));
        let url = documents.url();
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string();
        documents.publish("/.well-known/openid-configuration", discovery);
        documents.publish("/jwks", set(&[&signer]));
        Other { documents, signer }
    }

    fn claims(&self, issuer: &str, name: &str) -> Value {
        let exp = jiff::Timestamp::now().as_second() + 3600;
        json!({"iss": issuer, "sub": name, "aud": "registry", "exp": exp, "preferred_username": name})
    }

    fn tokens(&self) -> OfKinds<Option<String>> {
        let url = self.documents.url();
        let sign = |issuer: &str, name| Some(self.signer.sign(&self.claims(issuer, name)));
        let forged = Signer::new("id").sign(&self.claims(&url, "alice"));
        let unknown = sign("https://nobody.example", "alice");
        [None, Some("a.b.c".into()), Some(forged), unknown, sign(&url, "other"), sign(&url, "alice")]
    }
}

fn passwords() -> OfKinds<Option<String>> {
    let [wrong, unknown, other, right] =
        [("alice", "bob's"), ("nobody", "alice's"), ("other", "other's"), ("alice", "alice's")]
            .map(|(name, password)| Some(basic(name, password)));
    [None, Some("Basic !".into()), wrong, unknown, other, right]
}

async fn refresh_tokens(mint: &mut Mint) -> OfKinds<Option<String>> {
    let (revoked, right) = (mint.revoked("alice").await, mint.refresh_token("alice").await);
    let made_up = format!("berth-rt-{}", "A".repeat(right.len() - "berth-rt-".len()));
    let other = mint.refresh_token("other").await;
    [None, Some("x".into()), Some(revoked), Some(made_up), Some(other), Some(right)]
}

async fn own_tokens(mint: &mut Mint) -> OfKinds<Option<String>> {
    let (right, other) = (mint.token(Some("alice"), &[SCOPE]).await, mint.token(Some("other"), &[SCOPE]).await);
    let of_nobody = mint.changed(&right, &[("sub", json!("nobody"))]);
    [None, Some("a.b.c".into()), Some(mint.forged(&right)), Some(of_nobody), Some(other), Some(right)]
}

fn credentials(mint: &Mint) -> OfKinds<Option<String>> {
    let [of_nobody, other, right] =
        [("nobody", "team/**"), ("system:pullsecret:other", "other/**"), ("system:pullsecret:alice", "team/**")]
            .map(|(name, repositories)| mint.credential(name, repositories));
    [None, Some("a.b.c".into()), Some(mint.forged(&right)), Some(of_nobody), Some(other), Some(right)]
}

/// In place of a password, in a header.
fn as_passwords(tokens: OfKinds<Option<String>>) -> OfKinds<Brought> {
    tokens.map(|token| Brought::Header(token.map(|token| basic("x", &token))))
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    fields.join("&")
}

/// In a field of a form, which is left out where there is none.
fn in_forms(tokens: &OfKinds<Option<String>>, name: &str, fields: &[(&str, &str)]) -> OfKinds<Brought> {
    tokens.each_ref().map(|token| {
        let token = token.iter().map(|token| (name, token.as_str()));
        Brought::Form(form(&fields.iter().copied().chain([("scope", SCOPE)]).chain(token).collect::<Vec<_>>()))
    })
}

/// As subjects of an exchange.
fn exchanged(tokens: &OfKinds<Option<String>>, kind: &str) -> OfKinds<Brought> {
    let kind = format!("urn:ietf:params:oauth:token-type:{kind}");
    in_forms(tokens, "subject_token", &[("grant_type", EXCHANGE), ("subject_token_type", &kind)])
}

fn forms_with_passwords() -> OfKinds<Brought> {
    let with = |shown: &[(&str, &str)]| {
        Brought::Form(form(&[&[("grant_type", "password"), ("scope", SCOPE)], shown].concat()))
    };
    let of = |name, password| with(&[("username", name), ("password", password)]);
    [
        with(&[]),
        with(&[("username", "alice"), ("username", "other"), ("password", "alice's")]),
        of("alice", "bob's"),
        of("nobody", "alice's"),
        of("other", "other's"),
        of("alice", "alice's"),
    ]
}

async fn ways(mint: &mut Mint, other: &Other) -> Vec<Way> {
    let (refresh, of_other, own) = (refresh_tokens(mint).await, other.tokens(), own_tokens(mint).await);
    let brought = [
        as_passwords(of_other.clone()),
        as_passwords(credentials(mint)),
        forms_with_passwords(),
        in_forms(&refresh, "refresh_token", &[("grant_type", "refresh_token")]),
        exchanged(&refresh, "refresh_token"),
        exchanged(&of_other, "id_token"),
        exchanged(&own, "access_token"),
        in_forms(&refresh, "token", &[]),
    ];
    SHOWN.into_iter().zip(brought).map(|(shown, brought)| Way { shown, brought }).collect()
}

/// Asks the issuer for everything: by every method with name and password in a header, and by every other way.
pub(crate) async fn walk(files: &Path) -> Vec<Cell> {
    let other = Other::serve().await;
    let oidc = format!(
        ", oidc: [{{name: id, url: '{}', audience: registry, usernameclaim: preferred_username}}]",
        other.documents.url()
    );
    let mut mint = Mint::start(files, &oidc, RULES).await;
    let mut caller = Caller::plain(mint.server.running.address());
    let (content, ways, mut cells) = (Content::absent(), ways(&mut mint, &other).await, Vec::new());
    let cell = |path, method, (credentials, class), answer| {
        let kind = Kind::Elsewhere;
        Cell { path, method, kind, credentials, class, answer, twin: None }
    };
    for path in ISSUER {
        for method in methods() {
            for (kind, header) in KINDS.into_iter().zip(passwords()) {
                let answer = send(&mut caller, &method, path, &content, header.as_deref()).await;
                cells.push(cell(path.shown, method.clone(), kind, answer));
            }
        }
        for Way { shown, brought } in ways.iter().filter(|way| way.shown.split(',').next() == Some(path.shown)) {
            for (kind, brought) in KINDS.into_iter().zip(brought) {
                let (method, answer) = show(&mut caller, path.shown, brought).await;
                cells.push(cell(shown, method, kind, answer));
            }
        }
    }
    mint.stop().await;
    cells
}

async fn show(caller: &mut Caller, path: &str, brought: &Brought) -> (Method, Option<Answer>) {
    match brought {
        Brought::Header(header) => {
            let headers: Vec<_> = header.as_deref().map(|value| ("authorization", value)).into_iter().collect();
            let target = format!("{path}?scope={SCOPE}");
            (Method::GET, caller.send(&Method::GET, &target, &headers, Bytes::new()).await)
        }
        Brought::Form(form) => {
            let answer = caller.send(&Method::POST, path, &[("content-type", FORM)], form.clone().into()).await;
            (Method::POST, answer)
        }
    }
}
