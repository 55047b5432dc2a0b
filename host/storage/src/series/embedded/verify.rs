//! Verifying: every log record and every chunk is read again, its checksum, its rows and its statistics
//! compared. What goes away meanwhile is not a fault.

use super::catalog::ById;
use super::chunk::{self, Chunk, Wanted};
use super::core::Core;
use super::guard::{self, Sink, Suspect};
use super::tables::{self, CHUNK_COLUMNS};
use super::{body, read, statistics};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, Fault, FieldType};
use rusqlite::OptionalExtension;
use std::collections::HashSet;

/// Rows of `chunk` that are read at once.
const PAGE_ROWS: u32 = 256;

impl Core {
    pub(super) fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        let by_id = ById::new(read(&self.catalog).all().cloned().collect());
        let damage = guard::read(&*self.db.pin()?, &mut Checking::default())?;
        let lost: HashSet<i64> = damage.suspects().iter().filter_map(Suspect::series).collect();
        let mut faults = damage.faults();
        self.verify_log(&by_id, budget, &mut faults)?;
        self.verify_chunks(&by_id, &lost, budget, &mut faults)?;
        self.verify_set_aside(&mut faults)?;
        Ok(faults)
    }

    fn verify_log(&self, by_id: &ById, budget: &Budget, faults: &mut Vec<Fault>) -> Result<()> {
        let mut seq = i64::MIN;
        loop {
            budget.check()?;
            let next: Option<i64> = self.db.read(|c| {
                let mut select =
                    c.prepare_cached("SELECT seq FROM log WHERE seq > ?1 ORDER BY seq LIMIT 1")?;
                Ok(select.query_row([seq], |r| r.get(0)).optional()?)
            })?;
            let Some(at) = next else { return Ok(()) };
            if let Err(e) = guard::ascends(&seq, &at) {
                faults.push(fault("the log".into(), &e));
                return Ok(());
            }
            seq = at;
            let row = damage(self.db.read(|c| {
                let mut select = c.prepare_cached("SELECT body, checksum FROM log WHERE seq = ?1")?;
                Ok(select.query_row([at], |r| Ok((r.get::<_, Vec<u8>>(0)?, r.get(1).ok()))).optional()?)
            }))?;
            let problem = match row {
                Ok(None) => None,
                // A series that came after the catalogue was read is not checked against it.
                Ok(Some((body, checksum))) => super::open::sections_of(at, checksum, &body)
                    .and_then(|mut sections| {
                        sections.retain(|s| by_id.get(s.series).is_some());
                        super::open::check(&sections, by_id)
                    })
                    .err(),
                Err(e) => Some(e),
            };
            faults.extend(problem.map(|e| fault(format!("log record {at}"), &e)));
        }
    }

    /// `lost`: series whose row is a fault already.
    fn verify_chunks(
        &self,
        by_id: &ById,
        lost: &HashSet<i64>,
        budget: &Budget,
        faults: &mut Vec<Fault>,
    ) -> Result<()> {
        let mut after = (i64::MIN, i64::MIN);
        loop {
            budget.check()?;
            let page = self.db.read(|c| {
                let mut select = c.prepare_cached(&format!(
                    "SELECT {CHUNK_COLUMNS}, stats FROM chunk WHERE (series, id) > (?1, ?2) ORDER BY series, id LIMIT {PAGE_ROWS}"
                ))?;
                let mut rows = select.query(after)?;
                let mut page = Vec::new();
                while let Some(row) = rows.next()? {
                    page.push((tables::chunk_of_row(row), row.get::<_, Vec<u8>>(9).unwrap_or_default()));
                }
                Ok(page)
            })?;
            if page.is_empty() {
                return Ok(());
            }
            for (chunk, stats) in page {
                budget.check()?;
                let at = match &chunk {
                    Ok(c) => (c.series, c.id),
                    Err(ids) => *ids,
                };
                if let Err(e) = guard::ascends(&after, &at) {
                    faults.push(fault("the chunks".into(), &e));
                    return Ok(());
                }
                after = at;
                let name = by_id.name(after.0);
                let problem = match chunk {
                    Ok(c) if lost.contains(&c.series) => None,
                    Ok(c) => self.chunk_problem(&c, &stats, by_id, budget)?,
                    Err(_) => Some(Error::corrupt("its row in the database does not match its checksum")),
                };
                faults.extend(problem.map(|e| fault(format!("chunk {} of {name}", after.1), &e)));
            }
        }
    }

    fn chunk_problem(
        &self,
        chunk: &Chunk,
        stats: &[u8],
        by_id: &ById,
        budget: &Budget,
    ) -> Result<Option<Error>> {
        let Some(series) = by_id.get(chunk.series) else {
            let still = self.stored_stats(chunk)?.is_some() && !self.knows(chunk.series);
            return Ok(still.then(|| Error::corrupt("its series is not in the catalogue")));
        };
        let _held = self.memory.decode(chunk.decoding_bytes(), budget)?;
        let problem = match damage(self.fetch(chunk.id))? {
            Err(e) => Some(e),
            Ok(stored) => {
                let bytes = stored.len() as u64;
                body::load(&stored.as_slice(), chunk, Wanted::ALL)
                    .and_then(|loaded| {
                        chunk::begin(loaded, chunk, &series.measurement.types(), Wanted::ALL, &self.crew)
                    })
                    .and_then(chunk::Decoding::finish)
                    .and_then(|run| {
                        if bytes != u64::from(chunk.bytes) || run.size_bytes() as u64 != chunk.raw_bytes {
                            return Err(Error::corrupt("its sizes are not those of its row in the database"));
                        }
                        if !statistics::are_of(stats, &run)? {
                            return Err(Error::corrupt("its statistics do not agree with its values"));
                        }
                        Ok(())
                    })
                    .err()
            }
        };
        let Some(problem) = problem else { return Ok(None) };
        // Replaced meanwhile: then its data may be gone.
        if self.stored_stats(chunk)?.is_none() {
            return Ok(None);
        }
        if problem.message() != "its statistics do not agree with its values" {
            let mine = series.state().chunks.iter().find(|c| c.id == chunk.id).cloned();
            if let Some(mine) = mine {
                self.quarantine(series, &mine, &problem);
            }
        }
        Ok(Some(problem))
    }

    fn knows(&self, series: i64) -> bool {
        read(&self.catalog).all().any(|s| s.id == series)
    }

    /// Records that an earlier start could not read stay a fault until a backup is restored.
    fn verify_set_aside(&self, faults: &mut Vec<Fault>) -> Result<()> {
        let aside: Vec<(i64, String)> = self.db.read(|c| {
            let mut select = c.prepare_cached("SELECT seq, problem FROM quarantine ORDER BY id")?;
            Ok(select.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?)
        })?;
        faults.extend(aside.into_iter().map(|(seq, problem)| Fault {
            object: format!("log record {seq}"),
            problem: format!("{problem}; it was set aside when the store was opened"),
        }));
        Ok(())
    }
}

/// The catalogue as it is in the file: what it holds is in memory already.
#[derive(Default)]
struct Checking {
    measurements: HashSet<i64>,
}

impl Sink for Checking {
    fn measurement(&mut self, id: i64, _: &str, _: &str) -> Result<()> {
        self.measurements.insert(id);
        Ok(())
    }
    fn field(&mut self, measurement: i64, number: u32, _: &str, _: FieldType) -> Result<()> {
        tables::check_number(number)?;
        self.belongs(measurement)
    }
    fn series(&mut self, _: i64, measurement: i64, _: Vec<(String, String)>, _: Vec<u32>) -> Result<()> {
        self.belongs(measurement)
    }
}

impl Checking {
    fn belongs(&self, measurement: i64) -> Result<()> {
        if self.measurements.contains(&measurement) { Ok(()) } else { Err(tables::no_measurement()) }
    }
}

/// Damage is something to report; anything else ends the verification.
fn damage<T>(result: Result<T>) -> Result<Result<T>> {
    match result {
        Err(e) if e.kind() != Kind::Corrupt => Err(e),
        other => Ok(other),
    }
}

fn fault(object: String, e: &Error) -> Fault {
    Fault { object, problem: e.message().to_owned() }
}
