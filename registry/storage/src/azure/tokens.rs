//! The token that requests carry, kept in use for as long as it is good.
//!
//! `object_store` asks for tokens and keeps each, but from five minutes before its end on it makes everybody wait for the
//! next, and fails where there is none; and it keeps one that the service does not believe. So what it gave is kept here as
//! well: one asks for all, the others go on with what there is, a failure leaves that in use until it ends, and is followed
//! by a pause. Where the service does not believe a token, another is asked for once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use object_store::azure::{AzureCredential, AzureCredentialProvider};
use tokio::sync::Mutex;

use super::access::Entra;
use super::entra;
use crate::StoreError;
use crate::http::Http;

/// How long a token is used without asking whether it is still the one.
const FRESH: Duration = Duration::from_secs(1);
/// How long a token is used while no other can be had: each that is kept is good for five minutes when it is given.
const USABLE: Duration = Duration::from_secs(290);
/// How long nobody asks after a failure while there is a token, and how often a token is given up that is not believed.
const PAUSE: Duration = Duration::from_secs(10);

/// What gives tokens.
pub(super) struct Tokens {
    plan: Entra,
    account: String,
    container: String,
    http: Http,
    held: ArcSwapOption<Held>,
    /// Held by whoever asks.
    asking: Mutex<Asking>,
}

/// A token, and when it was given or shown to be still the one.
struct Held {
    credential: Arc<AzureCredential>,
    at: Instant,
}

/// What the one who asks knows.
struct Asking {
    provider: AzureCredentialProvider,
    /// When no token could be had, and why.
    failed: Option<(Instant, Arc<object_store::Error>)>,
    /// When a token was given up that was not believed.
    gave_up: Option<Instant>,
}

impl Tokens {
    /// Tokens by a plan. None is asked for yet.
    pub(super) fn new(plan: Entra, account: &str, container: &str, http: Http) -> Result<Self, StoreError> {
        let provider = entra::tokens(&plan, account, container, http.clone())?;
        let asking = Mutex::new(Asking { provider, failed: None, gave_up: None });
        let (account, container) = (account.to_owned(), container.to_owned());
        Ok(Tokens { plan, account, container, http, held: ArcSwapOption::empty(), asking })
    }

    /// A token that is good now.
    pub(super) async fn current(&self) -> Result<Arc<AzureCredential>, StoreError> {
        if let Some(fresh) = self.held_for(FRESH) {
            return Ok(fresh);
        }
        let held = self.held_for(USABLE);
        let mut asking = match &held {
            None => self.asking.lock().await,
            Some(held) => match self.asking.try_lock() {
                Ok(asking) => asking,
                Err(_) => return Ok(held.clone()),
            },
        };
        // Another may have been told meanwhile.
        if let Some(fresh) = self.held_for(FRESH) {
            return Ok(fresh);
        }
        match (&asking.failed, &held) {
            (Some((at, _)), Some(held)) if at.elapsed() < PAUSE => return Ok(held.clone()),
            (Some((at, error)), None) if at.elapsed() < FRESH => return Err(entra::refused(&self.plan, error)),
            _ => {}
        }
        match asking.provider.get_credential().await {
            Ok(credential) => {
                if asking.failed.take().is_some() {
                    tracing::info!(driver = "azure", "a token can be had again");
                }
                self.held.store(Some(Arc::new(Held { credential: credential.clone(), at: Instant::now() })));
                Ok(credential)
            }
            Err(error) => {
                let problem = entra::refused(&self.plan, &error);
                if held.is_some() && asking.failed.is_none() {
                    tracing::warn!(driver = "azure", error = %problem, "cannot renew the token; the old one stays in use");
                }
                asking.failed = Some((Instant::now(), Arc::new(error)));
                held.ok_or(problem)
            }
        }
    }

    /// Gives up a token that the service does not believe. Says whether there may be another.
    pub(super) async fn give_up(&self, refused: &Arc<AzureCredential>) -> bool {
        let mut asking = self.asking.lock().await;
        let is_held = self.held.load().as_ref().is_some_and(|held| Arc::ptr_eq(&held.credential, refused));
        if !is_held {
            return true;
        }
        if asking.gave_up.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        match entra::tokens(&self.plan, &self.account, &self.container, self.http.clone()) {
            Ok(provider) => {
                *asking = Asking { provider, failed: None, gave_up: Some(Instant::now()) };
                self.held.store(None);
                tracing::info!(driver = "azure", "the service does not believe the token; asking for another");
                true
            }
            Err(error) => {
                tracing::warn!(driver = "azure", %error, "cannot ask for another token");
                false
            }
        }
    }

    /// The token, if it was given or shown to be the one within this time.
    fn held_for(&self, time: Duration) -> Option<Arc<AzureCredential>> {
        self.held.load().as_ref().filter(|held| held.at.elapsed() < time).map(|held| held.credential.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trust;
    use crate::azure::access::Proof;
    use crate::azure::fake::serve;

    /// What asks the authority at an address, which gives tokens that are to be replaced at once.
    fn tokens(authority: &str) -> Tokens {
        let proof = Proof::Secret { tenant: "t".into(), client: "c".into(), secret: "s3cr3t".into() };
        let plan = Entra { authority: authority.to_owned(), proof };
        Tokens::new(plan, "acct", "box", Http::new(&Trust::default()).unwrap()).unwrap()
    }

    /// Lets time go by.
    fn age(tokens: &Tokens, time: Duration) {
        let held = tokens.held.load_full().unwrap();
        let at = held.at.checked_sub(time).unwrap();
        tokens.held.store(Some(Arc::new(Held { credential: held.credential.clone(), at })));
    }

    fn text(credential: &AzureCredential) -> String {
        match credential {
            AzureCredential::BearerToken(token) => token.clone(),
            _ => unreachable!("tokens are all it gives"),
        }
    }

    const ENDS_SOON: &str = r#"{"access_token":"FIRST","expires_in":0}"#;
    const LASTS: &str = r#"{"access_token":"SECOND","expires_in":3600}"#;
    const DOWN: (&str, &str) = ("503 Service Unavailable", "{}");

    #[tokio::test]
    async fn a_token_that_cannot_be_replaced_is_used_until_it_ends() {
        let (authority, asked) = serve(&[("200 OK", ENDS_SOON), DOWN, DOWN, ("200 OK", LASTS)]).await;
        let tokens = tokens(&authority);
        assert_eq!(text(&tokens.current().await.unwrap()), "FIRST");
        age(&tokens, Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(text(&tokens.current().await.unwrap()), "FIRST", "the old one is still good");
        }
        assert_eq!(asked.lines().len(), 2, "nobody insists");
        age(&tokens, USABLE);
        // As if the pause were over.
        tokens.asking.lock().await.failed = None;
        assert!(tokens.current().await.unwrap_err().is_transient());
        tokens.asking.lock().await.failed = None;
        assert_eq!(text(&tokens.current().await.unwrap()), "SECOND");
    }

    #[tokio::test]
    async fn nobody_waits_while_another_asks_for_the_next() {
        let (authority, _asked) = serve(&[("200 OK", ENDS_SOON)]).await;
        let tokens = tokens(&authority);
        tokens.current().await.unwrap();
        age(&tokens, Duration::from_secs(60));
        let _asks = tokens.asking.lock().await;
        assert_eq!(text(&tokens.current().await.unwrap()), "FIRST");
    }

    #[tokio::test]
    async fn a_token_that_is_not_believed_is_replaced_once() {
        let first = r#"{"access_token":"FIRST","expires_in":3600}"#;
        let (authority, asked) = serve(&[("200 OK", first), ("200 OK", LASTS)]).await;
        let tokens = tokens(&authority);
        let refused = tokens.current().await.unwrap();
        assert!(tokens.give_up(&refused).await);
        assert!(tokens.give_up(&refused).await, "it is no more in use");
        let second = tokens.current().await.unwrap();
        assert_eq!(text(&second), "SECOND");
        assert!(tokens.give_up(&refused).await, "there is another");
        assert!(!tokens.give_up(&second).await, "whoever insists is not helped");
        assert_eq!(asked.lines().len(), 2);
    }
}
