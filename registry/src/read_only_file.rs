//! `storage.maintenance.readonly.file`: a file that says whether a running registry takes writes, looked at every second.
//!
//! It is for whoever can change a file and cannot reach the admin route of every replica, such as the operator, whose
//! ConfigMap reaches all pods. A change of the file counts; between two changes the admin route may say otherwise. A file
//! that cannot be read, or says neither `true` nor `false`, changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_config::Config;
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest content in bytes that is looked at: `false` and a line's end, with room for spaces.
const MAX_BYTES: u64 = 64;
/// What a client is told whose write is refused.
const REASON: &str = "it was made so for maintenance (storage.maintenance.readonly.file)";

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unclear {
    /// It cannot be read.
    #[error("storage.maintenance.readonly.file: cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It says something else.
    #[error("storage.maintenance.readonly.file: {} says neither true nor false", path.display())]
    Content { path: PathBuf },
}

/// What the file says now.
///
/// # Errors
/// [`Unclear`], which names the file.
pub(crate) fn read(path: &Path) -> Result<bool, Unclear> {
    use std::io::Read as _;
    let read = || {
        let mut text = Vec::new();
        std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|source| Unclear::Read { path: path.to_owned(), source })?;
    parse(&text).ok_or_else(|| Unclear::Content { path: path.to_owned() })
}

fn parse(text: &[u8]) -> Option<bool> {
    match text.trim_ascii() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// The configuration at a start, in which `enabled` is what the file says if it says something, and that.
pub(crate) fn overlay(config: &Config) -> (Config, Option<bool>) {
    let mut config = config.clone();
    let settings = &mut config.storage.maintenance.readonly;
    let said = settings.file.as_deref().and_then(|file| {
        read(file)
            .inspect_err(|unclear| {
                let enabled = settings.enabled;
                tracing::warn!(%unclear, enabled, "storage.maintenance.readonly.enabled counts until it can be read");
            })
            .ok()
    });
    settings.enabled = said.unwrap_or(settings.enabled);
    (config, said)
}

/// Follows the file until `stop`; `said` is what it said at the start.
pub(crate) async fn watch(registry: Arc<Registry>, path: PathBuf, said: Option<bool>, stop: CancellationToken) {
    let mut said = said;
    let mut told: Option<String> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let looked_at = path.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || read(&looked_at)).await else { continue };
        let problem = match found {
            Ok(wanted) if said == Some(wanted) => None,
            Ok(wanted) => {
                let applied = tokio::select! {
                    () = stop.cancelled() => return,
                    applied = apply(&registry, wanted) => applied,
                };
                if applied.is_ok() {
                    said = Some(wanted);
                }
                applied.err()
            }
            Err(unclear) => Some(unclear.to_string()),
        };
        // Once for each problem, and not every second.
        if problem != told {
            if let Some(problem) = &problem {
                tracing::warn!(problem, "whether the registry is read-only stays as it was");
            }
            told = problem;
        }
    }
}

async fn apply(registry: &Registry, read_only: bool) -> Result<(), String> {
    if read_only {
        registry.gate.close(REASON.to_owned());
        tracing::warn!("the registry is read-only");
        return Ok(());
    }
    // It may have been opened to only read; the next look tries again.
    registry.open_gate(INTERVAL).await
}

#[cfg(test)]
mod tests {
    use berth_storage::Memory;

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    #[test]
    fn only_two_words_count() {
        for (text, expected) in [
            ("true", Some(true)),
            ("false\n", Some(false)),
            (" true \r\n", Some(true)),
            ("", None),
            ("yes", None),
            ("TRUE", None),
            ("true false", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn at_a_start_the_file_counts_where_it_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("read-only");
        let mut config = Config::default();
        assert_eq!(overlay(&config), (config.clone(), None));
        config.storage.maintenance.readonly = berth_config::ReadOnly { enabled: true, file: Some(file.clone()) };
        assert_eq!(overlay(&config), (config.clone(), None), "no file");
        std::fs::write(&file, "false").unwrap();
        let (found, said) = overlay(&config);
        assert_eq!((found.storage.maintenance.readonly.enabled, said), (false, Some(false)));
    }

    /// Time is the runtime's own here: while it passes, the file is looked at as often as it would be in that time.
    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_file_counts_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("read-only");
        std::fs::write(&file, "false\n").unwrap();
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: false, read_only: false });
        let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(registry.clone(), file.clone(), Some(false), stop.clone()));
        let is_closed = async || {
            tokio::time::sleep(3 * INTERVAL).await;
            registry.gate.standing().closed.is_some()
        };

        assert!(!is_closed().await);
        std::fs::write(&file, "true\n").unwrap();
        assert!(is_closed().await);
        std::fs::write(&file, "no").unwrap();
        assert!(is_closed().await, "a word that is none");
        std::fs::remove_file(&file).unwrap();
        assert!(is_closed().await, "no file");
        // Somebody has used the admin route; the file has not changed since.
        registry.gate.open();
        std::fs::write(&file, "true\n").unwrap();
        assert!(!is_closed().await, "the same word again");
        std::fs::write(&file, "false").unwrap();
        assert!(!is_closed().await);
        std::fs::write(&file, "true").unwrap();
        assert!(is_closed().await);
        stop.cancel();
        watching.await.unwrap();
    }
}
