//! The routes, a file per noun. They call the data layer and turn what it says into JSON; they decide nothing.
//! `docs/http.md` lists them.

mod answer;
mod archives;
mod audit;
mod backup;
mod body;
mod buckets;
mod commits;
mod content;
mod delete;
mod events;
mod exchange;
mod feed;
mod files;
mod flux;
mod guard;
mod health;
mod logs;
mod metrics;
mod plugins;
mod problem;
mod queries;
mod range;
mod rollups;
mod series;
mod settings;
mod skills;
mod sql;
mod state;
mod table;
mod tail;
mod time;
mod tokens;
mod trades;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use table::NEXT;

use crate::app::App;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use problem::Problem;
use shiphold_storage::Kind;
use std::sync::Arc;

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The 0600 socket, or this very process: the operator.
    Socket,
    /// TCP on loopback, which every local program and web page can reach: a token.
    Tcp,
}

/// Every route of the host, as it is seen through a door.
pub(crate) fn router(app: Arc<App>, door: Door) -> Router {
    let gate = guard::Gate { app: app.clone(), door };
    Router::new()
        .route("/ping", get(health::ping))
        .route("/ready", get(health::ready))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::show))
        .route("/api/v2/write", post(write::influx))
        .route("/api/v2/query", post(flux::query))
        .route("/api/v2/delete", post(delete::influx))
        .route("/api/v2/buckets", get(buckets::list).post(buckets::make))
        .route("/api/v2/buckets/{id}", get(buckets::show))
        .route("/api/v2/orgs", get(buckets::orgs))
        .route("/v1/host", get(health::host))
        .route("/v1/verify", post(backup::verify))
        .route("/v1/series", get(series::list))
        .route("/v1/series/list", post(series::list_of))
        .route("/v1/series/buckets", get(buckets::of_series))
        .route("/v1/series/latest", get(series::latest).post(series::latest_of))
        .route("/v1/series/coverage", post(series::coverage))
        .route("/v1/series/query", get(series::query_of).post(series::query))
        .route("/v1/series/explain", post(series::explain))
        .route("/v1/series/tail", get(tail::tail))
        .route("/v1/series/write", post(write::lines))
        .route("/v1/series/import", post(exchange::import))
        .route("/v1/series/export", get(exchange::export).post(exchange::export_of))
        .route("/v1/series/delete", post(series::delete))
        .route("/v1/series/stats", get(series::stats))
        .route("/v1/series/archives", get(archives::list).post(archives::list_of))
        .route("/v1/series/archive", post(archives::archive))
        .route("/v1/series/restore", post(archives::restore))
        .route("/v1/series/seal", post(series::seal))
        .route("/v1/series/compact", post(series::compact))
        .route("/v1/series/verify", post(series::verify))
        .route("/v1/rollups", get(rollups::list))
        .route("/v1/rollups/run", post(rollups::run))
        .route("/v1/queries", get(queries::list))
        .route("/v1/queries/{name}", get(queries::ask).post(queries::ask_with))
        .route("/v1/skills", get(skills::list).post(skills::put))
        .route("/v1/skills/search", get(skills::search).post(skills::search_of))
        .route("/v1/skills/reindex", post(skills::reindex))
        .route("/v1/skills/@library", get(skills::library::export).post(skills::library::import))
        .route("/v1/skills/@voyager", post(skills::library::import_voyager))
        .route("/v1/skills/{name}", get(skills::show))
        .route("/v1/skills/{name}/versions", get(skills::versions))
        .route("/v1/skills/{name}/diff", get(skills::past::diff))
        .route("/v1/skills/{name}/lineage", get(skills::past::lineage))
        .route("/v1/skills/{name}/status", get(skills::past::statuses).post(skills::past::set_status))
        .route("/v1/skills/{name}/resolve", get(skills::resolve))
        .route("/v1/skills/{name}/rollback", post(skills::rollback))
        .route("/v1/skills/{name}/performance", get(skills::performance).post(skills::record_performance))
        .route("/v1/skills/{name}/believed", get(skills::past::believed))
        .route("/v1/skills/{name}/use", post(skills::record_use))
        .route("/v1/settings", get(settings::namespaces).post(settings::change))
        .route("/v1/settings/{namespace}/@changes", get(settings::follow))
        .route("/v1/settings/{namespace}", get(settings::list))
        .route(
            "/v1/settings/{namespace}/{key}",
            get(settings::show).put(settings::set).delete(settings::remove),
        )
        .route("/v1/settings/{namespace}/{key}/history", get(settings::history))
        .route(
            "/v1/settings/{namespace}/{key}/schema",
            get(settings::schema).put(settings::set_schema).delete(settings::remove_schema),
        )
        .route("/v1/state", get(state::list))
        .route("/v1/state/@changes", get(state::follow))
        .route("/v1/state/{strategy}", get(state::load).put(state::save).delete(state::remove))
        .route("/v1/state/{strategy}/history", get(state::history))
        .route("/v1/trades/accounts", get(trades::accounts).post(trades::open_account))
        .route("/v1/trades/instruments", get(trades::instruments).post(trades::add_instrument))
        .route("/v1/trades/instruments/{name}", get(trades::instrument))
        .route("/v1/trades/instruments/{name}/terms", post(trades::set_terms))
        .route("/v1/trades/instruments/{name}/aliases", post(trades::add_alias))
        .route("/v1/trades/actions", post(trades::add_action))
        .route("/v1/trades/actions/void", post(trades::void_action))
        .route("/v1/trades/chains", post(trades::add_roll))
        .route("/v1/trades/chains/{chain}", get(trades::rolls))
        .route("/v1/trades/bars", get(trades::bars))
        .route("/v1/trades/batch", post(trades::batch))
        .route("/v1/trades/accounts/{account}/orders", get(trades::orders))
        .route("/v1/trades/accounts/{account}/orders/{id}", get(trades::order))
        .route("/v1/trades/accounts/{account}/fills", get(trades::fills))
        .route("/v1/trades/accounts/{account}/cash", get(trades::cash))
        .route("/v1/trades/accounts/{account}/positions", get(trades::positions).post(trades::positions_at))
        .route("/v1/trades/accounts/{account}/rebuild", post(trades::rebuild))
        .route(
            "/v1/trades/accounts/{account}/performance",
            get(trades::performance).post(trades::record_performance),
        )
        .route(
            "/v1/trades/accounts/{account}/statements",
            get(trades::statements).post(trades::compare_statement),
        )
        .route("/v1/trades/accounts/{account}/statements/{statement}", get(trades::differences))
        .route("/v1/trades/accounts/{account}/statements/{statement}/resolve", post(trades::resolve))
        .route("/v1/commits", post(commits::make))
        .route("/v1/sql", post(sql::ask))
        .route("/v1/audit", get(audit::list))
        .route("/v1/audit/verify", get(audit::verify).post(audit::verify_against))
        .route("/v1/audit/export", get(audit::export))
        .route("/v1/audit/checkpoint", post(audit::checkpoint))
        .route("/v1/audit/checkpoints", get(audit::checkpoints))
        .route("/v1/audit/segments", get(audit::segments))
        .route("/v1/audit/seal", post(audit::seal))
        .route("/v1/audit/archive", post(audit::archive))
        .route("/v1/files", get(files::stores))
        .route("/v1/files/{store}", get(files::list))
        .route("/v1/files/{store}/versions", get(files::versions))
        .route("/v1/files/{store}/content/{*path}", get(files::content).put(files::put).delete(files::remove))
        .route("/v1/files/{store}/about", get(files::keeping::about))
        .route("/v1/files/{store}/find", get(files::keeping::find))
        .route("/v1/files/{store}/batch", post(files::uploads::batch))
        .route("/v1/files/{store}/labels", get(files::keeping::labels))
        .route(
            "/v1/files/{store}/labels/{label}",
            get(files::keeping::label).put(files::keeping::set_label).delete(files::keeping::remove_label),
        )
        .route("/v1/files/{store}/labels/{label}/content", get(files::keeping::content))
        .route("/v1/files/{store}/labels/{label}/history", get(files::keeping::label_history))
        .route("/v1/files/{store}/uploads", get(files::uploads::list).post(files::uploads::begin))
        .route(
            "/v1/files/{store}/uploads/{id}",
            get(files::uploads::show).patch(files::uploads::append).delete(files::uploads::abandon),
        )
        .route("/v1/files/{store}/uploads/{id}/finish", post(files::uploads::finish))
        .route("/v1/files/{store}/prune", post(files::keeping::prune))
        .route("/v1/files/{store}/gc", post(files::gc))
        .route("/v1/files/{store}/verify", post(files::verify))
        .route("/v1/logs", get(logs::list))
        .route("/v1/logs/{stream}", get(logs::search).post(logs::push))
        .route("/v1/logs/{stream}/tail", get(logs::tail))
        .route("/v1/logs/{stream}/rotate", post(logs::rotate))
        .route("/v1/plugins", get(plugins::list))
        .route("/v1/plugins/reload", post(plugins::reload))
        .route("/v1/plugins/{name}", get(plugins::status))
        .route("/v1/plugins/{name}/grants", get(plugins::grants))
        .route("/v1/plugins/{name}/logs", get(plugins::logs))
        .route("/v1/plugins/{name}/rollback", post(plugins::rollback))
        .route("/v1/plugins/{name}/run", post(plugins::run))
        .route("/v1/plugins/{name}/runs", get(plugins::runs))
        .route("/v1/plugins/{name}/enable", post(plugins::enable))
        .route("/v1/plugins/{name}/disable", post(plugins::disable))
        .route("/v1/backup/export", post(backup::export))
        .route("/v1/backup/check", post(backup::check))
        .route("/v1/backup/at/{name}/push", post(backup::push))
        .route("/v1/backup/at/{name}/snapshots", get(backup::snapshots))
        .route("/v1/backup/at/{name}/verify", post(backup::verify_target))
        .route("/v1/backup/at/{name}/pull", post(backup::pull))
        .route("/v1/backup/at/{name}/forget", post(backup::forget))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{name}", delete(tokens::revoke))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this route does not know this method",
            )
            .hint("the header `Allow` names those that it knows")
        })
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, Kind::NotFound.code(), "there is no such route")
                .hint("docs/http.md lists them")
        })
        .layer(axum::middleware::from_fn_with_state(gate, guard::pass))
        .with_state(app)
}
