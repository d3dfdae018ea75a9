//! [pure] When a schedule fires next, in its time zone.
//!
//! The CronJob controller starts the runs; this only tells people when. It follows the same rule: a run starts at every
//! minute whose local time matches. Where clocks go forward, a time that does not exist is skipped; where they go back,
//! a time that comes twice fires twice.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

/// How many candidates are looked at before the schedule is said to have no next time.
const MAX_CANDIDATES: usize = 16;
/// How many changes of the clocks are looked at: two a year, for the eight years that a leap day can be away.
const MAX_TRANSITIONS: usize = 32;

/// A schedule in its time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    time_zone: TimeZone,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.cron.as_str() == other.cron.as_str() && self.time_zone == other.time_zone
    }
}

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The expression is not one that a CronJob takes.
    #[error(
        "{0:?} is not a schedule: give five fields (minute, hour, day of the month, month, day of the week), such as '0 3 \
         * * *', or one of @hourly, @daily, @weekly, @monthly and @yearly"
    )]
    Form(String),
    /// A field of the expression has a value that it cannot have.
    #[error("{text:?} is not a schedule: {source}")]
    Field {
        /// The expression.
        text: String,
        /// What is wrong with it.
        source: croner::errors::CronError,
    },
}

impl Schedule {
    /// Reads a cron expression of five fields, or a macro.
    ///
    /// # Errors
    /// [`ScheduleError`], which holds the text.
    pub fn parse(text: &str, time_zone: TimeZone) -> Result<Self, ScheduleError> {
        if !has_known_form(text) {
            return Err(ScheduleError::Form(text.to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let text = if text == "@midnight" { "@daily" } else { text };
        let cron = parser.parse(text).map_err(|source| ScheduleError::Field { text: text.to_owned(), source })?;
        Ok(Self { cron, time_zone })
    }

    /// The first time after `now` at which the schedule fires; none for a date that never comes, such as 30 February.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut from = now.to_zoned(self.time_zone.clone());
        for _ in 0..MAX_CANDIDATES {
            let candidate = self.cron.find_next_occurrence(&from, false).ok()?;
            // A time that the clocks jump over may come back moved to after the jump, where it does not match.
            if self.cron.is_time_matching(&candidate).ok()? {
                return Some(self.next_repeated(now, candidate.timestamp()).unwrap_or(candidate.timestamp()));
            }
            from = candidate;
        }
        None
    }

    /// The first time after `now` and before `end` at which the schedule fires in an hour that comes for the second
    /// time. The parser, like older crons, lets a daily time fire in the first of the two only.
    fn next_repeated(&self, now: Timestamp, end: Timestamp) -> Option<Timestamp> {
        // The last change that is not after `now`.
        let last = self.time_zone.preceding(now.checked_add(1.second()).ok()?).next();
        let coming = self.time_zone.following(now).take(MAX_TRANSITIONS);
        last.into_iter().chain(coming).map(|transition| transition.timestamp()).take_while(|at| *at < end).find_map(
            |at| {
                let before = self.time_zone.to_offset(at.checked_sub(1.second()).ok()?);
                let repeated_seconds = i64::from(before.seconds() - self.time_zone.to_offset(at).seconds());
                let minutes = (0..repeated_seconds / 60).filter_map(|minute| at.checked_add(minute.minutes()).ok());
                minutes
                    .filter(|time| now < *time && *time < end)
                    .find(|time| self.cron.is_time_matching(&time.to_zoned(self.time_zone.clone())).unwrap_or(false))
            },
        )
    }
}

/// Kubernetes takes less than the parser: no seconds, no years, and none of the signs `L`, `W` and `#`.
fn has_known_form(text: &str) -> bool {
    const MACROS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if text.starts_with('@') {
        return MACROS.contains(&text);
    }
    let is_value = |value: &str| value.bytes().all(|b| b.is_ascii_digit()) || is_name(value);
    let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
    fields.len() == 5
        && fields.iter().all(|field| {
            field.split([',', '-', '/']).all(|part| matches!(part, "*" | "?") || (!part.is_empty() && is_value(part)))
        })
}

fn is_name(value: &str) -> bool {
    const NAMES: [&str; 19] = [
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC", "SUN", "MON", "TUE", "WED",
        "THU", "FRI", "SAT",
    ];
    NAMES.iter().any(|name| name.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, now: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule, TimeZone::get(zone).unwrap()).unwrap();
        schedule.next_after(now.parse().unwrap()).map(|time| time.to_string())
    }

    #[test]
    fn next_times() {
        for (schedule, zone, now, expected) in [
            ("0 3 * * *", "Etc/UTC", "2026-01-01T00:00:00Z", Some("2026-01-01T03:00:00Z")),
            ("0 3 * * *", "Etc/UTC", "2026-01-01T03:00:00Z", Some("2026-01-02T03:00:00Z")),
            ("0 3 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", Some("2026-01-01T02:00:00Z")),
            ("0 3 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", Some("2026-01-01T21:30:00Z")),
            ("*/15 * * * *", "Etc/UTC", "2026-01-01T00:01:30Z", Some("2026-01-01T00:15:00Z")),
            ("0 0 29 2 *", "Etc/UTC", "2026-03-01T00:00:00Z", Some("2028-02-29T00:00:00Z")),
            ("0 12 * * MON-FRI", "Etc/UTC", "2026-01-02T12:00:00Z", Some("2026-01-05T12:00:00Z")),
            // Both day fields given: either of them is enough.
            ("0 0 13 * FRI", "Etc/UTC", "2026-01-10T00:00:00Z", Some("2026-01-13T00:00:00Z")),
            ("@hourly", "Etc/UTC", "2026-01-01T00:00:01Z", Some("2026-01-01T01:00:00Z")),
            ("@weekly", "Etc/UTC", "2026-01-01T00:00:00Z", Some("2026-01-04T00:00:00Z")),
            ("@midnight", "Etc/UTC", "2026-01-01T10:00:00Z", Some("2026-01-02T00:00:00Z")),
            ("0 0 30 2 *", "Etc/UTC", "2026-01-01T00:00:00Z", None),
        ] {
            assert_eq!(next(schedule, zone, now).as_deref(), expected, "{schedule} in {zone} after {now}");
        }
    }

    /// In Berlin on 29 March 2026 the clocks go from 02:00 to 03:00: 02:30 does not come.
    #[test]
    fn a_time_that_the_clocks_jump_over_is_skipped() {
        for (schedule, now, expected) in [
            ("30 2 * * *", "2026-03-28T02:00:00Z", "2026-03-30T00:30:00Z"),
            ("0 3 * * *", "2026-03-28T22:00:00Z", "2026-03-29T01:00:00Z"),
            ("30 * * * *", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
        ] {
            assert_eq!(next(schedule, "Europe/Berlin", now).as_deref(), Some(expected), "{schedule} after {now}");
        }
    }

    /// In Berlin on 25 October 2026 the clocks go from 03:00 back to 02:00: 02:30 comes twice.
    #[test]
    fn a_time_that_comes_twice_fires_twice() {
        for (schedule, now, expected) in [
            ("30 2 * * *", "2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z"),
            ("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
            ("30 2 * * *", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"),
            ("30 2 * * *", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"),
            ("*/20 * * * *", "2026-10-25T00:40:00Z", "2026-10-25T01:00:00Z"),
            ("0 3 * * *", "2026-10-24T22:00:00Z", "2026-10-25T02:00:00Z"),
        ] {
            assert_eq!(next(schedule, "Europe/Berlin", now).as_deref(), Some(expected), "{schedule} after {now}");
        }
    }

    #[test]
    fn what_is_not_a_schedule_is_refused() {
        for text in [
            "",
            "0 3 * *",
            "0 0 3 * * *",
            "@every 1h",
            "0 3 L * *",
            "0 3 * * 5#2",
            "61 * * * *",
            "a * * * *",
            "0 3 1,,2 * *",
        ] {
            assert!(Schedule::parse(text, TimeZone::UTC).is_err(), "{text}");
        }
    }
}
