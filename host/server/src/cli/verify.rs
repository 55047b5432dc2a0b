//! `shiphold verify`

use super::client::Client;
use super::output::{Failure, Output};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) async fn run(client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    let v = client.work("/v1/verify", &json!({}), out, "reading").await?;
    let n = |k: &str| v.get(k).and_then(Value::as_u64).unwrap_or_default();
    let faults = v.get("faults").and_then(Value::as_array).cloned().unwrap_or_default();
    out.done(
        &v,
        format!(
            "{} databases, {} chunks, {} objects and {} audit entries read: {}",
            n("databases"),
            n("chunks"),
            n("objects"),
            n("audit_entries"),
            if faults.is_empty() { "all is well".into() } else { format!("{} FAULTS", faults.len()) }
        ),
    );
    if !out.json {
        for f in &faults {
            let text = |k: &str| f.get(k).and_then(Value::as_str).unwrap_or_default();
            out.line(format!("  {}: {}", text("object"), text("problem")));
        }
        // A server that is away is no damage.
        let away = |f: &Value| f.get("object").and_then(Value::as_str) == Some("InfluxDB");
        if faults.iter().any(away) {
            eprintln!(
                "hint: see that InfluxDB runs, and verify again: what was acknowledged and not delivered is kept here"
            );
        }
        // Nor is what InfluxDB refused or keeps otherwise than the manifest says: its line names the next step.
        let told = |f: &Value| {
            let text = |k: &str| f.get(k).and_then(Value::as_str).unwrap_or_default();
            text("object").starts_with("bucket `") || text("problem").contains("set aside")
        };
        if !faults.iter().all(|f| away(f) || told(f)) {
            eprintln!("hint: restore the newest backup into a new folder: `shiphold backup restore FROM TO`");
        }
    }
    Ok(if v.get("ok").and_then(Value::as_bool) == Some(true) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
