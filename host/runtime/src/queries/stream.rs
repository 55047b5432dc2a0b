//! An answer as it is made: batch by batch, to a caller who takes them in time.

use shiphold_storage::series::query::{Joined, Table};
use shiphold_storage::series::{Budget, Frame};
use shiphold_storage::{Error, Kind, Result};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a caller may leave a batch untaken.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Where the batches of an answer go.
pub(crate) struct Sender {
    to: mpsc::Sender<Result<Part>>,
    begun: bool,
    /// How long the caller let us wait.
    waited: Duration,
}

enum Part {
    Rows(Frame),
    End { truncated: bool },
}

impl Sender {
    /// The first batch goes out even if it has columns only: it says which.
    pub(super) async fn rows(&mut self, frame: Frame, budget: &Budget) -> Result<()> {
        if frame.is_empty() && (self.begun || frame.columns.is_empty()) {
            return Ok(());
        }
        self.begun = true;
        self.send(Ok(Part::Rows(frame)), budget).await
    }

    async fn send(&mut self, part: Result<Part>, budget: &Budget) -> Result<()> {
        let begin = Instant::now();
        let deadline = budget.deadline.map_or_else(|| begin + SILENCE_MAX, |d| d.min(begin + SILENCE_MAX));
        let sent = tokio::time::timeout_at(deadline.into(), self.to.send(part)).await;
        self.waited += begin.elapsed();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(Error::new(Kind::Timeout, "the answer was not taken in time")
                .hint("read on as it comes, or raise `limits.query_time` in shiphold.toml")),
        }
    }
}

/// The answer of a named query as it is made: batches of rows, each with the columns of the first.
pub struct Batches {
    from: mpsc::Receiver<Result<Part>>,
    ended: Option<bool>,
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Batches {
    /// Runs `work` on a task of its own; `done` is told whether it went well, and how long it took without waiting for the
    /// caller. Dropping the batches ends the work.
    pub(crate) fn of<F>(
        work: impl FnOnce(Sender) -> F,
        budget: Budget,
        done: impl FnOnce(bool, Duration) + Send + 'static,
    ) -> Self
    where
        F: Future<Output = (Sender, Result<bool>)> + Send + 'static,
    {
        let (to, from) = mpsc::channel(1);
        let begin = Instant::now();
        let work = work(Sender { to, begun: false, waited: Duration::ZERO });
        tokio::spawn(async move {
            let (mut to, result) = work.await;
            done(result.is_ok(), begin.elapsed().saturating_sub(to.waited));
            let _ = to.send(result.map(|truncated| Part::End { truncated }), &budget).await;
        });
        Self { from, ended: None }
    }

    fn took(&mut self, part: Option<Result<Part>>) -> Option<Result<Frame>> {
        match part {
            Some(Ok(Part::Rows(frame))) => Some(Ok(frame)),
            Some(Ok(Part::End { truncated })) => {
                self.ended = Some(truncated);
                None
            }
            Some(Err(e)) => {
                self.ended = Some(false);
                Some(Err(e))
            }
            None if self.ended.is_some() => None,
            // No half of an answer is taken for a whole one.
            None => {
                self.ended = Some(false);
                Some(Err(Error::internal("the query ended in a fault of the host")))
            }
        }
    }

    /// The next batch; nothing after the last, or after an error.
    pub async fn next(&mut self) -> Option<Result<Frame>> {
        let part = self.from.recv().await;
        self.took(part)
    }

    /// [`Batches::next`] on a thread that may block.
    pub fn next_blocking(&mut self) -> Option<Result<Frame>> {
        let part = self.from.blocking_recv();
        self.took(part)
    }

    /// After the last batch: were there more rows than the query's limit?
    pub fn truncated(&self) -> bool {
        self.ended == Some(true)
    }

    /// All of it.
    pub async fn table(mut self) -> Result<Table> {
        let mut joined = Joined::default();
        while let Some(frame) = self.next().await {
            joined.add(frame?).map_err(Error::internal)?;
        }
        Ok(Table { frame: joined.frame, truncated: self.truncated(), next: None })
    }
}

pub(super) fn gone() -> Error {
    Error::new(Kind::Cancelled, "nobody takes the answer any more")
}
