//! `[[series.revisions]]`: series that can be read as they were known at a time.

use super::Revision;
use super::reader::Section;
use crate::units::Span;

/// Entries of `[[series.revisions]]`.
pub(super) const REVISIONS_MAX: usize = 1_000;
const WINDOW_MAX: Span = Span::from_secs(100 * 365 * 86_400);

pub(super) fn read_revisions(series: &Section<'_, '_>, bucket: &str) -> Vec<Revision> {
    let mut out: Vec<Revision> = Vec::new();
    let all = series.list("revisions");
    if all.len() > REVISIONS_MAX {
        series.problem("revisions", format!("has {} entries, more than {REVISIONS_MAX}", all.len()));
    }
    for s in all {
        let rule = Revision {
            bucket: s.text("bucket").unwrap_or_else(|| bucket.to_string()),
            measurement: s.required("measurement", "\"bar.1d.*\"").unwrap_or_default(),
            window: match s.required("window", "\"90 d\"") {
                Some(_) => s.time("window", Span::from_secs(1), Span::from_secs(1)..=WINDOW_MAX),
                None => Span::from_secs(1),
            },
        };
        if rule.bucket.is_empty() || rule.bucket.contains('/') {
            s.problem("bucket", format!("`{}` is not a name of a bucket", rule.bucket));
        }
        if out.iter().any(|o| o.bucket == rule.bucket && o.measurement == rule.measurement) {
            s.problem("measurement", format!("`{}` has an entry already", rule.measurement));
        }
        s.finish();
        out.push(rule);
    }
    out
}
