//! The doors: listeners and the connections that come in through them.

use crate::app::App;
use crate::http::{Door, router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shiphold_storage::{Error, Result};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// How long a client may take to send the head of a request, and how long a connection may be idle.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of the head of a request, and of one step of a body.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// Connections of a door beside one per request: idle ones, and those that are about to be told that it is full.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// A wait after a failed accept: out of file descriptors, most likely, and spinning would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The host's socket in the data folder.
pub(super) struct Socket {
    pub listener: UnixListener,
    pub file: SocketFile,
}

/// Removes the socket when the host ends.
pub(super) struct SocketFile(PathBuf);

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Binds it, for its owner alone. Only who holds the folder's lock may call this: what is left of a dead host goes.
    pub(super) fn bind(path: &Path) -> Result<Self> {
        let place = |e| Error::io(format!("the socket {}", path.display()), e);
        match std::fs::symlink_metadata(path) {
            Ok(m) if m.file_type().is_socket() => std::fs::remove_file(path).map_err(place)?,
            Ok(_) => {
                return Err(Error::conflict(format!("{} is in the way and is no socket", path.display()))
                    .hint("move it away: the host puts its socket there"));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(place(e)),
        }
        let listener = UnixListener::bind(path).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidInput => place(e).hint(
                "the path of a socket has at most 107 bytes: choose a shorter `host.data` in shiphold.toml",
            ),
            _ => place(e),
        })?;
        let file = SocketFile(path.to_path_buf());
        // The folder is 0700, so nobody came in before this.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(place)?;
        Ok(Self { listener, file })
    }
}

/// TCP or a socket.
pub(super) trait Listener: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // An answer is sent at once: waiting for more of it would cost 40 ms.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Waits until the host is told to end.
pub(super) async fn told(stopped: &mut watch::Receiver<bool>) {
    // When nobody can tell any more, the host has ended.
    let _ = stopped.wait_for(|end| *end).await;
}

/// Every open door and all that goes on behind it.
pub(super) struct Connections {
    app: Arc<App>,
    stopped: watch::Receiver<bool>,
    doors: Vec<JoinHandle<JoinSet<()>>>,
}

impl Connections {
    /// They end when `stopped` becomes true.
    pub(super) fn new(app: &Arc<App>, stopped: &watch::Receiver<bool>) -> Self {
        Self { app: app.clone(), stopped: stopped.clone(), doors: Vec::new() }
    }

    /// Lets in what comes to a listener.
    pub(super) fn open<L: Listener>(&mut self, listener: L, door: Door) {
        let (router, mut stopped) = (router(self.app.clone(), door), self.stopped.clone());
        let connections = self.app.layer.manifest().http.requests_max as usize + IDLE_CONNECTIONS_MAX;
        let room = Arc::new(Semaphore::new(connections));
        self.doors.push(tokio::spawn(async move {
            let mut set = JoinSet::new();
            loop {
                while set.try_join_next().is_some() {}
                let next = async {
                    // One more waits in the kernel until another ends.
                    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
                    Ok::<_, io::Error>((listener.next().await?, permit))
                };
                let accepted = tokio::select! {
                    accepted = next => accepted,
                    () = told(&mut stopped) => return set,
                };
                match accepted {
                    Ok((stream, permit)) => {
                        set.spawn(converse(stream, router.clone(), stopped.clone(), permit));
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }));
    }

    /// Waits until what is under way has ended, then cuts off the rest. Was nothing cut off?
    pub(super) async fn end(self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        let mut whole = true;
        for door in self.doors {
            let Ok(mut set) = door.await else { continue };
            let all = async { while set.join_next().await.is_some() {} };
            if tokio::time::timeout_at(deadline, all).await.is_err() {
                whole = false;
                // Their futures are dropped: queries see that they are cancelled.
                set.shutdown().await;
            }
        }
        whole
    }
}

/// The requests of one connection, one after the other.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: axum::Router,
    mut stopped: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_takes_a_dead_hosts_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let dead = UnixListener::bind(&path).unwrap();
        drop(dead);
        assert!(path.exists());
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        tokio::net::UnixStream::connect(&path).await.unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(Socket::bind(&path).err().unwrap().code(), "conflict");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let long = dir.path().join("x".repeat(120));
        let refused = Socket::bind(&long).err().unwrap();
        assert!(refused.hint_text().unwrap().contains("107"), "{refused:?}");
    }
}
