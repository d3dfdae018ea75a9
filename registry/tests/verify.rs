//! `berth-registry verify`, run as the program that it is, on stores with every kind of damage.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use berth_oci::Digest;
use berth_registry::verify::{Options, run};
use berth_storage::{Filesystem, LockMode};
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

/// A way in which a store is damaged.
struct Damage {
    what: &'static str,
    /// Does it, given the directory and the digest of a manifest.
    harm: fn(&Path, &Digest),
    problems: &'static [&'static str],
    notes: &'static [&'static str],
    /// Whether nothing is wrong after a repair. A manifest that is intact stays, and lacks its blob until that is pushed
    /// again.
    is_mended: bool,
}

fn two() -> Digest {
    Digest::sha256(b"two")
}

fn damages() -> Vec<Damage> {
    let damage = |what, harm, problems, is_mended| Damage { what, harm, problems, notes: &[], is_mended };
    vec![
        damage(
            "a byte of a layer has changed",
            |root, _| std::fs::write(blob(root, &two()), "twO").unwrap(),
            &["wrong-content", "missing-reference", "broken-link"],
            false,
        ),
        damage(
            "a manifest was cut off",
            |root, image| std::fs::write(blob(root, image), "{").unwrap(),
            &["wrong-content", "broken-link", "dangling-tag"],
            true,
        ),
        damage(
            "a manifest has no bytes",
            |root, image| std::fs::write(blob(root, image), "").unwrap(),
            &["wrong-content", "broken-link", "dangling-tag"],
            true,
        ),
        damage(
            "a blob is gone",
            |root, _| std::fs::remove_file(blob(root, &two())).unwrap(),
            &["missing-reference", "broken-link"],
            false,
        ),
        damage(
            "a link to a layer is empty",
            |root, _| std::fs::write(link(root, "team/app/_layers", &two()), "").unwrap(),
            &["empty-link", "missing-reference"],
            false,
        ),
        damage(
            "a link to a layer holds another digest",
            |root, image| std::fs::write(link(root, "team/app/_layers", &two()), image.as_str()).unwrap(),
            &["wrong-link", "missing-reference"],
            false,
        ),
        damage(
            "a tag is empty",
            |root, _| {
                let path = "data/docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link";
                std::fs::write(root.join(path), "").unwrap();
            },
            &["empty-link"],
            true,
        ),
        damage(
            "the link of a manifest is malformed",
            |root, image| std::fs::write(link(root, "team/app/_manifests/revisions", image), "sha256:zz").unwrap(),
            &["malformed-link", "dangling-tag"],
            true,
        ),
        Damage {
            what: "a collector has left a link",
            harm: |root, _| {
                let path = link(root, "team/app/_layers", &Digest::sha256(b"collected"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, Digest::sha256(b"collected").as_str()).unwrap();
            },
            problems: &[],
            notes: &["leftover-link"],
            is_mended: true,
        },
    ]
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
        assert!(blob(root, &Digest::sha256(b"one")).exists(), "{what}: what is right stays");
        // As the report says: to the same path without that directory in front.
        let copied = Command::new("cp").args(["-r", &format!("data/{aside}/."), "data/"]).current_dir(root).status();
        assert!(copied.unwrap().success());
        assert!(files(root) == damaged, "{what}: everything can be brought back");
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
