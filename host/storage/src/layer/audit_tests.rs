//! Archives and checkpoints of the audit trail.

use super::tests::{layer_over, manifest};
use super::*;
use crate::audit::{AuditFilter, AuditProof, Entry, Signed, SigningKey};
use crate::error::Kind;
use std::path::PathBuf;

const OP: Caller = Caller::Operator;

struct Desk {
    dir: tempfile::TempDir,
    key: SigningKey,
    layer: Arc<DataLayer>,
}

impl Desk {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (key, text) = SigningKey::generate().unwrap();
        std::fs::write(dir.path().join("key.pem"), text).unwrap();
        let m = format!(
            "[files.archives]\nkind = \"archives\"\n[secrets.k]\nfile = \"key.pem\"\n[audit]\nsigning_key = \"k\"\n{more}"
        );
        let layer = layer_over(&manifest(dir.path(), &m), None).0;
        Self { dir, key, layer }
    }

    fn record(&self, n: usize) {
        for i in 0..n {
            self.layer.audit().record(&Entry::new(&OP, "test.note", format!("note:{i}"))).unwrap();
        }
    }

    fn verify(&self, given: &[Signed], archives: bool) -> AuditProof {
        self.layer.audit_verify(&OP, given, archives).unwrap()
    }

    /// The gzip files of its folder: archived segments.
    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
                    found.push(path);
                }
            }
        }
        found
    }
}

#[test]
fn an_archived_segment_is_proven_by_its_file_and_its_signature() {
    let desk = Desk::new("");
    assert!(desk.layer.audit_archive(&OP, "archives").unwrap().is_empty(), "nothing is sealed");
    desk.record(30);
    let before = desk.layer.audit_checkpoint(&OP).unwrap();
    desk.layer.audit().seal(&OP).unwrap();
    desk.record(5);
    let moved = desk.layer.audit_archive(&OP, "archives").unwrap();
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].archive.as_ref().unwrap().path, "audit/segment-00000001.jsonl.gz");
    assert!(desk.layer.audit_archive(&OP, "archives").unwrap().is_empty(), "again there is nothing to do");
    // 30 notes, the seal, 5 notes, three files, the archive.
    let proof = desk.verify(std::slice::from_ref(&before), false);
    assert_eq!((proof.entries, proof.archived, proof.broken), (40, 30, None));
    assert_eq!(desk.verify(&[], true).archived, 0);
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = 'audit_segment_1'";
    let count = |sql: &str| desk.layer.database().read(|c| Ok(c.query_row(sql, [], |r| r.get::<_, i64>(0))?));
    assert_eq!(count(table).unwrap(), 0);
    let list =
        desk.layer.audit().list(&OP, &AuditFilter { limit: Some(100), ..AuditFilter::default() }).unwrap();
    assert_eq!(list.len(), 10, "what is archived is in its file");

    // The trail goes on, and signing starts anew where the checkpoint's entry is archived.
    let after = desk.layer.audit_checkpoint(&OP).unwrap();
    assert_eq!(after.check(&desk.key.verifying()).unwrap().seq, 40);

    // Another key's signature is none.
    let (other, _) = SigningKey::generate().unwrap();
    let broken =
        desk.layer.audit().verify_against(&OP, Vec::new(), Some(other.verifying())).unwrap().broken.unwrap();
    assert!(broken.problem.contains("without a checkpoint signed with the key"), "{broken:?}");

    // A flipped bit in the file, and a file that is gone.
    let objects = desk.objects();
    assert_eq!(objects.len(), 1);
    let sound = std::fs::read(&objects[0]).unwrap();
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::remove_file(&objects[0]).unwrap();
    std::fs::write(&objects[0], &flipped).unwrap();
    let broken = desk.verify(&[], true).broken.unwrap();
    assert!(broken.seq == 1 && broken.problem.contains("archived segment 1"), "{broken:?}");
    std::fs::write(&objects[0], &sound).unwrap();
    assert_eq!(desk.verify(&[], true).broken, None);
    // Nor may a plugin take it away that may take files away.
    let plugin = Caller::Plugin {
        name: "p".into(),
        grants: Arc::new(crate::Grants { files_delete: vec!["archives/*".into()], ..Default::default() }),
    };
    let e = desk.layer.files().remove(&plugin, "archives", "audit/segment-00000001.jsonl.gz").unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict, "{e:?}");
    desk.layer.files().delete(&OP, "archives", "audit/segment-00000001.jsonl.gz", true).unwrap();
    let broken = desk.verify(&[], true).broken.unwrap();
    assert!(broken.problem.contains("is not there any more"), "{broken:?}");
}

#[test]
fn the_host_seals_and_signs_by_itself() {
    let desk = Desk::new(
        "segment_entries = 1000\ncheckpoint_every = \"1 min\"\ncheckpoint_folder = \"elsewhere\"\n",
    );
    desk.record(1_000);
    desk.layer.maintain().unwrap();
    assert_eq!(desk.layer.audit().segments(&OP).unwrap().len(), 1);
    let folder = desk.dir.path().join("elsewhere");
    let document = std::fs::read_to_string(folder.join("audit-000000001001.json")).unwrap();
    let signature = crate::hex::encode(std::fs::read(folder.join("audit-000000001001.json.sig")).unwrap());
    let signed = Signed { document, signature };
    assert_eq!(signed.check(&desk.key.verifying()).unwrap().host, "shiphold");
    let proof = desk.verify(&[signed], false);
    assert_eq!((proof.entries, proof.broken), (1_001, None));
    desk.layer.maintain().unwrap();
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "the next one is due in a minute");
}

#[test]
fn nothing_is_signed_without_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_over(&manifest(dir.path(), "[files.archives]\nkind = \"archives\""), None).0;
    let refused = layer.audit_checkpoint(&OP).unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound);
    assert!(refused.hint_text().unwrap().contains("audit keygen"));
    assert_eq!(layer.audit_archive(&OP, "archives").unwrap_err().kind(), Kind::NotFound);
    let given = Signed { document: "{}".into(), signature: "00".repeat(64) };
    assert_eq!(layer.audit_verify(&OP, &[given], false).unwrap_err().kind(), Kind::Invalid);
}
