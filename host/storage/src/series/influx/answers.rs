//! What the server's answers mean: errors with a kind and a hint, and what became of a write.

use super::client::busy;
use super::reply::short;
use crate::error::{Error, Kind, Result};
use crate::series::FieldType;
use influxdb2::RequestError;
use reqwest::{StatusCode, Url};
use std::time::Duration;

/// What a write came to.
#[derive(Debug)]
pub(super) enum WriteAnswer {
    Stored,
    /// Some lines were refused; `conflict` is the first field-type conflict, if that was the reason.
    Partly {
        dropped: u64,
        conflict: Option<Conflict>,
        said: String,
    },
    NoBucket,
    /// Not now; `after`: when the server asks to be asked again.
    Busy {
        error: Error,
        after: Option<Duration>,
    },
}

/// A field-type conflict as InfluxDB words it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub measurement: String,
    pub field: String,
    pub have: FieldType,
    pub got: FieldType,
}

/// Who is asked, for messages.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub url: Url,
    pub org: String,
    pub secret: String,
    pub timeout: Duration,
}

impl Server {
    pub fn unreachable(&self, e: reqwest::Error) -> Error {
        let error = if e.is_timeout() {
            let waited = crate::units::Span(self.timeout);
            Error::new(Kind::Unavailable, format!("InfluxDB at {} did not answer within {waited}", self.url))
                .hint("is it overloaded? or raise `timeout` in [series.influxdb2]")
        } else if e.is_connect() {
            Error::new(Kind::Unavailable, format!("InfluxDB at {} cannot be reached", self.url))
                .hint("is it running? `url` in [series.influxdb2] is its address")
        } else {
            Error::new(Kind::Unavailable, format!("InfluxDB at {} gave no whole answer", self.url))
                .hint("is `url` in [series.influxdb2] the address of an InfluxDB 2 server?")
        };
        error.source(e)
    }

    /// An answer of which nobody can tell whether it is whole.
    pub fn endless(&self) -> Error {
        Error::new(
            Kind::Unavailable,
            format!("InfluxDB at {} does not say where its answer ends: it may be a part", self.url),
        )
        .hint("is `url` in [series.influxdb2] the address of an InfluxDB 2 server, and not of a proxy?")
    }

    pub fn request_error(&self, e: RequestError) -> Error {
        match e {
            RequestError::ReqwestProcessing { source } => self.unreachable(source),
            RequestError::Http { status, text } => self.refused(status, &text),
            other => Error::internal("a request to InfluxDB could not be made").source(other),
        }
    }

    /// An answer that is not success.
    pub fn refused(&self, status: StatusCode, text: &str) -> Error {
        let said = message(text);
        let url = &self.url;
        let lost = |said: &str| {
            Error::not_found(format!("InfluxDB at {url}: {said}"))
                .hint("check `url` and `org` in [series.influxdb2]")
        };
        match status.as_u16() {
            400 if said.contains("organization name") && said.contains("not found") => lost(&said),
            400 | 422 => Error::invalid(format!("InfluxDB refused the request: {said}")),
            401 => Error::new(Kind::Unauthenticated, format!("InfluxDB at {url} does not know the token"))
                .hint(format!("put a token of InfluxDB into the secret `{}`", self.secret)),
            403 => Error::denied(format!("InfluxDB at {url} denies it: {said}")).hint(format!(
                "give the token in the secret `{}` read and write access to the buckets of `{}`",
                self.secret, self.org
            )),
            404 => lost(&said),
            413 => Error::new(Kind::Limit, format!("InfluxDB at {url} finds the request too large: {said}")),
            429 | 503 => Error::new(Kind::Unavailable, format!("InfluxDB at {url} is busy: {said}"))
                .hint("try again later"),
            code => Error::new(Kind::Unavailable, format!("InfluxDB at {url} answered {code}: {said}"))
                .hint("see the log of InfluxDB"),
        }
    }

    pub fn write_answer(
        &self,
        bucket: &str,
        status: StatusCode,
        after: Option<Duration>,
        text: &str,
    ) -> Result<WriteAnswer> {
        if status == StatusCode::NO_CONTENT {
            return Ok(WriteAnswer::Stored);
        }
        let said = message(text);
        if status == StatusCode::NOT_FOUND && said.starts_with("bucket ") {
            return Ok(WriteAnswer::NoBucket);
        }
        if status == StatusCode::UNPROCESSABLE_ENTITY {
            if let Some(dropped) = dropped(&said) {
                return Ok(WriteAnswer::Partly { dropped, conflict: conflict(&said), said });
            }
        }
        let error = self.refused(status, text).context(format!("writing to `{bucket}`"));
        // Whatever is not an error of the request may pass.
        if busy(status) || (after.is_some() && status.is_server_error()) {
            return Ok(WriteAnswer::Busy { error, after });
        }
        Err(error)
    }
}

/// The `message` of InfluxDB's error, or the start of whatever was sent instead.
fn message(text: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    match json.as_ref().and_then(|v| v.get("message")).and_then(|v| v.as_str()) {
        Some(message) => message.chars().take(2_000).collect(),
        None => short(text.trim()),
    }
}

/// Reads `… dropped=2`, after which InfluxDB may name its own database.
fn dropped(message: &str) -> Option<u64> {
    let rest = message.rsplit_once("dropped=")?.1.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Reads `input field "f" on measurement "m" is type string, already exists as type float`.
fn conflict(message: &str) -> Option<Conflict> {
    let rest = message.split_once("field type conflict: input field ")?.1;
    let (field, rest) = quoted(rest)?;
    let (measurement, rest) = quoted(rest.strip_prefix(" on measurement ")?)?;
    let (got, rest) = rest.strip_prefix(" is type ")?.split_once(", already exists as type ")?;
    let have = rest.split(' ').next()?;
    Some(Conflict { measurement, field, have: field_type(have)?, got: field_type(got)? })
}

fn field_type(name: &str) -> Option<FieldType> {
    Some(match name {
        "float" => FieldType::Float,
        "integer" => FieldType::Integer,
        "unsigned" => FieldType::Unsigned,
        "boolean" => FieldType::Boolean,
        "string" => FieldType::String,
        _ => return None,
    })
}

/// A name as Go's `%q` prints it, over a name that is still escaped as in line protocol; and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut raw = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = text.get(at + 2..)?;
                return Some((
                    raw.replace("\\,", ",").replace("\\ ", " ").replace("\\=", "=").replace("\\\"", "\""),
                    rest,
                ));
            }
            '\\' => match chars.next()?.1 {
                'n' => raw.push('\n'),
                'r' => raw.push('\r'),
                't' => raw.push('\t'),
                'u' => {
                    let hex: String = (0..4).filter_map(|_| chars.next().map(|c| c.1)).collect();
                    raw.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                }
                other => raw.push(other),
            },
            c => raw.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_counted() {
        let late = "partial write: dropped 1 points outside retention policy of duration 1h0m0s - oldest point m at 2025 \
                    dropped=1 for database: d1464665b89842ec for retention policy: autogen";
        assert_eq!(dropped(late), Some(1));
        assert_eq!(dropped("field type conflict: … dropped=23"), Some(23));
        assert_eq!((dropped("dropped="), dropped("dropped=x"), dropped("")), (None, None, None));
    }

    #[test]
    fn a_conflict_is_read_from_the_message() {
        let said = "failure writing points to database: partial write: field type conflict: input field \"f\\\\\\\"b\" on measurement \"a\\\\\\\"b c\" is type string, already exists as type float dropped=2";
        let want = Conflict {
            measurement: "a\"b c".into(),
            field: "f\"b".into(),
            have: FieldType::Float,
            got: FieldType::String,
        };
        assert_eq!(conflict(said), Some(want));
        for cut in 0..said.len() {
            let _ = conflict(&said[..cut]);
        }
        assert_eq!(conflict("partial write: points beyond retention policy dropped=3"), None);
        assert_eq!(conflict("field type conflict: input field \"\\u12"), None);
    }
}
