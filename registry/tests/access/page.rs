//! The page `docs/access-table.md`, made of what the server has answered.

use std::fmt::Write as _;

use crate::Cell;
use crate::schemes::Scheme;

const HEAD: &str = "\
<!-- Made by `make generate` from registry/tests/access. -->

# Who gets what answer

Every path of the server, by every method, with every kind of credentials, and the status of the answer. The table is what a
server has answered over a socket, in `registry/tests/access`, which also holds it against what must never be: that somebody
is shown content, or can find out whether it is there, without the right to it. How access is configured stands in
[access.md](access.md).

- `NAME` is the repository that credentials are about, with a manifest `DIGEST`, its `TAG`, and an upload `ID` that somebody else
  has begun. `OTHER` is another repository. `PROPFIND` stands for methods that nothing has.
- Names whose slashes are escaped (`%2F`) get the same answers, and are left out.
- *Right* credentials may do everything with `NAME`; *another repository's* everything with `OTHER`, and nothing with `NAME`.
- `401` asks for (other) credentials, and `403` says that none would do. What is wrong with a request otherwise, such as
  `404` and `405`, is told only to who is let in; but that there is no such path (`404`), which methods a path has (`OPTIONS`), and
  how it is written (`301`), is no secret.
- `–` says that there is no connection: the handshake wants a certificate of the client, or refuses the one that it shows.
- An upload belongs to its repository, not to who has begun it: whoever may push there can go on with it, and whoever may pull
  there is told how far it has come, and nothing else, as with CNCF Distribution. Its `ID` is 122 random bits, which no other
  client is told.
- `OTHER/../NAME` leads where it is written to lead, and there credentials are asked for. By way of `OTHER`, what belongs to `NAME` is
  not there for anybody: who may not pull from `NAME` cannot tell whether it is.
";

/// What is asked for in another spelling, whose answers are those of the first.
const ESCAPED: &str = ", a slash escaped";

/// What is said of the debug port.
const DEBUG: &str = "
## The debug port

It shows nothing of what is in the registry, neither names of repositories nor of users, and is for the inside of a
network. The administration asks for the token of `http.debug.admin.tokenfile`; other credentials, also of somebody who may
do everything in the registry, are none. This server has an issuer; where there is none, the administration answers `409` when
it is to revoke tokens.
";

/// What is said of the issuer.
const ISSUER: &str = "
## The issuer

What its tokens are good for stands above. A token is issued to whoever shows who they are, for what they may do, which may be
nothing. What is published, everybody may read. By each way to show it, *wrong* is another password, a refresh token that was
revoked, or a token whose signature is another's; *of nobody* is the password of a name that is not known, a refresh token
that was made up, or a token of an issuer or of somebody that is not known.

- Where a form is sent, a header says nothing: in the first line of `POST` there is one, beside a form that names nobody.
- Who has a token of this issuer gets no other one for it.
- Whether there was a refresh token is not told to who revokes it (RFC 7009).
";

/// The whole page: the sections of the API with the kinds of credentials in each, and the debug port.
pub(crate) fn render(sections: &[(&Scheme, Vec<Cell>)], issuer: &[Cell], debug: &[Cell]) -> String {
    let mut page = HEAD.to_owned();
    for (Scheme { shown, about, .. }, cells) in sections {
        let about = if about.is_empty() { String::new() } else { format!("\n{about}") };
        let _ = write!(page, "\n## {shown}\n{about}");
        table(&mut page, cells);
    }
    page += ISSUER;
    table(&mut page, issuer);
    page += DEBUG;
    table(&mut page, debug);
    page
}

fn table(page: &mut String, cells: &[Cell]) {
    let mut columns: Vec<&str> = Vec::new();
    for cell in cells {
        if !columns.contains(&cell.credentials) {
            columns.push(cell.credentials);
        }
    }
    let _ = writeln!(page, "\n| path | methods | {} |", columns.join(" | "));
    let _ = writeln!(page, "|---|---|{}", "---|".repeat(columns.len()));
    // Methods whose answers are the same stand in one line.
    let mut lines: Vec<(&str, Vec<&str>, Vec<String>)> = Vec::new();
    for of_one in cells.chunks(columns.len()).filter(|of_one| !of_one[0].path.ends_with(ESCAPED)) {
        let (path, method) = (of_one[0].path, of_one[0].method.as_str());
        assert!(of_one.iter().all(|cell| cell.path == path && cell.method == method), "{path} {method}");
        let statuses: Vec<String> = of_one.iter().map(Cell::shown).collect();
        match lines.iter_mut().find(|(of, _, same)| *of == path && *same == statuses) {
            Some((_, methods, _)) => methods.push(method),
            None => lines.push((path, vec![method], statuses)),
        }
    }
    let mut before = "";
    for (path, methods, statuses) in lines {
        let (code, rest) = path.split_at(path.find([' ', ',']).unwrap_or(path.len()));
        let shown = if path == before { String::new() } else { format!("`{code}`{rest}") };
        let _ = writeln!(page, "| {shown} | {} | {} |", methods.join(", "), statuses.join(" | "));
        before = path;
    }
}
