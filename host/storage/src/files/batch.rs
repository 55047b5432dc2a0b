//! Many small files with one sync and one transaction.

use super::content::Stager;
use super::naming::version;
use super::rows;
use super::store::FileStores;
use super::types::{FileVersion, Provenance, PutOptions};
use crate::caller::Caller;
use crate::commits::content;
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

/// Files of one batch: its transaction keeps other writers waiting.
pub const BATCH_FILES_MAX: usize = 1_000;
/// Bytes of one batch: it is held in memory.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// A file of a batch.
#[derive(Debug, Clone, Default)]
pub struct BatchFile {
    pub path: String,
    pub content: Vec<u8>,
    pub options: PutOptions,
}

/// A file of a batch, as JSON has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentFile {
    pub path: String,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub base64: Option<String>,
    #[serde(default)]
    pub media_type: Option<String>,
    #[serde(default)]
    pub metadata: Value,
    #[serde(default)]
    pub provenance: Provenance,
}

impl SentFile {
    /// With its content as bytes.
    pub fn read(self) -> Result<BatchFile> {
        let content = content(self.text.as_ref(), self.base64.as_ref())
            .map_err(|e| e.context(format!("the file `{}`", self.path.escape_debug())))?;
        let options =
            PutOptions { media_type: self.media_type, metadata: self.metadata, provenance: self.provenance };
        Ok(BatchFile { path: self.path, content, options })
    }
}

impl FileStores {
    /// Stores files as the next versions of their names, all of them or none. Durable on return.
    pub fn put_many(&self, caller: &Caller, store: &str, files: Vec<BatchFile>) -> Result<Vec<FileVersion>> {
        let bytes: usize = files.iter().map(|f| f.content.len()).sum();
        if files.len() > BATCH_FILES_MAX {
            let what = format!("a batch of {} files", files.len());
            return Err(Error::limit(what, format!("{BATCH_FILES_MAX} files"), "send several batches"));
        }
        if bytes > BATCH_BYTES_MAX {
            let what = format!("a batch of {bytes} bytes");
            return Err(Error::limit(what, format!("{BATCH_BYTES_MAX} bytes"), "send several batches"));
        }
        let s = self.store(store)?;
        for file in &files {
            self.may_put(caller, store, &file.path)?;
        }
        (self.writable)()?;
        let mut stager = Stager::new(s, &self.db, store)?;
        let (mut each, mut news) = (Vec::new(), Vec::new());
        for file in files {
            let path = file.path.as_str();
            let made_of = file.options.provenance.clone();
            let said = file.options.checked(&format!("`{store}/{path}`"))?;
            let staged = match file.content.len() <= s.config.chunking.above {
                true => stager.add_small(path, &file.content)?,
                false => stager.add(path, &mut file.content.as_slice())?,
            };
            news.push((version(caller, (store, path), (&staged.0, staged.1), said), made_of));
            each.push(staged);
        }
        let many = stager.many(each)?;
        let _placing = s.placing();
        // Before the move: what is refused leaves nothing behind. Each alone, so that together they may be too many.
        self.db.read(|c| {
            let stored = many.stored();
            news.iter().try_for_each(|(new, _)| rows::admit(c, caller, new, stored, &s.config))
        })?;
        let many = many.publish(s).map_err(|e| Error::io(format!("storing in `{store}`"), e))?;
        let placed: Vec<_> = many.each.iter().collect();
        self.naming_or_nothing(caller, (s, store), &placed, &many.packs, |tx| {
            let now = crate::schema::now_ns();
            let rows = super::chunks::add_packs(tx, store, &many.packs, now)?;
            let mut made = Vec::with_capacity(news.len());
            for ((new, made_of), placed) in news.into_iter().zip(&many.each) {
                // The packs are counted already.
                rows::admit(tx, caller, &new, 0, &s.config)?;
                rows::insert_object(tx, store, placed, Some(&rows), now)?;
                made.push(rows::insert(tx, caller, new, &made_of)?);
            }
            Ok(made)
        })
    }
}
