//! The pages for operators: `/metrics`, `/livez`, `/readyz`, `/healthz` and an index.
//!
//! They answer from what is already known, in memory, and call nobody: a page is as quick in an
//! outage as at any other time. GET and HEAD only; nothing here changes anything.

mod listener;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::health::{Health, Verdict};

use listener::LimitedListener;
pub use listener::Limits;

/// How long open connections may finish after the shutdown signal.
const GRACE: Duration = Duration::from_secs(1);

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// Renders `/metrics`; the place to bring gauges up to date that are read from elsewhere.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub health: Arc<Health>,
}

/// A bound port. Binding comes before anything else is started, so that a taken port is an
/// error at the start and not a daemon without eyes.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
}

impl Server {
    /// Binds `http.listen`: `host:port`, port 0 for a free one.
    pub async fn bind(listen: &str) -> anyhow::Result<Server> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("bind http.listen = \"{listen}\" for /metrics and health"))?;
        let address = listener.local_addr().context("read the bound address")?;
        Ok(Server { listener, address, limits: Limits::default() })
    }

    pub fn with_limits(self, limits: Limits) -> Server {
        Server { limits, ..self }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then for as long as open requests need, at most a second.
    pub async fn run(self, pages: Pages, shutdown: impl Future<Output = ()> + Send + 'static) {
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let signal = async move {
            shutdown.await;
            // The receiver is gone only when the server has ended on its own.
            let _ = stopping.send(());
        };
        let listener = LimitedListener::new(self.listener, self.limits);
        let serving = axum::serve(listener, router(pages)).with_graceful_shutdown(signal);
        let overdue = async {
            // An error means that the server has ended: the other branch is ready as well.
            let _ = stopped.await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = serving => if let Err(error) = result {
                tracing::error!(%error, "http server ended");
            },
            () = overdue => tracing::debug!("http connections cut after their grace"),
        }
    }
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .with_state(pages)
}

async fn index() -> impl IntoResponse {
    Html(concat!(
        "<!doctype html><title>nazar</title><h1>nazar ",
        env!("CARGO_PKG_VERSION"),
        "</h1><ul>",
        "<li><a href=\"/metrics\">/metrics</a> for Prometheus",
        "<li><a href=\"/livez\">/livez</a> 200 while its loops turn (also /healthz)",
        "<li><a href=\"/readyz\">/readyz</a> 200 while it does its job, else what is missing",
        "</ul>\n",
    ))
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], (pages.metrics)())
}

async fn livez(State(pages): State<Pages>) -> impl IntoResponse {
    answer(&pages.health.live())
}

async fn readyz(State(pages): State<Pages>) -> impl IntoResponse {
    answer(&pages.health.ready())
}

fn answer(verdict: &Verdict) -> impl IntoResponse + use<> {
    const HEADERS: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(verdict).expect("strings and booleans are valid JSON");
    (status, HEADERS, body + "\n")
}

#[cfg(test)]
mod tests;
