//! A backup target that keeps nothing. `config.how` says in which way it is wrong.

wit_bindgen::generate!({ world: "backup-target-plugin", path: "../../wit" });

use exports::shiphold::host::backup_target::{BlobInfo, Guest, GuestUpload, Upload};
use shiphold::host::config;
use shiphold::host::types::Error;

struct Forgets;
struct Taking;

fn how(word: &str) -> bool {
    config::get().contains(&format!("\"{word}\""))
}

/// The same bytes for whoever asks.
const SIZE: u64 = 100;

impl GuestUpload for Taking {
    fn write(&self, _bytes: Vec<u8>) -> Result<(), Error> {
        match how("traps-at-write") {
            true => panic!("on purpose"),
            false => Ok(()),
        }
    }
    fn finish(&self) -> Result<(), Error> {
        match how("never-finishes") {
            true => loop {
                std::hint::spin_loop();
            },
            false => Ok(()),
        }
    }
}

impl Guest for Forgets {
    type Upload = Taking;

    fn put(_name: String, _size: u64) -> Result<Upload, Error> {
        if how("refuses") {
            return Err(Error::Denied("not \u{1b}[2J here".into()));
        }
        if how("says-it-is-there") {
            return Err(Error::Conflict("it is there already".into()));
        }
        Ok(Upload::new(Taking))
    }

    fn get(_name: String, _offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        if how("gives-too-much") {
            return Ok(vec![7; length as usize + 1]);
        }
        if how("gives-nothing") {
            return Ok(Vec::new());
        }
        Ok(vec![7; length as usize])
    }

    fn list(prefix: String, after: Option<String>, limit: u32) -> Result<Vec<BlobInfo>, Error> {
        let info = |name: String| BlobInfo { name, size: 1 };
        let from: u64 = after.as_deref().and_then(|a| a.rsplit('/').next()?.parse().ok()).unwrap_or(0);
        if how("lists-without-end") {
            return Ok((1..=u64::from(limit)).map(|i| info(format!("{prefix}{:020}", from + i))).collect());
        }
        if how("lists-too-many") {
            return Ok((0..=u64::from(limit)).map(|i| info(format!("{prefix}{i:020}"))).collect());
        }
        if how("lists-the-same-again") {
            return Ok(vec![info(format!("{prefix}1"))]);
        }
        if how("lists-others") {
            return Ok(vec![info("../../etc/passwd".into())]);
        }
        Ok(Vec::new())
    }

    fn stat(name: String) -> Result<Option<BlobInfo>, Error> {
        if name == "config" && !how("forgets-what-it-took") {
            return Ok(None);
        }
        if how("names-another") {
            return Ok(Some(BlobInfo { name: "other".into(), size: SIZE }));
        }
        if how("says-another-size") || how("says-it-is-there") {
            return Ok(Some(BlobInfo { name, size: SIZE }));
        }
        Ok(None)
    }

    fn delete(_name: String) -> Result<(), Error> {
        Ok(())
    }
}

export!(Forgets);
