//! The running host: TCP and the socket, background work, a clean end.

mod doors;

use crate::app::App;
use crate::http::Door;
use doors::{Connections, Socket, told};
use shiphold_storage::{DataLayer, Error, Manifest, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The socket's name in the data folder.
pub(crate) const SOCKET: &str = "shiphold.sock";
/// How long requests may go on after the host was asked to end; what remains of two seconds is for the rest.
const GRACE_MAX: Duration = Duration::from_millis(1_000);
/// How long the end waits for background work.
const BACKGROUND_WAIT_MAX: Duration = Duration::from_millis(200);
/// How long the end waits for the stores to close. What was acknowledged is durable without it.
const CLOSE_WAIT_MAX: Duration = Duration::from_millis(500);
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// Threads for storage calls beside one per request: background work, plugins, tokens.
const SPARE_THREADS: usize = 32;
/// Threads for storage calls in all; requests beyond them wait for one.
const THREADS_MAX: usize = 1_024;
/// A second signal ends the process at once, with this code.
const EXIT_AT_ONCE: i32 = 130;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(manifest: Manifest) -> Result<()> {
    let begin = Instant::now();
    let requests = manifest.http.requests_max as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(requests.saturating_add(SPARE_THREADS).min(THREADS_MAX))
        .build()
        .map_err(|e| Error::io("starting the runtime", e))?;
    let layer = DataLayer::open(&manifest)?;
    let result = runtime.block_on(serve(layer, begin));
    // What is still blocked in a call must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(50));
    result
}

async fn serve(layer: Arc<DataLayer>, begin: Instant) -> Result<()> {
    let mut ends =
        Ends { int: listen_for(SignalKind::interrupt())?, term: listen_for(SignalKind::terminate())? };
    let hangup = listen_for(SignalKind::hangup())?;
    let app = App::new(layer)?;
    let manifest = app.layer.manifest();
    let tcp = match manifest.http.enabled {
        true => Some(bind(manifest).await?),
        false => None,
    };
    // The lock of the data folder is ours: a socket that is there is a dead host's.
    let socket = Socket::bind(&manifest.host.data.join(SOCKET))?;
    let stopped = app.ending.subscribe();
    let mut connections = Connections::new(&app, &stopped);
    connections.open(socket.listener, Door::Socket);
    let url = tcp.as_ref().and_then(|t| t.local_addr().ok()).map(|at| format!("http://{at}"));
    if let Some(tcp) = tcp {
        connections.open(tcp, Door::Tcp);
    }
    // Components may have to be compiled: nobody waits for that but who asks for a plugin.
    let scheduler = tokio::spawn(plugins(app.clone(), stopped.clone()));
    tokio::spawn(reloads(app.clone(), hangup, stopped.clone()));
    let maintenance = tokio::spawn(maintain(app.clone(), stopped));
    println!(
        "shiphold {} `{}` serves {} and {} ({} ms)",
        env!("CARGO_PKG_VERSION"),
        manifest.host.name,
        url.as_deref().unwrap_or("no TCP"),
        socket.file.path().display(),
        begin.elapsed().as_millis()
    );
    tracing::info!(
        url = url.as_deref().unwrap_or("none"),
        data = %manifest.host.data.display(),
        engine = ?manifest.series.engine,
        plugins = manifest.plugins.len(),
        "serving"
    );

    let signal = ends.wait().await;
    tracing::info!(signal, "ending: no new requests; those under way may finish");
    // A second signal does not wait. What was acknowledged is durable at any moment.
    tokio::spawn(async move {
        ends.wait().await;
        std::process::exit(EXIT_AT_ONCE);
    });
    app.ending.send_replace(true);
    drop(socket.file);
    if !connections.end(GRACE_MAX).await {
        tracing::warn!(after = ?GRACE_MAX, "requests under way were cut off; none of them was acknowledged");
    }
    let background = async {
        let _ = maintenance.await;
        let _ = scheduler.await;
    };
    if tokio::time::timeout(BACKGROUND_WAIT_MAX, background).await.is_err() {
        tracing::warn!("background work was cut off; it is taken up again at the next start");
    }
    let layer = app.layer.clone();
    let closing = tokio::task::spawn_blocking(move || layer.close());
    match tokio::time::timeout(CLOSE_WAIT_MAX, closing).await {
        Ok(Ok(Ok(()))) => tracing::info!("ended"),
        Ok(Ok(Err(e))) => {
            tracing::warn!(error = ?e, "the stores did not close well; the next start mends it")
        }
        Ok(Err(e)) => tracing::error!(error = %e, "closing the stores ended in a panic"),
        Err(_) => tracing::warn!("the stores are busy and were not closed; the next start reads their logs"),
    }
    Ok(())
}

struct Ends {
    int: Signal,
    term: Signal,
}

impl Ends {
    async fn wait(&mut self) -> &'static str {
        tokio::select! { _ = self.int.recv() => "SIGINT", _ = self.term.recv() => "SIGTERM" }
    }
}

fn listen_for(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| Error::io("listening for signals", e))
}

async fn bind(manifest: &Manifest) -> Result<TcpListener> {
    let at = manifest.http.listen;
    TcpListener::bind(at).await.map_err(|e| {
        let error = Error::io(format!("listening on {at}"), e);
        error.hint("another program may hold the port: choose another with `http.listen` in shiphold.toml")
    })
}

/// Loads the plugins and runs those that are due, until the end.
async fn plugins(app: Arc<App>, stopped: watch::Receiver<bool>) {
    let mut end = stopped.clone();
    let plugins = tokio::select! {
        loaded = app.plugins() => match loaded {
            Ok(plugins) => plugins.clone(),
            Err(e) => {
                tracing::error!(error = ?e, "the plugins could not be loaded; the host goes on without them");
                return;
            }
        },
        () = told(&mut end) => return,
    };
    match plugins.list(&shiphold_storage::Caller::Operator) {
        Ok(list) => {
            for p in list {
                match p.error {
                    Some(error) => {
                        tracing::error!(
                            plugin = p.name,
                            error,
                            "a plugin is not loaded; the host goes on without it"
                        );
                    }
                    None => tracing::debug!(plugin = p.name, "loaded"),
                }
            }
        }
        Err(e) => tracing::error!(error = ?e, "listing the plugins"),
    }
    let _ = plugins.spawn_scheduler(stopped).await;
}

/// SIGHUP takes over what changed of the plugins.
async fn reloads(app: Arc<App>, mut hangup: Signal, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = told(&mut stopped) => return,
        }
        let done = match app.plugins().await {
            Ok(plugins) => plugins.reload(&shiphold_storage::Caller::Operator, None).await,
            Err(e) => Err(e),
        };
        match done {
            Ok(report) => tracing::info!(
                plugins = report.plugins.iter().filter(|p| p.outcome != "unchanged").count(),
                restart_needed = ?report.restart_needed,
                "SIGHUP: the manifest was read again"
            ),
            Err(e) => {
                tracing::error!(error = ?e, "SIGHUP: the manifest is refused; the plugins go on as before")
            }
        }
    }
}

/// What is due in the stores, once a second, on a thread of its own.
async fn maintain(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(MAINTAIN_EVERY) => {}
            () = told(&mut stopped) => return,
        }
        let layer = app.layer.clone();
        let failed = match tokio::task::spawn_blocking(move || layer.maintain()).await {
            Ok(Ok(())) => continue,
            Ok(Err(e)) => format!("{e:?}"),
            Err(e) => e.to_string(),
        };
        app.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(error = failed, "background work failed; it is tried again");
    }
}
