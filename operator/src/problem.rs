//! What is wrong with a resource: problems, each with its field.

use std::fmt;

use berth_crds::{MAX_NAME_BYTES, Size};

/// The least size of a volume; less is a forgotten unit.
const MIN_SIZE_BYTES: u64 = 1 << 20;

/// One thing that is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the field, such as `spec.storage`.
    pub field: String,
    /// What is wrong with it, and what to do.
    pub message: String,
}

/// All that is wrong with a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl Problems {
    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { field: field.into(), message: message.into() });
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One line a problem: field and message.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(|Problem { field, message }| format!("{field}: {message}")).collect()
    }

    /// Adds a problem unless `name` can be that of a Service with something appended (RFC 1035 label).
    pub fn check_name(&mut self, kind: &str, name: &str) {
        let good_characters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let good_ends = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
        if !(good_characters && good_ends && name.len() <= MAX_NAME_BYTES) {
            self.add(
                "metadata.name",
                format!(
                    "the name of a {kind} must have at most {MAX_NAME_BYTES} of a-z, 0-9 and '-', start with a letter \
                     and not end with '-'"
                ),
            );
        }
    }

    /// Adds a problem unless `size` can be that of a volume.
    pub fn check_size(&mut self, field: &str, size: &Size) {
        match size.bytes() {
            Ok(bytes) if bytes >= MIN_SIZE_BYTES => {}
            Ok(_) => self.add(field, format!("{size} is less than 1Mi: add a unit, as in 20Gi")),
            Err(error) => self.add(field, error.to_string()),
        }
    }
}
