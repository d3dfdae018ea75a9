//! What a request wants: pure, from its route and method.

use berth_oci::RepositoryName;
use http::Method;
use serde::Serialize;

use crate::route::Route;

/// One thing that a request wants to do. Its fields, and their order, are those of Distribution's error bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Access {
    /// What `name` is the name of.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// The class of the repository; nothing here has one.
    class: &'static str,
    /// Which one.
    pub name: String,
    /// What is to be done.
    pub action: &'static str,
}

impl Access {
    /// The access to the thing of this name.
    pub(crate) fn of(kind: &'static str, name: &str, action: &'static str) -> Self {
        Self { kind, class: "", name: name.to_owned(), action }
    }

    fn repository(name: &RepositoryName, action: &'static str) -> Self {
        Self::of("repository", name.as_str(), action)
    }

    /// The access as a scope: `repository:library/alpine:pull`.
    pub(crate) fn scope(&self) -> String {
        format!("{}:{}:{}", self.kind, self.name, self.action)
    }
}

/// Accesses as one `scope` of a challenge, those to one thing together: `repository:library/alpine:pull,push`.
pub(crate) fn scopes(wanted: &[Access]) -> String {
    let mut things: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for Access { kind, class: _, name, action } in wanted {
        match things.iter_mut().find(|(of, named, _)| of == kind && named == name) {
            Some((_, _, actions)) if actions.contains(action) => {}
            Some((_, _, actions)) => actions.push(action),
            None => things.push((kind, name, vec![action])),
        }
    }
    let scopes: Vec<String> =
        things.iter().map(|(kind, name, actions)| format!("{kind}:{name}:{}", actions.join(","))).collect();
    scopes.join(" ")
}

/// What a request for this route wants; `mount_from` is the repository that it wants to mount a blob of.
pub(crate) fn wanted(route: &Route, method: &Method, mount_from: Option<&RepositoryName>) -> Vec<Access> {
    let name = match route {
        Route::Root | Route::Base | Route::Moved(_) | Route::Options { .. } | Route::Issuer(_) => return Vec::new(),
        Route::Catalog => return vec![Access::of("registry", "catalog", "*")],
        Route::Repository(name)
        | Route::Tags(name)
        | Route::Manifest(name, ..)
        | Route::Referrers(name, _)
        | Route::Blob(name, ..)
        | Route::UploadBegin(name)
        | Route::Upload(name, ..) => name,
    };
    let actions: &[&'static str] = match *method {
        Method::GET | Method::HEAD => &["pull"],
        Method::DELETE => &["delete"],
        _ => &["pull", "push"],
    };
    let here = actions.iter().map(|action| Access::repository(name, action));
    here.chain(mount_from.map(|from| Access::repository(from, "pull"))).collect()
}

/// The repository that a request wants to mount a blob of.
pub(crate) fn source_of_mount(route: &Route, query: &[(String, String)]) -> Option<RepositoryName> {
    let from = || query.iter().find(|(key, _)| key == "from")?.1.parse().ok();
    matches!(route, Route::UploadBegin(_)).then(from).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route;

    #[test]
    fn what_is_wanted_of_one_thing_is_one_scope() {
        let of = |name: &str, action| Access::of("repository", name, action);
        assert_eq!(scopes(&[]), "");
        assert_eq!(
            scopes(&[of("a/b", "pull"), of("a/b", "push"), of("c", "pull")]),
            "repository:a/b:pull,push repository:c:pull"
        );
        assert_eq!(scopes(&[of("a", "pull"), of("a", "push"), of("a", "pull")]), "repository:a:pull,push");
        assert_eq!(scopes(&[Access::of("registry", "catalog", "*")]), "registry:catalog:*");
    }

    #[test]
    fn every_route_wants_what_distribution_asks_for() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let upload = "7f3ddbe2-8d1b-4d6a-8f66-2d9f2a1b0c3d";
        for (method, path, scopes) in [
            ("GET", "/v2/", ""),
            ("GET", "/v2/_catalog", "registry:catalog:*"),
            ("GET", "/v2/a/b/tags/list", "repository:a/b:pull"),
            ("DELETE", "/v2/a/b/", "repository:a/b:delete"),
            ("GET", "/v2/a/manifests/t", "repository:a:pull"),
            ("HEAD", "/v2/a/manifests/t", "repository:a:pull"),
            ("PUT", "/v2/a/manifests/t", "repository:a:pull repository:a:push"),
            ("DELETE", "/v2/a/manifests/t", "repository:a:delete"),
            ("GET", &format!("/v2/a/blobs/{digest}"), "repository:a:pull"),
            ("GET", &format!("/v2/a/b/referrers/{digest}"), "repository:a/b:pull"),
            ("DELETE", &format!("/v2/a/blobs/{digest}"), "repository:a:delete"),
            ("POST", "/v2/a/blobs/uploads/", "repository:a:pull repository:a:push"),
            ("POST", "/v2/a/blobs/uploads/?from=b/c", "repository:a:pull repository:a:push repository:b/c:pull"),
            ("POST", "/v2/a/blobs/uploads/?from=..", "repository:a:pull repository:a:push"),
            ("GET", &format!("/v2/a/blobs/uploads/{upload}"), "repository:a:pull"),
            ("PATCH", &format!("/v2/a/blobs/uploads/{upload}"), "repository:a:pull repository:a:push"),
            ("PUT", &format!("/v2/a/blobs/uploads/{upload}?from=b"), "repository:a:pull repository:a:push"),
            ("DELETE", &format!("/v2/a/blobs/uploads/{upload}"), "repository:a:delete"),
        ] {
            let method: Method = method.parse().unwrap();
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let query: Vec<_> =
                query.split_once('=').map(|(key, value)| (key.into(), value.into())).into_iter().collect();
            let route = route::parse(&method, path, "").unwrap();
            let found = wanted(&route, &method, source_of_mount(&route, &query).as_ref());
            let found: Vec<_> = found.iter().map(Access::scope).collect();
            assert_eq!(found.join(" "), scopes, "{method} {path}");
        }
    }
}
