//! The reviewed list of differences, and what is made of it.

use std::fmt;

use crate::interview::{Difference, Part};

/// A difference that is wanted, with its reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Names of questions; a star at the end stands for any rest.
    pub(crate) questions: &'static [&'static str],
    /// What differs.
    pub(crate) parts: &'static [What],
    /// Why Berth answers otherwise.
    pub(crate) reason: &'static str,
    /// What asks for it: a section of the OCI distribution specification, of an RFC, or of Distribution's documentation.
    pub(crate) source: &'static str,
}

/// What of an answer differs, as [`Part`], but constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Status,
    Header(&'static str),
    /// A header that has the first value of theirs and the second of ours.
    HeaderFrom(&'static str, &'static str, &'static str),
    Code,
    Message,
    Detail,
    Body,
}

impl What {
    fn is(self, difference: &Difference) -> bool {
        match (self, &difference.part) {
            (What::Header(name), Part::Header(other)) => name == other,
            (What::HeaderFrom(name, theirs, ours), Part::Header(other)) => {
                name == other && difference.theirs == theirs && difference.ours == ours
            }
            (What::Status, Part::Status)
            | (What::Code, Part::Code)
            | (What::Message, Part::Message)
            | (What::Detail, Part::Detail)
            | (What::Body, Part::Body) => true,
            _ => false,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Status => f.write_str("status"),
            What::Header(name) | What::HeaderFrom(name, ..) => write!(f, "`{name}`"),
            What::Code => f.write_str("error code"),
            What::Message => f.write_str("error message"),
            What::Detail => f.write_str("error detail"),
            What::Body => f.write_str("body"),
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

impl Known {
    fn covers(&self, difference: &Difference) -> bool {
        self.parts.iter().any(|what| what.is(difference))
            && self.questions.iter().any(|pattern| matches(pattern, &difference.name))
    }
}

/// Complaints: differences that are not on the list, and entries of the list that no longer occur.
pub(crate) fn review(list: &[Known], differences: &[Difference]) -> Vec<String> {
    let mut complaints = Vec::new();
    for difference in differences {
        if !list.iter().any(|known| known.covers(difference)) {
            complaints.push(format!("not on the list: {difference}"));
        }
    }
    for known in list {
        for pattern in known.questions {
            let found = |what: &What| differences.iter().any(|found| what.is(found) && matches(pattern, &found.name));
            if !known.parts.iter().any(found) {
                complaints.push(format!("on the list, but does not occur: {pattern} ({})", known.reason));
            }
        }
        for what in known.parts {
            let found =
                |pattern: &&str| differences.iter().any(|found| what.is(found) && matches(pattern, &found.name));
            if !known.questions.iter().any(found) {
                complaints.push(format!("on the list, but does not occur: {what:?} ({})", known.reason));
            }
        }
    }
    complaints
}

/// The rows of the table of differences: which requests, what differs, why, and who says so.
pub(crate) fn rows(list: &[Known]) -> String {
    let row = |known: &Known| {
        let questions = known.questions.iter().map(|question| match *question {
            "*" => "any".to_owned(),
            question => format!("`{question}`"),
        });
        let parts = known.parts.iter().map(ToString::to_string);
        let (questions, parts) = (questions.collect::<Vec<_>>().join(", "), parts.collect::<Vec<_>>().join(", "));
        format!("| {questions} | {parts} | {} | {} |", known.reason, known.source)
    };
    list.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(name: &str, part: Part) -> Difference {
        let (theirs, ours) = ("404".to_owned(), "200".to_owned());
        Difference { name: name.to_owned(), question: "GET /".to_owned(), part, theirs, ours }
    }

    const LIST: [Known; 1] =
        [Known { questions: &["tags/*"], parts: &[What::Status], reason: "a reason", source: "a section" }];

    #[test]
    fn a_listed_difference_is_no_complaint() {
        assert!(review(&LIST, &[difference("tags/none", Part::Status)]).is_empty());
    }

    #[test]
    fn an_unlisted_difference_is_one() {
        let found = [difference("tags/none", Part::Status), difference("tags/none", Part::Body)];
        assert_eq!(review(&LIST, &found).len(), 1);
        let found = [difference("tags/none", Part::Status), difference("catalog", Part::Status)];
        assert_eq!(review(&LIST, &found).len(), 1);
    }

    #[test]
    fn the_values_of_a_header_may_be_part_of_the_entry() {
        let what = What::HeaderFrom("content-type", "404", "200");
        assert!(what.is(&difference("x", Part::Header("content-type".to_owned()))));
        assert!(!what.is(&difference("x", Part::Header("link".to_owned()))));
        let other = What::HeaderFrom("content-type", "404", "201");
        assert!(!other.is(&difference("x", Part::Header("content-type".to_owned()))));
    }

    #[test]
    fn so_is_an_entry_that_does_not_occur() {
        let complaints = review(&LIST, &[]);
        assert!(complaints.iter().all(|complaint| complaint.contains("does not occur")), "{complaints:?}");
        assert!(!complaints.is_empty());
    }
}
