//! The kit of storage through isobar's own client of S3 and the door: both have what R2's binding has, as far as S3 carries it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use isobar_cloudflare::client::{Body, Client, Retry, Transport, TransportError, TransportErrorKind};
use isobar_gateway::s3::S3Door;
use isobar_storage::cloudflare::{S3Bucket, S3Config};
use isobar_storage::conformance;
use isobar_storage::memory::MemoryStore;
use tower_service::Service;

use crate::client::{SECRET, Setup};

/// Takes the place of the network.
#[derive(Debug)]
struct InProcess(S3Door);

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let (mut head, body) = request.into_parts();
        // As a client of HTTP writes it: the host and the length are headers, the target is the path.
        let host = head.uri.authority().unwrap().as_str().parse().unwrap();
        head.headers.insert(HOST, host);
        head.uri = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
        if let Some(length) = body.length().filter(|length| *length > 0 || head.method == Method::PUT) {
            head.headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
        // A body whose source fails ends the connection, and the client knows why.
        let failed = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&failed);
        let chunks = body.into_stream().map_ok(Frame::data).map_err(move |error| {
            *noted.lock().unwrap() = Some(error);
            std::io::Error::from(std::io::ErrorKind::ConnectionReset)
        });
        let response = self.0.clone().call(Request::from_parts(head, StreamBody::new(chunks))).await.unwrap();
        if let Some(error) = failed.lock().unwrap().take() {
            return Err(TransportError::new(TransportErrorKind::Body, "the body failed").with_source(error));
        }
        let (head, body) = response.into_parts();
        let broken = |error| TransportError::new(TransportErrorKind::Broken, "it broke off").with_source(error);
        Ok(Response::from_parts(head, body.collect().await.map_err(broken)?.to_bytes().into()))
    }
}

/// Cases that no server of S3 can pass, as `cargo xtask conformance` has them, and two errors that have one code there: `InvalidPart`.
const OF_S3: [&str; 8] = [
    "objects/names_and_their_prefixes_coexist",
    "metadata/names_of_custom_metadata_keep_their_case",
    "metadata/a_plain_put_guesses_nothing",
    "checksums/checksums_are_kept",
    "multipart/no_parts_make_an_empty_object",
    "multipart/parts_must_be_equal_but_for_the_last",
    "multipart/a_short_part_listed_last_is_judged_by_its_number",
    "multipart/an_unknown_upload_is_refused",
];
/// A case that passes where a second ends between two writes.
const TIMED: &str = "objects/every_write_has_its_version";

/// Runs the kit. Nothing fails but what S3 cannot carry, and all of that.
async fn conforms(bucket: &S3Bucket) {
    bucket.check().await.unwrap();
    let report = conformance::run(async || Arc::new(bucket.clone()) as _).await;
    let text = report.to_string();
    let failed = text.lines().filter_map(|line| Some(line.strip_prefix("FAILED   ")?.split_once(": ")?.0));
    assert_eq!(failed.filter(|name| *name != TIMED).collect::<Vec<_>>(), OF_S3, "{text}");
    assert!(report.passed() > 50, "{text}");
}

/// The bucket `photos` of a door, through the client.
fn bucket(setup: &Setup) -> S3Bucket {
    let mut config = S3Config::r2("account", "photos", "owner", SECRET);
    config.endpoint = "http://s3.test".to_owned();
    let client = Client::new(InProcess(setup.door.clone())).with_retry(Retry::never());
    S3Bucket::with_client(config, client).unwrap()
}

#[tokio::test]
async fn bucket_in_memory_conforms_through_the_door() {
    let setup = Setup::over(Arc::new(MemoryStore::new()));
    conforms(&bucket(&setup)).await;
}

/// The door over the S3 backend, which is another door.
#[tokio::test]
async fn bucket_of_another_server_conforms_through_the_door() {
    let inner = Setup::new();
    let outer = Setup::over(Arc::new(bucket(&inner)));
    conforms(&bucket(&outer)).await;
}
