//! Signed addresses (V4), with which anybody can fetch an object for some time. Pure: the key, or the service that signs, is
//! somebody else's.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use super::address::escape;

/// The longest time that the server allows.
const MAX_VALIDITY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An address without its signature.
#[derive(Debug)]
pub(super) struct Unsigned {
    query: String,
    /// What is to be signed, with RSA (PKCS #1 v1.5) and SHA-256.
    pub(super) text: String,
}

impl Unsigned {
    /// An address to fetch what lies at a path of a host.
    pub(super) fn new(host: &str, path: &str, email: &str, at: Timestamp, validity: Duration) -> Self {
        let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/auto/storage/goog4_request", at.strftime("%Y%m%d"));
        let credential = escape(&format!("{email}/{scope}"));
        let expires = validity.clamp(Duration::from_secs(1), MAX_VALIDITY).as_secs();
        // The parameters are in the order of their names, as the server has them in what it verifies.
        let query = format!(
            "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential={credential}&X-Goog-Date={time}&X-Goog-Expires={expires}\
             &X-Goog-SignedHeaders=host"
        );
        let request = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let text = format!("GOOG4-RSA-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, request.as_bytes()).as_ref()));
        Unsigned { query, text }
    }

    /// The query of the address.
    pub(super) fn with(self, signature: &[u8]) -> String {
        format!("{}&X-Goog-Signature={}", self.query, hex(signature))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;
    use crate::gcs::address::Address;

    const EMAIL: &str = "test-iam-credentials@dummy-project-id.iam.gserviceaccount.com";
    /// The public half of the key that Google signs its published examples with.
    const MODULUS: &str = "ac3f3322ac8a2db5f436af28d098f5a871211e1a8edfed0e3fb4c4171e55c5ce8f77006814dadf9c9448fd2f99683612\
        d5abebe4faa9a7c83cf9434e32f23556c8c633cc634dac6456ff2698aa7aa52990b2d4eddb9a736357b1036c2fe31356\
        4b058d14dc76921df9fa4bd343f0c5dd803d3fba54535b0ababd4f3fc3a8b9b58b14ee7d8b2e54139757d0eff7a63bd9\
        d87021497b31d955ad0799e5ac747c16b28934b24c10610348ccfdc917d0694798094f680d81ee8aa290deb0978ba0bc\
        da5fb7149c39fe0809e72ee2c3c304ac2152b257184116c1573e9960a5a411c261b3c046dffd7a6df6aa36eb0d943209\
        f7d23b0e68a9527805fc712e95885fad";

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
    }

    /// A published example: the address, and its signature, which is that of our text.
    fn check(bucket: &str, object: &str, at: &str, seconds: u64, expected: &str) {
        let address = Address::new(None, bucket).unwrap();
        let path = address.download_path(object);
        let validity = Duration::from_secs(seconds);
        let unsigned = Unsigned::new(address.host(), &path, EMAIL, at.parse().unwrap(), validity);
        let signature = unhex(expected.rsplit_once("X-Goog-Signature=").unwrap().1);
        let key = RsaPublicKeyComponents { n: unhex(MODULUS), e: vec![1, 0, 1] };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, unsigned.text.as_bytes(), &signature).unwrap();
        assert_eq!(address.at(&path, &unsigned.with(&signature)), expected);
    }

    #[test]
    fn addresses_are_signed_as_in_the_published_examples() {
        let begin = "https://storage.googleapis.com/";
        let credential = "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=test-iam-credentials%40dummy-project-id.iam.gserviceaccount.com%2F";
        check(
            "test-bucket",
            "test-object",
            "2019-02-01T09:00:00Z",
            10,
            &format!(
                "{begin}test-bucket/test-object?{credential}20190201%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Date=20190201T090000Z&X-Goog-Expires=10&X-Goog-SignedHeaders=host&X-Goog-Signature=95e6a13d43a1d1962e667f17397f2b80ac9bdd1669210d5e08e0135df9dff4e56113485dbe429ca2266487b9d1796ebdee2d7cf682a6ef3bb9fbb4c351686fba90d7b621cf1c4eb1fdf126460dd25fa0837dfdde0a9fd98662ce60844c458448fb2b352c203d9969cb74efa4bdb742287744a4f2308afa4af0e0773f55e32e92973619249214b97283b2daa14195244444e33f938138d1e5f561088ce8011f4986dda33a556412594db7c12fc40e1ff3f1bedeb7a42f5bcda0b9567f17f65855f65071fabb88ea12371877f3f77f10e1466fff6ff6973b74a933322ff0949ce357e20abe96c3dd5cfab42c9c83e740a4d32b9e11e146f0eb3404d2e975896f74"
            ),
        );
        check(
            "test-bucket",
            "test-object",
            "2019-03-01T09:00:00Z",
            20,
            &format!(
                "{begin}test-bucket/test-object?{credential}20190301%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Date=20190301T090000Z&X-Goog-Expires=20&X-Goog-SignedHeaders=host&X-Goog-Signature=9669ed5b10664dc594c758296580662912cf4bcc5a4ba0b6bf055bcbf6f34eed7bdad664f534962174a924741a0c273a4f67bc1847cef20192a6beab44223bd9d4fbbd749c407b79997598c30f82ddc269ff47ec09fa3afe74e00616d438df0d96a7d8ad0adacfad1dc3286f864d924fe919fb0dce45d3d975c5afe8e13af2db9cc37ba77835f92f7669b61e94c6d562196c1274529e76cfff1564cc2cad7d5387dc8e12f7a5dfd925685fe92c30b43709eee29fa2f66067472cee5423d1a3a4182fe8cea75c9329d181dc6acad7c393cd04f8bf5bc0515127d8ebd65d80c08e19ad03316053ea60033fd1b1fd85a69c576415da3bf0a3718d9ea6d03e0d66f0"
            ),
        );
        check(
            "test-bucket2",
            "test-object2",
            "2019-02-01T09:00:00Z",
            10,
            &format!(
                "{begin}test-bucket2/test-object2?{credential}20190201%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Date=20190201T090000Z&X-Goog-Expires=10&X-Goog-SignedHeaders=host&X-Goog-Signature=36e3d58dfd3ec1d2dd2f24b5ee372a71e811ffaa2162a2b871d26728d0354270bc116face87127532969c4a3967ed05b7309af741e19c7202f3167aa8c2ac420b61417d6451442bb91d7c822cd17be8783f01e05372769c88913561d27e6660dd8259f0081a71f831be6c50283626cbf04494ac10c394b29bb3bce74ab91548f58a37118a452693cf0483d77561fc9cac8f1765d2c724994cca46a83517a10157ee0347a233a2aaeae6e6ab5e204ff8fc5f54f90a3efdb8301d9fff5475d58cd05b181affd657f48203f4fb133c3a3d355b8eefbd10d5a0a5fd70d06e9515460ad74e22334b2cba4b29cae4f6f285cdb92d8f3126d7a1479ca3bdb69c207d860"
            ),
        );
    }

    #[test]
    fn no_address_is_good_for_longer_than_the_server_allows() {
        let at: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let unsigned = Unsigned::new("h:1", "/b/o", "a@b", at, Duration::from_secs(u64::MAX));
        assert!(unsigned.query.contains("X-Goog-Expires=604800&"));
        assert_eq!(hex(&[0, 0x1f, 0xf0]), "001ff0");
    }
}
