//! The file of users: one `name:hash` a line, as `htpasswd -B` writes it. Pure; the text is an argument.

use std::collections::HashMap;
use std::sync::Arc;

use bcrypt::HashParts;

/// The highest cost, which is also the highest that `htpasswd` takes. A check at this one takes about ten seconds, and
/// each one more doubles it.
const MAX_COST: u32 = 17;
/// The cost of checking a password of nobody, where the file has no user to take it from.
const DEFAULT_COST: u32 = 10;

/// Users and the bcrypt hashes of their passwords.
#[derive(Debug)]
pub(super) struct Users {
    hashes: HashMap<String, Arc<str>>,
    /// A hash that no password has, as costly to check as the costliest of the file.
    nobody: Arc<str>,
    /// The highest cost of a hash.
    cost: u32,
}

/// Why a line is no entry. It never holds what the line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// It is not text.
    #[error("it is not UTF-8")]
    Encoding,
    /// It has no colon.
    #[error("there is no colon between a name and a hash")]
    Colon,
    /// There is nothing in front of the colon.
    #[error("there is no name in front of the colon")]
    Name,
    /// What is behind the colon is no bcrypt hash.
    #[error("the hash is not bcrypt; write the entry with htpasswd -B")]
    Hash,
    /// A check of the hash would take too long.
    #[error("the cost of the hash is above {MAX_COST}; write the entry with a lower one")]
    Cost,
}

impl Users {
    /// Reads the content of a file; an error names the line, counted from 1.
    pub(super) fn parse(content: &[u8]) -> Result<Self, (usize, LineProblem)> {
        let mut hashes = HashMap::new();
        let mut cost = None;
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let entry = entry(line).map_err(|problem| (index + 1, problem))?;
            if let Some((name, hash, its_cost)) = entry {
                cost = cost.max(Some(its_cost));
                // The last entry of a name counts, as with Distribution.
                hashes.insert(name.to_owned(), hash.into());
            }
        }
        let cost = cost.unwrap_or(DEFAULT_COST);
        Ok(Self { hashes, nobody: hash_of_nobody(cost).into(), cost })
    }

    /// The hash of a user's password.
    pub(super) fn hash(&self, name: &str) -> Option<&Arc<str>> {
        self.hashes.get(name)
    }

    /// The hash that the password of somebody unknown is checked against, so that the time does not tell who is known.
    pub(super) fn nobody(&self) -> &Arc<str> {
        &self.nobody
    }

    /// What else a wrong password is checked against, so that it takes as long for a user whose hash is cheaper than others'
    /// as for somebody unknown: each cost takes twice as long as the one before, so one check of each from its own on is what
    /// the highest takes.
    pub(super) fn rest(&self, hash: &str) -> Vec<String> {
        let own = hash.parse::<HashParts>().map_or(self.cost, |parts| parts.get_cost());
        (own..self.cost).map(hash_of_nobody).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }
}

/// The hash of no password.
fn hash_of_nobody(cost: u32) -> String {
    format!("$2b${cost:02}${}", ".".repeat(53))
}

/// Name, hash and its cost, unless the line is empty or a comment.
fn entry(line: &[u8]) -> Result<Option<(&str, &str, u32)>, LineProblem> {
    let line = std::str::from_utf8(line).map_err(|_| LineProblem::Encoding)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, hash) = line.split_once(':').ok_or(LineProblem::Colon)?;
    if name.is_empty() {
        return Err(LineProblem::Name);
    }
    let cost = hash.parse::<HashParts>().map_err(|_| LineProblem::Hash)?.get_cost();
    if cost > MAX_COST {
        return Err(LineProblem::Cost);
    }
    Ok(Some((name, hash, cost)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$OiBYhJ1bTAyGp4QLgNZGeOVOnNCX4Ujd3UyWJ3Qn2DOmaDNYBrfJe";

    #[test]
    fn a_file_is_read() {
        let file = format!("# users\n\nalice:{HASH}\r\n  bob:$2b$06{}  \nalice:$2a$04{}", &HASH[6..], &HASH[6..]);
        let users = Users::parse(file.as_bytes()).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users.hash("alice").unwrap().starts_with("$2a$04$"), "the last one counts");
        assert!(users.hash("bob").unwrap().ends_with("BrfJe"));
        assert_eq!(users.hash("carol"), None);
        assert!(users.nobody().starts_with("$2b$06$"), "{}", users.nobody());
        assert!(!bcrypt::verify("", users.nobody()).unwrap());
        assert!(Users::parse(b"").unwrap().nobody().starts_with("$2b$10$"));
        // What is checked for each takes as long, in units of 2^cost.
        let work = |hash: &str| -> u32 {
            let cost = |hash: &str| 1 << hash.parse::<HashParts>().unwrap().get_cost();
            cost(hash) + users.rest(hash).iter().map(|hash| cost(hash)).sum::<u32>()
        };
        for hash in [users.hash("alice").unwrap(), users.hash("bob").unwrap(), users.nobody()] {
            assert_eq!(work(hash), 1 << 6, "{hash}");
        }
        assert!(users.rest(users.hash("alice").unwrap()).iter().all(|hash| !bcrypt::verify("x", hash).unwrap()));
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        for (line, problem) in [
            ("alice", LineProblem::Colon),
            (":x", LineProblem::Name),
            ("alice:", LineProblem::Hash),
            ("alice:hunter2x", LineProblem::Hash),
            ("alice:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", LineProblem::Hash),
            ("alice:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=", LineProblem::Hash),
            ("alice:$2y$05$short", LineProblem::Hash),
            (&format!("alice:$2y$18{}", &HASH[6..]), LineProblem::Cost),
        ] {
            let file = format!("bob:{HASH}\n{line}\n");
            assert_eq!(Users::parse(file.as_bytes()).unwrap_err(), (2, problem), "{line}");
        }
        assert_eq!(Users::parse(b"\xff:x").unwrap_err(), (1, LineProblem::Encoding));
    }
}
