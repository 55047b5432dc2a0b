//! `[audit]`: who signs the trail, and how it is cut into segments.

use super::load::place;
use super::reader::Section;
use super::{Audit, SecretSource};
use crate::audit::VerifyingKey;
use crate::units::Span;
use std::collections::BTreeMap;
use std::path::Path;

const DAY: Span = Span::from_secs(86_400);

pub(super) fn read_audit(
    s: &Section<'_, '_>,
    base: &Path,
    data: &Path,
    secrets: &BTreeMap<String, SecretSource>,
) -> Audit {
    let signing_key = s.text("signing_key");
    match signing_key.as_ref().map(|name| (name, secrets.get(name))) {
        Some((name, None)) => {
            s.problem("signing_key", format!("names the secret `{name}`, but there is no [secrets.{name}]"));
        }
        // Who can change the trail could sign it too.
        Some((name, Some(SecretSource::File(file)))) if file.starts_with(data) => {
            s.problem(
                "signing_key",
                format!("the file of secret `{name}` is inside the data folder; keep the key outside of it"),
            );
        }
        _ => {}
    }
    let verify_key = s.text("verify_key").and_then(|text| match text.parse::<VerifyingKey>() {
        Ok(key) => Some(key),
        Err(e) => {
            s.problem("verify_key", e.to_string());
            None
        }
    });
    let checkpoint_folder = s.text("checkpoint_folder").map(|text| place(base, &text));
    if let Some(folder) = &checkpoint_folder {
        if folder.starts_with(data) || data.starts_with(folder) {
            s.problem(
                "checkpoint_folder",
                "must be outside of the data folder: with the trail, what proves it would be gone",
            );
        }
        if signing_key.is_none() {
            s.problem("checkpoint_folder", "needs `signing_key`: what would sign the checkpoints?");
        }
    }
    let audit = Audit {
        signing_key,
        verify_key,
        segment_entries: s.number("segment_entries", 1_000_000, 1_000..=100_000_000),
        checkpoint_every: s.time(
            "checkpoint_every",
            DAY,
            Span::from_secs(60)..=Span::from_secs(365 * 86_400),
        ),
        checkpoint_folder,
    };
    s.finish();
    audit
}
