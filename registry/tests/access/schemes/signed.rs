//! Tokens that another service has signed.

use std::path::Path;

use super::{Class, Everybody, Proof, Scheme, auth, headers};
use crate::caller::Handshake;
use crate::support::jwt::{Signer, set};

pub(super) fn scheme(directory: &Path) -> Scheme {
    let (signer, forger, keys) = (Signer::new("mine"), Signer::new("mine"), directory.join("keys.json"));
    std::fs::write(&keys, set(&[&signer])).unwrap();
    let everything = ["repository:team/app:*", "registry:catalog:*"];
    let past = jiff::Timestamp::now().as_second() - 3600;
    let tokens = vec![
        ("none", Class::None, None),
        ("malformed", Class::Bad, Some("Bearer a.b.c".to_owned())),
        ("forged", Class::Bad, Some(forger.bearer(&everything))),
        ("too old", Class::Bad, Some(signer.bearer_until(past, &everything))),
        ("another repository's", Class::Other, Some(signer.bearer(&["repository:other/app:pull,push,delete"]))),
        ("to pull", Class::Pull, Some(signer.bearer(&["repository:team/app:pull"]))),
        ("to pull and push", Class::Push, Some(signer.bearer(&["repository:team/app:pull,push"]))),
        ("right", Class::Right, Some(signer.bearer(&everything))),
    ];
    let root = signer.bearer(&["repository:team/app:*", "repository:other/app:*"]);
    Scheme {
        shown: "Tokens of another service",
        about: "",
        auth: auth(&format!(
            "{{token: {{realm: 'https://auth.example/token', service: registry, issuer: issuer, jwks: {}}}}}",
            keys.display()
        )),
        tls: None,
        root: Some(Proof { header: Some(root), handshake: Handshake::Plain }),
        credentials: headers(tokens),
        everybody: Everybody::Nothing,
        lists_everything: true,
    }
}
