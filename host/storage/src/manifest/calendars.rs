//! `[calendars.NAME]`: when a market trades.

use super::load::{NAME_RULE, is_name};
use super::reader::Section;
use crate::series::kinds::{Session, working_days};
use std::collections::BTreeMap;

pub(super) fn read_calendars(root: &Section<'_, '_>) -> BTreeMap<String, Session> {
    let mut out = BTreeMap::new();
    for (name, s) in root.named("calendars") {
        if !is_name(&name) {
            s.problem("", NAME_RULE);
        }
        let given = [
            s.required("timezone", "\"America/New_York\""),
            s.required("open", "\"09:30\""),
            s.required("close", "\"16:00\""),
        ];
        let weekdays =
            if s.keys().iter().any(|k| k == "weekdays") { s.texts("weekdays") } else { working_days() };
        let holidays = s.texts("holidays");
        let e = s.section("early");
        let early = e.keys().into_iter().filter_map(|date| Some((date.clone(), e.text(&date)?))).collect();
        e.finish();
        s.finish();
        // What is missing was said already.
        let [Some(timezone), Some(open), Some(close)] = given else { continue };
        let session = Session { timezone, open, close, weekdays, holidays, early };
        for (key, why) in session.check().err().into_iter().flatten() {
            s.problem(key, why);
        }
        out.insert(name, session);
    }
    out
}
