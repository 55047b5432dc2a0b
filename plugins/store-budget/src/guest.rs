//! What stands between the policy and the host: WIT types in, WIT types out.

wit_bindgen::generate!({ world: "retention-policy-plugin", path: "../../wit" });

use crate::policy::{Config, File, judge};
use exports::shiphold::host::retention_policy::Guest;
use shiphold::host::retention_types::{Action, Cursor, DropFile, PlanResult, Summary};
use shiphold::host::types::Error;
use shiphold::host::{config as host_config, log, metrics};
use std::collections::BTreeMap;

/// Summaries taken at once: the most that the host gives.
const SUMMARIES_MAX: u32 = 1_000;

struct StoreBudget;

impl Guest for StoreBudget {
    fn plan(cursor: Cursor, now: i64) -> Result<PlanResult, Error> {
        let config = Config::parse(&host_config::get()).map_err(Error::Invalid)?;
        let mut stores: BTreeMap<String, Vec<File>> = BTreeMap::new();
        loop {
            let page = cursor.next(SUMMARIES_MAX);
            if page.is_empty() {
                break;
            }
            for summary in page {
                let Summary::File(f) = summary else { continue };
                let file = File { path: f.path, created_at: f.created_at, bytes: f.bytes };
                stores.entry(f.store).or_default().push(file);
            }
        }
        let mut plan = PlanResult { actions: Vec::new(), more: false };
        let mut stuck = 0;
        for budget in &config.stores {
            let files = stores.remove(&budget.store).unwrap_or_default();
            let seen = files.len();
            let verdict = judge(budget, now, files);
            log::write(
                log::Level::Info,
                &format!(
                    "{}: {seen} files, {} bytes of {} MiB, {} to drop{}",
                    budget.store,
                    verdict.bytes,
                    budget.budget_mib,
                    verdict.drops.len(),
                    if verdict.more { ", and more next time" } else { "" }
                ),
            );
            if verdict.stuck > 0 {
                log::write(
                    log::Level::Warn,
                    &format!("{}: {} bytes over, held by files that stay", budget.store, verdict.stuck),
                );
            }
            stuck += verdict.stuck;
            let drops = verdict.drops.into_iter();
            plan.actions
                .extend(drops.map(|path| Action::DropFile(DropFile { store: budget.store.clone(), path })));
            plan.more |= verdict.more;
        }
        // A gauge is a courtesy: a host that refuses it still gets its plan.
        let _ = metrics::gauge("bytes_over_budget", stuck as f64);
        Ok(plan)
    }
}

export!(StoreBudget);
