//! Any line, with escapes, and an error that says what is wrong with it, in the real server's words.

use super::rows::{Batch, Cell};
use super::{Clock, KEY_BYTES_MAX, RESERVED_NAME, STRING_BYTES_MAX, TAGS_MAX, number};
use crate::series::model::{TIME_MAX_NS, TIME_MIN_NS};
use std::borrow::Cow;

/// Why a line cannot be parsed.
pub(super) type Reason = Cow<'static, str>;

/// With these a line of the usual kind does not begin.
pub(super) const UNCOMMON: &[u8] = b" \t\0#,\n\r\\";
/// Tag keys that the real server keeps for itself.
const RESERVED_TAGS: [&str; 4] = [RESERVED_NAME, "_field", "_measurement", "\0"];
/// What the real server counts beside the key and the field's name.
const FIELD_KEY_EXTRA_BYTES: usize = 4;

/// The line at `at` without its end, and the place of the next. A line goes on within a quoted value of a field and
/// after an escaped line end.
pub(super) fn block(body: &[u8], at: usize) -> (&[u8], usize) {
    let (mut quoted, mut in_fields) = (false, false);
    let (mut equals, mut commas) = (0_usize, 0_usize);
    let mut i = at;
    while let Some(byte) = body.get(i) {
        match byte {
            b'\\' if i + 2 < body.len() => i += 1,
            b'\n' if !quoted => break,
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            _ => {}
        }
        i += 1;
    }
    let block = body.get(at..i).unwrap_or_default();
    (block.strip_suffix(b"\r").unwrap_or(block), i + 1)
}

/// Reads a block into the batch. Nothing is taken of a blank line or a comment. An error comes with the line.
pub(super) fn read<'a>(
    block: &'a [u8],
    batch: &mut Batch<'a>,
    clock: Clock,
) -> Result<(), (&'a [u8], Reason)> {
    let text = block.get(skip_space(block, 0)..).unwrap_or_default();
    if text.is_empty() || text.first() == Some(&b'#') {
        return Ok(());
    }
    point(text, batch, clock).map_err(|reason| (text, reason))
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | 0)).count()
}

fn point<'a>(text: &'a [u8], batch: &mut Batch<'a>, clock: Clock) -> Result<(), Reason> {
    let end = unescaped(text, 1, b' ');
    let bytes = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let raw = match batch.find(bytes) {
        Some(raw) => raw,
        None => {
            let (measurement, tags) = key_parts(bytes)?;
            batch.register(bytes, measurement, tags).map_err(|e| e.message().to_string())?
        }
    };
    let mut row = batch.take_row();
    let mut at = skip_space(text, end.ok_or("missing fields")?);
    let series = batch.series(raw).ok_or("missing fields")?;
    loop {
        let (name, value_at) = field_name(text, at)?;
        if name == RESERVED_NAME {
            return Err(format!("cannot use reserved field key \"{RESERVED_NAME}\"").into());
        }
        let size = bytes.len() + FIELD_KEY_EXTRA_BYTES + name.len();
        if size > KEY_BYTES_MAX {
            return Err(format!("max key length exceeded: {size} > {KEY_BYTES_MAX}").into());
        }
        let number = series.field(&name);
        let (cell, end) = value(text, value_at, series.scale(number))?;
        row.push((number, cell));
        at = end;
        match text.get(at) {
            Some(b',') => at += 1,
            Some(b' ') | None => break,
            Some(_) => return Err("invalid field format".into()),
        }
    }
    let time = timestamp(text, at, clock)?;
    batch.commit(raw, row, time)
}

/// The place of the first `stop` at or after `from` that has no backslash before it.
fn unescaped(text: &[u8], from: usize, stop: u8) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.iter()
        .enumerate()
        .map(|(i, b)| (from + i, b))
        .find(|(i, b)| **b == stop && i.checked_sub(1).and_then(|p| text.get(p)) != Some(&b'\\'))
        .map(|(i, _)| i)
}

/// The measurement and the tags of a key, up to the space before the fields.
pub(super) fn key_parts(bytes: &[u8]) -> Result<(String, Vec<(String, String)>), Reason> {
    if matches!(bytes.first(), None | Some(b',')) {
        return Err("missing measurement".into());
    }
    if bytes.len() > KEY_BYTES_MAX {
        return Err(format!("max key length exceeded: {} > {KEY_BYTES_MAX}", bytes.len()).into());
    }
    let mut end = unescaped(bytes, 1, b',').unwrap_or(bytes.len());
    let measurement = unescape(bytes.get(..end).unwrap_or_default(), b", ")?;
    let mut tags: Vec<(String, String)> = Vec::new();
    while end < bytes.len() {
        let begin = end + 1;
        // The first byte of a tag is part of it whatever it is, but for a separator.
        if matches!(bytes.get(begin), None | Some(b',' | b'=')) {
            return Err("missing tag key".into());
        }
        end = unescaped(bytes, begin + 1, b',').unwrap_or(bytes.len());
        let tag = bytes.get(begin..end).unwrap_or_default();
        let equals = unescaped(tag, 1, b'=').ok_or("missing tag value")?;
        let (key, value) = tag.split_at_checked(equals).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default();
        if value.is_empty() {
            return Err("missing tag value".into());
        }
        if unescaped(value, 1, b'=').is_some() {
            return Err("invalid tag format".into());
        }
        let (key, value) = (unescape(key, b", =")?, unescape(value, b", =")?);
        if RESERVED_TAGS.contains(&key.as_str()) {
            return Err(format!("cannot use reserved tag key {key:?}").into());
        }
        tags.push((key, value));
    }
    if tags.len() > TAGS_MAX {
        return Err(format!("max tags exceeded: {} > {TAGS_MAX}", tags.len()).into());
    }
    tags.sort();
    if tags.windows(2).any(|w| matches!(w, [a, b] if a.0 == b.0)) {
        return Err("duplicate tags".into());
    }
    Ok((measurement, tags))
}

/// Text without the backslashes before `special` bytes; other backslashes stay.
fn unescape(bytes: &[u8], special: &[u8]) -> Result<String, Reason> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().peekable();
    while let Some(byte) = rest.next() {
        match (byte, rest.peek()) {
            (b'\\', Some(next)) if special.contains(next) => {
                out.push(**next);
                rest.next();
            }
            _ => out.push(*byte),
        }
    }
    String::from_utf8(out).map_err(|_| "invalid UTF-8 sequence".into())
}

/// The name of the field at `at`, and where its value begins.
fn field_name(text: &[u8], at: usize) -> Result<(String, usize), Reason> {
    let mut i = at;
    loop {
        match text.get(i) {
            Some(b'=') => break,
            Some(b'\\') if i + 1 < text.len() => i += 2,
            None | Some(b' ' | b',') => return Err("invalid field format".into()),
            Some(_) => i += 1,
        }
    }
    let name = text.get(at..i).unwrap_or_default();
    if name.is_empty() {
        return Err("missing field key".into());
    }
    Ok((unescape(name, b",\" =")?, i + 1))
}

/// The value at `at`, and where it ends. `scale`: the field is a decimal.
fn value(text: &[u8], at: usize, scale: Option<u8>) -> Result<(Cell<'_>, usize), Reason> {
    let rest = text.get(at..).unwrap_or_default();
    match rest.first() {
        None | Some(b',' | b' ') => Err("missing field value".into()),
        Some(b'"') => string(rest).map(|(cell, length)| (cell, at + length)),
        Some(first) => {
            let length = rest.iter().position(|b| matches!(b, b',' | b' ')).unwrap_or(rest.len());
            let token = rest.get(..length).unwrap_or_default();
            let cell = match first {
                b'0'..=b'9' | b'.' | b'-' | b'N' | b'n' => match scale {
                    None => number::token(token)?,
                    Some(scale) => number::decimal(token, scale)?,
                },
                _ => number::boolean(token)?,
            };
            Ok((cell, at + length))
        }
    }
}

/// A quoted string and its length with the quotes. As to the real server, quotes that are not escaped may close and open again
/// within it: the text is what stands between the first and the last. That one drops a last byte that is no quote; here it is
/// refused.
fn string(rest: &[u8]) -> Result<(Cell<'_>, usize), Reason> {
    let (mut i, mut quoted) = (1, true);
    loop {
        match rest.get(i) {
            None if quoted => return Err("unbalanced quotes".into()),
            None => break,
            Some(b',' | b' ') if !quoted => break,
            Some(b'=') if !quoted => return Err("invalid field format".into()),
            Some(b'\\') if !quoted && rest.get(i + 1) == Some(&b',') => {
                return Err("invalid field format".into());
            }
            Some(b'\\') => i += 1,
            Some(b'"') => quoted = !quoted,
            Some(_) => {}
        }
        i += 1;
    }
    let i = i.min(rest.len());
    let inside = rest.get(..i).and_then(|token| token.strip_suffix(b"\""));
    let inside = inside.and_then(|token| token.get(1..)).ok_or("invalid field format")?;
    let text = unescape(inside, b"\"\\")?;
    if text.len() > STRING_BYTES_MAX {
        return Err(format!("max string length exceeded: {} > {STRING_BYTES_MAX}", text.len()).into());
    }
    Ok((Cell::Text(text.into()), i))
}

fn timestamp(text: &[u8], at: usize, clock: Clock) -> Result<i64, Reason> {
    let begin = skip_space(text, at);
    let rest = text.get(begin..).unwrap_or_default();
    let length = rest.iter().position(|b| matches!(b, b' ' | b'\n')).unwrap_or(rest.len());
    let (token, after) = rest.split_at_checked(length).unwrap_or_default();
    if token.is_empty() {
        return Ok(clock.now_ns);
    }
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("bad timestamp".into());
    }
    let time = std::str::from_utf8(token)
        .ok()
        .and_then(|t| t.parse::<i64>().ok())
        .and_then(|t| t.checked_mul(clock.unit_ns))
        .filter(|t| (TIME_MIN_NS..=TIME_MAX_NS).contains(t))
        .ok_or_else(|| format!("time outside range {TIME_MIN_NS} - {TIME_MAX_NS}"))?;
    if after.iter().any(|b| *b != b' ') {
        return Err("point is invalid".into());
    }
    Ok(time)
}
