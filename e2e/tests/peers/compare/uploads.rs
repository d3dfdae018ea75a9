//! Blobs that are pushed in every way, and uploads that go wrong.

use anyhow::Result;

use crate::content::Blob;
use crate::fill::subject;
use crate::http::{Answer, Question};
use crate::interview::Interview;
use crate::push::{self, with_parameter};

const UPLOADS: &str = "/v2/uploaded/blobs/uploads/";
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

pub(crate) async fn all(to: &mut Interview) -> Result<()> {
    begin(to).await?;
    mount(to).await?;
    in_one(to).await?;
    chunks(to).await?;
    bad_chunks(to).await?;
    bad_ends(to).await?;
    cancel(to).await?;
    strangers(to).await?;
    addresses(to).await
}

fn post(target: impl Into<String>) -> Question {
    Question::new("POST", target)
}

fn patch(location: &str, chunk: &[u8]) -> Question {
    Question::new("PATCH", location).with(OCTETS.0, OCTETS.1).body(chunk.to_vec())
}

fn put(location: &str, digest: &str, rest: &[u8]) -> Question {
    let target = with_parameter(location, &format!("digest={digest}"));
    Question::new("PUT", target).with(OCTETS.0, OCTETS.1).body(rest.to_vec())
}

/// Where an upload goes on: what the answer says, or, if it says nothing, where it was.
fn next(answer: &Answer, before: &str) -> String {
    push::location(answer).unwrap_or_else(|_| before.to_owned())
}

async fn begin(to: &mut Interview) -> Result<()> {
    let table = [
        ("begun", post(UPLOADS)),
        ("without a slash", post("/v2/uploaded/blobs/uploads")),
        ("with a content length", post(UPLOADS).with("content-length", "0")),
        ("of a malformed name", post("/v2/Uploaded/blobs/uploads/")),
        ("with a body", post(UPLOADS).with(OCTETS.0, OCTETS.1).body("body")),
        ("GET", Question::get(UPLOADS)),
        ("HEAD", Question::new("HEAD", UPLOADS)),
        ("PUT", Question::new("PUT", UPLOADS)),
        ("PATCH", Question::new("PATCH", UPLOADS)),
        ("DELETE", Question::new("DELETE", UPLOADS)),
    ];
    for (name, question) in table {
        to.ask(format!("begin/{name}"), question).await?;
    }
    Ok(())
}

async fn mount(to: &mut Interview) -> Result<()> {
    let layer = subject().blobs.swap_remove(1).digest;
    let unknown = format!("sha256:{}", "ee".repeat(32));
    let table = [
        ("mounted", format!("mount={layer}&from=library%2Fapp")),
        ("mounted again", format!("mount={layer}&from=library%2Fapp")),
        ("from itself", format!("mount={layer}&from=uploaded")),
        ("from no one", format!("mount={layer}")),
        ("from where it is not", format!("mount={layer}&from=legacy")),
        ("from an unknown repository", format!("mount={layer}&from=no%2Fsuch")),
        ("from a malformed name", format!("mount={layer}&from=Library")),
        ("from nothing", format!("mount={layer}&from=")),
        ("with from in front", format!("from=library%2Fapp&mount={layer}")),
        ("from two", format!("mount={layer}&from=no%2Fsuch&from=library%2Fapp")),
        ("of sha512", format!("mount=sha512:{}&from=library%2Fapp", "ab".repeat(64))),
        ("of upper case", format!("mount={}&from=library%2Fapp", layer.to_uppercase())),
        ("an unknown blob", format!("mount={unknown}&from=library%2Fapp")),
        ("a malformed digest", "mount=sha256:xyz&from=library%2Fapp".to_owned()),
        ("no digest", "mount=&from=library%2Fapp".to_owned()),
        ("only from", "from=library%2Fapp".to_owned()),
    ];
    for (name, query) in table {
        to.ask(format!("mount/{name}"), post(format!("{UPLOADS}?{query}"))).await?;
    }
    let question = Question::new("HEAD", format!("/v2/uploaded/blobs/{layer}"));
    to.ask("mount/read", question).await.map(drop)
}

async fn in_one(to: &mut Interview) -> Result<()> {
    let blob = Blob::random("in one request", 5_000);
    let whole =
        |digest: &str| post(format!("{UPLOADS}?digest={digest}")).with(OCTETS.0, OCTETS.1).body(blob.bytes.clone());
    to.ask("in one/POST", whole(&blob.digest)).await?;
    to.ask("in one/POST/read", Question::get(format!("/v2/uploaded/blobs/{}", blob.digest))).await?;
    to.ask("in one/POST of another digest", whole(&format!("sha256:{}", "dd".repeat(32)))).await?;
    to.ask("in one/POST of a malformed digest", whole("sha256:xyz")).await?;
    for (name, blob) in [("PUT", Blob::random("POST and PUT", 6_000)), ("PUT of nothing", Blob::of(""))] {
        let begun = to.ask(format!("in one/{name}/begin"), post(UPLOADS)).await?;
        let location = push::location(&begun)?;
        to.ask(format!("in one/{name}"), put(&location, &blob.digest, &blob.bytes)).await?;
        to.ask(format!("in one/{name}/read"), Question::get(format!("/v2/uploaded/blobs/{}", blob.digest))).await?;
        to.ask(format!("in one/{name}/again"), put(&location, &blob.digest, &blob.bytes)).await?;
        to.ask(format!("in one/{name}/status"), Question::get(location)).await?;
    }
    Ok(())
}

async fn chunks(to: &mut Interview) -> Result<()> {
    let blob = Blob::random("in chunks", 3_000);
    let begun = to.ask("chunks/begin", post(UPLOADS)).await?;
    let mut location = push::location(&begun)?;
    to.ask("chunks/status before", Question::get(location.clone())).await?;
    for (number, (start, end)) in [(0, 1_000), (1_000, 1_001), (1_001, 2_500)].into_iter().enumerate() {
        let chunk = patch(&location, &blob.bytes[start..end]).with("content-range", format!("{start}-{}", end - 1));
        let answer = to.ask(format!("chunks/{number}"), chunk).await?;
        location = next(&answer, &location);
        let answer = to.ask(format!("chunks/{number}/status"), Question::get(location.clone())).await?;
        location = next(&answer, &location);
    }
    to.ask("chunks/status by HEAD", Question::new("HEAD", location.clone())).await?;
    let last = put(&location, &blob.digest, &blob.bytes[2_500..]).with("content-range", "2500-2999");
    to.ask("chunks/end", last).await?;
    to.ask("chunks/read", Question::get(format!("/v2/uploaded/blobs/{}", blob.digest))).await?;

    let blob = Blob::random("streamed", 2_000);
    let location = push::location(&to.ask("stream/begin", post(UPLOADS)).await?)?;
    let answer = to.ask("stream/all at once", patch(&location, &blob.bytes)).await?;
    to.ask("stream/end", put(&next(&answer, &location), &blob.digest, &[])).await?;

    let location = push::location(&to.ask("chunk of nothing/begin", post(UPLOADS)).await?)?;
    to.ask("chunk of nothing", patch(&location, &[])).await.map(drop)
}

async fn bad_chunks(to: &mut Interview) -> Result<()> {
    let table: [(&str, &str, &[u8]); 18] = [
        ("a gap", "20-29", b"0123456789"),
        ("an overlap", "0-9", b"0123456789"),
        ("shorter than it says", "10-29", b"0123456789"),
        ("longer than it says", "10-12", b"0123456789"),
        ("backwards", "19-10", b"0123456789"),
        ("no range", "many", b"0123456789"),
        ("a unit", "bytes 10-19/20", b"0123456789"),
        ("a unit and no total", "bytes 10-19/*", b"0123456789"),
        ("beyond numbers", "10-99999999999999999999", b"0123456789"),
        ("no end", "10-", b"0123456789"),
        ("no beginning", "-19", b"0123456789"),
        ("a total", "10-19/20", b"0123456789"),
        ("an equals sign", "bytes=10-19", b"0123456789"),
        ("spaces", "10 - 19", b"0123456789"),
        ("three numbers", "10-19-29", b"0123456789"),
        ("a plus", "+10-19", b"0123456789"),
        ("an empty one", "", b"0123456789"),
        ("the next", "10-19", b"0123456789"),
    ];
    for (name, range, chunk) in table {
        let location = push::begin(to.server, "uploaded").await?;
        let location = push::append(to.server, &location, 0, b"0123456789").await?;
        let question = patch(&location, chunk).with("content-range", range);
        let answer = to.ask(format!("bad chunk/{name}"), question).await?;
        let location = next(&answer, &location);
        to.ask(format!("bad chunk/{name}/status"), Question::get(location)).await?;
    }
    let location = push::begin(to.server, "uploaded").await?;
    let later = push::append(to.server, &location, 0, b"0123456789").await?;
    to.ask("bad chunk/old location", patch(&location, b"more")).await?;
    to.ask(
        "bad chunk/first with a gap",
        patch(&push::begin(to.server, "uploaded").await?, b"01").with("content-range", "5-6"),
    )
    .await?;
    to.ask("bad chunk/of no type", Question::new("PATCH", later).body("more")).await?;
    let location = push::begin(to.server, "uploaded").await?;
    let json = Question::new("PATCH", location).with("content-type", "application/json").body("{}");
    to.ask("bad chunk/of another type", json).await.map(drop)
}

async fn bad_ends(to: &mut Interview) -> Result<()> {
    let blob = Blob::random("a bad end", 1_000);
    let other = Blob::random("another", 10).digest;
    let table = [
        ("no digest", None),
        ("an empty digest", Some(String::new())),
        ("malformed digest", Some("sha256:xyz".to_owned())),
        ("digest of an unknown algorithm", Some("md5:d41d8cd98f00b204e9800998ecf8427e".to_owned())),
        ("another digest", Some(other)),
        ("digest of sha512", Some(format!("sha512:{}", "ab".repeat(64)))),
    ];
    for (name, digest) in table {
        let location = push::begin(to.server, "uploaded").await?;
        let location = push::append(to.server, &location, 0, &blob.bytes).await?;
        let target = match digest {
            Some(digest) => with_parameter(&location, &format!("digest={digest}")),
            None => location.clone(),
        };
        to.ask(format!("bad end/{name}"), Question::new("PUT", target)).await?;
        to.ask(format!("bad end/{name}/status"), Question::get(location.clone())).await?;
        to.ask(format!("bad end/{name}/then the right one"), put(&location, &blob.digest, &[])).await?;
    }
    let location = push::begin(to.server, "uploaded").await?;
    let location = push::append(to.server, &location, 0, &blob.bytes[..500]).await?;
    let rest = || put(&location, &blob.digest, &blob.bytes[500..]);
    for (name, range) in [
        ("a gap", "600-1099"),
        ("an overlap", "400-899"),
        ("backwards", "999-500"),
        ("a malformed range", "many"),
        ("a unit", "bytes 500-999/1000"),
        ("another length", "500-998"),
    ] {
        to.ask(format!("bad end/{name}"), rest().with("content-range", range)).await?;
        to.ask(format!("bad end/{name}/status"), Question::get(location.clone())).await?;
    }
    to.ask("bad end/all is well", rest().with("content-range", "500-999")).await?;

    let location = push::begin(to.server, "uploaded").await?;
    let whole = put(&location, &format!("sha256:{}", "cc".repeat(32)), &blob.bytes);
    to.ask("bad end/all at once with another digest", whole).await?;
    let status = to.ask("bad end/all at once with another digest/status", Question::get(location.clone())).await?;
    let right = put(&next(&status, &location), &blob.digest, &[]);
    to.ask("bad end/all at once with another digest/then the right one", right).await.map(drop)
}

async fn cancel(to: &mut Interview) -> Result<()> {
    let location = push::begin(to.server, "uploaded").await?;
    let location = push::append(to.server, &location, 0, b"0123456789").await?;
    for method in ["POST", "OPTIONS", "FOO"] {
        to.ask(format!("cancel/{method}"), Question::new(method, location.clone())).await?;
    }
    to.ask("cancel/done", Question::new("DELETE", location.clone())).await?;
    to.ask("cancel/again", Question::new("DELETE", location.clone())).await?;
    to.ask("cancel/status", Question::get(location.clone())).await?;
    to.ask("cancel/chunk", patch(&location, b"more")).await?;
    to.ask("cancel/end", put(&location, &Blob::of("0123456789").digest, &[])).await.map(drop)
}

/// Requests for uploads that are not theirs.
async fn strangers(to: &mut Interview) -> Result<()> {
    let location = push::begin(to.server, "uploaded").await?;
    let path = location.split('?').next().unwrap_or_default().to_owned();
    let elsewhere = location.replacen("/uploaded/", "/elsewhere/", 1);
    let id = "6fa459ea-ee8a-4ca4-894e-db77e160355e";
    let table = [
        ("another repository", Question::get(elsewhere.clone())),
        ("chunk to another repository", patch(&elsewhere, b"more")),
        ("no state", Question::get(path.clone())),
        ("chunk without state", patch(&path, b"more")),
        ("end without state", put(&path, &Blob::of("").digest, &[])),
        ("cancel without state", Question::new("DELETE", path.clone())),
        ("made-up state", patch(&format!("{path}?_state=bWFkZSB1cA=="), b"more")),
        ("state that is no Base64", patch(&format!("{path}?_state=!!!"), b"more")),
        ("unknown upload", Question::get(format!("{UPLOADS}{id}"))),
        ("chunk to an unknown upload", patch(&format!("{UPLOADS}{id}"), b"more")),
        ("malformed identity", Question::get(format!("{UPLOADS}none"))),
        ("chunk to a malformed identity", patch(&format!("{UPLOADS}none"), b"more")),
        ("end of a malformed identity", put(&format!("{UPLOADS}none"), &Blob::of("").digest, &[])),
        ("cancel of a malformed identity", Question::new("DELETE", format!("{UPLOADS}none"))),
        ("HEAD of a malformed identity", Question::new("HEAD", format!("{UPLOADS}none"))),
        ("identity with odd letters", Question::get(format!("{UPLOADS}a.b_c="))),
        ("identity with letters that none has", Question::get(format!("{UPLOADS}a~b"))),
        ("unknown upload/HEAD", Question::new("HEAD", format!("{UPLOADS}{id}"))),
    ];
    for (name, question) in table {
        let answer = to.ask(format!("strangers/{name}"), question).await?;
        // Identities that only the question knew.
        drop(answer);
    }
    to.ask("strangers/it is still there", Question::get(location)).await.map(drop)
}

/// What addresses in answers are made of.
async fn addresses(to: &mut Interview) -> Result<()> {
    let table: [(&str, &[(&str, &str)]); 16] = [
        ("host", &[("host", "registry.example.com")]),
        ("host and port", &[("host", "registry.example.com:8443")]),
        ("forwarded protocol", &[("x-forwarded-proto", "https")]),
        ("forwarded host", &[("x-forwarded-host", "front.example.com")]),
        ("forwarded host and protocol", &[("x-forwarded-proto", "https"), ("x-forwarded-host", "front.example.com")]),
        ("forwarded hosts", &[("x-forwarded-host", "one.example.com, two.example.com")]),
        ("forwarded port", &[("x-forwarded-host", "front.example.com"), ("x-forwarded-port", "8443")]),
        ("Forwarded", &[("forwarded", "for=10.0.0.1;host=front.example.com;proto=https")]),
        ("Forwarded host", &[("forwarded", "host=front.example.com")]),
        ("Forwarded protocol", &[("forwarded", "proto=https")]),
        ("Forwarded in quotes", &[("forwarded", "for=\"[2001:db8::1]\";host=\"front.example.com:8443\";proto=https")]),
        ("Forwarded of two", &[("forwarded", "host=one.example.com;proto=https, host=two.example.com;proto=http")]),
        ("Forwarded in upper case", &[("forwarded", "Host=front.example.com;Proto=https")]),
        ("Forwarded for alone", &[("forwarded", "for=10.0.0.1"), ("x-forwarded-proto", "https")]),
        ("Forwarded that is malformed", &[("forwarded", ";;="), ("x-forwarded-host", "front.example.com")]),
        (
            "Forwarded and others",
            &[("forwarded", "host=new.example.com;proto=https"), ("x-forwarded-host", "old.example.com")],
        ),
    ];
    for (name, headers) in table {
        let question = headers.iter().fold(post(UPLOADS), |question, (key, value)| question.with(key, *value));
        to.ask(format!("addresses/{name}"), question).await?;
    }
    let question = Question::get("/v2/_catalog?n=1").with("x-forwarded-host", "front.example.com");
    to.ask("addresses/link", question.with("x-forwarded-proto", "https")).await.map(drop)
}
