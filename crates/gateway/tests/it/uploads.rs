//! Multipart uploads, and checksums of bodies.

use bytes::Bytes;
use http::Method;
use isobar_storage::local::LocalStore;
use std::sync::Arc;

use crate::client::{Call, Client, Setup};

const PART: usize = 5 << 20;
/// CRC-32 of `hello`.
const CRC32: &str = "NhCmhg==";

async fn begin(client: &Client, path: &str) -> String {
    let call = Call::post(&format!("{path}?uploads"), "").with("x-amz-meta-a", "1").with("content-type", "text/plain");
    client.call(call).await.ok().element("UploadId").unwrap().to_owned()
}

fn complete(path: &str, upload: &str, parts: &[(u32, &str)]) -> Call {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    Call::post(&format!("{path}?uploadId={upload}"), body)
}

#[tokio::test]
async fn upload_of_parts_becomes_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let client = Setup::over(Arc::new(LocalStore::open(folder.path()).await.unwrap())).client("owner");
    let upload = begin(&client, "/photos/k").await;
    let part = |number: u32, body: Bytes| {
        client.call(Call::put(&format!("/photos/k?partNumber={number}&uploadId={upload}"), body))
    };
    let second = part(2, Bytes::from_static(b"tail")).await.ok();
    let first = part(1, Bytes::from(vec![7; PART])).await.ok();
    let first = first.header("etag").unwrap();
    let second = second.header("etag").unwrap();
    assert!(first.contains('-'), "a client would take {first} for an MD5");
    let listed = client.get(&format!("/photos/k?uploadId={upload}&max-parts=1")).await.ok();
    assert_eq!((listed.elements("PartNumber"), listed.element("IsTruncated")), (vec!["1"], Some("true")));
    let marker = listed.element("NextPartNumberMarker").unwrap();
    let rest = client.get(&format!("/photos/k?uploadId={upload}&part-number-marker={marker}")).await.ok();
    assert_eq!((rest.elements("Size"), rest.element("IsTruncated")), (vec!["4"], Some("false")));

    client.call(complete("/photos/k", &upload, &[(1, first), (2, "\"other-2\"")])).await.refused(400, "InvalidPart");
    client.call(complete("/photos/k", &upload, &[(1, first), (1, first)])).await.refused(400, "InvalidPart");
    client.call(complete("/photos/k", &upload, &[])).await.refused(400, "MalformedXML");
    client.get("/photos/k").await.refused(404, "NoSuchKey");
    // Given in any order, as R2 takes them.
    let done = client.call(complete("/photos/k", &upload, &[(2, second), (1, first)])).await.ok();
    assert!(done.element("ETag").is_some_and(|etag| etag.ends_with("-2\"") || etag.ends_with("-2&quot;")), "{done:?}");
    let head = client.head("/photos/k").await.ok();
    let shown = [head.header("content-length"), head.header("x-amz-meta-a"), head.header("content-type")];
    assert_eq!(shown, [Some("5242884"), Some("1"), Some("text/plain")]);
    let got = client.get("/photos/k").await.ok();
    assert!(got.body.starts_with(&[7; 32]) && got.body.ends_with(b"tail"));
    part(3, Bytes::from_static(b"late")).await.refused(404, "NoSuchUpload");
}

#[tokio::test]
async fn conditions_of_completion_are_kept() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "there").await.ok();
    let upload = begin(&client, "/photos/k").await;
    let part = client.call(Call::put(&format!("/photos/k?partNumber=1&uploadId={upload}"), "new")).await.ok();
    let etag = part.header("etag").unwrap();
    let finish = |upload: &str, name: &str, value: &str| {
        client.call(complete("/photos/k", upload, &[(1, etag)]).with(name, value))
    };
    finish(&upload, "if-none-match", "*").await.refused(412, "PreconditionFailed");
    assert_eq!(client.get("/photos/k").await.text(), "there");
    // As with R2, the upload is over.
    finish(&upload, "if-match", "*").await.refused(404, "NoSuchUpload");
    let upload = begin(&client, "/photos/k").await;
    let part = client.call(Call::put(&format!("/photos/k?partNumber=1&uploadId={upload}"), "new")).await.ok();
    let call = complete("/photos/k", &upload, &[(1, part.header("etag").unwrap())]);
    client.call(call.with("if-match", client.head("/photos/k").await.header("etag").unwrap())).await.ok();
    assert_eq!(client.get("/photos/k").await.text(), "new");
}

#[tokio::test]
async fn open_uploads_are_listed_in_pages_and_groups() {
    let setup = Setup::new();
    let client = setup.client("owner");
    for path in ["a", "p/1", "p/2", "q/1 +", "a"] {
        begin(&client, &format!("/photos/{path}")).await;
    }
    let ended = begin(&client, "/photos/z").await;
    client.delete(&format!("/photos/z?uploadId={ended}")).await;
    let all = client.get("/photos?uploads").await.ok();
    assert_eq!(
        (all.elements("Key"), all.element("IsTruncated")),
        (vec!["a", "a", "p/1", "p/2", "q/1 +"], Some("false"))
    );
    let groups = client.get("/photos?uploads&delimiter=/&encoding-type=url").await.ok();
    assert_eq!((groups.elements("Key"), groups.elements("CommonPrefixes").len()), (vec!["a", "a"], 2));
    assert!(groups.text().contains("<Prefix>p/</Prefix>") && groups.text().contains("<Prefix>q/</Prefix>"));
    for (delimiter, expected) in [("", 5), ("/", 4)] {
        let mut key = String::new();
        let mut upload = String::new();
        let mut seen = 0;
        loop {
            let call = Call::get("/photos?uploads&max-uploads=1").query("delimiter", delimiter);
            let page = client.call(call.query("key-marker", &key).query("upload-id-marker", &upload)).await.ok();
            seen += page.elements("UploadId").len() + page.elements("CommonPrefixes").len();
            let Some(next) = page.element("NextKeyMarker") else { break };
            key = next.to_owned();
            upload = page.element("NextUploadIdMarker").unwrap_or_default().to_owned();
        }
        assert_eq!(seen, expected, "{delimiter}");
    }
    let album = setup.client("album");
    album.get("/photos?uploads").await.refused(403, "AccessDenied");
    assert_eq!(album.get("/photos?uploads&prefix=2026/").await.ok().elements("Key").len(), 0);
    setup.client("reader").get("/photos?uploads").await.refused(403, "AccessDenied");
}

#[tokio::test]
async fn upload_is_aborted() {
    let client = Setup::new().client("owner");
    let upload = begin(&client, "/photos/k").await;
    let path = format!("/photos/k?uploadId={upload}");
    assert_eq!(client.delete(&path).await.status, 204);
    assert_eq!(client.delete(&path).await.status, 204);
    client
        .call(Call::put(&format!("/photos/k?partNumber=1&uploadId={upload}"), "x"))
        .await
        .refused(404, "NoSuchUpload");
    client.delete("/photos/k?uploadId=none").await.refused(404, "NoSuchUpload");
    let other = Call::put("/photos/k?partNumber=10001&uploadId=none", "x");
    client.call(other).await.refused(400, "InvalidArgument");
}

#[tokio::test]
async fn small_and_unequal_parts_are_refused() {
    let client = Setup::new().client("owner");
    for (sizes, code) in [([4, 4, 4], "EntityTooSmall"), ([PART, PART + 1, 4], "InvalidPart")] {
        let upload = begin(&client, "/photos/k").await;
        let mut etags = Vec::new();
        for (number, size) in sizes.into_iter().enumerate() {
            let call = Call::put(&format!("/photos/k?partNumber={}&uploadId={upload}", number + 1), vec![0; size]);
            etags.push(client.call(call).await.ok().header("etag").unwrap().to_owned());
        }
        let parts: Vec<(u32, &str)> = (1..).zip(etags.iter().map(String::as_str)).collect();
        client.call(complete("/photos/k", &upload, &parts)).await.refused(400, code);
    }
}

#[tokio::test]
async fn part_is_copied_from_a_range() {
    let client = Setup::new().client("owner");
    client.put("/backups/from", "0123456789").await.ok();
    let upload = begin(&client, "/photos/k").await;
    let copy = |range: &str| {
        let call = Call::new(Method::PUT, &format!("/photos/k?partNumber=1&uploadId={upload}"));
        client.call(call.with("x-amz-copy-source", "/backups/from").with("x-amz-copy-source-range", range))
    };
    copy("bytes=5-").await.refused(400, "InvalidArgument");
    copy("bytes=20-30").await.refused(416, "InvalidRange");
    let copied = copy("bytes=2-5").await.ok();
    let etag = copied.element("ETag").unwrap().replace("&quot;", "");
    client.call(complete("/photos/k", &upload, &[(1, &etag)])).await.ok();
    assert_eq!(client.get("/photos/k").await.text(), "2345");
}

#[tokio::test]
async fn checksum_headers_are_compared() {
    let client = Setup::new().client("owner");
    let put = |name: &str, value: &str| client.call(Call::put("/photos/k", "hello").with(name, value));
    let right = [
        ("x-amz-checksum-crc32", CRC32),
        ("x-amz-checksum-crc32c", "mnG7TA=="),
        ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="),
        ("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
    ];
    for (name, value) in right {
        let stored = put(name, value).await.ok();
        if name != "content-md5" {
            assert_eq!(stored.header(name), Some(value));
        }
    }
    let checked = client.call(Call::new(Method::HEAD, "/photos/k").with("x-amz-checksum-mode", "ENABLED")).await;
    assert_eq!(checked.header("x-amz-checksum-sha256"), None, "the last put had none");
    client.delete("/photos/k").await;
    let wrong = [
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-checksum-crc32c", "AAAAAA=="),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
        ("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    for (name, value) in wrong {
        put(name, value).await.refused(400, "BadDigest");
    }
    put("content-md5", "short").await.refused(400, "InvalidDigest");
    client.get("/photos/k").await.refused(404, "NoSuchKey");
}

#[tokio::test]
async fn sha256_of_an_object_is_answered_when_asked_for() {
    let client = Setup::new().client("owner");
    let sha256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    client.call(Call::put("/photos/k", "hello").with("x-amz-checksum-sha256", sha256)).await.ok();
    let got = client.call(Call::get("/photos/k").with("x-amz-checksum-mode", "ENABLED")).await.ok();
    assert_eq!(got.header("x-amz-checksum-sha256"), Some(sha256));
    assert_eq!(client.get("/photos/k").await.header("x-amz-checksum-sha256"), None);
}

/// A put of `hello` in chunks, with this trailer.
pub(crate) fn chunked(trailer: &str) -> Call {
    let body = format!("5\r\nhello\r\n0\r\n{trailer}\r\n");
    let call = Call::put("/photos/k", body).payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    let call = call.with("content-encoding", "aws-chunked").with("x-amz-decoded-content-length", "5");
    call.with("x-amz-trailer", "x-amz-checksum-crc32")
}

#[tokio::test]
async fn checksum_in_a_trailer_is_compared() {
    let client = Setup::new().client("owner");
    client.call(chunked("x-amz-checksum-crc32:AAAAAA==\r\n")).await.refused(400, "BadDigest");
    client.call(chunked("")).await.refused(400, "MalformedTrailerError");
    client.call(chunked("x-amz-checksum-crc32c:AAAAAA==\r\n")).await.refused(400, "MalformedTrailerError");
    client.get("/photos/k").await.refused(404, "NoSuchKey");
    let stored = client.call(chunked(&format!("x-amz-checksum-crc32:{CRC32}\r\n"))).await.ok();
    assert_eq!(stored.header("x-amz-checksum-crc32"), Some(CRC32));
    let got = client.get("/photos/k").await.ok();
    assert_eq!((got.text(), got.header("content-encoding")), ("hello", None));
    let mut unknown = chunked("x-amz-meta-a:1\r\n");
    unknown.headers.retain(|(name, _)| name != "x-amz-trailer");
    client.call(unknown.with("x-amz-trailer", "x-amz-meta-a")).await.refused(400, "InvalidRequest");
}

#[tokio::test]
async fn checksum_of_a_part_is_compared() {
    let client = Setup::new().client("owner");
    let upload = begin(&client, "/photos/k").await;
    let part = |name: &str, value: &str| {
        client.call(Call::put(&format!("/photos/k?partNumber=1&uploadId={upload}"), "hello").with(name, value))
    };
    part("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==").await.refused(400, "BadDigest");
    part("x-amz-checksum-crc32", "AAAAAA==").await.refused(400, "BadDigest");
    let listed = client.get(&format!("/photos/k?uploadId={upload}")).await.ok();
    assert_eq!(listed.elements("PartNumber").len(), 0);
    part("content-md5", "XUFAKrxLKna5cZ2REBfFkg==").await.ok();
}
