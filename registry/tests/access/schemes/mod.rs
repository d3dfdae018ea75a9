//! The ways to say who asks, each with every kind of credentials.

mod certificates;
mod issued;
mod mint;
mod passwords;
mod signed;

use std::path::Path;

use berth_config::{Auth, Config, Driver, Method, Tls};

use crate::caller::{Caller, Handshake};
use crate::paths::Content;
use crate::support::{Kind, Server, filesystem};

pub(crate) use mint::Mint;

/// What credentials are good for, of the repository that requests are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Those with which there is no connection.
    Shut,
    /// There are none.
    None,
    /// Those of nobody: malformed, wrong, forged, or too old.
    Bad,
    /// Somebody's, who may do nothing.
    Nothing,
    /// Somebody's, who may do everything with another repository.
    Other,
    /// Somebody's, who may read.
    Pull,
    /// Somebody's, who may read and write, and delete nothing.
    Push,
    /// Somebody's, who may do everything.
    Right,
}

/// What a request shows of who makes it.
#[derive(Clone, Default)]
pub(crate) struct Proof {
    pub(crate) header: Option<String>,
    pub(crate) handshake: Handshake,
}

/// One kind of credentials.
pub(crate) struct Credentials {
    pub(crate) shown: &'static str,
    pub(crate) class: Class,
    pub(crate) proof: Proof,
}

/// One way to say who asks.
pub(crate) struct Scheme {
    pub(crate) shown: &'static str,
    /// What the page says of it, above the table.
    pub(crate) about: &'static str,
    pub(crate) auth: Option<Auth>,
    pub(crate) tls: Option<Tls>,
    /// With what somebody may do everything; none if nobody may.
    pub(crate) root: Option<Proof>,
    pub(crate) credentials: Vec<Credentials>,
    /// What everybody may do who says no name.
    pub(crate) everybody: Everybody,
    /// Whether who has the right credentials is shown the whole catalog.
    pub(crate) lists_everything: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Everybody {
    Nothing,
    Pull,
    Everything,
}

/// The rules for the users, whose names have this in front. Root may do everything, in a rule of its own.
fn rules(prefix: &str) -> String {
    format!(
        "{{users: ['{prefix}alice'], repositories: 'team/**', actions: ['*']}}, \
         {{users: ['{prefix}writer'], repositories: 'team/**', actions: [pull, push]}}, \
         {{users: ['{prefix}reader'], repositories: 'team/**', actions: [pull]}}, \
         {{users: ['{prefix}other'], repositories: 'other/**', actions: ['*']}}"
    )
}

const OF_ROOT: &str = "{users: [root], repositories: '**', actions: ['*']}";
const EVERYBODY: &str = "anonymous: [{repositories: 'team/**', actions: [pull]}]";
/// Those whom the rules name; the password of each is `NAME's`.
const USERS: [&str; 5] = ["alice", "writer", "reader", "other", "root"];

/// Credentials in a header.
fn headers(list: Vec<(&'static str, Class, Option<String>)>) -> Vec<Credentials> {
    let proof = |header| Proof { header, handshake: Handshake::Plain };
    list.into_iter().map(|(shown, class, header)| Credentials { shown, class, proof: proof(header) }).collect()
}

/// `auth` as it is written, checked beside `http.tls`.
fn auth(text: &str) -> Option<Auth> {
    let text = format!(
        "version: 0.1\nstorage: inmemory\nhttp: {{tls: {{certificate: /c, key: /k, clientcas: [/ca]}}}}\nauth: {text}"
    );
    Config::load(&text, []).unwrap().config.auth
}

/// Every way; files are put into the directory.
pub(crate) async fn all(directory: &Path) -> Vec<Scheme> {
    let [ruled, for_everybody, nameless, silly, open] = passwords::schemes(directory);
    let [own, own_for_everybody] = issued::schemes(directory).await;
    let [alone, beside] = certificates::schemes(directory).await;
    vec![ruled, signed::scheme(directory), own, alone, beside, for_everybody, own_for_everybody, nameless, silly, open]
}

impl Scheme {
    /// Whether the server has a method, for which it asks those who are not let in.
    pub(crate) fn has_method(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| auth.method.is_some())
    }

    pub(crate) fn has_issuer(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| matches!(auth.method, Some(Method::Issuer(_))))
    }

    /// A server, and what requests to it are about.
    pub(crate) async fn serve(&self, directory: &Path) -> (Server, Content) {
        let (auth, tls) = (self.auth.clone(), self.tls.clone());
        if let Some(root) = &self.root {
            let change = |config: &mut Config| (config.auth, config.http.tls) = (auth, tls);
            let server = Server::start_on(Kind::Memory, change).await;
            let mut caller = Caller::of(server.running.address(), &root.handshake).await;
            let content = Content::make(&mut caller, root.header.as_deref()).await;
            return (server, content);
        }
        // Nobody may write there, so somebody has before.
        let driver = || -> Driver { filesystem(&directory.join("written-before")) };
        let before = Server::start_on(Kind::Directory, |config| config.storage.driver = driver()).await;
        let content = Content::make(&mut Caller::plain(before.running.address()), None).await;
        before.running.stop().await;
        let change = |config: &mut Config| (config.storage.driver, config.auth) = (driver(), auth);
        (Server::start_on(Kind::Directory, change).await, content)
    }
}
