//! Counters as session objects, over HTTP and WebSockets. `cargo run -p counter`; with `-- check` it drives itself and ends.
#![allow(clippy::print_stdout, reason = "an example speaks")]

mod counter;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use futures_util::{SinkExt, StreamExt};
use isobar_http_serve::native::{Server, shutdown_signal};
use isobar_http_serve::{App, Problem, forward_session};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{Body, SessionNamespace, SessionNamespaceExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::counter::Counter;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Namespace = Arc<dyn SessionNamespace>;

/// The host: every counter has a SQLite file below this folder.
fn open(folder: &FilePath) -> isobar_sessions::Result<LocalHost<Counter>> {
    LocalHost::open(folder, "Counter", &HostOptions::default(), || ())
}

/// The application: `/counters/NAME` and `/counters/NAME/socket` go to the object of that name.
fn app(counters: Namespace) -> App {
    let routes = Router::new()
        .route("/{name}", any(forward_root))
        .route("/{name}/socket", get(forward_socket))
        .with_state(counters);
    App::new().nest("/counters", routes)
}

async fn forward_root(
    State(counters): State<Namespace>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    forward_session(&*counters, &counters.id(&name), "/", request).await
}

async fn forward_socket(
    State(counters): State<Namespace>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    forward_session(&*counters, &counters.id(&name), "/socket", request).await
}

#[tokio::main]
async fn main() -> Outcome {
    if std::env::args().any(|argument| argument == "check") {
        return check().await;
    }
    let counters: Namespace = Arc::new(open(FilePath::new("counter-data"))?);
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 8789))).await?;
    println!("{}/counters/visits (Ctrl-C ends)", server.url());
    Ok(server.serve(app(counters).into_service(), shutdown_signal()).await?)
}

async fn check() -> Outcome {
    count_over_the_network().await?;
    count_across_a_restart().await
}

/// Two onlookers over the network, and a count by each of the ways.
async fn count_over_the_network() -> Outcome {
    let folder = tempfile::tempdir()?;
    let counters: Namespace = Arc::new(open(folder.path())?);
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = server.address().ok_or("the server listens on TCP")?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let service = app(Arc::clone(&counters)).into_service();
    let serving = tokio::spawn(async move { server.serve(service, async move { drop(ended.await) }).await });

    let url = format!("ws://{address}/counters/visits/socket");
    let (mut ada, _) = connect_async(&url).await?;
    let (mut bob, _) = connect_async(&url).await?;
    assert_eq!((next(&mut ada).await?, next(&mut bob).await?), ("0".to_owned(), "0".to_owned()));

    // Counted over a socket: both hear of it.
    ada.send(Message::text("2")).await?;
    assert_eq!((next(&mut ada).await?, next(&mut bob).await?), ("2".to_owned(), "2".to_owned()));

    // Counted by a request: here without the network, as another part of the application would.
    let visits = counters.id("visits");
    let answer = counters.post(&visits, "/", Body::from("5")).await?;
    assert_eq!(answer.into_body().text().await?, "7");
    assert_eq!((next(&mut ada).await?, next(&mut bob).await?), ("7".to_owned(), "7".to_owned()));

    // Only the one who sends nonsense is told so.
    bob.send(Message::text("many")).await?;
    assert_eq!(next(&mut bob).await?, "send a whole number");
    println!("two sockets and a request counted to 7");

    ada.close(None).await?;
    bob.close(None).await?;
    drop((ada, bob));
    drop(end);
    serving.await??;
    Ok(())
}

/// Acknowledged counts are there after a restart.
async fn count_across_a_restart() -> Outcome {
    let folder = tempfile::tempdir()?;
    let counters = open(folder.path())?;
    counters.post(&counters.id("visits"), "/", Body::from("7")).await?;
    drop(counters);

    let counters = open(folder.path())?;
    assert_eq!(counters.get(&counters.id("visits"), "/").await?.into_body().text().await?, "7");
    assert_eq!(counters.get(&counters.id("others"), "/").await?.into_body().text().await?, "0");
    println!("it is still 7 after a restart; other counters are others");
    Ok(())
}

/// The next text on a socket.
async fn next(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Outcome<String> {
    let message = socket.next().await.ok_or("the server has closed the socket")??;
    Ok(message.into_text()?.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn the_example_holds_what_it_says() {
        super::check().await.expect("every step holds");
    }
}
