//! The rules of `spec.auth` and `spec.pullSecrets`.

use serde_json::{Value, json};

use super::{check, refusal, registry, validate_cel};

fn created(fields: &Value) -> String {
    let mut spec = json!({"storage": {"emptyDir": {}}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    refusal(validate_cel(&registry(&spec)))
}

/// What is said of `auth`.
fn check_auth(auth: &Value, expected: &str) {
    check(&auth.to_string(), &created(&json!({ "auth": auth })), expected);
}

fn everything() -> Value {
    json!({"users": ["*"], "repositories": ["**"], "actions": ["*"]})
}

fn oidc() -> Value {
    json!({"name": "keycloak", "url": "https://id.example/realms/dev", "audience": "registry"})
}

/// A value with other fields; null takes one away.
fn with(mut value: Value, fields: &Value) -> Value {
    for (key, field) in fields.as_object().unwrap() {
        match field {
            Value::Null => drop(value.as_object_mut().unwrap().remove(key)),
            field => value[key] = field.clone(),
        }
    }
    value
}

#[test]
fn there_is_one_method_at_most_and_somebody_is_let_in() {
    let users = json!({"secretRef": {"name": "users"}});
    let public = json!([{"repositories": ["public/**"], "actions": ["pull"]}]);
    let issuer = json!({ "htpasswd": users });
    for (auth, expected) in [
        (json!({}), "auth lets nobody in: add one of htpasswd, token and issuer, or anonymous"),
        (json!({"anonymous": []}), "auth lets nobody in"),
        (json!({ "anonymous": public }), ""),
        (json!({ "htpasswd": users }), ""),
        (json!({"htpasswd": users, "anonymous": public, "rules": [everything()]}), ""),
        (
            json!({"htpasswd": users, "issuer": issuer}),
            "auth names two methods: keep at most one of htpasswd, token and issuer",
        ),
        (json!({"anonymous": public, "rules": [everything()]}), "rules name people, and nobody can say who they are"),
        (json!({ "issuer": issuer }), ""),
        (json!({"htpasswd": {"secretRef": {"name": "team/users"}}}), "name must be that of a Secret"),
        (json!({"htpasswd": {"secretRef": {"name": "users"}, "realm": "Zürich"}}), "realm must be of ASCII characters"),
    ] {
        check_auth(&auth, expected);
    }
}

#[test]
fn a_rule_says_who_and_where() {
    let of = |fields: Value| json!({"htpasswd": {"secretRef": {"name": "u"}}, "rules": [with(everything(), &fields)]});
    for (fields, expected) in [
        (json!({"users": null}), "a rule names nobody: add users, groups, serviceAccounts, subjects or claims"),
        (json!({"users": ["alice", "ci-*", "{user}", "a{b}*c", "keycloak:Ärger"]}), ""),
        (json!({"users": ["{"]}), "must be patterns of names, such as ci-*"),
        (json!({"users": ["a", "}"]}), "must be patterns of names"),
        (json!({"users": ["{}"]}), "must be patterns of names"),
        (
            json!({"repositories": ["**", "*", "team", "team/**", "**/app", "a/**/b", "a-*", "*-{user}/x_y.z", "*a*b*"]}),
            "",
        ),
        (json!({"repositories": ["home/{user}/**", "{preferred_username}", "a/{b}{c}"]}), ""),
        (
            json!({"repositories": ["Team/app"]}),
            "repositories must be patterns of names of repositories, such as team/app",
        ),
        (json!({"repositories": ["team/"]}), "repositories must be patterns"),
        (json!({"repositories": ["/team"]}), "repositories must be patterns"),
        (json!({"repositories": ["a/../b"]}), "repositories must be patterns"),
        (json!({"repositories": ["-b"]}), "repositories must be patterns"),
        (json!({"repositories": ["a_/b"]}), "repositories must be patterns"),
        (json!({"repositories": ["a**"]}), "repositories must be patterns"),
        (json!({"repositories": ["***"]}), "repositories must be patterns"),
        (json!({"repositories": ["a/{user"]}), "repositories must be patterns"),
        (json!({"repositories": ["a b"]}), "repositories must be patterns"),
    ] {
        check_auth(&of(fields), expected);
    }
    let public =
        |repositories: Value| json!({"anonymous": [{"repositories": repositories, "actions": ["pull", "list"]}]});
    check_auth(&public(json!(["public/**", "library/*"])), "");
    check_auth(&public(json!(["public/**", "***"])), "repositories must be patterns of names of repositories");
}

#[test]
fn nobody_is_named_by_what_nobody_has() {
    let htpasswd = json!({"htpasswd": {"secretRef": {"name": "u"}}});
    let of = |issuer: &Value, rule: Value| json!({"issuer": issuer, "rules": [everything(), with(with(everything(), &json!({"users": null})), &rule)]});
    let with_oidc = json!({"oidc": [oidc()]});
    let with_groups = json!({"oidc": [with(oidc(), &json!({"groupsClaim": "groups"}))]});
    let with_accounts = json!({"serviceAccounts": {}});
    let groups = json!({"groups": ["keycloak:dev"]});
    let subjects = json!({"subjects": ["keycloak:*"]});
    let accounts = json!({"serviceAccounts": ["team-a/*"]});
    let claims = |claim: &str, pattern: &str| json!({"claims": {claim: pattern}});
    for (issuer, rule, expected) in [
        (&with_groups, groups.clone(), ""),
        (
            &with_oidc,
            groups.clone(),
            "rules name groups, and nobody has any: name the claim that has them in issuer.oidc",
        ),
        (&htpasswd, groups, "rules name groups, and nobody has any"),
        (&with_oidc, subjects.clone(), ""),
        (&with_accounts, subjects, "rules name subjects, and nobody has any: add their issuer to issuer.oidc"),
        (&with_accounts, accounts.clone(), ""),
        (&with_oidc, accounts, "rules name serviceAccounts, and nobody is one: add issuer.serviceAccounts: {}"),
        (&with_oidc, claims("keycloak:environment", "prod*"), ""),
        (
            &with_oidc,
            claims("keycloak", "prod*"),
            "rules name a claim that is of no issuer in issuer.oidc: write NAME:CLAIM",
        ),
        (&with_oidc, claims("other:environment", "prod*"), "rules name a claim that is of no issuer"),
        (&with_oidc, claims("keycloak:environment", "{"), "claims must be of the form NAME:CLAIM: PATTERN"),
        (&with_oidc, claims("keycloak:environment", ""), "claims must be of the form NAME:CLAIM: PATTERN"),
        (&htpasswd, claims("keycloak:environment", "a"), "rules name a claim that is of no issuer"),
    ] {
        check_auth(&of(issuer, rule), expected);
    }
    for issuer in [&with_oidc, &with_accounts] {
        check_auth(&json!({ "issuer": issuer }), "rules are needed beside issuer.oidc and issuer.serviceAccounts");
        check_auth(&json!({"issuer": issuer, "rules": [everything()]}), "");
    }
}

#[test]
fn a_token_service() {
    let jwks = json!({"url": "https://auth.example/keys?version=1"});
    let of = |fields: Value| {
        let token = json!({"realm": "https://auth.example/token", "service": "registry.example",
            "issuer": "https://auth.example", "jwks": jwks});
        json!({"token": with(token, &fields)})
    };
    for (fields, expected) in [
        (json!({}), ""),
        (json!({"jwks": null}), "token names no key to check tokens with: set jwks or rootCertificates"),
        (json!({"jwks": null, "rootCertificates": {"secretRef": {"name": "ca", "key": "tls.crt"}}}), ""),
        (json!({"rootCertificates": {}}), "authorities must be from one place"),
        (json!({"jwks": {}}), "jwks must be from one place: set exactly one of url, configMapRef and secretRef"),
        (json!({"jwks": {"url": "https://a", "secretRef": {"name": "a"}}}), "jwks must be from one place"),
        (json!({"jwks": {"configMapRef": {"name": "keys", "key": "keys.json"}}}), ""),
        (json!({"jwks": {"url": "https://a", "ca": {"configMapRef": {"name": "ca"}}}}), ""),
        (
            json!({"jwks": {"secretRef": {"name": "keys"}, "ca": {"configMapRef": {"name": "ca"}}}}),
            "jwks.ca says whom url is trusted by",
        ),
        (
            json!({"jwks": {"configMapRef": {"name": "keys", "key": "a/b"}}}),
            "key must be that of a Secret or ConfigMap",
        ),
        (
            json!({"jwks": {"url": "http://auth.example/keys"}}),
            "url must be an address such as https://auth.example/keys",
        ),
        (json!({"realm": "auth.example"}), "realm must be an address such as https://auth.example/token"),
        (json!({"realm": "https://me:secret@auth.example"}), "realm must be an address such as"),
        (json!({"service": "Zürich"}), "service must be of ASCII characters"),
    ] {
        check_auth(&of(fields), expected);
    }
}

#[test]
fn the_issuer() {
    let of = |fields: Value| {
        let issuer = json!({"htpasswd": {"secretRef": {"name": "users"}}});
        json!({"issuer": with(issuer, &fields), "rules": [everything()]})
    };
    let of_oidc = |fields: Value| of(json!({"oidc": [with(oidc(), &fields)]}));
    for (auth, expected) in [
        (of(json!({"htpasswd": null})), "issuer knows nobody: add htpasswd, oidc or serviceAccounts"),
        (of(json!({"htpasswd": null, "oidc": []})), "issuer knows nobody"),
        (of(json!({"htpasswd": null, "serviceAccounts": {}})), ""),
        (
            of(json!({"url": "https://registry.example/auth", "service": "registry.example", "services": ["a", "b"]})),
            "",
        ),
        (of(json!({"url": "http://main.default.svc:5000"})), ""),
        (
            of(json!({"url": "https://registry.example/auth/"})),
            "url must be an address such as https://registry.example/auth",
        ),
        (of(json!({"url": "https://registry.example/auth?a"})), "url must be an address such as"),
        (of(json!({"url": "registry.example/auth"})), "url must be an address such as"),
        (of(json!({"services": ["a", "b", "a"]})), "services names one registry twice: leave one out"),
        (of(json!({"service": "Zürich"})), "service must be of ASCII characters"),
        (
            of(json!({"oidc": [oidc(), with(oidc(), &json!({"name": "other"}))]})),
            "oidc names one url twice: leave one out",
        ),
        (
            of(json!({"url": "https://a", "oidc": [with(oidc(), &json!({"url": "https://a"}))]})),
            "oidc names this issuer itself",
        ),
        (of_oidc(json!({"url": "https://acme.eu.auth0.com/", "usernamePrefix": "-"})), ""),
        (of_oidc(json!({"url": "http://id.example"})), "url must be an address such as https://id.example/realms/dev"),
        (
            of_oidc(json!({"url": "https://id.example/a?b"})),
            "url must be an address such as https://id.example/realms/dev",
        ),
        (of_oidc(json!({"name": "Keycloak"})), "name must be of a-z, 0-9 and '-', and not system"),
        (of_oidc(json!({"name": "system"})), "name must be of a-z, 0-9 and '-', and not system"),
        (of_oidc(json!({"ca": {}})), "authorities must be from one place"),
        (of_oidc(json!({"ca": {"configMapRef": {"name": "ca"}}})), ""),
    ] {
        check_auth(&auth, expected);
    }
    for span in ["1m", "1h30m", "24h"] {
        check_auth(&of(json!({"tokenExpiry": span})), "");
    }
    for span in ["59s", "25h", "soon"] {
        check_auth(&of(json!({"tokenExpiry": span})), "tokenExpiry must be a duration from 1m to 24h");
    }
    for (group, field, good, bad, message) in [
        (
            "refreshTokens",
            "expiry",
            ["1h", "720h", "30d"],
            ["1s", "1x", ""],
            "expiry must be a duration from 1m to 87600h",
        ),
        ("keys", "rotateEvery", ["1m", "720h", "30d"], ["59s", "0", "-1h"], "rotateEvery must be a duration from 1m"),
        (
            "keys",
            "publishFor",
            ["10s", "5m", "1d"],
            ["9s", "25h", "5"],
            "publishFor must be a duration from 10s to 24h",
        ),
    ] {
        good.into_iter().for_each(|span| check_auth(&of(json!({group: {field: span}})), ""));
        bad.into_iter().for_each(|span| check_auth(&of(json!({group: {field: span}})), message));
    }
}

#[test]
fn pull_secrets_are_tokens_of_the_issuer() {
    let issuer = json!({"issuer": {"htpasswd": {"secretRef": {"name": "users"}}}});
    let of = |fields: Value| {
        let secret =
            json!({"name": "registry-pull", "namespaces": ["team-a", "team-b"], "repositories": ["team-a/**"]});
        json!({"auth": issuer, "pullSecrets": [with(secret, &fields)]})
    };
    for (fields, expected) in [
        (of(json!({})), ""),
        (
            with(of(json!({})), &json!({"auth": null})),
            "pullSecrets hold tokens of the registry's own issuer: add auth.issuer",
        ),
        (of(json!({"lifetime": "2m"})), ""),
        (of(json!({"lifetime": "24h"})), ""),
        (of(json!({"lifetime": "1m"})), "lifetime must be a duration from 2m to 24h, such as 1h"),
        (of(json!({"lifetime": "2000h"})), "lifetime must be a duration from 2m to 24h"),
        (of(json!({"namespaces": ["Team"]})), "namespaces must be names of namespaces"),
        (of(json!({"name": "a/b"})), "name must be that of a Secret"),
        (of(json!({"repositories": ["{namespace}/**"]})), "without placeholders: a pull secret is nobody's"),
    ] {
        check(&fields.to_string(), &created(&fields), expected);
    }
}
