//! A counter for each name, a session object, for `cargo xtask bench sessions` to measure: `session_counter FOLDER PORT`.
#![allow(clippy::print_stdout, reason = "it says where it serves")]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::any;
use isobar_http_serve::native::{Server, shutdown_signal};
use isobar_http_serve::{App, Problem, forward_session};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{Body, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject};

/// Counts each POST, durably, and answers everything with the count.
struct Counter(SessionContext);

impl SessionObject for Counter {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> isobar_sessions::Result<Self> {
        Ok(Self(context))
    }

    async fn fetch(&self, request: isobar_sessions::Request) -> isobar_sessions::Result<isobar_sessions::Response> {
        let mut count = self.0.kv().get::<u64>("count")?.unwrap_or_default();
        if request.method() == "POST" {
            count += 1;
            self.0.kv().put("count", &count)?;
        }
        Ok(isobar_sessions::Response::new(Body::from(count.to_string())))
    }
}

async fn count(
    State(counters): State<Arc<dyn SessionNamespace>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    forward_session(&*counters, &counters.id(&name), "/", request).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let port: u16 = arguments.next().ok_or("which port?")?.parse()?;
    let options = HostOptions::default().with_open_objects(4096);
    let counters: Arc<dyn SessionNamespace> = Arc::new(LocalHost::<Counter>::open(folder, "Counter", &options, || ())?);
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("serving on {} (Ctrl-C ends)", server.url());
    let routes = Router::new().route("/{name}", any(count)).with_state(counters);
    Ok(server.serve(App::new().nest("/counters", routes).into_service(), shutdown_signal()).await?)
}
