//! What a verification has found, as data, as text and as JSON.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// What is wrong with an object, or odd about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A link without content, which a power failure leaves of a writer that does not sync.
    EmptyLink,
    /// A link that holds something else than a digest.
    MalformedLink,
    /// A link that holds another digest than its path says.
    WrongLink,
    /// A link, that a tag or an image relies on, to a blob that is not stored or is broken.
    BrokenLink,
    /// Bytes that have another digest than their path says.
    WrongContent,
    /// A manifest whose bytes are right, but that no part of the registry can read.
    UnreadableManifest,
    /// A manifest that refers to a blob that its repository does not have.
    MissingReference,
    /// A tag that names a manifest that its repository does not have.
    DanglingTag,
    /// A directory that is no repository name: nobody can ask for it.
    InvalidName,
    /// Something that the store could not read.
    Unreadable,
    /// Only odd: a link to a blob that is not stored, which nothing relies on. Collectors leave such links.
    LeftoverLink,
    /// Only odd: an index with a manifest that its repository does not have, which the specification allows.
    SparseIndex,
}

impl Kind {
    /// Whether it is only odd: everything that is served is right.
    #[must_use]
    pub fn is_note(self) -> bool {
        matches!(self, Kind::LeftoverLink | Kind::SparseIndex)
    }

    /// Whether the object itself is of no use, so that a repair moves it aside. What is intact stays, also if something
    /// that it needs is missing: pushing that again makes it whole.
    #[must_use]
    pub fn is_movable(self) -> bool {
        match self {
            Kind::EmptyLink
            | Kind::MalformedLink
            | Kind::WrongLink
            | Kind::BrokenLink
            | Kind::WrongContent
            | Kind::DanglingTag
            | Kind::LeftoverLink => true,
            Kind::UnreadableManifest
            | Kind::MissingReference
            | Kind::InvalidName
            | Kind::Unreadable
            | Kind::SparseIndex => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(serde_json::to_value(self).ok().as_ref().and_then(serde_json::Value::as_str).unwrap_or_default())
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The key of the object, which for a directory is a path.
    pub key: String,
    /// The repository that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// What is wrong, as a sentence.
    pub message: String,
    /// Where the object was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// Directories that hold anything of a repository.
    pub repositories: u64,
    /// Manifests of repositories.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Links of every kind.
    pub links: u64,
    /// Blobs, manifests included.
    pub blobs: u64,
    /// The length of all blobs in bytes.
    pub bytes: u64,
}

/// The outcome of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether no problem was found.
    pub clean: bool,
    /// Whether the bytes of blobs were read and hashed.
    pub content_checked: bool,
    /// When the verification began.
    pub start: jiff::Timestamp,
    /// When it ended.
    pub end: jiff::Timestamp,
    /// How much was looked at.
    #[serde(flatten)]
    pub looked: Looked,
    /// How many problems there are.
    pub problem_count: u64,
    /// How many oddities there are.
    pub note_count: u64,
    /// How many objects were moved aside.
    pub moved: u64,
    /// Where they were moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
    /// The problems, the first [`MAX_FINDINGS`] of them.
    pub problems: Vec<Finding>,
    /// The oddities, the first [`MAX_FINDINGS`] of them.
    pub notes: Vec<Finding>,
}

/// How many findings of each sort are told one by one.
pub const MAX_FINDINGS: usize = 10_000;
/// How many oddities the text tells one by one; there may be one for each image that was ever deleted.
const MAX_NOTES_IN_TEXT: usize = 10;

impl Report {
    /// Nothing found yet.
    #[must_use]
    pub fn begin(content_checked: bool, start: jiff::Timestamp) -> Self {
        Report {
            clean: true,
            content_checked,
            start,
            end: start,
            looked: Looked::default(),
            problem_count: 0,
            note_count: 0,
            moved: 0,
            aside: None,
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Takes in one finding.
    pub fn add(&mut self, finding: Finding) {
        self.moved += u64::from(finding.aside.is_some());
        let (count, list) = if finding.kind.is_note() {
            (&mut self.note_count, &mut self.notes)
        } else {
            self.clean = false;
            (&mut self.problem_count, &mut self.problems)
        };
        *count += 1;
        if list.len() < MAX_FINDINGS {
            list.push(finding);
        }
    }

    /// The report for people. `root` is the directory of the store, for the way back of what was moved aside.
    #[must_use]
    pub fn to_text(&self, root: &str) -> String {
        let mut text = String::new();
        let mut tell = |word: &str, findings: &[Finding], count: u64, most: usize| {
            for Finding { kind, key, message, aside, .. } in findings.iter().take(most) {
                let moved = if aside.is_some() { " (moved aside)" } else { "" };
                let _ = writeln!(text, "{word}: {kind}: {key}: {message}{moved}");
            }
            let told = findings.len().min(most) as u64;
            if count > told {
                let _ = writeln!(text, "{word}: and {} more", count - told);
            }
        };
        tell("note", &self.notes, self.note_count, MAX_NOTES_IN_TEXT);
        tell("problem", &self.problems, self.problem_count, MAX_FINDINGS);
        let Looked { repositories, manifests, tags, links, blobs, bytes } = self.looked;
        let read = if self.content_checked { "read and hashed" } else { "whose content was not read" };
        let _ = writeln!(
            text,
            "{repositories} repositories, {manifests} manifests, {tags} tags, {links} links, {blobs} blobs of {bytes} \
             bytes {read}: {} problems, {} notes",
            self.problem_count, self.note_count
        );
        if let Some(aside) = &self.aside {
            let _ = writeln!(
                text,
                "{} objects were moved to {root}/{aside}/, none was deleted. To bring one back, move it to the same path \
                 without {aside}/ while the registry is stopped; to be rid of them, remove that directory.",
                self.moved
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, aside: Option<&str>) -> Finding {
        let aside = aside.map(str::to_owned);
        Finding { kind, key: "a/link".into(), repository: None, message: "it is so".into(), aside }
    }

    #[test]
    fn notes_leave_a_report_clean_and_problems_do_not() {
        let mut report = Report::begin(true, jiff::Timestamp::UNIX_EPOCH);
        report.add(finding(Kind::LeftoverLink, None));
        assert!(report.clean);
        assert!(report.to_text("/data").ends_with("0 problems, 1 notes\n"));
        report.add(finding(Kind::EmptyLink, Some("berth/v1/aside/T/a/link")));
        report.aside = Some("berth/v1/aside/T".into());
        assert_eq!((report.clean, report.problem_count, report.moved), (false, 1, 1));
        let text = report.to_text("/data");
        assert!(text.contains("note: leftover-link: a/link: it is so\n"), "{text}");
        assert!(text.contains("problem: empty-link: a/link: it is so (moved aside)\n"), "{text}");
        assert!(text.contains("1 objects were moved to /data/berth/v1/aside/T/, none was deleted."), "{text}");
    }

    #[test]
    fn what_is_not_told_is_counted() {
        let mut report = Report::begin(false, jiff::Timestamp::UNIX_EPOCH);
        for _ in 0..MAX_FINDINGS + 5 {
            report.add(finding(Kind::EmptyLink, None));
        }
        assert_eq!((report.problems.len(), report.problem_count), (MAX_FINDINGS, MAX_FINDINGS as u64 + 5));
        assert!(report.to_text("/data").contains("problem: and 5 more\n"));
        let json = serde_json::to_value(Report { problems: Vec::new(), ..report }).unwrap();
        assert_eq!((&json["clean"], &json["problemCount"]), (&false.into(), &10_005.into()));
    }
}
