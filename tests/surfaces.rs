//! One surface: every noun works with and without a running host; HTTP guards itself.

use crate::support::{Host, bars, request};

#[test]
fn every_noun_works_whether_or_not_the_host_runs() {
    let mut host = Host::new().with("[files.models]\nkind = \"models\"");
    let source = host.path().join("m.bin");
    std::fs::write(&source, b"weights").unwrap();
    let code = host.path().join("s.py");
    std::fs::write(&code, b"def run(bars):\n    return bars[-1]\n").unwrap();
    let (source, code) = (source.to_str().unwrap().to_string(), code.to_str().unwrap().to_string());
    for running in [false, true] {
        if running {
            host.serve();
        }
        let name = if running { "online" } else { "offline" };
        host.run(&[
            "skills",
            "put",
            name,
            "--code",
            &code,
            "--language",
            "python",
            "--description",
            "buys the dip in an uptrend",
        ])
        .ok();
        assert!(host.run(&["skills", "search", "dips"]).ok().contains(name), "stemming finds `dip`");
        assert!(host.run(&["skills", "list"]).ok().contains(name));
        host.run(&["settings", "set", "user", &format!("{name}.theme"), "\"dark\""]).ok();
        assert!(host.run(&["settings", "get", "user", &format!("{name}.theme")]).ok().contains("dark"));
        host.run(&["files", "put", "models", &format!("momentum/2026-06-26/{name}.bin"), &source]).ok();
        assert!(host.run(&["files", "list", "models"]).ok().contains(name));
        host.run(&["files", "verify", "models"]).ok();
        assert!(host.run(&["audit", "list"]).ok().contains("skills.put"));
        host.run(&["audit", "verify"]).ok();
        assert!(host.run(&["sql", "SELECT name FROM skills"]).ok().contains(name));
        host.run(&["sql", "DELETE FROM skills"]).fails(1, &["refused"]);
        host.run(&["series", "list"]).ok();
        host.run(&["series", "stats"]).ok();
        host.run(&["plugins", "list"]).ok();
        host.run(&["tokens", "list"]).ok();
        host.run(&["verify"]).ok();
        let to = host.path().join(format!("backup-{name}"));
        host.run(&["backup", "export", to.to_str().unwrap()]).ok();
        for noun in [
            ["skills", "list"],
            ["series", "list"],
            ["audit", "list"],
            ["files", "list"],
            ["plugins", "list"],
            ["tokens", "list"],
        ] {
            let mut args = vec!["--json"];
            args.extend(noun);
            if noun[0] == "files" {
                args.push("models");
            }
            host.run(&args).json();
        }
    }
}

#[test]
fn tokens_guard_what_they_say() {
    let mut host = Host::new();
    host.serve();
    let (read, write) = (host.token("r", "read"), host.token("w", "write"));
    assert_eq!(host.http("GET", "/v1/skills", None, b"").status, 401);
    assert_eq!(host.http("GET", "/v1/skills", Some("shp_wrong"), b"").status, 401);
    assert_eq!(host.http("GET", "/v1/skills", Some(&read), b"").status, 200);
    assert_eq!(host.write_lines(&read, "market", "m v=1 1").status, 403);
    assert_eq!(host.write_lines(&write, "market", "m v=1 1").status, 204);
    assert_eq!(host.http("GET", "/v1/tokens", Some(&write), b"").status, 403);
    let bearer = format!("Bearer {read}");
    assert_eq!(request(&host.url("/v1/skills"), "GET", &[("Authorization", &bearer)], b"").status, 200);
    host.run(&["tokens", "revoke", "r"]).ok();
    assert_eq!(host.http("GET", "/v1/skills", Some(&read), b"").status, 401);
    // The secret is nowhere in the data folder.
    for entry in std::fs::read_dir(host.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(write.len()).any(|w| w == write.as_bytes()), "{}", path.display());
        }
    }
}

#[test]
fn a_web_page_cannot_reach_the_loopback() {
    let mut host = Host::new();
    host.serve();
    let token = format!("Token {}", host.token("t", "admin"));
    let ask = |extra: (&str, &str)| {
        request(&host.url("/v1/skills"), "GET", &[("Authorization", &token), extra], b"").status
    };
    assert_eq!(ask(("X-Nothing", "1")), 200);
    assert_eq!(ask(("Host", "evil.example")), 403);
    assert_eq!(ask(("Host", "localhost")), 200);
    assert_eq!(ask(("Origin", "https://evil.example")), 403);
}

#[test]
fn health_ping_and_metrics_answer_as_influxdb_clients_expect() {
    let mut host = Host::new();
    host.serve();
    let ping = host.http("GET", "/ping", None, b"");
    assert_eq!(ping.status, 204);
    assert!(ping.header("X-Influxdb-Version").is_some(), "{ping:?}");
    assert_eq!(host.http("HEAD", "/ping", None, b"").status, 204);
    let health = host.http("GET", "/health", None, b"").json();
    assert_eq!(health["status"], "pass", "{health}");
    for key in ["name", "message", "version", "checks"] {
        assert!(!health[key].is_null(), "{key}: {health}");
    }
    let token = host.token("t", "write");
    host.write_lines(&token, "market", &bars("A", 0, 100));
    let metrics = host.http("GET", "/metrics", Some(&token), b"");
    assert_eq!(metrics.status, 200);
    for name in ["shiphold_build_info", "shiphold_series_rows", "shiphold_http_requests_total"] {
        assert!(metrics.body.contains(name), "no {name} in {}", metrics.body);
    }
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut host = Host::new();
    host.serve();
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.data().join("shiphold.sock")), 0o600);
    assert_eq!(mode(&host.data()), 0o700);
}

#[test]
fn every_command_helps() {
    let host = Host::new();
    for noun in [
        "serve", "check", "verify", "skills", "series", "settings", "audit", "files", "plugins", "backup",
        "tokens", "sql",
    ] {
        let help = host.run(&[noun, "--help"]);
        assert!(help.ok().contains("Usage:"), "{noun}");
    }
    assert_eq!(host.run(&["nonsense"]).code, 2);
    assert_eq!(host.run(&[]).code, 2);
}

#[test]
fn settings_are_compared_and_set() {
    let host = Host::new();
    host.run(&["settings", "set", "system", "risk.max", "5"]).ok();
    host.run(&["settings", "set", "system", "risk.max", "6", "--expect", "1"]).ok();
    host.run(&["settings", "set", "system", "risk.max", "7", "--expect", "1"]).fails(1, &["revision"]);
    assert!(host.run(&["settings", "history", "system", "risk.max"]).ok().contains('6'));
}
