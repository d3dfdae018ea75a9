//! Tokens that the server itself has issued.

use std::path::Path;

use serde_json::json;

use super::mint::{EVERYTHING, Mint};
use super::{Class, EVERYBODY, Everybody, OF_ROOT, Proof, Scheme, headers, rules};
use crate::caller::Handshake;
use crate::lab::basic;

const ABOUT: &str = "\
Each has asked the issuer for everything, by a password, and has a token for what the rules grant. *Of root* is a token of somebody
whom the rules grant everything, and who has asked for less: the token counts, and not the rules. *A password* is one that the
issuer takes, and that says nothing here.
";
const ABOUT_EVERYBODY: &str = "\
What is for everybody is so with every token that counts, whatever it is for. *Everybody's* is one for which nobody has said a
name.
";

fn bearer(token: impl std::fmt::Display) -> Option<String> {
    Some(format!("Bearer {token}"))
}

/// By rules alone, and where everybody may pull.
pub(super) async fn schemes(directory: &Path) -> [Scheme; 2] {
    let rules = format!("rules: [{}, {OF_ROOT}]", rules(""));
    [ruled(&directory.join("issuer"), &rules).await, for_everybody(&directory.join("issuer-everybody"), &rules).await]
}

async fn root(mint: &mut Mint) -> Option<Proof> {
    let token = mint.token(Some("root"), &EVERYTHING).await;
    Some(Proof { header: bearer(token), handshake: Handshake::Plain })
}

async fn ruled(files: &Path, rules: &str) -> Scheme {
    let services = ", services: [elsewhere]";
    let mut mint = Mint::start(files, services, rules).await;
    let right = mint.token(Some("alice"), &EVERYTHING).await;
    let past = json!(jiff::Timestamp::now().as_second() - 3600);
    let tokens = vec![
        ("none", Class::None, None),
        ("malformed", Class::Bad, bearer("a.b.c")),
        ("forged", Class::Bad, bearer(mint.forged(&right))),
        ("too old", Class::Bad, bearer(mint.changed(&right, &[("exp", past)]))),
        ("for another registry", Class::Bad, bearer(mint.token_for("elsewhere", "root").await)),
        ("a refresh token", Class::Bad, bearer(mint.refresh_token("root").await)),
        // It says nothing here.
        ("a password", Class::None, Some(basic("root", "root's"))),
        ("for nothing, of root", Class::Nothing, bearer(mint.token(Some("root"), &[]).await)),
        ("another repository's", Class::Other, bearer(mint.token(Some("other"), &EVERYTHING).await)),
        ("another repository's, of root", Class::Other, bearer(mint.token(Some("root"), &EVERYTHING[1..2]).await)),
        ("to pull", Class::Pull, bearer(mint.token(Some("reader"), &EVERYTHING).await)),
        ("to pull, of root", Class::Pull, bearer(mint.token(Some("root"), &["repository:team/app:pull"]).await)),
        ("to pull and push", Class::Push, bearer(mint.token(Some("writer"), &EVERYTHING).await)),
        ("right", Class::Right, bearer(right)),
    ];
    let (auth, root) = (mint.auth(services, rules), root(&mut mint).await);
    mint.stop().await;
    Scheme {
        shown: "Tokens of this server's issuer",
        about: ABOUT,
        auth,
        tls: None,
        root,
        credentials: headers(tokens),
        everybody: Everybody::Nothing,
        lists_everything: false,
    }
}

async fn for_everybody(files: &Path, rules: &str) -> Scheme {
    let rules = format!("{EVERYBODY}, {rules}");
    let mut mint = Mint::start(files, "", &rules).await;
    let right = mint.token(Some("alice"), &EVERYTHING).await;
    let tokens = vec![
        ("none", Class::None, None),
        ("malformed", Class::Bad, bearer("a.b.c")),
        ("forged", Class::Bad, bearer(mint.forged(&right))),
        ("everybody's", Class::Nothing, bearer(mint.token(None, &EVERYTHING).await)),
        ("for nothing, of root", Class::Nothing, bearer(mint.token(Some("root"), &[]).await)),
        ("another repository's", Class::Other, bearer(mint.token(Some("other"), &EVERYTHING).await)),
        ("right", Class::Right, bearer(right)),
    ];
    let (auth, root) = (mint.auth("", &rules), root(&mut mint).await);
    mint.stop().await;
    Scheme {
        shown: "Tokens of this server's issuer, and everybody may pull",
        about: ABOUT_EVERYBODY,
        auth,
        tls: None,
        root,
        credentials: headers(tokens),
        everybody: Everybody::Pull,
        lists_everything: false,
    }
}
