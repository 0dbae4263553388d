//! The server alone, under applications of its own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fast_path;
mod refusals;
mod shutdown;

use std::net::SocketAddr;
use std::time::Duration;

use isobar_server::{Application, Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that runs until it is stopped.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

impl Running {
    async fn start(application: impl Application, options: ServerOptions) -> Self {
        let server = Server::bind_with(([127, 0, 0, 1], 0).into(), options.with_threads(1)).await.unwrap();
        let address = server.address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = async move { server.serve(application, async { drop(stopped.await) }).await.unwrap() };
        Self { address, stop, done: tokio::spawn(serving) }
    }

    /// Sends bytes, and returns all that comes until the server closes.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
        read.await.expect("the server closes the connection").unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(Duration::from_secs(10), self.done).await.expect("the server ends").unwrap();
    }
}
