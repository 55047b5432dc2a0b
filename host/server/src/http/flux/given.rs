//! Values that a client gives beside a query, in the form of a syntax tree: what `query(…, params={…})` of InfluxDB's client
//! for Python sends.

use crate::http::problem::Problem;
use serde_json::Value;
use shiphold_storage::series::flux_query::Given;

/// Values of one query.
const VALUES_MAX: usize = 10_000;

/// The values of `{"body":[{"type":"OptionStatement","assignment":{"id":{"name":…},"init":{…}}}]}`.
pub(super) fn values(tree: &Value) -> Result<Vec<(String, Given)>, Problem> {
    let mut count = 0;
    let body = tree.get("body").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    body.iter()
        .map(|statement| {
            let assignment = statement.get("assignment").unwrap_or(statement);
            let name = assignment.pointer("/id/name").and_then(Value::as_str);
            let (Some(name), Some(init)) = (name, assignment.get("init")) else {
                return Err(not_understood("a statement that gives no value a name"));
            };
            Ok((name.to_string(), value(init, &mut count)?))
        })
        .collect()
}

fn not_understood(what: &str) -> Problem {
    Problem::invalid(format!("`extern` holds {what}, which this host does not understand"))
        .hint("values are strings, numbers, booleans, times, durations and lists of them")
}

fn value(node: &Value, count: &mut usize) -> Result<Given, Problem> {
    *count += 1;
    if *count > VALUES_MAX {
        return Err(not_understood(&format!("more than {VALUES_MAX} values")));
    }
    let wrong = || not_understood("such a value");
    let text = || node.get("value").and_then(Value::as_str).ok_or_else(wrong);
    match node.get("type").and_then(Value::as_str) {
        Some("StringLiteral") => Ok(Given::Text(text()?.into())),
        Some("BooleanLiteral") => {
            node.get("value").and_then(Value::as_bool).map(Given::Boolean).ok_or_else(wrong)
        }
        Some("IntegerLiteral") => text()?.parse().map(Given::Integer).map_err(|_| wrong()),
        Some("FloatLiteral") => node.get("value").and_then(Value::as_f64).map(Given::Float).ok_or_else(wrong),
        Some("DateTimeLiteral") => {
            let time = chrono::DateTime::parse_from_rfc3339(text()?).ok();
            time.and_then(|t| t.timestamp_nanos_opt()).map(Given::Time).ok_or_else(wrong)
        }
        Some("DurationLiteral") => duration(node).map(Given::Duration).ok_or_else(wrong),
        Some("UnaryExpression") if node.get("operator").and_then(Value::as_str) == Some("-") => {
            let of = node
                .get("argument")
                .filter(|a| a.get("type").and_then(Value::as_str) != Some("UnaryExpression"));
            match value(of.ok_or_else(wrong)?, count)? {
                Given::Integer(v) => v.checked_neg().map(Given::Integer).ok_or_else(wrong),
                Given::Duration(v) => v.checked_neg().map(Given::Duration).ok_or_else(wrong),
                Given::Float(v) => Ok(Given::Float(-v)),
                _ => Err(wrong()),
            }
        }
        Some("ArrayExpression") => {
            let items = node.get("elements").and_then(Value::as_array).ok_or_else(wrong)?;
            items.iter().map(|item| value(item, count)).collect::<Result<_, _>>().map(Given::List)
        }
        _ => Err(wrong()),
    }
}

fn duration(node: &Value) -> Option<i64> {
    let mut ns = 0_i64;
    for part in node.get("values")?.as_array()? {
        let unit: i64 = match part.get("unit")?.as_str()? {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        ns = ns.checked_add(part.get("magnitude")?.as_i64()?.checked_mul(unit)?)?;
    }
    Some(ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_every_kind() {
        let option = |name: &str, init: Value| json!({"type": "OptionStatement", "assignment": {"type": "VariableAssignment", "id": {"name": name}, "init": init}});
        let tree = json!({"body": [
            option("s", json!({"type": "StringLiteral", "value": "x"})),
            option("i", json!({"type": "IntegerLiteral", "value": "7"})),
            option("f", json!({"type": "UnaryExpression", "operator": "-", "argument": {"type": "FloatLiteral", "value": 0.5}})),
            option("b", json!({"type": "BooleanLiteral", "value": true})),
            option("t", json!({"type": "DateTimeLiteral", "value": "1970-01-01T00:00:01.000000000Z"})),
            option("d", json!({"type": "UnaryExpression", "operator": "-", "argument":
                {"type": "DurationLiteral", "values": [{"magnitude": 3, "unit": "us"}]}})),
            option("l", json!({"type": "ArrayExpression", "elements": [{"type": "IntegerLiteral", "value": "1"}]})),
        ]});
        let got: Vec<Given> = values(&tree).unwrap().into_iter().map(|(_, v)| v).collect();
        assert_eq!(
            got,
            [
                Given::Text("x".into()),
                Given::Integer(7),
                Given::Float(-0.5),
                Given::Boolean(true),
                Given::Time(1_000_000_000),
                Given::Duration(-3_000),
                Given::List(vec![Given::Integer(1)]),
            ]
        );
        assert_eq!(values(&json!({"imports": []})).unwrap(), []);
        for bad in [json!({"body": [1]}), json!({"body": [option("x", json!({"type": "CallExpression"}))]})] {
            assert_eq!(values(&bad).unwrap_err().status, 400);
        }
        let many = |n: usize| {
            json!({"body": [option("l", json!({"type": "ArrayExpression", "elements":
            vec![json!({"type": "BooleanLiteral", "value": true}); n]}))]})
        };
        assert!(values(&many(VALUES_MAX - 1)).is_ok());
        assert_eq!(values(&many(VALUES_MAX)).unwrap_err().status, 400);
    }
}
