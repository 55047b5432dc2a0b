//! A query builder that is wrong in as many ways as it has queries. `config.describe` spoils even their list.

wit_bindgen::generate!({ world: "query-builder-plugin", path: "../../wit" });

use exports::shiphold::host::query_builder::{Frame, Guest, NamedQuery, Param, ParamType};
use shiphold::host::config;
use shiphold::host::types::{Column, Error, Values};

struct Askew;

/// A query that is right, of what the plugin may read.
const GOOD: &str = r#"{"bucket":"market","measurement":"bar.1m.AAPL","fields":["close"]}"#;

const NAMES: [&str; 12] = [
    "good",
    "beyond",
    "everything",
    "nonsense",
    "unknown-key",
    "loops",
    "traps",
    "refuses",
    "other-columns",
    "infinite",
    "lies",
    "shouts",
];

impl Guest for Askew {
    fn describe() -> Result<Vec<NamedQuery>, Error> {
        let config = config::get();
        if config.contains("\"refuses\"") {
            return Err(Error::Unavailable("no queries today".into()));
        }
        if config.contains("\"loops\"") {
            spin();
        }
        let mut all: Vec<NamedQuery> = NAMES.iter().map(|name| query(name)).collect();
        if config.contains("\"twice\"") {
            all.push(query("good"));
        }
        if config.contains("\"many\"") {
            all.extend((0..64).map(|i| query(&format!("q{i}"))));
        }
        Ok(all)
    }

    fn build(name: String, params: String) -> Result<String, Error> {
        match name.as_str() {
            "beyond" => Ok(GOOD.replace("bar.1m.AAPL", "tick.AAPL")),
            "everything" => Ok(GOOD.replace("bar.1m.AAPL", "*")),
            "nonsense" => Ok("SELECT * FROM bars".into()),
            "unknown-key" => Ok(GOOD.replace("fields", "felds")),
            "loops" => spin(),
            "traps" => panic!("on purpose"),
            "refuses" => Err(Error::Invalid(format!("not with {params}\u{1b}[2J"))),
            "shouts" => Ok("x".repeat(64 << 20)),
            _ => Ok(GOOD.into()),
        }
    }

    fn transform(name: String, _params: String, mut batch: Frame, last: bool) -> Result<Frame, Error> {
        match name.as_str() {
            "other-columns" if last => {
                for column in &mut batch.columns {
                    column.name.push('2');
                }
            }
            "infinite" => batch.columns = vec![floats("x", vec![f64::INFINITY; batch.times.len()])],
            "lies" => batch.columns = vec![floats("x", vec![1.0; batch.times.len() + 1])],
            _ => {}
        }
        Ok(batch)
    }
}

fn query(name: &str) -> NamedQuery {
    NamedQuery {
        name: name.into(),
        description: format!("Is called {name}."),
        params: vec![Param {
            name: "n".into(),
            type_: ParamType::Integer,
            required: false,
            description: "A number.".into(),
            default: Some("1".into()),
        }],
        transforms: name != "good",
    }
}

fn floats(name: &str, values: Vec<f64>) -> Column {
    Column { name: name.into(), values: Values::Floats(values), valid: Vec::new() }
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

export!(Askew);
