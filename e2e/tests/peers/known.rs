//! The reviewed list of differences, and what is made of it.
//!
//! An entry says which part of which answers differs, from what to what, why, and which section of which specification
//! asks for it. A difference that no entry explains is a complaint; so is one that two explain, and so is everything on
//! the list that no longer occurs.

use std::fmt;

use crate::interview::{Difference, Part};

/// Differences that are wanted, for one reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Why Berth answers otherwise.
    pub(crate) reason: &'static str,
    /// What asks for it.
    pub(crate) sources: &'static [Source],
    /// Where it shows.
    pub(crate) cases: &'static [Case],
}

/// Answers that differ in the same parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// The names of the questions. A star stands for any text.
    pub(crate) questions: &'static [&'static str],
    /// All that differs in the answer to each of them for this reason.
    pub(crate) changes: &'static [Change],
}

/// A part of an answer that is another one in Berth's: theirs, ours. A star in a value stands for any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Status(&'static str, &'static str),
    Header(&'static str, &'static str, &'static str),
    Error(&'static str, &'static str),
    Detail(&'static str, &'static str),
    Body(&'static str, &'static str),
}

/// A section of a specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Of the OCI distribution specification 1.1.
    Oci(&'static str),
    /// Of the draft of the next version of it.
    Draft(&'static str),
    /// Of an RFC, by its number.
    Rfc(u16, &'static str),
    /// Of Distribution's own specification of its API.
    Api(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Oci(section) => write!(f, "OCI 1.1, {section}"),
            Source::Draft(section) => write!(f, "OCI draft, {section}"),
            Source::Rfc(number, section) => write!(f, "RFC {number}, {section}"),
            Source::Api(section) => write!(f, "Distribution, HTTP API V2, {section}"),
        }
    }
}

impl Change {
    /// The part, and what it is from and to.
    fn values(self) -> (Part, &'static str, &'static str) {
        match self {
            Change::Status(theirs, ours) => (Part::Status, theirs, ours),
            Change::Header(name, theirs, ours) => (Part::Header(name.to_owned()), theirs, ours),
            Change::Error(theirs, ours) => (Part::Error, theirs, ours),
            Change::Detail(theirs, ours) => (Part::Detail, theirs, ours),
            Change::Body(theirs, ours) => (Part::Body, theirs, ours),
        }
    }

    fn is(self, difference: &Difference) -> bool {
        let (part, theirs, ours) = self.values();
        part == difference.part && matches(theirs, &difference.theirs) && matches(ours, &difference.ours)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, theirs, ours) = self.values();
        write!(f, "{part} `{theirs}` → `{ours}`")
    }
}

/// Whether a text is of a pattern in which a star stands for any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(beginning) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, behind)) = text.split_once(piece) else { return false };
        text = behind;
    }
    text.ends_with(end)
}

/// Complaints: differences that nothing on the list explains, or more than one thing, and what is on the list but does
/// not occur.
pub(crate) fn review(list: &[Known], differences: &[Difference]) -> Vec<String> {
    let cases = list.iter().flat_map(|known| known.cases);
    let lines: Vec<(&str, Change)> = cases
        .flat_map(|case| case.questions.iter().flat_map(|name| case.changes.iter().map(|change| (*name, *change))))
        .collect();
    let mut occurs = vec![false; lines.len()];
    let mut complaints = Vec::new();
    for difference in differences {
        let explains = |(name, change): &(&str, Change)| matches(name, &difference.name) && change.is(difference);
        let explaining: Vec<usize> =
            lines.iter().enumerate().filter(|(_, line)| explains(line)).map(|(at, _)| at).collect();
        match explaining.as_slice() {
            [] => complaints.push(format!("not on the list: {difference}")),
            [at] => occurs[*at] = true,
            several => {
                several.iter().for_each(|at| occurs[*at] = true);
                complaints.push(format!("{} times on the list: {difference}", several.len()));
            }
        }
    }
    for ((name, change), occurs) in lines.iter().zip(occurs) {
        if !occurs {
            complaints.push(format!("on the list, but does not occur: {name}: {change}"));
        }
    }
    complaints
}

/// The rows of the table of differences: which requests, what differs, why, and who says so.
pub(crate) fn rows(list: &[Known]) -> String {
    let row = |known: &Known, case: &Case| {
        let questions: Vec<String> = case.questions.iter().map(|name| format!("`{name}`")).collect();
        let changes: Vec<String> = case.changes.iter().map(ToString::to_string).collect();
        let sources: Vec<String> = known.sources.iter().map(ToString::to_string).collect();
        let cells = [questions.join(", "), changes.join("; "), known.reason.to_owned(), sources.join("; ")];
        format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
    };
    let rows = list.iter().flat_map(|known| known.cases.iter().map(move |case| row(known, case)));
    rows.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(name: &str, part: Part) -> Difference {
        let (theirs, ours) = ("404".to_owned(), "200".to_owned());
        Difference { name: name.to_owned(), question: "GET /".to_owned(), part, theirs, ours }
    }

    const LIST: [Known; 1] = [Known {
        reason: "a reason",
        sources: &[Source::Oci("a section")],
        cases: &[Case { questions: &["tags/none"], changes: &[Change::Status("404", "200")] }],
    }];

    #[test]
    fn a_listed_difference_is_no_complaint() {
        assert!(review(&LIST, &[difference("tags/none", Part::Status)]).is_empty());
    }

    #[test]
    fn an_unlisted_difference_is_one() {
        let listed = difference("tags/none", Part::Status);
        for other in [
            difference("tags/none", Part::Body),
            difference("tags/none/all", Part::Status),
            Difference { ours: "201".to_owned(), ..listed.clone() },
            Difference { theirs: "400".to_owned(), ..listed.clone() },
        ] {
            let complaints = review(&LIST, &[listed.clone(), other]);
            assert!(complaints.len() == 1 && complaints[0].starts_with("not on the list"), "{complaints:?}");
        }
    }

    #[test]
    fn so_is_an_entry_that_does_not_occur() {
        let complaints = review(&LIST, &[]);
        assert!(complaints.len() == 1 && complaints[0].contains("does not occur"), "{complaints:?}");
    }

    #[test]
    fn so_is_a_difference_that_two_entries_explain() {
        let complaints = review(&[LIST, LIST].concat(), &[difference("tags/none", Part::Status)]);
        assert!(complaints.len() == 1 && complaints[0].starts_with("2 times"), "{complaints:?}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("sha256:*", "sha256:00", true),
            ("sha256:*", "sha512:00", false),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("none", "none at all", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
