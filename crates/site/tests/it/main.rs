//! Tests of a site over its store, by single requests and over a real connection.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod assets;
mod cache;
mod deploy;
mod extras;
mod fuzz;
mod rules;

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use isobar_site::{CacheOptions, CachePolicy, Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Error, ErrorKind, Key, ObjectStoreExt, PutOptions};

const BIG: usize = 300_000;

async fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let big: Vec<u8> = (0..BIG).map(|at| (at % 251) as u8).collect();
    for (key, body) in [
        ("s/index.html", b"<h1>home</h1>".to_vec()),
        ("s/about.html", b"about".to_vec()),
        ("s/docs/index.html", b"docs".to_vec()),
        ("s/docs/404.html", b"no such page in docs".to_vec()),
        ("s/404.html", b"no such page".to_vec()),
        ("s/style.css", b"body {}".to_vec()),
        ("s/style.css.br", b"brotli".to_vec()),
        ("s/style.css.gz", b"gzip".to_vec()),
        ("s/app-3f9a1c2b.js", b"hashed".to_vec()),
        ("s/video.mp4", big),
        ("s/empty.txt", Vec::new()),
        ("s/a b/\u{e9}.txt", b"odd".to_vec()),
        ("s/.well-known/x.txt", b"well known".to_vec()),
        ("secret.txt", b"outside".to_vec()),
        ("s/.env", b"hidden".to_vec()),
        ("s/_headers", b"/*\n X-All: 1".to_vec()),
    ] {
        store.write(&Key::new(key).unwrap(), body).await.unwrap();
    }
    store
}

async fn site() -> Site {
    Site::new(Arc::new(store().await), SiteOptions::default().with_prefix("s"))
}

type Told = (StatusCode, HeaderMap, Vec<u8>);

/// Sends a request to the site, and checks that a site with a cache answers the same, twice.
async fn ask(site: &Site, method: &str, path: &str, headers: &[(&str, &str)]) -> Told {
    let told = ask_once(site, method, path, headers).await;
    let cached = site.clone().with_cache(CacheOptions::default());
    for _ in 0..2 {
        let again = ask_once(&cached, method, path, headers).await;
        // Boundaries are random.
        if !told.1.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"multipart/")) {
            assert_eq!(again, told, "{method} {path} {headers:?}");
        }
        assert_eq!((again.0, again.2.len()), (told.0, told.2.len()), "{method} {path} {headers:?}");
    }
    told
}

async fn ask_once(site: &Site, method: &str, path: &str, headers: &[(&str, &str)]) -> Told {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, body) = site.respond(&request.body(()).unwrap()).await.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn get_once(site: &Site, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let (status, headers, body) = ask_once(site, "GET", path, headers).await;
    (status.as_u16(), headers, String::from_utf8_lossy(&body).into_owned())
}

async fn get(site: &Site, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let (status, headers, body) = ask(site, "GET", path, headers).await;
    (status.as_u16(), headers, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn paths_find_their_files() {
    let site = site().await;
    for (path, status, body) in [
        ("/", 200, "<h1>home</h1>"),
        ("/index.html", 307, ""),
        ("/about", 200, "about"),
        ("/docs/", 200, "docs"),
        ("/a%20b/%C3%A9.txt", 200, "odd"),
        ("/.well-known/x.txt", 200, "well known"),
        ("/empty.txt", 200, ""),
        ("/docs/none", 404, "no such page in docs"),
        ("/docs/deep/er/none", 404, "no such page in docs"),
        ("/none", 404, "no such page"),
        ("/.env", 404, "no such page"),
        ("/docs/.env", 404, "no such page in docs"),
        ("/style.css/", 404, "no such page"),
        ("/_headers", 404, "no such page"),
        ("/../secret.txt", 400, ""),
        ("/%2e%2e/secret.txt", 400, ""),
        ("/..%2fsecret.txt", 400, ""),
        ("/..%5csecret.txt", 400, ""),
        ("/a%00", 400, ""),
        ("/%", 400, ""),
    ] {
        let got = get(&site, path, &[]).await;
        assert_eq!(got.0, status, "{path}: {}", got.2);
        assert!(body.is_empty() || got.2 == body, "{path}: {}", got.2);
    }
    assert_eq!(get(&site, &format!("/{}", "x".repeat(2000)), &[]).await.0, 404);
    let (status, headers, _) = get(&site, "//docs?a=b", &[]).await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (307, "/docs/?a=b"));
}

#[tokio::test]
async fn headers_describe_the_file() {
    let site = site().await;
    let (_, headers, _) = get(&site, "/", &[]).await;
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(
        headers["etag"],
        format!("\"{}\"", isobar_storage::Checksum::of(isobar_storage::ChecksumAlgorithm::Md5, b"<h1>home</h1>").hex)
    );
    assert_eq!(headers["cache-control"], "public, max-age=0, must-revalidate");
    assert_eq!(
        (&headers["accept-ranges"], &headers["x-content-type-options"]),
        (&"bytes".parse().unwrap(), &"nosniff".parse().unwrap())
    );
    assert!(httpdate::parse_http_date(headers["last-modified"].to_str().unwrap()).is_ok());
    let (_, headers, _) = get(&site, "/app-3f9a1c2b.js", &[]).await;
    assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
    let (_, headers, _) = get(&site, "/video.mp4", &[]).await;
    assert_eq!((headers["content-type"].to_str().unwrap(), headers.contains_key("vary")), ("video/mp4", false));
}

#[tokio::test]
async fn metadata_of_the_object_takes_precedence() {
    let store = store().await;
    let options = PutOptions::default().with_content_type("text/x-own").with_cache_control("no-store");
    drop(store.write_with(&Key::new("s/own.html").unwrap(), "own", options).await.unwrap());
    let options = SiteOptions::default().with_prefix("s/").with_cache(CachePolicy::always("max-age=5"));
    let site = Site::new(Arc::new(store), options);
    let (_, headers, _) = get(&site, "/own", &[]).await;
    assert_eq!(
        (&headers["content-type"], &headers["cache-control"]),
        (&"text/x-own".parse().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(get(&site, "/", &[]).await.1["cache-control"], "max-age=5");
}

#[tokio::test]
async fn head_is_get_without_a_body_and_other_methods_are_refused() {
    let site = site().await;
    for path in ["/", "/video.mp4", "/none", "/style.css", "/empty.txt"] {
        let (status, mut headers, body) = ask(&site, "HEAD", path, &[("accept-encoding", "br")]).await;
        let (get_status, get_headers, get_body) = ask(&site, "GET", path, &[("accept-encoding", "br")]).await;
        assert_eq!((status, body.len()), (get_status, 0), "{path}");
        assert_eq!(headers.remove("content-length").unwrap(), get_body.len().to_string(), "{path}");
        assert_eq!(headers, get_headers, "{path}");
    }
    let (status, headers, _) = ask(&site, "POST", "/", &[]).await;
    assert_eq!((status.as_u16(), headers["allow"].to_str().unwrap()), (405, "GET, HEAD"));
    assert_eq!(ask(&site, "POST", "/none", &[]).await.0, 404);
}

#[tokio::test]
async fn preconditions_follow_rfc_9110() {
    let site = site().await;
    let (_, headers, _) = get(&site, "/about", &[]).await;
    let etag = headers["etag"].to_str().unwrap().to_owned();
    let modified = headers["last-modified"].to_str().unwrap().to_owned();
    let weak = format!("W/{etag}");
    let listed = format!("\"x\", {etag}");
    let past = "Sat, 01 Jan 2000 00:00:00 GMT";
    let future = "Fri, 01 Jan 2100 00:00:00 GMT";
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[("if-none-match", &etag)], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", &listed)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"x\"")], 200),
        (&[("if-none-match", "\"x\""), ("if-modified-since", future)], 200),
        (&[("if-none-match", "nonsense")], 200),
        (&[("if-modified-since", &modified)], 304),
        (&[("if-modified-since", past)], 200),
        (&[("if-modified-since", "nonsense")], 200),
        (&[("if-match", &etag)], 200),
        (&[("if-match", &weak)], 412),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"x\"")], 412),
        (&[("if-match", &etag), ("if-unmodified-since", past)], 200),
        (&[("if-unmodified-since", &modified)], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-match", &etag), ("if-none-match", &etag)], 304),
    ];
    for (headers, status) in table {
        assert_eq!(get(&site, "/about", headers).await.0, *status, "{headers:?}");
    }
    let (_, headers, body) = get(&site, "/about", &[("if-none-match", "*")]).await;
    assert_eq!((headers["etag"].to_str().unwrap(), body.as_str()), (&*etag, ""));
    assert!(
        headers.contains_key("cache-control") && headers.contains_key("vary") && !headers.contains_key("content-type")
    );
    assert_eq!(get(&site, "/none", &[("if-match", "*")]).await.0, 404);
}

#[tokio::test]
async fn ranges_are_cut_joined_and_refused() {
    let site = site().await;
    let (_, _, whole) = ask(&site, "GET", "/video.mp4", &[]).await;
    let (status, headers, body) = ask(&site, "GET", "/video.mp4", &[("range", "bytes=100-199")]).await;
    assert_eq!((status.as_u16(), headers["content-range"].to_str().unwrap()), (206, "bytes 100-199/300000"));
    assert_eq!(body, whole[100..200]);
    let (status, headers, _) = get(&site, "/video.mp4", &[("range", "bytes=300000-")]).await;
    assert_eq!((status, headers["content-range"].to_str().unwrap()), (416, "bytes */300000"));
    for header in ["bytes=5-4", "items=0-1", "bytes=x"] {
        assert_eq!(get(&site, "/video.mp4", &[("range", header)]).await.0, 200, "{header}");
    }
    assert_eq!(ask(&site, "HEAD", "/video.mp4", &[("range", "bytes=0-1")]).await.0, 200);

    let (_, headers, _) = get(&site, "/video.mp4", &[]).await;
    let etag = headers["etag"].to_str().unwrap();
    let modified = headers["last-modified"].to_str().unwrap();
    for (if_range, status) in [
        (etag, 206),
        ("\"x\"", 200),
        (&*format!("W/{etag}"), 200),
        (modified, 206),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 200),
    ] {
        assert_eq!(
            get(&site, "/video.mp4", &[("range", "bytes=0-1"), ("if-range", if_range)]).await.0,
            status,
            "{if_range}"
        );
    }
}

#[tokio::test]
async fn several_ranges_are_a_multipart() {
    let site = site().await;
    let (_, _, whole) = ask(&site, "GET", "/video.mp4", &[]).await;
    let (status, headers, body) = ask(&site, "GET", "/video.mp4", &[("range", "bytes=0-9, 1000-1099, -5")]).await;
    assert_eq!(status, 206);
    let boundary =
        headers["content-type"].to_str().unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let mut want = Vec::new();
    for (range, bytes) in
        [("0-9", &whole[..10]), ("1000-1099", &whole[1000..1100]), ("299995-299999", &whole[BIG - 5..])]
    {
        want.extend(
            format!("\r\n--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes {range}/300000\r\n\r\n")
                .bytes(),
        );
        want.extend(bytes);
    }
    want.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert_eq!(body, want);
}

#[tokio::test]
async fn precompressed_variants_are_chosen_by_weight() {
    let site = site().await;
    let mut etags = std::collections::HashSet::new();
    for (accept, encoding, body) in [
        ("br, gzip", Some("br"), "brotli"),
        ("gzip", Some("gzip"), "gzip"),
        ("zstd", None, "body {}"),
        ("", None, "body {}"),
    ] {
        let (status, headers, got) = get(&site, "/style.css", &[("accept-encoding", accept)]).await;
        assert_eq!((status, got.as_str()), (200, body), "{accept}");
        assert_eq!(headers.get("content-encoding").map(|value| value.to_str().unwrap()), encoding, "{accept}");
        assert_eq!(
            (&headers["vary"], &headers["content-type"]),
            (&"Accept-Encoding".parse().unwrap(), &"text/css; charset=utf-8".parse().unwrap())
        );
        etags.insert(headers["etag"].clone());
    }
    assert_eq!(etags.len(), 3);
}

#[tokio::test]
async fn store_errors_are_answered_without_details() {
    let store = MockStore::new(store().await);
    let site = Site::new(Arc::new(store.clone()), SiteOptions::default().with_prefix("s/"));
    for _ in 0..2 {
        store.script().fail_next("head", Error::new(ErrorKind::Unavailable, "/srv/secret/path is busy"));
    }
    let (status, headers, body) = get_once(&site, "/", &[]).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap(), body.contains("secret")), (503, "1", false));
    store.script().fail_next("get", Error::new(ErrorKind::Corrupt, "/srv/secret/path"));
    let (status, _, body) = get_once(&site, "/", &[]).await;
    assert_eq!((status, body.contains("secret")), (500, false));
    assert_eq!(get_once(&site, "/", &[]).await.0, 200);
}

#[tokio::test]
async fn variant_has_the_headers_of_its_file() {
    let store = store().await;
    let options = PutOptions::default().with_cache_control("private, no-store");
    drop(store.write_with(&Key::new("s/secret.css").unwrap(), "a {}", options).await.unwrap());
    store.write(&Key::new("s/secret.css.br").unwrap(), "br").await.unwrap();
    let bad = PutOptions::default().with_content_type("text/html\r\nX-Evil: yes");
    drop(store.write_with(&Key::new("s/bad.txt").unwrap(), "bad", bad).await.unwrap());
    let site = Site::new(Arc::new(store), SiteOptions::default().with_prefix("s/"));
    let (_, headers, body) = get(&site, "/secret.css", &[("accept-encoding", "br")]).await;
    assert_eq!((headers["cache-control"].to_str().unwrap(), body.as_str()), ("private, no-store", "br"));
    assert_eq!(get(&site, "/bad.txt", &[]).await.1["content-type"], "text/plain; charset=utf-8");
    assert!(!get(&site, "/about", &[("authorization", "Basic x")]).await.1.contains_key("cache-control"));
}

#[tokio::test]
async fn site_is_served_over_a_real_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let router = axum::Router::new().fallback_service(site().await);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let ask = async |request: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n<h1>home</h1>"), "{answer}");
    assert!(answer.contains("content-length: 13\r\n"), "{answer}");
    let answer = ask("HEAD /video.mp4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 300000\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = ask("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

#[tokio::test]
async fn header_rules_do_not_change_headers_of_parts() {
    let rules =
        isobar_site::HeaderRules::parse("/*\n  Content-Type: text/x-own\n  Content-Range: nonsense\n  X-All: 1");
    let options = SiteOptions::default().with_prefix("s").with_headers(rules);
    let site = Site::new(Arc::new(store().await), options);
    let (status, headers, _) = get(&site, "/video.mp4", &[("range", "bytes=0-1,5-6")]).await;
    assert_eq!((status, &headers["x-all"]), (206, &"1".parse().unwrap()));
    assert!(headers["content-type"].to_str().unwrap().starts_with("multipart/byteranges; boundary="), "{headers:?}");
    assert!(!headers.contains_key("content-range"));
    let (_, headers, _) = get(&site, "/video.mp4", &[("range", "bytes=0-1")]).await;
    assert_eq!(headers["content-range"].to_str().unwrap(), format!("bytes 0-1/{BIG}"));
    assert_eq!(headers["content-type"], "text/x-own");
}

#[tokio::test]
async fn hosts_are_compared_without_case() {
    let rules = isobar_site::HeaderRules::parse("https://Example.com/*\n  X-Host: yes");
    let site = Site::new(Arc::new(store().await), SiteOptions::default().with_prefix("s").with_headers(rules));
    for (host, is_it) in [("EXAMPLE.com:8080", true), ("example.com", true), ("example.org", false)] {
        let (_, headers, _) = get(&site, "/", &[("host", host)]).await;
        assert_eq!(headers.contains_key("x-host"), is_it, "{host}");
    }
}
