//! The running host: TCP and the socket, background work, a clean end.

use crate::app::App;
use crate::http::{Door, router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use shiphold_storage::{DataLayer, Error, Manifest, Result};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

/// The socket's name in the data folder.
pub(crate) const SOCKET: &str = "shiphold.sock";
/// How long a client may take to send the head of a request.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long requests may go on after the host was asked to end; the rest of two seconds is for closing the stores.
const GRACE_MAX: Duration = Duration::from_millis(1_200);
/// How long the end waits for background work.
const BACKGROUND_WAIT_MAX: Duration = Duration::from_millis(300);
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Connections at once, over each door; idle ones cost memory.
const CONNECTIONS_MAX: usize = 1_024;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(manifest: Manifest) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(30))
        .build()
        .map_err(|e| Error::io("starting the runtime", e))?;
    let result = runtime.block_on(serve(manifest));
    // What is still blocked in a call must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn serve(manifest: Manifest) -> Result<()> {
    let mut ends = (listen_for(SignalKind::interrupt())?, listen_for(SignalKind::terminate())?);
    let begin = Instant::now();
    let opening = manifest.clone();
    let layer = tokio::task::spawn_blocking(move || DataLayer::open(&opening))
        .await
        .map_err(|e| Error::internal(format!("opening the stores: {e}")))??;
    let app = App::new(layer)?;
    let plugins = app.plugins().await?.clone();
    for p in plugins.list(&shiphold_storage::Caller::Operator)? {
        if let Some(error) = p.error {
            tracing::error!(plugin = p.name, error, "the plugin is not loaded; the host goes on without it");
        }
    }

    // The data folder is 0700 and its lock is ours: a socket that is there is a dead host's.
    let socket = Socket::bind(&manifest.host.data.join(SOCKET))?;
    let tcp = if manifest.http.enabled {
        let at = manifest.http.listen;
        Some(TcpListener::bind(at).await.map_err(|e| {
            Error::io(format!("listening on {at}"), e).hint("another program may hold the port: choose another with `http.listen` in shiphold.toml")
        })?)
    } else {
        None
    };
    let (stop, stopped) = watch::channel(false);
    let graceful = Arc::new(GracefulShutdown::new());
    let mut doors = vec![tokio::spawn(accept_unix(socket.listener, router(app.clone(), Door::Socket), graceful.clone(), stopped.clone()))];
    if let Some(tcp) = tcp {
        doors.push(tokio::spawn(accept_tcp(tcp, router(app.clone(), Door::Tcp), graceful.clone(), stopped.clone())));
    }
    let scheduler = plugins.spawn_scheduler(stopped.clone());
    let maintenance = tokio::spawn(maintain(app.clone(), stopped));
    let url = if manifest.http.enabled { format!("http://{}", manifest.http.listen) } else { "the socket only".into() };
    println!("shiphold {} serves {} on {url} ({} ms)", env!("CARGO_PKG_VERSION"), manifest.host.name, begin.elapsed().as_millis());
    tracing::info!(url, data = %manifest.host.data.display(), "serving");

    let name = tokio::select! { _ = ends.0.recv() => "SIGINT", _ = ends.1.recv() => "SIGTERM" };
    tracing::info!(signal = name, "ending: no new requests; those under way may finish");
    // A second signal does not wait. What was acknowledged is durable at any moment.
    tokio::spawn(async move {
        tokio::select! { _ = ends.0.recv() => {}, _ = ends.1.recv() => {} }
        std::process::exit(130);
    });
    let _ = stop.send(true);
    for door in doors {
        let _ = door.await;
    }
    if let Ok(graceful) = Arc::try_unwrap(graceful) {
        if tokio::time::timeout(GRACE_MAX, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests that took longer than {GRACE_MAX:?} were cut off; none of them was acknowledged");
        }
    }
    let _ = tokio::time::timeout(BACKGROUND_WAIT_MAX, async {
        let _ = maintenance.await;
        let _ = scheduler.await;
    })
    .await;
    let layer = app.layer.clone();
    tokio::task::spawn_blocking(move || layer.close()).await.map_err(|e| Error::internal(format!("closing the stores: {e}")))??;
    drop(socket.file);
    tracing::info!("ended");
    Ok(())
}

fn listen_for(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|e| Error::io("listening for signals", e))
}

struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the socket when the host ends.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Socket {
    fn bind(path: &Path) -> Result<Self> {
        let place = |e| {
            Error::io(format!("the socket {}", path.display()), e)
                .hint("a socket's path has at most 107 bytes: choose a shorter `host.data` in shiphold.toml")
        };
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(place(e)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(place)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(place)?;
        Ok(Self { listener, file: SocketFile(path.to_path_buf()) })
    }
}

async fn accept_tcp(listener: TcpListener, router: axum::Router, graceful: Arc<GracefulShutdown>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! { a = listener.accept() => a, _ = stopped.changed() => return };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                converse(stream, &router, &graceful, &room);
            }
            Err(e) => pause(&e).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, router: axum::Router, graceful: Arc<GracefulShutdown>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! { a = listener.accept() => a, _ = stopped.changed() => return };
        match accepted {
            Ok((stream, _)) => converse(stream, &router, &graceful, &room),
            Err(e) => pause(&e).await,
        }
    }
}

/// Out of file descriptors, most likely: waiting helps, spinning does not.
async fn pause(e: &std::io::Error) {
    tracing::warn!(error = %e, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, router: &axum::Router, graceful: &GracefulShutdown, room: &Arc<Semaphore>) {
    // More than the bound: closed at once, the client sees it.
    let Ok(permit) = room.clone().try_acquire_owned() else { return };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(e) = watched.await {
            tracing::debug!(error = %e, "a connection ended early");
        }
        drop(permit);
    });
}

/// What is due in the stores, once a second, on a thread of its own.
async fn maintain(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! { () = tokio::time::sleep(MAINTAIN_EVERY) => {}, _ = stopped.changed() => return }
        let layer = app.layer.clone();
        match tokio::task::spawn_blocking(move || layer.maintain()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = ?e, "background work failed; it is tried again"),
            Err(e) => tracing::error!(error = %e, "background work ended in a panic"),
        }
    }
}
