//! `auth.certificate`: who a client is by the certificate that was verified in the handshake.
//!
//! It is who asks where no other credentials say so. One that counts no more, because it has ended or because its authority
//! is no longer among those of clients, is bad credentials; one without a name that could be taken is nobody's.

use berth_config::{Auth, CertificateGroups, CertificateName};
use rustls::pki_types::UnixTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{AttributeTypeAndValue, X509Certificate, parse_x509_certificate};

use super::{Answer, AuthError, Identity};
use crate::tls::Client;

/// The longest name in bytes; a common name has at most 64 characters, and an address may be longer.
const MAX_NAME_BYTES: usize = 512;
/// The most groups of a certificate.
const MAX_GROUPS: usize = 64;

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificates {
    name: CertificateName,
    groups: CertificateGroups,
    prefix: String,
    /// What names of another place begin with.
    reserved: Vec<String>,
}

impl Certificates {
    /// What this configuration says; none if a certificate says nothing of who asks.
    pub(crate) fn of(auth: Option<&Auth>) -> Option<Certificates> {
        let auth @ Auth { method, certificate, .. } = auth?;
        let certificate = certificate.as_ref()?;
        let prefix = certificate.prefix_beside(method.as_ref()).to_owned();
        let berth_config::Certificate { name, groups, prefix: _ } = *certificate;
        let reserved = if prefix.is_empty() { auth.reserved_prefixes() } else { Vec::new() };
        Some(Certificates { name, groups, prefix, reserved })
    }
}

/// Why a certificate names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable,
    /// It has no name of the kind.
    #[error("it has no name of the kind that auth.certificate.name takes")]
    Missing,
    /// It has several.
    #[error("it has more than one name of the kind that auth.certificate.name takes")]
    Several,
    /// It is no text that could be shown.
    #[error("its name is empty, longer than {MAX_NAME_BYTES} bytes, or no text that can be shown")]
    Odd,
    /// It would be somebody else.
    #[error("its name begins as those of an issuer's users or of service accounts do")]
    Reserved,
}

/// Who shows this certificate; pure.
fn identity(settings: &Certificates, certificate: &[u8]) -> Result<Identity, NameError> {
    let Ok(([], certificate)) = parse_x509_certificate(certificate) else { return Err(NameError::Unreadable) };
    let Certificates { name, groups, prefix, reserved } = settings;
    let is_reserved = |text: &str| reserved.iter().any(|other| text.starts_with(other.as_str()));
    // Of several, an authority that only checks one could have signed the others unseen.
    let name = match &names(*name, &certificate)?[..] {
        [] => return Err(NameError::Missing),
        [Some(name)] if is_reserved(name) => return Err(NameError::Reserved),
        [name] => name.filter(|name| is_plain(name)).ok_or(NameError::Odd)?,
        _ => return Err(NameError::Several),
    };
    let subject = certificate.subject();
    let groups: Vec<&AttributeTypeAndValue<'_>> = match groups {
        CertificateGroups::OrganizationalUnit => subject.iter_organizational_unit().collect(),
        CertificateGroups::Organization => subject.iter_organization().collect(),
        CertificateGroups::None => Vec::new(),
    };
    // What is left out can only grant less.
    let groups =
        groups.iter().filter_map(|group| group.as_str().ok()).filter(|group| is_plain(group) && !is_reserved(group));
    let groups = groups.take(MAX_GROUPS).map(|group| format!("{prefix}{group}"));
    Ok(Identity::of_certificate(&format!("{prefix}{name}"), groups.collect()))
}

/// Every name of the kind; none in place of one that is no text.
fn names<'a>(kind: CertificateName, certificate: &'a X509Certificate<'a>) -> Result<Vec<Option<&'a str>>, NameError> {
    if kind == CertificateName::CommonName {
        return Ok(certificate.subject().iter_common_name().map(|name| name.as_str().ok()).collect());
    }
    let alternatives = certificate.subject_alternative_name().map_err(|_| NameError::Unreadable)?;
    let alternatives = alternatives.map(|extension| extension.value.general_names.iter()).into_iter().flatten();
    let of_the_kind = alternatives.filter_map(|name| match (kind, name) {
        (CertificateName::Uri, GeneralName::URI(name))
        | (CertificateName::Dns, GeneralName::DNSName(name))
        | (CertificateName::Email, GeneralName::RFC822Name(name)) => Some(Some(*name)),
        _ => None,
    });
    Ok(of_the_kind.collect())
}

/// Whether a text is one that can be shown and compared: what looks empty or hides something is not.
fn is_plain(text: &str) -> bool {
    !text.trim().is_empty()
        && text.trim() == text
        && text.len() <= MAX_NAME_BYTES
        && !text.chars().any(char::is_control)
}

/// What a client has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing that says who it is.
    Nothing,
    /// A certificate of somebody.
    Known(Identity),
    /// One of somebody that counted, and does so no more.
    Past(Identity),
}

/// What a client has shown, now.
pub(crate) fn shown(settings: &Certificates, client: Option<&Client>) -> Shown {
    let Some(client) = client else { return Shown::Nothing };
    let named = client.named(|certificate| match identity(settings, certificate) {
        Ok(identity) => Some(identity),
        Err(error) => {
            tracing::info!(%error, "the certificate of a client names nobody");
            None
        }
    });
    match named {
        None => Shown::Nothing,
        Some(identity) if client.counts(UnixTime::now()) => Shown::Known(identity.clone()),
        Some(identity) => Shown::Past(identity.clone()),
    }
}

/// The answer of the method, where there is one, and what a client has shown beside, as one answer; and whose certificate it is
/// that is bad, if one is. Pure.
pub(crate) fn beside(
    method: Option<Result<Answer, AuthError>>,
    shown: Shown,
) -> (Option<Result<Answer, AuthError>>, Option<Identity>) {
    match (method, shown) {
        (None | Some(Ok(Answer::NoCredentials)), Shown::Known(identity)) => (Some(Ok(Answer::Known(identity))), None),
        (None | Some(Ok(Answer::NoCredentials)), Shown::Past(identity)) => {
            (Some(Ok(Answer::BadCredentials)), Some(identity))
        }
        (None, Shown::Nothing) => (Some(Ok(Answer::NoCredentials)), None),
        (answer, _) => (answer, None),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    use super::*;

    /// A second attribute of the kind: of the library's own kinds, there can be one each.
    fn another(last: u64) -> DnType {
        DnType::CustomDnType(vec![2, 5, 4, last])
    }

    fn certificate(subject: Vec<(DnType, DnValue)>, alternatives: Vec<SanType>) -> Vec<u8> {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            parameters.distinguished_name.push(kind, value);
        }
        parameters.subject_alt_names = alternatives;
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn settings(name: CertificateName, groups: CertificateGroups) -> Certificates {
        Certificates { name, groups, prefix: "cert:".into(), reserved: Vec::new() }
    }

    fn found(settings: &Certificates, certificate: &[u8]) -> Result<String, NameError> {
        identity(settings, certificate).map(|identity| {
            assert!(identity.grants().is_none() && identity.is_by_certificate());
            format!("{} [{}]", identity.name(), identity.groups().join(", "))
        })
    }

    #[test]
    fn a_common_name_is_who_shows_it() {
        let settings = settings(CertificateName::CommonName, CertificateGroups::OrganizationalUnit);
        let utf8 = |text: &str| DnValue::Utf8String(text.into());
        let cn = |value: DnValue| vec![(DnType::CommonName, value)];
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for (subject, expected) in [
            (cn(utf8("alice")), Ok("cert:alice []")),
            (cn(DnValue::PrintableString("Alice B".try_into().unwrap())), Ok("cert:Alice B []")),
            (cn(utf8("cert:alice")), Ok("cert:cert:alice []")),
            (cn(utf8("*")), Ok("cert:* []")),
            (vec![], Err(NameError::Missing)),
            (vec![(DnType::CommonName, utf8("alice")), (another(3), utf8("root"))], Err(NameError::Several)),
            (vec![(DnType::CommonName, utf8("alice")), (another(3), utf8(""))], Err(NameError::Several)),
            (cn(utf8("")), Err(NameError::Odd)),
            (cn(utf8(" ")), Err(NameError::Odd)),
            (cn(utf8("alice ")), Err(NameError::Odd)),
            (cn(utf8("root\0.example")), Err(NameError::Odd)),
            (cn(utf8("al\nice")), Err(NameError::Odd)),
            (cn(utf8(&long)), Err(NameError::Odd)),
            (cn(DnValue::BmpString("alice".try_into().unwrap())), Err(NameError::Odd)),
        ] {
            let label = format!("{subject:?}");
            let found = found(&settings, &certificate(subject, vec![]));
            assert_eq!(found.as_deref().map_err(|error| *error), expected, "{label}");
        }
        let whole = certificate(cn(utf8("alice")), vec![]);
        for odd in [&whole[..whole.len() - 1], &[&whole[..], b"x"].concat(), b""] {
            assert_eq!(found(&settings, odd), Err(NameError::Unreadable));
        }
    }

    #[test]
    fn an_alternative_name_is_who_shows_it() {
        use CertificateName::{Dns, Email, Uri};
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        let alternatives = || {
            vec![
                SanType::DnsName(text("node.example")),
                SanType::URI(text("spiffe://example/ns/team")),
                SanType::Rfc822Name(text("alice@example.com")),
                SanType::IpAddress([127, 0, 0, 1].into()),
            ]
        };
        let of =
            |name, alternatives| found(&settings(name, CertificateGroups::None), &certificate(vec![], alternatives));
        for (name, expected) in [
            (Uri, "cert:spiffe://example/ns/team []"),
            (Dns, "cert:node.example []"),
            (Email, "cert:alice@example.com []"),
        ] {
            assert_eq!(of(name, alternatives()).as_deref(), Ok(expected));
        }
        let two = vec![SanType::DnsName(text("a.example")), SanType::DnsName(text("b.example"))];
        assert_eq!(of(Dns, two), Err(NameError::Several));
        assert_eq!(of(Uri, vec![SanType::DnsName(text("a.example"))]), Err(NameError::Missing));
        assert_eq!(of(Uri, vec![]), Err(NameError::Missing));
        assert_eq!(of(Uri, vec![SanType::URI(text("a\0b"))]), Err(NameError::Odd));
    }

    #[test]
    fn groups_are_what_the_subject_says() {
        use CertificateGroups::{None, Organization, OrganizationalUnit};
        let utf8 = |text: &str| DnValue::Utf8String(text.into());
        let certificate = certificate(
            vec![
                (DnType::CommonName, utf8("alice")),
                (DnType::OrganizationalUnitName, utf8("platform")),
                (another(11), utf8("on call")),
                (DnType::OrganizationName, utf8("acme")),
                (another(10), utf8("a\nb")),
            ],
            vec![],
        );
        let with = |groups| found(&settings(CertificateName::CommonName, groups), &certificate).unwrap();
        let both = with(OrganizationalUnit);
        assert!(
            both == "cert:alice [cert:platform, cert:on call]" || both == "cert:alice [cert:on call, cert:platform]"
        );
        assert_eq!((with(Organization), with(None)), ("cert:alice [cert:acme]".into(), "cert:alice []".into()));
        let bare = Certificates { prefix: String::new(), ..settings(CertificateName::CommonName, Organization) };
        assert_eq!(found(&bare, &certificate).unwrap(), "alice [acme]");
        let reserving = |prefix: &str| Certificates { reserved: vec![prefix.into()], ..bare.clone() };
        assert_eq!(found(&reserving("ac"), &certificate).unwrap(), "alice []");
        assert_eq!(found(&reserving("al"), &certificate), Err(NameError::Reserved));
    }

    #[test]
    fn a_certificate_counts_where_no_other_credentials_do() {
        let (by_password, by_certificate) = (Identity::new("alice"), Identity::of_certificate("cert:alice", vec![]));
        let known = |identity: &Identity| Some(Ok(Answer::Known(identity.clone())));
        let (shown, past) = (|| Shown::Known(by_certificate.clone()), || Shown::Past(by_certificate.clone()));
        for (method, shown, expected, is_past) in [
            (None, Shown::Nothing, Some(Answer::NoCredentials), false),
            (None, shown(), Some(Answer::Known(by_certificate.clone())), false),
            (None, past(), Some(Answer::BadCredentials), true),
            (Some(Ok(Answer::NoCredentials)), Shown::Nothing, Some(Answer::NoCredentials), false),
            (Some(Ok(Answer::NoCredentials)), shown(), Some(Answer::Known(by_certificate.clone())), false),
            (Some(Ok(Answer::NoCredentials)), past(), Some(Answer::BadCredentials), true),
            // Who says a wrong password is not taken for whose certificate it is.
            (Some(Ok(Answer::BadCredentials)), shown(), Some(Answer::BadCredentials), false),
            (Some(Ok(Answer::BadCredentials)), past(), Some(Answer::BadCredentials), false),
            (known(&by_password), shown(), Some(Answer::Known(by_password.clone())), false),
            (known(&by_password), past(), Some(Answer::Known(by_password.clone())), false),
            (Some(Err(AuthError::Busy)), shown(), None, false),
        ] {
            let label = format!("{method:?} {shown:?}");
            let (found, bad) = beside(method, shown);
            assert_eq!(found.and_then(Result::ok), expected, "{label}");
            assert_eq!(bad, is_past.then(|| by_certificate.clone()), "{label}");
        }
    }
}
