//! `shiphold trades …`

mod instrument;
mod statement;

use super::client::{Client, segment, with_query};
use super::input;
use super::output::{Failure, Output};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Accounts: opening and listing them
    #[command(subcommand)]
    Account(Account),
    /// Instruments: terms, other names, splits and dividends
    #[command(subcommand)]
    Instrument(instrument::Verb),
    /// With which contract a chain of futures goes on from a time on; without one, that there is no roll
    Roll { chain: String, time: String, instrument: Option<String> },
    /// The contracts of a chain of futures
    Rolls { chain: String },
    /// Record a batch from a file of JSON (- for standard input): {"account", "orders", "fills", "events", "cash"}, whole or not at all
    Record {
        file: PathBuf,
        /// In place of the account in the file
        #[arg(long)]
        account: Option<String>,
    },
    /// Record one fill, or the correction of one
    Fill(Box<NewFill>),
    /// Orders with what became of them, in the order in which they were recorded
    Orders(Rows),
    /// One order and what became of it
    Order {
        account: String,
        id: String,
        #[command(flatten)]
        moment: Moment,
    },
    /// Fills, in the order in which they were recorded
    Fills(Rows),
    /// Movements of cash, in the order in which they were recorded
    Cash(Rows),
    /// What an account holds as of a moment, with profit and cash
    Positions {
        account: String,
        #[command(flatten)]
        moment: Moment,
        /// Also what nothing is held of any more
        #[arg(long)]
        flat: bool,
        /// Value an instrument at this price; by default at that of its last fill
        #[arg(long = "price", value_name = "INSTRUMENT=PRICE", value_parser = input::pair)]
        prices: Vec<(String, String)>,
    },
    /// Bars of an instrument adjusted for splits and dividends, or of a chain of futures as one series
    Bars(Bars),
    /// What a version of a skill achieved with its orders in an account
    Performance(Performance),
    /// Statements of brokers: comparing them with the record, and resolving what differs
    #[command(subcommand)]
    Statement(statement::Verb),
    /// Make the sums that are kept of an account anew; every answer stays the same
    Rebuild { account: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Open an account
    Open {
        name: String,
        /// In which its performance is counted
        #[arg(long, value_name = "USD")]
        currency: String,
        #[arg(long)]
        broker: Option<String>,
    },
    /// The accounts by name
    List {
        /// Only names after this one: the next page
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
}

/// As of which moment.
#[derive(Debug, Args)]
pub(crate) struct Moment {
    /// Only what had happened by then: RFC 3339, a date, or nanoseconds since the epoch
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Only what had been recorded by then
    #[arg(long, value_name = "TIME")]
    known_at: Option<String>,
}

impl Moment {
    fn pairs(self) -> [(&'static str, Option<String>); 2] {
        [("at", self.at), ("known_at", self.known_at)]
    }
}

/// Which rows of an account.
#[derive(Debug, Args)]
pub(crate) struct Rows {
    account: String,
    #[arg(long)]
    instrument: Option<String>,
    /// Only of this order, by its client id
    #[arg(long)]
    order: Option<String>,
    /// What happened from then on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What happened before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what had been recorded by then
    #[arg(long, value_name = "TIME")]
    known_at: Option<String>,
    /// Also versions in whose place another one counts, and what is void
    #[arg(long)]
    all: bool,
    /// Only what follows this number: the next page
    #[arg(long, value_name = "SEQ")]
    after: Option<i64>,
    #[arg(long, default_value_t = 1000)]
    limit: u64,
}

impl Rows {
    async fn get(self, what: &str, client: &Client) -> Result<Value, Failure> {
        let query = [
            ("instrument", self.instrument),
            ("order", self.order),
            ("since", self.since),
            ("until", self.until),
            ("known_at", self.known_at),
            ("all", self.all.then(|| "true".into())),
            ("after", self.after.map(|a| a.to_string())),
            ("limit", Some(self.limit.to_string())),
        ];
        client.get(&with_query(&of_account(&self.account, what), &query)).await
    }
}

#[derive(Debug, Args)]
pub(crate) struct NewFill {
    account: String,
    /// Your own id of it: sent again it is recorded once
    client_id: String,
    instrument: String,
    #[arg(value_parser = ["buy", "sell"])]
    side: String,
    quantity: String,
    #[arg(allow_negative_numbers = true)]
    price: String,
    /// When it happened: RFC 3339, a date, or nanoseconds since the epoch
    #[arg(long)]
    time: String,
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    fee: String,
    /// Client id of its order
    #[arg(long)]
    order: Option<String>,
    /// What the broker calls it
    #[arg(long)]
    broker_id: Option<String>,
    /// Client id of the fill in whose place this one counts
    #[arg(long, value_name = "ID", requires = "reason")]
    corrects: Option<String>,
    /// There was no such fill
    #[arg(long, requires = "corrects")]
    void: bool,
    #[arg(long)]
    reason: Option<String>,
}

impl NewFill {
    fn batch(self) -> Value {
        let fill = json!({
            "client_id": self.client_id, "instrument": self.instrument, "side": self.side, "quantity": self.quantity,
            "price": self.price, "fee": self.fee, "time": time(&self.time), "order": self.order, "broker_id": self.broker_id,
            "corrects": self.corrects, "void": self.void, "reason": self.reason,
        });
        json!({ "account": self.account, "fills": [fill] })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Bars {
    #[arg(long, required_unless_present = "chain", conflicts_with = "chain")]
    instrument: Option<String>,
    /// A chain of futures
    #[arg(long)]
    chain: Option<String>,
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// For what the bars of an instrument are adjusted
    #[arg(long, value_parser = ["none", "splits", "all"], default_value = "splits")]
    adjust: String,
    /// How the gaps between the contracts of a chain are closed
    #[arg(long, value_parser = ["none", "difference", "ratio"], default_value = "difference")]
    roll: String,
    /// A longer timeframe: 1h, 1d, 1w
    #[arg(long, value_name = "TIMEFRAME")]
    resample: Option<String>,
    #[command(flatten)]
    moment: Moment,
}

#[derive(Debug, Args)]
pub(crate) struct Performance {
    account: String,
    skill: String,
    version: String,
    /// RFC 3339, a date, or nanoseconds since the epoch
    #[arg(long, value_name = "TIME")]
    start: String,
    /// Not in it
    #[arg(long, value_name = "TIME")]
    end: String,
    /// What returns are fractions of; by default the equity of the account at the start
    #[arg(long, value_name = "AMOUNT")]
    capital: Option<String>,
    #[arg(long, value_name = "TIME")]
    known_at: Option<String>,
    /// Record it as what this version of the skill achieved
    #[arg(long)]
    record: bool,
}

fn of_account(account: &str, what: &str) -> String {
    format!("/v1/trades/accounts/{}/{what}", segment(account))
}

/// Nanoseconds are a number in JSON.
fn time(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |ns| json!(ns))
}

fn word<'v>(v: &'v Value, key: &str) -> &'v str {
    v.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn recorded(v: &Value, out: &Output) {
    let count = |key: &str| v.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let rows: usize = ["orders", "fills", "events", "cash"].iter().map(|k| count(k)).sum();
    let now = v.get("recorded").and_then(Value::as_u64).unwrap_or_default();
    let before = (rows as u64).saturating_sub(now);
    let said = match before {
        0 => format!("{now} rows recorded"),
        _ => format!("{now} rows recorded, {before} were before"),
    };
    out.done(v, said);
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Account(Account::Open { name, currency, broker }) => {
            let body = json!({ "name": name, "currency": currency, "broker": broker });
            let v = client.post("/v1/trades/accounts", &body).await?;
            out.done(&v, format!("account {name} is open, in {currency}"));
        }
        Verb::Account(Account::List { after, limit }) => {
            let query = [("after", after), ("limit", Some(limit.to_string()))];
            let v = client.get(&with_query("/v1/trades/accounts", &query)).await?;
            out.list(&v, &[("name", "name"), ("currency", "currency"), ("broker", "broker")], "no accounts");
        }
        Verb::Instrument(verb) => instrument::run(verb, client, out).await?,
        Verb::Roll { chain, time: when, instrument } => {
            let body = json!({ "chain": chain, "time": time(&when), "instrument": instrument });
            let v = client.post("/v1/trades/chains", &body).await?;
            out.list(&v, &[("from", "time"), ("contract", "instrument")], "the chain has no contracts");
        }
        Verb::Rolls { chain } => {
            let v = client.get(&format!("/v1/trades/chains/{}", segment(&chain))).await?;
            out.list(&v, &[("from", "time"), ("contract", "instrument")], "the chain has no contracts");
        }
        Verb::Record { file, account } => {
            let text = input::text(&file)?;
            let mut batch: Map<String, Value> = serde_json::from_str(&text).map_err(|e| {
                Failure::usage(format!("{}: {e}", file.display()), "docs/trades.md shows a batch")
            })?;
            if let Some(account) = account {
                batch.insert("account".into(), json!(account));
            }
            recorded(&client.post("/v1/trades/batch", &Value::Object(batch)).await?, out);
        }
        Verb::Fill(fill) => recorded(&client.post("/v1/trades/batch", &fill.batch()).await?, out),
        Verb::Orders(rows) => {
            let columns = [
                ("placed", "time"),
                ("id", "client_id"),
                ("instrument", "instrument"),
                ("side", "side"),
                ("quantity", "quantity"),
                ("filled", "filled"),
                ("type", "type"),
                ("limit", "limit_price"),
                ("state", "state"),
                ("skill", "skill"),
                ("version", "version"),
            ];
            out.list(&rows.get("orders", client).await?, &columns, "no orders");
        }
        Verb::Order { account, id, moment } => {
            let path = of_account(&account, &format!("orders/{}", segment(&id)));
            out.object(&client.get(&with_query(&path, &moment.pairs())).await?);
        }
        Verb::Fills(rows) => {
            let columns = [
                ("time", "time"),
                ("id", "client_id"),
                ("instrument", "instrument"),
                ("side", "side"),
                ("quantity", "quantity"),
                ("price", "price"),
                ("fee", "fee"),
                ("order", "order"),
                ("corrects", "corrects"),
                ("late", "late"),
                ("seq", "seq"),
            ];
            out.list(&rows.get("fills", client).await?, &columns, "no fills");
        }
        Verb::Cash(rows) => {
            let columns = [
                ("time", "time"),
                ("id", "client_id"),
                ("kind", "kind"),
                ("amount", "amount"),
                ("currency", "currency"),
                ("instrument", "instrument"),
                ("reason", "reason"),
                ("seq", "seq"),
            ];
            out.list(&rows.get("cash", client).await?, &columns, "no movements of cash");
        }
        Verb::Positions { account, moment, flat, prices } => {
            let [at, known_at] = moment.pairs();
            let path = with_query(
                &of_account(&account, "positions"),
                &[at, known_at, ("flat", flat.then(|| "true".into()))],
            );
            let v = match prices.is_empty() {
                true => client.get(&path).await?,
                false => {
                    client
                        .post(&path, &json!(prices.into_iter().collect::<std::collections::BTreeMap<_, _>>()))
                        .await?
                }
            };
            positions(&v, out);
        }
        Verb::Bars(b) => {
            let [at, known_at] = b.moment.pairs();
            let query = [
                ("instrument", b.instrument),
                ("chain", b.chain),
                ("start", b.start),
                ("end", b.end),
                ("adjust", Some(b.adjust)),
                ("roll", Some(b.roll)),
                ("resample", b.resample),
                at,
                known_at,
            ];
            bars(&client.get(&with_query("/v1/trades/bars", &query)).await?, out);
        }
        Verb::Performance(p) => {
            let path = of_account(&p.account, "performance");
            let v = if p.record {
                let mut body = json!({
                    "skill": p.skill, "version": p.version, "start": time(&p.start), "end": time(&p.end), "capital": p.capital,
                });
                if let (Some(known_at), Value::Object(body)) = (&p.known_at, &mut body) {
                    body.insert("known_at".into(), time(known_at));
                }
                client.post(&path, &body).await?
            } else {
                let query = [
                    ("skill", Some(p.skill)),
                    ("version", Some(p.version)),
                    ("start", Some(p.start)),
                    ("end", Some(p.end)),
                    ("capital", p.capital),
                    ("known_at", p.known_at),
                ];
                client.get(&with_query(&path, &query)).await?
            };
            out.object(&v);
        }
        Verb::Statement(verb) => statement::run(verb, client, out).await?,
        Verb::Rebuild { account } => {
            let v = client.post(&of_account(&account, "rebuild"), &json!({})).await?;
            let states = v.get("states").and_then(Value::as_u64).unwrap_or_default();
            out.done(&v, format!("{states} sums of {account} are made anew in the background"));
        }
    }
    Ok(())
}

/// Positions, then money.
fn positions(v: &Value, out: &Output) {
    if out.json {
        return out.json(v);
    }
    let columns = [
        ("instrument", "instrument"),
        ("quantity", "quantity"),
        ("average", "average"),
        ("price", "price"),
        ("value", "value"),
        ("realised", "realised"),
        ("unrealised", "unrealised"),
        ("fees", "fees"),
        ("currency", "currency"),
    ];
    out.list(v.get("positions").unwrap_or(&Value::Null), &columns, "nothing is held");
    let columns = [
        ("currency", "currency"),
        ("cash", "cash"),
        ("moved", "moved"),
        ("realised", "realised"),
        ("unrealised", "unrealised"),
        ("fees", "fees"),
        ("equity", "equity"),
    ];
    out.list(v.get("balances").unwrap_or(&Value::Null), &columns, "no money moved");
}

/// Columns as rows.
fn bars(v: &Value, out: &Output) {
    if out.json {
        return out.json(v);
    }
    let columns = v.get("columns").and_then(Value::as_array).cloned().unwrap_or_default();
    let heads: Vec<&str> = columns.iter().map(|c| word(c, "name")).collect();
    let rows = v.get("rows").and_then(Value::as_u64).unwrap_or_default();
    let cell = |column: &Value, row: usize| -> String {
        match column.get("values").and_then(|v| v.get(row)).unwrap_or(&Value::Null) {
            Value::Null => String::new(),
            Value::Number(n) if word(column, "name") == "time" => {
                n.as_i64().map_or_else(|| n.to_string(), super::output::time)
            }
            Value::String(s) => super::output::one_line(s),
            other => other.to_string(),
        }
    };
    let rows: Vec<Vec<String>> = (0..usize::try_from(rows).unwrap_or(0))
        .map(|row| columns.iter().map(|column| cell(column, row)).collect())
        .collect();
    if rows.is_empty() {
        return out.line("no bars");
    }
    out.table(&heads, &rows);
}
