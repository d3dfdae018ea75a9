//! The generated parts of documents: a part stands between two comments that name it.

use anyhow::{Context as _, Result, bail};
use berth_e2e::compile::repository;
use berth_e2e::files::write_public;

/// The variable that has the document written instead of compared.
const GENERATE: &str = "BERTH_GENERATE";

/// Several tests write parts of one document.
static DOCUMENT: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Compares a part of `docs/compatibility.md` with what it should be, or, with `BERTH_GENERATE=1`, writes it.
pub(crate) fn section(name: &str, content: &str) -> Result<()> {
    section_of("compatibility.md", name, content)
}

/// Does the same with another document below `docs`.
pub(crate) fn section_of(document: &str, name: &str, content: &str) -> Result<()> {
    let path = repository().join("docs").join(document);
    let _guard = DOCUMENT.lock();
    let document = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let wanted = replaced(&document, name, content).with_context(|| path.display().to_string())?;
    if document == wanted {
        return Ok(());
    }
    if std::env::var_os(GENERATE).is_some() {
        return write_public(&path, wanted.as_bytes());
    }
    bail!("{}: the part `{name}` is not up to date; refresh it with `{GENERATE}=1 make peers`", path.display());
}

fn replaced(document: &str, name: &str, content: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let (before, rest) = document.split_once(&begin).with_context(|| format!("there is no {}", begin.trim_end()))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("there is no {}", end.trim_end()))?;
    Ok(format!("{before}{begin}{content}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_part_changes() {
        let document = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n";
        let wanted = "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n";
        assert_eq!(replaced(document, "x", "new").expect("it is there"), wanted);
        replaced(document, "y", "new").expect_err("it is not there");
    }
}
