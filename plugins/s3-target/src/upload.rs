//! A blob on its way in. At most one part is held in memory; what does not fit in one becomes a multipart upload, which is
//! aborted when it fails or is dropped, because its parts would be paid for without ever being seen.

use crate::client::{Client, Transport};
use crate::error::Error;
use std::rc::Rc;

/// S3's own bound.
pub const PARTS_MAX: u64 = 10_000;

enum Way {
    /// One PUT at the end.
    Single,
    Parts {
        id: String,
        etags: Vec<String>,
    },
    /// The name is there already: is it the same content?
    Compare {
        compared: u64,
    },
    /// It failed or is finished.
    Over,
}

pub struct Upload<T: Transport> {
    client: Rc<Client<T>>,
    name: String,
    key: String,
    size: u64,
    written: u64,
    buffer: Vec<u8>,
    way: Way,
}

impl<T: Transport> Upload<T> {
    pub(crate) fn new(
        client: Rc<Client<T>>,
        name: &str,
        size: u64,
        there: Option<u64>,
    ) -> Result<Self, Error> {
        let key = client.key(name)?;
        let part_size = client.config.part_size;
        let most = PARTS_MAX.saturating_mul(u64::try_from(part_size).unwrap_or(u64::MAX));
        if size > most {
            return Err(Error::Limit(format!(
                "`{name}` has {size} bytes; {PARTS_MAX} parts of `part_mib` hold {most}: set a larger `part_mib`"
            )));
        }
        let way = match there {
            Some(other) if other != size => return Err(taken(name)),
            Some(_) => Way::Compare { compared: 0 },
            None if usize::try_from(size).is_ok_and(|s| s <= part_size) => Way::Single,
            None => Way::Parts { id: client.begin(&key)?, etags: Vec::new() },
        };
        Ok(Self { client, name: name.into(), key, size, written: 0, buffer: Vec::new(), way })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let result = self.take(bytes);
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// The blob is there, whole, when this returns.
    pub fn finish(&mut self) -> Result<(), Error> {
        let result = self.complete();
        if result.is_err() {
            self.give_up();
        }
        self.way = Way::Over;
        result
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.must_go_on()?;
        let total = self.written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if total > self.size {
            return Err(Error::Invalid(format!(
                "`{}` was announced with {} bytes; more came",
                self.name, self.size
            )));
        }
        self.written = total;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.client.config.part_size.saturating_sub(self.buffer.len());
            let (fits, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(fits);
            rest = later;
            if self.buffer.len() >= self.client.config.part_size {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Error> {
        self.must_go_on()?;
        if self.written != self.size {
            return Err(Error::Invalid(format!(
                "`{}` was announced with {} bytes; {} came",
                self.name, self.size, self.written
            )));
        }
        self.flush()?;
        match &self.way {
            Way::Single => self.client.put_object(&self.key, std::mem::take(&mut self.buffer)),
            Way::Parts { id, etags } => self.client.complete(&self.key, id, etags),
            Way::Compare { .. } | Way::Over => Ok(()),
        }
    }

    /// Sends away what is buffered, unless it is all there will be.
    fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        match &mut self.way {
            Way::Single | Way::Over => Ok(()),
            Way::Parts { id, etags } => {
                let number = u32::try_from(etags.len() + 1).unwrap_or(u32::MAX);
                let body = std::mem::take(&mut self.buffer);
                etags.push(self.client.part(&self.key, id, number, body)?);
                Ok(())
            }
            Way::Compare { compared } => {
                let length = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
                if self.client.get(&self.name, *compared, length)? != self.buffer {
                    return Err(taken(&self.name));
                }
                *compared += u64::from(length);
                self.buffer.clear();
                Ok(())
            }
        }
    }

    fn must_go_on(&self) -> Result<(), Error> {
        match self.way {
            Way::Over => Err(Error::Invalid(format!("the upload of `{}` is over", self.name))),
            _ => Ok(()),
        }
    }

    /// The error that led here is the one to tell, so the answer to the abort is not.
    fn give_up(&mut self) {
        self.buffer = Vec::new();
        if let Way::Parts { id, .. } = std::mem::replace(&mut self.way, Way::Over) {
            let _ = self.client.abort(&self.key, &id);
        }
    }
}

impl<T: Transport> Drop for Upload<T> {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn taken(name: &str) -> Error {
    Error::Conflict(format!("`{name}` is there with another content; a blob is written once"))
}
