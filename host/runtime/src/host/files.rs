//! `files`

use super::error::{Guest, to_guest};
use super::state::expect_from_guest;
use crate::bindings::shiphold::host::files::{
    Description, FileInfo, FromData, Host, HostReader, HostWriter, Label, Provenance,
};
use crate::bindings::shiphold::host::state_types::Expect;
use crate::state::State;
use shiphold_storage::files::{self, FileVersion, PutOptions, as_error};
use shiphold_storage::{Error, Kind, Result};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use wasmtime::component::Resource;

/// Files, or labels, of one list.
const LIST_MAX: u32 = 10_000;
/// Bytes of one read or write.
const STEP_BYTES_MAX: usize = 1 << 20;
/// Steps of a write on their way to the disk.
const STEPS_AHEAD: usize = 2;

type Said<T> = wasmtime::Result<std::result::Result<T, Guest>>;

/// Files that one call writes at once: each has a thread.
const WRITERS_MAX: usize = 16;

/// A file being read; `None`: a read of it failed.
pub struct Reader(Option<Box<dyn Read + Send>>);

/// A file being written: a thread of its own stores what comes.
pub struct Writer {
    /// `None`: it was finished.
    steps: Option<SyncSender<Step>>,
    stored: Option<Receiver<Result<FileVersion>>>,
    /// Counts the writers of the call.
    _one: Arc<()>,
}

enum Step {
    Bytes(Vec<u8>),
    End,
}

/// What the storing thread reads from.
struct Coming {
    steps: Receiver<Step>,
    now: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl Read for Coming {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.now.read(out)?;
            if got > 0 || self.ended || out.is_empty() {
                return Ok(got);
            }
            match self.steps.recv() {
                Ok(Step::Bytes(bytes)) => self.now = io::Cursor::new(bytes),
                Ok(Step::End) => self.ended = true,
                // Dropped half-way: nothing may be stored.
                Err(_) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the writer was not finished"));
                }
            }
        }
    }
}

fn info(v: FileVersion) -> FileInfo {
    FileInfo {
        store: v.store,
        path: v.path,
        version: v.version,
        blake3: v.blake3.unwrap_or_default(),
        size: v.size,
        created_at: v.created_at,
    }
}

fn description(v: FileVersion, made_of: files::Provenance) -> Description {
    let data = made_of.data.into_iter().map(|d| FromData {
        measurement: d.measurement,
        start: d.from_ns,
        end: d.to_ns,
    });
    Description {
        media_type: v.media_type.clone(),
        metadata: v.metadata.to_string(),
        created_by: v.created_by.clone(),
        provenance: Provenance { skill: made_of.skill.map(|s| (s.name, s.version)), data: data.collect() },
        info: info(v),
    }
}

/// Bytes of what is known of a version.
fn size_of_description(d: &Description) -> usize {
    let data = |d: &FromData| size_of_val(d) + d.measurement.len();
    let skill = d.provenance.skill.as_ref().map_or(0, |(name, version)| name.len() + version.len());
    let texts = [&d.info.store, &d.info.path, &d.info.blake3, &d.media_type, &d.metadata, &d.created_by];
    size_of_val(d)
        + texts.map(String::len).iter().sum::<usize>()
        + skill
        + d.provenance.data.iter().map(data).sum::<usize>()
}

/// A label that stands for something.
fn label(l: files::Label) -> Label {
    Label {
        store: l.store,
        label: l.label,
        revision: l.revision,
        path: l.path.unwrap_or_default(),
        version: l.version.unwrap_or_default(),
        set_at: l.set_at,
        set_by: l.set_by,
    }
}

fn size_of_label(l: &Label) -> usize {
    size_of_val(l) + [&l.store, &l.label, &l.path, &l.set_by].map(String::len).iter().sum::<usize>()
}

fn too_much(what: &str) -> Error {
    Error::limit(what, format!("{STEP_BYTES_MAX} bytes a call"), "do it in several calls")
}

fn over() -> Error {
    Error::invalid("the writer was finished already")
}

/// What the storing thread said when it ended before its time.
fn ended(stored: Option<Receiver<Result<FileVersion>>>) -> Error {
    match stored.and_then(|s| s.recv().ok()) {
        Some(Err(e)) => e,
        _ => Error::new(Kind::Io, "the file could not be stored"),
    }
}

impl Host for State {
    async fn list(
        &mut self,
        store: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Said<Vec<FileInfo>> {
        let listed = self
            .blocking(move |layer, caller, _| {
                layer.files().list(caller, &store, &prefix, after.as_deref(), limit.min(LIST_MAX).into())
            })
            .await?;
        match listed {
            Ok(all) => {
                self.gives(all.iter().map(|f| f.store.len() + f.path.len() + 128).sum())?;
                Ok(Ok(all.into_iter().map(info).collect()))
            }
            Err(e) => Ok(Err(to_guest(&e))),
        }
    }

    async fn open(
        &mut self,
        store: String,
        path: String,
        version: Option<u64>,
        offset: u64,
    ) -> Said<Resource<Reader>> {
        let opened = self
            .blocking(move |layer, caller, _| {
                if offset == 0 {
                    return Ok(layer.files().get(caller, &store, &path, version, None)?.1);
                }
                let stat = layer.files().stat(caller, &store, &path, version)?;
                let range = Some(offset..stat.size.max(offset));
                Ok(layer.files().get(caller, &store, &path, Some(stat.version), range)?.1)
            })
            .await?;
        match opened {
            Ok(read) => Ok(Ok(self.hold(Reader(Some(read)))?)),
            Err(e) => Ok(Err(to_guest(&e))),
        }
    }

    async fn create(&mut self, store: String, path: String, media_type: String) -> Said<Resource<Writer>> {
        if let Err(e) = self.may_write() {
            return Ok(Err(to_guest(&e)));
        }
        // The call itself holds one.
        if Arc::strong_count(&self.writers) > WRITERS_MAX {
            let e =
                Error::limit("files written at once by one call", WRITERS_MAX, "finish or drop some first");
            return Ok(Err(to_guest(&e)));
        }
        if let Err(e) = self.layer.files().may_put(&self.caller, &store, &path) {
            return Ok(Err(to_guest(&e)));
        }
        let (steps, coming) = sync_channel(STEPS_AHEAD);
        let (say, stored) = sync_channel(1);
        let (layer, caller) = (self.layer.clone(), self.caller.clone());
        // What only the store knows, such as a full disk, is told by the first step; a thread that waits for steps ends when the writer is dropped.
        let thread = std::thread::Builder::new().name("plugin-file".into()).spawn(move || {
            let mut coming = Coming { steps: coming, now: io::Cursor::default(), ended: false };
            let options = PutOptions { media_type: Some(media_type), ..PutOptions::default() };
            let _ = say.send(layer.files().put(&caller, &store, &path, &mut coming, options));
        });
        if let Err(e) = thread {
            return Ok(Err(to_guest(&Error::io("a thread for the file", e))));
        }
        Ok(Ok(self.hold(Writer { steps: Some(steps), stored: Some(stored), _one: self.writers.clone() })?))
    }

    async fn describe(&mut self, store: String, path: String, version: Option<u64>) -> Said<Description> {
        self.takes(store.len() + path.len())?;
        let found = self
            .blocking(move |layer, caller, _| {
                let found = layer.files().stat(caller, &store, &path, version)?;
                let made_of = layer.files().provenance(caller, &found)?;
                Ok(description(found, made_of))
            })
            .await?;
        self.gives(found.as_ref().map_or(0, size_of_description))?;
        Ok(found.map_err(|e| to_guest(&e)))
    }

    async fn find_label(&mut self, store: String, name: String) -> Said<Label> {
        self.takes(store.len() + name.len())?;
        let found = self
            .blocking(move |layer, caller, _| layer.files().label(caller, &store, &name).map(label))
            .await?;
        self.gives(found.as_ref().map_or(0, size_of_label))?;
        Ok(found.map_err(|e| to_guest(&e)))
    }

    async fn labels(&mut self, store: String, after: Option<String>, limit: u32) -> Said<Vec<Label>> {
        self.takes(store.len() + after.as_ref().map_or(0, String::len))?;
        let found = self
            .blocking(move |layer, caller, _| {
                let limit = limit.min(LIST_MAX).into();
                let found = layer.files().labels(caller, &store, after.as_deref(), limit)?;
                Ok(found.into_iter().map(label).collect::<Vec<_>>())
            })
            .await?;
        self.gives(found.as_ref().map_or(0, |all| all.iter().map(size_of_label).sum()))?;
        Ok(found.map_err(|e| to_guest(&e)))
    }

    async fn set_label(
        &mut self,
        store: String,
        name: String,
        path: String,
        version: Option<u64>,
        expect: Expect,
    ) -> Said<Label> {
        self.takes(store.len() + name.len() + path.len())?;
        if let Err(e) = self.may_write() {
            return Ok(Err(to_guest(&e)));
        }
        let set = self
            .blocking(move |layer, caller, _| {
                let expect = expect_from_guest(expect);
                layer.files().set_label(caller, &store, &name, (&path, version), expect).map(label)
            })
            .await?;
        self.gives(set.as_ref().map_or(0, size_of_label))?;
        Ok(set.map_err(|e| to_guest(&e)))
    }

    async fn remove_label(&mut self, store: String, name: String, expect: Expect) -> Said<()> {
        self.takes(store.len() + name.len())?;
        if let Err(e) = self.may_write() {
            return Ok(Err(to_guest(&e)));
        }
        let removed = self
            .blocking(move |layer, caller, _| {
                layer.files().remove_label(caller, &store, &name, expect_from_guest(expect)).map(drop)
            })
            .await?;
        Ok(removed.map_err(|e| to_guest(&e)))
    }

    async fn remove(&mut self, store: String, path: String) -> Said<()> {
        if let Err(e) = self.may_write() {
            return Ok(Err(to_guest(&e)));
        }
        let removed =
            self.blocking(move |layer, caller, _| layer.files().remove(caller, &store, &path)).await?;
        Ok(removed.map_err(|e| to_guest(&e)))
    }
}

impl HostReader for State {
    async fn read(&mut self, reader: Resource<Reader>, bytes_max: u32) -> Said<Vec<u8>> {
        let wanted = (bytes_max as usize).clamp(1, STEP_BYTES_MAX);
        let Some(mut read) = self.table.get_mut(&reader)?.0.take() else {
            return Ok(Err(to_guest(&Error::invalid("an earlier read of this file failed: open it again"))));
        };
        let done = self
            .blocking(move |_, _, _| {
                let mut out = vec![0; wanted];
                let mut filled = 0;
                while let Some(rest) = out.get_mut(filled..).filter(|r| !r.is_empty()) {
                    match read.read(rest) {
                        Ok(0) => break,
                        Ok(n) => filled += n,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(as_error(e)),
                    }
                }
                out.truncate(filled);
                Ok((read, out))
            })
            .await?;
        match done {
            Ok((read, out)) => {
                self.table.get_mut(&reader)?.0 = Some(read);
                self.gives(out.len())?;
                Ok(Ok(out))
            }
            Err(e) => Ok(Err(to_guest(&e))),
        }
    }

    async fn drop(&mut self, reader: Resource<Reader>) -> wasmtime::Result<()> {
        self.table.delete(reader)?;
        Ok(())
    }
}

impl HostWriter for State {
    async fn write(&mut self, writer: Resource<Writer>, bytes: Vec<u8>) -> Said<()> {
        self.takes(bytes.len())?;
        if bytes.len() > STEP_BYTES_MAX {
            return Ok(Err(to_guest(&too_much("bytes to write"))));
        }
        let Some(steps) = self.table.get(&writer)?.steps.clone() else { return Ok(Err(to_guest(&over()))) };
        if bytes.is_empty() {
            return Ok(Ok(()));
        }
        let sent = self.blocking(move |_, _, _| Ok(steps.send(Step::Bytes(bytes)).is_ok())).await?;
        if matches!(sent, Ok(true)) {
            return Ok(Ok(()));
        }
        let w = self.table.get_mut(&writer)?;
        w.steps = None;
        let stored = w.stored.take();
        let why = self.blocking(move |_, _, _| Ok(ended(stored))).await?;
        Ok(Err(to_guest(&why.unwrap_or_else(|e| e))))
    }

    async fn finish(&mut self, writer: Resource<Writer>) -> Said<FileInfo> {
        let w = self.table.get_mut(&writer)?;
        let (Some(steps), Some(stored)) = (w.steps.take(), w.stored.take()) else {
            return Ok(Err(to_guest(&over())));
        };
        let done = self
            .blocking(move |_, _, _| {
                // A thread that ended already has said why.
                let _ = steps.send(Step::End);
                stored.recv().unwrap_or_else(|_| Err(Error::new(Kind::Io, "the file could not be stored")))
            })
            .await?;
        Ok(done.map(info).map_err(|e| to_guest(&e)))
    }

    async fn drop(&mut self, writer: Resource<Writer>) -> wasmtime::Result<()> {
        self.table.delete(writer)?;
        Ok(())
    }
}
