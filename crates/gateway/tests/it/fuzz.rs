//! Random requests, and signed ones that are altered: none panics, and none reads without a signature. `ISOBAR_CASES` and
//! `ISOBAR_SEED` set the cases.

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use proptest::collection::vec;
use proptest::prelude::*;

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

/// Runs a check of random cases on a door with an object, which none of them may read or change.
fn run<T: std::fmt::Debug>(
    test: &str,
    cases: impl Strategy<Value = T>,
    check: impl Fn(&Setup, &tokio::runtime::Runtime, T) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let setup = Setup::new();
    runtime.block_on(setup.client("owner").put("/photos/k", BODY)).ok();
    let result = crate::cases::runner(test).run(&cases, |case| {
        check(&setup, &runtime, case)?;
        let stored = runtime.block_on(setup.client("owner").get("/photos/k"));
        prop_assert_eq!(stored.text(), BODY);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn unsigned_requests_read_and_write_nothing() {
    run(
        "unsigned_requests_read_and_write_nothing",
        case(),
        |setup, runtime, (method, path, parameters, headers, body)| {
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
            Ok(())
        },
    );
}

#[test]
fn signed_requests_are_answered_within_their_scope() {
    run(
        "signed_requests_are_answered_within_their_scope",
        case(),
        |setup, runtime, (method, path, parameters, headers, body)| {
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
            Ok(())
        },
    );
}

/// A change of a signed request.
#[derive(Debug, Clone, Copy)]
enum Change {
    Authorization,
    Header,
    NoHeader,
    Path,
    /// A parameter more.
    Parameter,
    /// A parameter of another value.
    Value,
    Method,
    Body,
}

const CHANGES: [Change; 8] = [
    Change::Authorization,
    Change::Header,
    Change::NoHeader,
    Change::Path,
    Change::Parameter,
    Change::Value,
    Change::Method,
    Change::Body,
];

/// Requests that the owner may send.
fn good_calls() -> [Call; 5] {
    [
        Call::get("/photos/k").with("range", "bytes=0-20"),
        Call::put("/photos/k", "other text").with("x-amz-meta-a", "b"),
        Call::get("/photos?list-type=2&prefix=k"),
        Call::new(Method::DELETE, "/photos/k"),
        Call::get("/photos/k?response-content-type=text%2Fplain"),
    ]
}

/// Whether a signature in the URL covers all of a request: neither its body nor its headers are signed so.
fn can_be_presigned(call: &Call) -> bool {
    call.body.is_empty() && call.headers.is_empty()
}

/// Returns the text with another character at a position.
fn replaced(text: &str, at: usize) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = at % characters.len();
    characters[at] = if characters[at] == '0' { '1' } else { '0' };
    characters.into_iter().collect()
}

/// Changes a request. Returns none where it has nothing of the kind.
fn altered(
    request: Request<Full<Bytes>>,
    body: &Bytes,
    change: Change,
    at: usize,
    text: &str,
) -> Option<Request<Full<Bytes>>> {
    let (mut head, mut full) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    match change {
        Change::Authorization => {
            let value = replaced(head.headers.get("authorization")?.to_str().unwrap(), at);
            head.headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
        }
        Change::Header | Change::NoHeader => {
            let unsigned = ["authorization", "content-length"];
            let names = head.headers.keys().filter(|name| !unsigned.contains(&name.as_str()));
            let mut names: Vec<_> = names.cloned().collect();
            let name = names.swap_remove(at % names.len());
            match change {
                Change::Header => {
                    let value = replaced(head.headers[&name].to_str().unwrap(), at / 16);
                    head.headers.insert(name, HeaderValue::from_str(&value).unwrap());
                }
                _ => drop(head.headers.remove(name)),
            }
        }
        Change::Path => head.uri = format!("{path}{text}?{query}").parse().unwrap(),
        Change::Parameter => {
            let name = PARAMETERS[at % PARAMETERS.len()];
            head.uri = format!("{path}?{query}&{name}={text}").parse().unwrap();
        }
        Change::Value => {
            let mut pairs: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
            let count = pairs.len();
            pairs.get_mut(at.checked_rem(count)?)?.push_str(text);
            head.uri = format!("{path}?{}", pairs.join("&")).parse().unwrap();
        }
        Change::Method => {
            let others: Vec<_> = METHODS.into_iter().filter(|method| *method != head.method.as_str()).collect();
            head.method = others[at % others.len()].parse().unwrap();
        }
        Change::Body => {
            let changed = replaced(std::str::from_utf8(body).ok().filter(|body| !body.is_empty())?, at);
            full = Full::new(Bytes::from(changed));
        }
    }
    Some(Request::from_parts(head, full))
}

#[tokio::test]
async fn requests_that_are_altered_elsewhere_succeed_as_they_are() {
    for call in good_calls() {
        let owner = Setup::new().client("owner");
        owner.put("/photos/k", BODY).await.ok();
        owner.send(owner.sign(&call)).await.ok();
        if can_be_presigned(&call) {
            owner.put("/photos/k", BODY).await.ok();
            owner.send(owner.presign(&call, 60)).await.ok();
        }
    }
}

#[test]
fn altered_signed_requests_are_refused() {
    let calls = good_calls();
    let changes = (0..calls.len(), 0..CHANGES.len(), 0usize..1 << 20, "[a-z0-9]{1,8}", any::<bool>());
    run("altered_signed_requests_are_refused", changes, |setup, runtime, (call, change, at, text, is_presigned)| {
        let owner = setup.client("owner");
        let call = &calls[call];
        let request = if is_presigned && can_be_presigned(call) { owner.presign(call, 60) } else { owner.sign(call) };
        let Some(request) = altered(request, &call.body, CHANGES[change], at, &text) else { return Ok(()) };
        let reply = runtime.block_on(owner.send(request));
        prop_assert!(reply.status.is_client_error() || reply.status == 501, "{reply:?}");
        prop_assert!(!String::from_utf8_lossy(&reply.body).contains(&BODY[..20]), "{reply:?}");
        Ok(())
    });
}
