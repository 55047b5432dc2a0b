//! Signed checkpoints: the number and the hash of an entry, in a text that is kept elsewhere. A trail whose tail was cut, or that was
//! written anew from some entry on, does not agree with it.
//!
//! Keys are ed25519 in PKCS#8 PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` writes them. The signature is over the bytes
//! of the document: `openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in FILE -sigfile FILE.sig` checks it without this program.

use super::Audit;
use super::chain::Walk;
use super::segments::{Tables, last};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::hex;
use crate::schema::now_ns;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rusqlite::OptionalExtension as _;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What stands in every checkpoint, so that nothing else that the key signs passes for one.
const KIND: &str = "shiphold audit checkpoint 1";
/// Bytes of a checkpoint's document.
pub const DOCUMENT_BYTES_MAX: usize = 4096;
/// Bytes of a key file.
const KEY_BYTES_MAX: usize = 4096;
/// What stands before the 32 bytes of a private key: `OneAsymmetricKey` with ed25519 (RFC 8410, section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands before the 32 bytes of a public key: `SubjectPublicKeyInfo` with ed25519 (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    kind: String,
    /// `host.name` of the manifest.
    pub host: String,
    pub seq: i64,
    /// Of entry `seq`, in hexadecimal.
    pub hash: String,
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
}

/// A checkpoint and its signature, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// JSON; the signature is over its bytes.
    pub document: String,
    /// 64 bytes in hexadecimal.
    pub signature: String,
}

/// Signs checkpoints. Its private part appears in no text.
pub struct SigningKey(Ed25519KeyPair);

/// Checks what a [`SigningKey`] signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying())
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for VerifyingKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl std::str::FromStr for VerifyingKey {
    type Err = Error;

    /// 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self> {
        hex::decode_array(text).map(Self).ok_or_else(|| {
            Error::invalid(format!(
                "`{}` is no public key",
                text.chars().take(80).collect::<String>().escape_debug()
            ))
            .hint("write the 64 hexadecimal digits that `shiphold audit keygen` shows")
        })
    }
}

impl VerifyingKey {
    /// As openssl reads it.
    pub fn to_pem(self) -> String {
        pem("PUBLIC KEY", &[&SPKI[..], &self.0].concat())
    }
}

impl SigningKey {
    /// A new key, and the text to keep it in.
    pub fn generate() -> Result<(Self, String)> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| Error::internal(format!("no random bytes: {e}")))?;
        let text = pem("PRIVATE KEY", &[&PKCS8[..], &seed].concat());
        Ok((Self::from_pem(&text)?, text))
    }

    /// From the text of a key file.
    pub fn from_pem(text: &str) -> Result<Self> {
        let refused = |why: &str| {
            Error::invalid(format!("the signing key of the audit trail {why}")).hint(
                "make one with `shiphold audit keygen FILE`, or with `openssl genpkey -algorithm ed25519`",
            )
        };
        if text.len() > KEY_BYTES_MAX {
            return Err(refused(&format!("has more than {KEY_BYTES_MAX} bytes")));
        }
        let inner = text
            .trim()
            .strip_prefix("-----BEGIN PRIVATE KEY-----")
            .and_then(|t| t.strip_suffix("-----END PRIVATE KEY-----"))
            .ok_or_else(|| refused("is no PKCS#8 key in PEM"))?;
        let base64: String = inner.split_ascii_whitespace().collect();
        let der = STANDARD.decode(base64).map_err(|_| refused("is no base64"))?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(|_| refused("is no ed25519 key"))
    }

    pub fn verifying(&self) -> VerifyingKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        VerifyingKey(key)
    }

    fn sign(&self, checkpoint: &Checkpoint) -> Result<Signed> {
        let document = serde_json::to_string(checkpoint)
            .map_err(|e| Error::internal(format!("writing a checkpoint: {e}")))?;
        let signature = hex::encode(self.0.sign(document.as_bytes()));
        Ok(Signed { document, signature })
    }
}

impl Checkpoint {
    /// When it was signed, for people.
    pub fn signed_at(&self) -> String {
        chrono::DateTime::from_timestamp_nanos(self.time).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }
}

impl Signed {
    /// The 64 bytes of the signature.
    pub fn signature_bytes(&self) -> Result<Vec<u8>> {
        hex::decode_array::<64>(&self.signature)
            .map(Vec::from)
            .ok_or_else(|| Error::invalid("the checkpoint has no signature of 64 bytes"))
    }

    /// The checkpoint, if `key` signed it.
    pub fn check(&self, key: &VerifyingKey) -> Result<Checkpoint> {
        let refused = |why: &str| Error::invalid(format!("the checkpoint {why}"));
        if self.document.len() > DOCUMENT_BYTES_MAX {
            return Err(refused(&format!("has more than {DOCUMENT_BYTES_MAX} bytes")));
        }
        let signature: [u8; 64] =
            hex::decode_array(&self.signature).ok_or_else(|| refused("has no signature of 64 bytes"))?;
        UnparsedPublicKey::new(&ED25519, key.0).verify(self.document.as_bytes(), &signature).map_err(
            |_| {
                refused(&format!("was not signed with the key {key}, or was changed since")).hint(
                    "check it with the key with which it was signed: `audit.verify_key` in shiphold.toml",
                )
            },
        )?;
        let checkpoint: Checkpoint = serde_json::from_str(&self.document)
            .map_err(|e| refused(&format!("is none of an audit trail: {e}")))?;
        if checkpoint.kind != KIND {
            return Err(refused("is none of an audit trail"));
        }
        Ok(checkpoint)
    }
}

impl Audit {
    /// Signs the trail's last entry, after walking the chain from the checkpoint before it. Admin. The document is kept in the
    /// database too, but proves nothing there: keep it elsewhere.
    pub fn checkpoint(&self, caller: &Caller, key: &SigningKey, host: &str) -> Result<Signed> {
        caller.require(Scope::Admin, "sign a checkpoint of the audit trail")?;
        let (seq, hash) = self.follow(self.walk_for(&key.verifying())?)?;
        if seq == 0 {
            return Err(Error::not_found("the audit trail is empty: there is nothing to sign"));
        }
        let checkpoint =
            Checkpoint { kind: KIND.into(), host: host.into(), seq, hash: hex::encode(hash), time: now_ns() };
        let signed = key.sign(&checkpoint)?;
        self.db.write_always(|tx| {
            tx.prepare_cached(
                "INSERT INTO audit_checkpoints(seq, signed_at, document, signature) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((seq, checkpoint.time, &signed.document, &signed.signature))?;
            Ok(())
        })?;
        Ok(signed)
    }

    /// The checkpoint of an entry that the walk of a sealed segment ended at; kept with the segment.
    pub(super) fn sign_segment(key: &SigningKey, host: &str, seq: i64, head: &[u8; 32]) -> Result<Signed> {
        key.sign(&Checkpoint {
            kind: KIND.into(),
            host: host.into(),
            seq,
            hash: hex::encode(head),
            time: now_ns(),
        })
    }

    /// Walks to the end; an error where the chain is broken, for nothing that is broken is signed.
    pub(super) fn follow(&self, mut walk: Walk) -> Result<(i64, [u8; 32])> {
        while !walk.is_broken() && self.db.read(|c| walk.page(c))? {}
        let place = walk.place();
        match walk.end().broken {
            None => Ok(place),
            Some(broken) => Err(Error::corrupt(format!(
                "the audit trail breaks at entry {}: {}",
                broken.seq, broken.problem
            ))
            .hint("nothing was signed; a backup or an older checkpoint shows what was there")),
        }
    }

    /// From the newest kept checkpoint that `key` signed on, where the trail agrees with it; else from the beginning, where what
    /// does not agree is named.
    fn walk_for(&self, key: &VerifyingKey) -> Result<Walk> {
        let kept = self.db.read(|c| {
            Ok(c.query_row(
                "SELECT document, signature FROM audit_checkpoints ORDER BY seq DESC, signed_at DESC LIMIT 1",
                [],
                read,
            )
            .optional()?)
        })?;
        let Some(checkpoint) = kept.and_then(|k| k.check(key).ok()) else {
            return Ok(Walk::new(Vec::new(), Some(*key)));
        };
        let there = self.db.read(|c| {
            let tables = Tables::read(c)?;
            match tables.holding(checkpoint.seq) {
                place if place.archived().is_some() => Ok(None),
                place => Ok(place.after(c, checkpoint.seq - 1, 1)?.pop()),
            }
        })?;
        let agrees = there.filter(|l| l.seq == checkpoint.seq && l.hash == checkpoint.hash);
        Ok(match agrees.and_then(|l| hex::decode_array(&l.hash)) {
            Some(hash) => Walk::after(checkpoint.seq, hash),
            None => Walk::new(vec![checkpoint], Some(*key)),
        })
    }

    /// The checkpoints that were signed here, newest first.
    pub fn checkpoints(&self, caller: &Caller, limit: u64) -> Result<Vec<Signed>> {
        caller.require(Scope::Read, "list the checkpoints of the audit trail")?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT document, signature FROM audit_checkpoints ORDER BY seq DESC, signed_at DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([limit.min(super::PAGE_MAX).cast_signed()], read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// When the newest checkpoint was signed, and of which entry.
    pub fn last_checkpoint(&self) -> Result<Option<(i64, i64)>> {
        self.db.read(|c| {
            Ok(c.prepare_cached(
                "SELECT signed_at, seq FROM audit_checkpoints ORDER BY seq DESC, signed_at DESC LIMIT 1",
            )?
            .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?)
        })
    }

    /// The number of the last entry; 0 when there is none.
    pub fn last_seq(&self) -> Result<i64> {
        self.db.read(|c| Ok(last(c)?.0))
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Signed> {
    Ok(Signed { document: row.get(0)?, signature: row.get(1)? })
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}
