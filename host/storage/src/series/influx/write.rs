//! Lines out: one request at a time, compressed, with what the server answers.

use super::answers::WriteAnswer;
use super::client::Client;
use crate::error::Result;
use crate::series::Budget;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header;
use std::io::Write as _;

/// Bodies from this many bytes on are sent as gzip; below it costs more than it saves.
pub(super) const GZIP_BYTES_MIN: usize = 1_024;

impl Client {
    /// Lines with nanosecond times to a bucket, in one try.
    pub fn write(&self, bucket: &str, lines: &str, budget: &Budget) -> Result<WriteAnswer> {
        let url = self.url("/api/v2/write", &[("bucket", bucket), ("precision", "ns")]);
        let request = self.http.post(url).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        let request = match packed(lines) {
            Some(packed) => request.header(header::CONTENT_ENCODING, "gzip").body(packed),
            None => request.body(lines.to_string()),
        };
        let answer = self.send(request, budget)?;
        let text = String::from_utf8_lossy(&answer.body);
        self.server.write_answer(bucket, answer.status, answer.after, &text)
    }
}

/// The gzip of lines that are worth it.
fn packed(lines: &str) -> Option<Vec<u8>> {
    if lines.len() < GZIP_BYTES_MIN {
        return None;
    }
    let mut out = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    out.write_all(lines.as_bytes()).and_then(|()| out.finish()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_bodies_go_as_they_are() {
        assert!(packed(&"x".repeat(GZIP_BYTES_MIN - 1)).is_none());
        assert!(packed(&"x".repeat(GZIP_BYTES_MIN)).unwrap().starts_with(&[0x1f, 0x8b]));
    }
}
