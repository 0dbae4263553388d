//! The table of R2's documentation (https://developers.cloudflare.com/r2/api/s3/api/, as of 2025-07-07): what it has not is refused.

use http::Method;

use crate::client::{Call, Client, Setup};

const OWNER: &str = "x-amz-expected-bucket-owner";
const PAYER: &str = "x-amz-request-payer";
const GRANTS: [&str; 4] =
    ["x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write-acp"];
const LOCKS: [&str; 3] =
    ["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"];
const KMS: [&str; 3] = [
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-bucket-key-enabled",
];

async fn each_is_refused(client: &Client, operation: &str, call: Call, headers: &[&str]) {
    for name in headers {
        let reply = client.call(call.clone().with(name, "x")).await;
        assert_eq!(reply.status, 501, "{operation} with {name}: {reply:?}");
        if call.method != Method::HEAD {
            assert_eq!(reply.element("Code"), Some("NotImplemented"), "{operation} with {name}");
            assert!(reply.text().contains(name), "{operation} does not name {name}: {}", reply.text());
        }
    }
}

fn refused_on_writes() -> Vec<&'static str> {
    let own = [OWNER, PAYER, "x-amz-tagging", "x-amz-website-redirect-location"];
    own.into_iter().chain(GRANTS).chain(LOCKS).chain(KMS).collect()
}

fn refused_on_copies() -> Vec<&'static str> {
    let more = ["x-amz-source-expected-bucket-owner", "x-amz-tagging-directive", "x-amz-checksum-algorithm"];
    refused_on_writes().into_iter().chain(more).collect()
}

/// An operation, a call of it, and headers of which each is refused.
type Row<'a> = (&'a str, Call, &'a [&'a str]);

/// Sends the calls with each of their headers to a door with one object, which stays as it is.
async fn headers_are_refused(rows: &[Row<'_>]) {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "x").await.ok();
    for (operation, call, headers) in rows {
        each_is_refused(&client, operation, call.clone(), headers).await;
    }
    assert_eq!(client.get("/photos/k").await.ok().text(), "x");
    assert_eq!(client.get("/photos?list-type=2").await.ok().elements("Key"), ["k"]);
}

#[tokio::test]
async fn headers_of_buckets_that_r2_has_not_are_refused() {
    let mut create = vec![OWNER, "x-amz-grant-write", "x-amz-bucket-object-lock-enabled", "x-amz-acl"];
    create.extend(GRANTS);
    let rows: [Row<'_>; 11] = [
        ("HeadBucket", Call::new(Method::HEAD, "/photos"), &[OWNER]),
        ("CreateBucket", Call::new(Method::PUT, "/new"), &create),
        ("DeleteBucket", Call::new(Method::DELETE, "/photos"), &[OWNER]),
        ("GetBucketLocation", Call::get("/photos?location"), &[OWNER]),
        ("GetBucketEncryption", Call::get("/photos?encryption"), &[OWNER]),
        ("GetBucketLifecycleConfiguration", Call::get("/photos?lifecycle"), &[OWNER]),
        (
            "PutBucketLifecycleConfiguration",
            Call::put("/photos?lifecycle", "<LifecycleConfiguration/>"),
            &[OWNER, "x-amz-transition-default-minimum-object-size"],
        ),
        ("DeleteBucketLifecycle", Call::new(Method::DELETE, "/photos?lifecycle"), &[OWNER]),
        ("GetBucketCors", Call::get("/photos?cors"), &[OWNER]),
        ("PutBucketCors", Call::put("/photos?cors", "<CORSConfiguration/>"), &[OWNER]),
        ("DeleteBucketCors", Call::new(Method::DELETE, "/photos?cors"), &[OWNER]),
    ];
    headers_are_refused(&rows).await;
}

#[tokio::test]
async fn headers_of_reads_that_r2_has_not_are_refused() {
    let rows: [Row<'_>; 5] = [
        ("HeadObject", Call::new(Method::HEAD, "/photos/k"), &[OWNER, PAYER]),
        ("ListObjects", Call::get("/photos"), &[OWNER, PAYER]),
        ("ListObjectsV2", Call::get("/photos?list-type=2"), &[OWNER, PAYER]),
        ("GetObject", Call::get("/photos/k"), &[OWNER, PAYER]),
        ("ListParts", Call::get("/photos/k?uploadId=u"), &[OWNER, PAYER]),
    ];
    headers_are_refused(&rows).await;
}

#[tokio::test]
async fn headers_of_writes_that_r2_has_not_are_refused() {
    let writes = refused_on_writes();
    let complete =
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>";
    let rows: [Row<'_>; 5] = [
        ("PutObject", Call::put("/photos/k", "x"), &writes),
        ("CreateMultipartUpload", Call::post("/photos/k?uploads", ""), &writes),
        ("CompleteMultipartUpload", Call::post("/photos/k?uploadId=u", complete), &[OWNER, PAYER]),
        ("AbortMultipartUpload", Call::new(Method::DELETE, "/photos/k?uploadId=u"), &[PAYER]),
        (
            "UploadPart",
            Call::put("/photos/k?partNumber=1&uploadId=u", "x"),
            &[OWNER, PAYER, "x-amz-server-side-encryption"],
        ),
    ];
    headers_are_refused(&rows).await;
}

#[tokio::test]
async fn headers_of_copies_that_r2_has_not_are_refused() {
    let copies = refused_on_copies();
    let copy = Call::new(Method::PUT, "/photos/c").with("x-amz-copy-source", "/photos/k");
    let part_copy = Call::new(Method::PUT, "/photos/c?partNumber=1&uploadId=u").with("x-amz-copy-source", "/photos/k");
    let source = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"]
        .map(|condition| format!("x-amz-copy-source-{condition}"));
    let mut part_copies = vec![OWNER, PAYER, "x-amz-source-expected-bucket-owner"];
    part_copies.extend(source.iter().map(String::as_str));
    let rows: [Row<'_>; 2] = [("CopyObject", copy, &copies), ("UploadPartCopy", part_copy, &part_copies)];
    headers_are_refused(&rows).await;
}

#[tokio::test]
async fn headers_of_deletions_that_r2_has_not_are_refused() {
    let delete = "<Delete><Object><Key>k</Key></Object></Delete>";
    let headers = [OWNER, PAYER, "x-amz-mfa", "x-amz-bypass-governance-retention"];
    let rows: [Row<'_>; 3] = [
        ("DeleteObject", Call::new(Method::DELETE, "/photos/k"), &headers),
        ("DeleteObjects", Call::post("/photos?delete", delete), &headers),
        // Not in the table: R2 ignores these and deletes; here the object stays.
        ("DeleteObject", Call::new(Method::DELETE, "/photos/k"), &["if-match", "x-amz-if-match-size"]),
    ];
    headers_are_refused(&rows).await;
}

#[tokio::test]
async fn operations_that_r2_has_not_are_refused() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "x").await.ok();
    let gets = [
        "accelerate",
        "acl",
        "analytics&id=1",
        "intelligent-tiering&id=1",
        "inventory&id=1",
        "logging",
        "metrics&id=1",
        "notification",
        "ownershipControls",
        "policy",
        "policyStatus",
        "requestPayment",
        "website",
        "publicAccessBlock",
        "analytics",
        "intelligent-tiering",
        "inventory",
        "metrics",
        "versions",
    ];
    for name in gets {
        client.get(&format!("/photos?{name}")).await.refused(501, "NotImplemented");
    }
    for name in ["tagging", "acl", "attributes", "torrent", "retention", "legal-hold"] {
        client.get(&format!("/photos/k?{name}")).await.refused(501, "NotImplemented");
    }
    for name in ["policy", "website", "tagging", "encryption"] {
        client.delete(&format!("/photos?{name}")).await.refused(501, "NotImplemented");
    }
    client.get("/photos?list-type=2&metadata=true").await.refused(501, "NotImplemented");
    client.get("/photos?continuation-token=x").await.refused(400, "InvalidArgument");
    client.get("/photos?list-type=2&encoding-type=xml").await.refused(501, "NotImplemented");
}

#[tokio::test]
async fn parameter_of_another_operation_neither_creates_nor_deletes_a_bucket() {
    let client = Setup::new().client("owner");
    for (operation, method, name) in [
        ("DeleteBucket", Method::DELETE, "metadataConfiguration"),
        ("DeleteBucket", Method::DELETE, "acl"),
        ("DeleteBucket", Method::DELETE, "versioning"),
        ("CreateBucket", Method::PUT, "metadataConfiguration"),
        ("CreateBucket", Method::PUT, "abac"),
    ] {
        let reply = client.call(Call::new(method, &format!("/photos?{name}"))).await;
        reply.refused(501, "NotImplemented");
        let message = reply.element("Message").unwrap_or_default();
        assert_eq!(message, format!("{operation} search parameter {name} not implemented"));
    }
}

#[tokio::test]
async fn canned_acl_is_ignored_and_another_one_refused() {
    let client = Setup::new().client("owner");
    for acl in ["private", "public-read", "bucket-owner-full-control"] {
        client.call(Call::put("/photos/k", "x").with("x-amz-acl", acl)).await.ok();
    }
    client.call(Call::put("/photos/k", "x").with("x-amz-acl", "mine")).await.refused(501, "NotImplemented");
}

#[tokio::test]
async fn encryption_is_the_servers_or_refused() {
    let client = Setup::new().client("owner");
    let put = |name: &str, value: &str| client.call(Call::put("/photos/k", "x").with(name, value));
    put("x-amz-server-side-encryption", "AES256").await.ok();
    put("x-amz-server-side-encryption", "aws:kms").await.refused(501, "NotImplemented");
    let key = "x-amz-server-side-encryption-customer-key";
    put(key, "c2VjcmV0").await.refused(501, "NotImplemented");
    let read = client.call(Call::get("/photos/k").with(key, "c2VjcmV0")).await;
    read.refused(400, "InvalidRequest");
    assert!(!read.text().contains("c2VjcmV0"));
}

#[tokio::test]
async fn storage_classes_are_those_of_r2() {
    let client = Setup::new().client("owner");
    let put = |class: &str| client.call(Call::put("/photos/k", "x").with("x-amz-storage-class", class));
    put("STANDARD_IA").await.ok();
    assert_eq!(client.head("/photos/k").await.header("x-amz-storage-class"), Some("STANDARD_IA"));
    put("STANDARD").await.ok();
    put("GLACIER").await.refused(400, "InvalidStorageClass");
}
