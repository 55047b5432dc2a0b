//! Reading: the newest checkpoint for a strategy that starts, an older one, and what there is.

use super::types::{Checkpoint, PAGE_MAX, Which, check_name};
use super::{States, rows};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::files::missing;
use std::io::{Cursor, Read};

/// A checkpoint and its content.
type Loaded = (Checkpoint, Box<dyn Read + Send>);

impl States {
    /// A checkpoint and its content, exactly as it was saved. [`Kind::NotFound`] where there is none: a strategy that starts for the
    /// first time. Content that is damaged is [`Kind::Corrupt`]; that of a large one is hashed on its way, and ends with an error
    /// of which [`crate::files::as_error`] makes one of ours.
    pub fn load(&self, caller: &Caller, strategy: &str, which: Which) -> Result<Loaded> {
        caller.may_read_state(strategy)?;
        check_name(strategy)?;
        let mut missed = None;
        loop {
            let (checkpoint, content) = self.row(strategy, which)?;
            let name = format!("state:{strategy}@{}", checkpoint.revision);
            let hash = checkpoint.blake3.clone().unwrap_or_default();
            let Some(store) = &checkpoint.store else {
                return Ok((checkpoint, small(content.unwrap_or_default(), &hash, &name)?));
            };
            if !self.files.names().any(|n| n == store) {
                // Not as if there were none: a strategy would begin anew.
                return Err(Error::new(
                    Kind::Unavailable,
                    format!("`{name}` is in the file store `{store}`, which the manifest does not have"),
                )
                .hint(format!("bring [files.{store}] back into shiphold.toml")));
            }
            match self.files.whole(store, &hash, checkpoint.size, &name) {
                // Another save may have taken it away between its row and its object; then its row is gone, too.
                Err(e) if e.kind() == Kind::NotFound => match missed {
                    Some(revision) if revision == checkpoint.revision => return Err(missing(&hash, &name)),
                    _ => missed = Some(checkpoint.revision),
                },
                Err(e) => return Err(e),
                Ok(content) => return Ok((checkpoint, content)),
            }
        }
    }

    fn row(&self, strategy: &str, which: Which) -> Result<(Checkpoint, Option<Vec<u8>>)> {
        self.db.read(|c| match rows::find_whole(c, strategy, which)? {
            Some((checkpoint, content)) if checkpoint.blake3.is_some() => Ok((checkpoint, content)),
            // A deletion, or nothing at that revision or time.
            there => {
                let newest = rows::find(c, strategy, Which::Newest)?;
                let oldest = rows::oldest(c, strategy)?.unwrap_or(1);
                Err(match (which, &newest) {
                    (Which::Newest, _) | (_, None) => none(strategy, newest.as_ref()),
                    _ => absent(strategy, which, there.is_some(), oldest),
                })
            }
        })
    }

    /// The newest checkpoint of each strategy that has one, by name, those after a name; without their content. At most
    /// [`PAGE_MAX`].
    pub fn list(&self, caller: &Caller, after: Option<&str>, limit: u64) -> Result<Vec<Checkpoint>> {
        caller.require(Scope::Read, "list strategies")?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT {} FROM state_strategies s JOIN state_checkpoints c ON c.strategy = s.id
                 WHERE s.name > ?1 AND c.hash IS NOT NULL
                 AND c.revision = (SELECT max(x.revision) FROM state_checkpoints x WHERE x.strategy = s.id)
                 ORDER BY s.name LIMIT ?2",
                rows::COLUMNS
            ))?;
            let limit = limit.min(PAGE_MAX).cast_signed();
            let rows = statement.query_map((after.unwrap_or_default(), limit), rows::read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The revisions of a strategy that are kept, newest first, those below `before` if it is given; deletions among them.
    pub fn history(
        &self,
        caller: &Caller,
        strategy: &str,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Checkpoint>> {
        caller.may_read_state(strategy)?;
        check_name(strategy)?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(&format!(
                "SELECT {} FROM state_strategies s JOIN state_checkpoints c ON c.strategy = s.id
                 WHERE s.name = ?1 AND c.revision < ?2 ORDER BY c.revision DESC LIMIT ?3",
                rows::COLUMNS
            ))?;
            let before = before.map_or(i64::MAX, |b| i64::try_from(b).unwrap_or(i64::MAX));
            let limit = limit.min(PAGE_MAX).cast_signed();
            let rows = statement.query_map((strategy, before, limit), rows::read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// Content out of a row, which nothing but its hash protects.
fn small(content: Vec<u8>, hash: &str, name: &str) -> Result<Box<dyn Read + Send>> {
    if blake3::hash(&content).to_hex().as_str() == hash {
        return Ok(Box::new(Cursor::new(content)));
    }
    Err(Error::corrupt(format!("the content of `{name}` does not match its hash"))
        .hint("an older revision may be whole: `shiphold state history` lists them; else restore a backup"))
}

/// There is nothing from which a strategy could go on.
pub(super) fn none(strategy: &str, newest: Option<&Checkpoint>) -> Error {
    match newest {
        None => Error::not_found(format!("strategy `{strategy}` has no checkpoint"))
            .hint("it is its first start; `shiphold state list` shows the strategies that have one"),
        Some(gone) => Error::not_found(format!(
            "the state of strategy `{strategy}` was deleted, by {} with revision {}",
            gone.saved_by, gone.revision
        ))
        .hint(format!("`shiphold state history {strategy}` shows what is kept from before")),
    }
}

fn absent(strategy: &str, which: Which, deleted: bool, oldest: u64) -> Error {
    let (what, never) = match which {
        Which::Revision(n) => (format!("revision {n} of strategy `{strategy}`"), n >= oldest),
        _ => (format!("the state of strategy `{strategy}` at that time"), oldest <= 1),
    };
    let why = match (deleted, never) {
        (true, _) => "is a deletion",
        (false, true) => "does not exist",
        (false, false) => "is not kept any more",
    };
    Error::not_found(format!("{what} {why}"))
        .hint(format!("revisions from {oldest} on are kept; `state.keep` of shiphold.toml says how many"))
}
