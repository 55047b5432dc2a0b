//! The buckets of the server: their names, and how long it keeps their rows.

use super::InfluxEngine;
use super::client::{Client, REPLY_BYTES_MAX};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, Fault};
use crate::units::Span;
use reqwest::header;
use serde::Deserialize;
use serde_json::json;
use std::sync::PoisonError;

/// Buckets in one page of the list: InfluxDB's own bound.
const PAGE: usize = 100;
/// Pages that are read: a server that never ends its list is no reason to hang.
const PAGES_MAX: usize = 1_000;

/// A bucket as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    id: String,
    pub name: String,
    /// `None`: for ever.
    pub keep: Option<Span>,
}

impl Bucket {
    /// Is its retention this one? InfluxDB has whole seconds.
    pub fn keeps_for(&self, span: Span) -> bool {
        self.keep.is_some_and(|keep| keep.0.as_secs() == span.0.as_secs())
    }
}

/// What the server says; more is not looked at.
#[derive(Debug, Deserialize)]
struct Page {
    buckets: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    name: String,
    #[serde(default)]
    retention_rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    every_seconds: u64,
}

impl Client {
    fn page(&self, query: &[(&str, &str)], budget: &Budget) -> Result<Vec<Bucket>> {
        let url = self.url("/api/v2/buckets", query);
        let said = self.ask(REPLY_BYTES_MAX, budget, || self.http.get(url.clone()))?;
        let garbage = || {
            Error::new(Kind::Unavailable, format!("InfluxDB at {} gave no list of buckets", self.server.url))
                .hint("is `url` in [series.influxdb2] the address of an InfluxDB 2 server?")
        };
        let page: Page = serde_json::from_slice(&said).map_err(|e| garbage().source(e))?;
        let of = |b: Listed| {
            // It becomes part of an address.
            let is_id = !b.id.is_empty() && b.id.bytes().all(|b| b.is_ascii_hexdigit());
            let seconds = b.retention_rules.first().map_or(0, |r| r.every_seconds);
            let keep = (seconds > 0).then(|| Span::from_secs(seconds));
            is_id.then_some(Bucket { id: b.id, name: b.name, keep }).ok_or_else(garbage)
        };
        page.buckets.into_iter().map(of).collect()
    }

    /// The organisation's own buckets, sorted by name.
    pub fn buckets(&self, budget: &Budget) -> Result<Vec<Bucket>> {
        let limit = PAGE.to_string();
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("limit", limit.as_str())];
            query.extend(after.as_deref().map(|id| ("after", id)));
            let page = self.page(&query, budget)?;
            let full = page.len() >= PAGE;
            after = page.last().map(|b| b.id.clone());
            // A leading underscore marks InfluxDB's own.
            all.extend(page.into_iter().filter(|b| !b.name.starts_with('_')));
            if !full {
                break;
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        Ok(all)
    }

    pub fn bucket_names(&self) -> Result<Vec<String>> {
        Ok(self.buckets(&Budget::default())?.into_iter().map(|b| b.name).collect())
    }

    /// One bucket, if it is there.
    pub fn bucket(&self, name: &str) -> Result<Option<Bucket>> {
        match self.page(&[("name", name)], &Budget::default()) {
            // So InfluxDB says that there is none of that name.
            Err(e) if e.kind() == Kind::NotFound && e.message().contains("bucket") => Ok(None),
            found => Ok(found?.into_iter().find(|b| b.name == name)),
        }
    }

    /// Sets the retention of a bucket where it is another; the bucket is there.
    pub fn set_retention(&self, bucket: &str, keep: Span) -> Result<()> {
        let of = |e: Error| e.context(format!("the retention of the bucket `{bucket}`"));
        let found = self.bucket(bucket).map_err(of)?;
        let found = found.ok_or_else(|| Error::not_found(format!("InfluxDB has no bucket `{bucket}`")))?;
        let seconds = keep.0.as_secs();
        if found.keeps_for(keep) {
            return Ok(());
        }
        // The server refuses a retention that is shorter than the span of the bucket's shards: they shrink with it.
        let rule = json!({
            "type": "expire", "everySeconds": seconds, "shardGroupDurationSeconds": shard_seconds(seconds),
        });
        let body = json!({ "retentionRules": [rule] });
        let url = self.url(&format!("/api/v2/buckets/{}", found.id), &[]);
        let said = self.ask(REPLY_BYTES_MAX, &Budget::default(), || {
            let request = self.http.patch(url.clone()).header(header::CONTENT_TYPE, "application/json");
            request.body(body.to_string())
        });
        said.map_err(of)?;
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

impl InfluxEngine {
    /// Makes a bucket where there is none, and gives it a retention.
    pub(crate) fn restore_bucket(&self, bucket: &str, keep: Option<Span>) -> Result<()> {
        if self.client.bucket(bucket)?.is_none() {
            self.make_bucket(bucket)?;
        }
        keep.map_or(Ok(()), |keep| self.client.set_retention(bucket, keep))
    }

    /// The buckets whose retention is not the manifest's: somebody changed it on the server.
    pub(super) fn strayed(&self, budget: &Budget) -> Result<Vec<Fault>> {
        if self.retention.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.client.buckets(budget)?;
        let said = |keep: Option<Span>| keep.map_or("for ever".to_string(), |k| format!("for {k}"));
        let stray = there.into_iter().filter_map(|b| {
            let want = self.retention.get(&b.name).filter(|want| !b.keeps_for(**want))?;
            let problem = format!(
                "InfluxDB keeps its rows {}, and [series.influxdb2.retention] says {want}: the first write after a start of \
                 the host sets it again",
                said(b.keep)
            );
            Some(Fault { object: format!("bucket `{}`", b.name), problem })
        });
        Ok(stray.collect())
    }

    /// Makes a bucket that a write needs.
    pub(super) fn make_bucket(&self, bucket: &str) -> Result<()> {
        if self.create_buckets {
            return self.client.create_bucket(bucket);
        }
        Err(Error::not_found(format!("InfluxDB has no bucket `{bucket}`"))
            .hint("create it there, or set `create_buckets = true` in [series.influxdb2]"))
    }

    /// Gives a bucket the retention of the manifest, once a start. What it fails for is no reason to refuse rows.
    pub(super) fn keep(&self, bucket: &str) {
        let Some(span) = self.retention.get(bucket) else { return };
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept().contains(bucket) {
            return;
        }
        match self.client.set_retention(bucket, *span) {
            Ok(()) => {
                kept().insert(bucket.to_string());
            }
            Err(e) => {
                tracing::warn!(error = ?e, "the retention of a bucket could not be set: the next write tries again")
            }
        }
    }
}
