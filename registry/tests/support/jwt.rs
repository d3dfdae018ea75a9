//! Keys that sign tokens, and a server of documents such as sets of their public ones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A key that signs tokens.
pub struct Signer {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub fn new(kid: &'static str) -> Self {
        Signer { kid, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    pub fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"kty": "EC", "use": "sig", "alg": "ES256", "kid": self.kid, "crv": "P-256", "x": x, "y": y})
    }

    /// The private key.
    pub fn private_pem(&self) -> String {
        let der = self.pair.to_pkcs8v1().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.kid, claims)
    }

    /// The same with another name of the key.
    pub fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "ES256", "kid": kid});
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(&header), text(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The header that brings a token with these grants: `TYPE:NAME:ACTION,…`.
    pub fn bearer(&self, scopes: &[&str]) -> String {
        self.bearer_until(jiff::Timestamp::now().as_second() + 300, scopes)
    }

    /// The same, which ends at a time, in seconds since 1970.
    pub fn bearer_until(&self, end: i64, scopes: &[&str]) -> String {
        let access: Vec<Value> = scopes
            .iter()
            .map(|scope| {
                let [kind, name, actions] = scope.split(':').collect::<Vec<_>>()[..] else { panic!("{scope}") };
                json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
            })
            .collect();
        let claims = json!({"iss": "issuer", "sub": "alice", "aud": ["registry"], "exp": end, "access": access});
        format!("Bearer {}", self.sign(&claims))
    }
}

/// A set of the public keys.
pub fn set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The claims of a token; nothing of it is verified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A server of documents that change, by their paths. What is not there is a failure.
pub struct Documents {
    pub address: SocketAddr,
    documents: Arc<Mutex<HashMap<String, String>>>,
    /// The header `Authorization` that it wants; none if everybody may read.
    wanted: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Documents {
    pub async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Documents {
            address: listener.local_addr().unwrap(),
            documents: Arc::default(),
            wanted: Arc::default(),
            asked: Arc::default(),
        };
        let (documents, wanted, asked) = (this.documents.clone(), this.wanted.clone(), this.asked.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (documents, wanted, asked) = (documents.clone(), wanted.clone(), asked.clone());
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
                    let is_let_in = wanted.lock().unwrap().as_deref().is_none_or(|wanted| given == Some(wanted));
                    let document = documents.lock().unwrap().get(request.uri().path()).cloned();
                    let status = match (is_let_in, &document) {
                        (false, _) => 403,
                        (true, None) => 500,
                        (true, Some(_)) => 200,
                    };
                    let body = Full::<Bytes>::from(document.filter(|_| is_let_in).unwrap_or_default());
                    async move { Response::builder().status(status).body(body) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        this
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn publish(&self, path: &str, document: impl Into<String>) {
        self.documents.lock().unwrap().insert(path.to_owned(), document.into());
    }

    pub fn withdraw(&self, path: &str) {
        self.documents.lock().unwrap().remove(path);
    }

    pub fn ask_for(&self, authorization: &str) {
        *self.wanted.lock().unwrap() = Some(authorization.to_owned());
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
