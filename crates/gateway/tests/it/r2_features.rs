//! Features of R2's documentation: those of its table, and its extensions of S3.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::DateTime;
use http::Method;
use isobar_gateway::catalog::{BucketCatalog, BucketInfo, CatalogError, CatalogErrorKind};
use isobar_gateway::keys::{AccessKey, BucketScope, StaticKeys};
use isobar_gateway::s3::S3Door;
use isobar_storage::ObjectStore;
use isobar_storage::memory::MemoryStore;

use crate::client::{Call, Client, SECRET, Setup};

/// Buckets that clients create.
#[derive(Debug, Default)]
struct Buckets(Mutex<BTreeMap<String, MemoryStore>>);

#[async_trait]
impl BucketCatalog for Buckets {
    async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError> {
        Ok(self.0.lock().unwrap().keys().map(|name| BucketInfo::new(name, DateTime::UNIX_EPOCH)).collect())
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn ObjectStore>>, CatalogError> {
        Ok(self.0.lock().unwrap().get(name).map(|bucket| Arc::new(bucket.clone()) as Arc<dyn ObjectStore>))
    }

    async fn create(&self, name: &str) -> Result<BucketInfo, CatalogError> {
        let mut buckets = self.0.lock().unwrap();
        if buckets.contains_key(name) {
            return Err(CatalogError::new(CatalogErrorKind::AlreadyExists, "there is one"));
        }
        buckets.insert(name.to_owned(), MemoryStore::new());
        Ok(BucketInfo::new(name, DateTime::UNIX_EPOCH))
    }
}

/// A client for everything, and one for the bucket `photos`.
fn clients(names: &[&str]) -> [Client; 2] {
    let buckets = names.iter().map(|name| ((*name).to_owned(), MemoryStore::new())).collect();
    let keys = StaticKeys::new([
        AccessKey::new("owner", SECRET, BucketScope::read_write()),
        AccessKey::new("bound", SECRET, BucketScope::read_write().with_bucket("photos")),
    ]);
    let door = S3Door::new(Arc::new(Buckets(Mutex::new(buckets))), Arc::new(keys));
    let client = Setup::new().client("owner");
    [Client { door: door.clone(), ..client.clone() }, Client { door, key: "bound".to_owned(), ..client }]
}

const METADATA: [(&str, &str); 6] = [
    ("content-type", "text/plain"),
    ("cache-control", "max-age=60"),
    ("content-disposition", "attachment"),
    ("content-encoding", "gzip"),
    ("content-language", "en"),
    ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
];

fn with_metadata(call: Call) -> Call {
    METADATA.iter().fold(call, |call, (name, value)| call.with(name, value))
}

#[tokio::test]
async fn system_metadata_is_kept_by_puts_uploads_and_copies() {
    let client = Setup::new().client("owner");
    client.call(with_metadata(Call::put("/photos/put", "x"))).await.ok();
    let upload = client.call(with_metadata(Call::post("/photos/upload?uploads", ""))).await.ok();
    let path = format!("/photos/upload?uploadId={}", upload.element("UploadId").unwrap());
    let part = client.call(Call::put(&format!("{path}&partNumber=1"), "x")).await.ok();
    let etag = part.header("etag").unwrap();
    let parts = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
    let complete = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    client.call(Call::post(&path, complete)).await.ok();
    client.put("/photos/bare", "x").await.ok();
    let copy = Call::new(Method::PUT, "/photos/copy").with("x-amz-copy-source", "/photos/bare");
    client.call(with_metadata(copy.with("x-amz-metadata-directive", "REPLACE"))).await.ok();
    for key in ["put", "upload", "copy"] {
        let head = client.head(&format!("/photos/{key}")).await.ok();
        for (name, value) in METADATA {
            assert_eq!(head.header(name), Some(value), "{name} of {key}");
        }
    }
}

#[tokio::test]
async fn range_has_no_effect_on_head() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "0123456789").await.ok();
    let head = client.call(Call::new(Method::HEAD, "/photos/k").with("range", "bytes=0-3")).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some("10")));
}

#[tokio::test]
async fn locations_are_those_of_r2() {
    let [owner, _] = clients(&[]);
    let create = |name: &str, region: &str| {
        let location = format!("<LocationConstraint>{region}</LocationConstraint>");
        let body = format!("<CreateBucketConfiguration>{location}</CreateBucketConfiguration>");
        owner.call(Call::put(&format!("/{name}"), body))
    };
    for region in ["auto", "us-east-1", "weur", "ENAM"] {
        create(&format!("in-{}", region.to_lowercase()), region).await.ok();
    }
    create("other", "eu-west-1").await.refused(400, "InvalidLocationConstraint");
    owner.call(Call::new(Method::PUT, "/bare")).await.ok();
    owner.call(Call::new(Method::PUT, "/bare")).await.refused(409, "BucketAlreadyOwnedByYou");
    let names = owner.get("/").await.ok();
    assert_eq!(names.elements("Name"), ["bare", "in-auto", "in-enam", "in-us-east-1", "in-weur"]);
}

#[tokio::test]
async fn put_creates_its_bucket_where_it_asks_for_that_and_may() {
    let [owner, bound] = clients(&["backups"]);
    let with = |call: Call| call.with("cf-create-bucket-if-missing", "true");
    let put = Call::put("/photos/k", "x");
    owner.call(put.clone()).await.refused(404, "NoSuchBucket");
    owner.call(put.clone().with("cf-create-bucket-if-missing", "false")).await.refused(404, "NoSuchBucket");
    bound.call(with(put.clone())).await.refused(404, "NoSuchBucket");
    bound.call(with(Call::put("/videos/k", "x"))).await.refused(403, "AccessDenied");
    owner.call(with(Call::put(&format!("/photos/{}", "k".repeat(1025)), "x"))).await.refused(400, "KeyTooLongError");
    assert_eq!(owner.get("/").await.ok().elements("Name"), ["backups"]);
    owner.call(with(put.clone())).await.ok();
    owner.call(with(put)).await.ok();
    assert_eq!(bound.get("/photos/k").await.ok().text(), "x");
    owner.call(with(Call::post("/videos/k?uploads", ""))).await.ok();
    assert_eq!(owner.get("/").await.ok().elements("Name"), ["backups", "photos", "videos"]);
    // Added by another one on the way.
    let mut request = owner.sign(&Call::put("/more/k", "x"));
    request.headers_mut().insert("cf-create-bucket-if-missing", "true".parse().unwrap());
    owner.send(request).await.refused(403, "AccessDenied");
}

#[tokio::test]
async fn buckets_are_listed_in_pages_by_parameters_and_headers() {
    let [owner, bound] = clients(&["a", "b-1", "b-2", "b-3", "photos"]);
    let names = async |call: Call| {
        let listed = owner.call(call).await.ok();
        listed.elements("Name").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(Call::get("/?prefix=b-")).await, ["b-1", "b-2", "b-3"]);
    assert_eq!(names(Call::get("/?prefix=b-").with("cf-prefix", "ph")).await, ["photos"], "a header wins");
    assert_eq!(names(Call::get("/?start-after=b-2")).await, ["b-3", "photos"]);
    assert_eq!(names(Call::get("/").with("cf-start-after", "b-3")).await, ["photos"]);
    assert_eq!(names(Call::get("/?max-keys=5000")).await.len(), 5);
    for limit in [Call::get("/?max-buckets=2"), Call::get("/?max-keys=2"), Call::get("/").with("cf-max-keys", "2")] {
        let first = owner.call(limit.clone()).await.ok();
        let token = first.element("ContinuationToken").unwrap().to_owned();
        assert_eq!(first.elements("Name"), ["a", "b-1"]);
        assert_eq!(first.header("cf-next-continuation-token"), Some(&*token));
        assert_eq!(first.header("cf-is-truncated"), Some("true"));
        let second = owner.call(limit.clone().query("continuation-token", &token)).await.ok();
        let token = second.element("ContinuationToken").unwrap();
        let third = owner.call(limit.with("cf-continuation-token", token)).await.ok();
        assert_eq!((second.elements("Name"), third.elements("Name")), (vec!["b-2", "b-3"], vec!["photos"]));
        assert_eq!((third.element("ContinuationToken"), third.header("cf-is-truncated")), (None, None));
    }
    for wrong in ["max-keys=0", "max-keys=x", "max-buckets=-1", "continuation-token="] {
        assert_eq!(owner.get(&format!("/?{wrong}")).await.status, 400, "{wrong}");
    }
    assert_eq!(bound.get("/?max-keys=1").await.ok().elements("Name"), ["photos"], "the others do not count");
}

#[tokio::test]
async fn writes_of_what_r2_has_not_are_refused_and_the_object_stays() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "x").await.ok();
    let buckets = [
        "accelerate",
        "acl",
        "analytics&id=1",
        "encryption",
        "intelligent-tiering&id=1",
        "inventory&id=1",
        "logging",
        "metrics&id=1",
        "notification",
        "object-lock",
        "ownershipControls",
        "policy",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "tagging",
        "versioning",
        "website",
    ];
    for name in buckets {
        client.call(Call::put(&format!("/photos?{name}"), "<x/>")).await.refused(501, "NotImplemented");
    }
    for name in ["acl", "legal-hold", "retention", "tagging", "renameObject", "encryption", "torrent"] {
        client.call(Call::put(&format!("/photos/k?{name}"), "<x/>")).await.refused(501, "NotImplemented");
        client.delete(&format!("/photos/k?{name}")).await.refused(501, "NotImplemented");
    }
    for name in ["restore", "select&select-type=2"] {
        client.call(Call::post(&format!("/photos/k?{name}"), "<x/>")).await.refused(501, "NotImplemented");
    }
    // A part without the other half of its name is no object.
    for name in ["partNumber=1", "uploadId=u"] {
        client.call(Call::put(&format!("/photos/k?{name}"), "part")).await.refused(400, "InvalidArgument");
    }
    assert_eq!(client.get("/photos/k").await.ok().text(), "x");
}

#[tokio::test]
async fn object_is_one_part_to_a_read_by_number() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "0123456789").await.ok();
    client.put("/photos/empty", "").await.ok();
    for method in [Method::GET, Method::HEAD] {
        let whole = client.call(Call::new(method.clone(), "/photos/k?partNumber=1")).await;
        assert_eq!(whole.status, 206, "{method}");
        let shown = ["content-range", "content-length", "x-amz-mp-parts-count"].map(|name| whole.header(name));
        assert_eq!(shown, [Some("bytes 0-9/10"), Some("10"), None], "{method}");
        assert_eq!(client.call(Call::new(method.clone(), "/photos/empty?partNumber=1")).await.status, 200);
        assert_eq!(client.call(Call::new(method, "/photos/k?partNumber=2")).await.status, 416);
    }
    client.get("/photos/k?partNumber=2").await.refused(416, "InvalidPartNumber");
    for number in ["0", "-1", "10001"] {
        client.get(&format!("/photos/k?partNumber={number}")).await.refused(400, "InvalidArgument");
    }
    let both = Call::get("/photos/k?partNumber=1").with("range", "bytes=0-1");
    client.call(both).await.refused(400, "InvalidRequest");
    // One that was uploaded in parts says so.
    let upload = client.call(Call::post("/photos/u?uploads", "")).await.ok().element("UploadId").unwrap().to_owned();
    let path = format!("/photos/u?uploadId={upload}");
    let part = client.call(Call::put(&format!("{path}&partNumber=1"), "x")).await.ok();
    let etag = part.header("etag").unwrap();
    let parts = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
    client.call(Call::post(&path, format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"))).await.ok();
    assert_eq!(client.head("/photos/u?partNumber=1").await.header("x-amz-mp-parts-count"), Some("1"));
}
