//! What a client makes the outcome of a request depend on: whether its target is still, or not yet, what the client
//! believes (RFC 9110, section 13). Which header said so is not known here.
//!
//! Content is told apart by its digest, so the entity tag of a manifest or blob is its digest in quotes. There are no
//! dates of modification, and conditions on them are passed over, as the RFC asks for.

use berth_oci::Digest;

/// The conditions of a request. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The list of `If-Match`.
    pub matches: Option<String>,
    /// The list of `If-None-Match`.
    pub none_matches: Option<String>,
}

/// Which condition does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// The client wants a content that is not there, or no longer.
    #[error("If-Match: what is there is not what the request names")]
    Matches,
    /// The client has this content, or wants none to be there.
    #[error("If-None-Match: what is there is what the request rules out")]
    NoneMatches,
}

impl Conditions {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.matches.is_none() && self.none_matches.is_none()
    }

    /// The same, where a digest that stands there alone and without quotes is meant as the tag.
    #[must_use]
    pub fn or_bare(self) -> Self {
        let quoted = |list: String| if list.parse::<Digest>().is_ok() { format!("\"{list}\"") } else { list };
        Conditions { matches: self.matches.map(quoted), none_matches: self.none_matches.map(quoted) }
    }

    /// Compares with what is there now, in the order of RFC 9110, section 13.2.2.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn check(&self, current: Option<&Digest>) -> Result<(), Unmet> {
        // A weak tag says that something is much the same, which is too little for If-Match (section 8.8.3.2).
        let names = |list: &str, takes_weak| {
            let is_named = |current: &Digest| {
                list.trim() == "*"
                    || entries(list).any(|(is_weak, tag)| (takes_weak || !is_weak) && tag == current.as_str())
            };
            current.is_some_and(is_named)
        };
        if self.matches.as_deref().is_some_and(|list| !names(list, false)) {
            return Err(Unmet::Matches);
        }
        if self.none_matches.as_deref().is_some_and(|list| names(list, true)) {
            return Err(Unmet::NoneMatches);
        }
        Ok(())
    }
}

/// The entity tags of a list: whether each is weak, and what stands between its quotes. What is none is passed over.
fn entries(list: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\t']);
            if rest.is_empty() {
                return None;
            }
            let unmarked = rest.strip_prefix("W/");
            let Some(quoted) = unmarked.unwrap_or(rest).strip_prefix('"') else {
                rest = rest.split_once(',').map_or("", |(_, behind)| behind);
                continue;
            };
            let (tag, behind) = quoted.split_once('"')?;
            rest = behind;
            return Some((unmarked.is_some(), tag));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_lists_name() {
        let (here, other) = (Digest::sha256(b"here"), Digest::sha256(b"other"));
        // Whether each condition holds for what is here, and when nothing is.
        let check = |list: &str, matches: [bool; 2], none_matches: [bool; 2]| {
            let list = list.replace("HERE", here.as_str()).replace("OTHER", other.as_str());
            for (current, at) in [(Some(&here), 0), (None, 1)] {
                let both = [
                    Conditions { matches: Some(list.clone()), none_matches: None },
                    Conditions { matches: None, none_matches: Some(list.clone()) },
                ];
                let found = both.map(|conditions| conditions.check(current).is_ok());
                assert_eq!(found, [matches[at], none_matches[at]], "{list} {current:?}");
            }
        };
        check("\"HERE\"", [true, false], [false, true]);
        check("*", [true, false], [false, true]);
        check("  * ", [true, false], [false, true]);
        check("W/\"HERE\"", [false, false], [false, true]);
        check("W/\"HERE\", \"HERE\"", [true, false], [false, true]);
        check("\"OTHER\",\"HERE\"", [true, false], [false, true]);
        check("OTHER , , \"HERE\" ,", [true, false], [false, true]);
        check("\"x\"  ,\t \"HERE\"", [true, false], [false, true]);
        for none in ["", ",", "W/", "\"", "\"*\"", "\"x,HERE\"", "HERE", "\"HERE", "\"x\", *", "w/\"HERE\""] {
            check(none, [false, false], [true, true]);
        }
    }

    #[test]
    fn a_bare_digest_is_taken_where_that_is_asked_for() {
        let here = Digest::sha256(b"here");
        for (list, expected) in
            [("HERE", Ok(())), ("\"HERE\"", Ok(())), ("*", Ok(())), ("HERE, HERE", Err(Unmet::Matches))]
        {
            let matches = Some(list.replace("HERE", here.as_str()));
            let conditions = Conditions { matches, none_matches: None }.or_bare();
            assert_eq!(conditions.check(Some(&here)), expected, "{list}");
        }
    }

    #[test]
    fn both_must_hold_and_the_first_that_does_not_is_said() {
        let here = Digest::sha256(b"here");
        let check = |matches: &str, none_matches: &str, expected| {
            let conditions = Conditions { matches: Some(matches.into()), none_matches: Some(none_matches.into()) };
            assert_eq!(conditions.check(Some(&here)), expected, "{matches} {none_matches}");
        };
        check("*", "\"x\"", Ok(()));
        check("\"x\"", "*", Err(Unmet::Matches));
        check("*", "*", Err(Unmet::NoneMatches));
        assert_eq!(Conditions::default().check(None), Ok(()));
        assert!(Conditions::default().is_empty());
    }
}
