//! Objects, listings and buckets.

use std::sync::Arc;

use http::Method;
use isobar_storage::local::LocalStore;

use crate::client::{Call, Setup};

#[tokio::test]
async fn object_is_put_read_and_deleted() {
    let client = Setup::new().client("owner");
    let call =
        Call::put("/photos/a b+ü.txt", "hello").with("content-type", "text/plain").with("x-amz-meta-author", "ada");
    let stored = client.call(call.with("cache-control", "max-age=60")).await.ok();
    assert_eq!(stored.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    let got = client.get("/photos/a b+ü.txt").await.ok();
    assert_eq!(got.text(), "hello");
    let names = [
        "content-type",
        "x-amz-meta-author",
        "cache-control",
        "content-length",
        "accept-ranges",
        "x-amz-storage-class",
    ];
    let values: Vec<_> = names.iter().map(|name| got.header(name).unwrap_or_default()).collect();
    assert_eq!(values, ["text/plain", "ada", "max-age=60", "5", "bytes", "STANDARD"]);
    assert!(got.header("x-amz-request-id").is_some_and(|id| id.len() == 32));
    let head = client.head("/photos/a b+ü.txt").await.ok();
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5"), 0));
    assert_eq!(client.delete("/photos/a b+ü.txt").await.status, 204);
    assert_eq!(client.delete("/photos/a b+ü.txt").await.status, 204);
    client.get("/photos/a b+ü.txt").await.refused(404, "NoSuchKey");
    assert_eq!(client.head("/photos/a b+ü.txt").await.status, 404);
    client.get("/nowhere/k").await.refused(404, "NoSuchBucket");
}

#[tokio::test]
async fn a_response_in_place_of_100_continue_ends_the_connection() {
    let client = Setup::new().client("owner");
    let put = |path: &str, body: &str| client.call(Call::put(path, body.to_owned()).with("expect", "100-continue"));
    // An empty body is not asked for, nor one that is refused.
    assert_eq!(put("/photos/empty", "").await.ok().header("connection"), Some("close"));
    assert_eq!(put("/nowhere/k", "text").await.header("connection"), Some("close"));
    assert_eq!(put("/photos/k", "text").await.ok().header("connection"), None);
    assert_eq!(client.put("/photos/empty", "").await.ok().header("connection"), None);
}

#[tokio::test]
async fn ranges_are_served() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "0123456789").await.ok();
    for (range, body, shown) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=-20", "0123456789", "bytes 0-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        let got = client.call(Call::get("/photos/k").with("range", range)).await;
        assert_eq!((got.status.as_u16(), got.text(), got.header("content-range")), (206, body, Some(shown)), "{range}");
    }
    for range in ["bytes=10-", "bytes=-0"] {
        client.call(Call::get("/photos/k").with("range", range)).await.refused(416, "InvalidRange");
    }
    for range in ["bytes=0-1,3-4", "bytes=5-1", "bytes=x"] {
        assert_eq!(client.call(Call::get("/photos/k").with("range", range)).await.status, 400, "{range}");
    }
    client.put("/photos/empty", "").await.ok();
    client.call(Call::get("/photos/empty").with("range", "bytes=0-")).await.refused(416, "InvalidRange");
    client.call(Call::get("/photos/empty").with("range", "bytes=-5")).await.refused(416, "InvalidRange");
}

#[tokio::test]
async fn conditions_of_reads_are_kept() {
    let client = Setup::new().client("owner");
    client.put("/photos/k", "hello").await.ok();
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    let get = |name: &str, value: &str| client.call(Call::get("/photos/k").with(name, value));
    assert_eq!(get("if-match", etag).await.status, 200);
    get("if-match", "\"other\"").await.refused(412, "PreconditionFailed");
    let unchanged = get("if-none-match", etag).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len(), unchanged.header("etag")), (304, 0, Some(etag)));
    let modified = client.head("/photos/k").await.header("last-modified").unwrap().to_owned();
    assert_eq!(get("if-modified-since", &modified).await.status, 304);
    assert_eq!(get("if-unmodified-since", &modified).await.status, 200);
    get("if-unmodified-since", "Mon, 01 Jan 2024 00:00:00 GMT").await.refused(412, "PreconditionFailed");
    let head = Call::new(Method::HEAD, "/photos/k").with("if-none-match", etag);
    assert_eq!(client.call(head).await.status, 304);
}

#[tokio::test]
async fn conditions_of_puts_are_kept() {
    let client = Setup::new().client("owner");
    let put =
        |body: &str, name: &str, value: &str| client.call(Call::put("/photos/k", body.to_owned()).with(name, value));
    put("a", "if-match", "\"x\"").await.refused(412, "PreconditionFailed");
    put("a", "if-none-match", "*").await.ok();
    put("b", "if-none-match", "*").await.refused(412, "PreconditionFailed");
    put("b", "if-match", "0cc175b9c0f1b6a831c399e269772661").await.ok();
    put("c", "if-unmodified-since", "Mon, 01 Jan 2024 00:00:00 GMT").await.refused(412, "PreconditionFailed");
    assert_eq!(client.get("/photos/k").await.text(), "b");
}

#[tokio::test]
async fn metadata_of_every_script_comes_back() {
    let client = Setup::new().client("owner");
    client.call(Call::put("/photos/k", "x").with("x-amz-meta-name", "=?UTF-8?B?w7xuaQ==?=")).await.ok();
    let shown = client.head("/photos/k").await;
    assert!(shown.header("x-amz-meta-name").is_some_and(|value| value.starts_with("=?")), "{shown:?}");
}

#[tokio::test]
async fn metadata_that_no_header_can_have_is_counted() {
    let setup = Setup::new();
    let key = isobar_storage::Key::new("k").unwrap();
    let options =
        isobar_storage::PutOptions::default().with_custom("Großes", "1").with_custom("a", "1\n2").with_custom("b", "ü");
    setup.photos.put(&key, "x".into(), options).await.unwrap().stored().unwrap();
    let shown = setup.client("owner").get("/photos/k").await.ok();
    assert_eq!(shown.header("x-amz-missing-meta"), Some("2"));
    assert!(shown.header("x-amz-meta-b").is_some() && shown.header("x-amz-meta-a").is_none());
    assert_eq!(shown.header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn listings_have_pages_groups_and_encodings() {
    let folder = tempfile::tempdir().unwrap();
    let client = Setup::over(Arc::new(LocalStore::open(folder.path()).await.unwrap())).client("owner");
    for key in ["a.txt", "p/1", "p/2", "q/1 +", "z"] {
        client.put(&format!("/photos/{key}"), key).await.ok();
    }
    let all = client.get("/photos?list-type=2").await.ok();
    assert_eq!(all.elements("Key"), ["a.txt", "p/1", "p/2", "q/1 +", "z"]);
    assert_eq!((all.element("KeyCount"), all.element("IsTruncated")), (Some("5"), Some("false")));
    assert_eq!(all.element("Owner"), None);
    let groups = client.get("/photos?list-type=2&delimiter=/&fetch-owner=true").await.ok();
    assert_eq!(groups.elements("Key"), ["a.txt", "z"]);
    assert_eq!(groups.elements("Prefix"), ["", "p/", "q/"]);
    assert!(groups.element("Owner").is_some());
    let encoded = client.get("/photos?list-type=2&prefix=q/&encoding-type=url").await.ok();
    assert_eq!((encoded.elements("Key"), encoded.element("EncodingType")), (vec!["q/1%20%2B"], Some("url")));

    // Page by page, of both versions, with and without groups.
    for delimiter in ["", "&delimiter=/"] {
        let mut second = Vec::new();
        let mut token = String::new();
        loop {
            let next = if token.is_empty() { String::new() } else { format!("&continuation-token={token}") };
            let page = client.get(&format!("/photos?list-type=2&max-keys=1{delimiter}{next}")).await.ok();
            second.extend(page.elements("Key").into_iter().map(str::to_owned));
            second.extend(page.elements("Prefix").into_iter().filter(|prefix| !prefix.is_empty()).map(str::to_owned));
            let Some(found) = page.element("NextContinuationToken") else { break };
            token = found.to_owned();
        }
        let mut first = Vec::new();
        let mut marker = String::new();
        loop {
            let call = Call::get(&format!("/photos?max-keys=1{delimiter}")).query("marker", &marker);
            let page = client.call(call).await.ok();
            first.extend(page.elements("Key").into_iter().map(str::to_owned));
            first.extend(page.elements("Prefix").into_iter().filter(|prefix| !prefix.is_empty()).map(str::to_owned));
            let Some(found) = page.element("NextMarker") else { break };
            marker = found.to_owned();
        }
        assert_eq!(first, second, "{delimiter}");
        let expected = if delimiter.is_empty() { 5 } else { 4 };
        assert_eq!(first.len(), expected, "{first:?}");
    }
    // The prefix itself as the marker: nothing was shown of it yet.
    let below = client.get("/photos?delimiter=/&prefix=p/&marker=p/").await.ok();
    assert_eq!(below.elements("Key"), ["p/1", "p/2"]);
    let behind = client.get("/photos?delimiter=/&marker=p/").await.ok();
    assert_eq!((behind.elements("Key"), behind.elements("Prefix")), (vec!["z"], vec!["", "q/"]));
    let after = client.get("/photos?list-type=2&start-after=p/1").await.ok();
    assert_eq!(after.elements("Key"), ["p/2", "q/1 +", "z"]);
    let none = client.get("/photos?list-type=2&max-keys=0").await.ok();
    assert_eq!((none.elements("Key").len(), none.element("IsTruncated")), (0, Some("true")));
}

#[tokio::test]
async fn keys_of_every_byte_class_are_kept() {
    let client = Setup::new().client("owner");
    let keys = [
        "a%2Fb",
        "a/../b",
        "./x",
        "//double",
        "tab\tkey",
        "cr\rkey",
        "bell\u{7}",
        "<&>\"'",
        "ünï/日本",
        "trail/",
        "a?b#c",
        "+ +",
    ];
    for key in keys {
        let call = Call { path: format!("/photos/{key}"), ..Call::put("/", key.to_owned()) };
        client.call(call).await.ok();
        let got = client.call(Call { path: format!("/photos/{key}"), ..Call::get("/") }).await.ok();
        assert_eq!(got.text(), key);
    }
    let listed = client.get("/photos?list-type=2").await.ok();
    let shown = listed.elements("Key");
    assert!(shown.contains(&"cr&#13;key") && shown.contains(&"bell&#7;"), "{shown:?}");
    let encoded = client.get("/photos?list-type=2&encoding-type=url").await.ok();
    let decoded: Vec<String> = encoded
        .elements("Key")
        .iter()
        .map(|key| percent_encoding::percent_decode_str(key).decode_utf8().unwrap().into_owned())
        .collect();
    for key in keys {
        assert!(decoded.iter().any(|other| other == key), "{key:?} in {decoded:?}");
    }
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let client = Setup::new().client("owner");
    for key in ["a", "b", "c"] {
        client.put(&format!("/photos/{key}"), key).await.ok();
    }
    let delete =
        |objects: &str, quiet: &str| Call::post("/photos?delete", format!("<Delete>{quiet}{objects}</Delete>"));
    let reply = client.call(delete("<Object><Key>a</Key></Object><Object><Key>none</Key></Object>", "")).await.ok();
    assert_eq!(reply.elements("Key"), ["a", "none"]);
    let quiet = client.call(delete("<Object><Key>b</Key></Object>", "<Quiet>true</Quiet>")).await.ok();
    assert_eq!(quiet.elements("Key").len(), 0);
    let version = "<Object><Key>c</Key><VersionId>7</VersionId></Object>";
    let refused = client.call(delete(version, "")).await.ok();
    assert_eq!(refused.element("Code"), Some("InvalidArgument"));
    assert_eq!(client.get("/photos?list-type=2").await.elements("Key"), ["c"]);
    let many = "<Object><Key>k</Key></Object>".repeat(1001);
    client.call(delete(&many, "")).await.refused(400, "MalformedXML");
    client.call(Call::post("/photos?delete", "<Delete><Object>")).await.refused(400, "MalformedXML");
}

#[tokio::test]
async fn copies_keep_replace_and_merge_metadata() {
    let client = Setup::new().client("owner");
    let call = Call::put("/photos/from", "x").with("content-type", "text/plain").with("x-amz-meta-a", "1");
    client.call(call).await.ok();
    let copy = |to: &str| Call::new(Method::PUT, to).with("x-amz-copy-source", "/photos/from");
    let copied = client.call(copy("/photos/same")).await.ok();
    assert!(copied.element("ETag").is_some() && copied.element("LastModified").is_some());
    client.call(copy("/backups/other")).await.ok();
    for path in ["/photos/same", "/backups/other"] {
        let head = client.head(path).await.ok();
        assert_eq!(
            (head.header("content-type"), head.header("x-amz-meta-a")),
            (Some("text/plain"), Some("1")),
            "{path}"
        );
    }
    let replace = copy("/photos/replaced").with("x-amz-metadata-directive", "REPLACE").with("x-amz-meta-b", "2");
    client.call(replace).await.ok();
    let head = client.head("/photos/replaced").await;
    assert_eq!((head.header("x-amz-meta-a"), head.header("x-amz-meta-b")), (None, Some("2")));
    let merge = copy("/photos/merged").with("x-amz-metadata-directive", "MERGE").with("x-amz-meta-b", "2");
    client.call(merge).await.ok();
    let head = client.head("/photos/merged").await;
    assert_eq!((head.header("x-amz-meta-a"), head.header("x-amz-meta-b")), (Some("1"), Some("2")));
    let missing = Call::new(Method::PUT, "/photos/to").with("x-amz-copy-source", "photos/none");
    client.call(missing).await.refused(404, "NoSuchKey");
}

#[tokio::test]
async fn conditions_of_copies_are_kept() {
    let client = Setup::new().client("owner");
    client.put("/photos/from", "x").await.ok();
    let copy = |to: &str, name: &str, value: &str| {
        client.call(Call::new(Method::PUT, to).with("x-amz-copy-source", "/photos/from").with(name, value))
    };
    for to in ["/photos/to", "/backups/to"] {
        copy(to, "x-amz-copy-source-if-match", "other").await.refused(412, "PreconditionFailed");
        copy(to, "x-amz-copy-source-if-none-match", "*").await.refused(412, "PreconditionFailed");
        copy(to, "cf-copy-destination-if-none-match", "*").await.ok();
        copy(to, "cf-copy-destination-if-none-match", "*").await.refused(412, "PreconditionFailed");
        let before = "Mon, 01 Jan 2024 00:00:00 GMT";
        copy(to, "x-amz-copy-source-if-unmodified-since", before).await.refused(412, "PreconditionFailed");
        copy(to, "x-amz-copy-source-if-modified-since", before).await.ok();
    }
}

#[tokio::test]
async fn buckets_are_listed_and_headed() {
    let client = Setup::new().client("owner");
    assert_eq!(client.get("/").await.ok().elements("Name"), ["backups", "photos"]);
    assert_eq!(client.head("/photos").await.status, 200);
    assert_eq!(client.head("/nowhere").await.status, 404);
    assert!(client.get("/photos?location").await.ok().text().contains(">auto</LocationConstraint>"));
    client.get("/photos?versioning").await.ok();
    client.get("/photos?tagging").await.refused(404, "NoSuchTagSet");
    client.get("/photos?replication").await.refused(404, "ReplicationConfigurationNotFoundError");
    client.get("/photos?object-lock").await.refused(404, "ObjectLockConfigurationNotFoundError");
    client.call(Call::new(Method::PUT, "/new")).await.refused(501, "NotImplemented");
}

#[tokio::test]
async fn presigned_urls_read_and_write() {
    let client = Setup::new().client("owner");
    let put = client.presign(&Call::put("/photos/k", "by URL"), 60);
    client.send(put).await.ok();
    let get = client.presign(&Call::get("/photos/k"), 60);
    assert_eq!(client.send(get).await.ok().text(), "by URL");
    let named = Call::get("/photos/k").query("response-content-disposition", "attachment; filename=\"k.txt\"");
    let got = client.send(client.presign(&named, 60)).await.ok();
    assert_eq!(got.header("content-disposition"), Some("attachment; filename=\"k.txt\""));
    // A URL for a GET is none for another method.
    let mut other = client.presign(&Call::get("/photos/k"), 60);
    *other.method_mut() = Method::DELETE;
    client.send(other).await.refused(403, "SignatureDoesNotMatch");
}
