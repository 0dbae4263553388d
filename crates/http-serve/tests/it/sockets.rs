//! WebSockets of clients that break the protocol, write before they read, or do not read at all.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Running, start, wrangler};

/// A frame: its first byte, the length it claims, its payload.
type Frame<'a> = (u8, u64, &'a [u8]);

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;

/// A client that writes frames byte by byte.
struct Raw(TcpStream);

impl Raw {
    async fn open(running: &Running, room: &str) -> Self {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let request = format!(
            "GET /api/rooms/{room}/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self(stream)
    }

    /// Sends a frame, or the head of one whose payload says more bytes than follow.
    async fn send(&mut self, first: u8, length: u64, payload: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&head(first, length)).await?;
        self.0.write_all(payload).await
    }

    /// The next frame's opcode and payload; `None` when the connection has ended.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        next(&mut self.0).await
    }

    async fn close_code(&mut self) -> Option<(u16, String)> {
        while let Some((opcode, payload)) = self.next().await {
            if opcode == CLOSE {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                return Some((code, String::from_utf8(payload[2..].to_vec()).unwrap()));
            }
        }
        None
    }
}

/// A masked frame's head; the mask is zero.
fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

async fn next(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, Vec<u8>)> {
    let read = async {
        let first = stream.read_u8().await.ok()?;
        let second = stream.read_u8().await.ok()?;
        let length = match second & 0x7f {
            126 => u64::from(stream.read_u16().await.ok()?),
            127 => stream.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        Some((first & 0x0f, payload))
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer within 20 seconds")
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_upgrades_are_refused_and_leave_no_socket() {
    let platform = wrangler().memory().await.unwrap();
    let running = start(&platform).await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let heads = [
        ("GET", String::new()),
        ("GET", format!("Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{key}\r\n")),
        ("GET", format!("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}\r\n")),
        ("GET", format!("Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Version: 13\r\n{key}\r\n")),
        ("GET", format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n{key}\r\n")),
        ("GET", format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n")),
        ("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".to_owned()),
        ("DELETE", format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}\r\n")),
    ];
    for (method, headers) in heads {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let request = format!("{method} /api/rooms/malformed/socket HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 426", "{request}");
    }
    let rooms = platform.sessions("ROOMS").unwrap();
    let id = rooms.id_from_name("malformed");
    for _ in 0..1000 {
        if rooms.sockets(&id).await.unwrap().is_empty() {
            drop(Raw::open(&running, "malformed").await); // a whole one is taken
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("sockets that no client has are still open: {:?}", rooms.sockets(&id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_platform_lets_events_end_and_closes_sockets() {
    let platform = wrangler().memory().await.unwrap();
    let running = start(&platform).await;
    let mut client = Raw::open(&running, "closing").await;
    client.send(FINAL | TEXT, 5, b"hello").await.unwrap();
    assert_eq!(client.next().await, Some((TEXT, b"hello".to_vec())));
    running.stop.send(()).unwrap();
    running.done.await.unwrap().unwrap();
    let closed = tokio::spawn(async move { client.close_code().await });
    platform.close().await.unwrap();
    assert_eq!(closed.await.unwrap().unwrap().0, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_before_it_reads_gets_every_echo() {
    let running = start(&wrangler().memory().await.unwrap()).await;
    let mut client = Raw::open(&running, "echo").await;
    let started = Instant::now();
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..60 {
        client.send(FINAL | BINARY, payload.len() as u64, &payload).await.unwrap();
    }
    for _ in 0..60 {
        let (opcode, echo) = client.next().await.expect("an echo");
        assert!(opcode == BINARY && echo == payload);
    }
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_errors_are_answered_by_a_close_frame() {
    let running = start(&wrangler().memory().await.unwrap()).await;
    let too_large = 32 * 1024 * 1024 + 1;
    let cases: [(&str, &[Frame<'_>], u16, &str); 11] = [
        ("rsv 2", &[(FINAL | 0x20 | TEXT, 2, b"hi")], 1002, "Received frame had RSV bits 2 or 3 set"),
        ("rsv 1", &[(FINAL | 0x40 | TEXT, 2, b"hi")], 1002, ""),
        ("data opcode", &[(FINAL | 3, 2, b"hi")], 1002, "Unknown opcode 3"),
        ("control opcode", &[(FINAL | 11, 2, b"hi")], 1002, "Unknown opcode 11"),
        ("continuation", &[(FINAL, 2, b"hi")], 1002, "Unexpected continuation frame"),
        ("two begun", &[(TEXT, 1, b"a"), (FINAL | TEXT, 1, b"b")], 1002, "Missing continuation frame"),
        ("fragmented ping", &[(9, 1, b"a")], 1002, "Received fragmented control frame"),
        ("large ping", &[(FINAL | 9, 126, &[b'a'; 126])], 1002, ""),
        ("not UTF-8", &[(FINAL | TEXT, 2, &[0xff, 0xfe])], 1007, ""),
        ("too large", &[(FINAL | BINARY, too_large, b"")], 1009, "Message is too large: 33554433 > 33554432"),
        ("absurd", &[(FINAL | BINARY, u64::MAX >> 1, b"")], 1009, ""),
    ];
    for (name, frames, code, reason) in cases {
        let mut client = Raw::open(&running, "wrong").await;
        for (first, length, payload) in frames {
            client.send(*first, *length, payload).await.unwrap();
        }
        let (got, why) = client.close_code().await.unwrap_or_else(|| panic!("{name}: no close frame"));
        assert_eq!((name, got), (name, code), "{why}");
        assert!(reason.is_empty() || why == reason, "{name}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_too_large_fragments_is_answered_while_it_is_sent() {
    let running = start(&wrangler().memory().await.unwrap()).await;
    let mut client = Raw::open(&running, "fragments").await;
    let part = vec![b'x'; 17 * 1024 * 1024];
    client.send(BINARY, part.len() as u64, &part).await.unwrap();
    client.send(0, part.len() as u64, &part).await.unwrap();
    assert_eq!(client.close_code().await.expect("a close frame").0, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed_with_1013() {
    let running = start(&wrangler().memory().await.unwrap()).await;
    let mut client = Raw::open(&running, "flood").await;
    let wish = b"flood 100"; // MiB: more than a socket's queue takes
    client.send(FINAL | TEXT, wish.len() as u64, wish).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (code, why) = client.close_code().await.expect("a close frame after what was on its way");
    assert_eq!((code, why.as_str()), (1013, "the client does not read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_do_not_keep_an_unfinished_message_alive() {
    let running = start(&wrangler().memory().await.unwrap()).await;
    let mut client = Raw::open(&running, "late").await;
    let begun = Instant::now();
    client.send(BINARY, 5, b"begun").await.unwrap();
    let (mut reading, mut writing) = client.0.split();
    let pings = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            // The socket may be closed meanwhile.
            drop(writing.write_all(&[&head(FINAL | 9, 4)[..], b"ping"].concat()).await);
        }
    };
    let closed = async {
        loop {
            match next(&mut reading).await {
                Some((CLOSE, payload)) => return u16::from_be_bytes([payload[0], payload[1]]),
                Some(_) if begun.elapsed() < Duration::from_secs(50) => {}
                _ => return 0,
            }
        }
    };
    let code = tokio::select! {
        code = closed => code,
        () = pings => unreachable!("they have no end"),
    };
    assert_eq!(code, 1008, "after {:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_bounded_for_all_sockets_together() {
    let running = start(&wrangler().memory().await.unwrap()).await;
    let mut clients = Vec::new();
    let part = vec![b'x'; 24 * 1024 * 1024];
    let mut refused = 0;
    for _ in 0..5 {
        let mut client = Raw::open(&running, "unfinished").await;
        // Its payload ends one byte early. One that is refused meanwhile may break off the writing.
        drop(client.send(FINAL | BINARY, part.len() as u64 + 1, &part).await);
        clients.push(client);
    }
    for client in &mut clients {
        let answer = tokio::time::timeout(Duration::from_millis(500), client.close_code()).await;
        if let Ok(Some((code, _))) = answer {
            assert_eq!(code, 1013);
            refused += 1;
        }
    }
    assert!(refused >= 2, "5 x 24 MiB do not fit into 64 MiB: {refused} were refused");
    drop(clients);
    // The others are served again when it is given back.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut client = Raw::open(&running, "unfinished").await;
    client.send(FINAL | BINARY, part.len() as u64, &part).await.unwrap();
    assert_eq!(client.next().await.expect("an echo").1.len(), part.len());
}
