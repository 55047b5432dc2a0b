//! Backups of a host before a server that answers badly, late or not at all.

use super::*;
use crate::series::influx::fake_server::{Asked, FakeServer, Reply};
use crate::series::model_engine::ModelEngine;

/// Where the rows of the one series are, which has one.
const ENDS: &str = "#datatype,string,long,dateTime:RFC3339,double,string,string,string\r\n\
    #group,false,false,false,false,true,true,true\r\n#default,_result,,,,,,\r\n\
    ,result,table,_time,_value,_field,_measurement,s\r\n\
    ,first,0,1970-01-01T00:00:00Z,1,v,m,A\r\n,last,1,1970-01-01T00:00:00Z,1,v,m,A\r\n\r\n";
/// How many they are.
const COUNTED: &str = "#datatype,string,long,long,string,string,string\r\n#group,false,false,false,true,true,true\r\n\
    #default,_result,,,,,\r\n,result,table,_value,_field,_measurement,s\r\n,count,0,1,v,m,A\r\n\r\n";
/// Its row.
const ROW: &str = "#datatype,string,long,dateTime:RFC3339,double,string,string,string\r\n\
    #group,false,false,false,false,true,true,true\r\n#default,_result,,,,,,\r\n\
    ,result,table,_time,_value,_field,_measurement,s\r\n,,0,1970-01-01T00:00:00Z,1,v,m,A\r\n\r\n";

fn healthy(asked: &Asked) -> Reply {
    if asked.line.contains("/buckets") {
        return Reply::http(200, "", r#"{"buckets":[{"id":"0f","name":"market","retentionRules":[]}]}"#);
    }
    let is = |word: &str| asked.body.contains(word);
    match (is("count()"), is("limit(n:"), is("last()")) {
        (true, ..) => Reply::http(200, "", &format!("{ENDS}{COUNTED}")),
        (_, true, _) => Reply::http(200, "", ROW),
        (.., true) => Reply::http(200, "", ENDS),
        _ => Reply::http(200, "", "\r\n"),
    }
}

/// What a sick server answers.
fn sick() -> Vec<fn() -> Reply> {
    let all: [fn() -> Reply; 9] = [
        || Reply::http(500, "", "{}"),
        || Reply::http(429, "Retry-After: 3600\r\n", "{}"),
        || Reply::http(503, "Retry-After: 0\r\n", "{}"),
        || Reply::http(401, "", "{}"),
        || Reply::http(200, "", "<html>a proxy</html>"),
        || Reply::Raw(b"garbage\r\n\r\n".to_vec()),
        || Reply::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{ROW}").into_bytes()),
        || Reply::Raw(Vec::new()),
        || Reply::Hang,
    ];
    all.to_vec()
}

/// A manifest over a server that is given up after 300 ms.
fn over(server: &FakeServer, dir: &Path) -> Manifest {
    std::fs::write(dir.join("token"), "t").unwrap();
    let text = format!(
        "[series]\nengine = \"influxdb2\"\n[series.influxdb2]\nurl = \"{}\"\norg = \"o\"\ntoken = \"influx\"\n\
         timeout = \"300 ms\"\n[secrets.influx]\nfile = \"token\"\n",
        server.url()
    );
    manifest(dir, &text)
}

#[test]
fn a_sick_server_gives_no_backup_and_a_well_one_does() {
    // Where it begins to be sick: the list of buckets, of series, the rows.
    for sick_from in ["/buckets", "count()", "limit(n:"] {
        for reply in sick() {
            let server = FakeServer::start(move |_, asked| {
                match asked.line.contains(sick_from) || asked.body.contains(sick_from) {
                    true => reply(),
                    false => healthy(asked),
                }
            });
            let dir = tempfile::tempdir().unwrap();
            let layer = DataLayer::open(&over(&server, dir.path())).unwrap();
            let to = dir.path().join("backup");
            let e = layer.export(&OP, &to, &mut |_, _| ()).unwrap_err();
            assert!(matches!(e.kind(), Kind::Unavailable | Kind::Unauthenticated), "{sick_from}: {e:?}");
            assert!(!to.exists() && !dir.path().join("backup.partial").exists(), "{sick_from}: {e:?}");
        }
    }
    let server = FakeServer::start(|n, asked| match n % 3 {
        // Busy now and then is no reason to fail.
        0 => Reply::http(429, "Retry-After: 0\r\n", "{}"),
        _ => healthy(asked),
    });
    let dir = tempfile::tempdir().unwrap();
    let layer = DataLayer::open(&over(&server, dir.path())).unwrap();
    let report = layer.export(&OP, &dir.path().join("backup"), &mut |_, _| ()).unwrap();
    assert_eq!(report.series_rows, 1);
}

#[test]
fn a_server_that_takes_no_rows_leaves_no_restored_folder() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "");
    let model = Arc::new(ModelEngine::default());
    model.write(bars("A", (0..10).map(|i| i * MINUTE))).unwrap();
    let (layer, _) = crate::layer::tests::layer_over(&m, Some(model));
    let backup = dir.path().join("backup");
    layer.export(&OP, &backup, &mut |_, _| ()).unwrap();
    drop(layer);
    let mut replies = sick();
    replies.push(|| {
        let said = "partial write: points beyond retention policy dropped=1";
        Reply::http(422, "", &format!(r#"{{"code":"x","message":"{said}"}}"#))
    });
    // It says that it took them, and has nothing.
    replies.push(|| Reply::http(204, "", ""));
    for reply in replies {
        let server = FakeServer::start(move |_, asked| match &asked.line {
            line if line.contains("/write") => reply(),
            line if line.contains("/buckets") => Reply::http(200, "", r#"{"buckets":[]}"#),
            _ => Reply::http(200, "", "\r\n"),
        });
        let m = over(&server, dir.path());
        let data = dir.path().join("restored");
        let e = restore(&backup, &data, Some(&m), false, &mut |_, _| ()).unwrap_err();
        let kinds = [Kind::Unavailable, Kind::Unauthenticated, Kind::Conflict, Kind::Corrupt];
        assert!(kinds.contains(&e.kind()) && e.hint_text().is_some(), "{e:?}");
        assert!(!data.exists() && !dir.path().join("restored.partial").exists(), "{e:?}");
    }
}
