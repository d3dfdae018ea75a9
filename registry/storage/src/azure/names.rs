//! How keys become names of blobs. A directory may stand before them, and a slash before all: CNCF Distribution 2.8 wrote
//! `/docker/registry/v2/…`, later series write `docker/registry/v2/…`, and neither sees what the other has written.

use super::Azure;
use crate::bucket::Root;
use crate::{Key, StoreError};

/// What every name of a registry begins with.
const REGISTRY: &str = "docker/registry/v2/";

/// How names are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    root: Root,
    slash: bool,
}

/// What the settings say of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    Known(Names),
    /// What is in the container has to tell whether there is a slash.
    Unknown,
}

impl Naming {
    pub(super) fn of(root_directory: &str) -> Self {
        match root_directory {
            "" => Naming::Unknown,
            "//" => Naming::Known(Names { root: Root::default(), slash: true }),
            directory => Naming::Known(Names { root: Root::new(directory), slash: false }),
        }
    }
}

impl Names {
    pub(super) fn name(&self, key: &Key) -> String {
        self.slashed(self.root.name(key))
    }

    /// What every name below a key begins with.
    pub(super) fn below(&self, key: &Key) -> String {
        self.slashed(self.root.below(key))
    }

    /// The key that belongs to a name, as text.
    pub(super) fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        let name = if self.slash { name.strip_prefix('/')? } else { name };
        self.root.key(name)
    }

    fn slashed(&self, name: String) -> String {
        if self.slash { format!("/{name}") } else { name }
    }
}

impl Azure {
    /// How names are made; the container is asked once, if it has to be.
    pub(super) async fn names(&self) -> Result<&Names, StoreError> {
        match &self.naming {
            Naming::Known(names) => Ok(names),
            Naming::Unknown => self.found_naming.get_or_try_init(|| self.find_naming()).await,
        }
    }

    pub(super) async fn name(&self, key: &Key) -> Result<String, StoreError> {
        Ok(self.names().await?.name(key))
    }

    /// Looks at what is in the container. One that is empty, or has both, is one of today's.
    async fn find_naming(&self) -> Result<Names, StoreError> {
        let slashed = format!("/{REGISTRY}");
        let (plain, old) = (self.has_any(REGISTRY).await?, self.has_any(&slashed).await?);
        match (plain, old) {
            (true, true) => tracing::warn!(
                driver = "azure",
                place = %self.place,
                "the container also has names that begin with /{REGISTRY}, of CNCF Distribution 2.8, which are not seen; \
                 the rootdirectory `//` would serve these in place of the others"
            ),
            (false, true) => tracing::info!(
                driver = "azure",
                place = %self.place,
                "names begin with a slash, as CNCF Distribution 2.8 wrote them"
            ),
            (_, false) => {}
        }
        Ok(Names { root: Root::default(), slash: old && !plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_distribution() {
        let key: Key = "docker/registry/v2/x".parse().unwrap();
        let check = |directory: &str, expected: &str| {
            let Naming::Known(names) = Naming::of(directory) else {
                unreachable!("{directory} says how names are made")
            };
            assert_eq!(names.name(&key), expected);
            assert_eq!(names.below(&key), format!("{expected}/"));
            assert_eq!(names.key(expected), Some(key.as_str()));
        };
        check("/", "docker/registry/v2/x");
        check("//", "/docker/registry/v2/x");
        check("some/where", "some/where/docker/registry/v2/x");
        check("/some/where/", "some/where/docker/registry/v2/x");
        assert_eq!(Naming::of(""), Naming::Unknown);
    }

    #[test]
    fn names_of_another_kind_are_not_seen() {
        let slashed = Names { root: Root::default(), slash: true };
        assert_eq!(slashed.key("docker/registry/v2/x"), None);
        let plain = Names { root: Root::default(), slash: false };
        assert_eq!(plain.key("/docker/registry/v2/x"), Some("/docker/registry/v2/x"));
    }
}
