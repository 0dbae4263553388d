//! Random requests: none panics, and none reads without a signature. `ISOBAR_CASES` sets how many; default: 512.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::client::{Call, Setup};

const BODY: &str = "unreadable without a signature";
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];
const PARAMETERS: [&str; 22] = [
    "list-type",
    "prefix",
    "delimiter",
    "marker",
    "max-keys",
    "encoding-type",
    "continuation-token",
    "start-after",
    "uploads",
    "uploadId",
    "partNumber",
    "delete",
    "location",
    "versionId",
    "response-content-type",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Algorithm",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "Signature",
];
const HEADERS: [&str; 20] = [
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "content-type",
    "content-md5",
    "content-length",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-metadata-directive",
    "x-amz-meta-a",
    "x-amz-storage-class",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-checksum-crc32",
    "x-amz-content-sha256",
    "x-amz-date",
    "authorization",
    "expires",
    "transfer-encoding",
];
const VALUES: [&str; 20] = [
    "",
    "2",
    "1",
    "-1",
    "1000",
    "9999999999999999999999",
    "/",
    "url",
    "*",
    "\"a\"",
    "bytes=0-",
    "bytes=-1",
    "/photos/k",
    "photos%2Fk",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "UNSIGNED-PAYLOAD",
    "AWS4-HMAC-SHA256 Credential=owner/20260101/auto/s3/aws4_request, SignedHeaders=host, Signature=00",
    "AWS owner:c2ln",
    "multipart/form-data; boundary=x",
    "AWS4-HMAC-SHA256",
];
const PATHS: [&str; 12] = [
    "/",
    "/photos",
    "/photos/",
    "/photos/k",
    "//",
    "/photos//k",
    "/photos/%2e%2e/k",
    "/photos/%ff",
    "/photos/k%00",
    "/nowhere/k",
    "/%70hotos/k",
    "/photos/%25",
];
const BODIES: [&str; 8] = [
    "",
    "x",
    "5\r\nhello\r\n0\r\n\r\n",
    "<Delete><Object><Key>k</Key></Object></Delete>",
    "<Delete>",
    "<CompleteMultipartUpload/>",
    "<!DOCTYPE a [<!ENTITY b \"c\">]><Delete>&b;</Delete>",
    "\u{feff}<Delete",
];

/// A request: a method, a path, parameters, headers and a body, by index or at random.
type Case = (usize, String, Vec<(usize, String)>, Vec<(usize, String)>, String);

fn value() -> impl Strategy<Value = String> {
    prop_oneof![3 => (0..VALUES.len()).prop_map(|index| VALUES[index].to_owned()), 1 => "[ -~]{0,40}"]
}

fn case() -> impl Strategy<Value = Case> {
    let path = prop_oneof![
        4 => (0..PATHS.len()).prop_map(|index| PATHS[index].to_owned()),
        1 => "/[a-z%/.]{0,30}"
    ];
    let body = prop_oneof![4 => (0..BODIES.len()).prop_map(|index| BODIES[index].to_owned()), 1 => ".{0,100}"];
    (0..METHODS.len(), path, vec((0..PARAMETERS.len(), value()), 0..5), vec((0..HEADERS.len(), value()), 0..6), body)
}

fn cases() -> u32 {
    std::env::var("ISOBAR_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(512)
}

fn run(mut check: impl FnMut(&Setup, &tokio::runtime::Runtime, Case) -> Result<(), TestCaseError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let setup = Setup::new();
    runtime.block_on(setup.client("owner").put("/photos/k", BODY)).ok();
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let check = std::cell::RefCell::new(&mut check);
    runner.run(&case(), |case| (check.borrow_mut())(&setup, &runtime, case)).unwrap();
}

#[test]
fn unsigned_requests_read_and_write_nothing() {
    run(|setup, runtime, (method, path, parameters, headers, body)| {
        let query: Vec<String> = parameters
            .iter()
            .map(|(index, value)| {
                format!(
                    "{}={}",
                    PARAMETERS[*index],
                    value.replace([' ', '#', '"', '<', '>', '\\', '^', '`', '{', '|', '}'], "+")
                )
            })
            .collect();
        let mut request = Request::builder().method(METHODS[method]).uri(format!("{path}?{}", query.join("&")));
        for (index, value) in &headers {
            request = request.header(HEADERS[*index], value);
        }
        let Ok(request) = request.body(Full::new(Bytes::from(body))) else { return Ok(()) };
        let reply = runtime.block_on(setup.client("owner").send(request));
        prop_assert!(!reply.status.is_success(), "{reply:?}");
        prop_assert!(!reply.text().contains(BODY));
        let stored = runtime.block_on(setup.client("owner").get("/photos/k"));
        prop_assert_eq!(stored.text(), BODY);
        Ok(())
    });
}

#[test]
fn signed_requests_are_answered_within_their_scope() {
    run(|setup, runtime, (method, path, parameters, headers, body)| {
        let method = Method::from_bytes(METHODS[method].as_bytes()).unwrap();
        let mut call = Call { body: Bytes::from(body), ..Call::new(method, "/") };
        call.path = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
        for (index, value) in parameters {
            call = call.query(PARAMETERS[index], &value);
        }
        for (index, value) in headers {
            let name = HEADERS[index];
            let is_own = ["authorization", "x-amz-date", "content-length", "transfer-encoding"].contains(&name);
            match name {
                "x-amz-content-sha256" => call = call.payload(value.trim()),
                _ if is_own || call.headers.iter().any(|(other, _)| other == name) => {}
                _ => call = call.with(name, &value),
            }
        }
        // Nothing that this key may read has the text.
        let reply = runtime.block_on(setup.client("album").call(call));
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        prop_assert!(!text.contains(BODY), "{reply:?}");
        prop_assert!(reply.status.as_u16() < 500 || reply.status == 501, "{reply:?}");
        let stored = runtime.block_on(setup.client("owner").get("/photos/k"));
        prop_assert_eq!(stored.text(), BODY);
        Ok(())
    });
}
