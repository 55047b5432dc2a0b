//! Labels, provenance, and what a store keeps.

use super::super::client::{Client, segment, with_query};
use super::super::input;
use super::super::output::{Failure, Output};
use super::Verb;
use axum::http::Method;
use clap::Args;
use serde_json::{Value, json};

/// What a version was made of.
#[derive(Debug, Args)]
pub(crate) struct MadeOf {
    /// The skill that made it: NAME@VERSION
    #[arg(long, value_name = "NAME@VERSION")]
    skill: Option<String>,
    /// The data that it was made from: MEASUREMENT=FROM..TO, times in nanoseconds since the epoch, RFC 3339 or dates; several times
    #[arg(long, value_name = "MEASUREMENT=FROM..TO")]
    data: Vec<String>,
}

impl MadeOf {
    /// As the routes take it; `None`: nothing was said.
    pub(super) fn json(&self) -> Result<Option<Value>, Failure> {
        if self.skill.is_none() && self.data.is_empty() {
            return Ok(None);
        }
        let mut out = json!({});
        if let Some(skill) = &self.skill {
            let (name, version) = skill
                .rsplit_once('@')
                .ok_or_else(|| Failure::usage(format!("`{skill}` names no version"), "write NAME@VERSION"))?;
            out = json!({ "skill": { "name": name, "version": version } });
        }
        let data = self.data.iter().map(|d| range(d)).collect::<Result<Vec<_>, _>>()?;
        if let Some(map) = out.as_object_mut().filter(|_| !data.is_empty()) {
            map.insert("data".into(), Value::Array(data));
        }
        Ok(Some(out))
    }
}

fn range(text: &str) -> Result<Value, Failure> {
    let wrong = |what: &str| {
        Failure::usage(
            format!("`{text}`: {what}"),
            "write MEASUREMENT=FROM..TO, such as bar.1m.AAPL=2026-01-01..2026-06-26",
        )
    };
    let (measurement, range) = text.rsplit_once('=').ok_or_else(|| wrong("it has no range"))?;
    let (from, to) = range.split_once("..").ok_or_else(|| wrong("its range has no `..`"))?;
    let time = |text: &str| {
        let text = text.trim();
        let of_date =
            || text.parse::<chrono::NaiveDate>().map(|d| d.and_time(chrono::NaiveTime::MIN).and_utc());
        text.parse::<i64>().ok().or_else(|| {
            let time = chrono::DateTime::parse_from_rfc3339(text).map(|t| t.to_utc()).or_else(|_| of_date());
            time.ok().and_then(|t| t.timestamp_nanos_opt())
        })
    };
    let from = time(from).ok_or_else(|| wrong("its begin is not a time"))?;
    let to = time(to).ok_or_else(|| wrong("its end is not a time"))?;
    Ok(json!({ "measurement": measurement, "from_ns": from, "to_ns": to }))
}

/// JSON for a header: every character that may not stand in one is escaped.
pub(super) fn ascii(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|u| out.push_str(&format!("\\u{u:04x}")));
        }
    }
    out
}

pub(super) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |store: &str, rest: &str| format!("/v1/files/{}/{rest}", segment(store));
    match verb {
        Verb::Show { store, name, version } => {
            let query = [("path", Some(name)), ("version", version.map(|v| v.to_string()))];
            let v = client.get(&with_query(&at(&store, "about"), &query)).await?;
            out.object(&v);
        }
        Verb::Find { store, skill, skill_version, measurement, at: when, limit } => {
            let query = [
                ("skill", skill),
                ("skill_version", skill_version),
                ("measurement", measurement),
                ("at", when),
                ("limit", Some(limit.to_string())),
            ];
            let v = client.get(&with_query(&at(&store, "find"), &query)).await?;
            let columns = [
                ("name", "path"),
                ("version", "version"),
                ("bytes", "size"),
                ("created", "created_at"),
                ("made of", "provenance"),
            ];
            out.list(&v, &columns, "no version says that it was made so");
        }
        Verb::Label { store, label, name, version, expect } => {
            let path = with_query(&at(&store, &format!("labels/{}", segment(&label))), &[("expect", expect)]);
            let body = json!({ "path": name, "version": version });
            let v = client.json(Method::PUT, &path, Some(&body)).await?;
            let number = |key: &str| v.get(key).and_then(Value::as_u64).unwrap_or_default();
            out.done(
                &v,
                format!(
                    "{label} is {store}/{name} version {} (revision {})",
                    number("version"),
                    number("revision")
                ),
            );
        }
        Verb::Unlabel { store, label, expect } => {
            let path = with_query(&at(&store, &format!("labels/{}", segment(&label))), &[("expect", expect)]);
            let v = client.json(Method::DELETE, &path, None).await?;
            out.done(&v, format!("{label} is taken away"));
        }
        Verb::Labels { store, label } => {
            let (path, empty) = match &label {
                None => ("labels".into(), "no labels there"),
                Some(label) => (format!("labels/{}/history", segment(label)), "it never stood for anything"),
            };
            let v = client.get(&at(&store, &path)).await?;
            let columns = [
                ("label", "label"),
                ("revision", "revision"),
                ("name", "path"),
                ("version", "version"),
                ("set", "set_at"),
                ("by", "set_by"),
            ];
            out.list(&v, &columns, empty);
        }
        Verb::Prune { store, dry_run, yes } => {
            if !dry_run {
                input::confirm(
                    yes,
                    &format!("take the versions of {store} away that its rules do not keep"),
                )?;
            }
            let v = client.work(&at(&store, "prune"), &json!({ "dry_run": dry_run }), out, "looking").await?;
            let number = |key: &str| v.get(key).and_then(Value::as_u64).unwrap_or_default();
            let went = if dry_run { "would go" } else { "went" };
            out.done(&v, format!("{} versions {went}, {} bytes", number("versions"), number("bytes")));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_was_made_of() {
        let of = |skill: Option<&str>, data: &[&str]| {
            MadeOf { skill: skill.map(Into::into), data: data.iter().map(|d| (*d).into()).collect() }.json()
        };
        assert_eq!(of(None, &[]).unwrap(), None);
        assert_eq!(
            of(Some("a@b@1.0.0"), &["bar.1m.X=1970-01-02..1970-01-01T00:00:00.5Z", "m=x=0..7"])
                .unwrap()
                .unwrap(),
            json!({
                "skill": { "name": "a@b", "version": "1.0.0" },
                "data": [
                    { "measurement": "bar.1m.X", "from_ns": 86_400_000_000_000_i64, "to_ns": 500_000_000 },
                    { "measurement": "m=x", "from_ns": 0, "to_ns": 7 },
                ],
            })
        );
        for bad in ["m", "m=1", "m=a..2", "m=1.."] {
            assert_eq!(of(None, &[bad]).unwrap_err().exit, 2, "{bad}");
        }
        assert_eq!(of(Some("noversion"), &[]).unwrap_err().exit, 2);
        assert_eq!(ascii(&json!("ä\n")), "\"\\u00e4\\n\"");
    }
}
