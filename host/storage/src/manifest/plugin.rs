//! `[plugins.NAME]`: what the operator runs, grants and limits.

use super::limits::read_plugin_limits;
use super::load::{NAME_RULE, is_name, place, to_u32};
use super::reader::Section;
use super::*;
use crate::http_grant::Destination;
use std::path::Path;

pub(super) fn read_plugin(
    s: &Section<'_, '_>,
    name: String,
    base: &Path,
    files: &BTreeMap<String, FileStore>,
    secrets: &BTreeMap<String, SecretSource>,
    trust: &Trust,
    all: &HostPluginLimits,
) -> Plugin {
    if !is_name(&name) {
        s.problem("", NAME_RULE);
    }
    let component = place(base, &s.required("component", "\"plugin.wasm\"").unwrap_or_default());
    if s.text("component").is_some() && !component.is_file() {
        s.problem(
            "component",
            format!("{} does not exist; build it, or correct the path", component.display()),
        );
    }
    let worlds: Vec<(&str, World)> = World::ALL.iter().map(|w| (w.name(), *w)).collect();
    s.required("world", "\"retention-policy\"");
    let world = s.choice("world", World::RetentionPolicy, &worlds);
    let sha256 = s.text("sha256");
    if let Some(pin) = &sha256 {
        if pin.len() != 64 || !pin.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            s.problem("sha256", "is not a SHA-256 digest of 64 lower-case hexadecimal digits; `shiphold plugins inspect FILE` prints it");
        }
    }
    let timezone = s.text("timezone").unwrap_or_else(|| "UTC".into());
    if timezone.parse::<chrono_tz::Tz>().is_err() {
        s.problem("timezone", format!("`{timezone}` is not an IANA time zone, such as \"America/New_York\""));
    }
    let plugin = Plugin {
        component,
        world,
        sha256,
        signers: super::trust::read_signers(s, trust),
        enabled: s.flag("enabled", true),
        schedule: read_schedule(s, world),
        on: read_on(&s.section("on"), world),
        timezone,
        catch_up: s.choice("catch_up", true, &[("once", true), ("skip", false)]),
        grants: read_grants(&s.section("grants"), world, files, secrets),
        limits: read_plugin_limits(&s.section("limits"), all),
        on_failure: read_on_failure(&s.section("on_failure")),
        config: match s.json("config") {
            serde_json::Value::Null => serde_json::Value::Object(serde_json::Map::new()),
            value @ serde_json::Value::Object(_) => value,
            _ => {
                s.problem("config", "expected a table");
                serde_json::Value::Null
            }
        },
        name,
    };
    s.finish();
    plugin
}

fn read_schedule(s: &Section<'_, '_>, world: World) -> Option<Schedule> {
    let text = s.text("schedule")?;
    if world != World::RetentionPolicy {
        s.problem("schedule", format!("a {} does not run by itself; remove the schedule", world.name()));
        return None;
    }
    if let Some(every) = text.strip_prefix("every ") {
        return match every.parse::<Span>() {
            Ok(span) if span >= Span::from_secs(1) => Some(Schedule::Every(span)),
            Ok(span) => {
                s.problem("schedule", format!("`{span}` is less than 1 s"));
                None
            }
            Err(e) => {
                s.problem("schedule", e.to_string());
                None
            }
        };
    }
    if text.split_whitespace().count() == 5 && text.parse::<croner::Cron>().is_ok() {
        return Some(Schedule::Cron(text));
    }
    s.problem("schedule", format!("`{text}` is neither `every 15 min` nor a cron line of five fields such as \"0 3 * * *\" (minute hour day month weekday)"));
    None
}

fn read_on(s: &Section<'_, '_>, world: World) -> On {
    let on = On {
        write: s.texts("write"),
        skill: s.flag("skill", false),
        debounce: s.time("debounce", Span::from_secs(1), Span::from_millis(10)..=Span::from_secs(3_600)),
    };
    for p in on.write.iter().filter(|p| !p.contains('/')) {
        s.problem(
            "write",
            format!(
                "`{p}` matches nothing: a series pattern is `bucket/measurement`, such as \"market/tick.*\""
            ),
        );
    }
    if on.any() && world != World::RetentionPolicy {
        s.problem("", format!("a {} does not run by itself; remove its events", world.name()));
    }
    s.finish();
    on
}

fn read_grants(
    s: &Section<'_, '_>,
    world: World,
    files: &BTreeMap<String, FileStore>,
    secrets: &BTreeMap<String, SecretSource>,
) -> Grants {
    let series = s.section("series");
    let settings = s.section("settings");
    let state = s.section("state");
    let trades = s.section("trades");
    let logs = s.section("logs");
    let (skills_read, skills_write) = read_skills(s);
    let stores = s.section("files");
    let grants = Grants {
        series_read: series.texts("read"),
        series_write: series.texts("write"),
        series_drop: series.texts("drop"),
        settings_read: settings.texts("read"),
        settings_write: settings.texts("write"),
        skills_read,
        skills_write,
        commits: s.flag("commits", false),
        state_read: state.texts("read"),
        state_write: state.texts("write"),
        trades_read: trades.texts("read"),
        trades_write: trades.texts("write"),
        logs_read: logs.texts("read"),
        files_read: stores.texts("read"),
        files_write: stores.texts("write"),
        files_delete: stores.texts("delete"),
        http: s.texts("http"),
        secrets: s.texts("secrets"),
        clock: s.flag("clock", false),
        random: s.flag("random", false),
        wasi: s.flag("wasi", false),
        overwrite: s.flag("overwrite", false),
    };
    for (key, patterns) in
        [("read", &grants.series_read), ("write", &grants.series_write), ("drop", &grants.series_drop)]
    {
        for p in patterns {
            if !p.contains('/') {
                series.problem(key, format!("`{p}` matches nothing: a series pattern is `bucket/measurement`, such as \"market/tick.*\""));
            }
        }
    }
    for (key, patterns) in
        [("read", &grants.files_read), ("write", &grants.files_write), ("delete", &grants.files_delete)]
    {
        for p in patterns {
            let store = p.split('/').next().unwrap_or_default();
            if !p.contains('/') || !files.contains_key(store) {
                stores.problem(key, format!("`{p}` names no store: a file pattern is `store/prefix*`, and the store needs [files.{store}]"));
            }
        }
    }
    for name in &grants.secrets {
        if !secrets.contains_key(name) {
            s.problem("secrets", format!("names the secret `{name}`, but there is no [secrets.{name}]"));
        }
    }
    for entry in &grants.http {
        if Destination::parse(entry).is_none() {
            s.problem(
                "http",
                format!("`{entry}` is not a method and a host, such as \"GET api.example.com\" or \"PUT http://127.0.0.1:9000\""),
            );
        }
    }
    // What a world cannot import, it cannot be granted: such a line would look like power and be none.
    let imports: &[&str] = match world {
        World::RetentionPolicy => &[
            "series",
            "settings",
            "files",
            "clock",
            "random",
            "overwrite",
            "commits",
            "state",
            "trades",
            "logs",
        ],
        World::SkillIndexer => &["skills", "settings", "random"],
        World::QueryBuilder => &["series", "settings", "clock", "state", "trades", "logs", "files"],
        World::BackupTarget => &["files", "http", "secrets", "clock", "overwrite"],
    };
    for (key, given) in [
        ("series", !(grants.series_read.is_empty() && grants.series_write.is_empty())),
        ("settings", !grants.settings_read.is_empty()),
        ("skills", grants.skills_read),
        (
            "files",
            !(grants.files_read.is_empty()
                && grants.files_write.is_empty()
                && grants.files_delete.is_empty()),
        ),
        ("http", !grants.http.is_empty()),
        ("secrets", !grants.secrets.is_empty()),
        ("commits", grants.commits),
        ("state", !(grants.state_read.is_empty() && grants.state_write.is_empty())),
        ("trades", grants.trades()),
        ("logs", !grants.logs_read.is_empty()),
        ("clock", grants.clock),
        ("random", grants.random),
        ("overwrite", grants.overwrite),
    ] {
        if given && !imports.contains(&key) {
            s.problem(key, format!("is not an import of the world {}; remove the grant", world.name()));
        }
    }
    if world != World::RetentionPolicy && !grants.series_drop.is_empty() {
        series.problem(
            "drop",
            format!("only a retention-policy can propose to drop; the world here is {}", world.name()),
        );
    }
    // Who may read asks a query: nothing may be written for him.
    if world == World::QueryBuilder {
        for (section, key, given) in [
            (&series, "write", &grants.series_write),
            (&state, "write", &grants.state_write),
            (&trades, "write", &grants.trades_write),
            (&stores, "write", &grants.files_write),
            (&stores, "delete", &grants.files_delete),
        ] {
            if !given.is_empty() {
                section.problem(key, "a query-builder only reads; remove the grant");
            }
        }
    }
    // No interface but that of commits writes them.
    if !grants.commits {
        let alone = "is without effect without `commits = true`; grant that, too, or remove this";
        if !grants.settings_write.is_empty() {
            settings.problem("write", alone);
        }
        if !grants.skills_write.is_empty() {
            s.problem("skills", format!("`write` {alone}"));
        }
    }
    series.finish();
    settings.finish();
    state.finish();
    trades.finish();
    logs.finish();
    stores.finish();
    s.finish();
    grants
}

/// `skills = true`: read; or a table with `read` and `write`.
fn read_skills(s: &Section<'_, '_>) -> (bool, Vec<String>) {
    if !s.is_table("skills") {
        return (s.flag("skills", false), Vec::new());
    }
    let skills = s.section("skills");
    let grants = (skills.flag("read", false), skills.texts("write"));
    skills.finish();
    grants
}

fn read_on_failure(s: &Section<'_, '_>) -> OnFailure {
    let d = OnFailure::default();
    let on_failure = OnFailure {
        retries: to_u32(s.number("retries", d.retries.into(), 0..=10)),
        backoff: s.time("backoff", d.backoff, Span::from_millis(10)..=Span::from_secs(3_600)),
        disable_after: to_u32(s.number("disable_after", d.disable_after.into(), 0..=1_000)),
    };
    s.finish();
    on_failure
}
