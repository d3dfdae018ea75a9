//! A server's own directory, removed with it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

#[derive(Debug)]
pub(crate) struct Directory {
    held: TempDir,
}

impl Directory {
    pub(crate) fn create(server: &str) -> Result<Self> {
        let held = tempfile::Builder::new().prefix(&format!("berth-{server}-")).tempdir();
        Ok(Self { held: held.context("create a temporary directory")? })
    }

    /// One for a server that keeps what it knows of an object in the attributes of a file.
    pub(crate) fn with_attributes(server: &str) -> Result<Self> {
        let directory = Self::create(server)?;
        rustix::fs::setxattr(directory.path(), "user.berth", b"1", rustix::fs::XattrFlags::empty()).with_context(
            || {
                let path = directory.path().display();
                format!("{path}: {server} needs extended attributes; name a directory in TMPDIR that has them")
            },
        )?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.held.path()
    }

    /// A directory below it, created.
    pub(crate) fn below(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }
}
