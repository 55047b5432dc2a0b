//! `[rollups.NAME]`: windows of series that are kept up continuously.

use super::load::{NAME_RULE, is_name};
use super::reader::Section;
use crate::rollups::{Definition, FREE_START, patterns_meet};
use crate::series::kinds::{Kind, Timeframe, rollup_measurement, timeframe_of};
use crate::series::query::{Aggregate, Function};
use chrono_tz::Tz;

/// Rollups of one manifest.
pub(super) const ROLLUPS_MAX: usize = 1_000;
/// Aggregates of one rollup.
pub(super) const AGGREGATES_MAX: usize = 100;

pub(super) fn read_rollups(root: &Section<'_, '_>, bucket: &str) -> Vec<Definition> {
    let mut out: Vec<Definition> = Vec::new();
    let all = root.named("rollups");
    if all.len() > ROLLUPS_MAX {
        root.problem("rollups", format!("has {} entries, more than {ROLLUPS_MAX}", all.len()));
    }
    for (name, s) in all {
        if !is_name(&name) {
            s.problem("", NAME_RULE);
        }
        let read = definition(&s, name, bucket);
        s.finish();
        let Some(d) = read else { continue };
        let target = d.target_pattern();
        let same = |o: &&Definition| o.bucket == d.bucket && patterns_meet(&o.target_pattern(), &target);
        if let Some(other) = out.iter().find(same) {
            s.problem("to", format!("goes to `{target}`, as [rollups.{}] does", other.name));
        }
        out.push(d);
    }
    out
}

fn definition(s: &Section<'_, '_>, name: String, bucket: &str) -> Option<Definition> {
    let from = s.required("from", "\"bar.1m.*\"");
    let to = s.required("to", "\"1h\"");
    let bucket = s.text("bucket").unwrap_or_else(|| bucket.to_string());
    if bucket.is_empty() || bucket.contains('/') {
        s.problem("bucket", format!("`{bucket}` is not a name of a bucket"));
    }
    let zone = s.text("timezone").unwrap_or_else(|| "UTC".into());
    let timezone: Tz = zone.parse().unwrap_or_else(|_| {
        s.problem("timezone", format!("`{zone}` is not an IANA zone, such as \"America/New_York\""));
        Tz::UTC
    });
    let texts = s.texts("aggregates");
    if texts.len() > AGGREGATES_MAX {
        s.problem("aggregates", format!("has {} entries, more than {AGGREGATES_MAX}", texts.len()));
    }
    let mut aggregates: Vec<Aggregate> = Vec::new();
    for text in &texts {
        match aggregate(text) {
            Some(a) if aggregates.iter().any(|o| o.column() == a.column()) => {
                s.problem("aggregates", format!("`{text}` is given twice"));
            }
            Some(a) => aggregates.push(a),
            None => s.problem(
                "aggregates",
                format!(
                    "`{text}` is not FUNCTION(FIELD), such as \"mean(value)\" or \"quantile(value,0.95)\""
                ),
            ),
        }
    }
    let (from, to) = (from?, to?);
    let to: Timeframe = match to.parse() {
        Ok(to) => to,
        Err(e) => {
            s.problem("to", e.to_string());
            return None;
        }
    };
    if texts.is_empty() {
        bars(s, &from, &to);
    } else if patterns_meet(&from, &format!("{FREE_START}*")) {
        s.problem(
            "from",
            format!("`{from}` takes what rollups write (`{FREE_START}*`): it would feed itself"),
        );
    }
    Some(Definition { name, bucket, from, to, timezone, aggregates })
}

/// Bars need a source whose own timeframe is known before any series is.
fn bars(s: &Section<'_, '_>, from: &str, to: &Timeframe) {
    let kind = Kind::of(from);
    let fixed = match kind {
        Kind::Bar => timeframe_of(from).is_some_and(|t| !t.contains('*')),
        Kind::Tick => true,
        _ => false,
    };
    if !fixed {
        s.problem(
            "from",
            format!("`{from}` is neither `tick.…` nor `bar.TIMEFRAME.…`; windows of other series need `aggregates`"),
        );
    } else if rollup_measurement(from, &to.to_string()).is_none() {
        s.problem("to", format!("whole bars of `{from}` do not fill a longer bar of `{to}`"));
    }
}

/// `mean(value)`, `quantile(value,0.95)`.
fn aggregate(text: &str) -> Option<Aggregate> {
    const FUNCTIONS: [Function; 9] = [
        Function::First,
        Function::Last,
        Function::Min,
        Function::Max,
        Function::Sum,
        Function::Mean,
        Function::Count,
        Function::Stddev,
        Function::Quantile,
    ];
    let (name, rest) = text.split_once('(')?;
    let inner = rest.strip_suffix(')')?;
    let function = FUNCTIONS.into_iter().find(|f| f.name() == name.trim())?;
    let (field, q) = match function {
        Function::Quantile => {
            let (field, q) = inner.rsplit_once(',')?;
            (field, Some(q.trim().parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q))?))
        }
        _ => (inner, None),
    };
    let field = field.trim().to_string();
    (!field.is_empty()).then_some(Aggregate { field, function, q })
}
