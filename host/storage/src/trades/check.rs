//! Is what came in within its bounds?

use super::number::Number;
use super::types::{
    AHEAD_MAX_NS, CLIENT_ID_BYTES_MAX, CashKind, INSTRUMENT_BYTES_MAX, InstrumentKind, NewCash, NewFill,
    NewOrder, OrderType, PRICE_MAX, QUANTITY_MAX, SIGNAL_BYTES_MAX, TEXT_BYTES_MAX, VALUE_MAX,
};
use crate::error::{Error, Result};
use crate::schema::now_ns;

fn shown(text: &str) -> String {
    text.chars().take(CLIENT_ID_BYTES_MAX).collect::<String>().escape_debug().to_string()
}

/// Ids of clients and brokers: what can be seen of ASCII.
pub(super) fn id(what: &str, id: &str) -> Result<()> {
    if (1..=CLIENT_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is not a {what}", shown(id)))
        .hint(format!("use 1 to {CLIENT_ID_BYTES_MAX} letters, digits and signs of ASCII, without spaces")))
}

/// Names of instruments, as exchanges write them.
pub(super) fn instrument_name(what: &str, name: &str) -> Result<()> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-/:^=+".contains(&b);
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'^');
    if name.len() <= INSTRUMENT_BYTES_MAX && begins && name.bytes().all(ok) {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is not a name of {what}", shown(name))).hint(format!(
        "use 1 to {INSTRUMENT_BYTES_MAX} of A-Z, a-z, 0-9 and `. _ - / : ^ = +`, such as `AAPL` or `ES.U26`"
    )))
}

pub(super) fn currency(code: &str) -> Result<()> {
    if (3..=10).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is not a currency", shown(code)))
        .hint("use 3 to 10 of A-Z and 0-9, such as `USD` or `USDT`"))
}

pub(super) fn text(what: &str, text: Option<&str>) -> Result<()> {
    match text {
        Some(t) if t.len() > TEXT_BYTES_MAX || t.is_empty() => Err(Error::limit(
            format!("the {what} ({} bytes)", t.len()),
            format!("1 to {TEXT_BYTES_MAX} bytes"),
            "shorten it",
        )),
        _ => Ok(()),
    }
}

/// When something happened.
pub(super) fn time(time: i64) -> Result<()> {
    if time < 0 {
        return Err(Error::invalid(format!("the time {time} is before 1970"))
            .hint("write nanoseconds since the Unix epoch, or RFC 3339"));
    }
    if time > now_ns().saturating_add(AHEAD_MAX_NS) {
        return Err(Error::invalid(format!("the time {time} is more than a day ahead"))
            .hint("write nanoseconds since the Unix epoch, and look at the clock that gave it"));
    }
    Ok(())
}

pub(super) fn quantity(quantity: Number, lot: Number) -> Result<()> {
    if quantity <= Number::ZERO {
        return Err(Error::invalid(format!("the quantity {quantity} is not above zero"))
            .hint("which way it goes is said by `side`; what did not happen is a correction with `void`"));
    }
    if quantity > QUANTITY_MAX {
        return Err(Error::limit(format!("the quantity {quantity}"), QUANTITY_MAX, "look at what gave it"));
    }
    if !quantity.is_multiple_of(lot) {
        return Err(Error::invalid(format!("the quantity {quantity} is no multiple of the lot {lot}"))
            .hint("record the lot that holds from a time on with `shiphold trades instrument terms`"));
    }
    Ok(())
}

pub(super) fn price(price: Number, kind: InstrumentKind) -> Result<()> {
    // Futures were paid for being taken, in April 2020; so may spreads be.
    if price.is_negative() && !matches!(kind, InstrumentKind::Future | InstrumentKind::Other) {
        return Err(Error::invalid(format!("the price {price} is below zero"))
            .hint("only those of kind `future` and `other` may be"));
    }
    if price.abs() > PRICE_MAX {
        return Err(Error::limit(format!("the price {price}"), PRICE_MAX, "look at what gave it"));
    }
    Ok(())
}

pub(super) fn value(what: &str, value: Number) -> Result<()> {
    if value.abs() > VALUE_MAX {
        return Err(Error::limit(format!("{what} of {value}"), VALUE_MAX, "look at what gave it"));
    }
    Ok(())
}

/// What can be said of a fill alone.
pub(super) fn fill(fill: &NewFill) -> Result<()> {
    id("client id", &fill.client_id)?;
    fill.order.as_deref().map_or(Ok(()), |o| id("client id of an order", o))?;
    fill.broker_id.as_deref().map_or(Ok(()), |o| id("broker's id", o))?;
    fill.corrects.as_deref().map_or(Ok(()), |o| id("client id of a fill", o))?;
    text("reason", fill.reason.as_deref())?;
    time(fill.time)?;
    value("a fee", fill.fee)?;
    corrects(fill.corrects.as_deref(), fill.void, fill.reason.as_deref())
}

/// A correction says why.
fn corrects(corrects: Option<&str>, void: bool, reason: Option<&str>) -> Result<()> {
    match (corrects, void, reason) {
        (None, true, _) => {
            Err(Error::invalid("what is void corrects something").hint("name it in `corrects`"))
        }
        (Some(_), _, None) => Err(Error::invalid("a correction needs a reason").hint("write it in `reason`")),
        _ => Ok(()),
    }
}

/// What can be said of an order alone.
pub(super) fn order(order: &NewOrder) -> Result<()> {
    id("client id", &order.client_id)?;
    time(order.time)?;
    let (limit, stop) = match order.kind {
        OrderType::Market => (false, false),
        OrderType::Limit => (true, false),
        OrderType::Stop => (false, true),
        OrderType::StopLimit => (true, true),
        OrderType::Other => (order.limit_price.is_some(), order.stop_price.is_some()),
    };
    for (name, wanted, there) in [
        ("limit_price", limit, order.limit_price.is_some()),
        ("stop_price", stop, order.stop_price.is_some()),
    ] {
        if wanted != there {
            let what = if wanted { "needs a" } else { "has no" };
            return Err(Error::invalid(format!("an order of type `{}` {what} `{name}`", order.kind.word()))
                .hint("`market`, `limit`, `stop` and `stop-limit` say which prices there are; `other` takes any"));
        }
    }
    if order.skill.is_some() != order.version.is_some() {
        return Err(Error::invalid("a skill and its version go together").hint("give both, or none"));
    }
    if order.signal.to_string().len() > SIGNAL_BYTES_MAX {
        return Err(Error::limit(
            "the signal of an order",
            format!("{SIGNAL_BYTES_MAX} bytes"),
            "keep it in a file and name that",
        ));
    }
    Ok(())
}

/// The amount with the sign that it has for the account.
pub(super) fn cash(cash: &NewCash) -> Result<Number> {
    id("client id", &cash.client_id)?;
    cash.corrects.as_deref().map_or(Ok(()), |o| id("client id of a movement of cash", o))?;
    currency(&cash.currency)?;
    text("reason", cash.reason.as_deref())?;
    time(cash.time)?;
    value("an amount", cash.amount)?;
    corrects(cash.corrects.as_deref(), cash.void, cash.reason.as_deref())?;
    let plain = matches!(cash.kind, CashKind::Deposit | CashKind::Withdrawal | CashKind::Fee | CashKind::Tax);
    if cash.amount.is_zero() || (plain && cash.amount.is_negative()) {
        return Err(Error::invalid(format!(
            "the amount {} of a {} is not above zero",
            cash.amount,
            cash.kind.word()
        ))
        .hint("`deposit` adds and `withdrawal`, `fee` and `tax` take away; others have a sign"));
    }
    Ok(match cash.kind {
        CashKind::Withdrawal | CashKind::Fee | CashKind::Tax => -cash.amount,
        _ => cash.amount,
    })
}
