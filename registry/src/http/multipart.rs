//! Several parts of one content in one answer: `multipart/byteranges` (RFC 9110, 14.6).
//!
//! How parts are read is not known here.

use berth_storage::ByteRange;
use uuid::Uuid;

/// The media type of a part.
const PART_TYPE: &str = "application/octet-stream";

/// What stands between the parts.
pub(crate) struct Multipart {
    boundary: String,
    /// The size of the whole content in bytes.
    size: u64,
    parts: Vec<ByteRange>,
}

impl Multipart {
    /// An answer of these parts, in this order, of content of this size in bytes.
    pub(crate) fn new(parts: Vec<ByteRange>, size: u64) -> Self {
        // Random, so that no content can be made to hold it.
        Multipart { boundary: Uuid::new_v4().simple().to_string(), size, parts }
    }

    pub(crate) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// The length of the whole answer in bytes.
    pub(crate) fn length(&self) -> u64 {
        let parts = self.parts().map(|(head, part)| head.len() as u64 + (part.end - part.start));
        parts.sum::<u64>() + self.tail().len() as u64
    }

    /// The parts, each with what stands in front of it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (String, ByteRange)> + '_ {
        let Multipart { boundary, size, parts } = self;
        parts.iter().enumerate().map(move |(at, part)| {
            let line_break = if at == 0 { "" } else { "\r\n" };
            let head = format!(
                "{line_break}--{boundary}\r\nContent-Range: bytes {}-{}/{size}\r\nContent-Type: {PART_TYPE}\r\n\r\n",
                part.start,
                part.end - 1
            );
            (head, *part)
        })
    }

    /// What stands behind the last part.
    pub(crate) fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_all_pieces() {
        let parts = vec![ByteRange { start: 0, end: 1 }, ByteRange { start: 5, end: 10 }];
        let content = b"0123456789";
        let multipart = Multipart::new(parts, 10);
        let mut written = String::new();
        for (head, part) in multipart.parts() {
            written.push_str(&head);
            written.push_str(std::str::from_utf8(&content[part.start as usize..part.end as usize]).unwrap());
        }
        written.push_str(&multipart.tail());
        assert_eq!(multipart.length(), written.len() as u64);
        let (_, boundary) =
            multipart.content_type().split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let expected = "--B\r\nContent-Range: bytes 0-0/10\r\nContent-Type: application/octet-stream\r\n\r\n0\r\n\
                        --B\r\nContent-Range: bytes 5-9/10\r\nContent-Type: application/octet-stream\r\n\r\n56789\r\n--B--\r\n";
        assert_eq!(written.replace(&boundary, "B"), expected);
        assert_ne!(Multipart::new(Vec::new(), 10).boundary, boundary);
    }
}
