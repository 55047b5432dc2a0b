use super::*;
use crate::frame::Values;
use crate::testing::{self, Dice, batches, folded};
use std::cell::RefCell;
use std::rc::Rc;

const NO: f64 = f64::NAN;

/// A market of one book, that remembers what was asked of it.
#[derive(Clone, Default)]
struct Book {
    frames: Vec<Frame>,
    found: Vec<(Key, Vec<String>)>,
    /// Reads that were opened: from, to.
    opened: Rc<RefCell<Vec<(i64, i64)>>>,
}

/// Frames from the last to the first.
struct Frames(Vec<Frame>);

impl Scan for Frames {
    fn next(&mut self, rows_max: u32) -> Result<Option<Frame>, String> {
        assert!(rows_max <= QUOTES_MAX);
        Ok(self.0.pop())
    }
}

impl Market for Book {
    fn find(&self, bucket: &str, measurement: &str) -> Result<Vec<(Key, Vec<String>)>, String> {
        assert_eq!((bucket, measurement), ("market", "book.A"));
        Ok(self.found.clone())
    }

    fn open(&self, key: &Key, start: i64, end: i64, fields: &[&str]) -> Result<Box<dyn Scan>, String> {
        assert_eq!((key, fields), (&self.found[0].0, &QUOTE_FIELDS[..]));
        self.opened.borrow_mut().push((start, end));
        let frames = self.frames.iter().rev().cloned().collect();
        Ok(Box::new(Frames(frames)))
    }
}

fn key() -> Key {
    Key { bucket: "market".into(), measurement: "book.A".into(), tags: vec![("venue".into(), "X".into())] }
}

/// Quotes in frames of so many rows: time, bid, ask.
fn book(rows: usize, quotes: &[(i64, [f64; 2])]) -> Book {
    let frames = batches(&testing::frame(QUOTE_FIELDS, quotes), rows);
    let fields = ["ask_price_1", "bid_price_1", "bid_size_1"].map(String::from).into();
    Book { frames, found: vec![(key(), fields)], opened: Rc::default() }
}

fn join(tolerance: i64) -> TradesToQuotes {
    TradesToQuotes::new("market".into(), "book.A".into(), tolerance, None).unwrap()
}

fn trades(rows: &[(i64, [f64; 2])]) -> Frame {
    testing::frame(["price", "size"], rows)
}

/// The answer, for frames of quotes of every size.
fn joined(
    tolerance: i64,
    quotes: &[(i64, [f64; 2])],
    rows: &[(i64, [f64; 2])],
) -> Vec<(i64, Vec<Option<f64>>)> {
    let with_frames_of = |size: usize| {
        let book = book(size, quotes);
        folded(&trades(rows), || {
            let (book, mut one) = (book.clone(), join(tolerance));
            Box::new(move |batch, _| one.fold(&book, batch))
        })
    };
    let answer = with_frames_of(quotes.len().max(1));
    for size in 1..quotes.len() {
        assert_eq!(with_frames_of(size), answer, "frames of {size} quotes");
    }
    answer
}

fn without_quote(time: i64, price: f64, size: f64) -> (i64, Vec<Option<f64>>) {
    (time, vec![Some(price), Some(size), None, None, None, None, None])
}

#[test]
fn by_hand() {
    let quotes = [(10, [99.0, 101.0]), (20, [99.5, 100.0]), (30, [98.0, 102.0])];
    let rows = [(9, [100.0, 1.0]), (10, [101.0, 2.0]), (19, [99.25, 3.0]), (25, [99.5, 4.0])];
    let row = |time, cells: [f64; 7]| (time, cells.map(Some).to_vec());
    assert_eq!(
        joined(1_000, &quotes, &rows),
        [
            without_quote(9, 100.0, 1.0),
            row(10, [101.0, 2.0, 99.0, 101.0, 100.0, 0.0, 2.0]),
            row(19, [99.25, 3.0, 99.0, 101.0, 100.0, 9.0, 1.5]),
            row(25, [99.5, 4.0, 99.5, 100.0, 99.75, 5.0, 0.5]),
        ]
    );
}

#[test]
fn the_edge_of_the_tolerance_is_within_it() {
    let quotes = [(100, [1.0, 3.0])];
    let ages = |tolerance| -> Vec<Option<f64>> {
        let rows = [(99, [2.0, 1.0]), (100, [2.0, 1.0]), (105, [2.0, 1.0]), (106, [2.0, 1.0])];
        joined(tolerance, &quotes, &rows).into_iter().map(|(_, cells)| cells[5]).collect()
    };
    assert_eq!(ages(5), [None, Some(0.0), Some(5.0), None]);
    assert_eq!(ages(0), [None, Some(0.0), None, None]);
    assert_eq!(ages(i64::MAX), [None, Some(0.0), Some(5.0), Some(6.0)]);
}

#[test]
fn a_market_without_quotes_joins_none() {
    let rows = [(1, [5.0, 1.0]), (2, [6.0, 1.0])];
    let none = [without_quote(1, 5.0, 1.0), without_quote(2, 6.0, 1.0)];
    assert_eq!(joined(10, &[], &rows), none);
    let answer = join(10).fold(&Book::default(), &trades(&rows)).unwrap();
    assert_eq!(testing::rows(&[answer]), none);
}

#[test]
fn one_read_is_opened_at_the_first_trade_and_kept() {
    let book = book(1, &[(95, [1.0, 2.0]), (105, [1.0, 2.0])]);
    let mut one = TradesToQuotes::new("market".into(), "book.A".into(), 7, Some(1_000)).unwrap();
    one.fold(&book, &Frame::default()).unwrap();
    assert_eq!(*book.opened.borrow(), []);
    for time in 100..110 {
        one.fold(&book, &trades(&[(time, [1.0, 1.0])])).unwrap();
    }
    assert_eq!(*book.opened.borrow(), [(93, 1_000)]);
    // A host that gives more than was asked for is asked for no impossible range.
    let mut early = TradesToQuotes::new("market".into(), "book.A".into(), 7, Some(5)).unwrap();
    early.fold(&book, &trades(&[(100, [1.0, 1.0])])).unwrap();
    assert_eq!(book.opened.borrow().last(), Some(&(93, 93)));
}

#[test]
fn sides_and_sizes_may_be_missing() {
    let quotes = [(10, [1.0, NO]), (20, [NO, 2.0]), (30, [NO, NO])];
    let rows = [(15, [1.5, NO]), (35, [1.5, 1.0]), (36, [NO, 1.0])];
    assert_eq!(
        joined(100, &quotes, &rows),
        [
            (15, vec![Some(1.5), None, Some(1.0), None, None, Some(5.0), None]),
            (35, vec![Some(1.5), Some(1.0), None, Some(2.0), None, Some(15.0), None]),
        ]
    );
}

#[test]
fn it_is_what_a_search_through_all_quotes_finds() {
    let mut dice = Dice(4);
    let mut walk = |count: usize, step: f64| -> Vec<(i64, [f64; 2])> {
        let mut time = 0;
        let mut next = || {
            time += 1 + (dice.next() * step) as i64;
            (time, [dice.next(), 1.0 + dice.next()])
        };
        (0..count).map(|_| next()).collect()
    };
    let (quotes, rows) = (walk(40, 9.0), walk(30, 12.0));
    for (time, cells) in joined(6, &quotes, &rows) {
        let last = quotes.iter().rfind(|(t, _)| *t <= time && time - t <= 6);
        assert_eq!((cells[2], cells[3]), (last.map(|q| q.1[0]), last.map(|q| q.1[1])), "{time}");
        assert_eq!(cells[5], last.map(|q| (time - q.0) as f64));
    }
}

#[test]
fn quotes_that_cannot_be_told_are_an_error() {
    let one = trades(&[(1, [1.0, 1.0])]);
    let mut several = book(1, &[(1, [1.0, 2.0])]);
    several.found.push(several.found[0].clone());
    let error = join(1).fold(&several, &one).unwrap_err();
    assert!(error.contains("`book.A` is several series"), "{error}");
    let mut fields = book(1, &[(1, [1.0, 2.0])]);
    fields.found[0].1 = vec!["bid_price_1".into()];
    let error = join(1).fold(&fields, &one).unwrap_err();
    assert_eq!(error, "`book.A` has no field `ask_price_1`, and so no quotes");
}

#[test]
fn hostile_frames_and_bounds() {
    let good = book(1, &[(1, [1.0, 2.0])]);
    assert!(TradesToQuotes::new("b".into(), "m".into(), -1, None).is_err());
    assert_eq!(join(1).fold(&good, &Frame::default()).unwrap().columns.len(), 7);
    let back = trades(&[(2, [1.0, 1.0]), (1, [1.0, 1.0])]);
    assert!(join(1).fold(&good, &back).unwrap_err().contains("ascending"));
    assert!(join(1).fold(&good, &testing::frame(["price"], &[(1, [1.0])])).unwrap_err().contains("`size`"));

    let of = |frames: Vec<Frame>| {
        let book = Book { frames, ..good.clone() };
        join(1).fold(&book, &trades(&[(9, [1.0, 1.0])])).unwrap_err()
    };
    assert!(of(vec![Frame::default()]).contains("did not end"));
    assert!(
        of(vec![testing::frame(["bid_price_1"], &[(1, [1.0])])]).contains("lacks the field `ask_price_1`")
    );
    let quotes = testing::frame(QUOTE_FIELDS, &[(2, [1.0, 2.0]), (1, [1.0, 2.0])]);
    assert_eq!(of(vec![quotes]), "`book.A`: the rows are not in ascending time: 1 ns follows 2 ns");
    let mut words = testing::frame(QUOTE_FIELDS, &[(1, [1.0, 2.0])]);
    words.columns[0].values = Values::Strings(vec!["1".into()]);
    assert!(of(vec![words]).contains("`bid_price_1` holds no numbers"));

    let ends = [(i64::MIN, [1.0, 1.0]), (i64::MAX, [f64::MAX, 1.0])];
    let answer = joined(i64::MAX, &[(i64::MIN, [f64::MAX, f64::MAX])], &ends);
    // A mid past every float is no value.
    assert_eq!((answer[0].1[4], answer[0].1[5]), (None, Some(0.0)));
}
