//! Backup targets, as the data layer asks them: blobs go to a plugin, and nothing that it says is taken on trust. What it stored is
//! read back and compared; what it lists is held to the rules of a list.

mod contract;

use crate::bindings::exports::shiphold::host::backup_target as wit;
use crate::call::{Asking, Session, Used};
use crate::component::{Exports, Loaded};
use crate::host::error::{Guest, from_guest, other_world};
use crate::plugins::Plugins;
use crate::run;
use crate::state::State;
use crate::text::printable;
use shiphold_storage::backup::{BLOB_BYTES_MAX, BLOBS_MAX, BlobStore};
use shiphold_storage::manifest::World;
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result, Scope};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::runtime::Handle;
use wasmtime::Store;
use wasmtime::component::{Instance, ResourceAny};

/// Bytes of one `write`.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes of one `get`, where `limits.reply` allows them.
const GET_BYTES: u64 = 4 << 20;
/// Names of one page of a list.
const PAGE: u32 = 1_000;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a guest's sentence that are told.
const SAID_BYTES_MAX: usize = 1_000;

/// A plugin that keeps blobs. It must be asked from a thread made for blocking.
pub(crate) struct GuestTarget {
    loaded: Arc<Loaded>,
    layer: Arc<DataLayer>,
    runtime: Handle,
    /// The last operation failed.
    failed: AtomicBool,
}

impl Plugins {
    /// A backup target, for a repository of the data layer. Within a runtime, which its calls will use.
    pub async fn target(&self, caller: &Caller, name: &str) -> Result<Arc<dyn BlobStore>> {
        Ok(Arc::new(self.guest_target(caller, name).await?))
    }

    async fn guest_target(&self, caller: &Caller, name: &str) -> Result<GuestTarget> {
        caller.require(Scope::Admin, "use a backup target")?;
        let slot = self.slot(name)?;
        if slot.plugin.world != World::BackupTarget {
            return Err(Error::invalid(format!(
                "plugin `{name}` is a {}, not a backup-target",
                slot.plugin.world.name()
            )));
        }
        let loaded = slot.ready()?.clone();
        let (layer, asked) = (self.layer().clone(), name.to_string());
        if !run::blocking(move || Ok(layer.plugins().state(&asked)?.enabled)).await? {
            return Err(run::disabled(name));
        }
        Ok(GuestTarget {
            loaded,
            layer: self.layer().clone(),
            runtime: Handle::current(),
            failed: AtomicBool::new(false),
        })
    }
}

/// A guest's own error, for whoever asked through it.
fn said(plugin: &str, e: &Guest) -> Error {
    let (kind, text) = from_guest(e);
    Error::new(kind, format!("plugin `{plugin}`: {}", printable(text, SAID_BYTES_MAX)))
}

/// What only the host gives as a name.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/._-".contains(&b))
}

impl GuestTarget {
    fn plugin(&self) -> &str {
        &self.loaded.plugin.name
    }

    fn lied(&self, what: String) -> Error {
        Error::new(Kind::Plugin, format!("plugin `{}` {what}", self.plugin()))
            .hint("it is a fault of the plugin, or of where it keeps the blobs")
    }

    /// One operation on a fresh instance, again while it says that it may go better later.
    fn operation<R>(&self, work: impl AsyncFn(&mut Session) -> Result<R>) -> Result<R> {
        let policy = &self.loaded.plugin.on_failure;
        let mut pause = policy.backoff.0;
        let mut attempt = 0;
        loop {
            let start = Instant::now();
            let (result, used) = self.runtime.block_on(async {
                match Session::open(&self.loaded, &self.layer).await {
                    Ok(mut session) => {
                        let result = work(&mut session).await;
                        (result, session.used())
                    }
                    Err(e) => (Err(e), Used::default()),
                }
            });
            let error = result.as_ref().err();
            if error.is_some() || self.failed.load(Ordering::Relaxed) {
                self.failed.store(error.is_some(), Ordering::Relaxed);
                if let Err(e) = run::note(&self.layer, &self.loaded.plugin, "backup", error, start, used) {
                    tracing::error!(plugin = self.plugin(), error = ?e, "the operation could not be noted");
                }
            }
            let again =
                error.is_some_and(|e| matches!(e.kind(), Kind::Unavailable | Kind::Timeout | Kind::Busy));
            if !again || attempt == policy.retries {
                return result;
            }
            attempt += 1;
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2);
        }
    }

    /// One call, with the guest's own error as one of ours.
    async fn call<R: Send + 'static>(
        &self,
        session: &mut Session,
        size: impl Fn(&R) -> usize,
        ask: impl for<'a> FnOnce(
            &'a mut Store<State>,
            &'a Instance,
            &'a Exports,
        ) -> Asking<'a, std::result::Result<R, Guest>>
        + Send
        + 'static,
    ) -> Result<R> {
        let size_of = move |answer: &std::result::Result<R, Guest>| match answer {
            Ok(r) => size(r),
            Err(e) => from_guest(e).1.len(),
        };
        session.call(size_of, ask).await?.map_err(|e| said(self.plugin(), &e))
    }

    async fn stat_in(&self, session: &mut Session, name: &str) -> Result<Option<u64>> {
        let asked = name.to_string();
        let info = self
            .call(
                session,
                |i: &Option<wit::BlobInfo>| i.as_ref().map_or(0, |i| i.name.len() + 8),
                move |store, instance, exports| {
                    Box::pin(async move {
                        let Exports::Target(exports) = exports else { return Ok(Err(other_world())) };
                        exports.load(&mut *store, instance)?.call_stat(store, &asked).await.map(Ok)
                    })
                },
            )
            .await?;
        match info {
            None => Ok(None),
            Some(i) if i.name == name => Ok(Some(i.size)),
            Some(i) => Err(self.lied(format!(
                "says `{}` when it is asked for `{name}`",
                printable(&i.name, NAME_BYTES_MAX)
            ))),
        }
    }

    async fn put_begin(&self, session: &mut Session, name: &str, size: u64) -> Result<ResourceAny> {
        let asked = name.to_string();
        self.call(
            session,
            |_| 4,
            move |store, instance, exports| {
                Box::pin(async move {
                    let Exports::Target(exports) = exports else { return Ok(Err(other_world())) };
                    exports.load(&mut *store, instance)?.call_put(store, &asked, size).await.map(Ok)
                })
            },
        )
        .await
    }

    async fn upload_drop(&self, session: &mut Session, upload: ResourceAny) -> Result<()> {
        session
            .call(
                |()| 0,
                move |store, _, _| Box::pin(async move { upload.resource_drop_async(store).await.map(Ok) }),
            )
            .await
    }

    async fn put_in(&self, session: &mut Session, name: &str, bytes: &[u8]) -> Result<()> {
        let upload = self.put_begin(session, name, bytes.len() as u64).await?;
        let written = self.write_in(session, upload, bytes).await;
        // Dropped whether or not it went well: an upload that was not finished leaves nothing.
        let dropped = self.upload_drop(session, upload).await;
        written.and(dropped)
    }

    async fn write_in(&self, session: &mut Session, upload: ResourceAny, bytes: &[u8]) -> Result<()> {
        self.write_some(session, upload, bytes).await?;
        self.call(
            session,
            |()| 0,
            move |store, instance, exports| {
                Box::pin(async move {
                    let Exports::Target(exports) = exports else { return Ok(Err(other_world())) };
                    exports.load(&mut *store, instance)?.upload().call_finish(store, upload).await.map(Ok)
                })
            },
        )
        .await
    }

    async fn write_some(&self, session: &mut Session, upload: ResourceAny, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(WRITE_BYTES) {
            let chunk = chunk.to_vec();
            self.call(
                session,
                |()| 0,
                move |store, instance, exports| {
                    Box::pin(async move {
                        let Exports::Target(exports) = exports else { return Ok(Err(other_world())) };
                        let guest = exports.load(&mut *store, instance)?;
                        guest.upload().call_write(store, upload, &chunk).await.map(Ok)
                    })
                },
            )
            .await?;
        }
        Ok(())
    }

    /// One `get`, as the guest answers it.
    async fn part_in(&self, session: &mut Session, name: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        let asked = name.to_string();
        self.call(session, Vec::len, move |store, instance, exports| {
            Box::pin(async move {
                let Exports::Target(exports) = exports else { return Ok(Err(other_world())) };
                exports.load(&mut *store, instance)?.call_get(store, &asked, offset, length).await.map(Ok)
            })
        })
        .await
    }

    async fn get_in(&self, session: &mut Session, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let step = GET_BYTES.min(self.loaded.plugin.limits.reply.0 / 2).max(1);
        let mut out = Vec::new();
        while (out.len() as u64) < length {
            let at = offset + out.len() as u64;
            let wanted = step.min(length - out.len() as u64);
            let got = self.part_in(session, name, at, u32::try_from(wanted).unwrap_or(u32::MAX)).await?;
            if got.len() as u64 > wanted {
                return Err(
                    self.lied(format!("gives {} bytes of `{name}` when it is asked for {wanted}", got.len()))
                );
            }
            if got.is_empty() {
                return Err(Error::corrupt(format!(
                    "the blob `{name}` of `{}` ends after {at} bytes: {} are missing",
                    self.plugin(),
                    offset + length - at
                )));
            }
            out.extend(got);
        }
        Ok(out)
    }

    async fn page_in(
        &self,
        session: &mut Session,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, u64)>> {
        let (asked, from) = (prefix.to_string(), after.map(str::to_string));
        let page = self
            .call(
                session,
                |page: &Vec<wit::BlobInfo>| page.iter().map(|i| i.name.len() + 24).sum(),
                move |store, instance, exports| {
                    Box::pin(async move {
                        let Exports::Target(exports) = exports else { return Ok(Err(other_world())) };
                        let guest = exports.load(&mut *store, instance)?;
                        guest.call_list(store, &asked, from.as_deref(), limit).await.map(Ok)
                    })
                },
            )
            .await?;
        if page.len() > limit as usize {
            return Err(self.lied(format!("lists {} blobs when it is asked for {limit}", page.len())));
        }
        let mut last = after;
        for info in &page {
            let shown = || printable(&info.name, NAME_BYTES_MAX);
            if !info.name.starts_with(prefix) {
                return Err(self.lied(format!("lists `{}` among names that begin with `{prefix}`", shown())));
            }
            // Without this a list that begins anew would never end.
            if last.is_some_and(|l| info.name.as_str() <= l) {
                return Err(self.lied(format!("lists `{}` out of order", shown())));
            }
            last = Some(&info.name);
        }
        Ok(page.into_iter().map(|i| (i.name, i.size)).collect())
    }
}

impl BlobStore for GuestTarget {
    fn name(&self) -> &str {
        self.plugin()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        if !is_name(name) || bytes.len() as u64 > BLOB_BYTES_MAX {
            return Err(Error::internal(format!(
                "`{}` with {} bytes is no blob",
                name.escape_debug(),
                bytes.len()
            )));
        }
        self.operation(async |session| match self.put_in(session, name, bytes).await {
            // An earlier attempt may have stored it and lost the answer: what is there is compared below.
            Err(e) if e.kind() == Kind::Conflict => Ok(()),
            other => other,
        })?;
        // Another instance: what the guest remembers of the upload cannot answer for it.
        self.operation(async |session| {
            let size = self.stat_in(session, name).await?;
            if size != Some(bytes.len() as u64) {
                let is = size.map_or_else(|| "is not there".to_string(), |s| format!("has {s} bytes"));
                return Err(self.lied(format!("took `{name}` with {} bytes; it {is}", bytes.len())));
            }
            let back = self.get_in(session, name, 0, bytes.len() as u64).await?;
            if blake3::hash(&back) != blake3::hash(bytes) {
                return Err(self.lied(format!("gives other bytes of `{name}` than it took")));
            }
            Ok(())
        })
    }

    fn get(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.operation(async |session| self.get_in(session, name, offset, length).await)
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let mut all: Vec<(String, u64)> = Vec::new();
        loop {
            let after = all.last().map(|(name, _)| name.clone());
            let page =
                self.operation(async |session| self.page_in(session, prefix, after.as_deref(), PAGE).await)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
            if all.len() > BLOBS_MAX {
                return Err(self.lied(format!("lists more than {BLOBS_MAX} blobs")));
            }
        }
    }

    fn stat(&self, name: &str) -> Result<Option<u64>> {
        self.operation(async |session| self.stat_in(session, name).await)
    }

    fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_string();
        self.operation(async |session| {
            let asked = name.clone();
            self.call(
                session,
                |()| 0,
                move |store, instance, exports| {
                    Box::pin(async move {
                        let Exports::Target(exports) = exports else { return Ok(Err(other_world())) };
                        exports.load(&mut *store, instance)?.call_delete(store, &asked).await.map(Ok)
                    })
                },
            )
            .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_hosts() {
        for good in ["config", "data/0f/0f3a", "a.b_c-d"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "a b", "a\\b", "ä", "a\n"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_name(&"a".repeat(NAME_BYTES_MAX)) && !is_name(&"a".repeat(NAME_BYTES_MAX + 1)));
    }
}
