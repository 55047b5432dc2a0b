//! Which rows are in which file: rows of the structured database, and those in use in memory.

use super::cuts;
use crate::error::{Error, Kind, Result};
use crate::locks::{lock, read, write};
use crate::series::{FieldType, Selector, SeriesInfo, SeriesKey, TimeRange};
use crate::sqlite::{Database, Tx};
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// Files of a series that are in use.
pub const SERIES_ARCHIVES_MAX: usize = 20_000;

/// How an archive stands to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its rows are in the engine, too.
    Copy,
    /// Its rows may be nowhere else: queries read them.
    Only,
    /// Its rows are back in the engine.
    Restored,
    /// A later file has all of its rows.
    Replaced,
    /// Every row of it was deleted.
    Deleted,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Only => "only",
            Self::Restored => "restored",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
        }
    }
}

impl std::str::FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Copy, Self::Only, Self::Restored, Self::Replaced, Self::Deleted];
        all.into_iter().find(|s| s.name() == text).ok_or_else(|| {
            Error::invalid(format!("`{}` is no state of an archive", text.escape_debug()))
                .hint("it is copy, only, restored, replaced or deleted")
        })
    }
}

/// One file with rows of one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Archive {
    /// Of two that have a value for the same time and field, the later one is right.
    pub id: i64,
    #[serde(flatten)]
    pub key: SeriesKey,
    pub state: State,
    pub format: String,
    /// All rows that the engine had in this span when it was written; nanoseconds, half-open.
    pub from: i64,
    pub until: i64,
    /// Of the rows that were not deleted since.
    pub first: i64,
    pub last: i64,
    pub rows: u64,
    pub fields: Vec<(String, FieldType)>,
    pub store: String,
    pub path: String,
    pub version: u64,
    /// Of the file.
    pub blake3: String,
    pub bytes: u64,
    /// Of the rows, whatever the form of the file.
    pub digest: String,
    /// Spans that were deleted since it was written.
    pub cuts: Vec<TimeRange>,
    pub created_at: i64,
}

impl Archive {
    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        range.start < range.end && range.overlaps(self.first, self.last)
    }

    /// How an error names it.
    pub(super) fn place(&self) -> String {
        format!("archive {} of `{}` (`{}/{}`)", self.id, self.key, self.store, self.path)
    }
}

/// The archives in use of one series, in the order of their numbers.
pub(super) type OfSeries = Arc<Vec<Arc<Archive>>>;
/// The types of a measurement's fields, as the engine has them.
type Types = Arc<HashMap<String, FieldType>>;

const COLUMNS: &str = "id, bucket, measurement, tags, state, format, from_ns, until_ns, first_ns, last_ns, rows, fields, store, path, version, hash, bytes, digest, cuts, created_at";

fn row(r: &Row<'_>) -> Result<Archive> {
    let id: i64 = r.get(0)?;
    let wrong = |what: &str| Error::corrupt(format!("archive {id}: its {what} cannot be read"));
    let json = |at: usize| -> rusqlite::Result<String> { r.get(at) };
    let tags = serde_json::from_str(&json(3)?).map_err(|_| wrong("tags"))?;
    let cuts: Vec<(i64, i64)> = serde_json::from_str(&json(18)?).map_err(|_| wrong("deletions"))?;
    Ok(Archive {
        id,
        key: SeriesKey::new(r.get::<_, String>(1)?, r.get::<_, String>(2)?, tags)?,
        state: json(4)?.parse().map_err(|_| wrong("state"))?,
        format: r.get(5)?,
        from: r.get(6)?,
        until: r.get(7)?,
        first: r.get(8)?,
        last: r.get(9)?,
        rows: r.get::<_, i64>(10)?.unsigned_abs(),
        fields: serde_json::from_str(&json(11)?).map_err(|_| wrong("fields"))?,
        store: r.get(12)?,
        path: r.get(13)?,
        version: r.get::<_, i64>(14)?.unsigned_abs(),
        blake3: r.get(15)?,
        bytes: r.get::<_, i64>(16)?.unsigned_abs(),
        digest: r.get(17)?,
        cuts: cuts.into_iter().map(|(start, end)| TimeRange { start, end }).collect(),
        created_at: r.get(19)?,
    })
}

fn text<T: Serialize + ?Sized>(of: &T) -> Result<String> {
    serde_json::to_string(of).map_err(|e| Error::internal(format!("noting an archive: {e}")))
}

fn pairs(cuts: &[TimeRange]) -> Result<String> {
    text(&cuts.iter().map(|c| (c.start, c.end)).collect::<Vec<_>>())
}

/// Those in use of one series.
fn of_series(c: &Connection, key: &SeriesKey) -> Result<Vec<Arc<Archive>>> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM archives WHERE bucket = ?1 AND measurement = ?2 AND tags = ?3
         AND state IN ('copy', 'only') ORDER BY id"
    ))?;
    let mut rows = statement.query((&key.bucket, &key.measurement, text(&key.tags)?))?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(Arc::new(row(r)?));
    }
    Ok(out)
}

/// Adds one; its number is not looked at.
pub(super) fn add(tx: &Tx<'_>, a: &Archive) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO archives(bucket, measurement, tags, state, format, from_ns, until_ns, first_ns, last_ns, rows, fields, store, path, version, hash, bytes, digest, cuts, created_at)
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)",
    )?
    .execute(rusqlite::params![
        a.key.bucket,
        a.key.measurement,
        text(&a.key.tags)?,
        a.state.name(),
        a.format,
        a.from,
        a.until,
        a.first,
        a.last,
        a.rows.cast_signed(),
        text(&a.fields)?,
        a.store,
        a.path,
        a.version.cast_signed(),
        a.blake3,
        a.bytes.cast_signed(),
        a.digest,
        pairs(&a.cuts)?,
        a.created_at,
    ])?;
    Ok(())
}

pub(super) fn set_state(tx: &Tx<'_>, id: i64, state: State) -> Result<()> {
    tx.prepare_cached("UPDATE archives SET state = ?2 WHERE id = ?1")?.execute((id, state.name()))?;
    Ok(())
}

/// Notes that the rows are back in the engine; what was deleted stays so.
pub(super) fn set_restored(tx: &Tx<'_>, id: i64) -> Result<()> {
    tx.prepare_cached("UPDATE archives SET state = 'restored' WHERE id = ?1 AND state = 'only'")?
        .execute([id])?;
    Ok(())
}

/// Notes what is left of an archive; what else its state is may have changed since it was looked at.
pub(super) fn set_left(tx: &Tx<'_>, a: &Archive) -> Result<()> {
    tx.prepare_cached(
        "UPDATE archives SET state = CASE ?2 WHEN 'deleted' THEN ?2 ELSE state END, first_ns = ?3, last_ns = ?4, rows = ?5, fields = ?6, cuts = ?7 WHERE id = ?1",
    )?
    .execute((a.id, a.state.name(), a.first, a.last, a.rows.cast_signed(), text(&a.fields)?, pairs(&a.cuts)?))?;
    Ok(())
}

/// An error while a file holds rows that may be nowhere else.
pub(crate) fn refuse_only_copy(c: &Connection, store: &str, path: &str) -> Result<()> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM archives WHERE store = ?1 AND path = ?2 AND state = 'only' ORDER BY id LIMIT 1"
    ))?;
    let mut rows = statement.query((store, path))?;
    let Some(found) = rows.next()? else { return Ok(()) };
    let a = row(found)?;
    Err(Error::conflict(format!("`{store}/{path}` is the only copy of {} rows of `{}`", a.rows, a.key)).hint(
        "bring them back with `shiphold series restore`, or say that they may be lost with `shiphold series delete`; then delete the file",
    ))
}

/// Rows of a database that may be of an older release, as the engine's list would show them.
pub(crate) fn infos(c: &Connection) -> Result<Vec<SeriesInfo>> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'archives'";
    if c.query_row(known, [], |r| r.get::<_, i64>(0))? == 0 {
        return Ok(Vec::new());
    }
    Ok(in_use(c)?.iter().filter(|a| a.state == State::Only).map(info).collect())
}

fn in_use(c: &Connection) -> Result<Vec<Archive>> {
    let mut statement =
        c.prepare(&format!("SELECT {COLUMNS} FROM archives WHERE state IN ('copy', 'only') ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(row(r)?);
    }
    Ok(out)
}

/// Every archive of the chosen series that has a number above `after`, in the order of the numbers.
pub(super) fn page(
    c: &Connection,
    chosen: &dyn Fn(&Archive) -> bool,
    after: i64,
    limit: usize,
) -> Result<Vec<Archive>> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {COLUMNS} FROM archives WHERE id > ?1 ORDER BY id"))?;
    let mut rows = statement.query([after])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        let one = row(r)?;
        if chosen(&one) {
            out.push(one);
            if out.len() >= limit {
                break;
            }
        }
    }
    Ok(out)
}

/// Is this version of a file there, with these bytes?
pub(super) fn file_is_there(c: &Connection, a: &Archive) -> Result<bool> {
    let found: Option<Option<String>> = c
        .prepare_cached("SELECT hash FROM file_versions WHERE store = ?1 AND path = ?2 AND version = ?3")?
        .query_row((&a.store, &a.path, a.version.cast_signed()), |r| r.get(0))
        .optional()?;
    Ok(found.flatten().as_deref() == Some(&a.blake3))
}

/// An archive as the engine's list would show its rows: decimals are integers there.
pub(super) fn info(a: &Archive) -> SeriesInfo {
    SeriesInfo {
        key: a.key.clone(),
        fields: a.fields.iter().map(|(name, of)| (name.clone(), stored_as(*of))).collect(),
        rows: a.rows,
        min_time: Some(a.first),
        max_time: Some(a.last),
    }
}

pub(super) const fn stored_as(of: FieldType) -> FieldType {
    match of {
        FieldType::Decimal(_) => FieldType::Integer,
        of => of,
    }
}

/// The archives in use. About 400 bytes of memory for each file.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) db: Arc<Database>,
    all: RwLock<BTreeMap<SeriesKey, OfSeries>>,
    /// Nobody asks further where there is nothing.
    any: AtomicBool,
    types: Mutex<HashMap<(String, String), Types>>,
    /// Held while the rows of the database are changed, and until memory says the same.
    changing: Mutex<()>,
}

impl Index {
    pub(super) fn open(db: Arc<Database>) -> Result<Self> {
        let mut all: BTreeMap<SeriesKey, Vec<Arc<Archive>>> = BTreeMap::new();
        for archive in db.read(in_use)? {
            all.entry(archive.key.clone()).or_default().push(Arc::new(archive));
        }
        let any = AtomicBool::new(!all.is_empty());
        let all = all.into_iter().map(|(key, list)| (key, Arc::new(list))).collect();
        Ok(Self { db, all: RwLock::new(all), any, types: Mutex::default(), changing: Mutex::default() })
    }

    pub(super) fn of(&self, key: &SeriesKey) -> Option<OfSeries> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        read(&self.all).get(key).cloned()
    }

    /// The chosen series that have archives in use.
    pub(super) fn chosen(&self, selector: &Selector) -> Vec<(SeriesKey, OfSeries)> {
        if !self.any.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let all = read(&self.all);
        all.iter().filter(|(k, _)| selector.matches(k)).map(|(k, list)| (k.clone(), list.clone())).collect()
    }

    /// The types that archived rows give the fields of a measurement.
    pub(super) fn types(&self, key: &SeriesKey) -> Types {
        if !self.any.load(Ordering::SeqCst) {
            return Types::default();
        }
        let name = (key.bucket.clone(), key.measurement.clone());
        if let Some(known) = lock(&self.types).get(&name) {
            return known.clone();
        }
        let first = SeriesKey { tags: Vec::new(), ..key.clone() };
        let mut types = HashMap::new();
        let all = read(&self.all);
        let same = |k: &&SeriesKey| k.bucket == key.bucket && k.measurement == key.measurement;
        for list in all.range(first..).take_while(|(k, _)| same(k)).map(|(_, list)| list) {
            for archive in list.iter().filter(|a| a.state == State::Only) {
                for (field, of) in &archive.fields {
                    types.entry(field.clone()).or_insert_with(|| stored_as(*of));
                }
            }
        }
        let types = Types::new(types);
        // Under the lock of the list: no change of it comes in between.
        lock(&self.types).insert(name, types.clone());
        drop(all);
        types
    }

    /// Changes the archives of some series: the transaction, and then memory.
    pub(super) fn change<T>(&self, keys: &[SeriesKey], f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let _one = lock(&self.changing);
        let (out, now) = self.db.write_always(|tx| {
            let out = f(tx)?;
            let now = keys.iter().map(|key| Ok((key.clone(), of_series(tx, key)?)));
            let now = now.collect::<Result<Vec<_>>>()?;
            if let Some((key, list)) = now.iter().find(|(_, list)| list.len() > SERIES_ARCHIVES_MAX) {
                return Err(Error::limit(
                    format!("the {} archives of `{key}`", list.len()),
                    SERIES_ARCHIVES_MAX,
                    "restore old ones with `shiphold series restore`, and archive them again",
                ));
            }
            Ok((out, now))
        })?;
        let mut all = write(&self.all);
        for (key, list) in now {
            lock(&self.types).remove(&(key.bucket.clone(), key.measurement.clone()));
            if list.is_empty() {
                all.remove(&key);
            } else {
                all.insert(key, Arc::new(list));
            }
        }
        self.any.store(!all.is_empty(), Ordering::SeqCst);
        Ok(out)
    }

    /// [`Index::change`] of whatever `f` finds in memory, with nobody changing it meanwhile.
    pub(super) fn edit(&self, archives: &[Archive]) -> Result<()> {
        let mut keys: Vec<SeriesKey> = archives.iter().map(|a| a.key.clone()).collect();
        keys.sort();
        keys.dedup();
        self.change(&keys, |tx| archives.iter().try_for_each(|a| set_left(tx, a)))
    }
}

/// More deletions than an archive can have.
pub(super) fn cut(a: &Archive, range: TimeRange) -> Result<Archive> {
    let mut out = a.clone();
    cuts::add(&mut out.cuts, range);
    if out.cuts.len() > cuts::CUTS_MAX {
        return Err(Error::new(
            Kind::Limit,
            format!("{} has {} deletions, and can have {}", a.place(), out.cuts.len(), cuts::CUTS_MAX),
        )
        .hint(
            "bring its rows back with `shiphold series restore`, and delete then; or delete a wider range",
        ));
    }
    // What is known without a look at the rows.
    for c in &out.cuts {
        if c.contains(out.first) {
            out.first = c.end;
        }
    }
    for c in out.cuts.iter().rev() {
        if c.contains(out.last) {
            out.last = c.start.saturating_sub(1);
        }
    }
    if out.first > out.last {
        (out.first, out.last, out.rows, out.state) = (a.first, a.last, 0, State::Deleted);
    }
    Ok(out)
}
