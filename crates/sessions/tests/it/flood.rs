//! A thread's other work beside a flood of messages into sockets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{
    Message, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject, WebSocket, socket_pair,
    websocket_response,
};

/// Turns of the request beside the flood.
const TURNS: usize = 20;

/// The flood, as the test and the objects see it.
#[derive(Default)]
struct Flood {
    /// Messages whose handlers have begun, in order.
    begun: Mutex<Vec<String>>,
    /// Turns of handlers of messages.
    turns: AtomicUsize,
    /// The handlers of messages may end.
    is_over: AtomicBool,
    /// A request holds the thread, until it may end.
    is_held: AtomicBool,
    may_end: AtomicBool,
}

/// An object whose handlers of messages take turn after turn until the flood is over.
struct Flooded {
    context: SessionContext,
    flood: Arc<Flood>,
}

impl SessionObject for Flooded {
    type Env = Arc<Flood>;

    async fn start(context: SessionContext, flood: Arc<Flood>) -> Result<Self> {
        Ok(Self { context, flood })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.uri().path() {
            "/socket" => {
                let (client, server) = socket_pair();
                self.context.accept_websocket(server, &[])?;
                Ok(websocket_response(client))
            }
            "/hold" => {
                self.flood.is_held.store(true, Ordering::SeqCst);
                while !self.flood.may_end.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(Response::default())
            }
            _ => {
                let before = self.flood.turns.load(Ordering::SeqCst);
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
                let turns = self.flood.turns.load(Ordering::SeqCst) - before;
                Ok(Response::new(turns.to_string().into()))
            }
        }
    }

    async fn message(&self, _: &WebSocket, message: Message) -> Result<()> {
        let Message::Text(text) = message else { return Ok(()) };
        self.flood.begun.lock().unwrap().push(text);
        while !self.flood.is_over.load(Ordering::SeqCst) {
            self.flood.turns.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn open(flood: &Arc<Flood>) -> MemoryHost<Flooded> {
    let flood = Arc::clone(flood);
    MemoryHost::new("Flooded", move || Arc::clone(&flood)).unwrap()
}

async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), held).await.expect("it comes to hold");
}

#[tokio::test]
async fn requests_turns_wait_for_some_dozens_of_other_turns_and_not_for_the_flood() {
    let flood: Arc<Flood> = Arc::default();
    let host = open(&flood);
    let quiet = host.id("quiet");
    host.get(&quiet, "/").await.unwrap(); // started: the start is a task
    let mut sockets = Vec::new();
    for object in 0..10 {
        let socket = host.connect(&host.id(&object.to_string()), "/socket").await.unwrap();
        for _ in 0..200 {
            socket.send("spin").unwrap();
        }
        sockets.push(socket);
    }
    until(|| flood.begun.lock().unwrap().len() == 2000).await;
    let answer = host.get(&quiet, "/").await;
    flood.is_over.store(true, Ordering::SeqCst);
    let turns: usize = answer.unwrap().into_body().text().await.unwrap().parse().unwrap();
    assert!(turns <= TURNS * 200, "{turns} turns of 2,000 handlers during {TURNS} of a request");
}

#[tokio::test]
async fn message_of_one_client_does_not_wait_for_all_that_another_has_sent() {
    let flood: Arc<Flood> = Arc::default();
    flood.is_over.store(true, Ordering::SeqCst);
    let host = open(&flood);
    let id = host.id("room");
    let many = host.connect(&id, "/socket").await.unwrap();
    let one = host.connect(&id, "/socket").await.unwrap();
    let hold = host.get(&id, "/hold");
    let send = async {
        until(|| flood.is_held.load(Ordering::SeqCst)).await;
        for _ in 0..100 {
            many.send("many").unwrap();
        }
        one.send("one").unwrap();
        flood.may_end.store(true, Ordering::SeqCst);
    };
    let (held, ()) = futures_util::future::join(hold, send).await;
    held.unwrap();
    until(|| flood.begun.lock().unwrap().len() == 101).await;
    let place = flood.begun.lock().unwrap().iter().position(|text| text == "one").unwrap();
    assert!(place < 5, "behind {place} messages of the other client");
}
