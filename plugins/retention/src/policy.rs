//! The policy itself: plain data in, plain data out. It knows nothing of WebAssembly, so its tests run natively.
//!
//! It remembers nothing between calls. What it proposes is executed before it is called again, and then there is less to
//! propose: a series whose first row is young enough is left alone.

use crate::config::Config;

pub const DAY_NS: i64 = 86_400_000_000_000;
/// 1970-01-05 was the first Monday; weeks begin on Mondays.
const FIRST_MONDAY_DAY: i64 = 4;
/// Actions of one call; below the host's bound of 10,000, and soon executed.
pub const ACTIONS_MAX: usize = 5_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub bucket: String,
    pub measurement: String,
    pub tags: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bar,
    Tick,
    Book,
    Signal,
    Metric,
    Other,
}

/// What the policy looks at of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub key: Key,
    pub kind: Kind,
    pub timeframe: Option<String>,
    /// Time of the first row, in nanoseconds.
    pub first: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Downsample { key: Key, timeframe: String, before: i64 },
    Archive { key: Key, store: String, before: i64 },
    DropBefore { key: Key, before: i64 },
}

/// What is proposed so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// There is more to say than fits into one call.
    pub more: bool,
    pub rollups: u64,
    pub archives: u64,
    pub drops: u64,
}

impl Plan {
    /// Adds what is to be done about one series. `false` when the plan is full: the series waits for the next call.
    pub fn consider(&mut self, config: &Config, now: i64, series: &Series) -> bool {
        let Some(rule) = Rule::of(config, series) else { return true };
        let archive = config.archive_to.as_deref();
        let before = cutoff(now, rule.days, rule.step_days, archive.is_some() && rule.files_of_months);
        if series.first >= before {
            return true;
        }
        // A series goes in whole: its rollups, its archive and its drop are of one call.
        if self.actions.len() + rule.rollups.len() + usize::from(archive.is_some()) + 1 > ACTIONS_MAX {
            self.more = true;
            return false;
        }
        // Proposed even if the rollup was made before: late rows may have come in since, and doing it twice does no harm.
        for timeframe in rule.rollups {
            self.actions.push(Action::Downsample {
                key: series.key.clone(),
                timeframe: timeframe.into(),
                before,
            });
            self.rollups += 1;
        }
        if let Some(store) = archive {
            self.actions.push(Action::Archive { key: series.key.clone(), store: store.into(), before });
            self.archives += 1;
        }
        self.actions.push(Action::DropBefore { key: series.key.clone(), before });
        self.drops += 1;
        true
    }
}

/// What holds for a series: rolled up to these timeframes, then archived where there is a store for it, and dropped after so many
/// days.
struct Rule<'c> {
    days: u32,
    step_days: i64,
    rollups: Vec<&'c str>,
    /// The host writes a file of archived rows a month, not a day: what goes a day at a time would be thirty.
    files_of_months: bool,
}

impl<'c> Rule<'c> {
    /// None: the series stays for ever, as every rollup does.
    fn of(config: &'c Config, series: &Series) -> Option<Self> {
        let rollups = || config.rollups.iter().map(String::as_str);
        let step = config.step_days();
        match (series.kind, series.timeframe.as_deref()) {
            (Kind::Tick, _) => Some(Self {
                days: config.tick_days,
                step_days: step,
                rollups: std::iter::once("1m").chain(rollups()).collect(),
                files_of_months: false,
            }),
            (Kind::Bar, Some("1m")) => Some(Self {
                days: config.bar_1m_days,
                step_days: step,
                rollups: rollups().collect(),
                files_of_months: true,
            }),
            (Kind::Book, _) => Some(Self::drop_after(config.book_days, false)),
            (Kind::Signal, _) => config.signal_days.map(|days| Self::drop_after(days, true)),
            (Kind::Metric, _) => config.metric_days.map(|days| Self::drop_after(days, true)),
            (Kind::Bar | Kind::Other, _) => None,
        }
    }

    fn drop_after(days: u32, files_of_months: bool) -> Self {
        Self { days, step_days: 1, rollups: Vec::new(), files_of_months }
    }
}

/// The time before which rows are older than `days`, rounded down to whole UTC days, months or weeks: rows go in steps that no bar
/// straddles.
fn cutoff(now: i64, days: u32, step_days: i64, months: bool) -> i64 {
    let day = now.div_euclid(DAY_NS) - i64::from(days);
    let day = if months { month_of(day) } else { day };
    let day = if step_days == 7 { day - (day - FIRST_MONDAY_DAY).rem_euclid(7) } else { day };
    day.saturating_mul(DAY_NS)
}

/// The first day of the month that a day is in, both counted from 1970-01-01. Years begin in March here, so that a leap day is
/// the last of one.
fn month_of(day: i64) -> i64 {
    /// From 0000-03-01 to 1970-01-01, and in 400 years.
    const EPOCH: i64 = 719_468;
    const ERA: i64 = 146_097;
    let of_era = (day + EPOCH).rem_euclid(ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    day - (of_year - (153 * month + 2) / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: i64 = DAY_NS / 24;
    /// 2026-05-27, a Wednesday, 10:00.
    const TODAY: i64 = 20_600;
    const NOW: i64 = TODAY * DAY_NS + 10 * HOUR_NS;

    fn config() -> Config {
        Config {
            tick_days: 2,
            bar_1m_days: 90,
            book_days: 3,
            rollups: vec!["1h".into(), "1d".into()],
            signal_days: None,
            metric_days: None,
            archive_to: None,
        }
    }

    fn series(kind: Kind, timeframe: Option<&str>, first: i64) -> Series {
        let key =
            Key { bucket: "market".into(), measurement: "m".into(), tags: vec![("a".into(), "b".into())] };
        Series { key, kind, timeframe: timeframe.map(Into::into), first }
    }

    /// Timeframes of the rollups with the store of an archive behind them, and the day before which rows go.
    fn told(config: &Config, series: &Series) -> (Vec<String>, Option<i64>) {
        let mut plan = Plan::default();
        assert!(plan.consider(config, NOW, series));
        let (mut rollups, mut day) = (Vec::new(), None);
        for action in plan.actions {
            assert_eq!(day, None, "the drop comes last");
            match action {
                Action::Downsample { key, timeframe, before } => {
                    assert_eq!((&key, before % DAY_NS), (&series.key, 0));
                    rollups.push(timeframe);
                }
                Action::Archive { key, store, before } => {
                    assert_eq!((&key, before % DAY_NS), (&series.key, 0));
                    rollups.push(store);
                }
                Action::DropBefore { key, before } => {
                    assert_eq!((&key, before % DAY_NS), (&series.key, 0));
                    day = Some(before / DAY_NS);
                }
            }
        }
        (rollups, day)
    }

    #[test]
    fn ticks_become_bars_and_go() {
        assert_eq!(
            told(&config(), &series(Kind::Tick, None, 0)),
            (vec!["1m".into(), "1h".into(), "1d".into()], Some(TODAY - 2))
        );
    }

    #[test]
    fn one_minute_bars_become_rollups_and_go() {
        assert_eq!(
            told(&config(), &series(Kind::Bar, Some("1m"), 0)),
            (vec!["1h".into(), "1d".into()], Some(TODAY - 90))
        );
    }

    #[test]
    fn books_go_without_a_rollup() {
        assert_eq!(told(&config(), &series(Kind::Book, None, 0)), (vec![], Some(TODAY - 3)));
    }

    #[test]
    fn rollups_and_unknown_series_stay_for_ever() {
        for timeframe in [Some("1h"), Some("1d"), Some("5m"), None] {
            assert_eq!(told(&config(), &series(Kind::Bar, timeframe, i64::MIN)), (vec![], None));
        }
        assert_eq!(told(&config(), &series(Kind::Other, None, i64::MIN)), (vec![], None));
    }

    #[test]
    fn signals_and_metrics_stay_unless_told() {
        let mut config = config();
        assert_eq!(told(&config, &series(Kind::Signal, None, 0)), (vec![], None));
        assert_eq!(told(&config, &series(Kind::Metric, None, 0)), (vec![], None));
        (config.signal_days, config.metric_days) = (Some(10), Some(20));
        assert_eq!(told(&config, &series(Kind::Signal, None, 0)), (vec![], Some(TODAY - 10)));
        assert_eq!(told(&config, &series(Kind::Metric, None, 0)), (vec![], Some(TODAY - 20)));
    }

    #[test]
    fn only_what_has_an_effect_is_proposed() {
        let edge = (TODAY - 2) * DAY_NS;
        assert_eq!(told(&config(), &series(Kind::Tick, None, edge)), (vec![], None));
        assert_eq!(told(&config(), &series(Kind::Tick, None, edge - 1)).1, Some(TODAY - 2));
    }

    #[test]
    fn weeks_go_whole_from_monday() {
        let mut config = config();
        config.rollups = vec!["1d".into(), "1w".into()];
        // Two days before Wednesday is the Monday itself; a day earlier it is the Monday before.
        assert_eq!(told(&config, &series(Kind::Tick, None, 0)).1, Some(TODAY - 2));
        config.tick_days = 3;
        assert_eq!(told(&config, &series(Kind::Tick, None, 0)).1, Some(TODAY - 9));
    }

    #[test]
    fn rows_are_archived_before_they_go_where_there_is_a_store() {
        let mut config = config();
        config.archive_to = Some("cold".into());
        (config.signal_days, config.metric_days) = (Some(10), Some(40));
        let words = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        // A file a day: they go a day at a time.
        let tick = told(&config, &series(Kind::Tick, None, 0));
        assert_eq!(tick, (words(&["1m", "1h", "1d", "cold"]), Some(TODAY - 2)));
        assert_eq!(told(&config, &series(Kind::Book, None, 0)), (words(&["cold"]), Some(TODAY - 3)));
        // A file a month: 17 May and 17 April are in the months that stay; of 26 February the same.
        assert_eq!(told(&config, &series(Kind::Signal, None, 0)), (words(&["cold"]), Some(TODAY - 26)));
        assert_eq!(told(&config, &series(Kind::Metric, None, 0)), (words(&["cold"]), Some(TODAY - 56)));
        let bar = told(&config, &series(Kind::Bar, Some("1m"), 0));
        assert_eq!(bar, (words(&["1h", "1d", "cold"]), Some(TODAY - 115)));
        // Whole weeks before the month: Sunday 1 February ends one.
        config.rollups = vec!["1w".into()];
        let bar = told(&config, &series(Kind::Bar, Some("1m"), 0));
        assert_eq!(bar, (words(&["1w", "cold"]), Some(TODAY - 121)));
        assert_eq!(
            told(&config, &series(Kind::Bar, Some("1h"), 0)),
            (vec![], None),
            "what stays is not archived"
        );
    }

    #[test]
    fn months_begin_where_the_calendar_says() {
        let mut first = 0;
        for year in 1970..2_405_i64 {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            for days in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                for day in [first, first + 1, first + days - 1] {
                    assert_eq!(month_of(day), first, "day {day} of {year}");
                }
                first += days;
            }
        }
        assert_eq!((month_of(-1), month_of(-31), month_of(-32)), (-31, -31, -61));
    }

    #[test]
    fn a_full_plan_says_that_there_is_more_and_keeps_each_series_whole() {
        let (config, tick) = (config(), series(Kind::Tick, None, 0));
        let mut plan = Plan::default();
        let fitting = ACTIONS_MAX / 4;
        for i in 0..fitting {
            assert!(plan.consider(&config, NOW, &tick), "{i}");
        }
        assert_eq!((plan.actions.len(), plan.more), (ACTIONS_MAX, false));
        // What needs nothing still passes.
        assert!(plan.consider(&config, NOW, &series(Kind::Other, None, 0)));
        assert!(!plan.consider(&config, NOW, &tick));
        assert_eq!((plan.actions.len(), plan.more), (ACTIONS_MAX, true));
        assert_eq!((plan.rollups, plan.drops), (3 * fitting as u64, fitting as u64));
    }

    #[test]
    fn absurd_clocks_do_not_overflow() {
        for now in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX] {
            for step in [1, 7] {
                for months in [false, true] {
                    assert!(cutoff(now, crate::config::DAYS_MAX, step, months) <= now, "{now}");
                }
            }
        }
    }

    #[test]
    fn what_was_executed_is_not_proposed_again() {
        let mut one = series(Kind::Bar, Some("1m"), 0);
        let Some(day) = told(&config(), &one).1 else { panic!("old bars go") };
        one.first = day * DAY_NS;
        assert_eq!(told(&config(), &one), (vec![], None));
    }
}
