//! Names that people give to settings and strategies.

use crate::error::{Error, Result};

/// 1 to `bytes_max` of a-z, 0-9, `.`, `_` and `-`; `what` says in the error what it is to be a name of.
pub(crate) fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    let ok = (1..=bytes_max).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
    if ok {
        return Ok(());
    }
    let shown: String = name.chars().take(bytes_max).collect();
    Err(Error::invalid(format!("`{}` is not a {what}", shown.escape_debug()))
        .hint(format!("use 1 to {bytes_max} of a-z, 0-9, `.`, `_` and `-`")))
}
