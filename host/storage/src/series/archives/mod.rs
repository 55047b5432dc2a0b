//! Archives: old rows of series as Parquet in file stores, which queries still read. `docs/archives.md` says what is promised.
//!
//! The structured database says which rows are in which file ([`index`]), and whether they are in the engine, too. [`Archived`]
//! stands before the engine and merges what only archives have; revisions and decimals stand before it and know nothing of it.
//! A file is written, read back and compared ([`take`]) before it is noted; noted as the only copy before the rows go; and
//! brought back ([`restore`]) before it is noted as restored. So at every step the rows are where they are looked for.

mod cuts;
mod digest;
mod door;
mod engine;
mod fitting;
mod index;
mod looks;
mod merge;
mod missing;
mod newest;
mod old;
mod reading;
mod removal;
mod restore;
mod room;
mod source;
mod take;
#[cfg(test)]
pub(in crate::series) mod tests;

pub use cuts::CUTS_MAX;
pub use door::{
    ArchivedByHand, Archives, ArchivesQuery, Archiving, LISTED_MAX, Restore, RestoreProgress, Restored,
};
pub(crate) use engine::Archived;
pub use index::{Archive, SERIES_ARCHIVES_MAX, State};
pub(crate) use index::{infos, refuse_only_copy};
pub use merge::OPEN_MAX;
pub use old::{OLD_LISTED_MAX, OldArchive};
pub use room::HELD_BYTES_MAX;
pub use source::{KEPT_BYTES_MAX, KEPT_FILES_MAX};
pub use take::{FILE_BYTES_MAX, FILE_ROWS_MAX};
pub(crate) use take::{To, example_path};
