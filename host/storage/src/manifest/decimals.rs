//! `[[series.decimals]]`: fields that are exact decimals.

use super::DecimalFields;
use super::reader::Section;
use crate::caller::pattern_matches;
use crate::rollups::{Definition, SOURCE_ROWS, patterns_meet};
use crate::series::SCALE_MAX;
use crate::series::line_protocol::RESERVED_NAME;
use crate::series::query::Function;

/// Entries of `[[series.decimals]]`.
pub(super) const DECIMALS_MAX: usize = 1_000;
/// Fields of one entry.
pub(super) const FIELDS_MAX: usize = 1_000;

pub(super) fn read_decimals(series: &Section<'_, '_>, bucket: &str) -> Vec<DecimalFields> {
    let mut out: Vec<DecimalFields> = Vec::new();
    let all = series.list("decimals");
    if all.len() > DECIMALS_MAX {
        series.problem("decimals", format!("has {} entries, more than {DECIMALS_MAX}", all.len()));
    }
    for s in all.into_iter().take(DECIMALS_MAX) {
        let measurement = s.required("measurement", "\"bar.1m.*\"");
        let bucket = s.text("bucket").unwrap_or_else(|| bucket.to_string());
        if bucket.is_empty() || bucket.contains('/') || bucket.starts_with('_') {
            s.problem("bucket", format!("`{bucket}` is not a name of a bucket"));
        }
        let fields = fields(&s);
        if !has(&s, "scale") {
            s.problem(
                "scale",
                format!("is missing; write `scale = 8`: the digits after the point, 0 to {SCALE_MAX}"),
            );
        }
        let scale = s.number_opt("scale", 0..=u64::from(SCALE_MAX)).and_then(|n| u8::try_from(n).ok());
        s.finish();
        let (Some(measurement), Some(scale)) = (measurement, scale) else { continue };
        let entry = DecimalFields { bucket, measurement, fields, scale };
        for other in &out {
            overlap(&s, &entry, other);
        }
        out.push(entry);
    }
    out
}

fn has(s: &Section<'_, '_>, key: &str) -> bool {
    s.keys().iter().any(|k| k == key)
}

fn fields(s: &Section<'_, '_>) -> Vec<String> {
    let fields = s.texts("fields");
    if !has(s, "fields") {
        s.problem("fields", "is missing; write `fields = [\"close\"]`");
    } else if fields.is_empty() || fields.len() > FIELDS_MAX {
        s.problem("fields", format!("has {} names; 1 to {FIELDS_MAX} can be given", fields.len()));
    }
    for (at, field) in fields.iter().enumerate() {
        if field.is_empty() {
            s.problem("fields", "a field's name is empty");
        } else if field == RESERVED_NAME {
            s.problem("fields", format!("`{RESERVED_NAME}` is the name of no field"));
        } else if fields.iter().take(at).any(|other| other == field) {
            s.problem("fields", format!("`{field}` is given twice"));
        } else if pattern_matches(field, SOURCE_ROWS) {
            s.problem(
                "fields",
                format!("`{field}` takes `{SOURCE_ROWS}`, in which rollups count rows; name the fields that are prices"),
            );
        }
    }
    fields
}

/// Two entries may take the same field only if they agree.
fn overlap(s: &Section<'_, '_>, entry: &DecimalFields, other: &DecimalFields) {
    if entry.bucket != other.bucket || !patterns_meet(&entry.measurement, &other.measurement) {
        return;
    }
    let both =
        entry.fields.iter().find_map(|f| other.fields.iter().find(|o| patterns_meet(f, o)).map(|o| (f, o)));
    let Some((field, with)) = both else { return };
    if entry.scale != other.scale {
        s.problem(
            "scale",
            format!(
                "is {}, and an entry before says {} for `{with}` of `{}`, which takes `{field}` of `{}` too",
                entry.scale, other.scale, other.measurement, entry.measurement
            ),
        );
    } else if field == with && entry.measurement == other.measurement {
        s.problem("fields", format!("`{field}` of `{}` has an entry already", entry.measurement));
    }
}

/// What rollups compute as floats is no decimal.
pub(super) fn check_rollups(root: &Section<'_, '_>, decimals: &[DecimalFields], rollups: &[Definition]) {
    for (name, s) in root.named("rollups") {
        let Some(d) = rollups.iter().find(|d| d.name == name) else { continue };
        let target = d.target_pattern();
        for a in &d.aggregates {
            let is_float = matches!(a.function, Function::Mean | Function::Stddev | Function::Quantile);
            let takes = |e: &&DecimalFields| {
                e.bucket == d.bucket && patterns_meet(&e.measurement, &target) && e.takes(&a.column())
            };
            if let Some(entry) = decimals.iter().find(takes).filter(|_| is_float) {
                s.problem(
                    "aggregates",
                    format!(
                        "`{}` is a float, and [[series.decimals]] takes it for a decimal({}) in `{}`",
                        a.column(),
                        entry.scale,
                        entry.measurement
                    ),
                );
            }
        }
    }
}
