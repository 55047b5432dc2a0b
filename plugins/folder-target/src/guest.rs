//! What stands between the names and the host: WIT types in, WIT types out.

wit_bindgen::generate!({ world: "backup-target-plugin", path: "../../wit" });

use crate::names::{Announced, Config};
use exports::shiphold::host::backup_target::{BlobInfo, Guest, GuestUpload, Upload};
use shiphold::host::config as host_config;
use shiphold::host::files::{self, Reader, Writer};
use shiphold::host::types::Error;
use std::cell::RefCell;

/// Bytes of one read or write: the most that the host takes.
const CHUNK: u32 = 1024 * 1024;
const MEDIA_TYPE: &str = "application/octet-stream";

struct FolderTarget;

enum Way {
    New(Writer),
    /// The name is there already: is it the same content?
    Compare(Reader),
    /// It failed or is finished.
    Over,
}

struct Incoming {
    name: String,
    state: RefCell<(Way, Announced)>,
}

impl Incoming {
    fn write_on(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let (way, announced) = &mut *state;
        announced.take(bytes.len()).map_err(Error::Invalid)?;
        for chunk in bytes.chunks(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
            match way {
                Way::New(writer) => writer.write(chunk)?,
                Way::Compare(reader) => {
                    if read_exactly(reader, chunk.len())? != chunk {
                        return Err(taken(&self.name));
                    }
                }
                Way::Over => return Err(over(&self.name)),
            }
        }
        Ok(())
    }
}

impl GuestUpload for Incoming {
    fn write(&self, bytes: Vec<u8>) -> Result<(), Error> {
        let result = self.write_on(&bytes);
        if result.is_err() {
            self.state.borrow_mut().0 = Way::Over;
        }
        result
    }

    fn finish(&self) -> Result<(), Error> {
        let (way, announced) = &mut *self.state.borrow_mut();
        match std::mem::replace(way, Way::Over) {
            Way::Over => Err(over(&self.name)),
            // A writer that is dropped without its end leaves nothing.
            Way::New(writer) => {
                announced.whole().map_err(Error::Invalid)?;
                writer.finish().map(|_| ())
            }
            Way::Compare(_) => announced.whole().map_err(Error::Invalid),
        }
    }
}

impl Guest for FolderTarget {
    type Upload = Incoming;

    fn put(name: String, size: u64) -> Result<Upload, Error> {
        let config = config()?;
        let path = config.path(&name).map_err(Error::Invalid)?;
        let way = match stat(&config, &path)? {
            Some(there) if there != size => return Err(taken(&name)),
            Some(_) => Way::Compare(files::open(&config.store, &path, None, 0)?),
            None => Way::New(files::create(&config.store, &path, MEDIA_TYPE)?),
        };
        Ok(Upload::new(Incoming { name, state: RefCell::new((way, Announced { size, written: 0 })) }))
    }

    fn get(name: String, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let config = config()?;
        let path = config.path(&name).map_err(Error::Invalid)?;
        // Behind its end a file cannot be opened; a blob has nothing there.
        if stat(&config, &path)?.is_some_and(|size| offset >= size) {
            return Ok(Vec::new());
        }
        let reader = files::open(&config.store, &path, None, offset)?;
        read_exactly(&reader, usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn list(prefix: String, after: Option<String>, limit: u32) -> Result<Vec<BlobInfo>, Error> {
        let config = config()?;
        let full = |name: &str| format!("{}{name}", config.prefix);
        let after = after.as_deref().map(full);
        let found = files::list(&config.store, &full(&prefix), after.as_deref(), limit)?;
        let blob = |f: files::FileInfo| {
            config.name(&f.path).map(|name| BlobInfo { name: name.into(), size: f.size })
        };
        Ok(found.into_iter().filter_map(blob).collect())
    }

    fn stat(name: String) -> Result<Option<BlobInfo>, Error> {
        let config = config()?;
        let path = config.path(&name).map_err(Error::Invalid)?;
        Ok(stat(&config, &path)?.map(|size| BlobInfo { name, size }))
    }

    fn delete(name: String) -> Result<(), Error> {
        let config = config()?;
        let path = config.path(&name).map_err(Error::Invalid)?;
        match files::remove(&config.store, &path) {
            // Deleted already, unless the store itself is missing.
            Err(Error::NotFound(_)) => stat(&config, &path).map(|_| ()),
            other => other,
        }
    }
}

fn config() -> Result<Config, Error> {
    Config::parse(&host_config::get()).map_err(Error::Invalid)
}

/// The size of a file, if it is there: the first path that begins with it is itself.
fn stat(config: &Config, path: &str) -> Result<Option<u64>, Error> {
    let found = files::list(&config.store, path, None, 1)?;
    Ok(found.into_iter().find(|f| f.path == path).map(|f| f.size))
}

/// So many bytes, or fewer at the end.
fn read_exactly(reader: &Reader, length: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    while out.len() < length {
        let wanted = u32::try_from(length - out.len()).unwrap_or(CHUNK).min(CHUNK);
        let bytes = reader.read(wanted)?;
        if bytes.is_empty() {
            break;
        }
        out.extend_from_slice(&bytes);
    }
    Ok(out)
}

fn taken(name: &str) -> Error {
    Error::Conflict(format!("`{name}` is there with another content; a blob is written once"))
}

fn over(name: &str) -> Error {
    Error::Invalid(format!("the upload of `{name}` is over"))
}

export!(FolderTarget);
