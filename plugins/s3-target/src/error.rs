//! Why a call was refused, as the WIT package says it, and how an answer of the server becomes that.

use crate::answers;

/// Characters of a server's own sentence that are passed on.
const SENTENCE_MAX: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    Invalid(String),
    NotFound(String),
    Denied(String),
    Limit(String),
    Conflict(String),
    Timeout(String),
    Unavailable(String),
}

impl Error {
    pub fn sentence(&self) -> &str {
        let (Self::Invalid(s)
        | Self::NotFound(s)
        | Self::Denied(s)
        | Self::Limit(s)
        | Self::Conflict(s)
        | Self::Timeout(s)
        | Self::Unavailable(s)) = self;
        s
    }

    /// An answer of the server that is not what was asked for. `what` names the request: "PUT of `keys/1`".
    pub(crate) fn of_answer(what: &str, status: u16, body: &[u8]) -> Self {
        let told = answers::error(body);
        let (code, message) = told.as_ref().map_or(("", ""), |(c, m)| (c.as_str(), m.as_str()));
        let mut sentence = format!("{what}: the S3 server answered {status}");
        for part in [code, message] {
            if !part.is_empty() {
                sentence.push_str(": ");
                sentence.push_str(&printable(part));
            }
        }
        match (status, code) {
            (429 | 500 | 502 | 503 | 504, _)
            | (
                _,
                "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "OperationAborted",
            ) => Self::Unavailable(sentence),
            (_, "AccessDenied" | "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "ExpiredToken")
            | (401 | 403, _) => Self::Denied(sentence),
            (_, "NoSuchBucket" | "NoSuchKey" | "NoSuchUpload") | (404, _) => Self::NotFound(sentence),
            (409 | 412, _) => Self::Conflict(sentence),
            (300..=399, _) => Self::Invalid(format!("{sentence}; look at `endpoint` and `region`")),
            _ => Self::Invalid(sentence),
        }
    }
}

/// What a server wrote, without what could upset a terminal or a log, and cut.
fn printable(text: &str) -> String {
    let mut out: String =
        text.chars().take(SENTENCE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SENTENCE_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, code: &str) -> Error {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
        Error::of_answer("PUT", status, body.as_bytes())
    }

    #[test]
    fn kinds() {
        for status in [429, 500, 502, 503, 504] {
            assert!(matches!(Error::of_answer("PUT", status, b""), Error::Unavailable(_)), "{status}");
        }
        assert!(matches!(told(400, "RequestTimeout"), Error::Unavailable(_)));
        assert!(matches!(told(200, "InternalError"), Error::Unavailable(_)));
        assert!(matches!(told(403, "SignatureDoesNotMatch"), Error::Denied(_)));
        assert!(matches!(told(404, "NoSuchBucket"), Error::NotFound(_)));
        assert!(matches!(told(412, "PreconditionFailed"), Error::Conflict(_)));
        assert_eq!(
            told(400, "EntityTooSmall"),
            Error::Invalid("PUT: the S3 server answered 400: EntityTooSmall: m".into())
        );
        assert!(told(301, "PermanentRedirect").sentence().contains("`region`"));
    }

    #[test]
    fn a_sentence_is_cut_and_printable() {
        assert_eq!(printable(&"é".repeat(SENTENCE_MAX)), "é".repeat(SENTENCE_MAX));
        assert_eq!(printable(&"é".repeat(SENTENCE_MAX + 1)).chars().count(), SENTENCE_MAX + 1);
        assert_eq!(printable("a\u{1b}[31m\nb"), "a [31m b");
    }
}
