//! What stands between the policy and the host: WIT types in, WIT types out.

wit_bindgen::generate!({ world: "retention-policy-plugin", path: "../../wit" });

use crate::config::Config;
use crate::policy::{Action, Key, Kind, Plan, Series};
use exports::shiphold::host::retention_policy::Guest;
use shiphold::host::retention_types::{self as wit, Cursor, PlanResult, Summary};
use shiphold::host::types::{Error, SeriesKey};
use shiphold::host::{config as host_config, log, metrics};

/// Summaries taken at once: the most that the host gives.
const SUMMARIES_MAX: u32 = 1_000;

struct Retention;

impl Guest for Retention {
    fn plan(cursor: Cursor, now: i64) -> Result<PlanResult, Error> {
        let config = Config::parse(&host_config::get()).map_err(Error::Invalid)?;
        let mut plan = Plan::default();
        let mut seen = 0_u32;
        'walk: loop {
            let page = cursor.next(SUMMARIES_MAX);
            if page.is_empty() {
                break;
            }
            for summary in page {
                // Files come after every series, and this policy leaves them alone.
                let Summary::Series(series) = summary else { break 'walk };
                seen += 1;
                if !plan.consider(&config, now, &seen_by_policy(series)) {
                    break 'walk;
                }
            }
        }
        let Plan { actions, more, rollups, archives, drops } = plan;
        let rest = if more { "; more next time" } else { "" };
        let kept = if config.archive_to.is_some() { format!("{archives} archives, ") } else { String::new() };
        let told = format!("{seen} series seen, {rollups} rollups, {kept}{drops} drops{rest}");
        log::write(log::Level::Info, &told);
        // A gauge is a courtesy: a host that refuses it still gets its plan.
        let _ = metrics::gauge("series_seen", seen.into());
        Ok(PlanResult { actions: actions.into_iter().map(proposed).collect(), more })
    }
}

fn seen_by_policy(s: wit::SeriesSummary) -> Series {
    Series {
        key: Key { bucket: s.key.bucket, measurement: s.key.measurement, tags: s.key.tags },
        kind: match s.kind {
            wit::Kind::Bar => Kind::Bar,
            wit::Kind::Tick => Kind::Tick,
            wit::Kind::Book => Kind::Book,
            wit::Kind::Signal => Kind::Signal,
            wit::Kind::Metric => Kind::Metric,
            wit::Kind::Other => Kind::Other,
        },
        timeframe: s.timeframe,
        first: s.first,
    }
}

fn proposed(action: Action) -> wit::Action {
    let named = |key: Key| SeriesKey { bucket: key.bucket, measurement: key.measurement, tags: key.tags };
    match action {
        Action::Downsample { key, timeframe, before } => {
            wit::Action::Downsample(wit::Downsample { key: named(key), timeframe, before })
        }
        Action::Archive { key, store, before } => {
            wit::Action::Archive(wit::Archive { key: named(key), store, before })
        }
        Action::DropBefore { key, before } => {
            wit::Action::DropBefore(wit::DropBefore { key: named(key), before })
        }
    }
}

export!(Retention);
