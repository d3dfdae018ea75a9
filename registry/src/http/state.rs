//! The state in upload addresses: what the client is believed to know, signed so that it cannot be made up.
//!
//! The form is Distribution's: a MAC (HMAC-SHA-256) followed by JSON, in URL-safe Base64.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use berth_oci::{Algorithm, RepositoryName};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

const MAC_BYTES: usize = 32;

/// The key that signs states.
#[derive(Clone, PartialEq, Eq)]
pub struct StateKey(Vec<u8>);

/// What an upload address says about the upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    pub(crate) name: RepositoryName,
    #[serde(rename = "UUID")]
    pub(crate) id: Uuid,
    pub(crate) offset: u64,
    pub(crate) started_at: jiff::Timestamp,
    /// What the data is hashed by, if that was said at the beginning. Distribution has no such field and passes over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<Algorithm>,
}

impl StateKey {
    /// A key from the configuration or the store.
    #[must_use]
    pub fn new(key: Vec<u8>) -> Self {
        StateKey(key)
    }

    fn mac(&self, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(content);
        Some(mac)
    }

    pub(crate) fn pack(&self, state: &State) -> String {
        let content = serde_json::to_vec(state).unwrap_or_default();
        let mac = self.mac(&content).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default();
        URL_SAFE.encode([mac, content].concat())
    }

    /// The state of a session, if this text was made with this key for this session.
    pub(crate) fn unpack(&self, text: &str, name: &RepositoryName, id: Uuid) -> Option<State> {
        let packed = URL_SAFE.decode(text).ok()?;
        let (mac, content) = packed.split_at_checked(MAC_BYTES)?;
        // Compares in constant time.
        self.mac(content)?.verify_slice(mac).ok()?;
        serde_json::from_slice::<State>(content).ok().filter(|state| state.name == *name && state.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_for_this_session_counts() {
        let name: RepositoryName = "team/app".parse().unwrap();
        let state = State {
            name: name.clone(),
            id: Uuid::from_u128(7),
            offset: 42,
            started_at: jiff::Timestamp::UNIX_EPOCH,
            algorithm: Some(Algorithm::Sha512),
        };
        let key = StateKey::new(b"secret".to_vec());
        let packed = key.pack(&state);
        assert_eq!(key.unpack(&packed, &name, state.id), Some(state.clone()));
        assert_eq!(key.unpack(&packed, &"other".parse().unwrap(), state.id), None);
        assert_eq!(key.unpack(&packed, &name, Uuid::from_u128(8)), None);
        assert_eq!(StateKey::new(b"other".to_vec()).unpack(&packed, &name, state.id), None);
        assert_eq!(key.unpack("", &name, state.id), None);
        assert_eq!(key.unpack("!!", &name, state.id), None);
        let mut forged = URL_SAFE.decode(&packed).unwrap();
        let last = forged.len() - 3;
        forged[last] ^= 1;
        assert_eq!(key.unpack(&URL_SAFE.encode(forged), &name, state.id), None);
    }

    #[test]
    fn the_form_is_that_of_distribution() {
        let state = State {
            name: "a".parse().unwrap(),
            id: Uuid::nil(),
            offset: 3,
            started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            algorithm: None,
        };
        let packed = URL_SAFE.decode(StateKey::new(b"k".to_vec()).pack(&state)).unwrap();
        assert_eq!(
            std::str::from_utf8(&packed[MAC_BYTES..]).unwrap(),
            "{\"Name\":\"a\",\"UUID\":\"00000000-0000-0000-0000-000000000000\",\"Offset\":3,\
             \"StartedAt\":\"2026-01-02T03:04:05Z\"}"
        );
    }

    proptest::proptest! {
        /// A client may send anything as the state of its upload.
        #[test]
        fn no_text_but_our_own_is_a_state(text in "[A-Za-z0-9_=-]{0,200}|\\PC{0,40}", at: usize, bit in 0..8_u8) {
            let (key, name) = (StateKey::new(b"secret".to_vec()), "team/app".parse::<RepositoryName>().unwrap());
            let id = Uuid::from_u128(7);
            proptest::prop_assert_eq!(key.unpack(&text, &name, id), None);
            let state = State { name: name.clone(), id, offset: 42, started_at: jiff::Timestamp::UNIX_EPOCH, algorithm: None };
            let mut packed = URL_SAFE.decode(key.pack(&state)).unwrap();
            let at = at % packed.len();
            packed[at] ^= 1 << bit;
            proptest::prop_assert_eq!(key.unpack(&URL_SAFE.encode(packed), &name, id), None);
        }
    }
}
