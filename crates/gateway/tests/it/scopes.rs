//! Permissions of keys on each operation.

use http::Method;

use crate::client::{Call, Client, Setup};

/// The outcome of each operation on a bucket and a key, by name.
async fn outcomes(client: &Client, bucket: &str, key: &str) -> Vec<(&'static str, bool)> {
    let path = format!("/{bucket}/{key}");
    let upload = format!("{path}?uploadId=none");
    let prefix = key.split_once('/').map_or("", |(folder, _)| folder);
    let list = format!("/{bucket}?list-type=2&prefix={prefix}/");
    let delete = format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
    let calls = [
        ("get", Call::get(&path)),
        ("head", Call::new(Method::HEAD, &path)),
        ("list", Call::get(&list)),
        ("list v1", Call::get(&format!("/{bucket}?prefix={prefix}/"))),
        ("put", Call::put(&path, "x")),
        ("copy onto it", Call::new(Method::PUT, &path).with("x-amz-copy-source", &path)),
        ("create upload", Call::post(&format!("{path}?uploads"), "")),
        ("upload part", Call::put(&format!("{path}?partNumber=1&uploadId=none"), "x")),
        ("list parts", Call::get(&upload)),
        ("abort", Call::new(Method::DELETE, &upload)),
        ("delete many", Call::post(&format!("/{bucket}?delete"), delete)),
        ("delete", Call::new(Method::DELETE, &path)),
    ];
    let mut outcomes = Vec::new();
    for (name, call) in calls {
        let reply = client.call(call).await;
        let is_denied = reply.status == 403 || (name == "delete many" && reply.text().contains("AccessDenied"));
        outcomes.push((name, !is_denied));
    }
    outcomes
}

fn allowed(outcomes: &[(&'static str, bool)]) -> Vec<&'static str> {
    outcomes.iter().filter(|(_, is_allowed)| *is_allowed).map(|(name, _)| *name).collect()
}

const READS: [&str; 4] = ["get", "head", "list", "list v1"];
const WRITES: [&str; 7] = ["put", "create upload", "upload part", "list parts", "abort", "delete many", "delete"];

#[tokio::test]
async fn scope_decides_about_every_operation() {
    let setup = Setup::new();
    setup.client("owner").put("/photos/2026/k", "x").await.ok();
    setup.client("owner").put("/photos/2025/k", "x").await.ok();
    let all = outcomes(&setup.client("owner"), "photos", "2026/k").await;
    assert_eq!(allowed(&all).len(), all.len());
    setup.client("owner").put("/photos/2026/k", "x").await.ok();

    assert_eq!(allowed(&outcomes(&setup.client("reader"), "photos", "2026/k").await), READS);
    assert_eq!(allowed(&outcomes(&setup.client("album"), "backups", "2026/k").await), Vec::<&str>::new());
    assert_eq!(allowed(&outcomes(&setup.client("album"), "photos", "2025/k").await), Vec::<&str>::new());
    let own = outcomes(&setup.client("album"), "photos", "2026/k").await;
    assert_eq!(allowed(&own).len(), own.len());
    assert_eq!(setup.client("owner").get("/photos/2025/k").await.ok().text(), "x");
    setup.client("owner").put("/photos/2026/k", "x").await.ok();
    assert_eq!(allowed(&outcomes(&setup.client("writer"), "photos", "2026/k").await), WRITES);
}

#[tokio::test]
async fn source_of_a_copy_must_be_readable() {
    let setup = Setup::new();
    setup.client("owner").put("/photos/2025/secret", "secret").await.ok();
    setup.client("owner").put("/backups/secret", "secret").await.ok();
    let album = setup.client("album");
    let upload =
        album.call(Call::post("/photos/2026/k?uploads", "")).await.ok().element("UploadId").unwrap().to_owned();
    let part = format!("/photos/2026/k?partNumber=1&uploadId={upload}");
    for source in [
        "/photos/2025/secret",
        "photos/2025/secret",
        "/backups/secret",
        "/photos/2026/../2025/secret",
        "/photos%2F2025%2Fsecret",
    ] {
        for to in ["/photos/2026/k", &*part] {
            let reply = album.call(Call::new(Method::PUT, to).with("x-amz-copy-source", source)).await;
            assert!(reply.status.is_client_error(), "{source}: {reply:?}");
        }
    }
    setup
        .client("writer")
        .call(Call::new(Method::PUT, "/photos/k").with("x-amz-copy-source", "/backups/secret"))
        .await
        .refused(403, "AccessDenied");
}

#[tokio::test]
async fn delete_of_many_is_decided_key_by_key() {
    let setup = Setup::new();
    setup.client("owner").put("/photos/2025/k", "x").await.ok();
    setup.client("owner").put("/photos/2026/k", "x").await.ok();
    let body = "<Delete><Object><Key>2026/k</Key></Object><Object><Key>2025/k</Key></Object></Delete>";
    let reply = setup.client("album").call(Call::post("/photos?delete", body)).await.ok();
    assert_eq!((reply.elements("Code"), reply.elements("Key")), (vec!["AccessDenied"], vec!["2026/k", "2025/k"]));
    assert_eq!(setup.client("owner").get("/photos?list-type=2").await.elements("Key"), ["2025/k"]);
}

#[tokio::test]
async fn listing_needs_the_prefix_of_the_scope() {
    let setup = Setup::new();
    let album = setup.client("album");
    for query in ["", "?list-type=2", "?list-type=2&prefix=2026", "?list-type=2&prefix=&delimiter=/", "?prefix=2025/"] {
        album.get(&format!("/photos{query}")).await.refused(403, "AccessDenied");
    }
    album.get("/photos?list-type=2&prefix=2026/").await.ok();
    // A position outside the prefix shows nothing outside it.
    setup.client("owner").put("/photos/2027/k", "x").await.ok();
    let beyond = album.get("/photos?list-type=2&prefix=2026/&start-after=2026/zzz").await.ok();
    assert_eq!(beyond.elements("Key").len(), 0);
    assert_eq!(album.get("/").await.ok().elements("Name"), ["photos"]);
    assert_eq!(album.head("/backups").await.status, 403);
    setup.client("writer").get("/").await.refused(403, "AccessDenied");
}

#[tokio::test]
async fn questions_about_a_bucket_need_a_permission_for_it() {
    const QUESTIONS: [&str; 7] =
        ["", "?location", "?versioning", "?tagging", "?replication", "?encryption", "?object-lock"];
    let setup = Setup::new();
    let status = async |key: &str, bucket: &str, question: &str| {
        let method = if question.is_empty() { Method::HEAD } else { Method::GET };
        setup.client(key).call(Call::new(method, &format!("/{bucket}{question}"))).await.status.as_u16()
    };
    for question in QUESTIONS {
        for (key, bucket) in
            [("stranger", "photos"), ("album", "backups"), ("album", "nowhere"), ("stranger", "nowhere")]
        {
            assert_eq!(status(key, bucket, question).await, 403, "{key}: /{bucket}{question}");
        }
        for key in ["owner", "reader", "writer", "album"] {
            assert_ne!(status(key, "photos", question).await, 403, "{key}: /photos{question}");
        }
    }
    for call in outcomes(&setup.client("stranger"), "photos", "2026/k").await {
        assert!(!call.1, "stranger: {}", call.0);
    }
    for call in [
        Call::get("/"),
        Call::new(Method::PUT, "/new"),
        Call::new(Method::DELETE, "/photos"),
        Call::get("/photos?uploads"),
    ] {
        setup.client("stranger").call(call).await.refused(403, "AccessDenied");
    }
}

#[tokio::test]
async fn bound_key_does_not_create_buckets() {
    let setup = Setup::new();
    for key in ["album", "reader"] {
        setup.client(key).call(Call::new(Method::PUT, "/new")).await.refused(403, "AccessDenied");
        setup.client(key).delete("/photos").await.refused(403, "AccessDenied");
    }
}
