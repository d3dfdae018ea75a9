//! [pure] What a client asks of a token: scopes, as Distribution's specification of token authentication has them.

/// One thing, and what is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// What `name` is the name of: `repository` or `registry`.
    pub(crate) kind: String,
    /// The class of a repository; empty for images.
    pub(crate) class: String,
    pub(crate) name: String,
    pub(crate) actions: Vec<String>,
}

/// The most scopes of a request.
const MAX_SCOPES: usize = 100;
/// The most different actions of a scope: for each of them all rules are looked at, also for who has not said a name.
const MAX_ACTIONS: usize = 16;

/// Why scopes are none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeError {
    #[error("scope {0:?} is not TYPE:NAME:ACTIONS, with {MAX_ACTIONS} actions at most")]
    Form(String),
    #[error("there are more than {MAX_SCOPES} scopes")]
    Many,
}

/// Reads the scopes of all of these texts, each of which may hold several with spaces between.
pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>, ScopeError> {
    let mut scopes = Vec::new();
    for text in texts.into_iter().flat_map(str::split_ascii_whitespace) {
        if scopes.len() == MAX_SCOPES {
            return Err(ScopeError::Many);
        }
        scopes.push(one(text).ok_or_else(|| ScopeError::Form(text.chars().take(200).collect()))?);
    }
    Ok(scopes)
}

/// The name may hold colons: a host with its port.
fn one(text: &str) -> Option<Scope> {
    let (kind, rest) = text.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let (kind, class) = match kind.split_once('(') {
        None => (kind, ""),
        Some((kind, class)) => (kind, class.strip_suffix(')')?),
    };
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_word(kind) || (!class.is_empty() && !is_word(class)) || name.is_empty() {
        return None;
    }
    let mut wanted: Vec<String> = Vec::new();
    for action in actions.split(',').filter(|action| !action.is_empty()) {
        if wanted.iter().any(|known| known == action) {
            continue;
        }
        if wanted.len() == MAX_ACTIONS {
            return None;
        }
        wanted.push(action.to_owned());
    }
    Some(Scope { kind: kind.to_owned(), class: class.to_owned(), name: name.to_owned(), actions: wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(kind: &str, class: &str, name: &str, actions: &[&str]) -> Scope {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Scope { kind: kind.into(), class: class.into(), name: name.into(), actions }
    }

    #[test]
    fn scopes_are_read_as_clients_write_them() {
        for (texts, expected) in [
            (vec![], vec![]),
            (vec![""], vec![]),
            (
                vec!["repository:samalba/my-app:pull,push"],
                vec![scope("repository", "", "samalba/my-app", &["pull", "push"])],
            ),
            (
                vec!["repository:a:pull repository:b/c:pull,push", "registry:catalog:*"],
                vec![
                    scope("repository", "", "a", &["pull"]),
                    scope("repository", "", "b/c", &["pull", "push"]),
                    scope("registry", "", "catalog", &["*"]),
                ],
            ),
            (vec!["repository(plugin):a/b:pull"], vec![scope("repository", "plugin", "a/b", &["pull"])]),
            (
                vec!["repository:host.example:5000/a:pull"],
                vec![scope("repository", "", "host.example:5000/a", &["pull"])],
            ),
            (vec!["repository:a:"], vec![scope("repository", "", "a", &[])]),
            (vec!["repository:a:pull,*,pull,*"], vec![scope("repository", "", "a", &["pull", "*"])]),
            (vec!["repository:a:,pull,"], vec![scope("repository", "", "a", &["pull"])]),
        ] {
            assert_eq!(parse(texts.iter().copied()), Ok(expected), "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_scope_is_named() {
        for text in ["repository", "repository:a", ":a:pull", "repository::pull", "repository(x:a:pull", "a(b)c:d:e"] {
            assert_eq!(parse([text]), Err(ScopeError::Form(text.into())));
        }
        let many = vec!["repository:a:pull"; MAX_SCOPES + 1];
        assert_eq!(parse(many), Err(ScopeError::Many));
        let of = |count: usize| format!("repository:a:{}", (0..count).map(|at| format!("a{at},")).collect::<String>());
        assert_eq!(parse([of(MAX_ACTIONS).as_str()]).unwrap()[0].actions.len(), MAX_ACTIONS);
        assert!(matches!(parse([of(MAX_ACTIONS + 1).as_str()]), Err(ScopeError::Form(_))));
        let long = "x".repeat(1000);
        assert_eq!(parse([long.as_str()]), Err(ScopeError::Form("x".repeat(200))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z:(),* ]{0,40}|\\PC{0,40}") {
            let _ = parse([text.as_str()]);
        }
    }
}
