//! Tokens that are signed here, and what is believed of them. Tokens of other programs are in the tests of peers.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use super::super::Access;
use super::*;
use crate::jose::PublicKey;

/// In January 2027.
const NOW: i64 = 1_800_000_000;

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str, usize),
    Ed(Ed25519KeyPair),
}

impl Pair {
    fn rsa() -> Self {
        Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn ec(algorithm: Algorithm) -> Self {
        let (signing, curve, bytes) = match algorithm {
            Algorithm::ES384 => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
            Algorithm::ES512 => (&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", 66),
            _ => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
        };
        Pair::Ec(EcdsaKeyPair::generate(signing).unwrap(), curve, bytes)
    }

    fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 => Pair::ec(algorithm),
            Algorithm::EdDSA => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::rsa(),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Pair::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": kid, "n": text(n), "e": text(e)})
            }
            Pair::Ec(pair, curve, bytes) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(*bytes);
                json!({"kty": "EC", "kid": kid, "crv": curve, "x": text(x), "y": text(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
        }
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Pair::Ec(pair, ..) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let encoding: &'static dyn signature::RsaEncoding = match algorithm {
                    Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_SHA384,
                    Algorithm::PS512 => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn claims() -> Value {
    json!({"iss": "issuer", "sub": "alice", "aud": "registry", "exp": NOW + 300, "access": [
        {"type": "repository", "name": "team/app", "actions": ["pull"]},
    ]})
}

/// A token with this header beside `alg`.
fn token(pair: &Pair, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
    let mut header = header.clone();
    header["alg"] = algorithm.name().into();
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", text(&header), text(claims));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(algorithm, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn settings() -> Settings {
    Settings {
        realm: "https://auth.example/token".into(),
        service: "registry".into(),
        issuer: "issuer".into(),
        algorithms: Algorithm::ALL.to_vec(),
        redirect_path: None,
    }
}

fn set(jwks: &[Value]) -> Keys {
    let mut keys = Keys::default();
    keys.add_set(json!({"keys": jwks}).to_string().as_bytes()).unwrap();
    keys
}

fn bundle(certificates: &[&rcgen::Certificate]) -> Keys {
    let mut keys = Keys::default();
    let pem: String = certificates.iter().map(|certificate| certificate.pem()).collect();
    keys.add_bundle(pem.as_bytes()).unwrap();
    keys
}

fn x5c(chain: &[&rcgen::Certificate]) -> Value {
    chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect()
}

#[track_caller]
fn refused(token: &str, keys: &Keys) -> String {
    verify(token, &settings(), keys, NOW).unwrap_err().to_string()
}

#[test]
fn every_algorithm_is_believed_by_name_and_by_key() {
    for algorithm in Algorithm::ALL {
        let (pair, other) = (Pair::of(algorithm), Pair::of(algorithm));
        let keys = set(&[other.jwk("other"), pair.jwk("mine")]);
        let thumbprint = PublicKey::of_jwk(&serde_json::from_value(pair.jwk("")).unwrap()).unwrap().names()[0].clone();
        for header in [
            json!({"kid": "mine"}),
            json!({"kid": thumbprint}),
            json!({"jwk": pair.jwk("")}),
            json!({"jwk": pair.jwk("mine")}),
        ] {
            let token = token(&pair, algorithm, &header, &claims());
            let (identity, until) = verify(&token, &settings(), &keys, NOW).unwrap();
            assert_eq!((identity.name(), until), ("alice", NOW + 360), "{algorithm:?} {header}");
            let has = |action| identity.grants().unwrap().has(&Access::of("repository", "team/app", action));
            assert!(has("pull") && !has("push"));
        }
        let by_other = token(&other, algorithm, &json!({"kid": "mine"}), &claims());
        assert_eq!(refused(&by_other, &keys), "its signature is not that of its key", "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_token_that_was_verified_is_not_verified_again() {
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        let directory = tempfile::tempdir().unwrap();
        let (file, pair) = (directory.path().join("keys.json"), Pair::of(algorithm));
        std::fs::write(&file, json!({"keys": [pair.jwk("mine")]}).to_string()).unwrap();
        let mut asked = Token::open(berth_config::Token {
            realm: "https://auth.example/token".into(),
            service: "registry".into(),
            issuer: "issuer".into(),
            rootcertbundle: None,
            jwks: Some(file.display().to_string()),
            jwkscafile: None,
            signingalgorithms: Vec::new(),
            autoredirect: false,
            autoredirectpath: String::new(),
        })
        .await
        .unwrap();
        let signed = |jti: &str| {
            let mut claims = claims();
            claims["exp"] = (jiff::Timestamp::now().as_second() + 300).into();
            claims["jti"] = jti.into();
            token(&pair, algorithm, &json!({"kid": "mine"}), &claims)
        };
        let (first, second) = (signed("first"), signed("second"));
        let Answer::Known(somebody) = asked.believe(&first).await.unwrap() else { panic!("{algorithm:?}") };
        assert_eq!(somebody.name(), "alice");
        // Whatever would be verified from now on is refused.
        asked.settings.issuer = "another".into();
        for _ in 0..3 {
            assert_eq!(asked.believe(&first).await.unwrap(), Answer::Known(somebody.clone()), "{algorithm:?}");
        }
        let (unsigned, signature) = first.rsplit_once('.').unwrap();
        let (_, of_another) = second.rsplit_once('.').unwrap();
        for other in
            [second.clone(), format!("{unsigned}.{of_another}"), format!("{unsigned}."), format!("{first}{signature}")]
        {
            assert_eq!(asked.believe(&other).await.unwrap(), Answer::BadCredentials, "{algorithm:?}");
        }
    }
}

#[test]
fn no_key_is_taken_for_another_kind_of_key() {
    let (rsa, ec, ed) = (Pair::rsa(), Pair::ec(Algorithm::ES256), Pair::of(Algorithm::EdDSA));
    let mut only = rsa.jwk("only");
    only["alg"] = "RS512".into();
    let keys = set(&[rsa.jwk("rsa"), ec.jwk("ec"), ed.jwk("ed"), only]);
    for (pair, kid, algorithm) in [
        (&rsa, "ec", Algorithm::RS256),
        (&rsa, "ed", Algorithm::PS256),
        (&ec, "rsa", Algorithm::ES256),
        (&ec, "ed", Algorithm::ES256),
        (&ed, "ec", Algorithm::EdDSA),
        (&rsa, "only", Algorithm::RS256),
    ] {
        let token = token(pair, algorithm, &json!({"kid": kid}), &claims());
        assert_eq!(refused(&token, &keys), "its signature is not that of its key", "{kid} {algorithm:?}");
    }
}

#[test]
fn a_token_that_does_not_say_who_has_signed_it_is_not_believed() {
    let (pair, stranger) = (Pair::ec(Algorithm::ES256), Pair::ec(Algorithm::ES256));
    let keys = set(&[pair.jwk("mine")]);
    for (header, expected) in [
        (json!({}), "it names no key: neither x5c nor jwk nor kid"),
        (json!({"kid": ""}), "it names no key: neither x5c nor jwk nor kid"),
        (json!({"kid": "Mine"}), "its key, \"Mine\", is not known"),
        (json!({"kid": "../mine"}), "its key, \"../mine\", is not known"),
        (
            json!({"jwk": {"kty": "oct", "k": "AAAA"}}),
            "its key cannot be used: its kind, \"oct\", is none of RSA, EC and OKP",
        ),
    ] {
        let token = token(&pair, Algorithm::ES256, &header, &claims());
        assert_eq!(refused(&token, &keys), expected, "{header}");
    }
    let embedded = token(&stranger, Algorithm::ES256, &json!({"jwk": stranger.jwk("")}), &claims());
    assert!(refused(&embedded, &keys).ends_with("is not known"));
    // It says the name of a key that is known, and then that one counts.
    let pretended = token(&stranger, Algorithm::ES256, &json!({"jwk": stranger.jwk("mine")}), &claims());
    assert_eq!(refused(&pretended, &keys), "its signature is not that of its key");
}

struct Certified {
    certificate: rcgen::Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Certified {
    fn made(change: impl FnOnce(&mut CertificateParams), by: Option<&Certified>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["tokens.example".into()]).unwrap();
        change(&mut params);
        let certificate = match by {
            Some(by) => params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Certified { certificate, params, key }
    }

    fn authority(by: Option<&Certified>) -> Self {
        Certified::made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), by)
    }

    fn ec(&self) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key.serialize_der()).unwrap()
    }

    fn pair(&self) -> Pair {
        Pair::Ec(self.ec(), "P-256", 32)
    }

    fn spki(&self) -> Vec<u8> {
        self.ec().public_key().as_der().unwrap().as_ref().to_vec()
    }
}

#[test]
fn certificates_vouch_for_keys() {
    let root = Certified::authority(None);
    let between = Certified::authority(Some(&root));
    let leaf = Certified::made(|_| (), Some(&between));
    let usage =
        |params: &mut CertificateParams| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    let signing = Certified::made(usage, Some(&root));
    let alone = Certified::made(|_| (), None);
    let keys = bundle(&[&root.certificate, &alone.certificate]);
    let mut with_chain = leaf.pair().jwk("");
    with_chain["x5c"] = x5c(&[&leaf.certificate, &between.certificate]);
    for (of, header) in [
        (&leaf, json!({"x5c": x5c(&[&leaf.certificate, &between.certificate])})),
        (&leaf, json!({"x5c": x5c(&[&leaf.certificate, &between.certificate, &root.certificate])})),
        (&leaf, json!({"jwk": with_chain})),
        (&signing, json!({"x5c": x5c(&[&signing.certificate])})),
        (&alone, json!({"x5c": x5c(&[&alone.certificate])})),
        (&root, json!({"x5c": x5c(&[&root.certificate])})),
    ] {
        let token = token(&of.pair(), Algorithm::ES256, &header, &claims());
        verify(&token, &settings(), &keys, NOW).unwrap();
    }
    // The key of a certificate of the bundle has names: that of Docker Registry 2.8 is libtrust's.
    let spki = alone.spki();
    for kid in [crate::libtrust::key_id(&spki), PublicKey::of_spki(&spki).unwrap().names()[0].clone()] {
        let token = token(&alone.pair(), Algorithm::ES256, &json!({"kid": kid}), &claims());
        verify(&token, &settings(), &keys, NOW).unwrap();
    }
}

#[test]
fn certificates_that_vouch_for_nothing() {
    let (root, other) = (Certified::authority(None), Certified::authority(None));
    let between = Certified::authority(Some(&root));
    let leaf = Certified::made(|_| (), Some(&between));
    let (before, after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2028, 1, 1));
    let ended = Certified::made(|params| params.not_after = before, Some(&root));
    let early = Certified::made(|params| params.not_before = after, Some(&root));
    let no_authority = Certified::made(|_| (), Some(&root));
    let by_no_authority = Certified::made(|_| (), Some(&no_authority));
    let stranger = Certified::made(|_| (), Some(&other));
    let keys = bundle(&[&root.certificate]);
    for (of, chain) in [
        (&leaf, vec![&leaf]),
        (&ended, vec![&ended]),
        (&early, vec![&early]),
        (&by_no_authority, vec![&by_no_authority, &no_authority]),
        (&stranger, vec![&stranger]),
        (&stranger, vec![&stranger, &other]),
        (&stranger, vec![&stranger, &root]),
    ] {
        let chain: Vec<_> = chain.iter().map(|certified| &certified.certificate).collect();
        let token = token(&of.pair(), Algorithm::ES256, &json!({"x5c": x5c(&chain)}), &claims());
        let said = refused(&token, &keys);
        assert!(said.starts_with("its certificate is not believed"), "{said}");
    }
    // The chain is good, and its key has not signed this.
    let chain = json!({"x5c": x5c(&[&leaf.certificate, &between.certificate])});
    let by_other = token(&stranger.pair(), Algorithm::ES256, &chain, &claims());
    assert_eq!(refused(&by_other, &keys), "its signature is not that of its key");
    // Also who names a key that is known has to lead there with the chain.
    let mut both = json!({"x5c": x5c(&[&stranger.certificate])});
    both["kid"] = PublicKey::of_spki(&root.spki()).unwrap().names()[0].clone().into();
    assert!(refused(&token(&root.pair(), Algorithm::ES256, &both, &claims()), &keys).starts_with("its certificate"));
    // An authority that has ended vouches for nothing.
    let past = Certified::made(
        |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_after = before;
        },
        None,
    );
    let of_past = Certified::made(|_| (), Some(&past));
    let keys = bundle(&[&past.certificate]);
    for (of, chain) in [(&of_past, vec![&of_past.certificate]), (&past, vec![&past.certificate])] {
        let token = token(&of.pair(), Algorithm::ES256, &json!({"x5c": x5c(&chain)}), &claims());
        assert!(refused(&token, &keys).starts_with("its certificate is not believed"));
    }
}

/// A token that was verified is not looked at again for a while: not beyond the end of what vouches for it.
#[test]
fn a_token_counts_no_longer_than_the_certificates_that_vouch_for_it() {
    let ends = |seconds: i64| {
        move |params: &mut CertificateParams| {
            params.not_after =
                date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs((NOW + seconds).unsigned_abs());
        }
    };
    let authority = |seconds: i64, by: Option<&Certified>| {
        let made = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            ends(seconds)(params);
        };
        Certified::made(made, by)
    };
    let lasting = authority(10_000, None);
    let keys = |root: &Certified| bundle(&[&root.certificate]);
    let short = authority(30, None);
    let between = authority(20, Some(&lasting));
    for (leaf, chain, root, expected) in [
        (Certified::made(ends(9_000), Some(&lasting)), vec![], &lasting, 300),
        (Certified::made(ends(10), Some(&lasting)), vec![], &lasting, 10),
        (Certified::made(ends(9_000), Some(&between)), vec![&between], &lasting, 20),
        (Certified::made(ends(9_000), Some(&short)), vec![], &short, 30),
    ] {
        let chain: Vec<_> = [&leaf].into_iter().chain(chain).map(|one| &one.certificate).collect();
        let token = token(&leaf.pair(), Algorithm::ES256, &json!({"x5c": x5c(&chain)}), &claims());
        let (_, until) = verify(&token, &settings(), &keys(root), NOW).unwrap();
        assert_eq!((until - NOW).min(300), expected);
    }
}

#[test]
fn without_a_bundle_a_chain_is_passed_over() {
    let (stranger, pair) = (Certified::authority(None), Pair::ec(Algorithm::ES256));
    let header = json!({"x5c": x5c(&[&stranger.certificate]), "kid": "mine"});
    let token = token(&pair, Algorithm::ES256, &header, &claims());
    verify(&token, &settings(), &set(&[pair.jwk("mine")]), NOW).unwrap();
}

#[test]
fn what_was_changed_behind_the_signature_is_not_believed() {
    let pair = Pair::ec(Algorithm::ES256);
    let keys = set(&[pair.jwk("mine")]);
    let good = token(&pair, Algorithm::ES256, &json!({"kid": "mine"}), &claims());
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let text = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut more = claims();
    more["access"][0]["actions"] = json!(["*"]);
    for changed in [
        format!("{header}.{}.{signature}", text(more)),
        format!("{}.{payload}.{signature}", text(json!({"alg": "none", "kid": "mine"}))),
        format!("{}.{payload}.", text(json!({"alg": "none", "kid": "mine"}))),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
        format!("{header}.{payload}.{}", &signature[..40]),
        format!("{header}.{payload}"),
    ] {
        verify(&changed, &settings(), &keys, NOW).unwrap_err();
    }
    verify(&good, &settings(), &keys, NOW).unwrap();
    let of_others = Settings { service: "other".into(), ..settings() };
    assert_eq!(verify(&good, &of_others, &keys, NOW).unwrap_err().to_string(), "it is for [\"registry\"]");
}

#[test]
fn sets_and_bundles_that_hold_no_key_are_refused() {
    let mut keys = Keys::default();
    let set = |keys: &mut Keys, text: &str| keys.add_set(text.as_bytes()).map_err(|error| error.to_string());
    for (text, expected) in [
        ("", "it is no JSON Web Key Set"),
        ("{}", "it is no JSON Web Key Set: missing field `keys`"),
        (r#"{"keys": []}"#, "there is no key in it that could sign a token"),
        (
            r#"{"keys": [{"kty": "oct", "kid": "s"}]}"#,
            "there is no key in it that could sign a token: key \"s\": its kind",
        ),
    ] {
        let said = set(&mut keys, text).unwrap_err();
        assert!(said.starts_with(expected), "{text}: {said}");
    }
    let pair = Pair::ec(Algorithm::ES256);
    let mut sealing = pair.jwk("sealing");
    sealing["use"] = "enc".into();
    let passed_over = set(&mut keys, &json!({"keys": [sealing, pair.jwk("mine"), {"kty": "x"}]}).to_string()).unwrap();
    assert_eq!(
        passed_over,
        ["key 3: its kind, \"x\", is none of RSA, EC and OKP"],
        "one that encrypts is nothing to tell of"
    );
    assert_eq!(keys.counts(), (1, 0));
    let mut keys = Keys::default();
    assert!(keys.add_bundle(b"").unwrap_err().to_string().contains("BEGIN CERTIFICATE"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(keys.add_bundle(broken.as_bytes()).unwrap_err().to_string(), "certificate 1 cannot be read");
}

#[test]
fn only_algorithms_with_public_keys_are_taken() {
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    assert_eq!(algorithms(&[]).unwrap(), Algorithm::ALL);
    assert_eq!(algorithms(&names(&["HS256", "ES256"])).unwrap(), [Algorithm::ES256]);
    let refused = algorithms(&names(&["HS256"])).unwrap_err().to_string();
    assert!(refused.starts_with("auth.token.signingalgorithms: none of HS256"), "{refused}");
    for name in ["none", "es256", ""] {
        let refused = algorithms(&names(&["ES256", name])).unwrap_err();
        assert_eq!(refused, SettingsError::Algorithm(name.into()));
    }
}

#[test]
fn keys_lie_in_a_file_or_at_an_address() {
    assert_eq!(place("/etc/keys.json", None), Ok(Place::File("/etc/keys.json".into())));
    assert_eq!(
        place("https://id.example/keys", None),
        Ok(Place::Remote(Remote::Set(Document::new(SET, Uri::from_static("https://id.example/keys"))).into()))
    );
    let trusted = place("https://id.example/keys", Some(Path::new("/ca.pem")));
    let Ok(Place::Remote(remote)) = trusted else { panic!("{trusted:?}") };
    assert!(matches!(*remote, Remote::Set(Document { trust: Trust::Also(file), .. }) if file == Path::new("/ca.pem")));
    for text in ["https://", "http://a b/"] {
        assert_eq!(place(text, None), Err(SettingsError::Address(text.into())));
    }
}

#[test]
fn a_token_stands_behind_its_scheme() {
    for (value, expected) in [
        ("Bearer abc", Some("abc")),
        ("bearer  abc ", Some("abc")),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("abc", None),
    ] {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&headers), expected, "{value}");
    }
    assert_eq!(bearer(&HeaderMap::new()), None);
}

#[test]
fn clients_are_sent_to_the_address_that_they_know() {
    for (forwarded, path, expected) in [
        (None, "/auth/token", "https://r.example/auth/token"),
        (Some("http"), "auth", "http://r.example/auth"),
        (Some("https"), "/auth", "https://r.example/auth"),
        (Some("javascript"), "/auth", "https://r.example/auth"),
    ] {
        let headers: HeaderMap = forwarded
            .into_iter()
            .map(|scheme: &str| (header::HeaderName::from_static("x-forwarded-proto"), scheme.parse().unwrap()))
            .collect();
        assert_eq!(own_realm(&headers, "r.example", path), expected);
    }
}
