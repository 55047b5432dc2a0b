//! One range of bytes, as RFC 9110 has it.

use super::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use std::ops::Range;

/// The range that is asked for of `size` bytes. `None`: the whole. Several ranges, another unit and what cannot be
/// read are answered with the whole, as the RFC allows.
pub(super) fn asked(headers: &HeaderMap, size: u64) -> Result<Option<Range<u64>>, Problem> {
    let Some(spec) =
        headers.get(header::RANGE).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("bytes="))
    else {
        return Ok(None);
    };
    let Some((first, last)) = spec.split_once('-') else { return Ok(None) };
    let (first, last) = (first.trim(), last.trim());
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    // More digits than a number has: past every end.
    let number = |t: &str| t.parse::<u64>().unwrap_or(u64::MAX);
    let range = match (digits(first), digits(last)) {
        (true, true) if number(first) > number(last) => return Ok(None),
        (true, true) => number(first)..number(last).saturating_add(1).min(size),
        (true, false) if last.is_empty() => number(first)..size,
        (false, true) if first.is_empty() => size.saturating_sub(number(last))..size,
        _ => return Ok(None),
    };
    if range.start < range.end {
        return Ok(Some(range));
    }
    let problem = Problem::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "range-not-satisfiable",
        format!("the range `{}` is outside the {size} bytes", spec.escape_debug()),
    );
    Err(match HeaderValue::from_str(&format!("bytes */{size}")) {
        Ok(value) => problem.header(header::CONTENT_RANGE, value),
        Err(_) => problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, size: u64) -> Result<Option<Range<u64>>, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, text.parse().unwrap());
        asked(&headers, size).map_err(|p| p.status.as_u16())
    }

    #[test]
    fn ranges() {
        for (text, want) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=5-", Some(5..10)),
            ("bytes=9-9", Some(9..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=0-99", Some(0..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=0-99999999999999999999999", Some(0..10)),
            ("lines=1-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=5-4", None),
            ("bytes=x-1", None),
            ("bytes=+1-2", None),
            ("bytes=", None),
            ("bytes=-", None),
        ] {
            assert_eq!(of(text, 10), Ok(want), "{text}");
        }
        for bad in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of(bad, 10), Err(416), "{bad}");
        }
        assert_eq!(of("bytes=0-", 0), Err(416));
        assert_eq!(asked(&HeaderMap::new(), 10).unwrap(), None);
    }
}
