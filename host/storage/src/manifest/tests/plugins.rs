//! What a manifest may say of plugins: limits, grants, schedules.

use super::*;

#[test]
fn limits_of_plugins_have_bounds_and_fit_each_other() {
    let all = |text: &str| format!("[limits.plugins]\n{text}");
    one(&all("instances = 0"), 2, "limits.plugins.instances", "outside 1..=256");
    one(&all("threads = 0"), 2, "limits.plugins.threads", "outside 1..=256");
    one(&all("wait = \"0 s\""), 2, "limits.plugins.wait", "outside");
    one(&all("component_max = \"2 GiB\""), 2, "limits.plugins.component_max", "outside");
    one(&all("compile_memory = \"63 MiB\""), 2, "limits.plugins.compile_memory", "outside");
    one(&all("instanzes = 1"), 2, "limits.plugins.instanzes", "did you mean `instances`");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), "").unwrap();
    let of = |all: &str, own: &str| {
        let text = format!(
            "[limits.plugins]\n{all}\n[plugins.p]\ncomponent = \"p.wasm\"\nworld = \"retention-policy\"\n[plugins.p.limits]\n{own}"
        );
        Manifest::parse(&text, &dir.path().join("shiphold.toml"))
    };
    let fits =
        of("memory = \"64 MiB\"", "input = \"1 KiB\"\nlog_bytes = \"0 B\"\nqueue = 0\nrequests = 0").unwrap();
    assert_eq!(fits.limits.plugins.memory, ByteSize::mib(64));
    let limits = &fits.plugins["p"].limits;
    assert_eq!(
        (limits.input, limits.log_bytes, limits.queue, limits.requests),
        (ByteSize::kib(1), ByteSize(0), 0, 0)
    );
    for (own, key, words) in [
        ("memory = \"65 MiB\"", "memory", "more than limits.plugins.memory (64 MiB)"),
        ("input = \"1023 B\"", "input", "outside"),
        ("output = \"1023 B\"", "output", "outside"),
        ("concurrency = 0", "concurrency", "outside 1..=256"),
        ("concurrency = 257", "concurrency", "outside"),
        ("queue = 10001", "queue", "outside"),
        ("gauges = 1001", "gauges", "outside"),
        ("memories = 0", "memories", "outside 1..=100"),
    ] {
        let said = of("memory = \"64 MiB\"", own).unwrap_err();
        assert_eq!(said.problems.len(), 1, "{own}: {said}");
        assert_eq!(said.problems[0].key, format!("plugins.p.limits.{key}"));
        assert!(said.problems[0].message.contains(words), "{own}: {said}");
    }
}

fn plugin(world: &str, rest: &str) -> String {
    format!("[plugins.p]\ncomponent = \"/dev/null\"\nworld = \"{world}\"\n{rest}")
}

#[test]
fn impossible_grants_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), b"").unwrap();
    for (world, rest, key, word) in [
        ("retention-policy", "[plugins.p.grants]\nhttp = [\"GET a.example\"]", "http", "not an import"),
        ("retention-policy", "[plugins.p.grants]\nskills = true", "skills", "not an import"),
        (
            "skill-indexer",
            "[plugins.p.grants.series]\ndrop = [\"market/*\"]",
            "drop",
            "only a retention-policy",
        ),
        ("retention-policy", "[plugins.p.grants.series]\nread = [\"tick\"]", "read", "bucket/measurement"),
        ("backup-target", "[plugins.p.grants]\nsecrets = [\"s3\"]", "secrets", "no [secrets.s3]"),
        ("backup-target", "[plugins.p.grants]\nhttp = [\"FETCH a.example\"]", "http", "method and a host"),
        ("backup-target", "[plugins.p.grants.files]\nread = [\"gone/*\"]", "read", "names no store"),
        ("skill-indexer", "[plugins.p.grants]\ncommits = true", "commits", "not an import"),
        ("backup-target", "[plugins.p.grants]\nstate = { read = [\"*\"] }", "state", "not an import"),
        ("query-builder", "[plugins.p.grants.state]\nwrite = [\"*\"]", "write", "only reads"),
        ("query-builder", "[plugins.p.grants.trades]\nwrite = [\"*\"]", "write", "only reads"),
        (
            "query-builder",
            "[plugins.p.grants.files]\nwrite = [\"a/*\"]\n[files.a]\nkind = \"models\"",
            "write",
            "only reads",
        ),
        (
            "query-builder",
            "[plugins.p.grants.files]\ndelete = [\"a/*\"]\n[files.a]\nkind = \"models\"",
            "delete",
            "only reads",
        ),
        ("skill-indexer", "[plugins.p.grants]\ntrades = { read = [\"*\"] }", "trades", "not an import"),
        ("backup-target", "[plugins.p.grants]\ntrades = { write = [\"*\"] }", "trades", "not an import"),
        ("retention-policy", "[plugins.p.grants.trades]\nreads = [\"*\"]", "reads", "did you mean `read`"),
        ("retention-policy", "[plugins.p.grants.settings]\nwrite = [\"live\"]", "write", "without `commits"),
        (
            "retention-policy",
            "[plugins.p.grants]\nskills = { write = [\"a\"] }",
            "skills",
            "without `commits",
        ),
        ("skill-indexer", "[plugins.p.grants]\nskills = 1", "skills", "true or false"),
    ] {
        let text = plugin(world, rest).replace("/dev/null", "p.wasm");
        let found = Manifest::parse(&text, &dir.path().join("shiphold.toml")).unwrap_err().problems;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].key.ends_with(key) && found[0].message.contains(word) && found[0].line == 5,
            "{found:#?}"
        );
    }
}

#[test]
fn accounts_are_granted_by_pattern() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), b"").unwrap();
    let grants = |world: &str, rest: &str| {
        let text = plugin(world, rest).replace("/dev/null", "p.wasm");
        Manifest::parse(&text, &dir.path().join("shiphold.toml")).unwrap().plugins["p"].grants.clone()
    };
    let both =
        grants("retention-policy", "[plugins.p.grants.trades]\nread = [\"paper-*\"]\nwrite = [\"paper-1\"]");
    assert_eq!(
        (both.trades_read, both.trades_write),
        (vec!["paper-*".to_string()], vec!["paper-1".to_string()])
    );
    let reads = grants("query-builder", "[plugins.p.grants.trades]\nread = [\"*\"]");
    assert!(reads.trades() && reads.trades_write.is_empty());
    assert!(!grants("query-builder", "[plugins.p.grants.trades]\nread = []").trades());
}

#[test]
fn schedules_and_zones() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), b"").unwrap();
    let schedule = |line: &str| {
        let text = plugin("retention-policy", line).replace("/dev/null", "p.wasm");
        Manifest::parse(&text, &dir.path().join("shiphold.toml"))
            .map(|m| m.plugins["p"].schedule.clone().unwrap())
    };
    assert_eq!(schedule("schedule = \"every 15 min\"").unwrap(), Schedule::Every(Span::from_secs(900)));
    assert_eq!(schedule("schedule = \"0 3 * * 1-5\"").unwrap(), Schedule::Cron("0 3 * * 1-5".into()));
    for bad in ["0 3 * *", "every 10 ms", "every now", "61 3 * * *", "* * * * * *"] {
        assert!(schedule(&format!("schedule = \"{bad}\"")).is_err(), "{bad}");
    }
    assert!(schedule("schedule = \"every 1 h\"\ntimezone = \"Mars/Olympus\"").is_err());
}

#[test]
fn a_policy_may_be_given_commits_and_what_they_write() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), b"").unwrap();
    let rest = "[plugins.p.grants]\ncommits = true\nskills = { write = [\"a.*\"] }\nsettings = { write = [\"live\"] }\n\
                state = { read = [\"*\"], write = [\"a.*\"] }";
    let text = plugin("retention-policy", rest).replace("/dev/null", "p.wasm");
    let m = Manifest::parse(&text, &dir.path().join("shiphold.toml")).unwrap();
    let g = &m.plugins["p"].grants;
    assert!(g.commits && !g.skills_read);
    assert_eq!((&g.skills_write, &g.settings_write), (&vec!["a.*".to_string()], &vec!["live".to_string()]));
    assert_eq!(
        (g.state_read.as_slice(), g.state_write.as_slice()),
        (&["*".to_string()][..], &["a.*".to_string()][..])
    );
}
