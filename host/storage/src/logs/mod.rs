//! Lines of the trader's logs: durable on return, searched by time, level and text.
//!
//! Lines wait in rows of the structured store until there are enough of them or the oldest is old enough; then they become a segment, a
//! file of a store of the kind `logs`, in the transaction in which their rows go (`rotate.rs`). So each line is in exactly one place at
//! any moment, and what is old is compressed and kept as long as the store keeps files.

mod line;
mod push;
mod rotate;
mod search;
mod types;

#[cfg(test)]
mod tests;

pub use types::{
    LINES_PAGE_MAX, Level, LogLine, LogPage, LogQuery, PUSH_BYTES_MAX, PUSH_LINES_MAX, Pushed,
    SCAN_BYTES_MAX, STREAM_BYTES_MAX, STREAMS_MAX, Stream, TAIL_MAX,
};

use crate::error::{Error, Result};
use crate::files::{FileStores, name};
use crate::manifest;
use crate::names::check_name;
use crate::sqlite::Database;
use std::sync::{Arc, Mutex};

/// Logs in streams.
#[derive(Debug)]
pub struct Logs {
    db: Arc<Database>,
    files: Arc<FileStores>,
    rules: manifest::Logs,
    /// One segment is made at a time: two would take the same lines.
    rotating: Mutex<()>,
}

impl Logs {
    pub(crate) fn new(db: Arc<Database>, files: Arc<FileStores>, rules: manifest::Logs) -> Self {
        Self { db, files, rules, rotating: Mutex::default() }
    }

    fn store(&self) -> Result<&str> {
        self.rules.store.as_deref().ok_or_else(|| {
            Error::invalid("this host keeps no logs")
                .hint("name a file store of the kind `logs` in `logs.store` of shiphold.toml")
        })
    }
}

/// A stream's name is the first part of the names of its files.
fn check_stream(stream: &str) -> Result<()> {
    check_name("stream of logs", stream, STREAM_BYTES_MAX)?;
    name::check(stream)
}

fn none(stream: &str) -> Error {
    Error::not_found(format!("there is no stream of logs `{stream}`"))
        .hint("`shiphold logs list` shows those that there are")
}
