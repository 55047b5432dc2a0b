//! Whatever text comes in: it is a value, and never part of a statement, a pattern, a path or a question's syntax.

use super::tests::{layer_over, manifest};
use super::*;
use crate::audit::AuditFilter;
use crate::caller::Scope;
use crate::error::Kind;
use crate::files::PutOptions;
use crate::settings::Expect;
use crate::skills::{NewProvenance, NewVersion, SkillFilter, SkillQuery};
use crate::state::{Save, Which};
use proptest::prelude::*;
use serde_json::json;
use std::io::Read as _;

const OP: Caller = Caller::Operator;
/// More than any list here has.
const ALL: u64 = 1_000;

/// Pieces that mean something to SQL, to a pattern, to a path, to a JSON pointer or to full text.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = vec![
        "'",
        "''",
        "\"",
        "`",
        ";",
        "--",
        "/*",
        "%",
        "_",
        "*",
        "?",
        "?1",
        ":a",
        "@a",
        "$.a",
        "[",
        "]",
        "(",
        ")",
        "\\",
        "/",
        "..",
        "~0",
        "~1",
        "\0",
        "\n",
        "\u{202e}",
        "\u{feff}",
        "\u{10ffff}",
        " OR 1=1",
        "); DROP TABLE audit",
        " NEAR ",
        " AND ",
        "NULL",
        "x",
        "a",
        "z",
        "skill:",
        "settings.",
        "models",
        "e\u{301}",
        "均值",
        "возврат",
        "औसत",
    ];
    let piece = prop_oneof![4 => prop::sample::select(pieces).prop_map(String::from), 1 => "\\PC{0,3}"];
    prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

fn layer() -> (tempfile::TempDir, Arc<DataLayer>) {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), "[files.models]\nkind = \"models\""), None).0;
    for name in ["x", "z"] {
        layer.skills().put(&OP, new(name, &["a"])).unwrap();
        layer.settings().set(&OP, "a", name, json!(name), Expect::Any).unwrap();
        layer.state().save(&OP, name, &mut name.as_bytes(), Save::default()).unwrap();
        layer.files().put(&OP, "models", name, &mut name.as_bytes(), PutOptions::default()).unwrap();
    }
    (dir, layer)
}

fn new(name: &str, tags: &[&str]) -> NewVersion {
    NewVersion {
        name: name.into(),
        language: "python".into(),
        code: "x".into(),
        tags: tags.iter().map(|t| (*t).into()).collect(),
        ..NewVersion::default()
    }
}

/// What was asked for, or `None` if the text was refused for what it is, or is taken.
fn fair<T>(answer: Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(e) => {
            assert!(
                matches!(e.kind(), Kind::Invalid | Kind::NotFound | Kind::Limit | Kind::Conflict),
                "{e:?}"
            );
            None
        }
    }
}

/// What the tables are called and made of.
fn schema(layer: &DataLayer) -> String {
    let sql = "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name)";
    layer.database().read(|c| Ok(c.query_row(sql, [], |r| r.get(0))?)).unwrap()
}

/// Reads by the text are what a plain comparison says.
fn ask(layer: &DataLayer, text: &str) {
    let entries = |filter: AuditFilter| {
        let filter = AuditFilter { limit: Some(ALL), ..filter };
        layer.audit().list(&OP, &filter).unwrap().into_iter().map(|e| e.seq).collect::<Vec<_>>()
    };
    let all = layer.audit().list(&OP, &AuditFilter { limit: Some(ALL), ..AuditFilter::default() }).unwrap();
    let those = |fits: &dyn Fn(&crate::audit::AuditEntry) -> bool| {
        all.iter().filter(|e| fits(e)).map(|e| e.seq).collect::<Vec<_>>()
    };
    let said = Some(text.to_string());
    assert_eq!(
        entries(AuditFilter { object: said.clone(), ..AuditFilter::default() }),
        those(&|e| e.object.starts_with(text))
    );
    assert_eq!(
        entries(AuditFilter { action: said.clone(), ..AuditFilter::default() }),
        those(&|e| e.action.starts_with(text))
    );
    assert_eq!(
        entries(AuditFilter { actor: said.clone(), ..AuditFilter::default() }),
        those(&|e| e.actor == text)
    );
    assert_eq!(entries(AuditFilter { request: said.clone(), ..AuditFilter::default() }), [0_i64; 0]);

    let listed = |filter: SkillFilter| {
        let filter = SkillFilter { limit: Some(ALL), ..filter };
        layer.skills().list(&OP, &filter).unwrap().into_iter().map(|s| s.name).collect::<Vec<_>>()
    };
    let names = listed(SkillFilter::default());
    let beyond: Vec<String> = names.iter().filter(|n| n.as_str() > text).cloned().collect();
    assert_eq!(listed(SkillFilter { after: said.clone(), ..SkillFilter::default() }), beyond);
    let tagged = listed(SkillFilter { tag: said.clone(), ..SkillFilter::default() });
    assert!(tagged.iter().all(|n| layer.skills().get(&OP, n, None).unwrap().tags.iter().any(|t| t == text)));
    assert!(
        text == "python"
            || listed(SkillFilter { language: said.clone(), ..SkillFilter::default() }).is_empty()
    );
    let got = fair(layer.skills().get(&OP, text, None));
    assert!(got.is_none_or(|s| s.name == text));
    let resolved = fair(layer.skills().resolve(&OP, text, None));
    assert!(resolved.is_none_or(|all| all.last().unwrap().name == text));
    let question =
        |query: SkillQuery| fair(layer.skills().search(&OP, &query)).map_or(0, |answer| answer.total);
    question(SkillQuery { text: text.into(), explain: true, facets: true, ..SkillQuery::default() });
    let by = |query: SkillQuery| question(SkillQuery { text: "x z".into(), ..query });
    let has = |n: u64, is: bool| assert!(is || n == 0, "{n} are found by {text:?}");
    has(by(SkillQuery { tags: vec![text.into()], ..SkillQuery::default() }), !tagged.is_empty());
    has(by(SkillQuery { language: said.clone(), ..SkillQuery::default() }), text == "python");
    has(by(SkillQuery { by: said.clone(), ..SkillQuery::default() }), text == "operator");

    for (namespace, key) in [("a", text), (text, "x"), (text, text)] {
        if let Some(s) = fair(layer.settings().get(&OP, namespace, key, None)) {
            assert_eq!((s.namespace.as_str(), s.key.as_str()), (namespace, key));
        }
        let history = layer.settings().history(&OP, namespace, key, None, ALL).unwrap();
        assert!(history.iter().all(|s| s.namespace == namespace && s.key == key));
    }
    let keys = |after: Option<&str>| {
        layer.settings().list(&OP, "a", after, None).unwrap().into_iter().map(|s| s.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(Some(text)), keys(None).into_iter().filter(|k| k.as_str() > text).collect::<Vec<_>>());

    let loaded = fair(layer.state().load(&OP, text, Which::Newest));
    assert!(loaded.is_none_or(|(c, _)| c.strategy == text));
    let history = fair(layer.state().history(&OP, text, None, ALL));
    assert!(history.is_none_or(|all| all.iter().all(|c| c.strategy == text)));
    let strategies = layer.state().list(&OP, Some(text), ALL).unwrap();
    assert!(strategies.iter().all(|c| c.strategy.as_str() > text));

    let files = |prefix: &str| {
        layer
            .files()
            .list(&OP, "models", prefix, None, ALL)
            .unwrap()
            .into_iter()
            .map(|f| f.path)
            .collect::<Vec<_>>()
    };
    let wanted: Vec<String> = files("").into_iter().filter(|p| p.starts_with(text)).collect();
    assert_eq!(files(text), wanted);
    assert!(fair(layer.files().stat(&OP, "models", text, None)).is_none_or(|f| f.path == text));
    assert!(text == "models" || fair(layer.files().stat(&OP, text, "x", None)).is_none());
}

/// What is stored under the text, or with it, is there under it and as it was.
fn store(layer: &DataLayer, text: &str) {
    if let Some(put) = fair(layer.skills().put(&OP, new(text, &[]))) {
        assert_eq!(layer.skills().get(&OP, text, None).unwrap(), put);
    }
    let said = NewVersion {
        code: format!("# {text}"),
        description: text.into(),
        metadata: json!({ text: { text: text } }),
        provenance: NewProvenance { prompt: Some(text.into()), ..NewProvenance::default() },
        ..new("said", &["a", text])
    };
    for said in [said.clone(), NewVersion { tags: Vec::new(), ..said }] {
        if let Some(put) = fair(layer.skills().put(&OP, said.clone())) {
            let got = layer.skills().get(&OP, "said", None).unwrap();
            assert_eq!(got, put);
            assert_eq!(
                (&got.code, &got.description, &got.metadata),
                (&said.code, &said.description, &said.metadata)
            );
            assert_eq!(got.provenance.prompt, said.provenance.prompt);
        }
    }
    for (namespace, key) in [("b", text), (text, "x")] {
        if fair(layer.settings().set(&OP, namespace, key, json!({ text: text }), Expect::Any)).is_some() {
            let got = layer.settings().get(&OP, namespace, key, None).unwrap();
            assert_eq!(got.value, Some(json!({ text: text })));
        }
    }
    if fair(layer.state().save(&OP, text, &mut text.as_bytes(), Save::default())).is_some() {
        let mut got = String::new();
        layer.state().load(&OP, text, Which::Newest).unwrap().1.read_to_string(&mut got).unwrap();
        assert_eq!(got, text);
    }
    let put = layer.files().put(&OP, "models", text, &mut text.as_bytes(), PutOptions::default());
    if fair(put).is_some() {
        let mut got = String::new();
        layer.files().get(&OP, "models", text, None, None).unwrap().1.read_to_string(&mut got).unwrap();
        assert_eq!(got, text);
    }
    if let Some((made, secret)) = fair(layer.tokens().create(&OP, text, Scope::Read, None)) {
        assert_eq!(made.name, text);
        assert_eq!(layer.tokens().authenticate(&secret).unwrap().actor(), format!("token:{text}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_text_is_a_value_wherever_it_goes(texts in prop::collection::vec(hostile(), 1..4)) {
        let (_dir, layer) = layer();
        let before = schema(&layer);
        for text in &texts {
            ask(&layer, text);
            store(&layer, text);
            ask(&layer, text);
        }
        prop_assert_eq!(schema(&layer), before);
        prop_assert_eq!(layer.audit().verify(&OP).unwrap().broken, None);
        prop_assert_eq!(layer.settings().get(&OP, "a", "z", None).unwrap().value, Some(json!("z")));
    }
}
