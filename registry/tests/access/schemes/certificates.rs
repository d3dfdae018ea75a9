//! Certificates of clients: alone, and beside tokens of the server's own issuer.

use std::path::Path;
use std::sync::Arc;

use berth_config::{ClientAuth, Tls};
use rcgen::DnType;

use super::mint::{EVERYTHING, Mint};
use super::{Class, Credentials, Everybody, OF_ROOT, Proof, Scheme, auth, rules};
use crate::caller::Handshake;
use crate::pki::{self, Authority};
use crate::wire::Offer;

const ABOUT: &str = "\
With `require-and-verify-client-cert`, and without a method. *Ended since* is a certificate that has ended since the handshake, in a
session that is gone on with. Who may pull is named by their group. There is nothing else that could be asked for, so every refusal
is a `403`.
";
const ABOUT_BESIDE: &str = "\
With `verify-client-cert-if-given`. *A user's name* is the certificate of a `root`: as a user of the issuer, root may do everything,
and by a certificate nothing. Where there is a token as well it is the token that counts: with one that is forged, or only to
pull, the right certificate does no more than that.
";

/// Whose certificates the server believes, whose it does not, and where what it serves with is.
struct Lab<'a> {
    known: Arc<Authority>,
    unknown: Authority,
    directory: &'a Path,
}

/// By themselves, and beside tokens.
pub(super) async fn schemes(directory: &Path) -> [Scheme; 2] {
    let directory = directory.join("tls");
    let lab =
        Lab { known: Arc::new(Authority::new("known")), unknown: Authority::new("unknown"), directory: &directory };
    lab.known.issue("localhost").write(&directory);
    std::fs::write(directory.join("ca.pem"), &lab.known.pem).unwrap();
    [lab.alone(), lab.beside_tokens().await]
}

/// The rules for certificates with this prefix.
fn by_certificate(prefix: &str) -> String {
    let by_group = format!("{{groups: ['{prefix}readers'], repositories: 'team/**', actions: [pull]}}");
    format!("{}, {by_group}", rules(prefix))
}

impl Lab<'_> {
    fn tls(&self, mode: ClientAuth) -> Option<Tls> {
        let mut tls = pki::settings(self.directory);
        (tls.clientcas, tls.clientauth) = (vec![self.directory.join("ca.pem")], Some(mode));
        Some(tls)
    }

    /// A client that shows a certificate of this authority with this subject, or none.
    fn shows(&self, certificate: Option<(&Authority, &[(DnType, &str)])>) -> Handshake {
        let pair = certificate.map(|(authority, subject)| authority.issue_to(subject));
        Handshake::Tls(Offer { certificate: pair.as_ref(), ..Offer::to(&self.known) }.config())
    }

    /// The same with a certificate that is believed.
    fn named(&self, name: &str) -> Handshake {
        self.shows(Some((&self.known, &[(DnType::CommonName, name)])))
    }

    /// What there is in both schemes.
    fn credentials(&self, none: Class, nameless: Class) -> Vec<Credentials> {
        let group = [(DnType::CommonName, "somebody"), (DnType::OrganizationalUnitName, "readers")];
        let without_a_name = [(DnType::OrganizationalUnitName, "readers")];
        let list = vec![
            ("none", none, self.shows(None)),
            ("of another authority", Class::Shut, self.shows(Some((&self.unknown, &[(DnType::CommonName, "alice")])))),
            ("without a name", nameless, self.shows(Some((&self.known, &without_a_name)))),
            ("ended since", Class::Bad, Handshake::Outlived(self.known.clone(), "alice")),
            ("whom no rule names", Class::Nothing, self.named("nobody")),
            ("another repository's", Class::Other, self.named("other")),
            ("to pull", Class::Pull, self.shows(Some((&self.known, &group)))),
            ("to pull and push", Class::Push, self.named("writer")),
            ("right", Class::Right, self.named("alice")),
        ];
        let proof = |handshake| Proof { header: None, handshake };
        list.into_iter()
            .map(|(shown, class, handshake)| Credentials { shown, class, proof: proof(handshake) })
            .collect()
    }

    fn alone(&self) -> Scheme {
        Scheme {
            shown: "Certificates of clients",
            about: ABOUT,
            auth: auth(&format!("{{certificate: {{}}, rules: [{}, {OF_ROOT}]}}", by_certificate(""))),
            tls: self.tls(ClientAuth::RequireAndVerifyClientCert),
            root: Some(Proof { header: None, handshake: self.named("root") }),
            credentials: self.credentials(Class::Shut, Class::None),
            everybody: Everybody::Nothing,
            lists_everything: false,
        }
    }

    async fn beside_tokens(&self) -> Scheme {
        let of_users = format!("rules: [{}, {OF_ROOT}", rules(""));
        let mut mint = Mint::start(&self.directory.join("issuer"), "", &format!("{of_users}]")).await;
        let root = mint.token(Some("root"), &EVERYTHING).await;
        let to_pull = mint.token(Some("alice"), &["repository:team/app:pull"]).await;
        let forged = mint.forged(&to_pull);
        let auth = mint.auth("", &format!("certificate: {{}}, {of_users}, {}]", by_certificate("cert:")));
        mint.stop().await;
        let with_token =
            |token: &str| Proof { header: Some(format!("Bearer {token}")), handshake: self.named("alice") };
        let more = [
            ("a user's name", Class::Nothing, Proof { header: None, handshake: self.named("root") }),
            ("right, and a forged token", Class::Bad, with_token(&forged)),
            ("right, and a token to pull", Class::Pull, with_token(&to_pull)),
        ];
        let more = more.into_iter().map(|(shown, class, proof)| Credentials { shown, class, proof });
        Scheme {
            shown: "Certificates of clients, beside tokens of this server's issuer",
            about: ABOUT_BESIDE,
            auth,
            tls: self.tls(ClientAuth::VerifyClientCertIfGiven),
            root: Some(Proof { header: Some(format!("Bearer {root}")), handshake: self.shows(None) }),
            credentials: self.credentials(Class::None, Class::None).into_iter().chain(more).collect(),
            everybody: Everybody::Nothing,
            lists_everything: false,
        }
    }
}
