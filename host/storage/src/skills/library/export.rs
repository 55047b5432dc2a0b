//! All there is, written down.

use super::super::store::{Skills, may_read, read_by_id};
use super::super::{Performance, provenance};
use super::LibraryCounts;
use super::lines::{
    CurrentLine, End, FORMAT, Head, Line, Origin, PerformanceLine, SkillLine, StatusLine, VersionLine,
};
use super::pack::{Pack, packed};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use rusqlite::{Connection, Row};
use std::io::Write;

/// Rows of one transaction.
const PAGE_ROWS: i64 = 1_000;
/// Bytes of code and prompts that are held at once; one version may have more.
const PAGE_BYTES: usize = 4 << 20;

/// The last rows that there were at the beginning.
#[derive(Debug, Clone, Copy)]
struct Last {
    skills: i64,
    versions: i64,
    statuses: i64,
    currents: i64,
    performance: i64,
}

/// Writes lines, and counts and digests them.
struct Writer<'w> {
    out: &'w mut dyn Write,
    hasher: blake3::Hasher,
    counts: LibraryCounts,
}

impl Skills {
    /// Writes the whole library as one file, as it was when it began, however long that takes.
    pub fn export(&self, caller: &Caller, pack: Pack, out: &mut dyn Write) -> Result<LibraryCounts> {
        may_read(caller)?;
        packed(pack, out, |out| {
            let hasher = blake3::Hasher::new();
            let mut writer = Writer { out, hasher, counts: LibraryCounts::default() };
            let by = concat!("shiphold ", env!("CARGO_PKG_VERSION")).to_string();
            writer.raw(&Line::Library(Head { format: FORMAT, exported_at: now_ns(), by }))?;
            self.lines(&mut writer)?;
            let Writer { hasher, counts, .. } = &writer;
            let end = End { counts: *counts, blake3: hasher.finalize().to_hex().to_string() };
            writer.raw(&Line::End(end))?;
            Ok(writer.counts)
        })
    }

    fn lines(&self, to: &mut Writer<'_>) -> Result<()> {
        let last = self.db.read(last)?;
        self.pages(to, last.skills, |c, after, until| {
            rows(
                c,
                "SELECT id, name, created_at, uses, last_used FROM skills WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
                (after, until),
                |r| {
                    Ok(Line::Skill(SkillLine {
                        name: r.get(1)?,
                        created_at: r.get(2)?,
                        uses: r.get::<_, i64>(3)?.unsigned_abs(),
                        last_used: r.get(4)?,
                    }))
                },
            )
        })?;
        self.pages(to, last.versions, versions)?;
        self.pages(to, last.statuses, |c, after, until| {
            rows(
                c,
                "SELECT t.id, t.version_id, t.status, t.reason, t.set_at, t.set_by FROM skill_statuses t
                 WHERE t.id > ?1 AND t.id <= ?2 ORDER BY t.id LIMIT ?3",
                (after, until),
                |r| {
                    let of = provenance::named(c, r.get(1)?)?;
                    Ok(Line::Status(StatusLine {
                        name: of.name,
                        version: of.version,
                        status: r.get(2)?,
                        reason: r.get(3)?,
                        set_at: r.get(4)?,
                        set_by: r.get(5)?,
                    }))
                },
            )
        })?;
        self.pages(to, last.currents, |c, after, until| {
            rows(
                c,
                "SELECT h.id, h.version_id, h.since, h.set_by FROM skill_currents h
                 WHERE h.id > ?1 AND h.id <= ?2 ORDER BY h.id LIMIT ?3",
                (after, until),
                |r| {
                    let of = provenance::named(c, r.get(1)?)?;
                    Ok(Line::Current(CurrentLine {
                        name: of.name,
                        version: of.version,
                        since: r.get(2)?,
                        set_by: r.get(3)?,
                    }))
                },
            )
        })?;
        self.pages(to, last.performance, |c, after, until| {
            rows(
                c,
                "SELECT p.id, p.version_id, p.period_start, p.period_end, p.returns, p.sharpe, p.win_rate, p.max_drawdown, p.samples,
                        p.recorded_at, p.recorded_by
                 FROM skill_performance p WHERE p.id > ?1 AND p.id <= ?2 ORDER BY p.id LIMIT ?3",
                (after, until),
                |r| {
                    let of = provenance::named(c, r.get(1)?)?;
                    Ok(Line::Performance(PerformanceLine {
                        name: of.name,
                        version: of.version,
                        performance: Performance {
                            period_start: r.get(2)?,
                            period_end: r.get(3)?,
                            returns: r.get(4)?,
                            sharpe: r.get(5)?,
                            win_rate: r.get(6)?,
                            max_drawdown: r.get(7)?,
                            samples: r.get::<_, i64>(8)?.unsigned_abs(),
                        },
                        recorded_at: r.get(9)?,
                        recorded_by: r.get(10)?,
                    }))
                },
            )
        })
    }

    /// Rows up to a number, a page a transaction: whoever takes the lines may be slow.
    fn pages(
        &self,
        to: &mut Writer<'_>,
        until: i64,
        read: impl Fn(&Connection, i64, i64) -> Result<Vec<(i64, Line)>>,
    ) -> Result<()> {
        let mut after = 0;
        loop {
            let page = self.db.read(|c| read(c, after, until))?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            page.iter().try_for_each(|(_, line)| to.line(line))?;
        }
    }
}

fn last(c: &Connection) -> Result<Last> {
    let of = |table: &str| -> Result<i64> {
        let sql = format!("SELECT coalesce(max(id), 0) FROM {table}");
        Ok(c.prepare_cached(&sql)?.query_row([], |r| r.get(0))?)
    };
    Ok(Last {
        skills: of("skills")?,
        versions: of("skill_versions")?,
        statuses: of("skill_statuses")?,
        currents: of("skill_currents")?,
        performance: of("skill_performance")?,
    })
}

fn rows(
    c: &Connection,
    sql: &str,
    (after, until): (i64, i64),
    mut line: impl FnMut(&Row<'_>) -> Result<Line>,
) -> Result<Vec<(i64, Line)>> {
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query((after, until, PAGE_ROWS))?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push((row.get(0)?, line(row)?));
    }
    Ok(out)
}

fn versions(c: &Connection, after: i64, until: i64) -> Result<Vec<(i64, Line)>> {
    let mut statement =
        c.prepare_cached("SELECT id FROM skill_versions WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")?;
    let mut rows = statement.query((after, until, PAGE_ROWS))?;
    let (mut out, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let v = read_by_id(c, id)?;
        bytes += v.code.len() + v.provenance.prompt.as_ref().map_or(0, String::len);
        let p = v.provenance;
        let line = VersionLine {
            name: v.name,
            version: v.version,
            hash: v.hash,
            language: v.language,
            code: v.code,
            description: v.description,
            tags: v.tags,
            metadata: v.metadata,
            depends: v.depends,
            provenance: Origin { author: p.author, parent: p.parent, prompt: p.prompt, run: p.run },
            created_at: v.created_at,
            created_by: v.created_by,
        };
        out.push((id, Line::Version(Box::new(line))));
        if bytes > PAGE_BYTES {
            break;
        }
    }
    Ok(out)
}

impl Writer<'_> {
    fn raw(&mut self, line: &Line) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec(line)
            .map_err(|e| Error::internal(format!("writing a line of a library: {e}")))?;
        text.push(b'\n');
        self.out.write_all(&text).map_err(|e| Error::io("writing the library", e))?;
        Ok(text)
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let text = self.raw(line)?;
        self.hasher.update(&text);
        let count = match line {
            Line::Skill(_) => &mut self.counts.skills,
            Line::Version(_) => &mut self.counts.versions,
            Line::Status(_) => &mut self.counts.statuses,
            Line::Current(_) => &mut self.counts.currents,
            Line::Performance(_) => &mut self.counts.performance,
            Line::Library(_) | Line::End(_) => return Ok(()),
        };
        *count += 1;
        Ok(())
    }
}
