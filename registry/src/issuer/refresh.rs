//! Refresh tokens: random texts, of which the store keeps who got them, under their hash. Whoever reads the store learns no
//! token; who removes an object there has revoked one, on every replica at once.
//!
//! A token says where its object is: `berth-rt-` and, in Base64url, what stands for the user, when it ends, and the secret.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_config::rules::Subject;
use berth_storage::{Key, Store, StoreError, layout, list_all};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::providers::By;
use crate::hex;

/// What a token begins with, for whoever looks for secrets in places where none should be.
const PREFIX: &str = "berth-rt-";
const USER_BYTES: usize = 16;
const END_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// The most tokens of one user: with more, the one goes that ends first.
const MAX_OF_A_USER: usize = 100;
/// The largest object.
const MAX_RECORD_BYTES: u64 = 256 * 1024;

/// Who got a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) subject: Subject,
    /// For which service: tokens for another one are not had by it.
    pub(super) service: String,
    pub(super) by: By,
}

/// A token, taken apart.
struct Token {
    user: [u8; USER_BYTES],
    /// When it ends, in seconds since 1970.
    end: u64,
    secret: [u8; SECRET_BYTES],
}

/// What stands for a user. It is no secret: who knows the user can make it.
fn user_id(user: &str) -> [u8; USER_BYTES] {
    let mut id = [0; USER_BYTES];
    id.copy_from_slice(&Sha256::digest(user)[..USER_BYTES]);
    id
}

impl Token {
    fn new(user: &str, end: u64) -> Self {
        let mut secret = [0; SECRET_BYTES];
        // 244 bits from the operating system.
        secret[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        secret[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        Token { user: user_id(user), end, secret }
    }

    fn text(&self) -> String {
        let bytes = [&self.user[..], &self.end.to_be_bytes(), &self.secret].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (user, rest) = bytes.split_first_chunk::<USER_BYTES>()?;
        let (end, secret) = rest.split_first_chunk::<END_BYTES>()?;
        Some(Token { user: *user, end: u64::from_be_bytes(*end), secret: secret.try_into().ok()? })
    }

    fn key(&self) -> Key {
        layout::refresh_token(&hex(&self.user), self.end, &hex(&Sha256::digest(self.secret)))
    }
}

/// The refresh tokens in a store.
#[derive(Clone)]
pub(super) struct RefreshTokens {
    store: Arc<dyn Store>,
}

impl RefreshTokens {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        RefreshTokens { store }
    }

    /// A token for somebody that counts until `end`, in seconds since 1970.
    pub(super) async fn issue(&self, user: &str, record: &Record, end: u64) -> Result<String, StoreError> {
        let below = layout::refresh_tokens_of(&hex(&user_id(user)));
        // They are listed in the order of their ends.
        let before = list_all(self.store.as_ref(), &below, false).await?;
        let surplus = (before.len() + 1).saturating_sub(MAX_OF_A_USER);
        for entry in before.iter().take(surplus) {
            delete(self.store.as_ref(), &entry.key).await?;
        }
        if surplus > 0 {
            tracing::info!(
                user,
                revoked = surplus,
                "more than {MAX_OF_A_USER} refresh tokens: those that end first go"
            );
        }
        let token = Token::new(user, end);
        // It has nothing that could not be written.
        let content = serde_json::to_vec(record).unwrap_or_default();
        self.store.put(&token.key(), content.into()).await?;
        Ok(token.text())
    }

    /// Who got this token; nobody if it is none, has ended or was revoked.
    pub(super) async fn find(&self, text: &str, now: u64) -> Result<Option<Record>, StoreError> {
        let Some(token) = Token::parse(text).filter(|token| now < token.end) else { return Ok(None) };
        match self.store.read(&token.key(), MAX_RECORD_BYTES).await {
            // What an older or newer version has left and cannot be read here is nobody's.
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a token count no more. Of what is none, nothing is said (RFC 7009, 2.2).
    pub(super) async fn revoke(&self, text: &str) -> Result<(), StoreError> {
        match Token::parse(text) {
            Some(token) => delete(self.store.as_ref(), &token.key()).await,
            None => Ok(()),
        }
    }

    /// Makes all tokens of a user count no more; how many there were.
    pub(super) async fn revoke_all(&self, user: &str) -> Result<u64, StoreError> {
        self.store.delete_below(&layout::refresh_tokens_of(&hex(&user_id(user)))).await
    }

    /// Removes tokens that have ended; how many there were.
    pub(super) async fn sweep(&self, now: u64) -> Result<u64, StoreError> {
        let mut count = 0;
        for entry in list_all(self.store.as_ref(), &layout::refresh_tokens(), false).await? {
            if layout::end_of_refresh_token(&entry.key).is_some_and(|end| end <= now) {
                delete(self.store.as_ref(), &entry.key).await?;
                count += 1;
            }
        }
        Ok(count)
    }
}

async fn delete(store: &dyn Store, key: &Key) -> Result<(), StoreError> {
    match store.delete(key).await {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::Memory;

    use super::*;

    fn tokens() -> (Arc<Memory>, RefreshTokens) {
        let store = Arc::new(Memory::new());
        (store.clone(), RefreshTokens::new(store))
    }

    fn record(user: &str) -> Record {
        let subject = Subject { user: Some(user.into()), groups: vec!["g".into()], ..Subject::default() };
        Record { subject, service: "r".into(), by: By::Password("stamp".into()) }
    }

    async fn count(store: &Memory) -> usize {
        list_all(store, &layout::refresh_tokens(), false).await.unwrap().len()
    }

    #[tokio::test]
    async fn a_token_is_found_until_it_ends_or_is_revoked() {
        let (store, tokens) = tokens();
        let text = tokens.issue("alice", &record("alice"), 1000).await.unwrap();
        let other = tokens.issue("alice", &record("alice"), 1000).await.unwrap();
        assert!(text.starts_with("berth-rt-") && text != other);
        assert_eq!(tokens.find(&text, 999).await.unwrap(), Some(record("alice")));
        assert_eq!(tokens.find(&text, 1000).await.unwrap(), None);
        // The end is part of where the object is: who moves it finds nothing.
        let parsed = Token::parse(&text).unwrap();
        let longer = Token { end: 2000, ..parsed }.text();
        assert_eq!(tokens.find(&longer, 1500).await.unwrap(), None);
        for wrong in ["", "berth-rt-", "berth-rt-AAAA", "x", &text[..text.len() - 1], &text["berth-rt-".len()..]] {
            assert_eq!(tokens.find(wrong, 0).await.unwrap(), None, "{wrong}");
            tokens.revoke(wrong).await.unwrap();
        }
        for entry in list_all(store.as_ref(), &layout::refresh_tokens(), false).await.unwrap() {
            let secret = URL_SAFE_NO_PAD.decode(&text["berth-rt-".len()..]).unwrap();
            assert!(!entry.key.as_str().contains(&hex(&secret[24..])), "the store holds no secret");
        }
        tokens.revoke(&text).await.unwrap();
        tokens.revoke(&text).await.unwrap();
        assert_eq!(tokens.find(&text, 0).await.unwrap(), None);
        assert!(tokens.find(&other, 0).await.unwrap().is_some(), "the other one is another");
    }

    #[tokio::test]
    async fn all_of_a_user_are_revoked_at_once() {
        let (_, tokens) = tokens();
        let [one, other] =
            [tokens.issue("alice", &record("alice"), 9).await, tokens.issue("alice", &record("alice"), 9).await];
        let bob = tokens.issue("bob", &record("bob"), 9).await.unwrap();
        assert_eq!(tokens.revoke_all("alice").await.unwrap(), 2);
        assert_eq!(tokens.revoke_all("alice").await.unwrap(), 0);
        for text in [one.unwrap(), other.unwrap()] {
            assert_eq!(tokens.find(&text, 0).await.unwrap(), None);
        }
        assert!(tokens.find(&bob, 0).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_user_has_so_many_and_what_has_ended_goes() {
        let (store, tokens) = tokens();
        let first = tokens.issue("alice", &record("alice"), 50).await.unwrap();
        for at in 0..MAX_OF_A_USER {
            tokens.issue("alice", &record("alice"), 100 + at as u64).await.unwrap();
        }
        assert_eq!(count(&store).await, MAX_OF_A_USER);
        assert_eq!(tokens.find(&first, 0).await.unwrap(), None, "the one that ended first has gone");
        assert_eq!(tokens.sweep(149).await.unwrap(), 50);
        assert_eq!(count(&store).await, MAX_OF_A_USER - 50);
        assert_eq!(tokens.sweep(149).await.unwrap(), 0);
    }
}
