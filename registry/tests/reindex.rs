//! `berth-registry reindex` beside servers, and on stores that are broken: what it may do, and what it says.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use berth_oci::Digest;
use berth_storage::{Filesystem, LockMode};
use serde_json::Value;
use support::{Client, Document, Server, config_of};

const NAME: &str = "team/app";

/// A stopped registry with an image, and a signature that refers to it.
async fn filled() -> (tempfile::TempDir, Document, Document) {
    let server = Server::start(false, |_| ()).await;
    let mut client = server.client().await;
    let image = client.push_image(NAME, "v1", &["one"]).await;
    let signature = Document::image_about("sig", &["one"], Some(&image));
    client.push_blob(NAME, config_of("sig")).await;
    client.push_manifest(NAME, signature.digest().as_str(), &signature).await.expect(201);
    let Server { running, directory } = server;
    running.stop().await;
    let text = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nlog: {level: error}\n";
    std::fs::write(directory.path().join("config.yml"), text).unwrap();
    (directory, image, signature)
}

fn reindex(directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
    command.current_dir(directory).env_clear().args(["reindex", "--output", "json", "-q", "config.yml"]);
    command.output().unwrap()
}

/// The report, with the exit code that it must come with.
fn report(directory: &Path, exit_code: i32) -> Value {
    let output = reindex(directory);
    assert_eq!(output.status.code(), Some(exit_code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn repository(directory: &Path) -> PathBuf {
    directory.join("data/docker/registry/v2/repositories").join(NAME)
}

fn blob(directory: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    directory.join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
}

/// Every file below a directory.
fn files(below: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![below.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

async fn referrers(client: &mut Client, image: &Document) -> usize {
    let answer = client.get(&format!("/v2/{NAME}/referrers/{}", image.digest())).await.expect(200);
    answer.json()["manifests"].as_array().unwrap().len()
}

/// Opens a store that nobody uses any more. A process that another test starts at this moment has what is open here until it
/// becomes its own program, and the lock with it.
async fn opened_alone(data: &Path) -> Filesystem {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Filesystem::open(data, 25, LockMode::Exclusive) {
            Ok(store) => return store,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Neither runs beside the other, and both say what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_and_a_server_keep_each_other_out() {
    let (directory, image, _) = filled().await;
    let data = directory.path().join("data");
    let config = support::config(support::filesystem(&data));
    std::fs::remove_dir_all(repository(directory.path()).join("_referrers")).unwrap();

    let running = berth_registry::start(&config).await.unwrap();
    let mut client = Client::connect(running.address()).await;
    let before = files(&data.join("docker"));
    let output = reindex(directory.path());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("a server or a collector holds the store: stop it first"), "{message}");
    assert_eq!(files(&data.join("docker")), before, "nothing is changed");
    // The server needs no command for it.
    assert_eq!(referrers(&mut client, &image).await, 1);
    drop(client);
    running.stop().await;

    let held = opened_alone(&data).await;
    let refused = berth_registry::start(&config).await.err().unwrap();
    assert!(format!("{refused:#}").contains("holds the store"), "{refused:#}");
    drop(held);
    berth_registry::start(&config).await.unwrap().stop().await;
}

/// Ways to break a store: what is left is indexed, what cannot be read is counted, and no manifest or tag is touched.
#[tokio::test]
async fn of_a_broken_store_the_rest_is_indexed() {
    type Harm = fn(&Path, &Document);
    let cases: [(&str, Harm, [u64; 3], i32); 6] = [
        // What is told: unreadable, added, removed.
        ("nothing is wrong", |_, _| (), [0, 0, 0], 0),
        (
            "the manifest is gone, and its entry stays",
            |root, signature| std::fs::remove_file(blob(root, &signature.digest())).unwrap(),
            [1, 0, 0],
            1,
        ),
        (
            "the manifest was cut off",
            |root, signature| std::fs::write(blob(root, &signature.digest()), &signature.raw[..40]).unwrap(),
            [1, 0, 0],
            1,
        ),
        (
            "the manifest is larger than any may be",
            |root, signature| std::fs::write(blob(root, &signature.digest()), vec![b' '; 5 << 20]).unwrap(),
            [1, 0, 0],
            1,
        ),
        (
            "the index holds what no digest is, and an entry without a manifest",
            |root, signature| {
                let index = repository(root).join("_referrers");
                let gone = Digest::sha256(b"gone");
                let subject = files(&index).into_iter().find(|path| path.ends_with(signature.digest().hex())).unwrap();
                std::fs::write(subject.with_file_name(gone.hex()), gone.as_str()).unwrap();
                std::fs::write(subject.with_file_name("odd"), "odd").unwrap();
                std::fs::write(index.join("checked"), "never").unwrap();
            },
            [0, 0, 1],
            0,
        ),
        (
            "the index is gone, and the link of the image empty",
            |root, _| {
                std::fs::remove_dir_all(repository(root).join("_referrers")).unwrap();
                let revisions = repository(root).join("_manifests/revisions");
                std::fs::write(files(&revisions).first().unwrap(), "").unwrap();
            },
            [0, 1, 0],
            0,
        ),
    ];
    for (what, harm, [unreadable, added, removed], exit_code) in cases {
        let (directory, image, signature) = filled().await;
        let root = directory.path();
        harm(root, &signature);
        let manifests = files(&repository(root).join("_manifests"));
        let found = report(root, exit_code);
        for (field, count) in [("unreadable", unreadable), ("added", added), ("removed", removed), ("manifests", 2)] {
            assert_eq!(found[field], count, "{what}: {field} of {found}");
        }
        assert_eq!(files(&repository(root).join("_manifests")), manifests, "{what}");
        let again = report(root, exit_code);
        assert!(again["added"] == 0 && again["removed"] == 0, "{what}: once is enough: {again}");
        if unreadable > 0 {
            // Put back, it is found again: what was known of it has stayed.
            std::fs::write(blob(root, &signature.digest()), &signature.raw).unwrap();
        }
        let running = berth_registry::start(&support::config(support::filesystem(&root.join("data")))).await.unwrap();
        let mut client = Client::connect(running.address()).await;
        assert_eq!(referrers(&mut client, &image).await, 1, "{what}");
        drop(client);
        running.stop().await;
    }
}
