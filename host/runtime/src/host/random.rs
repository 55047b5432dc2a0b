//! `random`

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::random::Host;
use crate::state::State;
use shiphold_storage::{Error, Kind, Result};

/// Random bytes of one call.
const RANDOM_BYTES_MAX: u32 = 64 << 10;

impl Host for State {
    async fn bytes(&mut self, count: u32) -> wasmtime::Result<Result<Vec<u8>, Guest>> {
        Ok(bytes(count).map_err(|e| to_guest(&e)))
    }
}

fn bytes(count: u32) -> Result<Vec<u8>> {
    if count > RANDOM_BYTES_MAX {
        return Err(Error::limit(format!("{count} random bytes"), RANDOM_BYTES_MAX, "ask for fewer at once"));
    }
    let mut out = vec![0; count as usize];
    getrandom::fill(&mut out).map_err(|e| Error::new(Kind::Io, format!("no random bytes: {e}")))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_gives_at_most_its_bound() {
        assert!(bytes(0).unwrap().is_empty());
        let most = bytes(RANDOM_BYTES_MAX).unwrap();
        assert_eq!(most.len(), RANDOM_BYTES_MAX as usize);
        assert!(most.iter().any(|b| *b != most[0]));
        assert_eq!(bytes(RANDOM_BYTES_MAX + 1).unwrap_err().kind(), Kind::Limit);
    }
}
