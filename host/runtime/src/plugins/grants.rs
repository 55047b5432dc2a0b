//! What a plugin may touch, in words.

use super::Plugins;
use crate::descriptor::Descriptor;
use crate::inspect::inspect;
use serde::Serialize;
use shiphold_storage::manifest::{Plugin, World};
use shiphold_storage::{Caller, Grants, Result, Scope};

/// One grant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrantLine {
    /// Its key, `series.read`.
    pub grant: String,
    pub sentence: String,
    /// The plugin's own words from its plugin.toml.
    pub reason: Option<String>,
}

/// A plugin's grants, one sentence each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrantsReport {
    pub plugin: String,
    pub world: String,
    pub version: String,
    /// Asked and given.
    pub may: Vec<GrantLine>,
    /// Asked, and not given.
    pub not_given: Vec<GrantLine>,
    /// Given, and not asked: without effect.
    pub not_asked: Vec<GrantLine>,
    pub cannot: Vec<String>,
}

/// A grant's key, what it names (empty: nothing), whether it is there, and its verb.
type Line<'a> = (&'static str, &'a [String], bool, &'static str);

fn lines(g: &Grants) -> [Line<'_>; 21] {
    [
        ("series.read", &g.series_read, !g.series_read.is_empty(), "read the series"),
        ("series.write", &g.series_write, !g.series_write.is_empty(), "write to the series"),
        ("series.drop", &g.series_drop, !g.series_drop.is_empty(), "propose to drop rows of the series"),
        (
            "settings.read",
            &g.settings_read,
            !g.settings_read.is_empty(),
            "read the settings of the namespaces",
        ),
        (
            "settings.write",
            &g.settings_write,
            !g.settings_write.is_empty(),
            "change, in commits, the settings of the namespaces",
        ),
        ("skills", &[], g.skills_read, "read every skill"),
        (
            "skills.write",
            &g.skills_write,
            !g.skills_write.is_empty(),
            "store, in commits, versions of the skills and what they achieved:",
        ),
        ("state.read", &g.state_read, !g.state_read.is_empty(), "load the checkpoints of the strategies"),
        ("state.write", &g.state_write, !g.state_write.is_empty(), "save checkpoints of the strategies"),
        (
            "trades.read",
            &g.trades_read,
            !g.trades_read.is_empty(),
            "see the orders, fills and positions of the accounts",
        ),
        (
            "trades.write",
            &g.trades_write,
            !g.trades_write.is_empty(),
            "record orders and fills of the accounts",
        ),
        ("logs.read", &g.logs_read, !g.logs_read.is_empty(), "read the lines of the logs"),
        ("commits", &[], g.commits, "make commits: what it may write, in several stores at once"),
        ("files.read", &g.files_read, !g.files_read.is_empty(), "read the files"),
        ("files.write", &g.files_write, !g.files_write.is_empty(), "write the files"),
        (
            "files.delete",
            &g.files_delete,
            !g.files_delete.is_empty(),
            "take away, versions and all, the files",
        ),
        ("http", &g.http, !g.http.is_empty(), "send the requests"),
        ("secrets", &g.secrets, !g.secrets.is_empty(), "learn the secrets"),
        ("clock", &[], g.clock, "see what time it is"),
        ("random", &[], g.random, "draw random bytes"),
        ("wasi", &[], g.wasi, "import `wasi:*`, which holds nothing"),
    ]
}

fn named(verb: &str, names: &[String]) -> String {
    match names {
        [] => verb.to_string(),
        names => {
            let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
            format!("{verb} {}", names.join(", "))
        }
    }
}

/// Of one side, what the other does not cover.
fn beyond(side: &[String], both: &[String]) -> Vec<String> {
    side.iter().filter(|p| !both.contains(p)).cloned().collect()
}

pub(super) fn words(plugin: &Plugin, descriptor: &Descriptor) -> GrantsReport {
    let (asked, given) = (descriptor.asked(), &plugin.grants);
    let both = Grants::intersect(&asked, given);
    let reason = |key: &str| descriptor.reasons.get(key).cloned();
    let line = |key: &str, sentence: String| GrantLine { grant: key.into(), sentence, reason: reason(key) };
    let (mut may, mut not_given, mut not_asked, mut cannot) = (vec![], vec![], vec![], vec![]);
    for ((one, a), g) in lines(&both).into_iter().zip(lines(&asked)).zip(lines(given)) {
        let (key, names, has, verb) = one;
        if has {
            may.push(line(key, format!("It may {}.", named(verb, names))));
        }
        let wants = beyond(a.1, names);
        if a.2 && (!has || !wants.is_empty()) {
            not_given.push(line(
                key,
                format!("It asks to {}; the manifest does not give all of it.", named(verb, &wants)),
            ));
        }
        let spare = beyond(g.1, names);
        if g.2 && (!has || !spare.is_empty()) {
            not_asked.push(line(
                key,
                format!(
                    "The manifest lets it {}; its plugin.toml does not ask for all of it.",
                    named(verb, &spare)
                ),
            ));
        }
    }
    if given.overwrite {
        may.push(line("overwrite", "It may replace rows that are there.".into()));
    }
    for (allowed, sentence) in [
        (!both.http.is_empty(), "It cannot reach the network."),
        (
            !(both.files_read.is_empty() && both.files_write.is_empty() && both.files_delete.is_empty()),
            "It cannot touch a file: neither of a file store nor of this machine.",
        ),
        (!both.secrets.is_empty(), "It cannot learn a secret."),
        (!both.series_read.is_empty(), "It cannot read a series."),
        (!both.series_write.is_empty(), "It cannot write a series."),
        (!both.series_drop.is_empty(), "It cannot have rows dropped."),
        (
            both.series_write.is_empty() || given.overwrite,
            "It cannot replace rows that are there: it only adds.",
        ),
        (!both.settings_read.is_empty(), "It cannot read a setting."),
        (both.skills_read || plugin.world == World::SkillIndexer, "It cannot read a skill."),
        (both.clock || plugin.world == World::RetentionPolicy, "It cannot see what time it is."),
        (both.random, "It cannot draw random bytes."),
        (both.commits && !both.settings_write.is_empty(), "It cannot change a setting."),
        (both.commits && !both.skills_write.is_empty(), "It cannot store a skill."),
        (!both.state_read.is_empty(), "It cannot load a checkpoint of a strategy."),
        (!both.state_write.is_empty(), "It cannot save a checkpoint of a strategy."),
        (!both.logs_read.is_empty(), "It cannot read a line of a log."),
        (!both.trades_read.is_empty(), "It cannot see what an account traded or holds."),
        (!both.trades_write.is_empty(), "It cannot record an order or a fill."),
        (false, "It cannot start a program, make a token, or call another plugin."),
    ] {
        if !allowed {
            cannot.push(sentence.to_string());
        }
    }
    GrantsReport {
        plugin: plugin.name.clone(),
        world: plugin.world.name().into(),
        version: descriptor.version.clone(),
        may,
        not_given,
        not_asked,
        cannot,
    }
}

impl Plugins {
    /// What a plugin may touch, in words: of the version that serves; of its file where none does. Reads a file: not for
    /// a thread that must not block.
    pub fn grants(&self, caller: &Caller, name: &str) -> Result<GrantsReport> {
        caller.require(Scope::Read, "see what a plugin may touch")?;
        let slot = self.slot(name)?;
        if let Ok(loaded) = &slot.loaded {
            return Ok(words(&slot.plugin, &loaded.descriptor));
        }
        match inspect(&slot.plugin.component)?.plugin {
            Some(descriptor) => Ok(words(&slot.plugin, &descriptor)),
            None => Err(shiphold_storage::Error::invalid(format!(
                "plugin `{name}` carries no plugin.toml: nothing says what it asks for"
            ))
            .hint("docs/plugins.md has the section's form")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::Manifest;

    #[test]
    fn grants_are_told_in_words_with_their_reasons() {
        let toml = "[plugins.p]\ncomponent='p.wasm'\nworld='retention-policy'\n[plugins.p.grants]\nrandom=true\ntrades={read=['paper-*']}\n[plugins.p.grants.series]\nread=['market/bar.*']\nwrite=['market/*']";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), "").unwrap();
        let manifest = Manifest::parse(toml, &dir.path().join("shiphold.toml")).unwrap();
        let descriptor = Descriptor::parse(
            b"name='p'\nversion='1.2.3'\nworld='retention-policy'\n[grants]\nclock=true\ntrades={read=['paper-1'],write=['paper-1']}\n[grants.series]\nread=['market/*']\nwrite=['market/bar.1d.*']\n[reasons]\n'series.read'='to see how old they are'\nclock='to know today'",
        )
        .unwrap();
        let r = words(&manifest.plugins["p"], &descriptor);
        let of = |lines: &[GrantLine]| lines.iter().map(|l| l.sentence.clone()).collect::<Vec<_>>();
        assert_eq!(
            of(&r.may),
            [
                "It may read the series `market/bar.*`.",
                "It may write to the series `market/bar.1d.*`.",
                "It may see the orders, fills and positions of the accounts `paper-1`.",
            ]
        );
        assert_eq!(r.may[0].reason.as_deref(), Some("to see how old they are"));
        assert!(
            r.not_given.iter().any(|l| l.grant == "clock" && l.reason.as_deref() == Some("to know today"))
        );
        assert!(r.not_given.iter().any(|l| l.sentence.contains("`market/*`")), "{r:#?}");
        assert!(r.not_asked.iter().any(|l| l.grant == "random"));
        assert!(r.may.iter().any(|l| l.grant == "trades.read"));
        assert!(
            r.not_given
                .iter()
                .any(|l| l.grant == "trades.write" && l.sentence.contains("record orders and fills")),
            "{r:#?}"
        );
        for sentence in [
            "It cannot change a setting.",
            "It cannot save a checkpoint",
            "It cannot record an order or a fill.",
            "It cannot reach the network.",
            "It cannot have rows dropped.",
            "it only adds",
        ] {
            assert!(r.cannot.iter().any(|c| c.contains(sentence)), "{sentence}: {:#?}", r.cannot);
        }
        assert!(!r.cannot.iter().any(|c| c.contains("read a series") || c.contains("what time")));
    }
}
