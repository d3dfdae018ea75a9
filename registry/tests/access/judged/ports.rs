//! What must hold of the issuer, and of the debug port.

use crate::Cell;
use crate::paths::NAME;
use crate::schemes::Class;
use crate::support::jwt::claims;
use crate::ways;

/// A token is issued to whoever shows who they are, and what is published is for everybody.
pub(crate) fn issuer(cells: &[Cell]) {
    for way in ways::SHOWN {
        assert!(cells.iter().any(|cell| cell.path == way && cell.class == Class::Right), "{way} is not tried");
    }
    for cell in cells {
        let label = cell.label();
        assert_eq!(cell.status(), expected_of_issuer(cell), "{label}");
        let text = String::from_utf8_lossy(&cell.answer().body);
        let has_token = text.contains("\"access_token\"");
        assert_eq!(has_token, cell.path.starts_with("/auth/token") && cell.status() == 200, "{label}: {text}");
        // A token that lasts is given to those alone who ask for it.
        let has_one = cell.path.ends_with("a refresh token");
        assert_eq!(text.contains("\"refresh_token\":"), has_token && has_one, "{label}: {text}");
        assert!(!text.contains("PRIVATE KEY") && !text.contains("\"d\""), "{label}: {text}");
        if has_token {
            issued(cell, &label);
        }
    }
}

fn expected_of_issuer(cell: &Cell) -> u16 {
    let is_good = matches!(cell.class, Class::Other | Class::Right);
    let of_tokens = cell.path.starts_with("/auth/token");
    match (cell.path, cell.method.as_str()) {
        ("/auth/elsewhere", _) => 404,
        // Nobody is told whether it was one, unless there is none at all.
        (ways::REVOCATION, _) if cell.class == Class::None => 400,
        ("/auth/revoke" | ways::REVOCATION, "POST") => 200,
        // Who asks is in the form alone; and who has a token for a registry cannot make another one of it, nor one that lasts.
        ("/auth/token" | ways::OWN_TOKEN, "POST") => 400,
        (_, "GET" | "POST") if of_tokens && is_good => 200,
        (_, "GET") if of_tokens => 401,
        (ways::PASSWORD, _) if matches!(cell.credentials, "wrong" | "of nobody") => 401,
        (_, "POST") if of_tokens => 400,
        ("/auth/token" | "/auth/revoke", _) => 405,
        (_, "GET" | "HEAD") => 200,
        (_, _) => 405,
    }
}

/// It is of who has asked, and for what they may do.
fn issued(cell: &Cell, label: &str) {
    let (body, may_pull) = (cell.answer().json(), cell.class == Class::Right);
    let claims = claims(body["access_token"].as_str().unwrap());
    assert_eq!(claims["access"].as_array().unwrap().len(), usize::from(may_pull), "{label}: {claims}");
    let (user, name) = (claims["sub"].as_str().unwrap(), if may_pull { "alice" } else { "other" });
    assert!(user == name || user.ends_with(&format!(":{name}")), "{label}: {user}");
}

/// Who has not the token of the administration does nothing there, and nothing of the registry is shown.
pub(crate) fn debug(has_issuer: bool, cells: &[Cell]) {
    for cell in cells {
        let label = cell.label();
        assert!(cell.status() < 500, "{label}");
        let has = match cell.path {
            "/admin/v1/gc" => &["POST"][..],
            "/admin/v1/read-only" => &["GET", "HEAD", "PUT"],
            "/admin/v1/revoke-tokens" => &["POST"],
            _ => &[],
        };
        if has.contains(&cell.method.as_str()) {
            // Without an issuer there are no tokens to revoke.
            let right = if cell.path == "/admin/v1/revoke-tokens" && !has_issuer { 409 } else { 200 };
            let expected = if cell.class == Class::Right { right } else { 401 };
            assert_eq!(cell.status(), expected, "{label}");
        }
        let text = String::from_utf8_lossy(&cell.answer().body);
        assert!(!text.contains(NAME) && !text.contains("alice"), "{label}: {text}");
    }
}
