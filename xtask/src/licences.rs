//! Every dependency, of the host and of the guests, must be under a licence that lets an operator ship it. Runs from
//! `cargo metadata`, offline once the packages are there. (Advisories need a database from the network: `cargo audit` is
//! for that.)

use crate::steps;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "NCSA",
    "OpenSSL",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// Crates that state their licence in a file only, read by a person: name and what it is.
const READ_BY_A_PERSON: &[(&str, &str)] = &[("ring", "ISC and OpenSSL")];

pub fn check(root: &Path) -> Result<()> {
    // Only what is built for this machine: crates of other platforms need not even be downloaded.
    let rustc = steps::output(Command::new("rustc").arg("-vV"))?;
    let host = rustc.lines().find_map(|l| l.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    let mut refused = Vec::new();
    for workspace in ["Cargo.toml", "plugins/Cargo.toml"] {
        let mut command = steps::cargo(root);
        command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host]);
        command.arg("--manifest-path").arg(root.join(workspace));
        let metadata: serde_json::Value =
            serde_json::from_str(&steps::output(&mut command)?).context("reading cargo metadata")?;
        let packages = metadata
            .get("packages")
            .and_then(|p| p.as_array())
            .context("cargo metadata lists no packages")?;
        for p in packages {
            let text = |key: &str| p.get(key).and_then(|v| v.as_str()).unwrap_or_default();
            let (name, licence) = (text("name"), text("license"));
            if !allows(licence) && !READ_BY_A_PERSON.iter().any(|(n, _)| *n == name) {
                refused.push(format!("{name} {}: `{licence}`", text("version")));
            }
        }
        println!("{workspace}: {} packages", packages.len());
    }
    if !refused.is_empty() {
        bail!("licences that are not allowed:\n  {}", refused.join("\n  "));
    }
    Ok(())
}

/// An SPDX expression holds when one side of an OR, and both sides of an AND, hold.
fn allows(expression: &str) -> bool {
    let text = expression.trim();
    if text.is_empty() {
        return false;
    }
    if let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        if !inner.contains(['(', ')']) {
            return allows(inner);
        }
    }
    if let Some((a, b)) = split(text, " OR ") {
        return allows(a) || allows(b);
    }
    if let Some((a, b)) = split(text, " AND ") {
        return allows(a) && allows(b);
    }
    // The old way to write OR.
    if let Some((a, b)) = text.split_once('/') {
        return allows(a) || allows(b);
    }
    ALLOWED.contains(&text)
}

/// Splits at the first operator that stands outside parentheses.
fn split<'t>(text: &'t str, operator: &str) -> Option<(&'t str, &'t str)> {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            if let Some(rest) = text.get(at..).and_then(|t| t.strip_prefix(operator)) {
                return Some((text.get(..at)?, rest));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn expressions() {
        for (text, want) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND GPL-2.0", false),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0", false),
            ("", false),
        ] {
            assert_eq!(allows(text), want, "{text}");
        }
    }
}
