//! The stack over real HTTP, on a platform made from a wrangler configuration.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod calls;
#[cfg(unix)]
mod fast_path;
#[cfg(unix)]
mod hosts;
mod limits;
mod observed;
mod proxies;
mod server;
mod signed;
mod sockets;
mod statistics;
mod triggers;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use futures_util::{SinkExt, StreamExt};
use isobar_analytics::EventSinkExt;
use isobar_cloudflare::wrangler::{Config, Format};
use isobar_http_serve::native::{Server, ServerError};
use isobar_http_serve::{
    App, AppService, Platform, PlatformError, Problem, RequestEvent, WranglerPlatform, forward_session,
};
use isobar_sessions::{
    Body, Message, Request as ObjectRequest, Response as ObjectResponse, SessionContext, SessionObject, WebSocket,
};
use isobar_site::{CacheOptions, Site, SiteOptions};
use isobar_storage::{Key, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message as Ws;

const CONFIG: &str = r#"
name = "test"
vars = { GREETING = "hello" }
r2_buckets = [{ binding = "STORAGE", bucket_name = "assets" }]
d1_databases = [{ binding = "DB", database_name = "business" }]
durable_objects.bindings = [{ name = "ROOMS", class_name = "Room" }]
analytics_engine_datasets = [{ binding = "EVENTS", dataset = "events" }]
"#;

struct Room(SessionContext);

impl SessionObject for Room {
    type Env = ();
    async fn start(context: SessionContext, (): ()) -> isobar_sessions::Result<Self> {
        Ok(Self(context))
    }
    async fn fetch(&self, request: ObjectRequest) -> isobar_sessions::Result<ObjectResponse> {
        if request.uri().path() == "/socket" {
            let (client, server) = isobar_sessions::socket_pair();
            self.0.accept_websocket(server, &[])?;
            let mut response = isobar_sessions::websocket_response(client);
            response.headers_mut().insert("x-room", http::HeaderValue::from_static("a"));
            return Ok(response);
        }
        let path = request.uri().to_string();
        Ok(ObjectResponse::new(Body::from(format!("{path}: {}", request.into_body().text().await?))))
    }
    async fn message(&self, socket: &WebSocket, message: Message) -> isobar_sessions::Result<()> {
        match message {
            Message::Text(text) if text == "bye" => socket.close(4000, "as you wish"),
            Message::Text(text) if text.starts_with("flood ") => {
                let mebibytes: usize = text["flood ".len()..].parse().unwrap_or_default();
                (0..mebibytes).try_for_each(|_| socket.send("x".repeat(1 << 20)))
            }
            message => socket.send(message),
        }
    }
}

fn wrangler() -> WranglerPlatform {
    let config = Config::parse(CONFIG, Format::Toml, None).unwrap();
    WranglerPlatform::new(config).session_class::<Room>("Room", |_| ())
}

async fn room(
    State(platform): State<Platform>,
    Path((name, path)): Path<(String, String)>,
    request: Request,
) -> Result<axum::response::Response, Problem> {
    let rooms = platform.sessions("ROOMS")?;
    forward_session(&*rooms, &rooms.id_from_name(&name), &format!("/{path}?q=1"), request).await
}

async fn app(platform: &Platform) -> AppService {
    let store = platform.bucket("STORAGE").unwrap();
    store.write(&Key::new("static/index.html").unwrap(), "home").await.unwrap();
    let api = Router::new()
        .route("/echo", post(async |body: axum::body::Bytes| body))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        )
        .route("/rooms/{name}/{*path}", axum::routing::any(room))
        .with_state(platform.clone());
    let database = platform.database("DB").unwrap();
    App::new()
        .api(api)
        .site(Site::new(store, SiteOptions::default().with_prefix("static/")).with_cache(CacheOptions::default()))
        .observe(platform.dataset("EVENTS").unwrap())
        .ready_when(
            "database",
            Arc::new(move || {
                use isobar_db::QueryableExt;
                let database = database.clone();
                Box::pin(async move {
                    database.prepare("SELECT 1").run().await.map(drop).map_err(|error| error.to_string())
                })
            }),
        )
        .body_limit(1000)
        .into_service()
}

struct Running {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<Result<(), ServerError>>,
}

async fn start(platform: &Platform) -> Running {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address().unwrap();
    let (stop, stopped) = oneshot::channel();
    let app = app(platform).await;
    let done = tokio::spawn(server.serve(app, async { drop(stopped.await) }));
    Running { address, stop, done }
}

async fn ask(running: &Running, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let request =
        format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn worker_first_decides_whether_site_or_route_answers() {
    use isobar_site::WorkerFirst;
    use tower::ServiceExt;
    let store = isobar_storage::memory::MemoryStore::new();
    for (key, body) in [("index.html", "home"), ("api/data.json", "a file"), ("api/private", "a file, too")] {
        store.write(&Key::new(key).unwrap(), body).await.unwrap();
    }
    let answers = async |first: Option<WorkerFirst>| {
        let options =
            SiteOptions::default().with_not_found_handling(isobar_site::NotFoundHandling::SinglePageApplication);
        let routes = Router::new().route("/data.json", get(async || "a route")).route("/x", get(async || "x"));
        let mut app = App::new().api(routes).site(Site::new(Arc::new(store.clone()), options));
        if let Some(first) = first {
            app = app.worker_first(first);
        }
        let router = app.into_router();
        let mut answers = Vec::new();
        for path in ["/api/data.json", "/api/x", "/api/none", "/api/private", "/healthz", "/page"] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            answers.push(if text.contains("no such API") { "problem".to_owned() } else { text });
        }
        answers
    };
    let routes_first = ["a route", "x", "problem", "problem", "ok\n", "home"];
    assert_eq!(answers(None).await, routes_first);
    assert_eq!(answers(Some(WorkerFirst::always())).await, routes_first);
    assert_eq!(answers(Some(WorkerFirst::never())).await, ["a file", "x", "problem", "a file, too", "ok\n", "home"]);
    let rules = WorkerFirst::paths(["/api/*", "!/api/private"]).unwrap();
    assert_eq!(answers(Some(rules)).await, ["a route", "x", "problem", "a file, too", "ok\n", "home"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_site_health_and_errors() {
    let platform = wrangler().memory().await.unwrap();
    let running = start(&platform).await;
    for (head, status, body) in [
        ("GET /", 200, "home"),
        ("GET /healthz", 200, "ok\n"),
        ("GET /readyz", 200, "ready\n"),
        ("GET /api/none", 404, "no such API"),
        ("GET /api", 404, "no such API"),
        ("GET /none", 404, "not found"),
        ("GET /api/echo", 405, "Method Not Allowed"),
        ("GET /api/panic", 500, "the handler failed"),
        ("POST /api/rooms/a/notes", 200, "/notes?q=1: "),
        ("GET /api/rooms/a/socket", 426, "this is a WebSocket"),
        ("POST /api/rooms/a/.isobar/call/x", 404, "calls are not served"),
        ("POST /api/rooms/a/%2Eisobar/call/x", 404, "calls are not served"),
        ("POST /api/rooms/a/x/%252e%252E/.isobar/call/x", 404, "calls are not served"),
        ("POST /api/rooms/a/%5C.isobar%5Ccall%5Cx", 404, "calls are not served"),
    ] {
        let got = ask(&running, head, "").await;
        assert!(got.0 == status && got.2.contains(body), "{head}: {got:?}");
        assert!(got.1.contains("x-request-id: "), "{head}: {got:?}");
        assert!(
            status < 400 || !head.contains("/api") || got.1.contains("content-type: application/problem+json"),
            "{head}: {got:?}"
        );
    }
    assert_eq!(ask(&running, "POST /api/echo", "hi").await.2, "hi");
    assert_eq!(ask(&running, "POST /api/echo", &"x".repeat(1001)).await.0, 413);
    let cross = ask(&running, "POST /api/echo HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nX: ", "hi").await;
    assert_eq!(cross.0, 403, "{cross:?}");
    let foreign = ask(&running, "POST /api/rooms/a/notes HTTP/1.1\r\nOrigin: https://evil.example\r\nX: ", "hi").await;
    assert_eq!(foreign.0, 403, "{foreign:?}");
    let same = ask(&running, "POST /api/rooms/a/notes HTTP/1.1\r\nOrigin: http://x\r\nX: ", "hi").await;
    assert_eq!(same.0, 200, "{same:?}");
    let large = ask(&running, "POST /api/rooms/a/notes", &"x".repeat(1001)).await;
    assert_eq!(large.0, 500, "the object's reading is cut off: {large:?}");
    let own = ask(&running, "GET / HTTP/1.1\r\nx-request-id: mine\r\nX: ", "").await;
    assert!(own.1.contains("x-request-id: mine"), "{own:?}");

    let events = platform.dataset("EVENTS").unwrap().scan(Default::default()).await.unwrap().events;
    let events: Vec<_> = events
        .iter()
        .filter_map(RequestEvent::from_event)
        .map(|event| (event.route, event.method, event.status))
        .collect();
    assert!(events.contains(&("/api/rooms/{name}/{*path}".into(), "POST".into(), 200)), "{events:?}");
    assert!(events.contains(&("/api/panic".into(), "GET".into(), 500)), "{events:?}");
    assert!(events.iter().all(|(route, ..)| !route.contains("none")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_reach_their_object_and_back() {
    let platform = wrangler().memory().await.unwrap();
    let running = start(&platform).await;
    let url = format!("ws://{}/api/rooms/a/socket", running.address);
    let (mut socket, answer) = tokio_tungstenite::connect_async(&url).await.unwrap();
    assert_eq!(answer.headers()["x-room"], "a");
    socket.send(Ws::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Ws::text("hello"));
    socket.send(Ws::binary(vec![0, 255])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Ws::binary(vec![0, 255]));
    socket.send(Ws::text("bye")).await.unwrap();
    match socket.next().await.unwrap().unwrap() {
        Ws::Close(Some(close)) => assert_eq!((u16::from(close.code), close.reason.as_str()), (4000, "as you wish")),
        other => panic!("{other:?}"),
    }
    // A client's goodbye is answered.
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Ws::Close(_))) | None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_finishes_requests_in_flight() {
    let platform = wrangler().memory().await.unwrap();
    let running = start(&platform).await;
    let slow = tokio::spawn({
        let address = running.address;
        async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /api/slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.send(()).unwrap();
    running.done.await.unwrap().unwrap();
    assert!(slow.await.unwrap().ends_with("slow"));
    assert!(tokio::net::TcpStream::connect(running.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_outlive_the_server_and_close_with_their_platform() {
    let platform = wrangler().memory().await.unwrap();
    let running = start(&platform).await;
    let url = format!("ws://{}/api/rooms/a/socket", running.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    running.stop.send(()).unwrap();
    running.done.await.unwrap().unwrap();
    // The thread that the socket came by is still there, though nobody accepts or asks any more.
    drop(platform);
    match tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap().unwrap().unwrap() {
        Ws::Close(Some(close)) => assert_eq!(u16::from(close.code), 1001),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binding_a_taken_port_names_the_address() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Server::bind(server.address().unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} is in use by another program; stop it, or choose another port", server.address().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_are_opened_locally_and_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    {
        let platform = wrangler().local(folder.path()).await.unwrap();
        platform.bucket("STORAGE").unwrap().write(&Key::new("a").unwrap(), "kept").await.unwrap();
        platform.close().await.unwrap();
    }
    let platform = wrangler().local(folder.path()).await.unwrap();
    assert_eq!(platform.bucket("STORAGE").unwrap().read(&Key::new("a").unwrap()).await.unwrap().unwrap().1, "kept");
    assert_eq!(platform.var("GREETING").unwrap(), "hello");
    for (error, text) in [
        (platform.bucket("NONE").unwrap_err(), "there is no bucket \"NONE\" among the bindings; buckets: STORAGE"),
        (
            platform.database("STORAGE").unwrap_err(),
            "the binding \"STORAGE\" is a bucket, not a database; databases: DB",
        ),
        (
            platform.sessions("IAM").unwrap_err(),
            "there is no session namespace \"IAM\" among the bindings; session namespaces: ROOMS",
        ),
        (platform.secret("KEY").unwrap_err(), "there is no secret \"KEY\" among the bindings; secrets: none"),
    ] {
        assert_eq!(error.to_string(), text);
    }
    for place in ["r2/assets/index.db", "d1/business.sqlite", "sessions/Room/index.db", "analytics/events"] {
        assert!(folder.path().join(place).exists(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_an_error_with_the_binding() {
    let folder = tempfile::tempdir().unwrap();
    let unregistered = WranglerPlatform::new(Config::parse(CONFIG, Format::Toml, None).unwrap());
    let error = unregistered.local(folder.path()).await.unwrap_err();
    assert!(matches!(error, PlatformError::UnknownClass { .. }) && error.to_string().contains("Room"), "{error}");
    let outside = "r2_buckets = [{ binding = \"B\", bucket_name = \"../x\" }]";
    let outside = WranglerPlatform::new(Config::parse(outside, Format::Toml, None).unwrap());
    assert!(matches!(outside.local(folder.path()).await.unwrap_err(), PlatformError::Name(..)));
    let missing = Platform::from_wrangler(folder.path().join("none.toml")).unwrap_err();
    assert!(missing.to_string().contains("none.toml: cannot be read"), "{missing}");
    std::fs::write(folder.path().join("wrangler.toml"), "name = \"a\"\n").unwrap();
    std::fs::write(folder.path().join(".dev.vars"), "# comment\nAPI_KEY=\"s3cret\"\n").unwrap();
    let platform = Platform::from_wrangler(folder.path()).unwrap().local(folder.path().join("state")).await.unwrap();
    assert_eq!(platform.secret("API_KEY").unwrap().expose(), "s3cret");
    assert!(!format!("{platform:?}").contains("s3cret"));
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn options_of_files_are_refused_with_a_postgres_server() {
    let history = |platform: WranglerPlatform| platform.history(Some(isobar_db::HistoryOptions::default()));
    let slow = |platform: WranglerPlatform| platform.slow_queries(Some(Default::default()));
    for (configured, option) in [(history(wrangler()), "option history"), (slow(wrangler()), "option slow_queries")] {
        let folder = tempfile::tempdir().unwrap();
        let configured = configured.postgres(Some("postgres:///none?host=/no/such/folder".to_owned()));
        let error = configured.local(folder.path()).await.unwrap_err();
        assert!(error.to_string().contains("\"DB\"") && error.to_string().contains(option), "{error}");
    }
}
