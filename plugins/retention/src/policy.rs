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
    DropBefore { key: Key, before: i64 },
}

/// What is proposed so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// There is more to say than fits into one call.
    pub more: bool,
    pub rollups: u64,
    pub drops: u64,
}

impl Plan {
    /// Adds what is to be done about one series. `false` when the plan is full: the series waits for the next call.
    pub fn consider(&mut self, config: &Config, now: i64, series: &Series) -> bool {
        let Some(rule) = Rule::of(config, series) else { return true };
        let before = cutoff(now, rule.days, rule.step_days);
        if series.first >= before {
            return true;
        }
        // A series goes in whole: its rollups and its drop are of one call.
        if self.actions.len() + rule.rollups.len() + 1 > ACTIONS_MAX {
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
        self.actions.push(Action::DropBefore { key: series.key.clone(), before });
        self.drops += 1;
        true
    }
}

/// What holds for a series: rolled up to these timeframes, then dropped after so many days.
struct Rule<'c> {
    days: u32,
    step_days: i64,
    rollups: Vec<&'c str>,
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
            }),
            (Kind::Bar, Some("1m")) => {
                Some(Self { days: config.bar_1m_days, step_days: step, rollups: rollups().collect() })
            }
            (Kind::Book, _) => Some(Self::drop_after(config.book_days)),
            (Kind::Signal, _) => config.signal_days.map(Self::drop_after),
            (Kind::Metric, _) => config.metric_days.map(Self::drop_after),
            (Kind::Bar | Kind::Other, _) => None,
        }
    }

    fn drop_after(days: u32) -> Self {
        Self { days, step_days: 1, rollups: Vec::new() }
    }
}

/// The time before which rows are older than `days`, rounded down to whole UTC days, or to whole weeks: rows go in steps
/// that no bar straddles.
fn cutoff(now: i64, days: u32, step_days: i64) -> i64 {
    let day = now.div_euclid(DAY_NS) - i64::from(days);
    let day = if step_days == 7 { day - (day - FIRST_MONDAY_DAY).rem_euclid(7) } else { day };
    day.saturating_mul(DAY_NS)
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
        }
    }

    fn series(kind: Kind, timeframe: Option<&str>, first: i64) -> Series {
        let key =
            Key { bucket: "market".into(), measurement: "m".into(), tags: vec![("a".into(), "b".into())] };
        Series { key, kind, timeframe: timeframe.map(Into::into), first }
    }

    /// Timeframes of the rollups, and the day before which rows go.
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
                let before = cutoff(now, crate::config::DAYS_MAX, step);
                assert!(before <= now, "{now}");
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
