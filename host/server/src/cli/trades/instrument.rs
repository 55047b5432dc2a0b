//! `shiphold trades instrument …`

use super::{time, word};
use crate::cli::client::{Client, segment, with_query};
use crate::cli::output::{Failure, Output};
use clap::Subcommand;
use serde_json::{Value, json};

const KINDS: [&str; 8] = ["equity", "fund", "bond", "option", "future", "currency", "crypto", "other"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Record an instrument; kind, currency and multiplier never change
    Add {
        /// As the exchange writes it: AAPL, ES.U26, BTC/USDT
        name: String,
        #[arg(long, value_parser = KINDS)]
        kind: String,
        #[arg(long, value_name = "USD")]
        currency: String,
        /// What a price of one is worth a piece
        #[arg(long, default_value = "1")]
        multiplier: String,
        /// Prices of orders are whole numbers of it; 0: any
        #[arg(long, default_value = "0")]
        tick: String,
        /// Quantities are whole numbers of it; 0: any
        #[arg(long, default_value = "0")]
        lot: String,
        #[arg(long)]
        bucket: Option<String>,
        /// The series of its bars: bar.1d.AAPL
        #[arg(long)]
        measurement: Option<String>,
    },
    /// The instruments by name
    List {
        /// Only names after this one: the next page
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// One of them by its name or another one, with its splits and dividends
    Show {
        name: String,
        /// The terms of then: RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Other terms from a time on; what is left out holds no more
    Terms {
        name: String,
        #[arg(long, value_name = "TIME", default_value = "0")]
        since: String,
        #[arg(long, default_value = "0")]
        tick: String,
        #[arg(long, default_value = "0")]
        lot: String,
        #[arg(long)]
        bucket: Option<String>,
        #[arg(long)]
        measurement: Option<String>,
    },
    /// Another name for a time
    Alias {
        name: String,
        alias: String,
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Not in it
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Pieces became others: `split AAPL 2020-08-31 4 1` makes four of one
    Split { name: String, time: String, new: i64, old: i64 },
    /// So much was paid a piece
    Dividend { name: String, time: String, amount: String },
    /// A split or a dividend did not happen
    Void {
        name: String,
        /// Its number, as `show` has it
        seq: i64,
        #[arg(long)]
        reason: String,
    },
}

const COLUMNS: [(&str, &str); 7] = [
    ("name", "name"),
    ("kind", "kind"),
    ("currency", "currency"),
    ("multiplier", "multiplier"),
    ("tick", "tick"),
    ("lot", "lot"),
    ("bars", "measurement"),
];

pub(super) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |name: &str| format!("/v1/trades/instruments/{}", segment(name));
    match verb {
        Verb::Add { name, kind, currency, multiplier, tick, lot, bucket, measurement } => {
            let body = json!({
                "name": name, "kind": kind, "currency": currency, "multiplier": multiplier, "tick": tick, "lot": lot,
                "bucket": bucket, "measurement": measurement,
            });
            let v = client.post("/v1/trades/instruments", &body).await?;
            out.done(&v, format!("instrument {name} is recorded"));
        }
        Verb::List { after, limit } => {
            let query = [("after", after), ("limit", Some(limit.to_string()))];
            let v = client.get(&with_query("/v1/trades/instruments", &query)).await?;
            out.list(&v, &COLUMNS, "no instruments");
        }
        Verb::Show { name, at: when } => {
            let v = client.get(&with_query(&at(&name), &[("at", when)])).await?;
            if out.json {
                out.json(&v);
                return Ok(());
            }
            out.object(v.get("instrument").unwrap_or(&Value::Null));
            let part = |key: &str| v.get(key).cloned().unwrap_or_default();
            out.list(
                &part("aliases"),
                &[("alias", "alias"), ("since", "since"), ("until", "until")],
                "no other names",
            );
            let columns = [
                ("time", "time"),
                ("kind", "kind"),
                ("new", "new"),
                ("old", "old"),
                ("amount", "amount"),
                ("seq", "seq"),
            ];
            out.list(&part("actions"), &columns, "no splits or dividends");
        }
        Verb::Terms { name, since, tick, lot, bucket, measurement } => {
            let body = json!({
                "since": time(&since), "tick": tick, "lot": lot, "bucket": bucket, "measurement": measurement,
            });
            let v = client.post(&format!("{}/terms", at(&name)), &body).await?;
            out.done(&v, format!("terms of {name} are recorded"));
        }
        Verb::Alias { name, alias, since, until } => {
            let mut body = json!({ "alias": alias });
            for (key, value) in [("since", since), ("until", until)] {
                if let (Some(value), Value::Object(body)) = (value, &mut body) {
                    body.insert(key.into(), time(&value));
                }
            }
            let v = client.post(&format!("{}/aliases", at(&name)), &body).await?;
            out.done(&v, format!("{alias} means {name}"));
        }
        Verb::Split { name, time: when, new, old } => {
            let body =
                json!({ "instrument": name, "time": time(&when), "kind": "split", "new": new, "old": old });
            let v = client.post("/v1/trades/actions", &body).await?;
            out.done(&v, format!("split of {name} is recorded"));
        }
        Verb::Dividend { name, time: when, amount } => {
            let body =
                json!({ "instrument": name, "time": time(&when), "kind": "dividend", "amount": amount });
            let v = client.post("/v1/trades/actions", &body).await?;
            out.done(&v, format!("dividend of {name} is recorded: {}", word(&v, "amount")));
        }
        Verb::Void { name, seq, reason } => {
            let body = json!({ "instrument": name, "seq": seq, "reason": reason });
            let v = client.post("/v1/trades/actions/void", &body).await?;
            out.done(&v, format!("{seq} did not happen to {name}"));
        }
    }
    Ok(())
}
