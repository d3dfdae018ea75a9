//! The ways to say who asks, each with every kind of credentials.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::{Auth, Config, Driver};

use crate::paths::Content;
use crate::support::jwt::{Signer, set};
use crate::support::{Kind, Server, filesystem};

/// What credentials are good for, of the repository that requests are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// There are none.
    None,
    /// Those of nobody: malformed, wrong, forged, or too old.
    Bad,
    /// Somebody's, who may do everything with another repository.
    Other,
    /// Somebody's, who may read.
    Pull,
    /// Somebody's, who may read and write, and delete nothing.
    Push,
    /// Somebody's, who may do everything.
    Right,
}

/// One kind of credentials.
pub(crate) struct Credentials {
    pub(crate) shown: &'static str,
    pub(crate) class: Class,
    pub(crate) header: Option<String>,
}

/// One way to say who asks.
pub(crate) struct Scheme {
    pub(crate) shown: &'static str,
    pub(crate) auth: Option<Auth>,
    /// With what somebody may do everything; none if nobody may.
    pub(crate) root: Option<Option<String>>,
    pub(crate) credentials: Vec<Credentials>,
    /// What everybody may do who says no name.
    pub(crate) everybody: Everybody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Everybody {
    Nothing,
    Pull,
    Everything,
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn credentials(list: Vec<(&'static str, Class, Option<String>)>) -> Vec<Credentials> {
    list.into_iter().map(|(shown, class, header)| Credentials { shown, class, header }).collect()
}

fn auth(text: &str) -> Option<Auth> {
    Config::load(&format!("version: 0.1\nstorage: inmemory\nauth: {text}"), []).unwrap().config.auth
}

/// Every way; files are put into the directory.
pub(crate) fn all(directory: &Path) -> Vec<Scheme> {
    let users = ["alice", "writer", "reader", "other", "root"];
    let lines = users.map(|user| format!("{user}:{}\n", bcrypt::hash(format!("{user}'s"), 4).unwrap()));
    let (file, keys) = (directory.join("htpasswd"), directory.join("keys.json"));
    std::fs::write(&file, lines.concat()).unwrap();
    let (signer, forger) = (Signer::new("mine"), Signer::new("mine"));
    std::fs::write(&keys, set(&[&signer])).unwrap();
    let htpasswd = format!("htpasswd: {{realm: docks, path: {}}}", file.display());
    let token = format!(
        "token: {{realm: 'https://auth.example/token', service: registry, issuer: issuer, jwks: {}}}",
        keys.display()
    );
    let everybody = "anonymous: [{repositories: 'team/**', actions: [pull]}]";
    let rules = "rules: [{users: [alice], repositories: 'team/**', actions: ['*']}, \
        {users: [writer], repositories: 'team/**', actions: [pull, push]}, \
        {users: [reader], repositories: 'team/**', actions: [pull]}, \
        {users: [other], repositories: 'other/**', actions: ['*']}, \
        {users: [root], repositories: '**', actions: ['*']}]";
    let user = |name: &str| Some(basic(name, &format!("{name}'s")));
    let passwords = || {
        vec![
            ("none", Class::None, None),
            ("malformed", Class::Bad, Some("Basic !".to_owned())),
            ("wrong password", Class::Bad, Some(basic("alice", "bob's"))),
            ("unknown name", Class::Bad, Some(basic("nobody", "alice's"))),
        ]
    };
    let ruled = [
        passwords(),
        vec![
            ("another repository's", Class::Other, user("other")),
            ("to pull", Class::Pull, user("reader")),
            ("to pull and push", Class::Push, user("writer")),
            ("right", Class::Right, user("alice")),
        ],
    ];
    let everything = ["repository:team/app:*", "registry:catalog:*"];
    let past = jiff::Timestamp::now().as_second() - 3600;
    let tokens = vec![
        ("none", Class::None, None),
        ("malformed", Class::Bad, Some("Bearer a.b.c".to_owned())),
        ("forged", Class::Bad, Some(forger.bearer(&everything))),
        ("too old", Class::Bad, Some(signer.bearer_until(past, &everything))),
        ("another repository's", Class::Other, Some(signer.bearer(&["repository:other/app:pull,push,delete"]))),
        ("to pull", Class::Pull, Some(signer.bearer(&["repository:team/app:pull"]))),
        ("to pull and push", Class::Push, Some(signer.bearer(&["repository:team/app:pull,push"]))),
        ("right", Class::Right, Some(signer.bearer(&everything))),
    ];
    let root = signer.bearer(&["repository:team/app:*", "repository:other/app:*"]);
    let right = [passwords(), vec![("right", Class::Right, user("alice"))]].concat();
    vec![
        Scheme {
            shown: "Names and passwords, with rules",
            auth: auth(&format!("{{{htpasswd}, {rules}}}")),
            root: Some(user("root")),
            credentials: credentials(ruled.concat()),
            everybody: Everybody::Nothing,
        },
        Scheme {
            shown: "Tokens",
            auth: auth(&format!("{{{token}}}")),
            root: Some(Some(root)),
            credentials: credentials(tokens),
            everybody: Everybody::Nothing,
        },
        Scheme {
            shown: "Names and passwords, and everybody may pull",
            auth: auth(&format!("{{{htpasswd}, {everybody}}}")),
            root: Some(user("root")),
            credentials: credentials(right),
            everybody: Everybody::Pull,
        },
        Scheme {
            shown: "No method, and everybody may pull",
            auth: auth(&format!("{{{everybody}}}")),
            root: None,
            credentials: credentials(vec![("none", Class::None, None), ("any", Class::None, user("alice"))]),
            everybody: Everybody::Pull,
        },
        Scheme {
            shown: "No `auth`",
            auth: None,
            root: Some(None),
            credentials: credentials(vec![("none", Class::None, None), ("any", Class::None, user("alice"))]),
            everybody: Everybody::Everything,
        },
    ]
}

/// The issuer of tokens, and who may ask it for one.
pub(crate) fn issuer(directory: &Path) -> Scheme {
    let (users, key) = (directory.join("users"), directory.join("key.pem"));
    let lines = ["alice", "other"].map(|user| format!("{user}:{}\n", bcrypt::hash(format!("{user}'s"), 4).unwrap()));
    std::fs::write(&users, lines.concat()).unwrap();
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let text = format!(
        "{{issuer: {{service: registry, issuer: 'https://registry.example/auth', keys: {}, htpasswd: {{path: {}}}}}, \
         rules: [{{users: [alice], repositories: 'team/**', actions: ['*']}}]}}",
        key.display(),
        users.display()
    );
    let list = vec![
        ("none", Class::None, None),
        ("malformed", Class::Bad, Some("Basic !".to_owned())),
        ("wrong password", Class::Bad, Some(basic("alice", "bob's"))),
        ("unknown name", Class::Bad, Some(basic("nobody", "alice's"))),
        ("another repository's", Class::Other, Some(basic("other", "other's"))),
        ("right", Class::Right, Some(basic("alice", "alice's"))),
    ];
    Scheme {
        shown: "The issuer",
        auth: auth(&text),
        root: None,
        credentials: credentials(list),
        everybody: Everybody::Nothing,
    }
}

impl Scheme {
    /// A server, and what requests to it are about.
    pub(crate) async fn serve(&self, directory: &Path) -> (Server, Content) {
        let auth = self.auth.clone();
        if let Some(root) = &self.root {
            let server = Server::start_on(Kind::Memory, |config| config.auth = auth).await;
            let content = Content::make(&mut server.client().await, root.as_deref()).await;
            return (server, content);
        }
        // Nobody may write there, so somebody has before.
        let driver = || -> Driver { filesystem(&directory.join("written-before")) };
        let before = Server::start_on(Kind::Directory, |config| config.storage.driver = driver()).await;
        let content = Content::make(&mut before.client().await, None).await;
        before.running.stop().await;
        let change = |config: &mut Config| (config.storage.driver, config.auth) = (driver(), auth);
        (Server::start_on(Kind::Directory, change).await, content)
    }
}
