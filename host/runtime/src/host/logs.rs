//! `logs`

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::logs as wit;
use crate::state::State;
use shiphold_storage::logs::{Level, LogLine, LogPage, LogQuery};
use shiphold_storage::{Error, Result};

/// Lines of a page.
const PAGE_MAX: u32 = 1_000;
/// Bytes of the text that is looked for.
const TEXT_BYTES_MAX: usize = 4 << 10;

fn level_from_guest(level: wit::Level) -> Level {
    match level {
        wit::Level::Trace => Level::Trace,
        wit::Level::Debug => Level::Debug,
        wit::Level::Info => Level::Info,
        wit::Level::Warn => Level::Warn,
        wit::Level::Error => Level::Error,
        wit::Level::Fatal => Level::Fatal,
    }
}

fn level_to_guest(level: Level) -> wit::Level {
    match level {
        Level::Trace => wit::Level::Trace,
        Level::Debug => wit::Level::Debug,
        Level::Info => wit::Level::Info,
        Level::Warn => wit::Level::Warn,
        Level::Error => wit::Level::Error,
        Level::Fatal => wit::Level::Fatal,
    }
}

fn query(of: wit::Query, after: u64, limit: u32) -> Result<LogQuery> {
    if limit > PAGE_MAX {
        return Err(Error::limit(format!("a page of {limit} lines"), PAGE_MAX, "page with `after`"));
    }
    if let Some(text) = of.text.as_ref().filter(|t| t.len() > TEXT_BYTES_MAX) {
        return Err(Error::limit(
            format!("a text of {} bytes", text.len()),
            format!("{TEXT_BYTES_MAX} bytes"),
            "look for less of it",
        ));
    }
    Ok(LogQuery {
        from_ns: of.since,
        to_ns: of.until,
        level: of.level.map(level_from_guest),
        text: of.text,
        after,
        limit: limit.into(),
    })
}

fn line(l: LogLine) -> wit::Line {
    let level = l.level.and_then(Level::of).map(level_to_guest);
    wit::Line { number: l.number, time: l.time, level, text: l.text }
}

fn page(p: LogPage) -> wit::Page {
    wit::Page {
        lines: p.lines.into_iter().map(line).collect(),
        next: p.next,
        unreadable: u32::try_from(p.unreadable.len()).unwrap_or(u32::MAX),
    }
}

fn size(p: &wit::Page) -> usize {
    size_of_val(p) + p.lines.iter().map(|l| size_of_val(l) + l.text.len()).sum::<usize>()
}

impl wit::Host for State {
    async fn search(
        &mut self,
        stream: String,
        of: wit::Query,
        after: u64,
        limit: u32,
    ) -> wasmtime::Result<std::result::Result<wit::Page, Guest>> {
        self.takes(stream.len() + of.text.as_ref().map_or(0, String::len))?;
        let found = self
            .blocking(move |layer, caller, _| {
                layer.logs().search(caller, &stream, &query(of, after, limit)?).map(page)
            })
            .await?;
        self.gives(found.as_ref().map_or(0, size))?;
        Ok(found.map_err(|e| to_guest(&e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::Kind;

    #[test]
    fn what_is_looked_for_has_bounds() {
        let of = |bytes: usize| wit::Query {
            since: Some(1),
            until: Some(2),
            level: Some(wit::Level::Warn),
            text: Some("x".repeat(bytes)),
        };
        let most = query(of(TEXT_BYTES_MAX), 7, PAGE_MAX).unwrap();
        assert_eq!((most.from_ns, most.to_ns, most.after, most.limit), (Some(1), Some(2), 7, 1_000));
        assert_eq!(most.level, Some(Level::Warn));
        for (bytes, limit) in [(TEXT_BYTES_MAX + 1, 1), (1, PAGE_MAX + 1), (1, u32::MAX)] {
            assert_eq!(query(of(bytes), 0, limit).unwrap_err().kind(), Kind::Limit);
        }
    }

    #[test]
    fn a_level_goes_and_comes_back() {
        for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal] {
            assert_eq!(level_from_guest(level_to_guest(level)), level);
        }
    }
}
