//! What a person types as a value.

use super::output::Failure;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

/// Bytes of a file that is read whole (code, a JSON value).
const FILE_BYTES_MAX: u64 = 16 << 20;

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((k, v)) if !k.is_empty() && !v.is_empty() => Ok((k.into(), v.into())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// A file's text, or standard input for `-`.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    let wrong = |e: std::io::Error| {
        Failure::usage(
            format!("{}: {e}", path.display()),
            "name a UTF-8 file that exists, or `-` for standard input",
        )
    };
    let mut out = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut out)
    } else {
        std::fs::File::open(path).map_err(wrong)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut out)
    }
    .map_err(wrong)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(
            format!("{} has more than {FILE_BYTES_MAX} bytes", path.display()),
            "store large things with `shiphold files put`",
        ));
    }
    Ok(out)
}

/// Asks for a yes, unless `--yes` was given; without a terminal `--yes` is needed.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} needs a yes"), "add --yes"));
    }
    eprint!("{question}? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|e| Failure::plain(format!("reading the answer: {e}")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::plain("nothing was done"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn pairs() {
        assert_eq!(super::pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        for bad in ["", "a", "=b", "a="] {
            assert!(super::pair(bad).is_err(), "{bad}");
        }
    }
}
