//! `shiphold queries …`

use super::client::{Client, segment};
use super::output::{Failure, Output};
use super::series;
use super::skills::word;
use clap::Subcommand;
use serde_json::{Map, Value};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The queries that plugins offer
    List,
    /// What a query answers and which parameters it takes
    Show { name: String },
    /// Run a query: `shiphold queries run vwap symbol=AAPL every='5 min'`
    Run {
        name: String,
        /// Parameters, as `queries show NAME` describes them
        #[arg(value_name = "KEY=VALUE")]
        params: Vec<String>,
        /// The plugin, where two offer a query of this name
        #[arg(long)]
        plugin: Option<String>,
        /// Print the rows as they come, however many, in this form
        #[arg(long)]
        format: Option<series::Format>,
    },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    match verb {
        Verb::List => out.list(
            &client.get("/v1/queries").await?,
            &[("name", "name"), ("plugin", "plugin"), ("description", "description")],
            "no queries: a query builder in shiphold.toml offers some",
        ),
        Verb::Show { name } => {
            let all = client.get("/v1/queries").await?;
            let mut found =
                all.as_array().into_iter().flatten().filter(|q| word(q, "name") == name).peekable();
            if found.peek().is_none() {
                return Err(Failure::usage(
                    format!("there is no query `{name}`"),
                    "`shiphold queries list` shows them",
                ));
            }
            for query in found {
                show(query, out);
            }
        }
        Verb::Run { name, params, plugin, format } => {
            let mut body = Map::new();
            for param in params {
                let Some((key, value)) = param.split_once('=') else {
                    return Err(Failure::usage(
                        format!("`{param}` is not KEY=VALUE"),
                        "write symbol=AAPL; quote a value with blanks: every='5 min'",
                    ));
                };
                if body.insert(key.into(), value.into()).is_some() {
                    return Err(Failure::usage(format!("`{key}` is given twice"), "give it once"));
                }
            }
            if let Some(plugin) = plugin {
                body.insert("_plugin".into(), plugin.into());
            }
            let path = format!("/v1/queries/{}", segment(&name));
            series::rows(&path, &Value::Object(body), format, client, out).await?;
        }
    }
    Ok(())
}

fn show(query: &Value, out: &Output) {
    if out.json {
        return out.json(query);
    }
    out.line(format!("{} (plugin {})", word(query, "name"), word(query, "plugin")));
    out.line(word(query, "description"));
    let rows: Vec<Vec<String>> = query
        .get("params")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|p| {
            let needed = p.get("required").and_then(Value::as_bool) == Some(true);
            let default = match p.get("default") {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            vec![
                word(p, "name").into(),
                word(p, "type").into(),
                if needed { "needed".into() } else { default },
                word(p, "description").into(),
            ]
        })
        .collect();
    out.table(&["parameter", "type", "default", "meaning"], &rows);
}
