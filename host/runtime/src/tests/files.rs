//! The import `files`, as a guest's calls reach it.

use super::guest::{EMPTY, Guest};
use super::{Host, OP};
use crate::bindings::shiphold::host::files::{Host as _, HostReader as _, HostWriter as _, Label};
use crate::bindings::shiphold::host::state_types::Expect;
use crate::call::Session;
use crate::host::error::Guest as Said;
use crate::state::State;
use shiphold_storage::Result;
use shiphold_storage::files::{FromData, FromSkill, Provenance, PutOptions};
use std::pin::Pin;
use wasmtime::component::Resource;

const TABLES: &str = "[plugins.p.grants.files]\nread = [\"box/*\"]\nwrite = [\"box/in/*\"]\ndelete = [\"box/in/*\"]\n\
    [files.box]\nkind = \"objects\"\nquota = \"3 MiB\"\n[files.shut]\nkind = \"objects\"\n";
const ABOUT: &str = "[grants.files]\nread = [\"*\"]\nwrite = [\"*\"]\ndelete = [\"*\"]";

async fn host() -> Host {
    Host::new(&Guest::new(EMPTY).about(ABOUT), "", TABLES).await
}

pub(super) type Work = for<'a> fn(&'a mut State) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One call, in which the host functions are called as a guest calls them.
pub(super) async fn within(host: &Host, work: Work) -> Result<()> {
    let mut session = Session::open(&host.plugins.loaded("p"), &host.layer).await?;
    let call = session.call(
        |()| 0,
        move |store, _, _| {
            Box::pin(async move {
                work(store.data_mut()).await;
                Ok(Ok(()))
            })
        },
    );
    call.await
}

pub(super) type Outcome<T> = std::result::Result<T, Said>;

async fn put(s: &mut State, store: &str, path: &str, parts: &[Vec<u8>]) -> Outcome<u64> {
    let writer = s.create(store.into(), path.into(), "text/plain".into()).await.unwrap()?;
    let rep = writer.rep();
    let mut done = Ok(());
    for part in parts {
        done = s.write(Resource::new_borrow(rep), part.clone()).await.unwrap();
        if done.is_err() {
            break;
        }
    }
    let stored = match done {
        Ok(()) => s.finish(Resource::new_borrow(rep)).await.unwrap(),
        Err(e) => Err(e),
    };
    HostWriterDrop::drop(s, writer).await;
    Ok(stored?.version)
}

/// The two `drop`s have one name.
struct HostWriterDrop;

impl HostWriterDrop {
    async fn drop(s: &mut State, writer: Resource<crate::host::files::Writer>) {
        crate::bindings::shiphold::host::files::HostWriter::drop(s, writer).await.unwrap();
    }
}

async fn get(s: &mut State, path: &str, offset: u64, step: u32) -> Outcome<Vec<u8>> {
    let reader = s.open("box".into(), path.into(), None, offset).await.unwrap()?;
    let mut all = Vec::new();
    loop {
        let part = s.read(Resource::new_borrow(reader.rep()), step).await.unwrap()?;
        assert!(part.len() <= (step as usize).clamp(1, 1 << 20));
        if part.is_empty() {
            return Ok(all);
        }
        all.extend(part);
    }
}

pub(super) fn kind<T: std::fmt::Debug>(said: Outcome<T>) -> &'static str {
    match said.unwrap_err() {
        Said::Invalid(_) => "invalid",
        Said::NotFound(_) => "not-found",
        Said::Denied(_) => "denied",
        Said::Limit(_) => "limit",
        Said::Conflict(_) => "conflict",
        Said::Timeout(_) => "timeout",
        Said::Unavailable(_) => "unavailable",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_in_parts_is_read_in_parts_from_any_byte() {
    let host = host().await;
    within(&host, |s| {
        Box::pin(async move {
            let parts = [vec![1; 1 << 20], vec![2; 5], Vec::new()];
            assert_eq!(put(s, "box", "in/a", &parts).await.unwrap(), 1);
            assert_eq!(put(s, "box", "in/a", &[b"two".to_vec()]).await.unwrap(), 2, "a version more");
            assert_eq!(get(s, "in/a", 0, 2).await.unwrap(), b"two");
            assert_eq!(get(s, "in/a", 1, 100).await.unwrap(), b"wo");
            assert_eq!(get(s, "in/a", 3, 100).await.unwrap(), b"", "at its size");
            assert_eq!(kind(get(s, "in/a", 4, 100).await), "invalid");
            let first = s.open("box".into(), "in/a".into(), Some(1), 0).await.unwrap().unwrap();
            let step = s.read(Resource::new_borrow(first.rep()), u32::MAX).await.unwrap().unwrap();
            assert_eq!(step.len(), 1 << 20, "at most a mebibyte a call");
            let listed = s.list("box".into(), "in/".into(), None, 10).await.unwrap().unwrap();
            assert_eq!((listed.len(), listed[0].version, listed[0].size), (1, 2, 3));
            s.remove("box".into(), "in/a".into()).await.unwrap().unwrap();
            assert_eq!(kind(s.remove("box".into(), "in/a".into()).await.unwrap()), "not-found");
        })
    })
    .await
    .unwrap();
    let gone = host.layer.files().list(&OP, "box", "", None, 10).unwrap();
    assert!(gone.is_empty(), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_where_no_grant_leads() {
    let host = host().await;
    host.layer.files().put(&OP, "box", "out/b", &mut &b"x"[..], Default::default()).unwrap();
    within(&host, |s| {
        Box::pin(async move {
            let part = [b"x".to_vec()];
            for (store, path) in [("box", "out/b"), ("shut", "in/a"), ("none", "in/a"), ("box", "in")] {
                assert_eq!(kind(put(s, store, path, &part).await), "denied", "{store}/{path}");
                assert_eq!(
                    kind(s.remove(store.into(), path.into()).await.unwrap()),
                    "denied",
                    "{store}/{path}"
                );
            }
            for path in ["in/../out/b", "in//b", "in/..", "in/a\0b", "in/con", "in/a\\b", "in/./b", "in/ "] {
                assert_eq!(kind(put(s, "box", path, &part).await), "invalid", "{path:?}");
                assert_eq!(kind(s.remove("box".into(), path.into()).await.unwrap()), "invalid", "{path:?}");
                assert!(matches!(kind(get(s, path, 0, 1).await), "invalid" | "not-found"), "{path:?}");
            }
            assert_eq!(get(s, "out/b", 0, 9).await.unwrap(), b"x", "what may be read");
            assert_eq!(kind(s.list("shut".into(), String::new(), None, 10).await.unwrap()), "denied");
        })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_hold_and_what_is_not_finished_leaves_nothing() {
    let host = host().await;
    within(&host, |s| {
        Box::pin(async move {
            assert_eq!(kind(put(s, "box", "in/a", &[vec![0; (1 << 20) + 1]]).await), "limit");
            // Over the quota of the store: refused, and the rest of it still holds.
            let quota = kind(put(s, "box", "in/big", &vec![vec![3; 1 << 20]; 4]).await);
            assert_eq!(quota, "limit", "the store's quota");
            let mut open = Vec::new();
            for i in 0..16 {
                let created = s.create("box".into(), format!("in/{i}"), "text/plain".into()).await.unwrap();
                open.push(created.unwrap());
            }
            assert_eq!(
                kind(s.create("box".into(), "in/16".into(), "text/plain".into()).await.unwrap()),
                "limit"
            );
            let last = open.pop().unwrap();
            s.write(Resource::new_borrow(last.rep()), b"half".to_vec()).await.unwrap().unwrap();
            HostWriterDrop::drop(s, last).await;
            s.create("box".into(), "in/16".into(), "text/plain".into()).await.unwrap().unwrap();
            // Finished once and no more.
            let rep = open[0].rep();
            s.finish(Resource::new_borrow(rep)).await.unwrap().unwrap();
            assert_eq!(kind(s.finish(Resource::new_borrow(rep)).await.unwrap()), "invalid");
            assert_eq!(kind(s.write(Resource::new_borrow(rep), b"x".to_vec()).await.unwrap()), "invalid");
        })
    })
    .await
    .unwrap();
    let there: Vec<String> =
        host.layer.files().list(&OP, "box", "", None, 100).unwrap().into_iter().map(|f| f.path).collect();
    assert_eq!(there, ["in/0"]);
    host.layer.verify(&OP, &mut |_| ()).unwrap();
}

async fn set_label(s: &mut State, name: &str, path: &str, expect: Expect) -> Outcome<Label> {
    s.set_label("box".into(), name.into(), path.into(), None, expect).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_is_followed_and_set_within_the_grants() {
    let host = host().await;
    let files = host.layer.files();
    files.put(&OP, "box", "out/b", &mut &b"x"[..], PutOptions::default()).unwrap();
    files.set_label(&OP, "box", "theirs", ("out/b", None), shiphold_storage::settings::Expect::Any).unwrap();
    within(&host, |s| {
        Box::pin(async move {
            assert_eq!(put(s, "box", "in/a", &[b"one".to_vec()]).await.unwrap(), 1);
            assert_eq!(kind(s.find_label("box".into(), "mine".into()).await.unwrap()), "not-found");
            let set = set_label(s, "mine", "in/a", Expect::Absent).await.unwrap();
            assert_eq!((set.revision, set.version, set.set_by.as_str()), (1, 1, "plugin:p"));
            put(s, "box", "in/a", &[b"two".to_vec()]).await.unwrap();
            let found = s.find_label("box".into(), "mine".into()).await.unwrap().unwrap();
            assert_eq!((found.path.as_str(), found.version), ("in/a", 1), "it stays where it was put");
            assert_eq!(kind(set_label(s, "mine", "in/a", Expect::Absent).await), "conflict");
            assert_eq!(set_label(s, "mine", "in/a", Expect::Revision(1)).await.unwrap().version, 2);
            // What it may read it may follow, and not change.
            let theirs = s.find_label("box".into(), "theirs".into()).await.unwrap().unwrap();
            assert_eq!((theirs.path.as_str(), theirs.set_by.as_str()), ("out/b", "operator"));
            assert_eq!(kind(set_label(s, "theirs", "in/a", Expect::Any).await), "denied");
            assert_eq!(kind(set_label(s, "mine", "out/b", Expect::Any).await), "denied");
            assert_eq!(
                kind(s.remove_label("box".into(), "theirs".into(), Expect::Any).await.unwrap()),
                "denied"
            );
            for name in ["", "Mine", "a/b", "../x", "a\0", "\u{202e}"] {
                assert_eq!(kind(set_label(s, name, "in/a", Expect::Any).await), "invalid", "{name:?}");
                assert_eq!(kind(s.find_label("box".into(), name.into()).await.unwrap()), "invalid");
            }
            for store in ["shut", "none", "", "box/in"] {
                assert_eq!(kind(s.find_label(store.into(), "mine".into()).await.unwrap()), "denied");
                assert_eq!(kind(s.labels(store.into(), None, 9).await.unwrap()), "denied");
            }
            let names = |all: Vec<Label>| all.into_iter().map(|l| l.label).collect::<Vec<_>>();
            let all = s.labels("box".into(), None, u32::MAX).await.unwrap().unwrap();
            assert_eq!(names(all), ["mine", "theirs"]);
            assert_eq!(names(s.labels("box".into(), None, 1).await.unwrap().unwrap()), ["mine"]);
            let next = s.labels("box".into(), Some("mine".into()), 1).await.unwrap().unwrap();
            assert_eq!(names(next), ["theirs"]);
            // A dry run changes nothing.
            s.errand.dry_run = true;
            assert_eq!(kind(set_label(s, "mine", "in/a", Expect::Any).await), "denied");
            assert_eq!(
                kind(s.remove_label("box".into(), "mine".into(), Expect::Any).await.unwrap()),
                "denied"
            );
            assert_eq!(kind(put(s, "box", "in/a", &[b"three".to_vec()]).await), "denied");
            assert_eq!(kind(s.remove("box".into(), "in/a".into()).await.unwrap()), "denied");
            s.errand.dry_run = false;
            assert_eq!(
                kind(s.remove("box".into(), "in/a".into()).await.unwrap()),
                "conflict",
                "it has a label"
            );
            s.remove_label("box".into(), "mine".into(), Expect::Revision(2)).await.unwrap().unwrap();
            s.remove("box".into(), "in/a".into()).await.unwrap().unwrap();
        })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_says_what_it_was_made_of() {
    let host = host().await;
    let provenance = Provenance {
        skill: Some(FromSkill { name: "momentum".into(), version: "1.4.0".into() }),
        data: vec![FromData { measurement: "bar.1m.A".into(), from_ns: 1, to_ns: 9 }],
    };
    let options = PutOptions {
        media_type: Some("text/plain".into()),
        metadata: serde_json::json!({ "loss": "0.1" }),
        provenance,
    };
    host.layer.files().put(&OP, "box", "out/b", &mut &b"x"[..], options).unwrap();
    host.layer.files().put(&OP, "box", "out/b", &mut &b"yy"[..], PutOptions::default()).unwrap();
    within(&host, |s| {
        Box::pin(async move {
            let first = s.describe("box".into(), "out/b".into(), Some(1)).await.unwrap().unwrap();
            assert_eq!(
                (first.info.version, first.info.size, first.media_type.as_str()),
                (1, 1, "text/plain")
            );
            assert_eq!(
                (first.metadata.as_str(), first.created_by.as_str()),
                ("{\"loss\":\"0.1\"}", "operator")
            );
            assert_eq!(first.provenance.skill, Some(("momentum".into(), "1.4.0".into())));
            let data = &first.provenance.data[0];
            assert_eq!((data.measurement.as_str(), data.start, data.end), ("bar.1m.A", 1, 9));
            let newest = s.describe("box".into(), "out/b".into(), None).await.unwrap().unwrap();
            assert!(newest.info.version == 2 && newest.provenance.skill.is_none(), "{newest:?}");
            assert!(newest.provenance.data.is_empty() && newest.metadata == "{}", "{newest:?}");
            assert_eq!(kind(s.describe("box".into(), "out/b".into(), Some(3)).await.unwrap()), "not-found");
            assert_eq!(kind(s.describe("shut".into(), "out/b".into(), None).await.unwrap()), "denied");
            assert_eq!(kind(s.describe("box".into(), "out/../b".into(), None).await.unwrap()), "invalid");
        })
    })
    .await
    .unwrap();
}
