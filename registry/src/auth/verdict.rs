//! [pure] What becomes of a request: what an authenticator has to say of it, and what the rules do.

use super::{Access, Answer, AuthError, Grounds, Identity, Policy, Why};

/// Whether a request may go on.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It may; by whom it is made, where that is known.
    Granted(Option<Identity>, Grounds),
    /// It may not; by whom it is made, where that is known.
    Refused(Why, Option<Identity>),
    /// It cannot be found out.
    Failed(AuthError),
}

/// Judges a request by the answer of the authenticator, where there is one.
pub(crate) fn judge(policy: &Policy, answer: Option<Result<Answer, AuthError>>, wanted: &[Access]) -> Verdict {
    let for_nobody = || policy.grounds(None, wanted).map(|grounds| Verdict::Granted(None, grounds));
    match answer {
        None => for_nobody().unwrap_or(Verdict::Refused(Why::Insufficient, None)),
        Some(Ok(Answer::Known(identity))) => match policy.grounds(Some(&identity), wanted) {
            Some(grounds) => Verdict::Granted(Some(identity), grounds),
            None => Verdict::Refused(Why::Insufficient, Some(identity)),
        },
        // Who wants nothing of which it could be said who may do it asks how to log in.
        Some(Ok(Answer::NoCredentials)) if wanted.is_empty() => Verdict::Refused(Why::Missing, None),
        Some(Ok(Answer::NoCredentials)) => for_nobody().unwrap_or(Verdict::Refused(Why::Missing, None)),
        Some(Ok(Answer::BadCredentials)) => Verdict::Refused(Why::Bad, None),
        Some(Err(error)) => Verdict::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use berth_config::Config;

    use super::*;

    #[test]
    fn what_becomes_of_a_request() {
        let policy = |auth: &str| {
            let text = format!("version: 0.1\nstorage: inmemory\nauth: {auth}");
            Policy::of(&Config::load(&text, []).unwrap().config)
        };
        let (open, alone, ruled) = (
            policy("none"),
            policy("{anonymous: [{repositories: a, actions: [pull]}]}"),
            policy(
                "{htpasswd: {realm: r, path: /p}, anonymous: [{repositories: a, actions: [pull]}], \
                 rules: [{users: [alice], repositories: b, actions: [pull]}]}",
            ),
        );
        let known = || Some(Ok(Answer::Known(Identity::new("alice"))));
        let (none, bad) = (|| Some(Ok(Answer::NoCredentials)), || Some(Ok(Answer::BadCredentials)));
        let failed = || Some(Err(AuthError::Busy));
        let pull = |name: &str| vec![Access::of("repository", name, "pull")];
        for (policy, answer, wanted, expected) in [
            (&open, None, pull("a"), "Granted(None, Open)"),
            (&open, None, vec![], "Granted(None, Open)"),
            (&alone, None, pull("a"), "Granted(None, Everybody)"),
            (&alone, None, vec![], "Granted(None, Nothing)"),
            (&alone, None, pull("b"), "Refused(Insufficient, None)"),
            (&ruled, none(), pull("a"), "Granted(None, Everybody)"),
            (&ruled, none(), vec![], "Refused(Missing, None)"),
            (&ruled, none(), pull("b"), "Refused(Missing, None)"),
            (&ruled, bad(), pull("a"), "Refused(Bad, None)"),
            (&ruled, failed(), pull("a"), "Failed(Busy)"),
            (&ruled, known(), pull("b"), "Granted(alice, Rule)"),
            (&ruled, known(), vec![], "Granted(alice, Nothing)"),
            (&ruled, known(), pull("c"), "Refused(Insufficient, alice)"),
        ] {
            let found = match judge(policy, answer, &wanted) {
                Verdict::Granted(Some(identity), grounds) => format!("Granted({identity}, {grounds:?})"),
                Verdict::Refused(why, Some(identity)) => format!("Refused({why:?}, {identity})"),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{wanted:?}");
        }
    }
}
