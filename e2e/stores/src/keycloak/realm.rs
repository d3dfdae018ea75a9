//! A realm as plain data, and the file that Keycloak imports it from, as a pure function of that.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

/// The realm's name, which is in the path of its URLs.
pub(super) const NAME: &str = "dev";
/// The client that may change the realm, and its secret. It is ours, and no part of what a test describes.
pub(super) const ADMINISTRATOR: [&str; 2] = ["berth-tests-administrator", "a secret of tests, known to everybody"];

/// Who there is, and what is said of them in tokens.
///
/// The groups are those that somebody is in. A slash in a name would make it a group within a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// People, who have a name and a password.
    pub users: Vec<User>,
    /// The client that they log in with.
    pub login: LoginClient,
    /// Programs, which log in for themselves.
    pub services: Vec<ServiceClient>,
    /// Whom tokens are for: in the claim `aud` of each, beside what Keycloak has there by itself.
    pub audience: String,
    /// How long an access token and an ID token are valid.
    pub token_lifespan: Duration,
}

/// Somebody with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// In the claim `preferred_username`.
    pub name: String,
    /// What is asked for at a login.
    pub password: String,
    /// In the claim `groups`, by these names.
    pub groups: Vec<String>,
}

/// The client that takes names and passwords, by a direct access grant. It is public if it has no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginClient {
    /// In the claims `azp`, and `aud` of ID tokens.
    pub id: String,
    /// What it must show.
    pub secret: Option<String>,
}

/// A client that gets tokens for itself, by `client_credentials`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceClient {
    /// In the claim `azp`, and in `preferred_username` after `service-account-`.
    pub id: String,
    /// What it must show.
    pub secret: String,
    /// In the claim `groups`, by these names.
    pub groups: Vec<String>,
}

impl Default for Realm {
    /// Nobody. The client is the public one `cli`, the audience is `registry`, and tokens are valid for five minutes.
    fn default() -> Self {
        Self {
            users: Vec::new(),
            login: LoginClient { id: "cli".to_owned(), secret: None },
            services: Vec::new(),
            audience: "registry".to_owned(),
            token_lifespan: Duration::from_mins(5),
        }
    }
}

impl Realm {
    /// With one more user.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str, groups: &[&str]) -> Self {
        self.users.push(User { name: name.to_owned(), password: password.to_owned(), groups: owned(groups) });
        self
    }

    /// With one more program.
    #[must_use]
    pub fn service(mut self, id: &str, secret: &str, groups: &[&str]) -> Self {
        self.services.push(ServiceClient { id: id.to_owned(), secret: secret.to_owned(), groups: owned(groups) });
        self
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// The realm as Keycloak imports it.
pub(super) fn file(realm: &Realm) -> Value {
    let Realm { users, login, services, audience, token_lifespan } = realm;
    let members = users.iter().map(|user| &user.groups).chain(services.iter().map(|service| &service.groups));
    let groups: BTreeSet<&String> = members.flatten().collect();
    let mut clients = vec![login_client(login, audience)];
    clients.extend(services.iter().map(|service| service_client(&service.id, &service.secret, audience)));
    let [id, secret] = ADMINISTRATOR;
    clients.push(service_client(id, secret, audience));
    let mut everybody: Vec<Value> = users.iter().map(user).collect();
    everybody.extend(services.iter().map(|service| service_account(&service.id, &service.groups, &[])));
    everybody.push(service_account(id, &[], &["manage-realm"]));
    json!({
        "realm": NAME,
        "enabled": true,
        // Who speaks plainly to it may be in another network of the same machine.
        "sslRequired": "none",
        "accessTokenLifespan": token_lifespan.as_secs(),
        "groups": groups.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "clients": clients,
        "users": everybody,
    })
}

fn login_client(client: &LoginClient, audience: &str) -> Value {
    let mut value = json!({
        "clientId": client.id,
        "publicClient": client.secret.is_none(),
        "standardFlowEnabled": false,
        "directAccessGrantsEnabled": true,
        "protocolMappers": mappers(audience),
    });
    if let Some(secret) = &client.secret {
        value["secret"] = json!(secret);
    }
    value
}

fn service_client(id: &str, secret: &str, audience: &str) -> Value {
    json!({
        "clientId": id,
        "secret": secret,
        "standardFlowEnabled": false,
        "serviceAccountsEnabled": true,
        "protocolMappers": mappers(audience),
    })
}

/// What puts the audience and the groups into tokens; without them Keycloak has neither there.
fn mappers(audience: &str) -> Value {
    let mapper = |name: &str, kind: &str, mut configuration: Value| {
        for token in ["id.token.claim", "access.token.claim"] {
            configuration[token] = json!("true");
        }
        json!({ "name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": configuration })
    };
    json!([
        mapper("audience", "oidc-audience-mapper", json!({ "included.custom.audience": audience })),
        // With their path, the names of groups would begin with a slash.
        mapper("groups", "oidc-group-membership-mapper", json!({ "claim.name": "groups", "full.path": "false" })),
    ])
}

/// Who lacks something that a profile must have, an address or a name, would be asked for it instead of logged in.
fn user(user: &User) -> Value {
    json!({
        "username": user.name,
        "enabled": true,
        "email": format!("{}@example.com", user.name),
        "emailVerified": true,
        "firstName": user.name,
        "lastName": "Tester",
        "credentials": [{ "type": "password", "value": user.password }],
        "realmRoles": [default_roles()],
        "groups": paths(&user.groups),
    })
}

/// The user that a client is when it logs in for itself.
fn service_account(client: &str, groups: &[String], roles_of_management: &[&str]) -> Value {
    json!({
        "username": format!("service-account-{client}"),
        "enabled": true,
        "serviceAccountClientId": client,
        "realmRoles": [default_roles()],
        "clientRoles": { "realm-management": roles_of_management },
        "groups": paths(groups),
    })
}

/// What everybody has who was not imported. It is why access tokens are for `account` as well.
fn default_roles() -> String {
    format!("default-roles-{NAME}")
}

fn paths(groups: &[String]) -> Vec<String> {
    groups.iter().map(|group| format!("/{group}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm() -> Realm {
        Realm::default()
            .user("alice", "secret", &["developers", "admins"])
            .user("bob", "secret", &["developers"])
            .service("ci", "secret", &["robots"])
    }

    /// The names that a list in the file holds.
    fn names<'a>(file: &'a Value, list: &str, name: &str) -> Vec<&'a str> {
        let list = file[list].as_array().expect("a list");
        list.iter().map(|entry| entry[name].as_str().expect("a name")).collect()
    }

    #[test]
    fn every_group_is_there_once() {
        assert_eq!(names(&file(&realm()), "groups", "name"), ["admins", "developers", "robots"]);
    }

    #[test]
    fn every_client_puts_audience_and_groups_into_tokens() {
        let file = file(&realm());
        assert_eq!(names(&file, "clients", "clientId"), ["cli", "ci", ADMINISTRATOR[0]]);
        for client in file["clients"].as_array().expect("a list") {
            assert_eq!(client["protocolMappers"][0]["config"]["included.custom.audience"], "registry");
            assert_eq!(client["protocolMappers"][1]["config"]["claim.name"], "groups");
        }
    }

    #[test]
    fn a_program_is_the_user_of_its_client() {
        let file = file(&realm());
        let users = names(&file, "users", "username");
        assert_eq!(users[..3], ["alice", "bob", "service-account-ci"]);
        assert_eq!(file["users"][2]["serviceAccountClientId"], "ci");
        assert_eq!(file["users"][2]["groups"], json!(["/robots"]));
    }

    #[test]
    fn a_client_without_a_secret_is_public() {
        let with = |secret: Option<&str>| {
            let login = LoginClient { id: "cli".to_owned(), secret: secret.map(str::to_owned) };
            file(&Realm { login, ..realm() })["clients"][0].clone()
        };
        assert_eq!((&with(None)["publicClient"], &with(None)["secret"]), (&json!(true), &Value::Null));
        assert_eq!((&with(Some("s"))["publicClient"], &with(Some("s"))["secret"]), (&json!(false), &json!("s")));
    }

    #[test]
    fn the_lifespan_is_in_seconds() {
        let file = file(&Realm { token_lifespan: Duration::from_secs(7), ..realm() });
        assert_eq!(file["accessTokenLifespan"], 7);
    }
}
