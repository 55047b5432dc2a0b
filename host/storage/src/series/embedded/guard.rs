//! The catalogue guards itself: each row of `measurement`, `field` and `series` has a checksum, and a log record one of its
//! place. A row that does not match is left out and remembered as a [`Suspect`]: its name is not to be trusted, and what
//! is written under the name that it had must not become another series beside it.

use super::bytes;
use super::codec::type_of_code;
use super::tables::{field_bits, fields_of_bits};
use crate::error::{Error, Result};
use crate::series::{Fault, FieldType, SeriesKey};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row};
use std::collections::HashMap;

/// Damaged rows that are remembered one by one; where there are more, nothing new is taken into the catalogue.
const SUSPECTS_MAX: usize = 1_000;
/// Cells of a row that its checksum is over, at most.
const CELLS_MAX: usize = 4;
/// Characters of a damaged cell that a fault shows.
const SHOWN_CHARS: usize = 200;
/// Bytes of a log record's body that the checksum of its place is over: they have the checksum of the rest.
const HEAD_BYTES: usize = bytes::ENVELOPE_BYTES;
/// Numbers from here on are not reached by counting: one that is greater was damaged.
const ID_MAX: i64 = 1 << 62;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Measurement = 1,
    Field = 2,
    Series = 3,
    Log = 4,
}

impl Table {
    /// Those that have names, in the order in which one refers to another.
    const CATALOGUE: [Self; 3] = [Self::Measurement, Self::Field, Self::Series];
    const ALL: [Self; 4] = [Self::Measurement, Self::Field, Self::Series, Self::Log];

    fn name(self) -> &'static str {
        match self {
            Self::Measurement => "measurement",
            Self::Field => "field",
            Self::Series => "series",
            Self::Log => "log",
        }
    }
    /// What the checksum of a row is over.
    fn columns(self) -> String {
        match self {
            Self::Measurement => "id, bucket, name".into(),
            Self::Field => "measurement, number, name, type".into(),
            Self::Series => "id, measurement, tags, fields".into(),
            Self::Log => format!("seq, length(body), substr(body, 1, {HEAD_BYTES})"),
        }
    }
    fn width(self) -> usize {
        match self {
            Self::Measurement | Self::Log => 3,
            Self::Field | Self::Series => 4,
        }
    }
    /// A row by its first two cells.
    fn by_key(self) -> &'static str {
        match self {
            Self::Measurement | Self::Series => "id = ?1",
            Self::Field => "measurement = ?1 AND number = ?2",
            Self::Log => "seq = ?1",
        }
    }
}

/// The checksum of a row out of the cells of [`Table::columns`].
fn checksum(table: Table, cells: &[ValueRef<'_>]) -> i64 {
    let mut bytes = vec![table as u8];
    let mut long = |kind: u8, cell: &[u8]| {
        bytes.push(kind);
        bytes.extend_from_slice(&(cell.len() as u64).to_le_bytes());
        bytes.extend_from_slice(cell);
    };
    for cell in cells {
        match cell {
            ValueRef::Null => long(0, &[]),
            ValueRef::Integer(n) => long(1, &n.to_le_bytes()),
            ValueRef::Real(n) => long(2, &n.to_le_bytes()),
            ValueRef::Text(text) => long(3, text),
            ValueRef::Blob(blob) => long(4, blob),
        }
    }
    bytes::short_digest(&bytes)
}

pub(super) fn of_measurement(id: i64, bucket: &str, name: &str) -> i64 {
    checksum(Table::Measurement, &[ValueRef::Integer(id), text(bucket), text(name)])
}

pub(super) fn of_field(measurement: i64, number: u32, name: &str, type_code: u8) -> i64 {
    let (number, of) = (ValueRef::Integer(number.into()), ValueRef::Integer(type_code.into()));
    checksum(Table::Field, &[ValueRef::Integer(measurement), number, text(name), of])
}

pub(super) fn of_series(id: i64, measurement: i64, tags: &str, fields: &[u8]) -> i64 {
    let (id, measurement) = (ValueRef::Integer(id), ValueRef::Integer(measurement));
    checksum(Table::Series, &[id, measurement, text(tags), ValueRef::Blob(fields)])
}

pub(super) fn of_log(seq: i64, body: &[u8]) -> i64 {
    let len = ValueRef::Integer(body.len() as i64);
    let head = ValueRef::Blob(body.get(..HEAD_BYTES).unwrap_or(body));
    checksum(Table::Log, &[ValueRef::Integer(seq), len, head])
}

fn text(text: &str) -> ValueRef<'_> {
    ValueRef::Text(text.as_bytes())
}

/// Gives every row of an older file its checksum: what is there is what is believed.
pub(super) fn fill(c: &Connection) -> Result<()> {
    for table in Table::ALL {
        let mut select = c.prepare(&format!("SELECT {} FROM {}", table.columns(), table.name()))?;
        let mut rows = select.query([])?;
        let mut sums: Vec<(Value, Value, i64)> = Vec::new();
        while let Some(row) = rows.next()? {
            sums.push((
                row.get(0)?,
                row.get(1).unwrap_or(Value::Null),
                checksum(table, cells(table, row)?.as_slice()),
            ));
        }
        let key = table.by_key();
        let mut update = c.prepare(&format!("UPDATE {} SET checksum = ?3 WHERE {key}", table.name()))?;
        for (first, second, sum) in sums {
            let second = if table == Table::Field { second } else { Value::Null };
            update.execute((first, second, sum))?;
        }
    }
    Ok(())
}

/// The cells of a row; there are no more than [`CELLS_MAX`].
struct Cells<'a>([ValueRef<'a>; CELLS_MAX], usize);

impl<'a> Cells<'a> {
    fn as_slice(&self) -> &[ValueRef<'a>] {
        self.0.get(..self.1).unwrap_or_default()
    }
}

fn cells<'a>(table: Table, row: &'a Row<'_>) -> Result<Cells<'a>> {
    let mut cells = [ValueRef::Null; CELLS_MAX];
    for (at, cell) in cells.iter_mut().enumerate().take(table.width()) {
        *cell = row.get_ref(at)?;
    }
    Ok(Cells(cells, table.width()))
}

/// Takes the sound rows of the catalogue. An error says that the row cannot be right all the same.
pub(super) trait Sink {
    fn measurement(&mut self, id: i64, bucket: &str, name: &str) -> Result<()>;
    fn field(&mut self, measurement: i64, number: u32, name: &str, of: FieldType) -> Result<()>;
    /// `fields`: their numbers, ascending.
    fn series(
        &mut self,
        id: i64,
        measurement: i64,
        tags: Vec<(String, String)>,
        fields: Vec<u32>,
    ) -> Result<()>;
}

/// Reads the catalogue, measurements before fields before series; gives the rows that are damaged.
pub(super) fn read(c: &Connection, to: &mut dyn Sink) -> Result<Damage> {
    let mut damage = Damage::default();
    let mut names: HashMap<i64, String> = HashMap::new();
    // By measurement, as bits: the fields that have a row, and those that a series has.
    let (mut have, mut used) = (Bits::new(), Bits::new());
    for table in Table::CATALOGUE {
        let place = |e: rusqlite::Error| {
            Error::from(e).context(format!("the table `{}` of the series' catalogue", table.name()))
        };
        let sql = format!("SELECT {}, checksum FROM {}", table.columns(), table.name());
        let mut select = c.prepare(&sql).map_err(place)?;
        let mut rows = select.query([]).map_err(place)?;
        while let Some(row) = rows.next().map_err(place)? {
            let cells = cells(table, row)?;
            let stored = row.get_ref(table.width())?;
            let taken = if stored == ValueRef::Integer(checksum(table, cells.as_slice())) {
                take(table, row, to)
            } else {
                Err(Error::corrupt("its row in the catalogue does not match its checksum"))
            };
            match (taken, table) {
                (Ok(()), Table::Measurement) => {
                    names.insert(
                        row.get(0)?,
                        format!("{}/{}", row.get::<_, String>(1)?, row.get::<_, String>(2)?),
                    );
                }
                (Ok(()), Table::Field) => add_bits(&mut have, row.get(0)?, &field_bits(&[row.get(1)?])),
                (Ok(()), _) => {
                    if let (Ok(of), Some(ValueRef::Blob(bits))) = (row.get(1), cells.as_slice().get(3)) {
                        add_bits(&mut used, of, bits);
                    }
                }
                (Err(problem), _) => {
                    damage.add(Suspect::new(table, cells.as_slice(), stored, &names, problem.message()));
                }
            }
        }
    }
    // A damaged row may be the one that is missing.
    if !damage.suspects.iter().any(|s| s.table == Table::Field) {
        for (measurement, used) in used {
            let have = have.get(&measurement).map(|b| fields_of_bits(b)).unwrap_or_default();
            let gone = fields_of_bits(&used).into_iter().filter(|n| have.binary_search(n).is_err());
            gone.for_each(|number| damage.add(Suspect::missing(measurement, number, &names)));
        }
    }
    Ok(damage)
}

type Bits = HashMap<i64, Vec<u8>>;

fn add_bits(all: &mut Bits, measurement: i64, bits: &[u8]) {
    let have = all.entry(measurement).or_default();
    have.resize(have.len().max(bits.len()), 0);
    have.iter_mut().zip(bits).for_each(|(have, more)| *have |= more);
}

fn take(table: Table, row: &Row<'_>, to: &mut dyn Sink) -> Result<()> {
    let text = |at| {
        let cell = row.get_ref(at)?;
        cell.as_str().map_err(|_| Error::corrupt("it has a name that is no text"))
    };
    match table {
        Table::Measurement => to.measurement(row.get(0)?, text(1)?, text(2)?),
        Table::Field => {
            let of = type_of_code(row.get(3)?).map_err(|_| Error::corrupt("it has no type"))?;
            to.field(row.get(0)?, row.get(1)?, text(2)?, of)
        }
        Table::Series => {
            let tags = serde_json::from_str(text(2)?)
                .map_err(|_| Error::corrupt("it has tags that cannot be read"))?;
            let bits: Vec<u8> = row.get(3)?;
            to.series(row.get(0)?, row.get(1)?, tags, fields_of_bits(&bits))
        }
        Table::Log => Ok(()),
    }
}

/// A damaged row as it reads.
#[derive(Debug)]
pub(super) struct Suspect {
    table: Table,
    cells: Vec<Value>,
    checksum: Option<i64>,
    fault: Fault,
}

impl Suspect {
    fn new(
        table: Table,
        cells: &[ValueRef<'_>],
        stored: ValueRef<'_>,
        names: &HashMap<i64, String>,
        why: &str,
    ) -> Self {
        let shown = |at: usize| match cells.get(at) {
            Some(ValueRef::Integer(n)) => n.to_string(),
            Some(ValueRef::Text(t)) => String::from_utf8_lossy(t).chars().take(SHOWN_CHARS).collect(),
            _ => "?".into(),
        };
        let measurement = |at: usize| match cells.get(at) {
            Some(ValueRef::Integer(id)) => {
                names.get(id).cloned().unwrap_or_else(|| format!("measurement {id}"))
            }
            _ => "a measurement".into(),
        };
        let object = match table {
            Table::Measurement => format!("measurement {} (`{}/{}`)", shown(0), shown(1), shown(2)),
            Table::Field => format!("field {} (`{}`) of {}", shown(1), shown(2), measurement(0)),
            Table::Series | Table::Log => {
                format!("series {} ({}, tags {})", shown(0), measurement(1), shown(2))
            }
        };
        let checksum = match stored {
            ValueRef::Integer(n) => Some(n),
            _ => None,
        };
        let cells = cells.iter().map(|c| Value::try_from(*c).unwrap_or(Value::Null)).collect();
        Self { table, cells, checksum, fault: Fault { object, problem: why.into() } }
    }

    fn missing(measurement: i64, number: u32, names: &HashMap<i64, String>) -> Self {
        let cells = [ValueRef::Integer(measurement), ValueRef::Integer(number.into())];
        let mut suspect =
            Self::new(Table::Field, &cells, ValueRef::Null, names, "it is not in the catalogue");
        suspect.fault.object = suspect.fault.object.replace(" (`?`)", "");
        suspect
    }

    /// Could this be the row of these cells: does it read like them, or does its checksum say so once they stand in it?
    fn may_be(&self, table: Table, named: &[(usize, ValueRef<'_>)]) -> bool {
        if self.table != table {
            return false;
        }
        let mut cells: Vec<ValueRef<'_>> = self.cells.iter().map(ValueRef::from).collect();
        let reads = named.iter().all(|(at, cell)| cells.get(*at) == Some(cell));
        for (at, cell) in named {
            if let Some(place) = cells.get_mut(*at) {
                *place = *cell;
            }
        }
        reads || self.checksum == Some(checksum(table, &cells))
    }

    fn number(&self, at: usize) -> Option<i64> {
        match self.cells.get(at) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        }
    }
    /// The series that it was, as far as it can be told.
    pub(super) fn series(&self) -> Option<i64> {
        self.number(0).filter(|_| self.table == Table::Series)
    }
    /// The measurement that it was or belonged to.
    pub(super) fn measurement(&self) -> Option<i64> {
        self.number(usize::from(self.table == Table::Series))
    }
}

/// What of the catalogue is left out.
#[derive(Debug, Default)]
pub(super) struct Damage {
    suspects: Vec<Suspect>,
    /// Those that are not remembered.
    more: u64,
}

impl Damage {
    fn add(&mut self, suspect: Suspect) {
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(suspect);
        } else {
            self.more += 1;
        }
    }
    pub(super) fn rows(&self) -> u64 {
        self.suspects.len() as u64 + self.more
    }
    pub(super) fn suspects(&self) -> &[Suspect] {
        &self.suspects
    }
    pub(super) fn report(&self) {
        for Suspect { fault, .. } in &self.suspects {
            tracing::error!(
                "{} is left out: {}; run `shiphold verify` and restore the newest backup",
                fault.object,
                fault.problem
            );
        }
    }
    pub(super) fn faults(self) -> Vec<Fault> {
        let more = (self.more > 0).then(|| Fault {
            object: "the series' catalogue".into(),
            problem: format!("{} more of its rows are damaged", self.more),
        });
        self.suspects.into_iter().map(|s| s.fault).chain(more).collect()
    }

    /// Refuses a new measurement that may be a damaged one.
    pub(super) fn refuse_measurement(&self, key: &SeriesKey) -> Result<()> {
        self.refuse(key, Table::Measurement, &[(1, text(&key.bucket)), (2, text(&key.measurement))])
    }
    /// Refuses a new field that may be a damaged one.
    pub(super) fn refuse_field(&self, measurement: i64, name: &str) -> Result<()> {
        let cells = [(0, ValueRef::Integer(measurement)), (2, text(name))];
        self.refuse(format_args!("the field `{name}`"), Table::Field, &cells)
    }
    /// Refuses a new series that may be a damaged one; `tags` as they are stored.
    pub(super) fn refuse_series(&self, measurement: i64, key: &SeriesKey, tags: &str) -> Result<()> {
        self.refuse(key, Table::Series, &[(1, ValueRef::Integer(measurement)), (2, text(tags))])
    }

    fn refuse(
        &self,
        what: impl std::fmt::Display,
        table: Table,
        named: &[(usize, ValueRef<'_>)],
    ) -> Result<()> {
        let why = match self.suspects.iter().find(|s| s.may_be(table, named)) {
            Some(s) => format!("it is damaged in the catalogue, as {}: {}", s.fault.object, s.fault.problem),
            None if self.more > 0 => {
                format!("{} rows of the catalogue are damaged, and it may be one of them", self.rows())
            }
            None => return Ok(()),
        };
        Err(Error::corrupt(format!("`{what}` cannot be written: {why}")).hint(
            "run `shiphold verify` and restore the newest backup; what is not damaged is written as ever",
        ))
    }
}

/// Keeps a counter above a number that is in use; a damaged number counts for nothing.
pub(super) fn keep_above(next: &mut i64, id: i64) {
    if id < ID_MAX {
        *next = (*next).max(id + 1);
    }
}

/// Keeps a walk by key from going in circles where damaged pages are out of order: the keys that it meets must ascend.
pub(super) fn ascends<K: PartialOrd>(before: &K, now: &K) -> Result<()> {
    if now > before {
        Ok(())
    } else {
        Err(Error::corrupt("its rows are out of order: what follows cannot be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(id: i64) -> Suspect {
        let cells = [ValueRef::Integer(id), ValueRef::Integer(1), text("[]"), ValueRef::Blob(&[1])];
        Suspect::new(Table::Series, &cells, ValueRef::Null, &HashMap::new(), "damaged")
    }

    #[test]
    fn past_the_bound_of_what_is_remembered_nothing_new_is_taken() {
        let mut damage = Damage::default();
        let key = SeriesKey::new("b", "m", vec![("a".into(), "b".into())]).unwrap();
        let refuse = |damage: &Damage| damage.refuse_series(2, &key, r#"[["a","b"]]"#);
        (0..SUSPECTS_MAX as i64).for_each(|id| damage.add(suspect(id)));
        assert_eq!(damage.rows(), SUSPECTS_MAX as u64);
        refuse(&damage).unwrap();
        assert!(damage.refuse_series(1, &key, "[]").is_err(), "it reads like that");
        damage.add(suspect(-1));
        assert_eq!(damage.rows(), SUSPECTS_MAX as u64 + 1);
        let e = refuse(&damage).unwrap_err();
        assert!(e.message().contains("1001 rows"), "{e}");
        assert_eq!(damage.faults().len(), SUSPECTS_MAX + 1);
    }

    #[test]
    fn a_damaged_number_does_not_move_a_counter() {
        let mut next = 5;
        for (id, wanted) in [(3, 5), (5, 6), (i64::MAX, 6), (ID_MAX, 6), (i64::MIN, 6), (ID_MAX - 1, ID_MAX)]
        {
            keep_above(&mut next, id);
            assert_eq!(next, wanted, "{id}");
        }
    }
}
