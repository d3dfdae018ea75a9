//! What stands for Microsoft Entra in tests.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The secret of the only application, `client` of the tenant `tenant`.
pub(crate) const SECRET: &str = "secret-of-the-application";

/// Starts what gives out tokens to whoever knows the secret. azurite looks at what they say, and believes it.
pub(crate) async fn authority() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(give(stream));
        }
    });
    address
}

async fn give(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("grant_type=client_credentials") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let known = request.starts_with("POST /tenant/oauth2/v2.0/token") && request.contains(&format!("{SECRET}&"));
    let (status, body) = match known {
        true => ("200 OK", format!(r#"{{"access_token":"{}","expires_in":3600}}"#, token())),
        false => ("401 Unauthorized", r#"{"error":"invalid_client","error_description":"No such secret."}"#.to_owned()),
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}

fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (before, after) = (now - 60, now + 3600);
    let claims = format!(
        r#"{{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/tenant/","tid":"tenant","oid":"object","nbf":{before},"iat":{before},"exp":{after}}}"#
    );
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"typ":"JWT","alg":"RS256"}"#), part(&claims), part("nobody looks at this"))
}
