//! How long the server keeps the rows of a bucket.

use super::client::Client;
use crate::error::{Error, Result};
use crate::series::Budget;
use crate::units::Span;
use reqwest::header;
use serde_json::{Value, json};

impl Client {
    /// Sets the retention of a bucket where it is another; the bucket is there.
    pub fn set_retention(&self, bucket: &str, keep: Span) -> Result<()> {
        let refused = |a: &super::client::Answer| {
            let error = self.server.refused(a.status, &String::from_utf8_lossy(&a.body));
            error.context(format!("the retention of the bucket `{bucket}`"))
        };
        let budget = Budget::default();
        let answer = self.send(self.http.get(self.url("/api/v2/buckets", &[("name", bucket)])), &budget)?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let found = said.get("buckets").and_then(Value::as_array).into_iter().flatten();
        let found = found.into_iter().find(|b| b.get("name").and_then(Value::as_str) == Some(bucket));
        let id = found.and_then(|b| b.get("id")).and_then(Value::as_str).filter(|id| {
            // It becomes part of an address.
            !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit())
        });
        let id = id.ok_or_else(|| Error::not_found(format!("InfluxDB has no bucket `{bucket}`")))?;
        let seconds = keep.0.as_secs();
        let now = found.and_then(|b| b.pointer("/retentionRules/0/everySeconds")).and_then(Value::as_u64);
        if now == Some(seconds) {
            return Ok(());
        }
        // The server refuses a retention that is shorter than the span of the bucket's shards: they shrink with it.
        let rule = json!({
            "type": "expire", "everySeconds": seconds, "shardGroupDurationSeconds": shard_seconds(seconds),
        });
        let body = json!({ "retentionRules": [rule] });
        let request = self.http.patch(self.url(&format!("/api/v2/buckets/{id}"), &[]));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        let answer = self.send(request, &budget)?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        tracing::info!(bucket, keep = %keep, "InfluxDB keeps the rows of the bucket for as long as the manifest says");
        Ok(())
    }
}

/// The span of a shard that InfluxDB itself chooses for a new bucket of a retention.
fn shard_seconds(retention: u64) -> u64 {
    const DAY: u64 = 86_400;
    match retention {
        r if r < 2 * DAY => 3_600,
        r if r <= 180 * DAY => DAY,
        _ => 7 * DAY,
    }
}
