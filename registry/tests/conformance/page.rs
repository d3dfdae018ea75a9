//! The page `docs/conformance.md`, made of the requirements and of the cases that cover them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::requirements::{Duty, Requirement};

const HEAD: &str = "\
<!-- Made by `make generate` from registry/tests/conformance. -->

# Conformance with the OCI distribution specification

Every MUST and SHOULD of the [specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md), in its
order, in few words of our own, and the test that covers it. The text is that of version 1.1 and of the draft of the next
one. Each test talks to a server over a socket, with the store on the file system, in memory and in a bucket; they are in
`registry/tests/conformance`, and `cargo test --package berth-registry --test conformance` runs them.

What the specification asks of clients is listed too, so that the list is whole, and so is what speaks of something that
the registry does not have or does otherwise, with the reason.

## What the default configuration refuses

The specification leaves it to a registry whether it takes a manifest of which something is not here. Written nothing else,
this one answers as CNCF Distribution does:

| pushed | without a word in the configuration | to take it |
|---|---|---|
| an image with a layer that names `urls` | `400 MANIFEST_INVALID` and `MANIFEST_BLOB_UNKNOWN` | `validation.manifests.urls.allow: ['^https?://']` |
| an index of which a manifest is missing (sparse) | `400 MANIFEST_BLOB_UNKNOWN` | `validation.manifests.indexes.platforms: none` |
| an image of which a layer is missing, but for a non-distributable one with `urls` | `400 MANIFEST_BLOB_UNKNOWN` | it is never taken |
| a manifest whose `subject` is missing | taken | |

A URL in a manifest sends everyone who pulls it to an address that whoever pushed it has chosen; so nobody is sent anywhere
until the configuration says where to. The refusal names the layer, the URL and the key. An index without all of its
images is of use to some, so it can be allowed; an image without its layers is of use to nobody.

## The conformance program

The program of the specification (version `dev` and 1.1, every API and every kind of content switched on) ends with no
failure and nothing skipped, given

```yaml
storage:
  delete:
    enabled: true
validation:
  manifests:
    urls:
      allow: ['^https?://']    # for its layers that lie elsewhere
    indexes:
      platforms: none          # for its sparse indexes
```

but for one image that is pushed without one of its layers: the specification lets a registry refuse that, and this one
does, with `MANIFEST_BLOB_UNKNOWN`. The program leaves such images out unless it is told otherwise.

## Requirements

";

/// The whole page.
pub fn render(requirements: &[Requirement], coverage: &BTreeMap<&str, Vec<String>>) -> String {
    let mut page = HEAD.to_owned();
    let count = |is: fn(&Duty) -> bool| requirements.iter().filter(|requirement| is(&requirement.duty)).count();
    let _ = writeln!(
        page,
        "{} requirements: {} of the registry, each covered; {} of clients; {} that speak of what the registry does not \
         have; {} where it differs.",
        requirements.len(),
        count(|duty| matches!(duty, Duty::Registry | Duty::Inside(..))),
        count(|duty| matches!(duty, Duty::Client)),
        count(|duty| matches!(duty, Duty::Absent(_))),
        count(|duty| matches!(duty, Duty::Differs(_))),
    );
    let mut section = "";
    for requirement in requirements {
        let Requirement { id, level, says, duty, .. } = requirement;
        if requirement.section != section {
            section = requirement.section;
            let _ = writeln!(page, "\n## {section}\n\n| requirement | | | covered by |\n|---|---|---|---|");
        }
        let covered = match duty {
            Duty::Registry => {
                let cases = coverage.get(id).into_iter().flatten().map(|case| format!("`{case}`"));
                cases.collect::<Vec<_>>().join("<br>")
            }
            Duty::Inside(file, test) => format!("`{file}`: `{test}`"),
            Duty::Client => "the client's".to_owned(),
            Duty::Absent(reason) => format!("not here: {reason}"),
            Duty::Differs(reason) => format!("**differs**: {reason}"),
        };
        let _ = writeln!(page, "| `{id}` | {level} | {says} | {covered} |");
    }
    page
}
