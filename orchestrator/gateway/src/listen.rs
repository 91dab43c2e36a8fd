//! Accepts connections: bounded in number, with a time limit for headers, and drained at the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The most connections of one listener; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 8_192;
/// How long a connection may take to send its headers, or stay idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// What is read ahead of a connection. Above the limit of headers, so that it can be said.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long requests that are under way may take once the program stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(15);
/// How long to wait when the system has no socket left.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop`, then lets the requests that are under way end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(BUFFER_BYTES_MAX);
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?.0, place))
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        if stream.set_nodelay(true).is_err() {
            continue; // It is gone already.
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // How a connection ends is its caller's business.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_WITHIN, connections.shutdown()).await.is_err() {
        tracing::info!("some connections did not end in time and are closed");
    }
    Ok(())
}
