//! Tokens that another program has signed, good ones and bad ones: what Berth and Distribution make of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::paths::Cache;
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::{run, tools};
use serde::Deserialize;

use crate::http::{Question, ask};
use crate::known::matches;
use crate::lab::lab;

/// What is asked for: the tags of a repository that is not there, which is told to who may pull from it.
const TARGET: &str = "/v2/team/app/tags/list";
const CHALLENGE: &str =
    r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/app:pull""#;
/// The fewest bad tokens that are tried.
const FEWEST_BAD: usize = 40;

/// A token, and what it is to be answered with.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    token: String,
    /// The error of the challenge; empty for a token that may pull.
    want: String,
}

/// Where Distribution answers otherwise: cases, where a star stands for any text; its answer, or none if it depends on the key;
/// and why.
type Otherwise = (&'static [&'static str], Option<&'static str>, &'static str);

const NO_ERROR: Option<&str> = Some("no error");

/// Distribution 3.1.2 beside Berth.
const OTHERWISE: &[Otherwise] = &[
    (&["* by libtrust's name of a certificate"], Some("invalid_token"), "what 2.8 calls keys by is forgotten in 3"),
    (
        &["ES* by the thumbprint of a certificate"],
        None,
        "RFC 7638 takes coordinates in their full length; Distribution leaves out zeros in front, and Berth takes both",
    ),
    (&["a fraction of a second"], NO_ERROR, "RFC 7519, 2: a date may have a fraction"),
    (
        &[
            "HS* by *",
            "kid of another key",
            "kid of a key of another kind",
            "x5c of others, signed by a stranger",
            "jwk of a stranger by our name",
            "other claims",
            "no signature",
            "half of the signature",
            "a signature of *",
            "a signature in DER",
            "claims that are no JSON",
            "ends at a text",
            "* twice",
        ],
        NO_ERROR,
        "RFC 6750, 3.1: a token that is invalid for any reason is told of as invalid_token",
    ),
    (&["alg twice"], Some("invalid_token"), "as Berth"),
    (&["crit"], Some(""), "RFC 7515, 4.1.11: what is critical and not understood makes a token invalid"),
    (&["too large"], Some("insufficient_scope"), "a token has a bound here"),
];

/// A server that asks for tokens.
fn start(program: &Program, directory: &Path, keys: &str) -> Result<Peer> {
    let mut setup = Setup::filesystem(directory, &directory.join("data"));
    setup.config += &format!(
        "auth: {{token: {{realm: 'https://auth.example/token', service: registry.example, \
         issuer: 'https://auth.example', {keys}}}}}\n"
    );
    Peer::start(program, &setup)
}

/// What a server answers to a token, in short.
async fn answered(server: &Peer, token: &str) -> Result<String> {
    let question = Question::get(TARGET).with("authorization", format!("Bearer {token}"));
    let answer = ask(server.address(), &question).await?;
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    Ok(match (answer.status.as_u16(), challenge.strip_prefix(CHALLENGE)) {
        (404, _) => String::new(),
        (401, Some("")) => "no error".to_owned(),
        (401, Some(error)) => error.trim_start_matches(",error=").trim_matches('"').to_owned(),
        (status, _) => format!("{status} {challenge}"),
    })
}

#[tokio::test]
async fn tokens_of_another_program_are_believed_and_bad_ones_are_refused_as_clients_expect() -> Result<()> {
    let toolbox = tools::ensure(&Cache::from_env()?, &[tools::TOKENS])?;
    let temp = tempfile::tempdir()?;
    let mut signing = Command::new(toolbox.program(&tools::TOKENS));
    signing.arg(temp.path());
    run::checked(signing)?;
    let cases = std::fs::read(temp.path().join("cases.json"))?;
    let cases: Vec<Case> = serde_json::from_slice(&cases).context("cases.json")?;
    let (bundle, set) = (temp.path().join("bundle.pem"), temp.path().join("keys.json"));
    let old = temp.path().join("bundle-2.8.pem");
    let both = format!("rootcertbundle: {}, jwks: {}", bundle.display(), set.display());
    let lab = lab();
    let directory = |name: &str| -> Result<std::path::PathBuf> {
        let directory = temp.path().join(name);
        std::fs::create_dir(&directory)?;
        Ok(directory)
    };
    let berth = start(&lab.berth, &directory("berth")?, &both)?;
    let three = start(&lab.distribution_3, &directory("three")?, &both)?;
    let two = start(&lab.distribution_2, &directory("two")?, &format!("rootcertbundle: {}", old.display()))?;

    let (mut wrong, mut otherwise) = (Vec::new(), 0);
    for case in &cases {
        let ours = answered(&berth, &case.token).await.with_context(|| case.name.clone())?;
        if ours != case.want {
            wrong.push(format!("{}: Berth answers {ours:?}, and not {:?}", case.name, case.want));
        }
        let theirs = answered(&three, &case.token).await.with_context(|| case.name.clone())?;
        // The last that fits is the most exact one.
        let known = OTHERWISE.iter().rfind(|(names, ..)| names.iter().any(|name| matches(name, &case.name)));
        let expected = known.map_or(Some(case.want.as_str()), |(_, answer, _)| *answer);
        otherwise += usize::from(theirs != case.want);
        if expected.is_some_and(|expected| theirs != expected) {
            wrong.push(format!("{}: Distribution 3 answers {theirs:?}, and not {expected:?}", case.name));
        }
    }
    // What Docker Registry 2.8 believes.
    let mut of_two = 0;
    for case in cases.iter().filter(|case| case.want.is_empty()) {
        let is_old = ["RS", "ES"].iter().any(|kind| case.name.starts_with(kind))
            && ["by x5c", "by libtrust's name of a certificate"].iter().any(|way| case.name.ends_with(way));
        if is_old {
            of_two += 1;
            let theirs = answered(&two, &case.token).await?;
            if !theirs.is_empty() {
                wrong.push(format!("{}: Docker Registry 2.8 answers {theirs:?}", case.name));
            }
        }
    }
    for server in [berth, three, two] {
        server.stop()?;
    }
    let bad = cases.iter().filter(|case| !case.want.is_empty()).count();
    println!(
        "{} good tokens, {of_two} of them at Docker Registry 2.8 as well, and {bad} bad ones; {otherwise} answered otherwise by Distribution 3",
        cases.len() - bad,
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(bad >= FEWEST_BAD, "{bad} bad tokens");
    Ok(())
}
