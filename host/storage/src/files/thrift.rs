//! Compression where it pays, which a sample of the content says.

use crate::error::{Error, Result};

/// Of so many chunks that were not worth it one is tried again.
const SAMPLE_EVERY: u32 = 16;
/// Of a chunk compression must save one part in so many.
const SAVES_AT_LEAST: usize = 10;
const ZSTD_LEVEL: i32 = 3;

/// Compresses where it pays.
pub(super) struct Thrift {
    zstd: zstd::bulk::Compressor<'static>,
    pays: bool,
    since: u32,
}

impl Thrift {
    pub(super) fn new() -> Result<Self> {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(|e| Error::io("zstd", e))?;
        Ok(Self { zstd, pays: true, since: 0 })
    }

    /// `None`: it stays as it is.
    pub(super) fn pack(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        if !self.pays && self.since < SAMPLE_EVERY {
            self.since += 1;
            return None;
        }
        self.since = 0;
        let packed = self.zstd.compress(chunk).ok();
        let packed = packed.filter(|p| p.len() <= chunk.len() - chunk.len() / SAVES_AT_LEAST);
        // What saves a part of a tiny chunk in whole numbers may save nothing.
        let packed = packed.filter(|p| p.len() < chunk.len());
        self.pays = packed.is_some();
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random::Random;

    #[test]
    fn what_does_not_pay_is_tried_again_now_and_then() {
        let mut thrift = Thrift::new().unwrap();
        let (noise, text) = (Random::new(1).bytes(10_000), b"line of a log\n".repeat(700));
        assert!(thrift.pack(&text).unwrap().len() < 200);
        assert_eq!(thrift.pack(&noise), None);
        let tried = (0..=SAMPLE_EVERY).position(|_| thrift.pack(&text).is_some());
        assert_eq!(tried, Some(SAMPLE_EVERY as usize));
        assert!(thrift.pack(&text).is_some(), "now it pays");
        for tiny in [&b"a"[..], b"ab", b"aaaaaaaaaaaa"] {
            assert!(thrift.pack(tiny).is_none_or(|p| p.len() < tiny.len()));
        }
    }
}
