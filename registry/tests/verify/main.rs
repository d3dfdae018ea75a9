//! `berth-registry verify`, run as the program that it is, on stores with every kind of damage.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod damages;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use berth_oci::Digest;
use berth_registry::verify::{Options, run};
use berth_storage::{Filesystem, LockMode};
use damages::{Damage, TAG, damages, two};
use serde_json::Value;
use support::{Document, Server};

/// A stopped registry with two repositories, each with an image of two layers.
async fn filled() -> (tempfile::TempDir, Document) {
    let server = Server::start(false, |_| ()).await;
    let mut client = server.client().await;
    let image = client.push_image("team/app", "v1", &["one", "two"]).await;
    client.push_image("team/app/below", "v1", &["one", "three"]).await;
    client.push_manifest("team/app", "v2", &image).await.expect(201);
    let Server { running, directory } = server;
    running.stop().await;
    let text = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nlog: {level: error}\n";
    std::fs::write(directory.path().join("config.yml"), text).unwrap();
    (directory, image)
}

fn verify(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
    command.current_dir(directory).env_clear().arg("verify").args(arguments).output().unwrap()
}

fn report(directory: &Path, arguments: &[&str], exit_code: i32) -> Value {
    let arguments = [&["--output", "json", "-q"], arguments, &["config.yml"]].concat();
    let output = verify(directory, &arguments);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit_code), "{text}{errors}");
    assert_eq!(errors, "");
    serde_json::from_str(&text).unwrap()
}

fn kinds(report: &Value, list: &str) -> BTreeSet<String> {
    report[list].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

fn link(root: &Path, below: &str, digest: &Digest) -> PathBuf {
    root.join(format!("data/docker/registry/v2/repositories/{below}/sha256/{}/link", digest.hex()))
}

fn blob(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    root.join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
}

/// Every file of the layout with its content.
fn files(root: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![root.join("data/docker")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.extend([(path.clone(), std::fs::read(&path).unwrap())]);
            }
        }
    }
    found
}

#[tokio::test]
async fn a_whole_store_is_clean() {
    let (directory, _) = filled().await;
    let report = report(directory.path(), &[], 0);
    assert_eq!((&report["clean"], &report["contentChecked"]), (&true.into(), &true.into()));
    for (field, count) in [("repositories", 2), ("manifests", 2), ("tags", 3), ("blobs", 6), ("links", 14)] {
        assert_eq!(report[field], count, "{field} of {report}");
    }
    let output = verify(directory.path(), &["config.yml"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.ends_with("read and hashed: 0 problems, 0 notes\n"), "{text}");
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(progress.contains("6 of 6 blobs"), "{progress}");
}

#[tokio::test]
async fn every_damage_is_found_moved_aside_and_can_be_brought_back() {
    let set = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<BTreeSet<_>>();
    for Damage { what, harm, problems, notes, is_mended } in damages() {
        let (directory, image) = filled().await;
        let root = directory.path();
        harm(root, &image.digest());
        let damaged = files(root);
        let exit_code = i32::from(!problems.is_empty());
        let found = report(root, &[], exit_code);
        assert_eq!((kinds(&found, "problems"), kinds(&found, "notes")), (set(problems), set(notes)), "{what}: {found}");
        assert!(files(root) == damaged, "{what}: without --repair nothing is changed");

        let repaired = report(root, &["--repair"], exit_code);
        let aside = repaired["aside"].as_str().unwrap().to_owned();
        assert!(repaired["moved"].as_u64().unwrap() > 0, "{what}");
        let after = report(root, &[], i32::from(!is_mended));
        assert!(after["noteCount"] == 0, "{what}: {after}");
        let again = report(root, &["--repair"], i32::from(!is_mended));
        assert!(again["moved"] == 0 && again["aside"].is_null(), "{what}: once is enough: {again}");
        assert!(blob(root, &Digest::sha256(b"one")).exists(), "{what}: what is right stays");
        // As the report says: to the same path without that directory in front.
        let copied = Command::new("cp").args(["-r", &format!("data/{aside}/."), "data/"]).current_dir(root).status();
        assert!(copied.unwrap().success());
        assert!(files(root) == damaged, "{what}: everything can be brought back");
    }
}

/// What is odd, and of which nothing can be made better by moving it: it is found, and stays where it is.
#[tokio::test]
async fn what_a_repair_cannot_mend_stays_as_it_is() {
    type Harm = fn(&Path);
    fn strange(root: &Path, raw: &[u8]) {
        let digest = Digest::sha256(raw);
        for (path, content) in [
            (blob(root, &digest), raw),
            (link(root, "team/app/_manifests/revisions", &digest), digest.as_str().as_bytes()),
        ] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }
    let cases: [(&str, Harm, &str); 5] = [
        ("a manifest is no JSON", |root| strange(root, b"\xff\x00"), "unreadable-manifest"),
        (
            "a manifest is an array in an array",
            |root| strange(root, "[".repeat(100_000).as_bytes()),
            "unreadable-manifest",
        ),
        ("a manifest is larger than any may be", |root| strange(root, &vec![b' '; 5 << 20]), "unreadable-manifest"),
        (
            "the links to layers are gone",
            |root| {
                let repositories = root.join("data/docker/registry/v2/repositories");
                std::fs::remove_dir_all(repositories.join("team/app/_layers")).unwrap();
            },
            "missing-reference",
        ),
        (
            "a directory is no repository name",
            |root| {
                let repositories = root.join("data/docker/registry/v2/repositories");
                std::fs::create_dir_all(repositories.join("Team/App/_manifests/tags/v1/current")).unwrap();
                std::fs::copy(root.join(TAG), repositories.join("Team/App/_manifests/tags/v1/current/link")).unwrap();
            },
            "invalid-name",
        ),
    ];
    for (what, harm, kind) in cases {
        let (directory, _) = filled().await;
        let root = directory.path();
        harm(root);
        let damaged = files(root);
        let found = report(root, &["--repair"], 1);
        assert_eq!(kinds(&found, "problems"), BTreeSet::from([kind.to_owned()]), "{what}: {found}");
        assert!(found["moved"] == 0 && found["aside"].is_null(), "{what}: {found}");
        assert!(files(root) == damaged, "{what}: nothing is changed");
    }
}

/// A link in a circle is an error for whoever follows it, and for root as well.
#[tokio::test]
async fn what_cannot_be_listed_is_named_and_nothing_is_moved() {
    let (directory, _) = filled().await;
    let root = directory.path();
    std::fs::write(blob(root, &two()), "twO").unwrap();
    let tag = root.join(TAG);
    std::fs::remove_file(&tag).unwrap();
    std::os::unix::fs::symlink(&tag, &tag).unwrap();
    for command in [&["verify"][..], &["verify", "--repair"], &["reindex"]] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
        let output = program.current_dir(root).env_clear().args(command).args(["-q", "config.yml"]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {message}");
        assert!(message.contains("team/app/_manifests/tags/v1/current/link: "), "{command:?}: {message}");
        assert_eq!(output.stdout, b"", "{command:?}: a report would look as if all had been looked at");
    }
}

#[tokio::test]
async fn without_content_only_links_lengths_and_manifests_are_looked_at() {
    let (directory, image) = filled().await;
    std::fs::write(blob(directory.path(), &Digest::sha256(b"two")), "twO").unwrap();
    assert_eq!(report(directory.path(), &["--skip-content"], 0)["contentChecked"], false);
    std::fs::write(blob(directory.path(), &Digest::sha256(b"two")), "").unwrap();
    let found = kinds(&report(directory.path(), &["--skip-content"], 1), "problems");
    assert!(found.contains("wrong-content"), "{found:?}");
    std::fs::write(blob(directory.path(), &Digest::sha256(b"two")), "two").unwrap();
    std::fs::write(blob(directory.path(), &image.digest()), "{}").unwrap();
    let found = kinds(&report(directory.path(), &["--skip-content"], 1), "problems");
    assert!(found.contains("broken-link"), "manifests are read all the same: {found:?}");
}

#[tokio::test]
async fn what_cannot_be_checked_is_not_called_clean() {
    let (directory, _) = filled().await;
    let check = |config: &str, arguments: &[&str], said: &str| {
        std::fs::write(directory.path().join("other.yml"), config).unwrap();
        let output = verify(directory.path(), &[arguments, &["other.yml"]].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{config}: {message}");
        assert!(message.contains(said), "{config}: {message}");
    };
    check("version: 0.1\nstorage: inmemory\n", &[], "storage.inmemory");
    check("version: 0.1\nstorage: {filesystem: {rootdirectory: dat}}\n", &[], "rootdirectory: dat is not a directory");
    check("version: 0.1\n", &[], "storage");
    let held = Filesystem::open(&directory.path().join("data"), 25, LockMode::Shared).unwrap();
    check("version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n", &["--repair"], "stop it first");
    drop(held);
    report(directory.path(), &["--repair"], 0);
}

/// Images come and go while their store is verified again and again: nothing is found that is not so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_server_that_is_written_to_nothing_wrong_is_found() {
    const ROUNDS: usize = 15;
    const IMAGES: usize = 30;
    let server = Server::start(false, |_| ()).await;
    let root = server.directory.path().join("data");
    let (stop, images) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for n in 0..3 {
        let (mut client, stop, images) = (server.client().await, stop.clone(), images.clone());
        clients.push(tokio::spawn(async move {
            let mut pushed = 0;
            while !stop.load(Ordering::Relaxed) {
                let (name, layer) = (format!("team/app{n}"), format!("{n} {pushed}"));
                let image = client.push_image(&name, &format!("v{}", pushed % 5), &[&layer, "shared"]).await;
                if pushed % 3 == 0 {
                    client.delete(&format!("/v2/{name}/manifests/{}", image.digest())).await.expect(202);
                }
                if pushed % 7 == 0 {
                    client.delete(&format!("/v2/{name}/")).await.expect(202);
                }
                pushed += 1;
                images.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let store = Filesystem::open(&root, 25, LockMode::ReadOnly).unwrap();
    let options = Options { repair: false, content: true, jobs: 2, tells: false };
    let mut rounds = 0;
    while rounds < ROUNDS || images.load(Ordering::Relaxed) < IMAGES {
        let report = run(&store, options).await.unwrap();
        assert!(report.clean, "{report:?}");
        rounds += 1;
        assert!(clients.iter().all(|client| !client.is_finished()), "a client has failed");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let images = images.load(Ordering::Relaxed);
    println!("{rounds} verifications while {images} images were pushed: nothing wrong was found");
    server.running.stop().await;
}

/// The index of referrers is damaged in both ways, and made anew; the second time there is nothing to do.
#[tokio::test]
async fn the_index_is_made_anew_from_the_layout_alone() {
    let (directory, image) = filled().await;
    let root = directory.path();
    let data = root.join("data");
    let config = support::config(support::filesystem(&data));
    let (signature, name) = (Document::image_about("sig", &["one"], Some(&image)), "team/app");
    {
        let running = berth_registry::start(&config).await.unwrap();
        let mut client = support::Client::connect(running.address()).await;
        client.push_blob(name, support::config_of("sig")).await;
        client.push_manifest(name, &signature.digest().to_string(), &signature).await.expect(201);
        running.stop().await;
    }
    let index = data.join("docker/registry/v2/repositories/team/app/_referrers");
    let whole = files(root);
    let reindex = |expected: &[(&str, u64)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
        command.current_dir(root).env_clear().args(["reindex", "--output", "json", "-q", "config.yml"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (field, count) in expected {
            assert_eq!(report[field], *count, "{field} of {report}");
        }
    };
    let entries = |files: &BTreeSet<(PathBuf, Vec<u8>)>| -> Vec<PathBuf> {
        let in_index = files.iter().map(|(path, _)| path).filter(|path| path.starts_with(&index));
        in_index.filter(|path| !path.ends_with("checked")).cloned().collect()
    };
    assert_eq!(entries(&whole).len(), 1);
    reindex(&[("repositories", 2), ("manifests", 3), ("referrers", 1), ("added", 0), ("removed", 0)]);
    std::fs::remove_dir_all(&index).unwrap();
    reindex(&[("added", 1), ("removed", 0)]);
    assert_eq!(entries(&files(root)), entries(&whole));
    let subject = entries(&whole)[0].parent().unwrap().to_path_buf();
    std::fs::write(subject.join(Digest::sha256(b"gone").hex()), Digest::sha256(b"gone").as_str()).unwrap();
    reindex(&[("added", 0), ("removed", 1)]);
    assert_eq!(entries(&files(root)), entries(&whole));
    report(root, &[], 0);
}
