//! Where the outbox delivers to.

use super::super::types::{self, Fields, RefusedRows};
use super::super::{InfluxEngine, Sent};
use crate::error::{Error, Kind, Result};
use crate::series::{Budget, SeriesEngine, WriteBatch};
use std::time::Duration;

/// What became of a delivery.
#[derive(Debug)]
pub(in crate::series::influx) enum Delivery {
    /// All of it is stored.
    Stored,
    /// Refused for good. `rows`: which rows of each series; the others are stored. `None`: it cannot be told which.
    Refused { why: String, rows: Option<RefusedRows> },
    /// Nothing is known to be stored; `after`: when the server asks to be asked again.
    Later { error: Error, after: Option<Duration> },
}

/// A server of series: what is asked of it beside the questions of every engine.
pub(in crate::series::influx) trait Target: Send + Sync + std::fmt::Debug {
    fn engine(&self) -> &dyn SeriesEngine;
    /// The fields of measurements and their types, as they are stored; makes the bucket where it may.
    fn types(&self, bucket: &str, measurements: &[&str]) -> Result<Vec<Fields>>;
    /// Stores a batch in one try. `checked`: its types were compared with what is stored.
    fn deliver(&self, batch: &WriteBatch, checked: bool, budget: &Budget) -> Delivery;
}

impl Target for InfluxEngine {
    fn engine(&self) -> &dyn SeriesEngine {
        self
    }

    fn types(&self, bucket: &str, measurements: &[&str]) -> Result<Vec<Fields>> {
        self.load_types(bucket, measurements)
    }

    fn deliver(&self, batch: &WriteBatch, checked: bool, budget: &Budget) -> Delivery {
        let fits = match checked {
            true => None,
            false => match self.refusals(batch) {
                Ok(refusals) => refusals,
                Err(e) => return of_error(e, None),
            },
        };
        let (mut why, rows) = fits.unzip();
        let mut doubt = false;
        let sent =
            self.send_batch(batch, rows.as_deref().unwrap_or_default(), &mut |bucket, request| match self
                .send_once(bucket, &request, budget)?
            {
                Sent::Stored => Ok(()),
                Sent::Busy { error, after } => Err((error, after)),
                Sent::Partly { said, .. } => {
                    (why, doubt) = (Some(said), true);
                    Ok(())
                }
            });
        match (sent, why) {
            (Err((error, after)), _) => of_error(error, after),
            (Ok(()), None) => Delivery::Stored,
            (Ok(()), Some(why)) if !doubt => Delivery::Refused { why, rows },
            // The server counts only; what it holds now tells which rows do not fit.
            (Ok(()), Some(why)) => {
                let rows = self.refusals(batch).ok().flatten().map(|(_, rows)| rows);
                Delivery::Refused { why, rows }
            }
        }
    }
}

/// An outage passes, and what an operator can mend waits for it; what is wrong with the rows themselves does not pass.
fn of_error(error: Error, after: Option<Duration>) -> Delivery {
    match error.kind() {
        Kind::Invalid | Kind::Limit => Delivery::Refused { why: error.to_string(), rows: None },
        Kind::NotFound if error.message().contains("has no bucket") => {
            Delivery::Refused { why: error.to_string(), rows: None }
        }
        _ => Delivery::Later { error, after },
    }
}

impl InfluxEngine {
    /// The rows of a batch that conflict with the types that the server has now, and the first conflict in words.
    fn refusals(&self, batch: &WriteBatch) -> Result<Option<(String, RefusedRows)>> {
        for (key, _) in &batch.series {
            self.types.forget(&key.bucket, &key.measurement);
        }
        let admitted = self.types.admit(batch, |bucket, measurements| {
            Ok(types::Loaded::asked(self.load_types(bucket, measurements)?))
        })?;
        let conflict = admitted.conflicts.first().map(|c| {
            format!(
                "the field `{}` of {}/{} is {}, InfluxDB has it as {}",
                c.field, c.bucket, c.measurement, c.got, c.have
            )
        });
        Ok(conflict.map(|why| (why, admitted.refused)))
    }
}
