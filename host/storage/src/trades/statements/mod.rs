//! Reconciliation: a broker's statement is compared with the record, what differs is listed and kept, and each difference is resolved by a
//! correction of the record, or by saying why ours stands.

mod compare;
mod read;

#[cfg(test)]
mod tests;

pub use compare::DifferenceKind;
pub use read::{LINES_MAX, Mapping, SKIP_LINES_MAX, STATEMENT_BYTES_MAX, Theirs, WORDS_MAX};

use super::types::{Batch, NewFill, PAGE_MAX};
use super::writing::{Writing, origin};
use super::{Trades, accounts, check, fills, instruments, lists};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use compare::{Ours, Pair};
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Differences of one statement: more of them mean that the mapping is wrong, or the account.
pub const DIFFERENCES_MAX: usize = 10_000;

/// A statement to compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewStatement {
    pub account: String,
    /// The file.
    pub csv: String,
    pub mapping: Mapping,
    /// The time that the statement is of, in nanoseconds, the end not in it; by default from its first trade to its last, with the
    /// tolerance around them.
    #[serde(default)]
    pub since: Option<i64>,
    #[serde(default)]
    pub until: Option<i64>,
}

/// A statement that was compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    /// Names it.
    pub seq: i64,
    pub since: i64,
    pub until: i64,
    /// Trades in it, and those that are the same here.
    pub lines: u64,
    pub matched: u64,
    pub differences: u64,
    /// Differences that were resolved.
    pub resolved: u64,
    pub recorded_at: i64,
    pub recorded_by: String,
}

/// How far from a trade of a statement, before and after it, one of ours is looked for that may be the same, in nanoseconds: a day.
const MEANWHILE_NS: i64 = 86_400 * 1_000_000_000;

/// What is different.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Within its statement, from 1.
    pub number: i64,
    pub kind: DifferenceKind,
    /// What the record had when they were compared.
    pub ours: Option<Value>,
    pub theirs: Option<Theirs>,
    pub resolved: Option<Resolution>,
}

/// How a difference was resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolution {
    pub seq: i64,
    pub action: Resolve,
    pub reason: String,
    pub recorded_at: i64,
    pub recorded_by: String,
}

/// Whose side is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolve {
    /// The broker's: the record is corrected.
    Theirs,
    /// Ours: the record stays.
    Ours,
}

impl Resolve {
    const fn word(self) -> &'static str {
        match self {
            Self::Theirs => "theirs",
            Self::Ours => "ours",
        }
    }
}

impl Trades {
    /// Compares a statement with the record and keeps what differs. Audited.
    pub fn compare_statement(&self, caller: &Caller, new: &NewStatement) -> Result<Statement> {
        caller.require(Scope::Write, "reconcile statements")?;
        let mut theirs = read::read(&new.csv, &new.mapping)?;
        let tolerance = new.mapping.tolerance_ns();
        let times = || theirs.iter().map(|t| t.time);
        let first = times().min().map(|t| t.saturating_sub(tolerance));
        let last = times().max().map(|t| t.saturating_add(tolerance).saturating_add(1));
        let (Some(since), Some(until)) = (new.since.or(first), new.until.or(last)) else {
            return Err(Error::invalid("the statement has no trades")
                .hint("give `since` and `until`: is there none in them?"));
        };
        if since > until {
            return Err(Error::invalid("`since` is after `until`").hint("the end is not in the time"));
        }
        let digest =
            blake3::hash(format!("{}\n{}", json!(new.mapping), new.csv).as_bytes()).to_hex().to_string();
        self.db.write(|tx| {
            let (account, _) = accounts::account(tx, &new.account)?;
            for one in &mut theirs {
                one.instrument = instruments::name_at(tx, &one.instrument, one.time)
                    .map_err(|e| e.context(format!("line {}", one.line)))?;
            }
            // A trade of the statement may be the same as one of ours beyond the time that it is of; what is missing there is not.
            let reach = (first.map_or(since, |t| t.min(since)), last.map_or(until, |t| t.max(until)));
            let ours = effective(tx, account, reach.0, reach.1)?;
            let (mut differences, matched) = compare::compare(ours, std::mem::take(&mut theirs), tolerance);
            differences.retain(|(_, ours, theirs)| match (ours, theirs) {
                (Some(ours), None) => (since..until).contains(&ours.fill.time),
                _ => true,
            });
            if differences.len() > DIFFERENCES_MAX {
                return Err(Error::limit(
                    format!("the {} differences of a statement", differences.len()),
                    DIFFERENCES_MAX,
                    "look at the mapping and the account, or import it in parts",
                ));
            }
            let theirs = differences.iter().filter(|(.., t)| t.is_some()).count() as u64;
            let lines = matched + theirs;
            let mut writing = Writing::begin(tx)?;
            let row = json!({ "account": new.account, "digest": digest, "since": since, "until": until, "differences": shown(&differences) });
            let seq = writing.row("statements", &row)?;
            tx.prepare_cached(
                "INSERT INTO trade_statements(seq, account, digest, since, until, lines, matched) VALUES (?1,?2,?3,?4,?5,?6,?7)",
            )?
            .execute((seq, account, &digest, since, until, lines.cast_signed(), matched.cast_signed()))?;
            for (number, (kind, ours, theirs)) in (1_i64..).zip(&differences) {
                insert(tx, seq, number, kind.word(), ours.as_ref(), theirs.as_ref())?;
            }
            let detail = json!({ "lines": lines, "matched": matched, "differences": differences.len(), "file": digest });
            writing.finish(caller, "trades.statement", format!("account:{}", new.account), detail)?;
            statement(tx, account, seq)
        })
    }

    /// Statements of an account, the newest first, those before a number.
    pub fn statements(
        &self,
        caller: &Caller,
        account: &str,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<Statement>> {
        caller.require(Scope::Read, "list statements")?;
        self.db.read(|c| {
            let (account, _) = accounts::account(c, account)?;
            let mut statement_of = c.prepare_cached(
                "SELECT seq FROM trade_statements WHERE account = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
            )?;
            let limit = limit.min(PAGE_MAX).cast_signed();
            let all = statement_of.query_map((account, before.unwrap_or(i64::MAX), limit), |r| r.get(0))?;
            all.map(|seq| statement(c, account, seq?)).collect()
        })
    }

    /// The differences of a statement; `open`: only those that are not resolved.
    pub fn differences(
        &self,
        caller: &Caller,
        account: &str,
        seq: i64,
        open: bool,
    ) -> Result<Vec<Difference>> {
        caller.require(Scope::Read, "list differences")?;
        self.db.read(|c| {
            let (account, _) = accounts::account(c, account)?;
            statement(c, account, seq)?;
            let mut found = c.prepare_cached(
                "SELECT number FROM trade_differences d WHERE statement = ?1
                   AND (NOT ?2 OR NOT EXISTS (SELECT 1 FROM trade_resolutions r WHERE r.statement = d.statement AND r.number = d.number))
                 ORDER BY number",
            )?;
            let numbers = found.query_map((seq, open), |r| r.get(0))?;
            numbers.map(|number| difference(c, seq, number?).map(|(d, _)| d)).collect()
        })
    }

    /// Resolves a difference: corrects the record as the broker has it, or says why ours stands. Audited with the correction, in one
    /// transaction. Refused where the fill was corrected since they were compared.
    pub fn resolve_difference(
        &self,
        caller: &Caller,
        account: &str,
        (seq, number): (i64, i64),
        action: Resolve,
        reason: &str,
    ) -> Result<Difference> {
        caller.require(Scope::Write, "reconcile statements")?;
        check::text("reason", Some(reason))?;
        let (found, compared) = self.db.read(|c| {
            let (id, _) = accounts::account(c, account)?;
            statement(c, id, seq)?;
            difference(c, seq, number)
        })?;
        if let Some(done) = &found.resolved {
            return Err(Error::conflict(format!(
                "difference {number} of statement {seq} is resolved already, by {}",
                done.recorded_by
            ))
            .hint("what was wrong about it is corrected by a fill that corrects"));
        }
        let id = format!("statement-{seq}-{number}");
        let fills = match action {
            Resolve::Ours => Vec::new(),
            Resolve::Theirs => vec![correction(&found, id.clone(), reason)?],
        };
        let batch = Batch { account: account.into(), fills, ..Batch::default() };
        self.record_as(caller, &batch, "trades.resolve", |writing, detail| {
            let tx = writing.tx;
            let (account, _) = accounts::account(tx, account)?;
            if let (Resolve::Theirs, None, Some(theirs)) = (action, compared, &found.theirs) {
                not_here_meanwhile(tx, account, seq, theirs, &id)?;
            }
            if let (Resolve::Theirs, Some(compared)) = (action, compared) {
                let of = fills::by_client_id(tx, account, &id)?.and_then(|f| f.supersedes);
                if of != Some(compared) {
                    return Err(Error::conflict("the fill was corrected since the statement was compared")
                        .hint("compare the statement again"));
                }
            }
            let row = json!({ "statement": seq, "number": number, "action": action, "reason": reason });
            let resolution = writing.row("resolutions", &row)?;
            tx.prepare_cached(
                "INSERT INTO trade_resolutions(seq, statement, number, action, reason) VALUES (?1,?2,?3,?4,?5)",
            )?
            .execute((resolution, seq, number, action.word(), reason))?;
            detail.insert("resolution".into(), row);
            Ok(())
        })?;
        self.db.read(|c| difference(c, seq, number).map(|(d, _)| d))
    }
}

/// What was missing when a statement was compared may have come since: from the trader, or by another comparison of the same file.
fn not_here_meanwhile(c: &Connection, account: i64, seq: i64, theirs: &Theirs, made: &str) -> Result<()> {
    let own = format!("statement-{seq}-");
    let (since, until) = (theirs.time.saturating_sub(MEANWHILE_NS), theirs.time.saturating_add(MEANWHILE_NS));
    let there = effective(c, account, since, until)?.into_iter().find(|ours| {
        let f = &ours.fill;
        let named =
            theirs.id.as_ref().is_some_and(|id| f.broker_id.as_ref() == Some(id) || f.client_id == *id);
        let alike = (&f.instrument, f.side, f.quantity, f.price)
            == (&theirs.instrument, theirs.side, theirs.quantity, theirs.price);
        f.client_id != made && (named || (alike && ours.seq > seq && !f.client_id.starts_with(&own)))
    });
    there.map_or(Ok(()), |ours| {
        let id = ours.fill.client_id;
        Err(Error::conflict(format!(
            "fill `{id}` of the same trade was recorded since the statement was compared"
        ))
        .hint("compare the statement again"))
    })
}

/// The row that makes the record as the broker has it.
fn correction(found: &Difference, client_id: String, reason: &str) -> Result<NewFill> {
    let ours: Option<NewFill> = match &found.ours {
        None => None,
        Some(ours) => Some(
            serde_json::from_value(ours.clone())
                .map_err(|e| Error::corrupt(format!("a difference cannot be read: {e}")))?,
        ),
    };
    let reason = Some(reason.to_string());
    match (ours, &found.theirs) {
        (None, Some(theirs)) => Ok(NewFill {
            client_id,
            instrument: theirs.instrument.clone(),
            side: theirs.side,
            quantity: theirs.quantity,
            price: theirs.price,
            fee: theirs.fee.unwrap_or_default(),
            time: theirs.time,
            order: None,
            broker_id: theirs.id.clone(),
            corrects: None,
            void: false,
            reason,
        }),
        (Some(ours), None) => {
            Ok(NewFill { corrects: Some(ours.client_id.clone()), client_id, void: true, reason, ..ours })
        }
        (Some(ours), Some(theirs)) => Ok(NewFill {
            corrects: Some(ours.client_id.clone()),
            client_id,
            instrument: theirs.instrument.clone(),
            side: theirs.side,
            quantity: theirs.quantity,
            price: theirs.price,
            fee: theirs.fee.unwrap_or(ours.fee),
            broker_id: theirs.id.clone().or(ours.broker_id),
            void: false,
            reason,
            ..ours
        }),
        (None, None) => Err(Error::corrupt("a difference has neither side")),
    }
}

fn shown(differences: &[Pair]) -> Vec<Value> {
    let one = |(kind, ours, theirs): &Pair| json!({ "kind": kind, "ours": ours.as_ref().map(|o| o.seq), "theirs": theirs });
    differences.iter().map(one).collect()
}

fn insert(
    c: &Connection,
    statement: i64,
    number: i64,
    kind: &str,
    ours: Option<&Ours>,
    theirs: Option<&Theirs>,
) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO trade_differences(statement, number, kind, fill, fill_seq, ours, theirs) VALUES (?1,?2,?3,?4,?5,?6,?7)",
    )?
    .execute((
        statement,
        number,
        kind,
        ours.map(|o| &o.fill.client_id),
        ours.map(|o| o.seq),
        ours.map(|o| json!(o.fill).to_string()),
        theirs.map(|t| json!(t).to_string()),
    ))?;
    Ok(())
}

/// Fills of an account that count, within a time.
fn effective(c: &Connection, account: i64, since: i64, until: i64) -> Result<Vec<Ours>> {
    let mut found = c.prepare_cached(
        "SELECT f.client_id FROM trade_positions p JOIN trade_fills f ON f.account = p.account AND f.instrument = p.instrument
         WHERE p.account = ?1 AND f.time >= ?2 AND f.time < ?3 AND f.void = 0
           AND NOT EXISTS (SELECT 1 FROM trade_fills s WHERE s.supersedes = f.seq) LIMIT ?4",
    )?;
    // As many as there may be lines, and as many differences.
    let most = (LINES_MAX + DIFFERENCES_MAX) as i64;
    let ids = found
        .query_map((account, since, until, most + 1), |r| r.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if ids.len() as i64 > most {
        return Err(Error::limit("the fills within the time of a statement", most, "compare a shorter time"));
    }
    ids.iter()
        .map(|id| {
            let stored = fills::by_client_id(c, account, id)?
                .ok_or_else(|| Error::internal(format!("fill `{id}` went while it was read")))?;
            let seq = stored.seq;
            Ok(Ours { seq, fill: lists::shown(c, account, stored)?.fill })
        })
        .collect()
}

fn statement(c: &Connection, account: i64, seq: i64) -> Result<Statement> {
    let row = c
        .prepare_cached(
            "SELECT since, until, lines, matched, (SELECT count(*) FROM trade_differences d WHERE d.statement = s.seq),
                    (SELECT count(*) FROM trade_resolutions r WHERE r.statement = s.seq)
             FROM trade_statements s WHERE seq = ?1 AND account = ?2",
        )?
        .query_row((seq, account), |r| {
            let count = |at: usize| r.get::<_, i64>(at).map(i64::unsigned_abs);
            Ok((r.get(0)?, r.get(1)?, count(2)?, count(3)?, count(4)?, count(5)?))
        })
        .optional()?;
    let Some((since, until, lines, matched, differences, resolved)) = row else {
        return Err(Error::not_found(format!("this account has no statement {seq}"))
            .hint("`shiphold trades statement list ACCOUNT` shows them"));
    };
    let (recorded_at, recorded_by) = origin(c, seq)?;
    Ok(Statement { seq, since, until, lines, matched, differences, resolved, recorded_at, recorded_by })
}

type DifferenceRow = (String, Option<i64>, Option<String>, Option<String>);

/// A difference, and the version of our fill that was compared.
fn difference(c: &Connection, statement: i64, number: i64) -> Result<(Difference, Option<i64>)> {
    let row: Option<DifferenceRow> = c
        .prepare_cached(
            "SELECT kind, fill_seq, ours, theirs FROM trade_differences WHERE statement = ?1 AND number = ?2",
        )?
        .query_row((statement, number), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .optional()?;
    let Some((kind, fill_seq, ours, theirs)) = row else {
        return Err(Error::not_found(format!("statement {statement} has no difference {number}"))
            .hint("`shiphold trades statement show` lists them"));
    };
    let torn =
        |e: serde_json::Error| Error::corrupt(format!("difference {number} of statement {statement}: {e}"));
    let resolved = c
        .prepare_cached(
            "SELECT seq, action, reason FROM trade_resolutions WHERE statement = ?1 AND number = ?2",
        )?
        .query_row((statement, number), |r| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?)))
        .optional()?;
    let resolved = match resolved {
        None => None,
        Some((seq, action, reason)) => {
            let (recorded_at, recorded_by) = origin(c, seq)?;
            let action = if action == Resolve::Ours.word() { Resolve::Ours } else { Resolve::Theirs };
            Some(Resolution { seq, action, reason, recorded_at, recorded_by })
        }
    };
    let found = Difference {
        number,
        kind: DifferenceKind::read(&kind).ok_or_else(|| {
            Error::corrupt(format!("difference {number} of statement {statement} is of no kind"))
        })?,
        ours: ours.as_deref().map(serde_json::from_str).transpose().map_err(torn)?,
        theirs: theirs.as_deref().map(serde_json::from_str).transpose().map_err(torn)?,
        resolved,
    };
    Ok((found, fill_seq))
}
