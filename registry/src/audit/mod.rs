//! What is told of decisions about who may do what: one event each, in the log, under a target of its own.
//!
//! What is decided is not known here. An event is made when a decision is, and told when the request has been answered, or
//! when nobody is there any more to answer: a client that has gone on purpose has still changed what it has changed.

mod event;

use berth_config::{AuditEvents, Config};
use berth_oci::RepositoryName;
use http::{HeaderMap, Method, Response};

use crate::auth::{Access, Identity, Verdict};
use crate::route::Route;
use crate::server::Peer;

pub(crate) use event::Reason;
use event::{Change, Event, Target};

/// Of which target the events are.
pub(crate) const TARGET: &str = "audit";
const DIGEST: &str = "docker-content-digest";

/// What is told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audit {
    events: AuditEvents,
    /// How whoever says a name is known.
    method: &'static str,
}

impl Audit {
    /// What is told of requests of the API: by default only where somebody is asked for a name, since otherwise everything
    /// is allowed to everybody.
    pub(crate) fn of_the_api(config: &Config) -> Audit {
        let unset = if config.auth.is_some() { AuditEvents::Changes } else { AuditEvents::None };
        let method = config.auth.as_ref().and_then(|auth| auth.method.as_ref());
        Audit {
            events: config.log.auditlog.events.unwrap_or(unset),
            method: method.map_or("none", berth_config::Method::name),
        }
    }

    /// What is told of the administration.
    pub(crate) fn of_the_administration(config: &Config) -> Audit {
        Audit { events: config.log.auditlog.events.unwrap_or(AuditEvents::Changes), method: "admin-token" }
    }

    /// Begins with a request. Where nothing is told, nothing is kept.
    pub(crate) fn begin(self) -> Trail {
        Trail { audit: self, open: None }
    }
}

/// A request of the API that is decided about.
pub(crate) struct Asked<'a> {
    /// The route; none if the request is malformed.
    pub(crate) route: Option<&'a Route>,
    /// Its name.
    pub(crate) handler: &'static str,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: &'a Peer,
    pub(crate) wanted: &'a [Access],
    /// The repository that it wants to mount a blob of.
    pub(crate) from: Option<&'a RepositoryName>,
}

/// What is to be told of one request. It is told at the latest when this is dropped.
pub(crate) struct Trail {
    audit: Audit,
    open: Option<Box<(Change, Event)>>,
}

impl Trail {
    /// Whether the decision is told of, whatever else there is to it.
    pub(crate) fn is_on(&self) -> bool {
        self.audit.events != AuditEvents::None
    }

    /// Takes a decision about a request of the API down; `said` is the name that bad credentials came with.
    pub(crate) fn decided(&mut self, verdict: &Verdict, asked: &Asked<'_>, said: Option<&str>) {
        let (reason, change) = (Reason::of(verdict), Change::by(asked.route));
        if !self.may_be_told(reason, change) {
            return;
        }
        let identity = match verdict {
            Verdict::Granted(identity, _) | Verdict::Refused(_, identity) => identity.as_ref(),
            Verdict::Failed(_) => None,
        };
        let event = Event {
            reason,
            user: identity.map(Identity::name).or(said).and_then(event::name),
            authentication: authentication(reason, identity, self.audit.method),
            route: asked.handler,
            target: Target::of(asked.route, asked.wanted, asked.from),
            peer: asked.peer.to_string(),
            method: event::method(asked.method),
            request: event::request(asked.headers),
            status: None,
            digest: None,
        };
        self.open = Some(Box::new((change, event)));
    }

    /// Takes down whether a token is issued, or revoked.
    pub(crate) fn token(&mut self, reason: Reason, asked: &OfTokens<'_>) {
        let change = if asked.changes { Change::Content } else { Change::None };
        if !self.may_be_told(reason, change) {
            return;
        }
        let event = Event {
            reason,
            user: asked.user.and_then(event::name),
            authentication: asked.authentication,
            route: "token",
            target: Target { actions: asked.action.to_owned(), ..Target::default() },
            peer: asked.peer.to_string(),
            method: event::method(asked.method),
            request: event::request(asked.headers),
            status: None,
            digest: None,
        };
        self.open = Some(Box::new((change, event)));
    }

    /// Takes a decision about a request of the administration down.
    pub(crate) fn administration(&mut self, reason: Reason, asked: &Administration<'_>) {
        let change = if asked.changes { Change::Server } else { Change::None };
        if !self.may_be_told(reason, change) {
            return;
        }
        let event = Event {
            reason,
            user: None,
            authentication: self.audit.method,
            route: "admin",
            target: Target { actions: asked.action.to_owned(), ..Target::default() },
            peer: asked.peer.to_string(),
            method: event::method(asked.method),
            request: event::request(asked.headers),
            status: None,
            digest: None,
        };
        self.open = Some(Box::new((change, event)));
    }

    /// Tells of it, now that the request is answered.
    pub(crate) fn answered<B>(mut self, response: &Response<B>) {
        if let Some((_, event)) = self.open.as_deref_mut() {
            event.status = Some(response.status().as_u16());
            let digest = response.headers().get(DIGEST);
            event.digest = digest.and_then(|value| value.to_str().ok()).map(str::to_owned);
        }
    }

    /// Whether it is told with any status. Before the answer none is known, which is also the least that is left out.
    fn may_be_told(&self, reason: Reason, change: Change) -> bool {
        event::is_told(self.audit.events, reason, change, None)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let (change, event) = *open;
            if event::is_told(self.audit.events, event.reason, change, event.status) {
                event.tell();
            }
        }
    }
}

/// How it is known who asks; `method` is that of whoever says a name.
fn authentication(reason: Reason, identity: Option<&Identity>, method: &'static str) -> &'static str {
    match reason {
        Reason::NoAuthentication => "none",
        Reason::Everybody | Reason::NoCredentials => "anonymous",
        _ if identity.is_some_and(Identity::is_by_certificate) => "certificate",
        _ => method,
    }
}

/// A request of the issuer that is decided about.
pub(crate) struct OfTokens<'a> {
    /// `issue-token` or `revoke-token`.
    pub(crate) action: &'static str,
    /// Whether there is a refresh token more or less.
    pub(crate) changes: bool,
    /// Whose token it is, where that is known.
    pub(crate) user: Option<&'a str>,
    /// How that was shown.
    pub(crate) authentication: &'static str,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: &'a Peer,
}

/// A request of the administration that is decided about.
pub(crate) struct Administration<'a> {
    /// What is asked for.
    pub(crate) action: &'static str,
    /// Whether it changes anything.
    pub(crate) changes: bool,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: &'a Peer,
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::auth::{self, Grounds};

    #[test]
    fn without_a_word_changes_are_told_where_somebody_is_asked_for_a_name() {
        let check = |text: &str, api: AuditEvents, administration: AuditEvents, method: &str| {
            let text = format!("version: 0.1\nstorage: inmemory\n{text}");
            let config = Config::load(&text, []).unwrap().config;
            let (found, administered) = (Audit::of_the_api(&config), Audit::of_the_administration(&config));
            assert_eq!((found.events, administered.events), (api, administration), "{text}");
            assert_eq!((found.method, administered.method), (method, "admin-token"), "{text}");
        };
        let (auth, anonymous) =
            ("auth: {htpasswd: {realm: r, path: /p}}", "auth: {anonymous: [{repositories: a, actions: [pull]}]}");
        check("", AuditEvents::None, AuditEvents::Changes, "none");
        check(auth, AuditEvents::Changes, AuditEvents::Changes, "htpasswd");
        check(anonymous, AuditEvents::Changes, AuditEvents::Changes, "none");
        let (none, all) = ("log: {auditlog: {events: none}}\n", "log: {auditlog: {events: all}}\n");
        check(&format!("{none}{auth}"), AuditEvents::None, AuditEvents::None, "htpasswd");
        check(all, AuditEvents::All, AuditEvents::All, "none");
    }

    #[test]
    fn how_it_is_known_who_asks() {
        let (named, shown) = (Identity::new("alice"), Identity::of_certificate("cert:alice", Vec::new()));
        for (reason, identity, expected) in [
            (Reason::NoAuthentication, None, "none"),
            (Reason::Everybody, None, "anonymous"),
            (Reason::NoCredentials, None, "anonymous"),
            (Reason::Rule, Some(&named), "htpasswd"),
            (Reason::BadCredentials, None, "htpasswd"),
            (Reason::NoRules, Some(&shown), "certificate"),
            (Reason::BadCredentials, Some(&shown), "certificate"),
        ] {
            assert_eq!(authentication(reason, identity, "htpasswd"), expected, "{reason:?} {identity:?}");
        }
    }

    #[test]
    fn a_client_that_goes_before_the_answer_has_been_told_of() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Written(writer.clone()));
        tracing::subscriber::with_default(subscriber.finish(), || {
            let mut trail = Audit { events: AuditEvents::Changes, method: "htpasswd" }.begin();
            let route = crate::route::parse(&Method::PUT, "/v2/a/manifests/v1", "").unwrap();
            let wanted = auth::wanted(&route, &Method::PUT, None);
            let asked = Asked {
                route: Some(&route),
                handler: "manifest",
                method: &Method::PUT,
                headers: &HeaderMap::new(),
                peer: &Peer { address: None, secure: false, client: None },
                wanted: &wanted,
                from: None,
            };
            trail.decided(&Verdict::Granted(Some(Identity::new("al\nice")), Grounds::Rule), &asked, None);
            assert!(written.lock().unwrap().is_empty());
            drop(trail);
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let expected = "INFO audit: decision=\"allowed\" reason=\"rule\" user=\"al\\nice\" authentication=\"htpasswd\" \
             actions=\"pull,push\" repository=\"a\" reference=\"v1\" route=\"manifest\" method=\"PUT\" peer=\"unix\"\n";
        assert_eq!(text.split_once(' ').unwrap().1.trim_start(), expected);
    }

    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
