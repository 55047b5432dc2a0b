//! `[plugins.NAME.config]` as the queries use it. The host has checked it against the schema in `plugin.toml`, which cannot
//! say what a zone, a time or a date is; that is checked here, together with all the rest.

use crate::calendar::Calendar;
use crate::params::is_visible;
use chrono::NaiveDate;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const CALENDARS_MAX: usize = 32;
/// Holidays, and early closes, of one calendar: more than ten a year for four hundred years.
const DATES_MAX: usize = 4_096;
const NAME_CHARS_MAX: usize = 64;
const BUCKET_BYTES_MAX: usize = 255;
const MIDNIGHT: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The bucket that every query reads; none: the host's own.
    pub bucket: Option<String>,
    /// The first is the default.
    pub calendars: Vec<Calendar>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    bucket: Option<String>,
    #[serde(default)]
    calendars: Vec<WrittenCalendar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCalendar {
    name: String,
    timezone: String,
    open: String,
    close: String,
    days: Vec<String>,
    #[serde(default)]
    holidays: Vec<String>,
    #[serde(default)]
    early_closes: Vec<EarlyClose>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EarlyClose {
    date: String,
    close: String,
}

impl Config {
    /// The configuration from its JSON, or the sentence that the operator reads.
    pub fn parse(json: &str) -> Result<Self, String> {
        let written: Written =
            serde_json::from_str(json).map_err(|e| format!("the configuration cannot be read: {e}"))?;
        if written.bucket.as_ref().is_some_and(|b| b.is_empty() || b.len() > BUCKET_BYTES_MAX) {
            return Err(format!("`bucket` must have 1 to {BUCKET_BYTES_MAX} bytes"));
        }
        if written.calendars.len() > CALENDARS_MAX {
            return Err(format!("there are more than {CALENDARS_MAX} `calendars`"));
        }
        let mut calendars: Vec<Calendar> = Vec::with_capacity(written.calendars.len());
        for one in written.calendars {
            let name = one.name.clone();
            let wrong = |e| format!("the calendar `{}`: {e}", name.escape_debug());
            if calendars.iter().any(|c| c.name == name) {
                return Err(wrong("there are two of this name".into()));
            }
            calendars.push(calendar(one).map_err(wrong)?);
        }
        Ok(Self { bucket: written.bucket, calendars })
    }
}

fn calendar(written: WrittenCalendar) -> Result<Calendar, String> {
    if !is_visible(&written.name, NAME_CHARS_MAX) {
        return Err(format!("`name` must be 1 to {NAME_CHARS_MAX} visible characters"));
    }
    let zone = written.timezone.parse().map_err(|_| {
        let zone = written.timezone.escape_debug();
        format!("`timezone`: `{zone}` is not a time zone; write an IANA name such as `America/New_York`")
    })?;
    let mut calendar = Calendar {
        name: written.name,
        zone,
        open: minutes("open", &written.open)?,
        close: minutes("close", &written.close)?,
        days: days(&written.days)?,
        holidays: BTreeSet::new(),
        early_closes: BTreeMap::new(),
    };
    if calendar.open == MIDNIGHT {
        return Err("`open` is 24:00; write 00:00".into());
    }
    if written.holidays.len() > DATES_MAX || written.early_closes.len() > DATES_MAX {
        return Err(format!("there are more than {DATES_MAX} `holidays` or `early_closes`"));
    }
    for holiday in &written.holidays {
        calendar.holidays.insert(date("holidays", holiday)?);
    }
    for EarlyClose { date: day, close } in &written.early_closes {
        let minutes = minutes("early_closes", close)?;
        if minutes >= calendar.close || !calendar.crosses_midnight() && minutes <= calendar.open {
            return Err(format!("`early_closes`: {close} on {day} is not within the session"));
        }
        if calendar.early_closes.insert(date("early_closes", day)?, minutes).is_some() {
            return Err(format!("`early_closes` names {day} twice"));
        }
    }
    Ok(calendar)
}

fn days(names: &[String]) -> Result<[bool; 7], String> {
    let mut days = [false; 7];
    for name in names {
        let day = DAYS.iter().zip(&mut days).find(|(day, _)| *day == name).map(|(_, open)| open);
        match day {
            Some(open) if *open => return Err(format!("`days` names `{name}` twice")),
            Some(open) => *open = true,
            None => {
                let name = name.escape_debug();
                return Err(format!("`days` names `{name}`; it can hold {}", DAYS.join(", ")));
            }
        }
    }
    if names.is_empty() { Err("`days` is empty: there would be no session".into()) } else { Ok(days) }
}

/// Minutes after midnight of `HH:MM`, at most 24:00.
fn minutes(key: &str, text: &str) -> Result<u16, String> {
    let two = |digits: &str| match digits.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
        }
        _ => None,
    };
    text.split_once(':')
        .and_then(|(hours, minutes)| two(hours).zip(two(minutes)))
        .filter(|(_, minutes)| *minutes < 60)
        .map(|(hours, minutes)| hours * 60 + minutes)
        .filter(|total| *total <= MIDNIGHT)
        .ok_or_else(|| format!("`{key}`: `{}` is not a time of day; write HH:MM", text.escape_debug()))
}

fn date(key: &str, text: &str) -> Result<NaiveDate, String> {
    // Two spellings of one date would slip past the check for repeats of whoever compares texts.
    let parsed = text.parse::<NaiveDate>().ok().filter(|date| date.to_string() == text);
    parsed.ok_or_else(|| format!("`{key}`: `{}` is not a date; write YYYY-MM-DD", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::CALENDARS;

    /// The configuration of the tests with a text of it replaced.
    fn with(old: &str, new: &str) -> Result<Config, String> {
        assert!(CALENDARS.contains(old), "{old}");
        Config::parse(&CALENDARS.replacen(old, new, 1))
    }

    #[test]
    fn everything_may_be_left_out() {
        assert_eq!(Config::parse("{}").unwrap(), Config::default());
    }

    #[test]
    fn calendars_are_read_in_their_order() {
        let config = Config::parse(CALENDARS).unwrap();
        let [nyse, futures] = &config.calendars[..] else { panic!("two calendars") };
        assert_eq!((config.bucket.as_deref(), nyse.name.as_str()), (Some("market"), "nyse"));
        assert_eq!((nyse.open, nyse.close, nyse.crosses_midnight()), (570, 960, false));
        assert_eq!(nyse.days, [true, true, true, true, true, false, false]);
        assert_eq!((nyse.holidays.len(), nyse.early_closes.values().next()), (1, Some(&780)));
        assert_eq!((futures.name.as_str(), futures.crosses_midnight()), ("futures", true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (old, new, words) in [
            ("\"market\"", "\"\"", "`bucket` must have 1 to 255 bytes"),
            ("\"market\"", "1", "cannot be read"),
            ("\"bucket\"", "\"buckets\"", "unknown field `buckets`"),
            ("\"nyse\"", "\"\"", "the calendar ``: `name` must be 1 to 64 visible"),
            ("\"nyse\"", "\"ny se\"", "visible"),
            ("\"nyse\"", "\"futures\"", "the calendar `futures`: there are two of this name"),
            ("New_York", "Newark", "the calendar `nyse`: `timezone`: `America/Newark` is not a time zone"),
            ("09:30", "9:30", "`open`: `9:30` is not a time of day; write HH:MM"),
            ("09:30", "09:60", "is not a time of day"),
            ("09:30", "24:00", "write 00:00"),
            ("16:00", "24:01", "`close`: `24:01` is not a time of day"),
            ("16:00", "+1:00", "is not a time of day"),
            ("\"mon\"", "\"monday\"", "`days` names `monday`; it can hold mon, tue"),
            ("\"mon\"", "\"tue\"", "`days` names `tue` twice"),
            ("2026-07-03", "2026-7-3", "`holidays`: `2026-7-3` is not a date"),
            ("2026-07-03", "2026-02-29", "is not a date"),
            ("\"13:00\"", "\"16:00\"", "`early_closes`: 16:00 on 2026-12-24 is not within the session"),
            ("\"13:00\"", "\"09:30\"", "not within the session"),
            ("\"13:00\"}", "\"13:00\"},{\"date\":\"2026-12-24\",\"close\":\"12:00\"}", "twice"),
        ] {
            let error = with(old, new).unwrap_err();
            assert!(error.contains(words), "{new}: {error}");
        }
        assert!(with("[\"mon\",\"tue\",\"wed\",\"thu\",\"fri\"]", "[]").unwrap_err().contains("is empty"));
    }

    #[test]
    fn bounds() {
        let one = r#"{"name":"N","timezone":"UTC","open":"00:00","close":"24:00","days":["mon"]"#;
        let calendars = |count: usize| {
            let all: Vec<String> =
                (0..count).map(|i| format!("{}}}", one.replace('N', &i.to_string()))).collect();
            Config::parse(&format!("{{\"calendars\":[{}]}}", all.join(",")))
        };
        assert_eq!(calendars(CALENDARS_MAX).unwrap().calendars.len(), CALENDARS_MAX);
        assert_eq!(calendars(CALENDARS_MAX + 1).unwrap_err(), "there are more than 32 `calendars`");
        let holidays = |count: usize| {
            let dates = vec!["\"2026-07-03\""; count].join(",");
            Config::parse(&format!("{{\"calendars\":[{one},\"holidays\":[{dates}]}}]}}"))
        };
        assert!(holidays(DATES_MAX).is_ok());
        assert!(holidays(DATES_MAX + 1).unwrap_err().contains("more than 4096 `holidays`"));
    }
}
