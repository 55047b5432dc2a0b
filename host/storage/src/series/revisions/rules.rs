//! Which series have revisions, how far back, and since when.

use crate::error::{Error, Kind, Result};
use crate::manifest::Revision;
use crate::series::SeriesKey;
use crate::series::query::shown_time;
use crate::sqlite::Database;
use crate::units::Span;
use rusqlite::Connection;

/// One entry of `[[series.revisions]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(super) bucket: String,
    pub(super) measurement: String,
    pub(super) window: Span,
    /// Everything that changed after this time was kept.
    pub(super) since: i64,
}

impl Rule {
    fn takes(&self, key: &SeriesKey) -> bool {
        self.bucket == key.bucket && crate::caller::pattern_matches(&self.measurement, &key.measurement)
    }
}

/// A rule as it was noted.
struct Known {
    bucket: String,
    measurement: String,
    since: i64,
    window_ns: i64,
    ended: bool,
}

fn read(c: &Connection) -> Result<Vec<Known>> {
    let mut all = c.prepare_cached(
        "SELECT bucket, measurement, since_ns, window_ns, ended FROM series_revisions ORDER BY 1, 2",
    )?;
    let rows = all.query_map([], |r| {
        Ok(Known {
            bucket: r.get(0)?,
            measurement: r.get(1)?,
            since: r.get(2)?,
            window_ns: r.get(3)?,
            ended: r.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The rules of a manifest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(super) rules: Vec<Rule>,
    /// Buckets of which changes may still be kept that no rule wants any more.
    pub(super) ended: Vec<String>,
}

impl Rules {
    /// Notes durably which rules begin now and which have ended. Where that fails (a full disk must not keep a host from
    /// starting) the new ones begin now all the same, and again at the next start.
    pub(crate) fn declare(db: &Database, wanted: &[Revision], now: i64) -> Self {
        Self::noted(db, wanted, now).unwrap_or_else(|e| {
            tracing::warn!(error = %e, "revisions begin at this start: that they did could not be noted");
            let rules = wanted.iter().map(|r| Rule {
                bucket: r.bucket.clone(),
                measurement: r.measurement.clone(),
                window: r.window,
                since: now,
            });
            Self { rules: rules.collect(), ended: Vec::new() }
        })
    }

    fn noted(db: &Database, wanted: &[Revision], now: i64) -> Result<Self> {
        let there = db.read(read)?;
        let known = |r: &Revision| {
            there.iter().find(|k| k.bucket == r.bucket && k.measurement == r.measurement && !k.ended)
        };
        let is_wanted =
            |k: &Known| wanted.iter().any(|r| r.bucket == k.bucket && r.measurement == k.measurement);
        let rules: Vec<Rule> = wanted
            .iter()
            .map(|r| Rule {
                bucket: r.bucket.clone(),
                measurement: r.measurement.clone(),
                window: r.window,
                since: match known(r) {
                    None => now,
                    // What a shorter window let go does not come back with a longer one.
                    Some(k) if r.window.as_nanos_i64() > k.window_ns => {
                        k.since.max(now.saturating_sub(k.window_ns))
                    }
                    Some(k) => k.since,
                },
            })
            .collect();
        let same = |r: &&Rule| {
            there.iter().any(|k| {
                (k.bucket == r.bucket && k.measurement == r.measurement && !k.ended)
                    && (k.since, k.window_ns) == (r.since, r.window.as_nanos_i64())
            })
        };
        let changed: Vec<&Rule> = rules.iter().filter(|r| !same(r)).collect();
        let over: Vec<&Known> = there.iter().filter(|k| !k.ended && !is_wanted(k)).collect();
        if !(changed.is_empty() && over.is_empty()) {
            db.write_always(|tx| {
                for r in &changed {
                    tx.prepare_cached(
                        "INSERT OR REPLACE INTO series_revisions(bucket, measurement, since_ns, window_ns) \
                         VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute((
                        &r.bucket,
                        &r.measurement,
                        r.since,
                        r.window.as_nanos_i64(),
                    ))?;
                }
                for k in &over {
                    tx.prepare_cached(
                        "UPDATE series_revisions SET ended = 1 WHERE bucket = ?1 AND measurement = ?2",
                    )?
                    .execute((&k.bucket, &k.measurement))?;
                }
                Ok(())
            })?;
        }
        let mut ended: Vec<String> =
            there.iter().filter(|k| !is_wanted(k)).map(|k| k.bucket.clone()).collect();
        ended.sort();
        ended.dedup();
        Ok(Self { rules, ended })
    }

    /// Forgets rules of a bucket that have ended, once nothing is kept for them.
    pub(super) fn forget(db: &Database, bucket: &str) -> Result<()> {
        db.write_always(|tx| {
            tx.prepare_cached("DELETE FROM series_revisions WHERE bucket = ?1 AND ended = 1")?
                .execute([bucket])?;
            Ok(())
        })
    }

    pub(super) fn has(&self, key: &SeriesKey) -> bool {
        self.rules.iter().any(|r| r.takes(key))
    }

    /// How long the changes of a series are kept; `None`: no rule takes it.
    pub(super) fn window_ns(&self, key: &SeriesKey) -> Option<i64> {
        self.rules.iter().filter(|r| r.takes(key)).map(|r| r.window.as_nanos_i64()).max()
    }

    /// The buckets of the rules.
    pub(super) fn buckets(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.rules.iter().map(|r| r.bucket.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// May a series be read as it was known at `at`?
    pub(super) fn reaches(&self, key: &SeriesKey, at: i64, now: i64) -> Result<()> {
        let rules: Vec<&Rule> = self.rules.iter().filter(|r| r.takes(key)).collect();
        let Some(window) = rules.iter().map(|r| r.window).max() else {
            return Err(Error::invalid(format!("no revisions of `{key}` are kept")).hint(
                "declare them in shiphold.toml: [[series.revisions]] with `measurement` and `window`",
            ));
        };
        let first = now.saturating_sub(window.as_nanos_i64());
        if at < first {
            return Err(Error::new(
                Kind::Invalid,
                format!(
                    "`as_known_at` {} is before the window of {window} of `{key}`, which begins at {}",
                    shown_time(at),
                    shown_time(first)
                ),
            )
            .hint("ask for a later time; a longer `window` in [[series.revisions]] keeps more from now on"));
        }
        let since = rules.iter().filter(|r| at >= now.saturating_sub(r.window.as_nanos_i64()));
        match since.map(|r| r.since).min() {
            Some(since) if at >= since => Ok(()),
            since => Err(Error::invalid(format!(
                "`as_known_at` {} is before {}, since when revisions of `{key}` are kept",
                shown_time(at),
                since.map_or_else(String::new, shown_time)
            ))
            .hint("ask for a later time: what changed before was not recorded")),
        }
    }
}
