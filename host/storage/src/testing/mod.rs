//! Fault injection: loss of power, full disks, failing writes.
//!
//! [`Disk`] is a disk in memory that knows what was synced and forgets the rest. [`FaultVfs`] lets SQLite work on
//! one, [`crash`] runs a workload over it and takes the power away at every single operation. `kill -9` alone
//! proves nothing: what the operating system holds in its cache survives it, so even `synchronous=OFF` passes.

pub mod crash;
mod disk;
mod faults;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod fuzz;
pub mod influxd;
mod locks;
pub mod random;
pub mod recovery;
pub mod series;
mod vfs;
mod vfs_file;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod series_tests;
#[cfg(test)]
mod structured_tests;
#[cfg(test)]
mod vfs_tests;

pub use disk::{Disk, FileId, Loss};
pub use faults::{Fault, Faults, Verdict};
pub use vfs::{FaultVfs, Wreck};
