//! `commits`

use super::convert::{frame_from_guest, key_from_guest, size_of_frame, size_of_key};
use super::error::{Guest, to_guest};
use super::state::{
    checkpoint_to_guest, expect_from_guest, metadata_from_guest, short, size_of_checkpoint, size_of_new,
};
use super::units;
use crate::bindings::shiphold::host::commits as wit;
use crate::bindings::shiphold::host::state_types::NewCheckpoint;
use crate::state::State;
use shiphold_storage::commits::{
    Commit, CommitCheckpoint, CommitFile, CommitPerformance, CommitSkill, Committed, ExpectSkill, as_base64,
};
use shiphold_storage::series::{Frame, SeriesKey, WriteBatch};
use shiphold_storage::settings::SettingWrite;
use shiphold_storage::skills::{NewProvenance, NewVersion, Parent, Performance, Status, Version, VersionReq};
use shiphold_storage::{DataLayer, Error, Result};
use std::collections::BTreeMap;

/// What a text costs beside its bytes.
const TEXT_BYTES: usize = size_of::<String>();

fn text(t: &str) -> usize {
    t.len() + TEXT_BYTES
}

fn maybe(t: Option<&String>) -> usize {
    t.map_or(0, |t| t.len()) + TEXT_BYTES
}

/// Bytes of a unit of work.
fn size(work: &wit::UnitOfWork) -> usize {
    let skill = |s: &wit::NewSkill| {
        let texts = [&s.name, &s.language, &s.code, &s.description].map(|t| text(t)).iter().sum::<usize>();
        let tags = s.tags.iter().map(|t| text(t)).sum::<usize>();
        let depends = s.depends.iter().map(|(name, range)| text(name) + text(range)).sum::<usize>();
        let p = &s.provenance;
        let from = [&p.author, &p.prompt, &p.run].map(|t| maybe(t.as_ref())).iter().sum::<usize>();
        let parent = p.parent.as_ref().map_or(0, |p| maybe(p.name.as_ref()) + text(&p.version));
        texts + tags + depends + from + parent + maybe(s.version.as_ref()) + maybe(s.metadata.as_ref())
    };
    let performance = |p: &wit::Performance| size_of_val(p) + text(&p.skill) + maybe(p.version.as_ref());
    let file = |f: &wit::NewFile| {
        text(&f.store)
            + text(&f.path)
            + f.content.len()
            + maybe(f.media_type.as_ref())
            + maybe(f.metadata.as_ref())
    };
    let setting = |s: &wit::Setting| text(&s.namespace) + text(&s.key) + maybe(s.value.as_ref());
    let rows = |r: &wit::Rows| size_of_key(&r.key) + size_of_frame(&r.frame);
    maybe(work.idempotency_key.as_ref())
        + work.skills.iter().map(skill).sum::<usize>()
        + work.performance.iter().map(performance).sum::<usize>()
        + work.files.iter().map(file).sum::<usize>()
        + work.settings.iter().map(setting).sum::<usize>()
        + work.series.iter().map(rows).sum::<usize>()
        + work.state.iter().map(size_of_new).sum::<usize>()
}

fn version(of: &str, text: &str) -> Result<Version> {
    Version::parse(text)
        .map_err(|e| Error::invalid(format!("`{}` is no version of `{of}`: {e}", text.escape_debug())))
}

fn status(s: wit::Status) -> Status {
    match s {
        wit::Status::Active => Status::Active,
        wit::Status::Draft => Status::Draft,
        wit::Status::Retired => Status::Retired,
    }
}

fn provenance(of: &str, p: wit::Provenance) -> Result<NewProvenance> {
    let parent = p.parent.map(|p| {
        let version = version(p.name.as_deref().unwrap_or(of), &p.version)?;
        Ok::<_, Error>(Parent { name: p.name, version })
    });
    let mut made = NewProvenance::default();
    (made.author, made.parent, made.prompt, made.run) = (p.author, parent.transpose()?, p.prompt, p.run);
    Ok(made)
}

fn skill(s: wit::NewSkill) -> Result<CommitSkill> {
    let name = s.name;
    let what = format!("skill `{}`", name.escape_debug());
    let mut depends = BTreeMap::new();
    for (on, range) in s.depends {
        let shown = on.escape_debug().to_string();
        let range = VersionReq::parse(&range).map_err(|e| {
            Error::invalid(format!(
                "{what} depends on `{shown}` in `{}`, which is no range: {e}",
                range.escape_debug()
            ))
        })?;
        if depends.insert(on, range).is_some() {
            return Err(Error::invalid(format!("{what} depends on `{shown}` twice"))
                .hint("give one range of versions for each skill"));
        }
    }
    Ok(CommitSkill {
        expect: match s.expect {
            wit::ExpectSkill::Any => ExpectSkill::Any,
            wit::ExpectSkill::Absent => ExpectSkill::Absent,
            wit::ExpectSkill::Version(v) => ExpectSkill::Version(version(&name, &v)?),
        },
        skill: NewVersion {
            version: s.version.map(|v| version(&name, &v)).transpose()?,
            language: s.language,
            code: s.code,
            description: s.description,
            tags: s.tags,
            metadata: metadata_from_guest(&what, s.metadata.as_ref())?,
            depends,
            status: s.status.map(status),
            provenance: provenance(&name, s.provenance)?,
            name,
        },
    })
}

fn performance(p: wit::Performance) -> Result<CommitPerformance> {
    Ok(CommitPerformance {
        version: p.version.map(|v| version(&p.skill, &v)).transpose()?,
        skill: p.skill,
        performance: Performance {
            period_start: p.period_start,
            period_end: p.period_end,
            returns: p.returns,
            sharpe: p.sharpe,
            win_rate: p.win_rate,
            max_drawdown: p.max_drawdown,
            samples: p.samples,
        },
    })
}

fn file(f: wit::NewFile) -> Result<CommitFile> {
    let what = format!("the file `{}/{}`", f.store.escape_debug(), f.path.escape_debug());
    short(&what, f.content.len())?;
    Ok(CommitFile {
        metadata: metadata_from_guest(&what, f.metadata.as_ref())?,
        store: f.store,
        path: f.path,
        text: None,
        base64: Some(as_base64(&f.content)),
        media_type: f.media_type,
        expect: expect_from_guest(f.expect),
    })
}

fn setting(s: wit::Setting) -> Result<SettingWrite> {
    let value = s.value.map(|text| {
        serde_json::from_str(&text).map_err(|e| {
            let (namespace, key) = (s.namespace.escape_debug(), s.key.escape_debug());
            Error::invalid(format!("the value of setting `{namespace}/{key}` is not JSON: {e}"))
        })
    });
    Ok(SettingWrite {
        value: value.transpose()?,
        namespace: s.namespace,
        key: s.key,
        expect: expect_from_guest(s.expect),
    })
}

fn rows(layer: &DataLayer, r: wit::Rows) -> Result<(SeriesKey, Frame)> {
    let (key, mut frame) = (key_from_guest(r.key)?, frame_from_guest(r.frame)?);
    units::from_units(&mut frame, &|field| layer.series().scale(&key, field))?;
    Ok((key, frame))
}

fn checkpoint(c: NewCheckpoint) -> Result<CommitCheckpoint> {
    let what = format!("the checkpoint of strategy `{}`", c.strategy.escape_debug());
    short(&what, c.content.len())?;
    Ok(CommitCheckpoint {
        metadata: metadata_from_guest(&what, c.metadata.as_ref())?,
        strategy: c.strategy,
        text: None,
        base64: Some(as_base64(&c.content)),
        media_type: c.media_type,
        expect: expect_from_guest(c.expect),
    })
}

fn from_guest(layer: &DataLayer, work: wit::UnitOfWork) -> Result<Commit> {
    Ok(Commit {
        idempotency_key: work.idempotency_key,
        skills: work.skills.into_iter().map(skill).collect::<Result<_>>()?,
        performance: work.performance.into_iter().map(performance).collect::<Result<_>>()?,
        files: work.files.into_iter().map(file).collect::<Result<_>>()?,
        settings: work.settings.into_iter().map(setting).collect::<Result<_>>()?,
        series: Vec::new(),
        state: work.state.into_iter().map(checkpoint).collect::<Result<_>>()?,
        rows: WriteBatch { series: work.series.into_iter().map(|r| rows(layer, r)).collect::<Result<_>>()? },
    })
}

fn made_to_guest(done: Committed) -> wit::Committed {
    wit::Committed {
        id: done.id,
        made_at: done.made_at,
        skills: done
            .skills
            .into_iter()
            .map(|s| wit::SkillMade { name: s.name, version: s.version.to_string() })
            .collect(),
        files: done
            .files
            .into_iter()
            .map(|f| wit::FileMade {
                store: f.store,
                path: f.path,
                version: f.version,
                blake3: f.blake3,
                size: f.size,
            })
            .collect(),
        settings: done
            .settings
            .into_iter()
            .map(|s| wit::SettingMade { namespace: s.namespace, key: s.key, revision: s.revision })
            .collect(),
        rows: done.rows,
        state: done.state.into_iter().map(checkpoint_to_guest).collect(),
        replayed: done.replayed,
    }
}

/// Bytes of what was made.
fn size_of_made(done: &wit::Committed) -> usize {
    let file = |f: &wit::FileMade| text(&f.store) + text(&f.path) + text(&f.blake3) + size_of_val(f);
    size_of_val(done)
        + done.skills.iter().map(|s| text(&s.name) + text(&s.version)).sum::<usize>()
        + done.files.iter().map(file).sum::<usize>()
        + done.settings.iter().map(|s| text(&s.namespace) + text(&s.key) + size_of_val(s)).sum::<usize>()
        + done.state.iter().map(size_of_checkpoint).sum::<usize>()
}

impl wit::Host for State {
    async fn make(
        &mut self,
        work: wit::UnitOfWork,
    ) -> wasmtime::Result<std::result::Result<wit::Committed, Guest>> {
        self.takes(size(&work))?;
        if let Err(e) = self.may_write() {
            return Ok(Err(to_guest(&e)));
        }
        let made =
            self.blocking(move |layer, caller, _| layer.commit(caller, &from_guest(layer, work)?)).await?;
        let made = made.map(made_to_guest);
        self.gives(made.as_ref().map_or(0, size_of_made))?;
        Ok(made.map_err(|e| to_guest(&e)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::CONTENT_BYTES_MAX;
    use super::*;
    use crate::bindings::shiphold::host::state_types::Expect;
    use shiphold_storage::Kind;

    fn new_skill() -> wit::NewSkill {
        wit::NewSkill {
            name: "pullback".into(),
            version: Some("1.2.0".into()),
            language: "python".into(),
            code: "pass".into(),
            description: "buys dips".into(),
            tags: vec!["dip".into()],
            metadata: Some("{\"n\":1}".into()),
            depends: vec![("sma".into(), "^1".into()), ("ema".into(), "*".into())],
            status: Some(wit::Status::Draft),
            provenance: wit::Provenance {
                author: Some("model".into()),
                parent: Some(wit::Parent { name: Some("dips".into()), version: "2.0.0".into() }),
                prompt: Some("buy dips".into()),
                run: Some("r7".into()),
            },
            expect: wit::ExpectSkill::Version("1.1.0".into()),
        }
    }

    #[test]
    fn a_skill_comes_as_it_was_given() {
        let made = skill(new_skill()).unwrap();
        assert_eq!(made.expect, ExpectSkill::Version(Version::new(1, 1, 0)));
        let depends =
            [("ema".to_string(), VersionReq::STAR), ("sma".into(), VersionReq::parse("^1").unwrap())];
        let mut from = NewProvenance::default();
        let parent = Parent { name: Some("dips".into()), version: Version::new(2, 0, 0) };
        (from.author, from.parent) = (Some("model".into()), Some(parent));
        (from.prompt, from.run) = (Some("buy dips".into()), Some("r7".into()));
        let expected = NewVersion {
            name: "pullback".into(),
            version: Some(Version::new(1, 2, 0)),
            language: "python".into(),
            code: "pass".into(),
            description: "buys dips".into(),
            tags: vec!["dip".into()],
            metadata: serde_json::json!({ "n": 1 }),
            depends: depends.into(),
            status: Some(Status::Draft),
            provenance: from,
        };
        assert_eq!(made.skill, expected);
    }

    #[test]
    fn what_is_wrong_in_a_skill_is_named() {
        type Spoil = fn(&mut wit::NewSkill);
        let wrong: [(Spoil, &str); 6] = [
            (|s| s.version = Some("1".into()), "`1` is no version of `pullback`"),
            (|s| s.expect = wit::ExpectSkill::Version("x".into()), "`x` is no version of `pullback`"),
            (
                |s| s.provenance.parent = Some(wit::Parent { name: None, version: "old".into() }),
                "`old` is no version of `pullback`",
            ),
            (|s| s.metadata = Some("{".into()), "the metadata of skill `pullback` is not JSON"),
            (|s| s.depends[1].1 = "newest".into(), "depends on `ema` in `newest`, which is no range"),
            (|s| s.depends[1].0 = "sma".into(), "depends on `sma` twice"),
        ];
        for (spoil, words) in wrong {
            let mut s = new_skill();
            spoil(&mut s);
            let e = skill(s).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.message().contains(words), "{words}: {e:?}");
        }
    }

    #[test]
    fn content_has_a_bound() {
        let of = |bytes: usize| wit::NewFile {
            store: "models".into(),
            path: "m".into(),
            content: vec![0; bytes],
            media_type: None,
            metadata: None,
            expect: Expect::Any,
        };
        let most = file(of(CONTENT_BYTES_MAX)).unwrap();
        assert_eq!(most.base64.map(|b| b.len()), Some(CONTENT_BYTES_MAX.div_ceil(3) * 4));
        let e = file(of(CONTENT_BYTES_MAX + 1)).unwrap_err();
        assert!(e.kind() == Kind::Limit && e.message().contains("`models/m`"), "{e:?}");
    }
}
