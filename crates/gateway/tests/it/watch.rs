//! Refused requests are reported, and who is refused too often waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use isobar_analytics::memory::MemorySink;
use isobar_gateway::ClientInfo;
use isobar_gateway::keys::{Audit, FailedAttempts};

use crate::client::{Call, Client, Setup};

fn from(address: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.extensions_mut().insert(ClientInfo::new(address.parse().ok(), true));
    request
}

#[tokio::test]
async fn refused_requests_are_reported() {
    let sink = MemorySink::new();
    let mut setup = Setup::new();
    setup.door = setup.door.with_audit(Audit::new().with_sink(Arc::new(sink.clone())));
    setup.client("reader").put("/photos/k", "x").await.refused(403, "AccessDenied");
    setup.client("owner").get("/photos/none").await.refused(404, "NoSuchKey");
    let nobody = setup.client("nobody");
    nobody.send(from("203.0.113.7", nobody.presign(&Call::get("/photos/k"), 60))).await.refused(401, "Unauthorized");
    let points = sink.points();
    assert_eq!(points.len(), 2);
    let blobs = |point: usize| -> Vec<String> {
        (1..=6).map(|blob| String::from_utf8_lossy(points[point].blob(blob)).into_owned()).collect()
    };
    assert_eq!(blobs(0), ["refused", "s3", "PUT", "/photos/k", "AccessDenied", ""]);
    // Without the query, which has the signature.
    assert_eq!(blobs(1), ["refused", "s3", "GET", "/photos/k", "Unauthorized", "203.0.113.7"]);
}

#[tokio::test]
async fn address_with_too_many_failed_attempts_waits() {
    let sink = MemorySink::new();
    let mut setup = Setup::new();
    setup.door = setup.door.with_attempts(Arc::new(FailedAttempts::new(3, Duration::from_secs(60))));
    setup.door = setup.door.with_audit(Audit::new().with_sink(Arc::new(sink.clone())));
    let owner = setup.client("owner");
    let wrong = Client { secret: "wrong".to_owned(), ..owner.clone() };
    let call = Call::get("/photos/none");
    for _ in 0..3 {
        wrong.send(from("203.0.113.7", wrong.sign(&call))).await.refused(403, "SignatureDoesNotMatch");
    }
    let blocked = owner.send(from("203.0.113.7", owner.sign(&call))).await;
    blocked.refused(503, "SlowDown");
    assert!(blocked.header("retry-after").is_some());
    let events = sink.points();
    let last = events.last().unwrap();
    assert_eq!((events.len(), last.blob(5), last.double(1)), (4, &b"SlowDown"[..], 503.0));
    owner.send(from("203.0.113.8", owner.sign(&call))).await.refused(404, "NoSuchKey");
    // What a good key may not do is no failed attempt.
    let reader = setup.client("reader");
    for _ in 0..4 {
        reader.send(from("203.0.113.9", reader.sign(&Call::put("/photos/k", "x")))).await.refused(403, "AccessDenied");
    }
}

#[tokio::test]
async fn unsigned_requests_are_reported_and_are_no_attempts() {
    let sink = MemorySink::new();
    let mut setup = Setup::new();
    setup.door = setup.door.with_audit(Audit::new().with_sink(Arc::new(sink.clone())));
    setup.door = setup.door.with_attempts(Arc::new(FailedAttempts::new(1, Duration::from_secs(60))));
    let client = setup.client("owner");
    let unsigned = || Request::get("/photos/k").header("host", "s3.test").body(Full::new(Bytes::new())).unwrap();
    let old = || {
        let request = Request::get("/photos/k").header("host", "s3.test").header("authorization", "AWS owner:c2ln");
        request.body(Full::new(Bytes::new())).unwrap()
    };
    client.send(from("203.0.113.7", unsigned())).await.refused(400, "InvalidArgument");
    client.send(from("203.0.113.7", old())).await.refused(400, "InvalidRequest");
    client.send(from("203.0.113.7", client.sign(&Call::get("/photos/k")))).await.refused(404, "NoSuchKey");
    let events = sink.points();
    let reasons: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event.blob(5)).into_owned()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("InvalidArgument: ") && reasons[0].contains("not signed"), "{reasons:?}");
    assert!(reasons[1].contains("version 2"), "{reasons:?}");
    assert!(events.iter().all(|event| event.index() == b"-" && event.double(1) == 400.0));
}

#[tokio::test]
async fn blocked_address_may_use_the_key_that_it_has_used_before() {
    let mut setup = Setup::new();
    setup.door = setup.door.with_attempts(Arc::new(FailedAttempts::new(3, Duration::from_secs(60))));
    let owner = setup.client("owner");
    let reader = setup.client("reader");
    let wrong = Client { secret: "wrong".to_owned(), ..setup.client("writer") };
    let call = Call::get("/photos/none");
    owner.send(from("203.0.113.7", owner.sign(&call))).await.refused(404, "NoSuchKey");
    for _ in 0..3 {
        wrong.send(from("203.0.113.7", wrong.sign(&call))).await.refused(403, "SignatureDoesNotMatch");
    }
    wrong.send(from("203.0.113.7", wrong.sign(&call))).await.refused(503, "SlowDown");
    reader.send(from("203.0.113.7", reader.sign(&call))).await.refused(503, "SlowDown");
    owner.send(from("203.0.113.7", owner.sign(&call))).await.refused(404, "NoSuchKey");
    let preflight = Request::options("/photos/none").header("origin", "https://app.example.com");
    let preflight = preflight.header("access-control-request-method", "GET").body(Full::new(Bytes::new())).unwrap();
    owner.send(from("203.0.113.7", preflight)).await.refused(403, "AccessForbidden");
    // With its id alone a guess is one, and no more.
    let guess = Client { secret: "wrong".to_owned(), ..owner };
    guess.send(from("203.0.113.7", guess.sign(&call))).await.refused(403, "SignatureDoesNotMatch");
}

/// A network of 64 bits is blocked as one address, and a client in it changes its own.
#[tokio::test]
async fn blocked_network_may_use_the_key_that_it_has_used_before() {
    let mut setup = Setup::new();
    setup.door = setup.door.with_attempts(Arc::new(FailedAttempts::new(1, Duration::from_secs(60))));
    let owner = setup.client("owner");
    let wrong = Client { secret: "wrong".to_owned(), ..setup.client("writer") };
    let call = Call::get("/photos/none");
    owner.send(from("2001:db8::1", owner.sign(&call))).await.refused(404, "NoSuchKey");
    wrong.send(from("2001:db8::2", wrong.sign(&call))).await.refused(403, "SignatureDoesNotMatch");
    wrong.send(from("2001:db8::2", wrong.sign(&call))).await.refused(503, "SlowDown");
    owner.send(from("2001:db8::3", owner.sign(&call))).await.refused(404, "NoSuchKey");
}

#[tokio::test]
async fn objects_that_a_key_may_not_delete_are_reported_once() {
    let sink = MemorySink::new();
    let mut setup = Setup::new();
    setup.door = setup.door.with_audit(Audit::new().with_sink(Arc::new(sink.clone())));
    let album = setup.client("album");
    let objects = ["2026/k", "2025/a", "2025/b"].map(|key| format!("<Object><Key>{key}</Key></Object>")).concat();
    let delete = |objects: &str| Call::post("/photos?delete", format!("<Delete>{objects}</Delete>"));
    album.call(delete(&objects)).await.ok();
    album.call(delete("<Object><Key>2026/k</Key></Object>")).await.ok();
    let events = sink.points();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].index(), events[0].double(1)), (&b"album"[..], 200.0));
    assert_eq!(events[0].blob(5), b"AccessDenied: 2 of the objects to delete");
}
