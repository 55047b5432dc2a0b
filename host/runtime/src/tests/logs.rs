//! The import `logs`, as a guest's calls reach it.

use super::files::{kind, within};
use super::guest::{EMPTY, Guest};
use super::{Host, OP};
use crate::bindings::shiphold::host::logs::{Host as _, Level, Query};

const TABLES: &str = "[plugins.p.grants]\nlogs = { read = [\"trader\"] }\n[logs]\nstore = \"lines\"\n\
    [files.lines]\nkind = \"logs\"\n";
const ABOUT: &str = "[grants]\nlogs = { read = [\"*\"] }";

fn all() -> Query {
    Query { since: None, until: None, level: None, text: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_found_in_granted_streams_a_page_at_a_time() {
    let host = Host::new(&Guest::new(EMPTY).about(ABOUT), "", TABLES).await;
    let lines = b"2026-06-26T13:00:00Z info up\n2026-06-26T13:00:01Z error order refused\nplain order\n";
    host.layer.logs().push(&OP, "trader", lines).unwrap();
    host.layer.logs().push(&OP, "secret", b"key\n").unwrap();
    within(&host, |s| {
        Box::pin(async move {
            let first = s.search("trader".into(), all(), 0, 2).await.unwrap().unwrap();
            assert_eq!((first.lines.len(), first.next, first.unreadable), (2, Some(2), 0));
            assert_eq!((first.lines[1].level, first.lines[1].number), (Some(Level::Error), 2));
            let rest = s.search("trader".into(), all(), 2, 1_000).await.unwrap().unwrap();
            assert_eq!((rest.lines[0].text.as_str(), rest.lines[0].level), ("plain order", None));
            assert_eq!(rest.next, None);
            let order = Query { text: Some("order".into()), level: Some(Level::Warn), ..all() };
            let found = s.search("trader".into(), order, 0, 9).await.unwrap().unwrap();
            assert_eq!(found.lines.iter().map(|l| l.number).collect::<Vec<_>>(), [2]);
            assert_eq!(kind(s.search("trader".into(), all(), 0, 1_001).await.unwrap()), "limit");
            for stream in ["secret", "nowhere", "", "*", "trader\0", "../trader"] {
                let said = s.search(stream.into(), all(), 0, 9).await.unwrap();
                assert_eq!(kind(said), "denied", "{stream:?}");
            }
        })
    })
    .await
    .unwrap();
}
