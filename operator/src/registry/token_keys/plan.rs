//! [pure] Which keys sign tokens, and which are only published: what is to be done now, and when to look again.
//!
//! A key is published for a while before it signs, so that whoever verifies tokens knows it by then: each pod is brought the
//! Secret at another moment, and other registries fetch keys now and then. When it signs, the one before does so no more, and
//! is published until the last token that it has signed has ended.
//!
//! ```text
//! published ──publish_for──► signs ──rotate_every──► published ──retain_for──► removed
//! ```

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// One key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The name of its file, without `.pem`.
    pub name: String,
    /// What tokens call it: its thumbprint (RFC 7638).
    pub kid: String,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it signs, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_since: Option<Timestamp>,
    /// Since when it signs no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Timestamp>,
    /// How long it is published after that at least: the most that was asked for while it signed. Tokens that live longer
    /// than those of today are not made shorter by a change of the Registry.
    #[serde(default, skip_serializing_if = "SignedDuration::is_zero")]
    pub retain_for: SignedDuration,
}

/// All keys of a Registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// In the order in which they were made.
    pub keys: Vec<Key>,
    /// The last request for another key that was followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

/// How keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a key signs.
    pub rotate_every: SignedDuration,
    /// How long it is published before.
    pub publish_for: SignedDuration,
    /// How long it is published after: until the last token of its has ended.
    pub retain_for: SignedDuration,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a key.
    Make {
        /// Whether it signs at once, since there is no other.
        signs: bool,
    },
    /// Have the key of this name sign, and no other.
    Promote(String),
    /// Note that the key of this name, which signs, is to be published for longer than was known.
    Lengthen(String),
    /// Remove the key of this name.
    Remove(String),
}

/// What is to be done, and when there will be more to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// When to look again at the latest, if nothing is done now.
    pub next: Timestamp,
}

/// The most keys that are published: fewer than a registry reads, whatever is asked for in a row, and however much longer tokens
/// live than keys sign.
const MAX_KEYS: usize = 200;

fn after(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

impl Keys {
    /// The one that signs.
    #[must_use]
    pub fn signing(&self) -> Option<&Key> {
        self.keys.iter().rfind(|key| key.signs_since.is_some() && key.retired.is_none())
    }

    /// The one that is published and has not signed yet.
    #[must_use]
    pub fn upcoming(&self) -> Option<&Key> {
        self.keys.iter().find(|key| key.signs_since.is_none())
    }

    /// When the next one is to sign in place of the one that does, unless somebody asks for it before.
    #[must_use]
    pub fn next_rotation(&self, times: &Times) -> Option<Timestamp> {
        let due = after(self.signing()?.signs_since?, times.rotate_every);
        let published = |created| after(created, times.publish_for);
        Some(match (self.upcoming(), self.room(times)) {
            (Some(upcoming), _) => published(upcoming.created),
            (None, None) => due,
            (None, Some(room)) => due.max(published(room)),
        })
    }

    /// When a key that signs no more is published no more.
    fn removal(key: &Key, times: &Times) -> Option<Timestamp> {
        Some(after(key.retired?, key.retain_for.max(times.retain_for)))
    }

    /// When there is room for another one; none if there is.
    fn room(&self, times: &Times) -> Option<Timestamp> {
        let removals = || self.keys.iter().filter_map(|key| Keys::removal(key, times));
        (self.keys.len() >= MAX_KEYS).then(|| removals().min().unwrap_or(Timestamp::MAX))
    }

    /// What is to be done at a time; `asked` is the request for another key that the Registry carries.
    #[must_use]
    pub fn plan(&self, asked: Option<&str>, times: &Times, now: Timestamp) -> Plan {
        let mut steps = Vec::new();
        let mut next = Timestamp::MAX;
        let mut wait_until = |time: Timestamp| next = next.min(time);
        match (self.signing(), self.upcoming()) {
            (None, None) => steps.push(Step::Make { signs: true }),
            (None, Some(upcoming)) => steps.push(Step::Promote(upcoming.name.clone())),
            (Some(_), Some(upcoming)) => {
                let due = after(upcoming.created, times.publish_for);
                if due <= now {
                    steps.push(Step::Promote(upcoming.name.clone()));
                } else {
                    wait_until(due);
                }
            }
            (Some(signing), None) => {
                let since = signing.signs_since.unwrap_or(signing.created);
                // Early enough to sign when the time is up.
                let due = after(since, times.rotate_every.saturating_sub(times.publish_for));
                let is_due = due <= now || asked != self.asked.as_deref() && asked.is_some();
                if let Some(room) = self.room(times).filter(|_| is_due) {
                    wait_until(room.max(now));
                } else if is_due {
                    steps.push(Step::Make { signs: false });
                } else {
                    wait_until(due);
                }
            }
        }
        let is_longer = |key: &&Key| key.retain_for < times.retain_for;
        steps.extend(self.signing().filter(is_longer).map(|key| Step::Lengthen(key.name.clone())));
        for (key, due) in self.keys.iter().filter_map(|key| Some((key, Keys::removal(key, times)?))) {
            if due <= now {
                steps.push(Step::Remove(key.name.clone()));
            } else {
                wait_until(due);
            }
        }
        Plan { steps, next }
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    const TIMES: Times = Times {
        rotate_every: SignedDuration::from_mins(100),
        publish_for: SignedDuration::from_mins(5),
        retain_for: SignedDuration::from_mins(7),
    };

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_mins(minutes)).unwrap()
    }

    /// A key by when it was made, began to sign and ceased, in minutes.
    fn key(name: &str, created: i64, signs_since: Option<i64>, retired: Option<i64>) -> Key {
        let (signs_since, retired) = (signs_since.map(at), retired.map(at));
        let (kid, retain_for) = (format!("kid-{name}"), TIMES.retain_for);
        Key { name: name.into(), kid, created: at(created), signs_since, retired, retain_for }
    }

    fn check(keys: &[Key], asked: [Option<&str>; 2], now: i64, steps: &[Step], next: Option<i64>) {
        let [wanted, followed] = asked;
        let keys = Keys { keys: keys.to_vec(), asked: followed.map(str::to_owned) };
        let expected = Plan { steps: steps.to_vec(), next: next.map_or(Timestamp::MAX, at) };
        assert_eq!(keys.plan(wanted, &TIMES, at(now)), expected, "{keys:?} at {now}");
    }

    #[test]
    fn keys_are_made_sign_and_go() {
        let none = [None, None];
        let (a, make) = (key("a", 0, Some(0), None), Step::Make { signs: false });
        let promote = |name: &str| Step::Promote(name.into());
        let remove = |name: &str| Step::Remove(name.into());
        check(&[], none, 0, &[Step::Make { signs: true }], None);
        check(&[key("a", 0, None, None)], none, 1, &[promote("a")], None);
        check(from_ref(&a), none, 0, &[], Some(95));
        check(from_ref(&a), none, 94, &[], Some(95));
        check(from_ref(&a), none, 95, from_ref(&make), None);
        check(&[a.clone(), key("b", 95, None, None)], none, 99, &[], Some(100));
        check(&[a.clone(), key("b", 95, None, None)], none, 100, &[promote("b")], None);
        let after = [key("a", 0, Some(0), Some(100)), key("b", 95, Some(100), None)];
        check(&after, none, 106, &[], Some(107));
        check(&after, none, 107, &[remove("a")], Some(195));
        // An operator that was away for long does it all, one after the other.
        check(&after, none, 500, &[make.clone(), remove("a")], None);
    }

    #[test]
    fn somebody_may_ask_for_another_key_once_by_each_word() {
        let a = key("a", 0, Some(0), None);
        let make = [Step::Make { signs: false }];
        check(from_ref(&a), [Some("now"), None], 1, &make, None);
        check(from_ref(&a), [Some("now"), Some("now")], 1, &[], Some(95));
        check(from_ref(&a), [Some("again"), Some("now")], 1, &make, None);
        check(from_ref(&a), [None, Some("now")], 1, &[], Some(95));
        // One that is on its way is the one that was asked for.
        check(&[a, key("b", 1, None, None)], [Some("now"), None], 2, &[], Some(6));
    }

    /// Tokens of an hour are good for an hour, also when those that are issued from now on live for a minute.
    #[test]
    fn a_key_is_published_for_the_longest_of_its_tokens() {
        let minutes = SignedDuration::from_mins;
        let with = |key: Key, retain_for| Key { retain_for: minutes(retain_for), ..key };
        let signing = |retain_for| with(key("a", 0, Some(0), None), retain_for);
        check(&[signing(6)], [None, None], 1, &[Step::Lengthen("a".into())], Some(95));
        check(&[signing(8)], [None, None], 1, &[], Some(95));
        let retired = |retain_for| with(key("a", 0, Some(0), Some(10)), retain_for);
        let b = key("b", 0, Some(10), None);
        check(&[retired(60), b.clone()], [None, None], 69, &[], Some(70));
        check(&[retired(60), b.clone()], [None, None], 70, &[Step::Remove("a".into())], Some(105));
        check(&[retired(0), b], [None, None], 16, &[], Some(17));
    }

    /// More than the registry reads would take it all keys.
    #[test]
    fn there_are_no_more_keys_than_can_be_read() {
        let retired = (1..MAX_KEYS as i64).map(|at| key(&format!("r{at}"), 0, Some(0), Some(at)));
        let mut all: Vec<Key> = retired.chain([key("a", 0, Some(0), None)]).collect();
        check(&all, [Some("now"), None], 7, &[], Some(8));
        let keys = |all: &[Key]| Keys { keys: all.to_vec(), asked: None };
        assert_eq!(keys(&all).next_rotation(&TIMES), Some(at(100)), "there is room by then");
        all.remove(0);
        check(&all, [Some("now"), None], 7, &[Step::Make { signs: false }], Some(9));
    }

    #[test]
    fn the_next_rotation_is_told() {
        let keys = |keys: &[Key]| Keys { keys: keys.to_vec(), asked: None };
        let a = key("a", 0, Some(0), None);
        assert_eq!(keys(&[]).next_rotation(&TIMES), None);
        assert_eq!(keys(from_ref(&a)).next_rotation(&TIMES), Some(at(100)));
        assert_eq!(keys(&[a, key("b", 20, None, None)]).next_rotation(&TIMES), Some(at(25)));
    }

    #[test]
    fn times_without_end_do_not_overflow() {
        let times = Times {
            rotate_every: SignedDuration::MAX,
            publish_for: SignedDuration::from_mins(5),
            retain_for: SignedDuration::MAX,
        };
        let keys = Keys { keys: vec![key("a", 0, Some(0), Some(1)), key("b", 0, Some(1), None)], asked: None };
        assert_eq!(keys.plan(None, &times, at(10)).steps, [Step::Lengthen("b".into())]);
    }
}
