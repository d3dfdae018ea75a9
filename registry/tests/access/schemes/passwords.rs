//! Names and passwords, and no method at all.

use std::path::Path;

use super::{Class, Credentials, EVERYBODY, Everybody, OF_ROOT, Proof, Scheme, USERS, auth, headers, rules};
use crate::caller::Handshake;
use crate::lab::{basic, write_users};

fn user(name: &str) -> Option<String> {
    Some(basic(name, &format!("{name}'s")))
}

fn credentials(good: Vec<(&'static str, Class, Option<String>)>) -> Vec<Credentials> {
    let bad = vec![
        ("none", Class::None, None),
        ("malformed", Class::Bad, Some("Basic !".to_owned())),
        ("wrong password", Class::Bad, Some(basic("alice", "bob's"))),
        ("unknown name", Class::Bad, Some(basic("nobody", "alice's"))),
    ];
    headers([bad, good].concat())
}

/// With rules; where everybody may pull; the same without names; where any will do; and where nobody is asked for one.
pub(super) fn schemes(directory: &Path) -> [Scheme; 5] {
    write_users(directory, &USERS);
    let htpasswd = format!("htpasswd: {{realm: docks, path: {}}}", directory.join("htpasswd").display());
    let root = || Some(Proof { header: user("root"), handshake: Handshake::Plain });
    let ruled = vec![
        ("another repository's", Class::Other, user("other")),
        ("to pull", Class::Pull, user("reader")),
        ("to pull and push", Class::Push, user("writer")),
        ("right", Class::Right, user("alice")),
    ];
    let any = || headers(vec![("none", Class::None, None), ("any", Class::None, user("alice"))]);
    [
        Scheme {
            shown: "Names and passwords, with rules",
            about: "",
            auth: auth(&format!("{{{htpasswd}, rules: [{}, {OF_ROOT}]}}", rules(""))),
            tls: None,
            root: root(),
            credentials: credentials(ruled),
            everybody: Everybody::Nothing,
            lists_everything: false,
        },
        Scheme {
            shown: "Names and passwords, and everybody may pull",
            about: "",
            auth: auth(&format!("{{{htpasswd}, {EVERYBODY}}}")),
            tls: None,
            root: root(),
            credentials: credentials(vec![("right", Class::Right, user("alice"))]),
            everybody: Everybody::Pull,
            lists_everything: true,
        },
        Scheme {
            shown: "No method, and everybody may pull",
            about: "",
            auth: auth(&format!("{{{EVERYBODY}}}")),
            tls: None,
            root: None,
            credentials: any(),
            everybody: Everybody::Pull,
            lists_everything: false,
        },
        Scheme {
            shown: "Anything at all (`silly`)",
            about: "For tests of clients: whoever sends any `Authorization` may do everything.\n",
            auth: auth("{silly: {realm: 'http://localhost/token', service: docks}}"),
            tls: None,
            root: root(),
            credentials: headers(vec![
                ("none", Class::None, None),
                ("any", Class::Right, Some("anything".to_owned())),
                ("a password", Class::Right, user("alice")),
            ]),
            everybody: Everybody::Nothing,
            lists_everything: true,
        },
        Scheme {
            shown: "No `auth`",
            about: "",
            auth: None,
            tls: None,
            root: Some(Proof::default()),
            credentials: any(),
            everybody: Everybody::Everything,
            lists_everything: true,
        },
    ]
}
