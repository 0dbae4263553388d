//! The end of a host in order.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{
    AlarmInfo, Body, ClientSocket, CloseFrame, ErrorKind, Message, Request, Response, Result, SessionContext,
    SessionNamespace, SessionNamespaceExt, SessionObject, WebSocket, socket_pair, websocket_response,
};

/// Events, as the test and the objects see them.
#[derive(Debug, Default)]
struct Work {
    begun: AtomicUsize,
    may_end: AtomicBool,
    messages: Mutex<Vec<String>>,
    closed: AtomicUsize,
    alarms: AtomicUsize,
}

impl Work {
    fn messages(&self) -> usize {
        self.messages.lock().unwrap().len()
    }
}

/// Object whose requests end when the test lets them.
struct Slow(SessionContext, Arc<Work>);

impl SessionObject for Slow {
    type Env = Arc<Work>;

    async fn start(context: SessionContext, work: Arc<Work>) -> Result<Self> {
        Ok(Self(context, work))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let Self(context, work) = self;
        match request.uri().path() {
            "/socket" => {
                let (client, server) = socket_pair();
                context.accept_websocket(server, &[])?;
                return Ok(websocket_response(client));
            }
            "/alarm" => context.set_alarm(context.now() + TimeDelta::milliseconds(100))?,
            "/read" => {}
            _ => {
                work.begun.fetch_add(1, Ordering::SeqCst);
                while !work.may_end.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                context.kv().put("ended", &true)?;
                for socket in context.websockets(None) {
                    socket.send("it has ended")?;
                }
            }
        }
        let ended = context.kv().get::<bool>("ended")?.unwrap_or_default();
        Ok(Response::new(Body::from(ended.to_string())))
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        self.1.alarms.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn message(&self, _: &WebSocket, message: Message) -> Result<()> {
        if let Message::Text(text) = message {
            self.1.messages.lock().unwrap().push(text);
        }
        Ok(())
    }

    async fn closed(&self, _: &WebSocket, _: CloseFrame) -> Result<()> {
        self.1.closed.fetch_add(1, Ordering::SeqCst);
        self.0.kv().put("closed", &true)
    }
}

fn open(folder: &Path) -> (LocalHost<Slow>, Arc<Work>) {
    let work: Arc<Work> = Arc::default();
    let env = Arc::clone(&work);
    let options = HostOptions::default().with_threads(2);
    (LocalHost::open(folder, "Slow", &options, move || Arc::clone(&env)).unwrap(), work)
}

async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), held).await.expect("it comes to hold");
}

async fn text(response: Result<Response>) -> String {
    response.unwrap().into_body().text().await.unwrap()
}

/// Reads until the object closes, and answers by closing. Returns the texts, and the code.
async fn to_the_end(mut socket: ClientSocket) -> (Vec<String>, u16) {
    let mut texts = Vec::new();
    loop {
        match socket.receive().await.expect("a close frame comes") {
            Ok(Message::Text(text)) => texts.push(text),
            Ok(Message::Binary(_)) => panic!("no binary message is sent"),
            Err(close) => return (texts, close.code),
        }
    }
}

#[tokio::test]
async fn drain_lets_events_end_and_closes_sockets_then() {
    let folder = tempfile::tempdir().unwrap();
    let (host, work) = open(folder.path());
    let socket = host.connect(&host.id("a"), "/socket").await.unwrap();
    let client = tokio::spawn(to_the_end(socket));
    let slow = tokio::spawn({
        let host = host.clone();
        async move { text(host.get(&host.id("a"), "/slow").await).await }
    });
    until(|| work.begun.load(Ordering::SeqCst) == 1).await;
    let drained = tokio::spawn({
        let host = host.clone();
        async move { host.drain(Duration::from_secs(20)).await }
    });
    // Another object may be needed by what is in flight.
    assert_eq!(text(host.get(&host.id("b"), "/read").await).await, "false");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!drained.is_finished() && !slow.is_finished());
    work.may_end.store(true, Ordering::SeqCst);
    assert_eq!(slow.await.unwrap(), "true");
    drained.await.unwrap().unwrap();
    assert_eq!(client.await.unwrap(), (vec!["it has ended".to_owned()], 1001));
    assert_eq!(work.closed.load(Ordering::SeqCst), 1, "the object knows that its socket has ended");
    drop(host);
    let (host, _) = open(folder.path());
    assert_eq!(text(host.get(&host.id("a"), "/read").await).await, "true");
}

#[tokio::test]
async fn messages_that_come_during_a_drain_are_handled_before_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (host, work) = open(folder.path());
    let socket = host.connect(&host.id("a"), "/socket").await.unwrap();
    socket.send("before").unwrap();
    until(|| work.messages() == 1).await;
    let busy = host.id("b");
    let slow = host.get(&busy, "/slow");
    let client = async {
        until(|| work.begun.load(Ordering::SeqCst) == 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await; // the drain has begun
        for _ in 0..50 {
            socket.send("during").unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let handled = work.messages();
        work.may_end.store(true, Ordering::SeqCst);
        (handled, to_the_end(socket).await)
    };
    let drain = async {
        until(|| work.begun.load(Ordering::SeqCst) == 1).await;
        host.drain(Duration::from_secs(20)).await
    };
    // The drain is polled before the client: it has begun when that sends, however long both were held up.
    let (slow, drained, (handled, (_, code))) = futures_util::future::join3(slow, drain, client).await;
    slow.unwrap();
    drained.unwrap();
    assert_eq!((handled, code), (1, 1001), "messages wait for the end of events");
    assert_eq!(work.messages(), 51);
}

#[tokio::test]
async fn drain_that_gives_up_lets_no_messages_through_while_another_one_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (host, work) = open(folder.path());
    let socket = host.connect(&host.id("a"), "/socket").await.unwrap();
    socket.send("before").unwrap();
    until(|| work.messages() == 1).await;
    let busy = host.id("b");
    let slow = host.get(&busy, "/slow");
    let is_draining = Cell::new(false);
    let client = async {
        until(|| is_draining.get()).await;
        socket.send("during").unwrap();
        let error = host.drain(Duration::ZERO).await.unwrap_err();
        for _ in 0..20 {
            text(host.get(&host.id("a"), "/read").await).await; // the socket's task goes on meanwhile, if it may
        }
        let handled = work.messages();
        work.may_end.store(true, Ordering::SeqCst);
        (error.kind(), handled, to_the_end(socket).await)
    };
    let drain = async {
        until(|| work.begun.load(Ordering::SeqCst) == 1).await;
        is_draining.set(true);
        host.drain(Duration::from_secs(20)).await
    };
    let (slow, drained, (kind, handled, (_, code))) = futures_util::future::join3(slow, drain, client).await;
    slow.unwrap();
    drained.unwrap();
    assert_eq!((kind, handled, code), (ErrorKind::Reset, 1, 1001));
    assert_eq!(work.messages(), 2);
}

#[tokio::test]
async fn drain_gives_up_after_its_time_and_the_host_can_be_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (host, work) = open(folder.path());
    let stuck = tokio::spawn({
        let host = host.clone();
        async move { host.get(&host.id("a"), "/slow").await.map(drop) }
    });
    until(|| work.begun.load(Ordering::SeqCst) == 1).await;
    let begun = Instant::now();
    let error = host.drain(Duration::from_millis(100)).await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Reset, "drain"));
    assert!(error.to_string().ends_with("after 100ms: 1"), "{error}");
    stuck.abort();
    drop(stuck.await);
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
}

#[tokio::test]
async fn alarm_that_comes_due_during_a_drain_runs_with_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (host, work) = open(folder.path());
    let slow = tokio::spawn({
        let host = host.clone();
        async move { host.get(&host.id("a"), "/slow").await.map(drop) }
    });
    until(|| work.begun.load(Ordering::SeqCst) == 1).await;
    let drained = tokio::spawn({
        let host = host.clone();
        async move { host.drain(Duration::from_secs(20)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    host.get(&host.id("alarm"), "/alarm").await.unwrap(); // as another event in flight might
    tokio::time::sleep(Duration::from_millis(200)).await;
    work.may_end.store(true, Ordering::SeqCst);
    slow.await.unwrap().unwrap();
    drained.await.unwrap().unwrap();
    assert_eq!(work.alarms.load(Ordering::SeqCst), 0);
    drop(host);
    let (_host, work) = open(folder.path());
    until(|| work.alarms.load(Ordering::SeqCst) == 1).await;
}
