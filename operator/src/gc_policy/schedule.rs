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
    #[error(
        "{text:?} is not a schedule: the {field} cannot be {part:?}: give '*', numbers from {least} to {most} or names, \
         ranges of them such as {least}-{most}, steps such as */2, or several with ',' between them"
    )]
    Value {
        /// The expression.
        text: String,
        /// What the field is.
        field: &'static str,
        /// The part of it between commas.
        part: String,
        /// The least number that it takes.
        least: u32,
        /// The greatest number that it takes.
        most: u32,
    },
    /// The expression as a whole means nothing.
    #[error("{text:?} is not a schedule: {source}")]
    Meaning {
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
        let written_out = write_out(text)?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron =
            parser.parse(&written_out).map_err(|source| ScheduleError::Meaning { text: text.to_owned(), source })?;
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

/// What a field takes: its numbers, and names for the first of them.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

/// The fields in their order, with the bounds of the CronJob controller: Sunday is 0 and never 7.
const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of the month", least: 1, most: 31, names: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    Field { name: "day of the week", least: 0, most: 6, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] },
];

/// An expression that Kubernetes takes, in the words of the parser.
///
/// Kubernetes takes less: no seconds, no years, none of the signs `L`, `W` and `#`, no Sunday as 7, and no range that
/// ends before it begins; and it takes `5/15`, which is `5-59/15`, and `?`, which is `*`. What passes here is not refused
/// when the CronJob is applied.
fn write_out(text: &str) -> Result<String, ScheduleError> {
    const MACROS: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];
    if text == "@midnight" {
        return Ok("@daily".to_owned());
    }
    if MACROS.contains(&text) {
        return Ok(text.to_owned());
    }
    let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
    if fields.len() != FIELDS.len() {
        return Err(ScheduleError::Form(text.to_owned()));
    }
    let mut written = Vec::new();
    for (field, parts) in FIELDS.iter().zip(fields) {
        let parts = parts.split(',').map(|part| {
            let Field { name, least, most, names: _ } = *field;
            let error = || ScheduleError::Value { text: text.into(), field: name, part: part.into(), least, most };
            field.write_out(part).ok_or_else(error)
        });
        written.push(parts.collect::<Result<Vec<_>, _>>()?.join(","));
    }
    Ok(written.join(" "))
}

impl Field {
    /// `*`, `2`, `2-4`, or one of them with a step; nothing for anything else.
    fn write_out(&self, part: &str) -> Option<String> {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step = match step {
            Some(step) => Some(number(step).filter(|step| *step > 0)?),
            None => None,
        };
        if matches!(range, "*" | "?") {
            return Some(match step {
                Some(step) if step > self.most => self.least.to_string(),
                Some(step) => format!("*/{step}"),
                None => "*".to_owned(),
            });
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (from, to) = (self.value(first)?, self.value(last)?);
        if from > to {
            return None;
        }
        Some(match step {
            // A step beyond the end leaves the start.
            Some(step) if step > self.most => from.to_string(),
            Some(step) if !range.contains('-') => format!("{range}-{}/{step}", self.most),
            Some(step) => format!("{range}/{step}"),
            None => range.to_owned(),
        })
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = named.and_then(|at| u32::try_from(at).ok()).map(|at| self.least + at).or_else(|| number(text))?;
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

/// Digits alone: no sign, which the standard library would take.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
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
            ("*/90 * * * *", "Etc/UTC", "2026-01-01T00:01:30Z", Some("2026-01-01T01:00:00Z")),
            ("5/15 * * * *", "Etc/UTC", "2026-01-01T00:21:00Z", Some("2026-01-01T00:35:00Z")),
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
        for (text, expected) in [
            ("", "five fields"),
            ("0 3 * *", "five fields"),
            ("0 0 3 * * *", "five fields"),
            ("@every 1h", "five fields"),
            ("0 3 L * *", "the day of the month cannot be \"L\""),
            ("0 3 * * 5#2", "the day of the week cannot be \"5#2\""),
            ("60 25 * * *", "the minute cannot be \"60\": give '*', numbers from 0 to 59"),
            ("0 24 * * *", "the hour cannot be \"24\""),
            ("0 0 0 * *", "the day of the month cannot be \"0\""),
            ("0 0 1 13 *", "the month cannot be \"13\""),
            ("0 3 * * 7", "the day of the week cannot be \"7\""),
            ("0 3 * * 5-7", "the day of the week cannot be \"5-7\""),
            ("0 3 * * FRI-MON", "the day of the week cannot be \"FRI-MON\""),
            ("0 22-2 * * *", "the hour cannot be \"22-2\""),
            ("0 MON * * *", "the hour cannot be \"MON\""),
            ("*/0 * * * *", "the minute cannot be \"*/0\""),
            ("*-5 * * * *", "the minute cannot be \"*-5\""),
            ("1-2-3 * * * *", "the minute cannot be \"1-2-3\""),
            ("1/2/3 * * * *", "the minute cannot be \"1/2/3\""),
            ("+1 * * * *", "the minute cannot be \"+1\""),
            ("99999999999 * * * *", "the minute cannot be \"99999999999\""),
            ("a * * * *", "the minute cannot be \"a\""),
            ("0 3 1,,2 * *", "the day of the month cannot be \"\""),
        ] {
            let error = Schedule::parse(text, TimeZone::UTC).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_check_takes_the_parser_takes_as_well() {
        for field in ["0", "3-5", "*/2", "1/2", "1-5/2", "0,2,4-6", "?", "*"] {
            for at in 0..FIELDS.len() {
                let text = (0..FIELDS.len()).map(|n| if n == at { field } else { "*" }).collect::<Vec<_>>().join(" ");
                let is_zero_day = matches!(at, 2 | 3) && field.starts_with('0');
                assert_eq!(Schedule::parse(&text, TimeZone::UTC).is_ok(), !is_zero_day, "{text}");
            }
        }
        for text in ["0 0 1 jan-Mar,DEC SUN-sat", "59 23 31 12 6", "00 03 * * *"] {
            Schedule::parse(text, TimeZone::UTC).unwrap();
        }
    }
}
