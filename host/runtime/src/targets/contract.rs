//! Does a backup target keep the rules of `wit/backup.wit`? Asked with blobs of our own, which are deleted again: for the author
//! of a target, before anybody's backup depends on it.

use super::{GuestTarget, WRITE_BYTES};
use crate::call::Session;
use crate::plugins::Plugins;
use shiphold_storage::backup::BlobStore as _;
use shiphold_storage::{Caller, Kind, Result};
use wasmtime::component::ResourceAny;

/// Where the blobs of a check lie. Nothing of a repository is called so.
const FOLDER: &str = "shiphold-check/";
/// Longer than one `write`, by an odd number of bytes.
const LARGE_BYTES: usize = WRITE_BYTES + 4_097;

/// How an upload ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Dropped,
}

impl Plugins {
    /// The rules that a backup target breaks, a sentence each. Within a runtime; it takes seconds.
    pub async fn check_target(&self, caller: &Caller, name: &str) -> Result<Vec<String>> {
        let target = self.guest_target(caller, name).await?;
        crate::run::blocking(move || Ok(Check { target: &target, broken: Vec::new() }.all())).await
    }
}

struct Check<'a> {
    target: &'a GuestTarget,
    broken: Vec<String>,
}

impl Check<'_> {
    fn all(mut self) -> Vec<String> {
        // What an earlier check left when it was cut off.
        self.clear();
        let large: Vec<u8> = (0..LARGE_BYTES).map(|i| (i % 251) as u8).collect();
        let all: [(&str, &[u8]); 4] =
            [("a", b"x"), ("a.b", b"second"), ("c/d", &large), ("c_e-0", b"the last of them")];
        for (name, bytes) in all {
            if let Err(e) = self.upload(name, bytes.len(), bytes, End::Finished) {
                // Nothing else says anything about a target that takes nothing.
                self.breaks(format!("`put` of {} bytes fails: {}", bytes.len(), e.message()));
                self.clear();
                return self.broken;
            }
        }
        for (name, bytes) in all {
            self.holds(name, bytes);
        }
        self.lists(&all.map(|(name, bytes)| (format!("{FOLDER}{name}"), bytes.len() as u64)));
        self.parts("c/d", &large);
        self.written_once();
        self.unfinished();
        self.missing();
        self.deletes();
        self.clear();
        self.broken
    }

    fn breaks(&mut self, rule: impl Into<String>) {
        self.broken.push(rule.into());
    }

    fn clear(&self) {
        for (name, _) in self.target.list(FOLDER).unwrap_or_default() {
            let _ = self.target.delete(&name);
        }
    }

    /// An upload as it comes, right or wrong.
    fn upload(&self, name: &str, announced: usize, bytes: &[u8], end: End) -> Result<()> {
        let name = format!("{FOLDER}{name}");
        self.target.operation(async |session| {
            let upload = self.target.put_begin(session, &name, announced as u64).await?;
            let written = self.feed(session, upload, bytes, end).await;
            let dropped = self.target.upload_drop(session, upload).await;
            written.and(dropped)
        })
    }

    async fn feed(&self, session: &mut Session, upload: ResourceAny, bytes: &[u8], end: End) -> Result<()> {
        match end {
            End::Finished => self.target.write_in(session, upload, bytes).await,
            End::Dropped => self.target.write_some(session, upload, bytes).await,
        }
    }

    /// As it is asked, without what the host makes good on the way to a backup.
    fn get(&self, name: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        let name = format!("{FOLDER}{name}");
        self.target.operation(async |session| self.target.part_in(session, &name, offset, length).await)
    }

    fn holds(&mut self, name: &str, bytes: &[u8]) {
        let full = format!("{FOLDER}{name}");
        match self.target.stat(&full) {
            Ok(Some(size)) if size == bytes.len() as u64 => {}
            Ok(size) => self.breaks(format!("`stat` says {size:?} of a blob of {} bytes", bytes.len())),
            Err(e) => self.breaks(format!("`stat` of a blob that is there fails: {}", e.message())),
        }
        match self.target.get(&full, 0, bytes.len() as u64) {
            Ok(got) if got == bytes => {}
            Ok(_) => self.breaks(format!("`get` gives other bytes of a blob of {} bytes", bytes.len())),
            Err(e) => self.breaks(format!("`get` of a blob that is there fails: {}", e.message())),
        }
    }

    fn parts(&mut self, name: &str, bytes: &[u8]) {
        let end = bytes.len();
        for (offset, length) in
            [(1, 1), (WRITE_BYTES - 1, 2), (end - 3, 3), (end - 3, 100), (end, 1), (end + 1, 1)]
        {
            let want = bytes.get(offset..(offset + length).min(end)).unwrap_or_default();
            let what = format!("`get` of {length} bytes from {offset} of {end}");
            match self.get(name, offset as u64, u32::try_from(length).unwrap_or(u32::MAX)) {
                // Fewer are allowed, but not none: that is the end.
                Ok(got) if want.starts_with(&got) && got.is_empty() == want.is_empty() => {}
                Ok(got) => self.breaks(format!("{what} gives {} bytes that are not those", got.len())),
                Err(e) => self.breaks(format!("{what} fails: {}", e.message())),
            }
        }
    }

    fn written_once(&mut self) {
        for (what, other) in [("of another size", "seconds!"), ("of the same size", "SECOND")] {
            match self.upload("a.b", other.len(), other.as_bytes(), End::Finished) {
                Err(e) if e.kind() == Kind::Conflict => {}
                Err(e) => self.breaks(format!(
                    "a second content {what} is refused, but not as `conflict`: {}",
                    e.message()
                )),
                Ok(()) => self.breaks(format!("a name is written twice: a second content {what} is taken")),
            }
        }
        self.holds("a.b", b"second");
    }

    fn unfinished(&mut self) {
        for (what, announced, bytes, end) in [
            ("that was dropped before `finish`", 6, "abcdef", End::Dropped),
            ("of 6 bytes that was finished after 3", 6, "abc", End::Finished),
            ("of 3 bytes to which 6 were written", 3, "abcdef", End::Finished),
        ] {
            let done = self.upload("unfinished", announced, bytes.as_bytes(), end);
            if done.is_ok() && end == End::Finished {
                self.breaks(format!("an upload {what} is taken"));
            }
            let full = format!("{FOLDER}unfinished");
            match self.target.stat(&full) {
                Ok(None) => {}
                Ok(Some(_)) => self.breaks(format!("an upload {what} leaves a blob that `stat` shows")),
                Err(e) => self.breaks(format!("`stat` of a blob that is not there fails: {}", e.message())),
            }
            match self.target.list(&full) {
                Ok(found) if found.is_empty() => {}
                Ok(_) => self.breaks(format!("an upload {what} leaves a blob that `list` shows")),
                Err(e) => self.breaks(format!("`list` fails: {}", e.message())),
            }
            let _ = self.target.delete(&full);
        }
    }

    fn lists(&mut self, all: &[(String, u64)]) {
        // In the order of bytes: `a`, `a.b`, `c/d`, `c_e-0`.
        match self.target.list(FOLDER) {
            Ok(found) if found == all => {}
            Ok(found) => self.breaks(format!("`list` gives {found:?} in place of {all:?}")),
            Err(e) => self.breaks(format!("`list` fails: {}", e.message())),
        }
        for limit in 1..=all.len() {
            let mut seen: Vec<(String, u64)> = Vec::new();
            // One page more than there can be.
            for _ in 0..=all.len() {
                let after = seen.last().map(|(name, _)| name.clone());
                let page = self.target.operation(async |session| {
                    self.target.page_in(session, FOLDER, after.as_deref(), limit as u32).await
                });
                match page {
                    Ok(page) if page.is_empty() => break,
                    Ok(page) => seen.extend(page),
                    Err(e) => return self.breaks(format!("`list` of {limit} a page: {}", e.message())),
                }
            }
            if seen != all {
                self.breaks(format!("pages of {limit} have {seen:?} in place of {all:?}"));
            }
        }
        let after = format!("{FOLDER}a.a");
        let rest = self
            .target
            .operation(async |session| self.target.page_in(session, FOLDER, Some(&after), super::PAGE).await);
        if rest.ok().as_deref() != all.get(1..) {
            self.breaks("`list` after a name that is not there does not go on with the next one");
        }
        let narrow = self.target.list(&format!("{FOLDER}c/"));
        if narrow.ok().as_deref() != all.get(2..3) {
            self.breaks("`list` of a prefix gives other names than those that begin with it");
        }
    }

    fn missing(&mut self) {
        match self.get("none", 0, 1) {
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => self
                .breaks(format!("`get` of what is not there fails, but not as `not-found`: {}", e.message())),
            Ok(_) => self.breaks("`get` of what is not there gives something"),
        }
        match self.target.stat(&format!("{FOLDER}a.")) {
            Ok(None) => {}
            Ok(Some(_)) => self.breaks("`stat` of what is not there gives something"),
            Err(e) => self.breaks(format!("`stat` of what is not there fails: {}", e.message())),
        }
    }

    fn deletes(&mut self) {
        let full = format!("{FOLDER}a");
        for time in ["once", "twice"] {
            if let Err(e) = self.target.delete(&full) {
                self.breaks(format!("`delete` {time} fails: {}", e.message()));
            }
        }
        if !matches!(self.target.stat(&full), Ok(None)) {
            self.breaks("a blob that was deleted is still there");
        }
        self.holds("a.b", b"second");
        // A name that was freed can be written again.
        if let Err(e) = self.upload("a", 3, b"new", End::Finished) {
            return self.breaks(format!("a name that was deleted cannot be written again: {}", e.message()));
        }
        self.holds("a", b"new");
    }
}
