//! Who listens: told of rows from a moment on, and of those that were there before it.

use super::SeriesStore;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::series::tail::{self, History, Tail, Wanted};
use crate::series::{Budget, Selector, SeriesInfo, TimeRange};

impl SeriesStore {
    /// Hears of every row that is written to the series of a pattern from now on; with `from`, beside that the rows from that
    /// time on that are there now, and none of them twice. With InfluxDB as the engine a row that is written while those are
    /// read may come with them too.
    pub fn tail(
        &self,
        caller: &Caller,
        bucket: Option<&str>,
        measurement: &str,
        from: Option<i64>,
        budget: &Budget,
    ) -> Result<(Tail, History)> {
        let bucket = bucket.unwrap_or(&self.bucket).to_string();
        if measurement.is_empty() {
            return Err(Error::invalid("nothing says which series to listen to")
                .hint("give a measurement, such as `bar.1m.*`; `*` means every one"));
        }
        caller.may_read_series(&bucket, measurement)?;
        self.pass()?;
        let wanted = Wanted { bucket, measurement: measurement.into(), caller: caller.clone() };
        let history = || match from {
            Some(from) => self.history(&wanted, from, budget),
            None => Ok(History::new()),
        };
        let tails = self.recorder.tails();
        // A scan of the embedded engine is of the moment at which it begins; InfluxDB is asked when rows are taken, and must not
        // keep writers waiting.
        if self.engine.capabilities().maintained_here {
            tails
                .listen(wanted.clone(), history)
                .map(|(tail, rows)| (tail.showing(self.scales.clone()), rows))
        } else {
            let (tail, ()) = tails.listen(wanted.clone(), || Ok(()))?;
            Ok((tail.showing(self.scales.clone()), history()?))
        }
    }

    fn history(&self, wanted: &Wanted, from: i64, budget: &Budget) -> Result<History> {
        let of = Selector {
            bucket: Some(wanted.bucket.clone()),
            measurement: Some(wanted.measurement.clone()),
            tags: Vec::new(),
        };
        let range = TimeRange { start: from, end: i64::MAX };
        let mut series = self.engine.choose(&of, budget)?;
        series.retain(|info| info.max_time.is_some_and(|t| t >= from) && wanted.takes(&info.key));
        if series.len() > tail::HISTORY_SERIES_MAX {
            return Err(Error::limit(
                format!("the history of {} series", series.len()),
                format!("{} series", tail::HISTORY_SERIES_MAX),
                "choose fewer with the pattern, or leave `from` out",
            ));
        }
        let open = |info: SeriesInfo| {
            let rows = self.engine.scan(&info.key, range, None, budget)?;
            Ok((info.key, rows))
        };
        series.into_iter().map(open).collect()
    }
}
