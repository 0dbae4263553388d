//! The public suites of object_store's `integration` feature, by its own client of S3, over the door.
//!
//! They are those that object_store's tests run against servers of S3, but for what its own tests alone can reach, and for tags, which
//! R2 does not have. The client signs and sends whole requests; there is no network between.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use isobar_gateway::s3::S3Door;
use isobar_storage::ObjectStore;
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3CopyIfNotExists};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::integration::*;
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStoreExt};
use tower_service::Service;

use crate::client::{SECRET, Setup};

/// Takes the place of the network.
#[derive(Debug, Clone)]
struct InProcess(S3Door);

#[async_trait]
impl HttpService for InProcess {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut head, body) = request.into_parts();
        // As a client of HTTP writes it: the host and the length are headers, the target is the path.
        let host = head.uri.authority().unwrap().as_str().parse().unwrap();
        head.headers.insert(HOST, host);
        head.uri = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
        if body.content_length() > 0 {
            head.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(body.content_length()));
        }
        let response = self.0.clone().call(Request::from_parts(head, body)).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?;
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body.to_bytes())))
    }
}

impl HttpConnector for InProcess {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// A client as R2's documentation has it configured. Its conditional puts need no option.
fn client(setup: &Setup, bucket: &str) -> AmazonS3Builder {
    let absent = S3CopyIfNotExists::Header("cf-copy-destination-if-none-match".to_owned(), "*".to_owned());
    AmazonS3Builder::new()
        .with_endpoint("http://s3.test")
        .with_allow_http(true)
        .with_region("auto")
        .with_bucket_name(bucket)
        .with_access_key_id("owner")
        .with_secret_access_key(SECRET)
        .with_copy_if_not_exists(absent)
        .with_http_connector(InProcess(setup.door.clone()))
}

async fn suites(photos: Arc<dyn ObjectStore>) {
    let setup = Setup::over(photos);
    let store: AmazonS3 = client(&setup, "photos").build().unwrap();
    put_get_delete_list(&store).await;
    list_with_offset_exclusivity(&store).await;
    get_opts(&store).await;
    list_uses_directories_correctly(&store).await;
    list_with_delimiter(&store).await;
    rename_and_copy(&store).await;
    copy_rename_nonexistent_object(&store).await;
    copy_if_not_exists(&store).await;
    stream_get(&store).await;
    multipart(&store, &store).await;
    multipart_with_opts(&store, &store).await;
    multipart_put_part_out_of_order(&store, &store).await;
    multipart_out_of_order(&store).await;
    multipart_race_condition(&store, true).await;
    put_get_attributes(&store).await;
    list_paginated(&store, &store).await;
    put_opts(&store, true).await;
    for variant in [
        client(&setup, "photos").with_unsigned_payload(true),
        client(&setup, "photos").with_checksum_algorithm(Checksum::SHA256),
        client(&setup, "photos").with_checksum_algorithm(Checksum::CRC64NVME),
        client(&setup, "photos").with_disable_bulk_delete(true),
    ] {
        put_get_delete_list(&variant.build().unwrap()).await;
    }
}

#[tokio::test]
async fn bucket_in_memory_passes_the_suites_of_object_store() {
    suites(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn bucket_in_a_folder_passes_the_suites_of_object_store() {
    let folder = tempfile::tempdir().unwrap();
    suites(Arc::new(LocalStore::open(folder.path()).await.unwrap())).await;
}

#[tokio::test]
async fn missing_buckets_and_objects_are_not_found_and_deletes_are_idempotent() {
    let setup = Setup::new();
    let path = Path::from("none");
    let store = client(&setup, "photos").build().unwrap();
    assert!(matches!(get_nonexistent_object(&store, Some(path.clone())).await, Err(Error::NotFound { .. })));
    store.delete(&path).await.unwrap();
    let nowhere = client(&setup, "nowhere").build().unwrap();
    assert!(matches!(nowhere.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(nowhere.put(&path, "x".into()).await, Err(Error::NotFound { .. })));
    assert!(matches!(nowhere.delete(&path).await, Err(Error::NotFound { .. })));
    let wrong = client(&setup, "photos").with_secret_access_key("wrong").build().unwrap();
    assert!(matches!(wrong.get(&path).await, Err(Error::PermissionDenied { .. })));
}
