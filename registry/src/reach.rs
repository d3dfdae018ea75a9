//! Whether the store can be used, for whoever asks the debug port: an operator that has to say why a registry is not ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_storage::{Store, StoreError};
use serde::Serialize;
use tokio::sync::Mutex;

/// How long one look stands for all who ask.
const STANDS: Duration = Duration::from_secs(3);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a look has found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Looked {
    driver: &'static str,
    place: String,
    reachable: bool,
    /// One word for what is wrong, in the store's own terms where it has one.
    reason: Option<String>,
    message: Option<String>,
    checked: jiff::Timestamp,
}

/// Looks at a store, once for all who ask at the same time.
pub(crate) struct Reach {
    store: Arc<dyn Store>,
    last: Mutex<Option<(Instant, Looked)>>,
}

impl Reach {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Reach { store, last: Mutex::new(None) }
    }

    /// What a look finds now, or has found a moment ago.
    pub(crate) async fn look(&self) -> Looked {
        let mut last = self.last.lock().await;
        if let Some((_, looked)) = last.as_ref().filter(|(at, _)| at.elapsed() < STANDS) {
            return looked.clone();
        }
        let outcome = tokio::time::timeout(PATIENCE, self.store.check()).await;
        let (reason, message) = match outcome {
            Ok(Ok(())) => (None, None),
            Ok(Err(error)) => (Some(reason(&error)), Some(error.to_string())),
            Err(_) => {
                let text = format!("the store has not answered within {} seconds", PATIENCE.as_secs());
                (Some("Timeout".to_owned()), Some(text))
            }
        };
        let looked = Looked {
            driver: self.store.driver(),
            place: self.store.place(),
            reachable: reason.is_none(),
            reason,
            message,
            checked: jiff::Timestamp::now(),
        };
        *last = Some((Instant::now(), looked.clone()));
        looked
    }
}

/// One word of letters and digits, as conditions of Kubernetes want it.
fn reason(error: &StoreError) -> String {
    match error {
        StoreError::Service { refusal, .. } => {
            let code = &refusal.code;
            let is_word = code.starts_with(|first: char| first.is_ascii_alphabetic())
                && code.chars().all(|character| character.is_ascii_alphanumeric());
            if is_word { code.clone() } else { "Refused".to_owned() }
        }
        StoreError::Unreachable { .. } => "Unreachable".to_owned(),
        StoreError::Settings { .. } => "InvalidSettings".to_owned(),
        _ => "Failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::{Memory, Refusal};

    use super::*;

    #[tokio::test]
    async fn what_can_be_used_is_said_to_be() {
        let looked = serde_json::to_value(Reach::new(Arc::new(Memory::new())).look().await).unwrap();
        assert_eq!(looked["driver"], "inmemory");
        assert_eq!(looked["reachable"], true);
        assert!(looked["reason"].is_null() && looked["message"].is_null());
    }

    #[test]
    fn a_reason_is_one_word() {
        let refused = |code: &str| {
            let refusal = Box::new(Refusal { status: 403, code: code.into(), message: "no".into() });
            reason(&StoreError::Service { key: "s3://b".into(), action: "look", refusal })
        };
        assert_eq!(refused("AccessDenied"), "AccessDenied");
        for odd in ["", "4xx", "Access Denied", "Ä"] {
            assert_eq!(refused(odd), "Refused", "{odd}");
        }
    }
}
