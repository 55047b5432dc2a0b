//! Files that say of themselves what is not so: each is refused before it costs more than it may.

use super::made::{Column, Page, data, dictionary, file, times};
use super::*;

const INT64: i64 = 2;
const TEXT: i64 = 6;
const ZSTD: i64 = 6;

fn ns() -> Import {
    Import { unit: Some("ns".into()), ..of_m() }
}

fn refused(bytes: &[u8], words: &[&str]) {
    let (_dir, s) = store("");
    let e = import(&s, bytes, &ns()).unwrap_err();
    let whole = format!("{e}");
    assert!(words.iter().all(|w| whole.contains(w)), "{words:?}: {whole}");
    assert!(matches!(e.kind(), Kind::Invalid | Kind::Limit) && e.hint_text().is_some(), "{e:?}");
    assert!(s.engine().list(&Default::default()).unwrap().is_empty());
}

fn with(rows: i64, physical: i64, codec: i64, pages: Vec<Page>) -> Vec<u8> {
    file(rows, &[times(rows), Column { name: "v", physical, codec, pages }])
}

fn longs(count: i64) -> Vec<u8> {
    (0..count).flat_map(i64::to_le_bytes).collect()
}

#[test]
fn what_is_made_here_is_read() {
    let (_dir, s) = store("");
    let pages = vec![data(2, 0, 16, &longs(2)), data(1, 0, 8, &longs(1))];
    assert_eq!(import(&s, &with(3, INT64, 0, pages), &ns()).unwrap().written, 3);
    let values: Vec<_> = field(&s, "v").into_iter().map(|(_, v)| v.unwrap()).collect();
    assert_eq!(values, [0, 1, 0].map(Value::Integer));
    // A dictionary of two texts, and three places in it: a width of one bit, a run of eight.
    let (_dir, s) = store("");
    let texts = [&2_u32.to_le_bytes()[..], b"ab", &0_u32.to_le_bytes()].concat();
    let pages = vec![dictionary(2, 10, &texts), data(3, 8, 3, &[1, 3, 0b010])];
    import(&s, &with(3, TEXT, 0, pages), &ns()).unwrap();
    let values: Vec<_> = field(&s, "v").into_iter().map(|(_, v)| v.unwrap()).collect();
    assert_eq!(values, ["ab", "", "ab"].map(|t| Value::String(t.into())));
}

#[test]
fn footers_that_lie() {
    let good = with(3, INT64, 0, vec![data(3, 0, 24, &longs(3))]);
    let end = good.len();
    refused(b"PAR1", &["short"]);
    refused(&good[..end - 1], &["ends early"]);
    let patched = |at: usize, bytes: &[u8]| {
        let mut out = good.clone();
        out[at..at + bytes.len()].copy_from_slice(bytes);
        out
    };
    refused(&patched(end - 8, &u32::MAX.to_le_bytes()), &["footer", &FOOTER_BYTES_MAX.to_string()]);
    refused(&patched(end - 8, &(FOOTER_BYTES_MAX as u32).to_le_bytes()), &["longer than the file"]);
    refused(&patched(end - 8, &1_u32.to_le_bytes()), &["footer"]);
    refused(&patched(end - 4, b"PARE"), &["encrypted"]);
    let columns = |name: &'static str, rows| {
        file(
            rows,
            &[times(3), Column { name, physical: INT64, codec: 0, pages: vec![data(3, 0, 24, &longs(3))] }],
        )
    };
    refused(&columns("v", FILE_ROWS_MAX + 1), &["number of rows"]);
    refused(&columns("v", -1), &["number of rows"]);
    refused(&columns("v", 4), &["fewer values"]);
    refused(&columns("v", 2), &["more values"]);
}

#[test]
fn pages_that_lie() {
    let most = PAGE_BYTES_MAX as i64;
    for (pages, words) in [
        (vec![data(3, 0, most + 1, &longs(3))], &["page", "67108864"][..]),
        (vec![data(3, 0, -1, &longs(3))], &["page"]),
        (vec![data(3, 0, 25, &longs(3))], &["unpack"]),
        (vec![data(2, 0, 16, &longs(2))], &["fewer values"]),
        (vec![data(3, 8, 2, &[1, 6])], &["dictionary"]),
        (vec![data(3, 7, 24, &longs(3))], &["number 7"]),
        (
            vec![dictionary(1, 8, &longs(1)), dictionary(1, 8, &longs(1)), data(3, 8, 2, &[1, 6])],
            &["two dictionaries"],
        ),
        (vec![dictionary(i64::from(u32::MAX), 8, &longs(1)), data(3, 8, 2, &[1, 6])], &["dictionary"]),
        // A place in the dictionary that it does not have: the decoder panics, the host does not.
        (vec![dictionary(1, 8, &longs(1)), data(3, 8, 3, &[8, 6, 200])], &["decoded"]),
        (vec![dictionary(1, 8, &longs(1)), data(3, 8, 3, &[200, 6, 0])], &["wide"]),
        // Four billion differences, and blocks of such a size.
        (vec![data(3, 5, 9, &[128, 1, 4, 255, 255, 255, 255, 15, 0])], &["blocks"]),
        (vec![data(3, 5, 9, &[128, 128, 128, 128, 8, 4, 3, 0, 0])], &["blocks"]),
    ] {
        refused(&with(3, INT64, 0, pages), words);
    }
    let count = [128, 1, 4, 255, 255, 255, 255, 15, 0];
    refused(&with(3, TEXT, 0, vec![data(3, 6, 9, &count)]), &["blocks"]);
    for (codec, name) in [(3, "LZO"), (4, "Brotli"), (5, "LZ4"), (7, "LZ4"), (99, "unknown")] {
        refused(&with(3, INT64, codec, vec![data(3, 0, 24, &longs(3))]), &[name]);
    }
}

#[test]
fn bombs_stop_at_their_bounds() {
    let huge = |bytes: usize| zstd::bulk::compress(&vec![0; bytes], 1).unwrap();
    let most = PAGE_BYTES_MAX;
    // It says the bound, and unpacks to more.
    let bomb = huge(most + 1);
    refused(&with(3, INT64, ZSTD, vec![data(3, 0, most as i64, &bomb)]), &["unpack"]);
    let fits = huge(most);
    let wide = |columns: usize| {
        let names = ["a", "b", "c", "d"];
        let column = |at: usize| {
            let pages = vec![data(3, 0, most as i64, &fits)];
            Column { name: names[at], physical: INT64, codec: ZSTD, pages }
        };
        let all: Vec<Column> = std::iter::once(times(3)).chain((0..columns).map(column)).collect();
        file(3, &all)
    };
    let (_dir, s) = store("");
    assert_eq!(import(&s, &wide(3), &ns()).unwrap().written, 3);
    refused(&wide(4), &["at once", &OPEN_BYTES_MAX.to_string()]);
    // Sixteen million texts without a byte.
    let dictionary_of = |values: usize| {
        let body = huge(values * 4);
        let pages = vec![dictionary(values as i64, values as i64 * 4, &body), {
            let place = zstd::bulk::compress(&[1, 6, 0], 1).unwrap();
            data(3, 8, 3, &place)
        }];
        with(3, TEXT, ZSTD, pages)
    };
    assert_eq!(import(&store("").1, &dictionary_of(1_000), &ns()).unwrap().rows, 3);
    refused(&dictionary_of(most / 4), &["at once"]);
}
