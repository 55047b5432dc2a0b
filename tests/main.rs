//! Scenarios through the binary, as an operator and a trader meet it. Each reads as a story.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // All of it is tests.

mod support;

mod archive;
mod audit;
mod backup;
mod bad_input;
mod commits;
mod decimals;
mod discovery;
mod exchange;
mod files;
mod flux;
mod history;
mod ingest;
mod kill;
mod kit;
mod main_job;
mod migrate;
mod plugins;
mod recorded;
mod settings;
mod skills;
mod state;
mod surfaces;
mod tail;
mod targets;
mod trades;
mod with_influxd;
mod with_node;
mod with_python;
mod with_s3;
mod with_telegraf;
