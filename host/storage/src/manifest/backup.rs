//! `[backup.NAME]`: a repository on a backup target.

use super::load::{NAME_RULE, is_name, to_u32};
use super::reader::Section;
use super::{Offsite, Plugin, SecretSource, World};
use crate::backup::Keep;
use std::collections::BTreeMap;

/// Snapshots that one rule may keep.
const KEEP_MAX: u64 = 100_000;

pub(super) fn read_backups(
    root: &Section<'_, '_>,
    plugins: &BTreeMap<String, Plugin>,
    secrets: &BTreeMap<String, SecretSource>,
) -> BTreeMap<String, Offsite> {
    let mut out = BTreeMap::new();
    for (name, s) in root.named("backup") {
        if !is_name(&name) {
            s.problem("", NAME_RULE);
        }
        let plugin = s.required("plugin", "\"NAME\" of a backup-target of [plugins]").unwrap_or_default();
        match plugins.get(&plugin) {
            Some(p) if p.world != World::BackupTarget => {
                s.problem("plugin", format!("`{plugin}` is a {}, not a backup-target", p.world.name()));
            }
            None if !plugin.is_empty() => {
                s.problem(
                    "plugin",
                    format!("names the plugin `{plugin}`, but there is no [plugins.{plugin}]"),
                );
            }
            _ => {}
        }
        let password = s.required("password", "\"NAME\" of an entry of [secrets]").unwrap_or_default();
        if !password.is_empty() && !secrets.contains_key(&password) {
            s.problem(
                "password",
                format!("names the secret `{password}`, but there is no [secrets.{password}]"),
            );
        }
        let count = |key: &str, default| to_u32(s.number(key, default, 0..=KEEP_MAX));
        let keep = Keep {
            last: to_u32(s.number("keep_last", 7, 1..=KEEP_MAX)),
            daily: count("keep_daily", 30),
            weekly: count("keep_weekly", 12),
            monthly: count("keep_monthly", 24),
        };
        s.finish();
        out.insert(name, Offsite { plugin, password, keep });
    }
    out
}
