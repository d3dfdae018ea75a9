use super::*;
use crate::{
    Settings,
    registry::{
        render::build_config,
        validate::{ValidRegistry, validate},
    },
};
use berth_config::{Config, Duration};
use serde_json::{Value, json};

fn registry(fields: &Value) -> Result<ValidRegistry, Problems> {
    let mut spec = json!({"storage": {"emptyDir": {}}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
        "metadata": {"name": "main", "namespace": "apps"}, "spec": spec}))
    .unwrap();
    validate(&registry, &Settings::default())
}

/// What is said of a spec; and where nothing is, that the server takes what it would be told.
fn check(fields: &Value, expected: &[&str]) {
    let found = match registry(fields) {
        Ok(valid) => {
            let config = build_config(&valid);
            assert_eq!(Config::load(&config.to_yaml(), []).unwrap().config, config, "{fields}");
            Vec::new()
        }
        Err(problems) => problems.lines(),
    };
    assert_eq!(found, expected, "{fields}");
}

fn check_auth(auth: &Value, expected: &[&str]) {
    check(&json!({ "auth": auth }), expected);
}

fn everything() -> Value {
    json!({"users": ["*"], "repositories": ["**"], "actions": ["*"]})
}

fn oidc() -> Value {
    json!({"name": "keycloak", "url": "https://id.example/realms/dev", "audience": "registry"})
}

fn with(mut value: Value, fields: &Value) -> Value {
    value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    value
}

#[test]
fn methods() {
    let users = json!({"secretRef": {"name": "users"}});
    let public = json!([{"repositories": ["public/**"], "actions": ["pull"]}]);
    check_auth(&json!({ "htpasswd": users }), &[]);
    check_auth(&json!({"htpasswd": users, "anonymous": public, "rules": [everything()]}), &[]);
    check_auth(&json!({ "anonymous": public }), &[]);
    check_auth(
        &json!({}),
        &[
            "spec.auth: lets nobody in: add one of htpasswd, token and issuer, or anonymous, or leave auth out to let everybody \
           do everything",
        ],
    );
    check_auth(
        &json!({"anonymous": public, "rules": [everything()]}),
        &[
            "spec.auth.rules: name people, and nobody can say who they are: add one of htpasswd, token and issuer, or use \
           anonymous for what everybody may do",
        ],
    );
    check_auth(
        &json!({"htpasswd": users, "issuer": {"htpasswd": users}}),
        &["spec.auth: names two methods: keep at most one of htpasswd, token and issuer"],
    );
    check_auth(
        &json!({"htpasswd": {"secretRef": {"name": "a/b"}, "realm": "Zürich"}}),
        &[
            "spec.auth.htpasswd.secretRef.name: must be the name of an object in the same namespace: a-z, 0-9, '-' and '.'",
            "spec.auth.htpasswd.realm: must be of ASCII characters that can be printed: clients get it in a header",
        ],
    );
}

#[test]
fn rules_are_refused_with_the_words_of_the_server() {
    let of = |rule: Value| json!({"htpasswd": {"secretRef": {"name": "u"}}, "rules": [everything(), rule]});
    check_auth(
        &of(json!({"users": ["a", "{"], "repositories": ["Team", "a**"], "actions": ["pull"]})),
        &[
            "spec.auth.rules[1].users[1]: \"{\" is no pattern of names: a placeholder is a name in braces, such as {user}",
            "spec.auth.rules[1].repositories[0]: \"Team\" is no pattern of repositories: \"Team\" can be no part of a \
             repository's name: those are small letters and digits, with . _ __ or - between",
            "spec.auth.rules[1].repositories[1]: \"a**\" is no pattern of repositories: ** stands for whole components: a/**, \
             **/b, a/**/b",
        ],
    );
    check_auth(
        &of(json!({"repositories": ["a"], "actions": ["pull"]})),
        &["spec.auth.rules[1]: it names nobody: add users, groups, serviceAccounts, subjects or claims, or use \
           spec.auth.anonymous for everybody"],
    );
    check_auth(
        &of(json!({"users": ["a"], "repositories": [], "actions": ["pull"]})),
        &["spec.auth.rules[1]: it names no repositories"],
    );
    check_auth(
        &of(json!({"users": ["a"], "repositories": ["a"], "actions": []})),
        &["spec.auth.rules[1]: it grants no actions: add some of pull, push, delete, list, or *"],
    );
    check_auth(
        &json!({"anonymous": [{"repositories": ["***"], "actions": ["pull"]}, {"repositories": ["a"], "actions": []}]}),
        &[
            "spec.auth.anonymous[0].repositories[0]: \"***\" is no pattern of repositories: ** stands for whole components: \
             a/**, **/b, a/**/b",
            "spec.auth.anonymous[1]: it grants no actions: add some of pull, push, delete, list, or *",
        ],
    );
}

#[test]
fn nobody_is_named_by_what_nobody_has() {
    let strangers = json!({"groups": ["keycloak:dev"], "serviceAccounts": ["a/*"], "subjects": ["keycloak:*"],
        "claims": {"keycloak:environment": "prod"}, "repositories": ["**"], "actions": ["*"]});
    let no_group = "spec.auth.rules[0].groups: nobody has any: name the claim that has them in \
                    spec.auth.issuer.oidc[].groupsClaim, or use users";
    let no_account = "spec.auth.rules[0].serviceAccounts: nobody is one: add spec.auth.issuer.serviceAccounts: {}";
    let no_subject = "spec.auth.rules[0].subjects: nobody has any: add their issuer to spec.auth.issuer.oidc";
    let no_claim = "spec.auth.rules[0].claims: \"keycloak:environment\" is no claim of an issuer in spec.auth.issuer.oidc: \
                    write NAME:CLAIM with the issuer's name";
    let of = |method: Value| with(method, &json!({ "rules": [strangers] }));
    let users = json!({"secretRef": {"name": "u"}});
    check_auth(&of(json!({ "htpasswd": users })), &[no_group, no_account, no_subject, no_claim]);
    check_auth(&of(json!({"issuer": { "htpasswd": users }})), &[no_group, no_account, no_subject, no_claim]);
    check_auth(&of(json!({"issuer": {"oidc": [oidc()]}})), &[no_group, no_account]);
    check_auth(&of(json!({"issuer": {"serviceAccounts": {}}})), &[no_group, no_subject, no_claim]);
    let all = json!({"oidc": [with(oidc(), &json!({"groupsClaim": "groups"}))], "serviceAccounts": {}});
    check_auth(&of(json!({ "issuer": all })), &[]);
    let needed = "spec.auth.rules: is missing beside spec.auth.issuer.oidc and serviceAccounts: without rules, everybody whom \
                  those know could do everything";
    check_auth(&json!({"issuer": {"oidc": [oidc()]}}), &[needed]);
    check_auth(&json!({"issuer": {"serviceAccounts": {}}}), &[needed]);
}

#[test]
fn a_token_service() {
    let of = |fields: Value| {
        let token = json!({"realm": "https://auth.example/token", "service": "registry.example",
            "issuer": "https://auth.example"});
        json!({"token": with(token, &fields)})
    };
    check_auth(&of(json!({"jwks": {"url": "https://auth.example/keys"}})), &[]);
    let trusted = json!({"url": "https://auth.example/keys", "ca": {"configMapRef": {"name": "ca"}}});
    check_auth(&of(json!({"jwks": trusted})), &[]);
    check_auth(
        &of(json!({"jwks": {"secretRef": {"name": "keys"}, "ca": {"secretRef": {"name": "ca"}}}})),
        &["spec.auth.token.jwks.ca: says whom url is trusted by: set url, or leave ca out"],
    );
    check_auth(&of(json!({"rootCertificates": {"secretRef": {"name": "ca"}}})), &[]);
    check_auth(&of(json!({})), &["spec.auth.token: names no key to check tokens with: set jwks or rootCertificates"]);
    check_auth(
        &of(json!({"jwks": {}, "realm": "auth.example", "issuer": "", "service": ""})),
        &[
            "spec.auth.token.realm: must be an address such as https://auth.example/token, without a name or password",
            "spec.auth.token.service: must be of ASCII characters that can be printed: clients get it in a header",
            "spec.auth.token.issuer: is missing: say who issues the tokens (iss)",
            "spec.auth.token.jwks: must have exactly one of url, configMapRef and secretRef",
        ],
    );
    check_auth(
        &of(json!({"jwks": {"url": "http://auth.example/keys"}})),
        &[
            "spec.auth.token.jwks.url: must be an address that begins with https://, without a name or password: with http:// \
           whoever is in between could put other keys there",
        ],
    );
    check_auth(
        &of(json!({"jwks": {"secretRef": {"name": "a", "key": "a/b"}}, "rootCertificates": {}})),
        &[
            "spec.auth.token.jwks.secretRef.key: must be a key of a Secret or ConfigMap: letters, digits, '-', '_' and '.'",
            "spec.auth.token.rootCertificates: must have exactly one of configMapRef and secretRef",
        ],
    );
}

#[test]
fn the_issuer() {
    let of = |fields: Value| {
        let issuer = json!({"htpasswd": {"secretRef": {"name": "users"}}});
        json!({"issuer": with(issuer, &fields), "rules": [everything()]})
    };
    check_auth(&of(json!({})), &[]);
    check_auth(
        &of(json!({"url": "https://registry.example/auth/"})),
        &[
            "spec.auth.issuer.url: must be an address such as https://registry.example/auth: no slash at its end, no name or \
           password, no query and no fragment",
        ],
    );
    check_auth(
        &of(
            json!({"tokenExpiry": "30s", "refreshTokens": {"expiry": "often"}, "keys": {"rotateEvery": "1s", "publishFor": "2d"}}),
        ),
        &[
            "spec.auth.issuer.tokenExpiry: 30s is not from 1m to 24h",
            "spec.auth.issuer.refreshTokens.expiry: duration \"often\" has a part without a known unit: use ns, us, ms, s, \
             m, h or d, as in 1h30m",
            "spec.auth.issuer.keys.rotateEvery: 1s is not from 1m to 87600h",
            "spec.auth.issuer.keys.publishFor: 2d is not from 10s to 24h",
        ],
    );
    check_auth(
        &of(json!({"oidc": [with(oidc(), &json!({"url": "http://id.example"}))]})),
        &[
            "spec.auth.issuer.oidc[0].url: must be an address such as https://id.example/realms/dev: with http:// whoever is in \
           between could put other keys there, and it holds no name, password or query",
        ],
    );
    // What follows is said by the server's own check.
    for (fields, expected) in [
        (json!({"htpasswd": null}), "spec.auth.issuer: knows nobody: add htpasswd, oidc or serviceAccounts"),
        (
            json!({"tokenExpiry": "2h", "refreshTokens": {"expiry": "1h"}}),
            "spec.auth.issuer.refreshTokens.expiry: must not be less than spec.auth.issuer.tokenExpiry, 2h",
        ),
        (json!({"services": ["a", "main.apps"]}), "spec.auth.issuer.services[1]: \"main.apps\" is there twice"),
        (json!({"services": ["a", "a"]}), "spec.auth.issuer.services[1]: \"a\" is there twice"),
        (
            json!({"oidc": [oidc(), with(oidc(), &json!({"url": "https://other"}))]}),
            "spec.auth.issuer.oidc[1].name: another issuer has the same",
        ),
        (
            json!({"oidc": [oidc(), with(oidc(), &json!({"name": "other"}))]}),
            "spec.auth.issuer.oidc[1].url: another issuer has the same",
        ),
        (
            json!({"url": "https://id.example/realms/dev", "oidc": [oidc()]}),
            "spec.auth.issuer.oidc[0].url: is this issuer itself",
        ),
        (
            json!({"oidc": [with(oidc(), &json!({"name": "system"}))]}),
            "spec.auth.issuer.oidc[0].name: \"system\" is not a name of a-z, 0-9 and '-'; nor may it be system",
        ),
        (
            json!({"oidc": [with(oidc(), &json!({"groupsClaim": ""}))]}),
            "spec.auth.issuer.oidc[0].groupsClaim: must be set",
        ),
    ] {
        check_auth(&of(fields), &[expected]);
    }
}

/// What nobody has said is what the Registry is called and where it is.
#[test]
fn defaults() {
    let issuer = |fields: &Value| {
        let auth = json!({"auth": {"issuer": {"serviceAccounts": {}, "htpasswd": {"secretRef": {"name": "u"}}},
            "rules": [everything()]}});
        registry(&with(auth, fields)).unwrap().issuer().unwrap().clone()
    };
    for (fields, expected) in [
        (json!({}), "http://main.apps.svc:5000/auth"),
        (json!({"service": {"port": 80}}), "http://main.apps.svc/auth"),
        (json!({"tls": {"secretRef": {"name": "tls"}}}), "https://main.apps.svc:5000/auth"),
        (json!({"tls": {"secretRef": {"name": "tls"}}, "service": {"port": 443}}), "https://main.apps.svc/auth"),
    ] {
        assert_eq!(issuer(&fields).url, expected, "{fields}");
    }
    let ValidIssuer { service, service_accounts, token_expiry, refresh_tokens, keys, .. } = issuer(&json!({}));
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    assert_eq!(service, "main.apps");
    assert_eq!(service_accounts, Some(ValidServiceAccounts { audience: "main.apps".into() }));
    assert_eq!(token_expiry, minutes(5));
    assert_eq!(refresh_tokens, ValidRefreshTokens { disabled: false, expiry: hours(720) });
    assert_eq!(keys, ValidKeys { rotate_every: hours(720), publish_for: minutes(5) });
}

#[test]
fn what_is_logged_of_decisions() {
    use berth_crds::AuditEvents;
    let auth = json!({"htpasswd": {"secretRef": {"name": "u"}}});
    for (fields, expected) in [
        (json!({}), None),
        (json!({"log": {"audit": "None"}}), Some(AuditEvents::None)),
        (json!({ "auth": auth }), Some(AuditEvents::Changes)),
        (json!({"auth": auth, "log": {"level": "error"}}), Some(AuditEvents::Changes)),
        (json!({"auth": auth, "log": {"audit": "All"}}), Some(AuditEvents::All)),
    ] {
        assert_eq!(registry(&fields).unwrap().log_audit, expected, "{fields}");
    }
}

#[test]
fn pull_secrets() {
    let issuer = json!({"issuer": {"htpasswd": {"secretRef": {"name": "users"}}}});
    let pull = |fields: &Value| {
        with(json!({"name": "pull", "namespaces": ["team-a", "team-b"], "repositories": ["team-a/**"]}), fields)
    };
    let of = |secrets: Value| json!({"auth": issuer, "pullSecrets": secrets});
    check(&of(json!([pull(&json!({}))])), &[]);
    check(&of(json!([pull(&json!({})), pull(&json!({"namespaces": ["team-c"]}))])), &[]);
    check(
        &of(json!([pull(&json!({})), pull(&json!({"namespaces": ["team-c", "team-b"]}))])),
        &["spec.pullSecrets[1]: another one is Secret pull of namespace team-b, too: give it another name"],
    );
    check(
        &json!({"pullSecrets": [pull(&json!({}))]}),
        &["spec.pullSecrets: hold tokens of the registry's own issuer: add spec.auth.issuer"],
    );
    check(
        &of(json!([pull(
            &json!({"name": "A", "namespaces": ["B"], "repositories": ["{user}/**", "C"], "lifetime": "1s"})
        )])),
        &[
            "spec.pullSecrets[0].name: must be the name of an object in the same namespace: a-z, 0-9, '-' and '.'",
            "spec.pullSecrets[0].namespaces[0]: must be the name of a namespace: a-z, 0-9 and '-'",
            "spec.pullSecrets[0].repositories[0]: \"{user}/**\" has a placeholder, and nobody is there to stand for it",
            "spec.pullSecrets[0].repositories[1]: \"C\" is no pattern of repositories: \"C\" can be no part of a repository's \
             name: those are small letters and digits, with . _ __ or - between",
            "spec.pullSecrets[0].lifetime: 1s is not from 2m to 24h",
        ],
    );
    check(
        &of(json!([pull(&json!({"namespaces": [], "repositories": []}))])),
        &[
            "spec.pullSecrets[0].namespaces: is empty: name the namespaces whose pods pull",
            "spec.pullSecrets[0].repositories: is empty: say what is pulled, such as team/**",
        ],
    );
    let valid = registry(&of(json!([pull(&json!({}))]))).unwrap();
    assert_eq!(valid.pull_secrets[0].lifetime, Duration::from_secs(3600));
}

/// Whatever the server says of a key, it is said of the field.
#[test]
fn the_words_of_the_server_become_those_of_the_registry() {
    for (server, expected) in [
        ("auth.rules.12.groups", "spec.auth.rules[12].groups"),
        ("auth.anonymous.0", "spec.auth.anonymous[0]"),
        ("auth.issuer.issuer", "spec.auth.issuer.url"),
        ("auth.issuer.oidc.0.usernameclaim", "spec.auth.issuer.oidc[0].usernameClaim"),
        ("auth.issuer.oidc.3.cafile", "spec.auth.issuer.oidc[3].ca"),
        ("auth.issuer.serviceaccounts.url", "spec.auth.issuer.serviceAccounts.url"),
        ("add htpasswd, oidc or serviceaccounts", "add htpasswd, oidc or serviceAccounts"),
        ("auth.token.realm", "spec.auth.token.realm"),
        ("auth.htpasswd.realm", "spec.auth.htpasswd.realm"),
    ] {
        assert_eq!(in_registry(server), expected);
    }
}

/// What the patterns let through is an address to the server as well, also with what it appends.
#[test]
fn addresses_are_addresses_to_the_server() {
    for (pattern, addresses) in [
        (
            pattern::OIDC_ADDRESS,
            ["https://[fd00::1]:8443/a", "https://a_b.example/%zz/@:;=&!,+~", "https://A.example:1/"],
        ),
        (pattern::HTTPS_ADDRESS, ["https://[:]", "https://a?b=c/d", "https://a/b//c?%"]),
        (pattern::WEB_ADDRESS, ["http://a:65535/b?c", "https://1.2.3.4/token", "http://a-_/"]),
        (pattern::ISSUER_ADDRESS, ["http://main.apps.svc:5000/auth", "https://a/~b/..", "https://a.example"]),
    ] {
        for address in addresses {
            assert!(Regex::new(pattern).unwrap().is_match(address), "{address}");
            for appended in ["", "/.well-known/openid-configuration"] {
                format!("{address}{appended}").parse::<http::Uri>().unwrap();
            }
        }
    }
}
