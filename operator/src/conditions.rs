//! Conditions of a status, after kstatus: `Ready` always, `Reconciling` and `Stalled` only while they are true.
//!
//! Pure: the time is an argument.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The longest message that is kept, in bytes: the API takes 1024 for an event, and here a mark of the cut is added.
const MAX_MESSAGE_BYTES: usize = 1000;

/// One condition as it should be, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The type, such as `Ready`.
    pub type_: &'static str,
    /// Whether it holds; `None` is Unknown.
    pub holds: Option<bool>,
    /// A word for why, in CamelCase.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Wanted {
    /// One as it was known before.
    #[must_use]
    pub fn again(type_: &'static str, known: &Condition) -> Self {
        let holds = match known.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Self { type_, holds, reason: known.reason.clone(), message: known.message.clone() }
    }
}

/// How far a resource is from what its spec asks for; `Ready`, `Reconciling` and `Stalled` follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything is as the spec says.
    Done {
        /// A sentence for people.
        message: String,
    },
    /// On the way, and nobody has to do anything.
    Underway {
        /// A word for what is waited for.
        reason: String,
        /// A sentence for people.
        message: String,
    },
    /// Not without somebody's help.
    Stalled {
        /// A word for what is in the way.
        reason: String,
        /// A sentence that says what to do.
        message: String,
    },
}

impl Progress {
    /// Underway, for that reason.
    pub fn underway(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Underway { reason: reason.into(), message: message.into() }
    }

    /// Stalled, for that reason.
    pub fn stalled(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Stalled { reason: reason.into(), message: message.into() }
    }

    /// The same, with one more thing to know.
    #[must_use]
    pub fn also(mut self, told: &str) -> Self {
        let (Self::Done { message } | Self::Underway { message, .. } | Self::Stalled { message, .. }) = &mut self;
        *message = format!("{message}; {told}");
        self
    }

    /// The conditions that say it.
    #[must_use]
    pub fn conditions(&self) -> Vec<Wanted> {
        let wanted = |type_, holds, reason: &str, message: &str| Wanted {
            type_,
            holds: Some(holds),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        match self {
            Self::Done { message } => vec![wanted("Ready", true, "Ready", message)],
            Self::Underway { reason, message } => {
                vec![wanted("Ready", false, reason, message), wanted("Reconciling", true, reason, message)]
            }
            Self::Stalled { reason, message } => {
                vec![wanted("Ready", false, reason, message), wanted("Stalled", true, reason, message)]
            }
        }
    }
}

/// The wanted conditions with their times: that of `previous` where the status is the same, else `now`.
#[must_use]
pub fn merge(previous: &[Condition], wanted: Vec<Wanted>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let timed = wanted.into_iter().map(|wanted| {
        let Wanted { type_, holds, reason, message } = wanted;
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = previous.iter().find(|c| c.type_ == type_ && c.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason,
            message: shorten(&message),
            observed_generation: generation,
            last_transition_time: before.map_or_else(|| whole_second(now), |c| c.last_transition_time.clone()),
        }
    });
    timed.collect()
}

/// Whether a condition of that type is true.
#[must_use]
pub fn holds(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|c| c.type_ == type_ && c.status == "True")
}

/// The condition of that type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// At most [`MAX_MESSAGE_BYTES`] of a text, cut between characters.
#[must_use]
pub fn shorten(text: &str) -> String {
    match text.len() {
        0..=MAX_MESSAGE_BYTES => text.to_owned(),
        _ => format!("{}…", &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES)]),
    }
}

/// Whether two texts differ in nothing but words with a digit in them: numbers, times, and names of requests. A word that is
/// shortened, such as that of an access key, is none of these: another one is news.
#[must_use]
pub fn same_but_for_numbers(a: &str, b: &str) -> bool {
    let has_digit = |word: &str| word.contains(|c: char| c.is_ascii_digit()) && !word.contains('…');
    let (a, b) = (a.split_whitespace(), b.split_whitespace());
    a.clone().count() == b.clone().count() && a.zip(b).all(|(a, b)| a == b || (has_digit(a) && has_digit(b)))
}

/// Times in the API have whole seconds; a fraction would be lost on the way and look like a change.
#[must_use]
pub fn whole_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_is_that_of_the_last_change_of_status() {
        let done = |message: &str| Progress::Done { message: message.into() }.conditions();
        let first = merge(&[], done("a"), Some(1), at(10));
        let second = merge(&first, done("b"), Some(2), at(20));
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!((second[0].message.as_str(), second[0].observed_generation), ("b", Some(2)));

        let third = merge(&second, Progress::underway("Rollout", "c").conditions(), Some(3), at(30));
        let told: Vec<_> =
            third.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.last_transition_time.0)).collect();
        assert_eq!(told, [("Ready", "False", at(30)), ("Reconciling", "True", at(30))]);
    }

    #[test]
    fn numbers_do_not_make_another_text() {
        for (a, b, same) in [
            ("denied", "denied", true),
            ("denied (id 1a, 10:00:00Z)", "denied (id 2b, 10:00:05Z)", true),
            ("denied (id 1a)", "denied (id none)", false),
            ("denied 1", "refused 1", false),
            ("denied 1", "denied 1 2", false),
            ("the access key is AKIA…1Q", "the access key is AKIA…2R", false),
            ("", "", true),
        ] {
            assert_eq!(same_but_for_numbers(a, b), same, "{a:?} {b:?}");
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        // The longest note of an event that the API takes, in bytes.
        const MAX_NOTE_BYTES: usize = 1024;
        for character in ["a", "é", "…", "🦀"] {
            let text = character.repeat(MAX_MESSAGE_BYTES + 5);
            let short = shorten(&text);
            assert!(short.len() <= MAX_NOTE_BYTES, "{character}: {} bytes", short.len());
            assert!(text.starts_with(short.strip_suffix('…').unwrap()), "{character}");
        }
        let longest = "a".repeat(MAX_MESSAGE_BYTES);
        assert_eq!(shorten(&longest), longest);
        assert_eq!(shorten("short"), "short");
    }
}
