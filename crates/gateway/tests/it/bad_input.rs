//! Requests that are wrong, broken off or hostile.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::stream;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Error, ErrorKind, Operation};

use crate::client::{Call, Setup};
use crate::uploads::chunked;

#[tokio::test]
async fn wrong_signatures_are_refused() {
    let setup = Setup::new();
    let owner = setup.client("owner");
    owner.put("/photos/k", "secret").await.ok();
    let mut wrong = owner.clone();
    wrong.secret.push('!');
    wrong.get("/photos/k").await.refused(403, "SignatureDoesNotMatch");
    wrong.send(wrong.presign(&Call::get("/photos/k"), 60)).await.refused(403, "SignatureDoesNotMatch");
    for key in ["nobody", "expired"] {
        setup.client(key).get("/photos/k").await.refused(401, "Unauthorized");
        let client = setup.client(key);
        client.send(client.presign(&Call::get("/photos/k"), 60)).await.refused(401, "Unauthorized");
    }
    let unsigned = Request::get("/photos/k").header("host", "s3.test").body(Full::new(Bytes::new())).unwrap();
    owner.send(unsigned).await.refused(400, "InvalidArgument");
}

#[tokio::test]
async fn altered_requests_are_refused() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "x").await.ok();
    client.put("/photos/other", "secret").await.ok();
    let mut request = client.sign(&Call::get("/photos/k"));
    *request.uri_mut() = "/photos/other".parse().unwrap();
    client.send(request).await.refused(403, "SignatureDoesNotMatch");
    let mut request = client.sign(&Call::get("/photos?list-type=2&prefix=a"));
    *request.uri_mut() = "/photos?list-type=2&prefix=".parse().unwrap();
    client.send(request).await.refused(403, "SignatureDoesNotMatch");
    let mut request = client.sign(&Call::new(Method::PUT, "/photos/k"));
    request.headers_mut().insert("x-amz-copy-source", "/photos/other".parse().unwrap());
    client.send(request).await.refused(403, "AccessDenied");
    // By a presigned URL, whose signature covers the host alone.
    let mut request = client.presign(&Call::put("/photos/k", ""), 60);
    request.headers_mut().insert("x-amz-copy-source", "/photos/other".parse().unwrap());
    client.send(request).await.refused(403, "AccessDenied");
    let body = client.sign(&Call::put("/photos/k", "signed")).map(|_| Full::new(Bytes::from_static(b"forged")));
    client.send(body).await.refused(400, "XAmzContentSHA256Mismatch");
    assert_eq!(client.get("/photos/k").await.ok().text(), "x");
}

#[tokio::test]
async fn clock_of_the_client_may_be_a_quarter_of_an_hour_off() {
    let mut client = Setup::new().client("owner");
    client.put("/photos/k", "x").await.ok();
    for (minutes, is_taken) in [(14, true), (-14, true), (16, false), (-16, false)] {
        client.skew = TimeDelta::minutes(minutes);
        let reply = client.get("/photos/k").await;
        let expected = if is_taken { (200, String::new()) } else { (403, "RequestTimeTooSkewed".to_owned()) };
        assert_eq!(reply.outcome(), expected, "{minutes}");
    }
}

#[tokio::test]
async fn url_of_a_far_date_is_refused() {
    let mut client = Setup::new().client("owner");
    client.put("/photos/k", "x").await.ok();
    client.skew = TimeDelta::days(7000 * 365);
    client.send(client.presign(&Call::get("/photos/k"), 604_800)).await.refused(403, "RequestTimeTooSkewed");
    // The end of the calendar of chrono, whose sum with the seconds is no date. The signature is not looked at before.
    let url = "/photos/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=owner%2F20260101%2Fauto%2Fs3%2Faws4_request\
               &X-Amz-Date=%2B262142+1231T235959Z&X-Amz-Expires=604800&X-Amz-SignedHeaders=host&X-Amz-Signature=00";
    let request = Request::get(url).header("host", "s3.test").body(Full::new(Bytes::new())).unwrap();
    client.send(request).await.refused(400, "InvalidArgument");
}

#[tokio::test]
async fn urls_expire() {
    let mut client = Setup::new().client("owner");
    client.put("/photos/k", "x").await.ok();
    client.skew = TimeDelta::seconds(-100);
    client.send(client.presign(&Call::get("/photos/k"), 99)).await.refused(403, "ExpiredRequest");
    client.send(client.presign(&Call::get("/photos/k"), 200)).await.ok();
    client.send(client.presign(&Call::get("/photos/k"), 604_801)).await.refused(400, "InvalidArgument");
    client.skew = TimeDelta::days(-6);
    client.send(client.presign(&Call::get("/photos/k"), 604_800)).await.ok();
}

#[tokio::test]
async fn forged_chunks_are_refused() {
    let client = Setup::new().client("owner");
    let signature = "0".repeat(64);
    let body = format!("5;chunk-signature={signature}\r\nhello\r\n0;chunk-signature={signature}\r\n\r\n");
    let call = Call::put("/photos/k", body).payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let call = call.with("content-encoding", "aws-chunked").with("x-amz-decoded-content-length", "5");
    client.call(call).await.refused(403, "SignatureDoesNotMatch");
    let mut short = chunked("x-amz-checksum-crc32:NhCmhg==\r\n");
    short.headers.retain(|(name, _)| name != "x-amz-decoded-content-length");
    client.call(short.clone().with("x-amz-decoded-content-length", "6")).await.refused(400, "IncompleteBody");
    client.call(short.clone().with("x-amz-decoded-content-length", "4")).await.refused(400, "IncompleteBody");
    client.call(short).await.refused(411, "MissingContentLength");
    let mut broken = chunked("x-amz-checksum-crc32:NhCmhg==\r\n");
    broken.body = Bytes::from_static(b"zz\r\nhello\r\n");
    client.call(broken).await.refused(400, "IncompleteBody");
    client.get("/photos/k").await.refused(404, "NoSuchKey");
}

#[tokio::test]
async fn upload_that_breaks_off_leaves_nothing() {
    let client = Setup::new().client("owner");
    let call = Call::put("/photos/k", "0123456789").payload("UNSIGNED-PAYLOAD");
    let (head, _) = client.sign(&call).into_parts();
    let chunks =
        [Ok(Frame::data(Bytes::from_static(b"01234"))), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
    let request = Request::from_parts(head.clone(), StreamBody::new(stream::iter(chunks)));
    client.send(request).await.refused(400, "IncompleteBody");
    let short = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"01234")))]);
    client.send(Request::from_parts(head.clone(), StreamBody::new(short))).await.refused(400, "IncompleteBody");
    let long = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"0123456789+")))]);
    client.send(Request::from_parts(head, StreamBody::new(long))).await.refused(400, "IncompleteBody");
    client.get("/photos/k").await.refused(404, "NoSuchKey");
}

/// A body that never comes.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn silent_client_keeps_nobody_else_waiting() {
    let client = Setup::new().client("owner");
    let (head, _) = client.sign(&Call::put("/photos/k", "0123456789").payload("UNSIGNED-PAYLOAD")).into_parts();
    let waiting = client.send(Request::from_parts(head, Silent));
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    // Its future is dropped, as a server drops it that ends the connection.
    client.get("/photos/k").await.refused(404, "NoSuchKey");
    client.put("/photos/k", "x").await.ok();
}

#[tokio::test]
async fn oversize_metadata_and_keys_are_refused() {
    let client = Setup::new().client("owner");
    let large = "x".repeat(8192);
    client.call(Call::put("/photos/k", "x").with("x-amz-meta-a", &large)).await.refused(400, "MetadataTooLarge");
    client.put(&format!("/photos/{}", "k".repeat(1025)), "x").await.refused(400, "KeyTooLongError");
    client.put(&format!("/photos/{}", "k".repeat(1024)), "x").await.ok();
    let call = Call::put("/photos/k", "x").payload("UNSIGNED-PAYLOAD");
    let mut request = client.sign(&call);
    request.headers_mut().remove("content-length");
    let chunks = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))]);
    client.send(request.map(|_| StreamBody::new(chunks))).await.refused(411, "MissingContentLength");
}

#[tokio::test]
async fn hostile_delimiters_end() {
    let client = Setup::new().client("owner");
    for number in 0..50 {
        client.put(&format!("/photos/{number}/{}", "ab".repeat(400)), "").await.ok();
    }
    for delimiter in ["a", "b", "ab".repeat(400).as_str(), "\u{10ffff}", "/", "0", " ", "%2F", "<&>"] {
        let call = Call::get("/photos?list-type=2&max-keys=7").query("delimiter", delimiter);
        let listed = client.call(call).await.ok();
        assert!(listed.elements("Key").len() + listed.elements("CommonPrefixes").len() <= 7, "{delimiter}");
        let mut marker = String::new();
        let mut pages = 0;
        loop {
            let call = Call::get("/photos?max-keys=7&encoding-type=url")
                .query("delimiter", delimiter)
                .query("marker", &marker);
            let page = client.call(call).await.ok();
            let Some(next) = page.element("NextMarker") else { break };
            let next = percent_encoding::percent_decode_str(next).decode_utf8().unwrap().into_owned();
            assert!(next > marker, "{next} after {marker} with {delimiter}");
            marker = next;
            pages += 1;
            assert!(pages <= 10, "{delimiter}");
        }
    }
    client.get("/photos?list-type=2&continuation-token=none").await.refused(400, "InvalidArgument");
    client.get("/photos?list-type=2&max-keys=-1").await.refused(400, "InvalidMaxKeys");
}

#[tokio::test]
async fn failures_of_the_store_do_not_show_its_files() {
    let mock = MockStore::new(MemoryStore::new());
    let setup = Setup::over(Arc::new(mock.clone()));
    let client = setup.client("owner");
    client.put("/photos/k", "x").await.ok();
    for (kind, status, code) in [
        (ErrorKind::Internal, 500, "InternalError"),
        (ErrorKind::Unavailable, 503, "ServiceUnavailable"),
        (ErrorKind::StorageFull, 507, "StorageFull"),
    ] {
        mock.script().fail_next(Operation::Get, Error::new(kind, "/var/lib/secret/index.db"));
        let reply = client.get("/photos/k").await;
        reply.refused(status, code);
        assert!(!reply.text().contains("/var/lib"), "{}", reply.text());
    }
}
