//! The WAL of the series file is moved into the file by a thread of its own: a writer that did it in its commit would wait
//! for as much again as thousands of batches wrote.

use super::core::Core;
use crate::error::{Error, Result};
use crate::sqlite::{Database, Tx};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Pages of the WAL from which on it is moved.
const MOVE_PAGES: u32 = 2_048;
/// Pages from which on writers wait for that.
const PAGES_MAX: u32 = 3 * MOVE_PAGES;
/// Of the file, what is kept for the next round: the pages up to when it is moved, and what comes meanwhile.
pub(super) const KEPT_BYTES: u64 = 2 * MOVE_PAGES as u64 * super::open::PAGE_BYTES as u64;
/// Of the file, where writers have waited and it grew all the same: from here on a commit waits for whoever reads from it.
pub(super) const BYTES_MAX: u64 = 2 * PAGES_MAX as u64 * super::open::PAGE_BYTES as u64;

/// How long the WAL is, and who is told.
#[derive(Debug)]
pub(super) struct WalLength {
    pages: Arc<AtomicU32>,
    stopped: AtomicBool,
    ring: SyncSender<()>,
}

/// What the thread listens to.
#[derive(Debug)]
pub(super) struct Ear(Receiver<()>);

impl WalLength {
    pub(super) fn watch(db: &Database) -> Result<(Self, Ear)> {
        let pages = Arc::new(AtomicU32::new(0));
        // A ring that waits is enough, also for those that come after it.
        let (ring, ear) = sync_channel(1);
        let (length, rung) = (pages.clone(), ring.clone());
        db.watch_wal(move |now| {
            length.store(now, Ordering::Relaxed);
            if now >= MOVE_PAGES {
                let _ = rung.try_send(());
            }
        })?;
        Ok((Self { pages, stopped: AtomicBool::new(false), ring }, Ear(ear)))
    }

    /// The thread ends, after what it is at.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Where a ring waits it wakes up for that one; where it has ended nobody listens.
        let _ = self.ring.try_send(());
    }
}

pub(super) fn spawn(core: Arc<Core>, ear: Ear) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("series-wal".into())
        .spawn(move || {
            while ear.0.recv().is_ok() && !core.wal.stopped.load(Ordering::Relaxed) {
                core.move_wal();
            }
        })
        .map_err(|e| Error::io("the thread that moves the WAL", e))
}

impl Core {
    /// [`Database::write`], which waits where the WAL has become so long that it must be moved first.
    pub(super) fn store<T>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        if self.wal.pages.load(Ordering::Relaxed) >= PAGES_MAX {
            self.move_wal();
        }
        self.db.write(f)
    }

    fn move_wal(&self) {
        match self.db.move_wal() {
            Ok(()) => self.wal.pages.store(0, Ordering::Relaxed),
            // What is in the WAL is durable there; where the disk is full the writes say so.
            Err(e) => tracing::warn!("the WAL of the series store cannot be moved into its file: {e}"),
        }
    }
}
