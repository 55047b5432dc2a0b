//! Units of work: skills, what they achieved, files, settings, checkpoints and rows of series, all or nothing for every reader.
//!
//! Objects of files are written first: without a row they are garbage. One transaction of the structured store then commits all the
//! rest, with the rows of series as a record (`commit_rows`); these are applied to the series store, which is idempotent, and the record
//! goes. From that transaction until the rows are applied the gate is closed ([`gate`]): a read that begins meanwhile waits, so that nobody
//! sees one store after the commit and then another before it. What a crash leaves is applied when the stores are opened, before
//! anybody reads.
//!
//! Rows are recorded as they are stored: decimals as their units. Before the transaction the engine was asked whether it takes all of
//! them ([`crate::series::SeriesEngine::takes`]); with InfluxDB it is the outbox that takes them, so that a commit needs no server
//! which said before what its fields are.
//!
//! Isolation: commits are serial, in the order of their transactions; no caller writes to the series store while one of them is
//! applied. A read that begins after a commit was answered, or seen by another read, sees all of it. One that it comes in the middle of
//! sees all of it or nothing in each store: of the structured store it reads one snapshot; of series a read begins anew
//! (`series/units.rs`), until more than one batch of its answer was handed out.

mod apply;
mod gate;
#[cfg(test)]
pub(crate) mod tests;
mod types;

pub(crate) use apply::{applied, aside, rows_of, series_waiting, set_aside, waiting};
pub(crate) use gate::Gate;
pub use gate::WAIT_MAX;
pub use types::{
    Commit, CommitCheckpoint, CommitFile, CommitFileDone, CommitPerformance, CommitRows, CommitSkill,
    CommitSkillDone, Committed, ExpectSkill, FILES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, KEYS_KEPT, PARTS_MAX,
    as_base64,
};
pub(crate) use types::{check_key, content};
