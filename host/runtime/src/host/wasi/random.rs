//! Random bytes: the system's with the grant `random`, else a sequence that the same call sees again.

use crate::state::State;
use sha2::{Digest as _, Sha256};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

/// Random bytes of one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Where random bytes come from.
pub(super) enum Source {
    System,
    /// SHA-256 of a key and a counter: no secret, but without a pattern that a program would stumble over.
    Seeded {
        key: [u8; 32],
        next: u64,
    },
}

impl Source {
    /// The sequence of a plugin with this configuration at `now`.
    pub(super) fn seeded(plugin: &str, config: &str, now: i64) -> Self {
        let mut hash = Sha256::new();
        for part in [plugin.as_bytes(), config.as_bytes(), &now.to_le_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self::Seeded { key: hash.finalize().into(), next: 0 }
    }

    fn fill(&mut self, out: &mut [u8]) -> wasmtime::Result<()> {
        match self {
            Self::System => {
                getrandom::fill(out).map_err(|e| wasmtime::Error::msg(format!("no random bytes: {e}")))
            }
            Self::Seeded { key, next } => {
                for chunk in out.chunks_mut(32) {
                    let block = Sha256::new().chain_update(&key).chain_update(next.to_le_bytes()).finalize();
                    *next = next.wrapping_add(1);
                    for (to, from) in chunk.iter_mut().zip(block) {
                        *to = from;
                    }
                }
                Ok(())
            }
        }
    }

    fn bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if count > RANDOM_BYTES_MAX {
            return Err(wasmtime::Error::msg(format!(
                "it asked for {count} random bytes at once; the limit is {RANDOM_BYTES_MAX}"
            )));
        }
        let mut out = vec![0; usize::try_from(count)?];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        let mut out = [0; 8];
        self.fill(&mut out)?;
        Ok(u64::from_le_bytes(out))
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.wasi().random.bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.wasi().random.number()
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.wasi().random.bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.wasi().random.number()
    }
}

impl insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.wasi().random.number()?, self.wasi().random.number()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_source_repeats_itself_for_the_same_call_only() {
        let first = |plugin: &str, config: &str, now| {
            let mut source = Source::seeded(plugin, config, now);
            (source.bytes(40).unwrap(), source.number().unwrap())
        };
        assert_eq!(first("p", "{}", 1), first("p", "{}", 1));
        let others = [
            first("p", "{}", 1),
            first("q", "{}", 1),
            first("p", "{ }", 1),
            first("p", "{}", 2),
            first("p{", "}", 1),
        ];
        let distinct: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
        let mut source = Source::seeded("p", "{}", 1);
        assert_ne!(source.number().unwrap(), source.number().unwrap());
    }

    #[test]
    fn a_call_gives_at_most_its_bound() {
        for mut source in [Source::System, Source::seeded("p", "", 0)] {
            assert!(source.bytes(0).unwrap().is_empty());
            assert_eq!(source.bytes(RANDOM_BYTES_MAX).unwrap().len() as u64, RANDOM_BYTES_MAX);
            let e = source.bytes(RANDOM_BYTES_MAX + 1).unwrap_err();
            assert!(format!("{e}").contains("65536"), "{e}");
        }
    }
}
