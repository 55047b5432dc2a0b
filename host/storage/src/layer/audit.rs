//! What the audit trail needs of the rest: its key, the stores of its archives, and somebody who looks after it.

use super::DataLayer;
use crate::audit::{Archived, AuditProof, Checkpoint, RequestId, Signed, SigningKey, VerifyingKey};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::schema::now_ns;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Seconds between two looks at whether a segment or a checkpoint is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// When the trail was last looked after.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<Instant>>);

impl DataLayer {
    /// The key that signs the audit trail.
    pub fn audit_signing_key(&self) -> Result<SigningKey> {
        let name = self.manifest.audit.signing_key.as_deref().ok_or_else(|| {
            Error::not_found("there is no key to sign the audit trail with").hint(
                "make one with `shiphold audit keygen FILE` and name it in `audit.signing_key` of shiphold.toml",
            )
        })?;
        SigningKey::from_pem(&self.secret(name)?).map_err(|e| e.context(format!("secret `{name}`")))
    }

    /// Whose checkpoints are believed: `audit.verify_key`, else that of the signing key.
    pub fn audit_verify_key(&self) -> Result<Option<VerifyingKey>> {
        match (&self.manifest.audit.verify_key, &self.manifest.audit.signing_key) {
            (Some(key), _) => Ok(Some(*key)),
            (None, Some(_)) => Ok(Some(self.audit_signing_key()?.verifying())),
            (None, None) => Ok(None),
        }
    }

    /// Signs the end of the trail. Admin.
    pub fn audit_checkpoint(&self, caller: &Caller) -> Result<Signed> {
        caller.require(Scope::Admin, "sign a checkpoint of the audit trail")?;
        self.audit.checkpoint(caller, &self.audit_signing_key()?, &self.manifest.host.name)
    }

    /// Moves sealed segments into a file store. Admin.
    pub fn audit_archive(&self, caller: &Caller, store: &str) -> Result<Archived> {
        caller.require(Scope::Admin, "archive the audit trail")?;
        let key = self.audit_signing_key()?;
        self.audit.archive(caller, &self.files, store, &key, &self.manifest.host.name)
    }

    /// Walks the chain; the trail must agree with `given` and with every checkpoint that was signed here. With `archives`, archived
    /// segments are read too.
    pub fn audit_verify(&self, caller: &Caller, given: &[Signed], archives: bool) -> Result<AuditProof> {
        let key = self.audit_verify_key()?;
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        if let (None, Some(_)) = (&key, given.first()) {
            return Err(Error::invalid("there is no key to check the checkpoint with")
                .hint("set `audit.verify_key` in shiphold.toml to the public key of whoever signed it"));
        }
        if let Some(key) = &key {
            for signed in given {
                checkpoints.push(signed.check(key)?);
            }
            // Those of another key are none of this trail's business: a key can be changed.
            let kept = self.audit.checkpoints(caller, crate::audit::PAGE_MAX)?;
            checkpoints.extend(kept.iter().filter_map(|s| s.check(key).ok()));
        }
        let mut proof = self.audit.verify_against(caller, checkpoints, key)?;
        if archives && proof.broken.is_none() {
            proof.broken = self.audit.verify_archives(caller, &self.files)?;
            proof.archived = 0;
        }
        Ok(proof)
    }

    /// Seals what is full, and signs what is due. An error is tried again at the next look.
    pub(super) fn keep_audit(&self) -> Result<()> {
        {
            let mut last = crate::locks::lock(&self.kept.0);
            if last.is_some_and(|l| l.elapsed() < LOOK_EVERY) {
                return Ok(());
            }
            *last = Some(Instant::now());
        }
        let settings = &self.manifest.audit;
        if let Some(segment) = self.audit.seal_when(settings.segment_entries)? {
            tracing::info!(
                segment = segment.id,
                entries = segment.entries(),
                "sealed a segment of the audit trail"
            );
        }
        let Some(folder) = &settings.checkpoint_folder else { return Ok(()) };
        let every = i64::try_from(settings.checkpoint_every.0.as_nanos()).unwrap_or(i64::MAX);
        let due = match self.audit.last_checkpoint()? {
            Some((at, seq)) => now_ns().saturating_sub(at) >= every && self.audit.last_seq()? > seq,
            None => self.audit.last_seq()? > 0,
        };
        if due {
            let signed = RequestId::random().during(|| self.audit_checkpoint(&Caller::Operator))?;
            write_checkpoint(folder, &signed)?;
        }
        Ok(())
    }
}

/// `audit-SEQ.json` with the document and `audit-SEQ.json.sig` with the 64 bytes of its signature, both synced.
pub fn write_checkpoint(folder: &Path, signed: &Signed) -> Result<()> {
    let seq = serde_json::from_str::<Checkpoint>(&signed.document).map_or(0, |c| c.seq);
    let io = |path: &Path, e| Error::io(format!("the checkpoint {}", path.display()), e);
    std::fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
    let file = folder.join(format!("audit-{seq:012}.json"));
    write_pair(&file, signed)
}

/// A checkpoint as a file and, beside it with `.sig` at its end, its signature.
pub fn write_pair(file: &Path, signed: &Signed) -> Result<()> {
    let mut beside = file.as_os_str().to_os_string();
    beside.push(".sig");
    let beside = Path::new(&beside);
    for (path, bytes) in [(beside, signed.signature_bytes()?), (file, signed.document.clone().into_bytes())] {
        let written = std::fs::File::create(path).and_then(|mut f| {
            f.write_all(&bytes)?;
            f.sync_all()
        });
        written.map_err(|e| Error::io(format!("the checkpoint {}", path.display()), e))?;
    }
    match file.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) => std::fs::File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| Error::io(format!("the folder {}", folder.display()), e)),
        None => Ok(()),
    }
}
