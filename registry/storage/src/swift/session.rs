//! The token that requests carry: asked for when it is first needed, again before it ends or when the credentials have
//! changed, and once more when the store does not believe it.
//!
//! One asks and all use what it gets. While a token is still good nobody waits for the next: the first to see that it will
//! end soon asks, the others go on with the old one, and a failure leaves the old one in use until it has ended. When there
//! is none, those who come while somebody asks wait for what comes of it, a failure included: whoever began to wait before
//! the failed try began has not missed anything by not trying himself. Dropping whoever asks lets the next one ask.
//!
//! A token that was got with credentials which are others by now is given up when the new ones get another, or when the
//! service does not believe the new ones; not while the service cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderValue, StatusCode};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::credentials::{Credentials, Secrets};
use super::identity::{Grant, Identity};
use super::wire::{MAX_ERROR_BYTES, content, refusal};
use crate::http::Http;
use crate::{Refusal, StoreError};

/// The most that is read of an answer of the identity service: a catalog can be long.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// How long before its end a token is replaced; a tenth of its time where that is less.
const AHEAD: Duration = Duration::from_secs(300);
/// How long nobody tries to replace a token that is still good after somebody has.
const PAUSE: Duration = Duration::from_secs(10);
/// How long credentials that the service does not believe are not shown to it again: it may lock out whoever insists.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// A token and where it is good.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) token: HeaderValue,
    /// The address of the account, without a slash at its end.
    pub(super) storage: String,
    /// The tenant's id, where the identity service says it.
    pub(super) tenant: Option<String>,
    /// When it should be replaced, and when it ends.
    ends: Option<(Instant, Instant)>,
    /// What it was got with.
    secrets: Arc<Secrets>,
}

impl Session {
    fn new(grant: Grant, secrets: Arc<Secrets>, asked: Instant) -> Self {
        // What ends later than a clock can say does not end.
        let ends = grant.lasts.and_then(|lasts| {
            let end = asked.checked_add(lasts)?;
            Some((end.checked_sub(AHEAD.min(lasts / 10)).unwrap_or(asked), end))
        });
        Session { token: grant.token, storage: grant.storage, tenant: grant.tenant, ends, secrets }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.ends.is_none_or(|(soon, _)| now < soon)
    }

    fn is_good(&self, now: Instant) -> bool {
        self.ends.is_none_or(|(_, end)| now < end)
    }

    fn is_of(&self, secrets: &Secrets) -> bool {
        self.secrets.log_in_as(secrets)
    }
}

/// Why there is no token. It can be told to everybody who waits for one.
#[derive(Clone, Debug)]
enum NoToken {
    Refused(Refusal),
    Unreachable(String),
}

impl NoToken {
    /// Whether the service has looked at the credentials and does not take them; else it is not well, or too far away.
    fn is_final(&self) -> bool {
        matches!(self, NoToken::Refused(refusal) if refusal.status < 500 && !matches!(refusal.status, 408 | 429))
    }
}

/// What the last try has left behind.
#[derive(Debug, Default)]
struct Turn {
    /// When it began, with what, and why it failed.
    failed: Option<(Instant, Arc<Secrets>, NoToken)>,
    /// When it ended.
    tried: Option<Instant>,
}

impl Turn {
    /// The refusal of these credentials, if it is so fresh that asking again is no use.
    fn refusal(&self, secrets: &Secrets) -> Option<NoToken> {
        let (at, refused, error) = self.failed.as_ref()?;
        let counts = error.is_final() && refused.log_in_as(secrets);
        (counts && at.elapsed() < REFUSED_PAUSE).then(|| error.clone())
    }
}

/// The token, kept up to date.
#[derive(Debug)]
pub(super) struct Sessions {
    http: Http,
    identity: Identity,
    credentials: Arc<Credentials>,
    current: ArcSwapOption<Session>,
    /// Held by whoever asks the identity service.
    turn: Mutex<Turn>,
}

impl Sessions {
    pub(super) fn new(http: Http, identity: Identity, credentials: Arc<Credentials>) -> Self {
        Sessions { http, identity, credentials, current: ArcSwapOption::empty(), turn: Mutex::default() }
    }

    /// A token that is good now.
    pub(super) async fn current(&self) -> Result<Arc<Session>, StoreError> {
        let now = Instant::now();
        let secrets = self.credentials.recent().await;
        match self.current.load_full().filter(|session| session.is_good(now)) {
            None => self.after(None).await,
            Some(session) if !session.is_of(&secrets) => self.changed(session, &secrets).await,
            Some(session) if session.is_fresh(now) => Ok(session),
            Some(session) => {
                let Ok(turn) = self.turn.try_lock() else { return Ok(session) };
                if turn.tried.is_some_and(|tried| tried + PAUSE > now) {
                    return Ok(session);
                }
                Ok(self.ask(turn).await.unwrap_or_else(|error| self.stay(session, error)))
            }
        }
    }

    /// A token after one that the store does not believe, or when there is none.
    pub(super) async fn after(&self, refused: Option<&Arc<Session>>) -> Result<Arc<Session>, StoreError> {
        let began = Instant::now();
        let turn = self.turn.lock().await;
        let current = self.current.load_full().filter(|session| session.is_good(Instant::now()));
        match (current, refused) {
            (Some(session), None) => return Ok(session),
            (Some(session), Some(refused)) if !Arc::ptr_eq(&session, refused) => return Ok(session),
            _ => {}
        }
        if let Some((at, _, error)) = &turn.failed
            && *at >= began
        {
            return Err((self, error.clone()).into());
        }
        if let Some(error) = turn.refusal(&*self.credentials.latest().await) {
            return Err((self, error).into());
        }
        self.ask(turn).await.map_err(|error| (self, error).into())
    }

    /// A token for credentials that are others than those of the token there is.
    async fn changed(&self, old: Arc<Session>, secrets: &Secrets) -> Result<Arc<Session>, StoreError> {
        let Ok(turn) = self.turn.try_lock() else { return Ok(old) };
        if let Some(session) = self.current.load_full().filter(|session| session.is_of(secrets)) {
            return Ok(session);
        }
        if let Some(error) = turn.refusal(secrets) {
            return Err((self, error).into());
        }
        if turn.failed.as_ref().is_some_and(|(at, _, error)| !error.is_final() && at.elapsed() < PAUSE) {
            return Ok(old);
        }
        match self.ask(turn).await {
            Ok(session) => Ok(session),
            Err(error) if error.is_final() => Err((self, error).into()),
            Err(error) => Ok(self.stay(old, error)),
        }
    }

    /// Goes on with a token that could not be replaced.
    fn stay(&self, old: Arc<Session>, error: NoToken) -> Arc<Session> {
        let error = StoreError::from((self, error));
        tracing::warn!(driver = "swift", %error, "cannot renew the token; the old one stays in use");
        old
    }

    async fn ask(&self, mut turn: MutexGuard<'_, Turn>) -> Result<Arc<Session>, NoToken> {
        let began = Instant::now();
        let secrets = self.credentials.latest().await;
        let granted = self.login(&secrets).await;
        turn.tried = Some(Instant::now());
        match granted {
            Ok(grant) => {
                turn.failed = None;
                let session = Arc::new(Session::new(grant, secrets, began));
                self.current.store(Some(session.clone()));
                Ok(session)
            }
            Err(error) => {
                turn.failed = Some((began, secrets, error.clone()));
                Err(error)
            }
        }
    }

    async fn login(&self, secrets: &Secrets) -> Result<Grant, NoToken> {
        let lost = |error: crate::BoxError| NoToken::Unreachable(crate::error::chain(error.as_ref()));
        // What cannot be sent may hold the password, so it is not cited.
        let request =
            self.identity.request(secrets).map_err(|_| lost("the user or the password cannot be sent".into()))?;
        let answer = self.http.send(request).await.map_err(lost)?;
        let (head, body) = answer.into_parts();
        let limit = if head.status.is_success() { MAX_ANSWER_BYTES } else { MAX_ERROR_BYTES };
        let content = content(body, limit).await.map_err(lost)?;
        match head.status {
            status if status.is_success() => {
                self.identity.grant(&head.headers, &content).map_err(|problem| lost(problem.into()))
            }
            status => Err(NoToken::Refused(refused(status, &content))),
        }
    }
}

/// What the service says. It says the same of a name that it does not know and of a password that is wrong.
fn refused(status: StatusCode, content: &[u8]) -> Refusal {
    let refusal = refusal(status, content);
    if status != StatusCode::UNAUTHORIZED {
        return refusal;
    }
    let message = format!("{} The user or the password is not right.", refusal.message);
    Refusal { message: message.trim_start().to_owned(), ..refusal }
}

impl From<(&Sessions, NoToken)> for StoreError {
    fn from((sessions, error): (&Sessions, NoToken)) -> Self {
        const ACTION: &str = "get a token";
        let place = sessions.identity.place();
        match error {
            NoToken::Refused(refusal) => StoreError::service(place, ACTION, refusal),
            NoToken::Unreachable(problem) => StoreError::unreachable(place, ACTION, problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_ahead_of_its_end() {
        fn check(lasts: Option<u64>, after: u64, is_fresh: bool, is_good: bool) {
            let grant = Grant {
                token: HeaderValue::from_static("t"),
                storage: String::new(),
                lasts: lasts.map(Duration::from_secs),
                tenant: None,
            };
            let now = Instant::now();
            let secrets = Secrets { username: "me".into(), password: "p".into(), secret_key: None, access_key: None };
            let session = Session::new(grant, Arc::new(secrets), now);
            let then = now + Duration::from_secs(after);
            assert_eq!((session.is_fresh(then), session.is_good(then)), (is_fresh, is_good), "{lasts:?} {after}");
        }
        check(None, 1_000_000, true, true);
        check(Some(u64::MAX), 1_000_000, true, true);
        check(Some(86_400), 86_099, true, true);
        check(Some(86_400), 86_101, false, true);
        check(Some(86_400), 86_400, false, false);
        check(Some(100), 89, true, true);
        check(Some(100), 91, false, true);
        check(Some(0), 0, false, false);
    }
}
