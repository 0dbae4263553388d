//! Signals that end a server.

/// Completes when the process receives SIGINT (Ctrl-C) or, on Unix, SIGTERM. From then on neither ends the process directly: a second
/// signal is ignored while the server drains.
///
/// ```no_run
/// # #[cfg(feature = "tower")]
/// # async fn example(server: isobar_server::Server, router: axum::Router) -> Result<(), isobar_server::ServerError> {
/// use isobar_server::{FromTower, shutdown_signal};
///
/// server.serve(FromTower::new(router), shutdown_signal()).await
/// # }
/// ```
pub async fn shutdown_signal() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot wait for SIGINT");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(error) => {
                tracing::error!(%error, "cannot wait for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
