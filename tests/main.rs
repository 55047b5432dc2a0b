//! Scenarios through the binary, as an operator and a trader meet it. Each reads as a story.

mod support;

mod backup;
mod bad_input;
mod ingest;
mod kill;
mod main_job;
mod plugins;
mod recorded;
mod surfaces;
mod with_influxd;
mod with_python;
