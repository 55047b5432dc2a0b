//! `state`, and the types that it shares with `commits`.

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::state::{Host, Loaded};
use crate::bindings::shiphold::host::state_types as wit;
use crate::state::State;
use serde_json::Value;
use shiphold_storage::settings::Expect;
use shiphold_storage::state::{Checkpoint, Save, Which};
use shiphold_storage::{Error, Kind, Result};
use std::io::Read as _;

/// Bytes of content that cross at once: of a checkpoint, or of a file in a commit.
pub(super) const CONTENT_BYTES_MAX: usize = 8 << 20;

/// Refuses content that is too long to cross.
pub(super) fn short(what: impl std::fmt::Display, bytes: usize) -> Result<()> {
    if bytes <= CONTENT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::limit(
        what,
        format!("{CONTENT_BYTES_MAX} bytes"),
        "a plugin keeps to less; over HTTP there is no such bound",
    ))
}

pub(super) fn expect_from_guest(expect: wit::Expect) -> Expect {
    match expect {
        wit::Expect::Any => Expect::Any,
        wit::Expect::Absent => Expect::Absent,
        wit::Expect::Revision(n) => Expect::Revision(n),
    }
}

/// JSON out of a guest's text; nothing is no metadata.
pub(super) fn metadata_from_guest(what: &str, text: Option<&String>) -> Result<Value> {
    text.map_or(Ok(Value::Null), |text| {
        serde_json::from_str(text)
            .map_err(|e| Error::invalid(format!("the metadata of {what} is not JSON: {e}")))
    })
}

pub(super) fn checkpoint_to_guest(c: Checkpoint) -> wit::Checkpoint {
    wit::Checkpoint {
        strategy: c.strategy,
        revision: c.revision,
        blake3: c.blake3.unwrap_or_default(),
        size: c.size,
        media_type: c.media_type,
        metadata: c.metadata.to_string(),
        saved_at: c.saved_at,
    }
}

/// Bytes of a checkpoint beside its content.
pub(super) fn size_of_checkpoint(c: &wit::Checkpoint) -> usize {
    size_of::<wit::Checkpoint>() + c.strategy.len() + c.blake3.len() + c.media_type.len() + c.metadata.len()
}

/// Bytes of a checkpoint that is to be saved.
pub(super) fn size_of_new(c: &wit::NewCheckpoint) -> usize {
    let texts = [&c.media_type, &c.metadata].map(|t| t.as_ref().map_or(0, String::len));
    size_of::<wit::NewCheckpoint>() + c.strategy.len() + c.content.len() + texts.iter().sum::<usize>()
}

impl wit::Host for State {}

impl Host for State {
    async fn load(
        &mut self,
        strategy: String,
        revision: Option<u64>,
    ) -> wasmtime::Result<std::result::Result<Option<Loaded>, Guest>> {
        self.takes(strategy.len())?;
        let loaded = self
            .blocking(move |layer, caller, _| {
                let which = revision.map_or(Which::Newest, Which::Revision);
                let (checkpoint, mut content) = match layer.state().load(caller, &strategy, which) {
                    Err(e) if e.kind() == Kind::NotFound => return Ok(None),
                    loaded => loaded?,
                };
                let size = usize::try_from(checkpoint.size).unwrap_or(usize::MAX);
                short(format!("the checkpoint of strategy `{strategy}`"), size)?;
                let mut bytes = Vec::with_capacity(size);
                content.read_to_end(&mut bytes).map_err(shiphold_storage::files::as_error)?;
                Ok(Some(Loaded { checkpoint: checkpoint_to_guest(checkpoint), content: bytes }))
            })
            .await?;
        let size = |l: &Option<Loaded>| {
            l.as_ref().map_or(0, |l| size_of_checkpoint(&l.checkpoint) + l.content.len())
        };
        self.gives(loaded.as_ref().map_or(0, size))?;
        Ok(loaded.map_err(|e| to_guest(&e)))
    }

    async fn save(
        &mut self,
        new: wit::NewCheckpoint,
        idempotency_key: Option<String>,
    ) -> wasmtime::Result<std::result::Result<wit::Checkpoint, Guest>> {
        self.takes(size_of_new(&new) + idempotency_key.as_ref().map_or(0, String::len))?;
        if let Err(e) = self.may_write() {
            return Ok(Err(to_guest(&e)));
        }
        let saved = self
            .blocking(move |layer, caller, _| {
                let what = format!("the checkpoint of strategy `{}`", new.strategy.escape_debug());
                short(&what, new.content.len())?;
                let save = Save {
                    metadata: metadata_from_guest(&what, new.metadata.as_ref())?,
                    media_type: new.media_type,
                    expect: expect_from_guest(new.expect),
                    idempotency_key,
                };
                layer.state().save(caller, &new.strategy, &mut new.content.as_slice(), save)
            })
            .await?;
        let saved = saved.map(|saved| checkpoint_to_guest(saved.checkpoint));
        self.gives(saved.as_ref().map_or(0, size_of_checkpoint))?;
        Ok(saved.map_err(|e| to_guest(&e)))
    }
}
