//! Tests of features beyond Workers Static Assets: listings, digests, `Server-Timing`, with and without a cache.

use std::sync::Arc;

use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use isobar_site::{CacheOptions, DeployOptions, Deploys, Redirects, Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Checksum, ChecksumAlgorithm, Key, ObjectStore, ObjectStoreExt, PutOptions};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn ask(site: &Site, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, body) = site.respond(&request.body(()).unwrap()).await.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn json_of(site: &Site, path: &str) -> Value {
    let (status, headers, body) = ask(site, "GET", path, &[("accept", "application/json")]).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/json"));
    serde_json::from_slice(&body).unwrap()
}

fn names(listing: &Value) -> Vec<&str> {
    listing["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

/// Returns a site of keys and a deployed one with the same files, each with and without a cache.
async fn sites(files: &[(&str, &str)], options: SiteOptions) -> Vec<Site> {
    let source = MemoryStore::new();
    let plain: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    for (name, body) in files {
        source.write(&key(name), (*body).to_owned()).await.unwrap();
        plain.write(&key(&format!("s/{name}")), (*body).to_owned()).await.unwrap();
    }
    let deployed: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let deploys = Deploys::new(Arc::clone(&deployed), "s");
    deploys.deploy(&source, &DeployOptions::default()).await.unwrap();
    let options = options.with_prefix("s").with_deploys(true);
    let sites = [Site::new(plain, options.clone()), Site::new(deployed, options)];
    sites.into_iter().flat_map(|site| [site.clone(), site.with_cache(CacheOptions::default())]).collect()
}

const FILES: &[(&str, &str)] = &[
    ("a b/<i>.txt", "odd"),
    ("a b/c:d", "scheme?"),
    ("a b/deep/er/x.txt", "deep"),
    ("a b/deep/y.txt", "deep"),
    ("a b/.env", "hidden"),
    (".git/config", "hidden"),
    (".well-known/x.txt", "known"),
    ("_headers", "/*\n  X-Rule: yes"),
    ("docs/index.html", "docs"),
    ("z.txt", "last"),
];

#[tokio::test]
async fn folders_are_listed_on_request_without_hidden_files() {
    for site in sites(FILES, SiteOptions::default().with_listing(true)).await {
        let root = json_of(&site, "/").await;
        assert_eq!(names(&root), [".well-known/", "a b/", "docs/", "z.txt"], "{site:?}");
        assert_eq!((root["path"].clone(), root["next"].clone()), (json!("/"), Value::Null));
        assert_eq!((&root["entries"][3]["size"], root["entries"][1].get("size")), (&json!(4), None));
        assert_eq!(names(&json_of(&site, "/a%20b/").await), ["<i>.txt", "c:d", "deep/"]);
        assert_eq!(names(&json_of(&site, "/a%20b/deep/").await), ["er/", "y.txt"]);
        let (status, headers, body) = ask(&site, "GET", "/a%20b/", &[("accept", "text/html, */*")]).await;
        let page = String::from_utf8(body).unwrap();
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
        assert_eq!(headers["vary"], "Accept");
        assert!(page.contains(r#"<a href="./%3Ci%3E.txt">&lt;i&gt;.txt</a>"#), "{page}");
        assert!(page.contains(r#"<a href="./c%3Ad">c:d</a>"#) && page.contains(r#"href="../""#), "{page}");
        assert!(!page.contains("<i>") && !page.contains(".env"));
        let (status, again, body) = ask(&site, "HEAD", "/a%20b/", &[("accept", "text/html, */*")]).await;
        assert_eq!((status, &again["content-type"], body.len()), (200, &headers["content-type"], 0));
        let etag = headers["etag"].to_str().unwrap();
        let same = ask(&site, "GET", "/a%20b/", &[("accept", "text/html, */*"), ("if-none-match", etag)]).await;
        assert_eq!((same.0, same.2.len()), (304, 0));
        assert_eq!(ask(&site, "GET", "/a%20b/", &[("if-match", "\"x\""), ("accept", "text/html")]).await.0, 412);
        // A folder's path ends with a slash, an index takes precedence, and a missing folder is 404.
        let (status, headers, _) = ask(&site, "GET", "/a%20b?x=1", &[]).await;
        assert_eq!((status, headers["location"].to_str().unwrap()), (307, "/a%20b/?x=1"));
        assert_eq!(ask(&site, "GET", "/docs/", &[]).await.2, b"docs");
        for (path, expected) in
            [("/none/", 404), ("/none", 404), ("/.git/", 404), ("/a%20b/.env", 404), ("/.deploy/", 404)]
        {
            assert_eq!(ask(&site, "GET", path, &[]).await.0, expected, "{path}");
        }
        assert_eq!(ask(&site, "POST", "/a%20b/", &[]).await.0, 404);
    }
    for site in sites(FILES, SiteOptions::default()).await {
        assert_eq!(ask(&site, "GET", "/a%20b/", &[]).await.0, 404, "unless it is wanted");
    }
}

#[tokio::test]
async fn long_folder_is_listed_in_pages() {
    let files: Vec<(String, &str)> = (0..2500).map(|number| (format!("f/{number:04}/x"), "x")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, body)| (name.as_str(), *body)).collect();
    for site in sites(&files, SiteOptions::default().with_listing(true)).await {
        let mut all = Vec::new();
        let mut path = "/f/".to_owned();
        let mut pages = 0;
        loop {
            let listing = json_of(&site, &path).await;
            all.extend(names(&listing).into_iter().map(str::to_owned));
            pages += 1;
            match listing["next"].as_str() {
                Some(next) => path = format!("/f/?after={}", next.replace('/', "%2F")),
                None => break,
            }
        }
        assert_eq!((all.len(), pages), (2500, 3));
        assert!(all.is_sorted() && all[0] == "0000/" && all[2499] == "2499/");
        let page = String::from_utf8(ask(&site, "GET", "/f/", &[]).await.2).unwrap();
        assert!(page.contains(r#"<a href="?after=0999%2F">more</a>"#));
    }
}

/// Returns the digest field of these bytes.
fn field(bytes: &[u8]) -> String {
    use base64::Engine;
    format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes)))
}

#[tokio::test]
async fn digests_are_sent_on_request_and_match_the_content() {
    let text = "some text, for the digest\n".repeat(100);
    let store = MemoryStore::new();
    let sha256 = Checksum::from_bytes(ChecksumAlgorithm::Sha256, &Sha256::digest(&text)).unwrap();
    let options = PutOptions::default().with_checksum(sha256);
    store.write_with(&key("s/a.txt"), text.clone(), options).await.unwrap().stored().unwrap();
    let plain = Site::new(Arc::new(store), SiteOptions::default().with_prefix("s"));
    let mut all = sites(&[("a.txt", &text)], SiteOptions::default()).await;
    // Plain keys without a checksum have a digest only if the bytes are cached.
    let bare = all.remove(0);
    all.extend([plain.clone(), plain.with_cache(CacheOptions::default())]);
    const WANTS: [(&str, &str); 2] =
        [("want-content-digest", "sha-512=3, sha-256=10"), ("want-repr-digest", "sha-256=1")];
    assert!(!ask(&bare, "GET", "/a.txt", &WANTS).await.1.contains_key("repr-digest"));
    for site in &all {
        let (_, headers, _) = ask(site, "GET", "/a.txt", &[]).await;
        assert!(!headers.contains_key("content-digest") && !headers.contains_key("repr-digest"));
        for method in ["GET", "HEAD"] {
            let (status, headers, _) = ask(site, method, "/a.txt", &WANTS).await;
            assert_eq!((status, headers["content-digest"].to_str().unwrap()), (200, &*field(text.as_bytes())));
            assert_eq!(headers["repr-digest"], headers["content-digest"]);
        }
        let (status, headers, part) = ask(site, "GET", "/a.txt", &[WANTS[0], WANTS[1], ("range", "bytes=5-9")]).await;
        assert_eq!((status, headers["repr-digest"].to_str().unwrap()), (206, &*field(text.as_bytes())));
        if let Some(content) = headers.get("content-digest") {
            assert_eq!(content.to_str().unwrap(), field(&part));
        }
        // Of several parts only the digest of the whole file is known.
        let several = [WANTS[0], WANTS[1], ("range", "bytes=5-9,100-109")];
        let (status, headers, _) = ask(site, "GET", "/a.txt", &several).await;
        assert_eq!((status, headers["repr-digest"].to_str().unwrap()), (206, &*field(text.as_bytes())));
        assert!(!headers.contains_key("content-digest"));
        let encoded = [WANTS[0], WANTS[1], ("accept-encoding", "zstd")];
        let (_, headers, body) = ask(site, "GET", "/a.txt", &encoded).await;
        let digest = headers["content-digest"].to_str().unwrap();
        assert_eq!((digest, headers["repr-digest"].to_str().unwrap()), (&*field(&body), &*field(&body)));
        let (_, headers, _) = ask(site, "GET", "/a.txt", &[("want-content-digest", "sha-256=0")]).await;
        assert!(!headers.contains_key("content-digest"));
    }
}

#[tokio::test]
async fn server_timing_names_the_deciding_rule() {
    let files = [("index.html", "home"), ("404.html", "none"), ("a.txt", "a"), ("_redirects", "/old /a.txt")];
    let redirects = Redirects::parse("/old /a.txt", Default::default());
    let options = SiteOptions::default().with_server_timing("STORAGE").with_redirects(redirects);
    for (number, site) in sites(&files, options).await.into_iter().enumerate() {
        let is_cached = number % 2 == 1;
        for (path, rule) in [
            ("/", "file"),
            ("/a.txt", "file"),
            ("/index.html", "html_handling"),
            ("/old", "redirects"),
            ("/none", "not_found_handling"),
            ("//a.txt", "path"),
        ] {
            for tier in if is_cached { ["miss", "hit"] } else { ["bypass", "bypass"] } {
                let (_, headers, _) = ask(&site, "GET", path, &[]).await;
                let expected = format!("rule;desc={rule}, cache;desc={tier}, binding;desc=\"STORAGE\"");
                assert_eq!(headers["server-timing"].to_str().unwrap(), expected, "{path}");
            }
        }
    }
    let silent = sites(&files, SiteOptions::default()).await;
    assert!(!ask(&silent[1], "GET", "/", &[]).await.1.contains_key("server-timing"));
}

#[tokio::test]
async fn several_ranges_of_an_encoded_file_get_the_whole() {
    let text = "text that is worth compressing\n".repeat(100);
    for site in sites(&[("a.txt", &text), ("b.txt", "b"), ("b.txt.gz", "gzipped bytes")], SiteOptions::default()).await
    {
        // The first file is compressed only with a cache.
        for (path, is_encoded) in [("/a.txt", false), ("/b.txt", true)] {
            let ranges = [("accept-encoding", "gzip"), ("range", "bytes=0-1,5-6")];
            let (status, headers, body) = ask(&site, "GET", path, &ranges).await;
            let whole = ask(&site, "GET", path, &ranges[..1]).await;
            if headers.contains_key("content-encoding") {
                assert_eq!((status, body), (200, whole.2));
            } else {
                assert!(!is_encoded && status == 206);
            }
            // A single range is not multipart.
            let (status, _, body) = ask(&site, "GET", path, &[ranges[0], ("range", "bytes=1-2")]).await;
            assert_eq!((status, body.len()), (206, 2));
        }
    }
}
