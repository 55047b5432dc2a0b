//! Getting content, whole or a range.

use super::disk::{Area, ObjectRead};
use super::pins::Held;
use super::read::Chunked;
use super::rows;
use super::store::FileStores;
use super::stream::{Exact, Verifying};
use super::types::{FileVersion, as_error};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;

impl FileStores {
    /// A version and its bytes, whole or a range. A whole read is hashed on its way: the stream ends with an error
    /// of kind `InvalidData` if the object is damaged ([`super::as_error`] makes one of ours from it). A range gives
    /// exactly its bytes or an error, of what is in chunks hashed, too.
    pub fn get(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        version: Option<u64>,
        range: Option<Range<u64>>,
    ) -> Result<(FileVersion, Box<dyn Read + Send>)> {
        let (stat, range) = self.ranged(caller, store, path, version, range)?;
        let name = format!("{store}/{path}");
        let hash = |stat: &FileVersion| stat.blake3.clone().unwrap_or_default();
        match self.open_content(store, (&hash(&stat), stat.size), &name, range.clone()) {
            Err(e) if e.kind() == Kind::NotFound => {
                // A purge and a collection may have come between the two.
                let (stat, range) = self.ranged(caller, store, path, version, Some(range))?;
                match self.open_content(store, (&hash(&stat), stat.size), &name, range) {
                    Err(e) if e.kind() == Kind::NotFound => Err(missing(&hash(&stat), &name)),
                    opened => Ok((stat, opened?)),
                }
            }
            opened => Ok((stat, opened?)),
        }
    }

    /// [`FileStores::get`] of a whole version, of which no byte is given before what it stands in was compared with its hash: the
    /// chunk, or all of a file of its own, which is read twice.
    pub(crate) fn get_checked(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        version: Option<u64>,
    ) -> Result<(FileVersion, Box<dyn Read + Send>)> {
        let (stat, content) = self.get(caller, store, path, version, None)?;
        let hash = stat.blake3.as_deref().unwrap_or_default();
        if self.db.read(|c| rows::object(c, store, hash))?.is_some_and(|o| o.chunked) {
            return Ok((stat, content));
        }
        let mut first = content;
        io::copy(&mut first, &mut io::sink())
            .map_err(|e| as_error(e).context(format!("`{store}/{path}`")))?;
        drop(first);
        // Hashed once more on its way: what goes bad between the two is an error at its end.
        let (_, content) = self.get(caller, store, path, Some(stat.version), None)?;
        Ok((stat, content))
    }

    fn ranged(
        &self,
        caller: &Caller,
        store: &str,
        path: &str,
        version: Option<u64>,
        range: Option<Range<u64>>,
    ) -> Result<(FileVersion, Range<u64>)> {
        let stat = self.stat(caller, store, path, version)?;
        let range = range.unwrap_or(0..stat.size);
        if range.start > range.end || range.end > stat.size {
            return Err(Error::invalid(format!(
                "the range {}..{} is outside the {} bytes of `{store}/{path}`",
                range.start, range.end, stat.size
            )));
        }
        Ok((stat, range))
    }

    /// What an object of a size has in a range; the whole is hashed on its way. [`Kind::NotFound`]: it is not there (any more).
    pub(super) fn open_content(
        &self,
        store: &str,
        (hash, size): (&str, u64),
        name: &str,
        range: Range<u64>,
    ) -> Result<Box<dyn Read + Send>> {
        let s = self.store(store)?;
        let gone = || Error::not_found(format!("the object {hash} of `{name}` is not there"));
        let known = self.db.read(|c| rows::object(c, store, hash))?.ok_or_else(gone)?;
        if let Some(problem) = known.damaged {
            return Err(damaged(&format!("the object {hash} of `{name}` is set aside: {problem}")));
        }
        let whole = range == (0..size);
        let length = range.end.saturating_sub(range.start);
        if known.chunked {
            // Before the look: what is found then stays.
            let mut held = Held::new(s.pins.clone());
            held.object(hash);
            let object = self.db.read(|c| rows::chunked(c, store, hash))?.ok_or_else(gone)?;
            if let Some(problem) = self.db.read(|c| rows::damaged_chunk(c, store, object))? {
                return Err(damaged(&format!(
                    "a chunk of the object {hash} of `{name}` is set aside: {problem}"
                )));
            }
            let called = (object, held, format!("object {hash} of `{name}`"));
            let read = Chunked::new(self.db.clone(), s.disk.clone(), s.pins.clone(), called, range)?;
            return Ok(match whole {
                true => Box::new(Verifying::new(read, size, hash.into(), name.into())),
                false => Box::new(read),
            });
        }
        let io = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => gone(),
            _ => Error::io(format!("reading `{name}`"), e),
        };
        let mut object = as_long_as(s.disk.open(Area::Objects, hash).map_err(io)?, size, hash, name)?;
        object.seek(SeekFrom::Start(range.start)).map_err(io)?;
        Ok(match whole {
            true => Box::new(Verifying::new(object, size, hash.into(), name.into())),
            false => Box::new(Exact::new(object, length, name.into())),
        })
    }
}

/// An object that has the length that it must have, and is at its end.
pub(super) fn as_long_as(
    mut object: Box<dyn ObjectRead>,
    size: u64,
    hash: &str,
    name: &str,
) -> Result<Box<dyn ObjectRead>> {
    let there = object.seek(SeekFrom::End(0)).map_err(|e| Error::io(format!("reading `{name}`"), e))?;
    if there == size {
        return Ok(object);
    }
    Err(damaged(&format!("the object {hash} of `{name}` has {there} bytes instead of {size}")))
}

/// An object that a row names and that is not on the disk.
pub(crate) fn missing(hash: &str, name: &str) -> Error {
    damaged(&format!("the object {hash} of `{name}` is missing"))
}

fn damaged(what: &str) -> Error {
    Error::corrupt(what).hint("`shiphold verify` names all that is damaged; restore it from a backup")
}
