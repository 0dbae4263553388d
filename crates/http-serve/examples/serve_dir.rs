//! A folder served by tower-http's `ServeDir`, for `cargo xtask bench serve` to measure beside: `serve_dir FOLDER PORT`.
#![allow(clippy::print_stdout, reason = "it says where it serves")]

use axum::serve::ListenerExt;
use tower_http::services::ServeDir;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let port: u16 = arguments.next().ok_or("which port?")?.parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("serving on http://{} (Ctrl-C ends)", listener.local_addr()?);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(axum::serve(listener, axum::Router::new().fallback_service(ServeDir::new(folder))).await?)
}
