//! A trader's settings: changed together, kept to a schema, read as they were, followed.

use crate::support::Host;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

#[test]
fn settings_change_together_keep_to_their_schema_and_are_followed() {
    let mut host = Host::new();
    host.serve();
    let mut follower = host
        .command(&["--json", "settings", "follow", "risk", "--after", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();

    let file = host.path().join("risk.json");
    let changes = json!([
        { "namespace": "risk", "key": "max", "value": 5, "expect": "absent" },
        { "namespace": "risk", "key": "broker", "value": { "url": "https://x", "password": { "$secret": "broker" } } },
    ]);
    std::fs::write(&file, changes.to_string()).unwrap();
    assert!(host.run(&["settings", "apply", "risk.json"]).ok().contains("2 settings changed"));
    let first = next();
    assert_eq!((&first["change"]["key"], &first["change"]["seq"]), (&json!("max"), &json!(1)));
    assert_eq!(next()["change"]["key"], "broker");
    // Again, it does not hold that the key is absent: nothing of it is made.
    host.run(&["settings", "apply", "risk.json"]).fails(1, &["exists, at revision 1"]);
    host.run(&["settings", "set", "risk", "api_key", "abc"])
        .fails(1, &["holds a secret in plain text", "$secret"]);

    let at = host.run(&["--json", "settings", "get", "risk", "max"]).json()["changed_at"].to_string();
    std::fs::write(host.path().join("schema.json"), r#"{"type":"integer","maximum":10}"#).unwrap();
    host.run(&["settings", "schema", "risk", "max", "--set", "schema.json"]).ok();
    assert!(host.run(&["settings", "schema", "risk", "max"]).ok().contains("maximum"));
    host.run(&["settings", "set", "risk", "max", "11"])
        .fails(1, &["does not fit its schema", "outside … to 10"]);
    host.run(&["settings", "set", "risk", "max", "10"]).ok();
    let third = next();
    assert_eq!((&third["change"]["value"], &third["change"]["seq"]), (&json!(10), &json!(3)));
    assert_eq!(host.run(&["settings", "get", "risk", "max"]).ok().trim(), "10");
    assert_eq!(host.run(&["settings", "get", "risk", "max", "--at", &at]).ok().trim(), "5");

    // A client that comes back with what it saw last misses nothing.
    host.run(&["settings", "set", "other", "x", "1"]).ok();
    host.run(&["settings", "delete", "risk", "max"]).ok();
    let fourth = next();
    assert_eq!((&fourth["change"]["value"], &fourth["change"]["seq"]), (&Value::Null, &json!(5)));
    let (ended, code) = host.signal("TERM");
    assert!(ended.as_secs() < 5 && code == Some(0), "{ended:?} {code:?}: {}", host.log());
    assert_eq!(follower.wait().unwrap().code(), Some(1));
}
