//! The routes, a file per noun. They call the data layer and turn what it says into JSON; they decide nothing.

mod audit;
mod backup;
mod body;
mod files;
mod guard;
mod health;
mod influx;
pub(crate) mod metrics;
mod plugins;
mod problem;
mod series;
mod settings;
mod skills;
mod tokens;
mod work;

#[cfg(test)]
mod tests;

use crate::app::App;
use axum::Router;
use axum::routing::{delete, get, post};
pub(crate) use problem::Problem;
use shiphold_storage::{Error, Result};
use std::sync::Arc;

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The 0600 socket, or this very process: the operator.
    Socket,
    /// TCP on loopback, which every local program and web page can reach: a token.
    Tcp,
}

/// Every route of the host.
pub(crate) fn router(app: Arc<App>, door: Door) -> Router {
    let body_max = usize::try_from(app.layer.manifest().http.body_max.0).unwrap_or(usize::MAX);
    let nouns = Router::new()
        .route("/metrics", get(metrics::show))
        .route("/api/v2/write", post(influx::write))
        .route("/v1/host", get(health::host))
        .route("/v1/verify", post(backup::verify))
        .route("/v1/series", get(series::list))
        .route("/v1/series/list", post(series::list_of))
        .route("/v1/series/latest", post(series::latest))
        .route("/v1/series/query", post(series::query))
        .route("/v1/series/write", post(series::write))
        .route("/v1/series/import", post(series::import))
        .route("/v1/series/delete", post(series::delete))
        .route("/v1/series/stats", get(series::stats))
        .route("/v1/series/seal", post(series::seal))
        .route("/v1/series/compact", post(series::compact))
        .route("/v1/series/verify", post(series::verify))
        .route("/v1/skills", get(skills::list).post(skills::put))
        .route("/v1/skills/search", post(skills::search))
        .route("/v1/skills/{name}", get(skills::show))
        .route("/v1/skills/{name}/versions", get(skills::versions))
        .route("/v1/skills/{name}/resolve", get(skills::resolve))
        .route("/v1/skills/{name}/rollback", post(skills::rollback))
        .route("/v1/skills/{name}/performance", get(skills::performance).post(skills::record_performance))
        .route("/v1/skills/{name}/use", post(skills::record_use))
        .route("/v1/settings", get(settings::namespaces))
        .route("/v1/settings/{namespace}", get(settings::list))
        .route("/v1/settings/{namespace}/{key}", get(settings::show).put(settings::set).delete(settings::remove))
        .route("/v1/settings/{namespace}/{key}/history", get(settings::history))
        .route("/v1/audit", get(audit::list))
        .route("/v1/audit/verify", get(audit::verify))
        .route("/v1/files", get(files::stores))
        .route("/v1/files/{store}", get(files::list))
        .route("/v1/files/{store}/content/{*path}", get(files::content).put(files::put).delete(files::remove))
        .route("/v1/files/{store}/versions", get(files::versions))
        .route("/v1/files/{store}/gc", post(files::gc))
        .route("/v1/files/{store}/verify", post(files::verify))
        .route("/v1/plugins", get(plugins::list))
        .route("/v1/plugins/{name}/run", post(plugins::run))
        .route("/v1/plugins/{name}/runs", get(plugins::runs))
        .route("/v1/plugins/{name}/enable", post(plugins::enable))
        .route("/v1/plugins/{name}/disable", post(plugins::disable))
        .route("/v1/backup/export", post(backup::export))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{name}", delete(tokens::revoke))
        .fallback(async || Problem(Error::not_found("there is no such route").hint("docs/http.md lists them")))
        .method_not_allowed_fallback(async || {
            Problem(Error::invalid("this route does not know this method").hint("docs/http.md lists them"))
        });
    // Known to every InfluxDB client and asked before it has a token.
    let open = Router::new().route("/ping", get(health::ping)).route("/health", get(health::health));
    let nouns = match door {
        Door::Socket => nouns.layer(axum::middleware::from_fn_with_state(app.clone(), guard::operator)),
        Door::Tcp => nouns.layer(axum::middleware::from_fn_with_state(app.clone(), guard::token)),
    };
    let all = open
        .merge(nouns)
        .layer(axum::extract::DefaultBodyLimit::max(body_max))
        .layer(axum::middleware::from_fn_with_state(app.clone(), metrics::count));
    let all = match door {
        Door::Socket => all,
        Door::Tcp => {
            let gate = Arc::new(guard::Gate::new(app.layer.manifest()));
            all.layer(axum::middleware::from_fn_with_state(gate, guard::web))
        }
    };
    all.with_state(app)
}

/// Storage calls block: they run on threads made for it.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result.map_err(Problem),
        Err(e) => {
            tracing::error!(error = %e, "a storage call ended in a panic");
            Err(Problem(Error::internal("the call ended in a fault of the host").hint("look at the host's log and report it")))
        }
    }
}

/// RFC 3339, a date, or nanoseconds since the epoch.
fn when(key: &str, value: &serde_json::Value) -> Result<Option<i64>> {
    use serde_json::Value as V;
    let text = match value {
        V::Null => return Ok(None),
        V::Number(n) => {
            return n.as_i64().map(Some).ok_or_else(|| Error::invalid(format!("`{key}`: {n} is not a time in nanoseconds")));
        }
        V::String(s) => s,
        other => return Err(Error::invalid(format!("`{key}`: {other} is not a time"))),
    };
    let wrong = || {
        Error::invalid(format!("`{key}`: `{}` is not a time", text.escape_debug()))
            .hint("write RFC 3339 (2026-06-26T13:30:00Z), a date, or nanoseconds since the epoch")
    };
    let time = chrono::DateTime::parse_from_rfc3339(text)
        .map(|t| t.to_utc())
        .or_else(|_| text.parse::<chrono::NaiveDate>().map(|d| d.and_time(chrono::NaiveTime::MIN).and_utc()))
        .map_err(|_| wrong())?;
    time.timestamp_nanos_opt().map(Some).ok_or_else(wrong)
}
