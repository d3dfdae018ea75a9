//! What it costs to be asked who one is: the same content, served to everybody, for a token and for a password.
//!
//! The servers of a program serve one directory, each with another `auth`, and are asked one right after the other. Tokens are
//! those of Berth's issuer, of which the others have the keys.

mod outcome;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::content::NAME;
use super::report::{Sample, Server, Work};
use super::{Bench, load, start};
use crate::peer::{Peer, Program, Setup, free_port};
use crate::run;

pub(super) use outcome::{Outcome, Round};
use outcome::{WORKS, Way};

const USER: &str = "alice";
const PASSWORD: &str = "swordfish";
/// Of the password, at a cost of 10.
const HASH: &str = "$2b$10$U7G/Cyq35gZmcslXRmdi4.je.I7RSFBkT6i95Eq.rzLUbgDI8xCc6";
/// Whom tokens are for.
const SERVICE: &str = "registry";

/// A server, and what it wants to be shown.
#[derive(Debug)]
struct Guarded {
    server: Server,
    way: Way,
    peer: Peer,
    authorization: Option<String>,
}

/// All servers that are compared.
#[derive(Debug)]
pub(super) struct Access(Vec<Guarded>);

impl Access {
    /// Starts the servers below `directory`: Berth's on the data of the first of `filled`, Distribution's on that of the
    /// second.
    pub(super) fn start(directory: &Path, programs: &[Program; 2], filled: [&Path; 2]) -> Result<Self> {
        let users = directory.join("htpasswd");
        std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        std::fs::write(&users, format!("{USER}:{HASH}\n")).context("write the file of users")?;
        let issuer = |algorithm| Issuer::start(&directory.join(algorithm), &programs[0], algorithm, &users, filled[0]);
        let (ours, other) = (issuer("es256")?, issuer("rs256")?);
        let by_password = format!("auth: {{htpasswd: {{realm: Registry, path: '{}'}}}}\n", users.display());
        let ways = [
            (Way::Anonymous, String::new(), None),
            (Way::Es256, ours.auth.clone(), Some(ours.authorization.clone())),
            (Way::Rs256, other.auth, Some(other.authorization)),
            (Way::Password, by_password, Some(basic())),
        ];
        let mut guarded = Vec::new();
        for ((server, program), data) in [Server::Berth, Server::Distribution].into_iter().zip(programs).zip(filled) {
            for (way, auth, authorization) in &ways {
                let peer = start(&directory.join(format!("{}-{way:?}", program.name)), program, data, auth)?;
                guarded.push(Guarded { server, way: *way, peer, authorization: authorization.clone() });
            }
        }
        let Issuer { peer, authorization, auth: _ } = ours;
        guarded.push(Guarded { server: Server::Berth, way: Way::Issuer, peer, authorization: Some(authorization) });
        Ok(Self(guarded))
    }

    /// Asks for the same what asks nobody who they are, and what does, one right after the other.
    pub(super) fn round(&self, bench: &Bench<'_>) -> Result<Round> {
        let mut round = Round::default();
        for work in WORKS {
            for (index, guarded) in self.0.iter().enumerate() {
                let Guarded { server, way, .. } = guarded;
                let open = self.0.iter().find(|other| other.server == *server && other.way == Way::Anonymous);
                let open = open.context("a server that asks nobody")?;
                // For Distribution, one work says enough.
                if *way == Way::Anonymous || (*server == Server::Distribution && work != WORKS[0]) {
                    continue;
                }
                // Who comes first changes.
                let pair = if (index + bench.round).is_multiple_of(2) {
                    [open.turn(bench, work)?, guarded.turn(bench, work)?]
                } else {
                    let asking = guarded.turn(bench, work)?;
                    [open.turn(bench, work)?, asking]
                };
                round.measured(*server, *way, work, pair);
            }
        }
        Ok(round)
    }
}

impl Guarded {
    fn turn(&self, bench: &Bench<'_>, work: Work) -> Result<Sample> {
        let Self { server, way, peer, authorization } = self;
        let (address, path, authorization) = (peer.address(), bench.content.path(work), authorization.as_deref());
        // A password is checked once a minute, which would fall into many a turn, since there are so many others in between.
        load::get(address, &path, authorization)?;
        bench.turn(*server, &format!(" for {}", way.title()), work, peer.pid(), || {
            load::small(address, &path, authorization, bench.options)
        })
    }
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

/// A registry that issues tokens.
struct Issuer {
    peer: Peer,
    /// What other registries are told of it.
    auth: String,
    /// A token of it, which counts for longer than anybody measures.
    authorization: String,
}

impl Issuer {
    fn start(directory: &Path, program: &Program, algorithm: &str, users: &Path, data: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let (key, keys) = (directory.join("key.pem"), directory.join("keys.json"));
        let mut command = Command::new(&program.path);
        command.args(["create-key", "--algorithm", algorithm]).arg(&key);
        run::checked(command)?;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}/auth");
        let auth = format!(
            "auth: {{issuer: {{service: {SERVICE}, issuer: '{url}', keys: '{}', expiry: 24h, htpasswd: {{path: '{}'}}}}}}\n",
            key.display(),
            users.display()
        );
        let setup = Setup { port: Some(port), ..super::setup(directory, data, &auth) };
        let peer = Peer::start(program, &setup)?;
        let published = load::get(peer.address(), "/auth/keys", None)?;
        std::fs::write(&keys, published).with_context(|| format!("write {}", keys.display()))?;
        let path = format!("/auth/token?service={SERVICE}&scope=repository:{NAME}:pull");
        let answer = load::get(peer.address(), &path, Some(&basic()))?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).context("read the answer of the issuer")?;
        let token = answer["token"].as_str().context("the issuer has answered no token")?;
        let auth = format!(
            "auth: {{token: {{realm: '{url}/token', service: {SERVICE}, issuer: '{url}', jwks: '{}'}}}}\n",
            keys.display()
        );
        Ok(Self { peer, auth, authorization: format!("Bearer {token}") })
    }
}
