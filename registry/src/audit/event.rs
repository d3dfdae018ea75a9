//! [pure] From a decision about a request to the event that tells of it, or to none.

use berth_config::AuditEvents;
use berth_oci::{Reference, RepositoryName};
use http::{HeaderMap, Method};

use crate::auth::{Access, AuthError, Grounds, Verdict, Why};
use crate::route::{BlobAction, ManifestAction, Route, UploadAction};

/// How much is told of a name. Those of tokens may have any length.
const MAX_NAME_CHARACTERS: usize = 200;
/// How much is told of what else a client has written.
const MAX_TOLD_CHARACTERS: usize = 100;

/// Why a request may go on, or may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody is asked for a name.
    NoAuthentication,
    /// It is for everybody.
    Everybody,
    /// Whoever has a name may do everything.
    NoRules,
    /// The token says so.
    Token,
    /// A rule says so.
    Rule,
    /// Nothing is wanted of which it could be said who may do it.
    NothingWanted,
    /// A token is issued to whoever has shown who they are; for what, its scopes say.
    Credentials,
    /// The token of the administration.
    AdminToken,
    /// There are no credentials.
    NoCredentials,
    /// They are wrong.
    BadCredentials,
    /// They are right, and neither they nor a rule grant this.
    NotGranted,
    /// Too many wrong passwords came from this address.
    Braked,
    /// Too many passwords are being checked.
    Busy,
    /// What credentials are checked against is not there.
    Unverifiable,
    /// The server is stopping.
    Stopping,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Reason::NoAuthentication => "no-authentication",
            Reason::Everybody => "everybody",
            Reason::NoRules => "no-rules",
            Reason::Token => "token",
            Reason::Rule => "rule",
            Reason::NothingWanted => "nothing-wanted",
            Reason::Credentials => "credentials",
            Reason::AdminToken => "admin-token",
            Reason::NoCredentials => "no-credentials",
            Reason::BadCredentials => "bad-credentials",
            Reason::NotGranted => "not-granted",
            Reason::Braked => "braked",
            Reason::Busy => "busy",
            Reason::Unverifiable => "unverifiable",
            Reason::Stopping => "stopping",
        }
    }

    const fn is_refusal(self) -> bool {
        match self {
            Reason::NoAuthentication
            | Reason::Everybody
            | Reason::NoRules
            | Reason::Token
            | Reason::Rule
            | Reason::NothingWanted
            | Reason::Credentials
            | Reason::AdminToken => false,
            Reason::NoCredentials
            | Reason::BadCredentials
            | Reason::NotGranted
            | Reason::Braked
            | Reason::Busy
            | Reason::Unverifiable
            | Reason::Stopping => true,
        }
    }

    /// Why a verdict is as it is.
    pub(super) const fn of(verdict: &Verdict) -> Reason {
        match verdict {
            Verdict::Granted(_, Grounds::Open) => Reason::NoAuthentication,
            Verdict::Granted(_, Grounds::Everybody) => Reason::Everybody,
            Verdict::Granted(_, Grounds::NoRules) => Reason::NoRules,
            Verdict::Granted(_, Grounds::Token) => Reason::Token,
            Verdict::Granted(_, Grounds::Rule) => Reason::Rule,
            Verdict::Granted(_, Grounds::Nothing) => Reason::NothingWanted,
            Verdict::Refused(Why::Missing, _) => Reason::NoCredentials,
            Verdict::Refused(Why::Bad, _) => Reason::BadCredentials,
            Verdict::Refused(Why::Insufficient, _) => Reason::NotGranted,
            Verdict::Failed(error) => Reason::of_failure(error),
        }
    }

    /// Why it cannot be found out who asks.
    pub(crate) const fn of_failure(error: &AuthError) -> Reason {
        match error {
            AuthError::Braked(_) => Reason::Braked,
            AuthError::Busy => Reason::Busy,
            AuthError::Htpasswd(_) | AuthError::NoKeys => Reason::Unverifiable,
            AuthError::Stopped => Reason::Stopping,
        }
    }
}

/// What a request changes if it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that anybody could see.
    None,
    /// Something, if it is answered that it was made: a push of a blob may only begin with this request.
    IfCreated,
    /// Content.
    Content,
    /// The server.
    Server,
}

impl Change {
    /// What a request for this route changes. A chunk of an upload changes nothing: its end does.
    pub(super) const fn by(route: Option<&Route>) -> Change {
        match route {
            Some(
                Route::Repository(_)
                | Route::Manifest(_, _, ManifestAction::Write | ManifestAction::Delete)
                | Route::Blob(_, _, BlobAction::Delete)
                | Route::Upload(_, _, UploadAction::Finish | UploadAction::Cancel),
            ) => Change::Content,
            Some(Route::UploadBegin(_)) => Change::IfCreated,
            None
            | Some(
                Route::Root
                | Route::Moved(_)
                | Route::Options { .. }
                | Route::Issuer(_)
                | Route::Base
                | Route::Catalog
                | Route::Tags(_)
                | Route::Manifest(_, _, ManifestAction::Read)
                | Route::Referrers(..)
                | Route::Blob(_, _, BlobAction::Read | BlobAction::Stat)
                | Route::Upload(_, _, UploadAction::Progress | UploadAction::Append),
            ) => Change::None,
        }
    }
}

/// Whether it is told of; without a status, the client has gone before the answer.
pub(super) fn is_told(events: AuditEvents, reason: Reason, change: Change, status: Option<u16>) -> bool {
    match (events, change) {
        (AuditEvents::None, _) => false,
        (AuditEvents::All, _) | (AuditEvents::Changes, Change::Server) => true,
        // How every client finds out that it needs some.
        (AuditEvents::Changes, _) if reason == Reason::NoCredentials => false,
        (AuditEvents::Changes, _) if reason.is_refusal() => true,
        (AuditEvents::Changes, Change::None) => false,
        (AuditEvents::Changes, Change::IfCreated) => matches!(status, None | Some(201)),
        (AuditEvents::Changes, Change::Content) => true,
    }
}

/// What a request asks for, as far as it is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) actions: String,
    pub(super) repository: Option<String>,
    /// The repository that a blob is to be mounted from.
    pub(super) from: Option<String>,
    /// The tag or digest.
    pub(super) reference: Option<String>,
    pub(super) upload: Option<String>,
}

impl Target {
    /// What a request for this route asks for, which wants this.
    pub(super) fn of(route: Option<&Route>, wanted: &[Access], from: Option<&RepositoryName>) -> Target {
        let (repository, reference, upload) = match route {
            None
            | Some(
                Route::Root | Route::Moved(_) | Route::Options { .. } | Route::Issuer(_) | Route::Base | Route::Catalog,
            ) => (None, None, None),
            Some(Route::Repository(name) | Route::Tags(name) | Route::UploadBegin(name)) => (Some(name), None, None),
            Some(Route::Manifest(name, Reference::Tag(tag), _)) => (Some(name), Some(tag.to_string()), None),
            Some(
                Route::Manifest(name, Reference::Digest(digest), _)
                | Route::Referrers(name, digest)
                | Route::Blob(name, digest, _),
            ) => (Some(name), Some(digest.to_string()), None),
            Some(Route::Upload(name, id, _)) => (Some(name), None, Some(id.to_string())),
        };
        let repository = repository.map(RepositoryName::as_str);
        let here = wanted.iter().filter(|access| access.kind == "registry" || Some(access.name.as_str()) == repository);
        let mut actions: Vec<&str> = Vec::new();
        for access in here {
            // In the words of the rules.
            let action = if access.kind == "registry" { "list" } else { access.action };
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
        let (actions, repository) = (actions.join(","), repository.map(str::to_owned));
        Target { actions, repository, from: from.map(ToString::to_string), reference, upload }
    }
}

/// One event. Nothing in it is a secret, and what a client has written is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) reason: Reason,
    pub(super) user: Option<String>,
    /// How it is known who asks.
    pub(super) authentication: &'static str,
    /// The name of the route, as metrics have it.
    pub(super) route: &'static str,
    pub(super) target: Target,
    pub(super) peer: String,
    pub(super) method: String,
    /// What the client, or a proxy in front, calls the request.
    pub(super) request: Option<String>,
    /// None if the client has gone before the answer.
    pub(super) status: Option<u16>,
    /// The digest that the answer names.
    pub(super) digest: Option<String>,
}

impl Event {
    /// Writes it.
    pub(super) fn tell(&self) {
        let Event { reason, user, authentication, route, target, peer, method, request, status, digest } = self;
        let Target { actions, repository, from, reference, upload } = target;
        let decision = if reason.is_refusal() { "refused" } else { "allowed" };
        tracing::info!(
            target: super::TARGET,
            decision,
            reason = reason.as_str(),
            user,
            authentication,
            actions,
            repository,
            reference,
            digest,
            upload,
            from,
            route,
            method,
            status,
            peer,
            request
        );
    }
}

/// What is told of a user's name; nothing of one that is empty, as of a token that says none.
pub(super) fn name(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| cut(text, MAX_NAME_CHARACTERS))
}

/// What is told of a request's method.
pub(super) fn method(method: &Method) -> String {
    cut(method.as_str(), MAX_TOLD_CHARACTERS)
}

/// What a request is called by whoever made it or passed it on.
pub(super) fn request(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-request-id")?.to_str().ok()?;
    (!value.is_empty()).then(|| cut(value, MAX_TOLD_CHARACTERS))
}

fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::{Identity, source_of_mount, wanted};
    use crate::route;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ID: &str = "6fa459ea-ee8a-3ca4-894e-db77e160355e";

    #[test]
    fn every_verdict_has_a_reason() {
        let alice = || Some(Identity::new("alice"));
        for (verdict, reason, is_refusal) in [
            (Verdict::Granted(None, Grounds::Open), "no-authentication", false),
            (Verdict::Granted(None, Grounds::Everybody), "everybody", false),
            (Verdict::Granted(alice(), Grounds::NoRules), "no-rules", false),
            (Verdict::Granted(alice(), Grounds::Token), "token", false),
            (Verdict::Granted(alice(), Grounds::Rule), "rule", false),
            (Verdict::Granted(alice(), Grounds::Nothing), "nothing-wanted", false),
            (Verdict::Refused(Why::Missing, None), "no-credentials", true),
            (Verdict::Refused(Why::Bad, None), "bad-credentials", true),
            (Verdict::Refused(Why::Insufficient, alice()), "not-granted", true),
            (Verdict::Failed(AuthError::Braked(Duration::ZERO)), "braked", true),
            (Verdict::Failed(AuthError::Busy), "busy", true),
            (Verdict::Failed(AuthError::NoKeys), "unverifiable", true),
            (Verdict::Failed(AuthError::Stopped), "stopping", true),
        ] {
            let found = Reason::of(&verdict);
            assert_eq!((found.as_str(), found.is_refusal()), (reason, is_refusal), "{verdict:?}");
        }
        assert_eq!((Reason::AdminToken.as_str(), Reason::AdminToken.is_refusal()), ("admin-token", false));
    }

    #[test]
    fn what_is_told_of() {
        use AuditEvents as E;
        use Reason as R;
        let created = Some(201);
        for (reason, change, status, changes) in [
            (R::Rule, Change::None, Some(200), false),
            (R::Rule, Change::IfCreated, created, true),
            (R::Rule, Change::IfCreated, Some(202), false),
            (R::Rule, Change::IfCreated, None, true),
            (R::NoAuthentication, Change::Content, created, true),
            (R::Token, Change::Content, Some(500), true),
            (R::Token, Change::Content, None, true),
            (R::NoCredentials, Change::None, Some(401), false),
            (R::NoCredentials, Change::Content, Some(401), false),
            (R::BadCredentials, Change::None, Some(401), true),
            (R::NotGranted, Change::None, Some(403), true),
            (R::Braked, Change::None, Some(429), true),
            (R::Unverifiable, Change::Content, Some(500), true),
            (R::AdminToken, Change::Server, Some(200), true),
            (R::AdminToken, Change::None, Some(200), false),
            (R::NoCredentials, Change::Server, Some(401), true),
        ] {
            assert_eq!(is_told(E::Changes, reason, change, status), changes, "{reason:?} {change:?} {status:?}");
            assert!(is_told(E::All, reason, change, status) && !is_told(E::None, reason, change, status));
        }
    }

    #[test]
    fn what_each_request_asks_for_and_changes() {
        for (asked, expected, change) in [
            ("GET /v2/", "-", Change::None),
            ("GET /v2/_catalog", "list", Change::None),
            ("GET /v2/a/b/tags/list", "pull a/b", Change::None),
            ("GET /v2/a/manifests/v1", "pull a v1", Change::None),
            ("PUT /v2/a/manifests/v1", "pull,push a v1", Change::Content),
            ("DELETE /v2/a/manifests/DIGEST", "delete a DIGEST", Change::Content),
            ("DELETE /v2/a/b/", "delete a/b", Change::Content),
            ("GET /v2/a/referrers/DIGEST", "pull a DIGEST", Change::None),
            ("HEAD /v2/a/blobs/DIGEST", "pull a DIGEST", Change::None),
            ("GET /v2/a/blobs/DIGEST", "pull a DIGEST", Change::None),
            ("DELETE /v2/a/blobs/DIGEST", "delete a DIGEST", Change::Content),
            ("POST /v2/a/blobs/uploads/", "pull,push a", Change::IfCreated),
            ("POST /v2/a/blobs/uploads/?from=b/c", "pull,push a from b/c", Change::IfCreated),
            ("POST /v2/a/blobs/uploads/?from=a", "pull,push a from a", Change::IfCreated),
            ("GET /v2/a/blobs/uploads/ID", "pull a upload ID", Change::None),
            ("PATCH /v2/a/blobs/uploads/ID", "pull,push a upload ID", Change::None),
            ("PUT /v2/a/blobs/uploads/ID", "pull,push a upload ID", Change::Content),
            ("DELETE /v2/a/blobs/uploads/ID", "delete a upload ID", Change::Content),
            ("GET /v2/A/tags/list", "-", Change::None),
        ] {
            let (method, target) = asked.split_once(' ').unwrap();
            let (method, target) = (method.parse().unwrap(), target.replace("DIGEST", DIGEST).replace("ID", ID));
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let query: Vec<(String, String)> =
                query.split_once('=').map(|(key, value)| (key.into(), value.into())).into_iter().collect();
            let route = route::parse(&method, path, "").ok();
            let from = route.as_ref().and_then(|route| source_of_mount(route, &query));
            let wanted = route.as_ref().map(|route| wanted(route, &method, from.as_ref())).unwrap_or_default();
            let Target { actions, repository, from, reference, upload } =
                Target::of(route.as_ref(), &wanted, from.as_ref());
            let actions = if actions.is_empty() { "-".into() } else { actions };
            let (from, upload) = (from.map(|from| format!("from {from}")), upload.map(|id| format!("upload {id}")));
            let parts = [Some(actions), repository, reference, upload, from];
            let found = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
            assert_eq!(found.replace(DIGEST, "DIGEST").replace(ID, "ID"), expected, "{asked}");
            assert_eq!(Change::by(route.as_ref()), change, "{asked}");
        }
    }

    #[test]
    fn what_a_client_has_written_is_cut() {
        assert_eq!((name(""), name("alice")), (None, Some("alice".into())));
        assert_eq!(name(&"é".repeat(201)).unwrap(), format!("{}…", "é".repeat(200)));
        assert_eq!(name(&"é".repeat(200)).unwrap(), "é".repeat(200));
        let mut headers = HeaderMap::new();
        assert_eq!(request(&headers), None);
        for (value, expected) in [("abc-1", Some("abc-1")), ("", None), ("\u{e9}", None)] {
            headers.insert("x-request-id", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            assert_eq!(request(&headers).as_deref(), expected, "{value}");
        }
        let long: Method = "X".repeat(300).parse().unwrap();
        assert_eq!(method(&long).chars().count(), 101);
    }
}
