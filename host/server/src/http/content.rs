//! Content of files and checkpoints as an answer: streamed, for saving and never for showing, with what is known of it in headers.

use super::answer::Out;
use super::problem::Problem;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;
use shiphold_storage::files::{Provenance, as_error};
use shiphold_storage::settings::Expect;
use shiphold_storage::{Error, Result};
use std::io::{Read, Write as _};

/// A JSON object beside the content.
const PROVENANCE: HeaderName = HeaderName::from_static("x-shiphold-provenance");
const METADATA: HeaderName = HeaderName::from_static("x-shiphold-metadata");
/// Bytes of one step of a download.
const STEP_BYTES: usize = 128 << 10;
/// Bytes of metadata that go into a header of an answer.
const METADATA_HEADER_BYTES_MAX: usize = 4 << 10;

/// The metadata that a client sends beside content.
pub(super) fn metadata(headers: &HeaderMap) -> std::result::Result<Value, Problem> {
    match headers.get(METADATA) {
        None => Ok(Value::Null),
        Some(v) => serde_json::from_slice(v.as_bytes())
            .map_err(|e| Problem::invalid(format!("the header X-Shiphold-Metadata is not JSON: {e}"))),
    }
}

/// What a client says that content was made of, beside it.
pub(super) fn provenance(headers: &HeaderMap) -> std::result::Result<Provenance, Problem> {
    match headers.get(PROVENANCE) {
        None => Ok(Provenance::default()),
        Some(v) => serde_json::from_slice(v.as_bytes()).map_err(|e| {
            Problem::invalid(format!("the header X-Shiphold-Provenance is no provenance: {e}"))
                .hint("docs/files.md shows one")
        }),
    }
}

/// The parameter `expect`: what must be there for a write to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub(super) expect: Option<String>,
}

impl Expected {
    /// `any`, `absent`, or a number; which one it is, and how a client came by it, is for the error.
    pub(super) fn read(&self, number: &str, got: &str) -> std::result::Result<Expect, Problem> {
        match self.expect.as_deref() {
            None | Some("any") => Ok(Expect::Any),
            Some("absent") => Ok(Expect::Absent),
            Some(n) => n.parse().map(Expect::Revision).map_err(|_| {
                Problem::invalid(format!("`expect`: `{}` is no {number}", n.escape_debug()))
                    .hint(format!("write the {number} that was {got}, `absent`, or `any`"))
            }),
        }
    }
}

/// `If-None-Match` names the content with this hash.
pub(super) fn is_known(headers: &HeaderMap, hash: &str) -> bool {
    headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|all| {
        !hash.is_empty()
            && all.split(',').any(|tag| tag.trim().trim_start_matches("W/").trim_matches('"') == hash)
    })
}

/// What is known of content, as headers.
pub(super) fn describe<const N: usize>(
    headers: &mut HeaderMap,
    hash: &str,
    metadata: &Value,
    more: [(HeaderName, String); N],
) {
    let ascii = ascii_json(metadata);
    if metadata.is_object() && ascii.len() <= METADATA_HEADER_BYTES_MAX {
        insert(headers, METADATA, ascii);
    }
    if !hash.is_empty() {
        insert(headers, header::ETAG, format!("\"{hash}\""));
    }
    more.into_iter().for_each(|(name, value)| insert(headers, name, value));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// How content of so many bytes is sent.
pub(super) fn send_as(headers: &mut HeaderMap, media_type: &str, length: u64) {
    insert(headers, header::CONTENT_TYPE, media_type.into());
    // Content of strangers is for saving, never for showing.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// Writes all of it into an answer that has begun; damage cuts the answer off.
pub(super) fn stream(mut content: Box<dyn Read + Send>, out: &mut Out) -> Result<()> {
    let mut step = vec![0; STEP_BYTES];
    loop {
        let n = content.read(&mut step).map_err(as_error)?;
        if n == 0 {
            return Ok(());
        }
        let part = step.get(..n).unwrap_or(&step);
        out.write_all(part).map_err(|e| Error::io("sending content", e))?;
    }
}

/// JSON whose every character may stand in a header.
fn ascii_json(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|u| out.push_str(&format!("\\u{u:04x}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_goes_into_a_header_and_comes_back() {
        let value = json!({ "who": "Zoë 模 🦀", "tab": "\t\u{7f}" });
        let text = ascii_json(&value);
        assert!(text.is_ascii() && HeaderValue::try_from(&text).is_ok(), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
