//! `shiphold migrate …`: works on the files alone.

use super::output::{Failure, Output, time};
use clap::Subcommand;
use serde_json::json;
use shiphold_storage::Manifest;
use shiphold_storage::migrate::{self, DatabaseMigrations};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Which migrations the databases have; a host may run
    Status,
    /// Apply what is pending, each database backed up first; starting the host does so too
    Up {
        /// Apply it to a copy, check that, and remove it
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) fn run(verb: &Verb, manifest: &Manifest, out: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Status => {
            let all = migrate::status(manifest)?;
            if out.json {
                out.json(&json!(all));
                return Ok(());
            }
            let mut rows = Vec::new();
            for database in &all {
                for m in &database.migrations {
                    let state = match (m.applied_at, m.changed, database.exists) {
                        (_, true, _) => "applied with ANOTHER TEXT than this version has".into(),
                        (Some(at), false, _) => time(at.saturating_mul(1_000_000_000)),
                        (None, false, true) => "pending".into(),
                        (None, false, false) => "when the database is made".into(),
                    };
                    rows.push(vec![database.file.clone(), format!("{:04}", m.number), m.name.clone(), state]);
                }
            }
            out.table(&["database", "number", "migration", "applied"], &rows);
        }
        Verb::Up { dry_run } => {
            let before = migrate::up(manifest, *dry_run)?;
            let pending: usize = before.iter().map(DatabaseMigrations::pending).sum();
            let said = match (pending, dry_run) {
                (0, _) => "nothing is pending".to_string(),
                (n, true) => format!("{n} migrations work on a copy of the data; nothing was changed"),
                (n, false) => {
                    format!("{n} migrations applied; FILE.before-NUMBER in the data folder is how it was")
                }
            };
            out.done(&json!({ "dry_run": dry_run, "applied": pending, "before": before }), said);
        }
    }
    Ok(())
}
