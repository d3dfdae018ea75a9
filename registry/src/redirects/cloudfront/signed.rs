//! Signed addresses, each made once for as long as it can be given out again.
//!
//! A layer that many nodes pull at once is asked for at once, and a signature of RSA takes a processor for milliseconds. So
//! the end of an address is rounded down to a tenth of its validity: everybody who asks in that time gets the same one. At
//! most half of the processors sign, and who waited for one looks again before he signs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::signer::{SignError, Signer};

/// How many addresses are remembered. One has some hundred bytes.
const MAX_REMEMBERED: usize = 2048;

/// What signs, and what has been signed.
pub(super) struct Signed {
    signer: Arc<Signer>,
    key_pair_id: String,
    validity: Duration,
    recent: Mutex<Recent>,
    room: Semaphore,
}

/// The addresses that end at the same time, by what they are of.
#[derive(Default)]
struct Recent {
    expires: u64,
    addresses: HashMap<String, String>,
}

impl Signed {
    pub(super) fn new(signer: Signer, key_pair_id: String, validity: Duration) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let room = Semaphore::new((processors / 2).max(1));
        Signed { signer: Arc::new(signer), key_pair_id, validity, recent: Mutex::default(), room }
    }

    /// An address of a resource for somebody who asks `now`, in seconds since 1970.
    pub(super) async fn address(&self, resource: String, now: u64) -> Result<String, SignError> {
        let expires = expiry(now, self.validity);
        if let Some(address) = self.remembered(&resource, expires) {
            return Ok(address);
        }
        let _room = self.room.acquire().await.map_err(|_| SignError)?;
        if let Some(address) = self.remembered(&resource, expires) {
            return Ok(address);
        }
        let (signer, key_pair_id) = (self.signer.clone(), self.key_pair_id.clone());
        let signing = tokio::task::spawn_blocking(move || {
            let address = signer.address(&resource, expires, &key_pair_id)?;
            Ok((resource, address))
        });
        let (resource, address) = signing.await.map_err(|_| SignError)??;
        self.remember(resource, expires, &address);
        Ok(address)
    }

    fn remembered(&self, resource: &str, expires: u64) -> Option<String> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        (recent.expires == expires).then(|| recent.addresses.get(resource).cloned()).flatten()
    }

    fn remember(&self, resource: String, expires: u64, address: &str) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.expires < expires {
            *recent = Recent { expires, addresses: HashMap::new() };
        }
        // What does not fit is signed each time: so many different objects in so short a time are no crowd.
        if recent.expires == expires && recent.addresses.len() < MAX_REMEMBERED {
            recent.addresses.insert(resource, address.to_owned());
        }
    }
}

/// When an address ends that is given out now: after nine tenths of its validity at the least.
fn expiry(now: u64, validity: Duration) -> u64 {
    let step = (validity.as_secs() / 10).max(1);
    let end = now.saturating_add(validity.as_secs());
    end - end % step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_good_for_what_was_asked_and_never_for_more() {
        for (seconds, least) in [(1, 1), (5, 5), (19, 19), (60, 55), (1200, 1081), (3000, 2701)] {
            for now in (1_767_290_400..1_767_290_400 + 2 * seconds).step_by(7) {
                let left = expiry(now, Duration::from_secs(seconds)) - now;
                assert!((least..=seconds).contains(&left), "{seconds} {now} {left}");
            }
        }
    }

    #[tokio::test]
    async fn an_address_is_signed_once_until_another_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.pem");
        // Two signatures of ECDSA differ, even of the same text.
        std::fs::write(&path, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let signed = Signed::new(Signer::read(&path).unwrap(), "K".into(), Duration::from_secs(100));
        let address = async |path: &str, now| signed.address(format!("https://c/{path}"), now).await.unwrap();
        let (one, other) = tokio::join!(address("a", 1000), address("a", 1009));
        assert_eq!(one, other);
        assert!(one.starts_with("https://c/a?Expires=1100&"), "{one}");
        assert!(address("b", 1000).await.starts_with("https://c/b?Expires=1100&"));
        let later = address("a", 1010).await;
        assert!(later.starts_with("https://c/a?Expires=1110&"), "{later}");
        // A request that was on its way forgets nothing.
        address("a", 1009).await;
        assert_eq!(address("a", 1010).await, later);
    }
}
