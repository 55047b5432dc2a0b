//! A repository over blobs in memory, and over targets that lose, change and forget them.

use super::*;
use crate::backup::blobs::lacks;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

/// A target: honest, but for what is asked of it.
#[derive(Default)]
struct Memory {
    blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    puts: AtomicUsize,
    /// The put that fails, counted from 1; none: 0.
    fails_at: AtomicUsize,
}

impl Memory {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.blobs.lock().unwrap()
    }

    fn bytes(&self) -> usize {
        self.all().values().map(Vec::len).sum()
    }
}

impl BlobStore for Memory {
    fn name(&self) -> &str {
        "memory"
    }
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let turn = self.puts.fetch_add(1, Ordering::SeqCst) + 1;
        if turn == self.fails_at.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Unavailable, "the wire was cut").hint("mend it"));
        }
        assert!(self.all().insert(name.into(), bytes.to_vec()).is_none(), "{name} is written once");
        Ok(())
    }
    fn get(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let all = self.all();
        let blob = all.get(name).ok_or_else(|| lacks("memory", name))?;
        let part = blob.get(offset as usize..(offset + length) as usize);
        part.map(<[u8]>::to_vec).ok_or_else(|| Error::corrupt("it is shorter"))
    }
    fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let all = self.all();
        Ok(all
            .iter()
            .filter(|(n, _)| n.starts_with(prefix))
            .map(|(n, b)| (n.clone(), b.len() as u64))
            .collect())
    }
    fn stat(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.all().get(name).map(|b| b.len() as u64))
    }
    fn delete(&self, name: &str) -> Result<()> {
        self.all().remove(name);
        Ok(())
    }
}

/// A folder as an export leaves it: something large and something small.
fn folder(seed: u32) -> tempfile::TempDir {
    folder_of(seed, 3_000_000)
}

/// The large file differs by one byte in its middle.
fn folder_of(seed: u32, bytes: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 7_u32;
    let large: Vec<u8> = (0..bytes)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i == bytes / 2 { seed as u8 } else { (state >> 24) as u8 }
        })
        .collect();
    std::fs::write(dir.path().join("large"), large).unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    std::fs::write(dir.path().join("below/small"), format!("small {seed}")).unwrap();
    dir
}

fn report(taken_at: i64) -> BackupReport {
    BackupReport { taken_at, host: "here".into(), ..BackupReport::default() }
}

fn over(memory: &Arc<Memory>) -> Repository {
    Repository::new(memory.clone(), "a password".into())
}

fn push(memory: &Arc<Memory>, seed: u32, taken_at: i64) -> Result<Pushed> {
    over(memory).push(folder(seed).path(), report(taken_at), &mut |_, _| ())
}

fn problems(memory: &Arc<Memory>) -> Vec<String> {
    over(memory).check(true, &mut |_, _| ()).unwrap().problems
}

const T: i64 = 1_780_000_000_000_000_000;

#[test]
fn what_was_pushed_comes_back_and_costs_its_changes_only() {
    // A repository cuts files into chunks of at most 8 MiB at places that its own random polynomial finds. A changed byte
    // changes the chunk that holds it and, until the cuts agree again, some after it: never most of so large a file.
    const LARGE: u32 = 24_000_000;
    let memory = Arc::new(Memory::default());
    let push = |memory: &Arc<Memory>, seed, taken_at| {
        over(memory).push(folder_of(seed, LARGE).path(), report(taken_at), &mut |_, _| ())
    };
    let first = push(&memory, 1, T).unwrap();
    assert!(
        first.created
            && first.snapshot.bytes > u64::from(LARGE)
            && first.snapshot.added_bytes > u64::from(LARGE)
    );
    assert_eq!((first.snapshot.taken_at, first.snapshot.host.as_str(), first.snapshot.files), (T, "here", 2));
    let before = memory.bytes();
    let again = push(&memory, 1, T + 1_000_000_000).unwrap();
    assert!(!again.created && memory.bytes() - before < 20_000, "{}", memory.bytes() - before);
    let changed = push(&memory, 2, T + 2_000_000_000).unwrap();
    assert!((1_000..u64::from(LARGE) * 5 / 6).contains(&changed.snapshot.added_bytes), "{changed:?}");
    assert!(memory.all().values().all(|b| !b.windows(7).any(|w| w == b"small 1")), "nothing in the clear");

    let listed = over(&memory).snapshots().unwrap();
    assert_eq!(
        listed.iter().map(|s| s.id.clone()).collect::<Vec<_>>(),
        [&first, &again, &changed].map(|p| p.snapshot.id.clone())
    );
    assert_eq!(problems(&memory), [] as [&str; 0]);
    for (id, seed) in [(first.snapshot.id.get(..8).unwrap(), 1), ("latest", 2)] {
        let to = tempfile::tempdir().unwrap();
        over(&memory).pull(id, &to.path().join("back"), &mut |_, _| ()).unwrap();
        let read = |root: &Path, name: &str| std::fs::read(root.join(name)).unwrap();
        let want = folder_of(seed, LARGE);
        for name in ["large", "below/small"] {
            assert!(read(&to.path().join("back"), name) == read(want.path(), name), "{name} of {id}");
        }
    }
}

#[test]
fn a_push_that_was_cut_off_anywhere_is_made_good_by_the_next() {
    let whole = Arc::new(Memory::default());
    push(&whole, 1, T).unwrap();
    let puts = whole.puts.load(Ordering::SeqCst);
    assert!(puts >= 5, "{puts}");
    for at in 1..=puts {
        let memory = Arc::new(Memory::default());
        memory.fails_at.store(at, Ordering::SeqCst);
        let e = push(&memory, 1, T).unwrap_err();
        assert!(e.kind() == Kind::Unavailable && e.message().contains("the wire was cut"), "put {at}: {e}");
        let done = push(&memory, 1, T).unwrap_or_else(|e| panic!("after put {at}: {e}"));
        // A pack of the push that was cut off may be left over: `forget` frees it, and it is no damage.
        assert!(problems(&memory).iter().all(|p| p.starts_with("Warn: pack")), "after put {at}");
        let to = tempfile::tempdir().unwrap();
        over(&memory).pull(&done.snapshot.id, &to.path().join("x"), &mut |_, _| ()).unwrap();
    }
}

#[test]
fn what_a_target_lost_or_changed_is_found() {
    let memory = Arc::new(Memory::default());
    push(&memory, 1, T).unwrap();
    let names: Vec<String> = memory.all().keys().cloned().collect();
    for name in names
        .iter()
        .filter(|n| n.starts_with("data/") || n.starts_with("index/") || n.starts_with("snapshots/"))
    {
        let blob = memory.all()[name].clone();
        let looks = || {
            let found = over(&memory).check(true, &mut |_, _| ());
            found.is_err() || found.is_ok_and(|c| !c.problems.is_empty() || c.snapshots == 0)
        };
        memory.all().remove(name);
        assert!(looks(), "{name} is lost");
        let mut bad = blob.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        memory.all().insert(name.clone(), bad);
        assert!(looks(), "{name} has a flipped bit");
        memory.all().insert(name.clone(), blob.get(..blob.len() / 2).unwrap().to_vec());
        assert!(looks(), "{name} is short");
        memory.all().insert(name.clone(), blob);
    }
    assert_eq!(problems(&memory), [] as [&str; 0], "whole again");
}

#[test]
fn refusals_have_names() {
    let memory = Arc::new(Memory::default());
    assert_eq!(over(&memory).snapshots().unwrap_err().kind(), Kind::NotFound, "no repository yet");
    push(&memory, 1, T).unwrap();
    let wrong = Repository::new(memory.clone(), "another".into()).snapshots().unwrap_err();
    assert!(wrong.kind() == Kind::Denied && wrong.message().contains("password"), "{wrong}");
    for id in ["", "lat", "latest~1", "abc", "../x", "zzzzzzzz"] {
        let e = over(&memory).pull(id, Path::new("/nowhere/x"), &mut |_, _| ()).unwrap_err();
        assert_eq!(e.kind(), Kind::Invalid, "{id}: {e}");
    }
    let e = over(&memory).pull("00000000", Path::new("/nowhere/x"), &mut |_, _| ()).unwrap_err();
    assert_eq!(e.kind(), Kind::NotFound, "{e}");
    // A repository that lost its config is not made anew over what it holds.
    let config = memory.all().remove("config").unwrap();
    let e = push(&memory, 1, T).unwrap_err();
    assert!(e.kind() == Kind::Corrupt && e.message().contains("no `config`"), "{e}");
    memory.all().insert("config".into(), config);
    memory.all().insert("locks/0123".into(), vec![1]);
    for e in [
        push(&memory, 1, T).unwrap_err(),
        over(&memory).forget(Keep { last: 1, daily: 0, weekly: 0, monthly: 0 }, false).unwrap_err(),
    ] {
        assert!(e.kind() == Kind::Busy && e.message().contains("locked"), "{e}");
    }
}

#[test]
fn rules_decide_what_is_forgotten_and_a_dry_run_forgets_nothing() {
    let memory = Arc::new(Memory::default());
    for day in 0..4 {
        push(&memory, day, T + i64::from(day) * 86_400_000_000_000).unwrap();
    }
    let keep = Keep { last: 2, daily: 0, weekly: 0, monthly: 0 };
    let dry = over(&memory).forget(keep, true).unwrap();
    assert_eq!((dry.kept, dry.forgotten.len(), dry.dry_run), (2, 2, true));
    assert_eq!(over(&memory).snapshots().unwrap().len(), 4);
    let done = over(&memory).forget(keep, false).unwrap();
    assert_eq!(done.forgotten, dry.forgotten);
    let left: Vec<i64> = over(&memory).snapshots().unwrap().iter().map(|s| s.taken_at).collect();
    assert_eq!(left, [2, 3].map(|d| T + d * 86_400_000_000_000));
    assert_eq!(problems(&memory), [] as [&str; 0]);
    assert_eq!(over(&memory).forget(keep, false).unwrap().forgotten, [], "twice does no harm");
    // At least one stays, whatever is asked.
    over(&memory).forget(Keep { last: 0, daily: 0, weekly: 0, monthly: 0 }, false).unwrap();
    assert_eq!(over(&memory).snapshots().unwrap().len(), 1);
}
