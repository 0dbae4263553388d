//! Tests of `_headers`, `_redirects` and file names with a hash.

use std::io::Read;
use std::sync::Arc;

use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use isobar_site::{CacheOptions, DeployOptions, Deploys, Fingerprints, Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PAGE: &str = "<h1>the page</h1>";

async fn store(files: &[(&str, &[u8])]) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for (name, body) in files {
        store.write(&Key::new(*name).unwrap(), body.to_vec()).await.unwrap();
    }
    Arc::new(store)
}

async fn site(files: &[(&str, &[u8])]) -> Site {
    let store = store(files).await;
    let options = SiteOptions::default().with_rules_of(&*store).await.unwrap();
    Site::new(store, options)
}

async fn ask(site: &Site, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, body) = site.respond(&request.body(()).unwrap()).await.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

/// Sends two requests over one connection: rules for framing or connection headers would merge or break the answers.
#[tokio::test]
async fn rules_for_framing_headers_leave_the_connection_in_step() {
    let rules = "/*\n Content-Length: 5\n Transfer-Encoding: chunked\n Connection: close\n Keep-Alive: timeout=1\n \
                 Upgrade: h2c\n Trailer: X-All\n TE: trailers\n Proxy-Connection: close\n Content-Range: bytes 0-1/2\n \
                 X-All: 1\n ! Content-Length\n";
    let files: &[(&str, &[u8])] = &[("index.html", PAGE.as_bytes()), ("_headers", rules.as_bytes())];
    for cached in [false, true] {
        let site = site(files).await;
        let site = if cached { site.with_cache(CacheOptions::default()) } else { site };
        let router = axum::Router::new().fallback_service(site);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let requests = "GET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n\
                        GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        let heads: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).collect();
        assert_eq!(heads.len(), 3, "{answers}");
        assert!(heads[0].ends_with(&format!("\r\n\r\n{PAGE}")), "{answers}");
        assert!(heads[1].ends_with("\r\n\r\n"), "{answers}");
        for head in &heads[..2] {
            assert!(head.contains(&format!("content-length: {}\r\n", PAGE.len())), "{answers}");
            for name in ["transfer-encoding", "connection", "keep-alive", "upgrade", "trailer", "te", "content-range"] {
                assert!(!head.contains(&format!("\r\n{name}: ")), "{name}: {answers}");
            }
        }
        assert!(heads.iter().all(|head| head.contains("\r\nx-all: 1\r\n")), "{answers}");
    }
}

#[tokio::test]
async fn rules_leave_encoding_vary_and_etag_of_each_representation_right() {
    let script = "let x = 1;\n".repeat(500);
    let rules = "/*\n Content-Encoding: gzip\n Vary: Origin\n ETag: \"mine\"\n Last-Modified: Tue, 01 Jan 2030 00:00:00 GMT\n\
                 /app.js\n ! Vary\n ! Content-Encoding\n";
    let files: &[(&str, &[u8])] = &[
        ("app.js", script.as_bytes()),
        ("lib.js", b"identity"),
        ("lib.js.br", b"brotli"),
        ("_headers", rules.as_bytes()),
    ];
    let cached = site(files).await.with_cache(CacheOptions::default());
    let mut etags = Vec::new();
    for (accepted, encoding) in [("", None), ("br", Some("br")), ("gzip", Some("gzip")), ("br", Some("br"))] {
        let (status, headers, body) = ask(&cached, "/app.js", &[("accept-encoding", accepted)]).await;
        assert_eq!((status, headers.get("content-encoding").map(|it| it.to_str().unwrap())), (200, encoding));
        assert_eq!(headers.get_all("vary").iter().collect::<Vec<_>>(), ["Accept-Encoding, Origin"]);
        let mut decoded = String::new();
        let mut decoder: Box<dyn Read> = match encoding {
            Some("br") => Box::new(brotli::Decompressor::new(&body[..], 4096)),
            Some(_) => Box::new(flate2::read::GzDecoder::new(&body[..])),
            None => Box::new(&body[..]),
        };
        decoder.read_to_string(&mut decoded).unwrap();
        assert_eq!(decoded, script, "{accepted}");
        etags.push(headers["etag"].clone());
        let again = [("accept-encoding", accepted), ("if-none-match", headers["etag"].to_str().unwrap())];
        let (status, headers, _) = ask(&cached, "/app.js", &again).await;
        assert_eq!((status, headers["vary"].to_str().unwrap()), (304, "Accept-Encoding, Origin"));
        let later = [("if-modified-since", "Mon, 31 Dec 2029 00:00:00 GMT"), ("if-none-match", "\"mine\"")];
        assert_eq!(ask(&cached, "/app.js", &later).await.0, 200, "a rule's validators are not the file's");
    }
    assert!(etags[0] != etags[1] && etags[1] != etags[2] && etags[1] == etags[3], "{etags:?}");
    for (accepted, encoding, body) in [("br", Some("br"), "brotli"), ("gzip", None, "identity")] {
        let (_, headers, got) = ask(&site(files).await, "/lib.js", &[("accept-encoding", accepted)]).await;
        assert_eq!(
            (headers.get("content-encoding").map(|it| it.to_str().unwrap()), &got[..]),
            (encoding, body.as_bytes())
        );
        assert_eq!(headers["vary"], "Accept-Encoding, Origin");
    }
}

#[tokio::test]
async fn rules_that_are_not_utf8_or_begin_with_a_mark_stop_nothing() {
    let files: &[(&str, &[u8])] = &[
        ("index.html", PAGE.as_bytes()),
        ("_headers", b"\xef\xbb\xbf/*\r\n X-All: 1\r\n# caf\xe9\r\n"),
        ("_redirects", b"# caf\xe9\n/old / 301\n"),
    ];
    let store = store(files).await;
    let options = SiteOptions::default().with_rules_of(&*store).await.unwrap();
    let lines = |warnings: &[isobar_site::RuleWarning]| warnings.iter().map(|it| it.line).collect::<Vec<_>>();
    assert_eq!((lines(options.headers.warnings()), lines(options.redirects.warnings())), (vec![3], vec![1]));
    let site = Site::new(store.clone(), options);
    let (status, headers, _) = ask(&site, "/old", &[]).await;
    assert_eq!((status, &headers["location"], &headers["x-all"]), (301, &"/".parse().unwrap(), &"1".parse().unwrap()));
    // A deploy works with them, too.
    let source = store as Arc<dyn ObjectStore>;
    let target = Arc::new(MemoryStore::new());
    let options = SiteOptions::default().with_deploys(true);
    let deploys = Deploys::new(target.clone() as Arc<dyn ObjectStore>, "");
    deploys.deploy(&*source, &DeployOptions::default()).await.unwrap();
    let (status, headers, _) = ask(&Site::new(target, options), "/old", &[]).await;
    assert_eq!((status, &headers["x-all"]), (301, &"1".parse().unwrap()));
}

#[tokio::test]
async fn every_value_of_a_page_header_is_sent() {
    let files: &[(&str, &[u8])] = &[("index.html", PAGE.as_bytes()), ("app.js", b"app()")];
    let mut page = HeaderMap::new();
    for (name, value) in [
        ("link", "</app.js>; rel=preload; as=script"),
        ("link", "</site.css>; rel=preload; as=style"),
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "b=2; Path=/"),
        ("x-frame-options", "DENY"),
    ] {
        page.append(name, value.parse().unwrap());
    }
    page.insert("x-opaque", http::HeaderValue::from_bytes(b"caf\xe9").unwrap());
    for cached in [false, true] {
        let site = Site::new(store(files).await, SiteOptions::default().with_page_headers(page.clone()));
        let site = if cached { site.with_cache(CacheOptions::default()) } else { site };
        for _ in 0..2 {
            let (status, headers, _) = ask(&site, "/", &[]).await;
            assert_eq!(status, 200);
            for name in page.keys() {
                assert!(headers.get_all(name).iter().eq(page.get_all(name)), "{name}: {headers:?}");
            }
            assert!(!ask(&site, "/app.js", &[]).await.1.contains_key("link"));
        }
    }
}

#[tokio::test]
async fn rules_are_read_again_and_invalid_ones_leave_the_earlier_in_force() {
    let files: &[(&str, &[u8])] = &[
        ("index.html", PAGE.as_bytes()),
        ("_headers", b"/*\n X-Rule: one\nold nonsense\n"),
        ("_redirects", b"/old / 301\n"),
    ];
    for cached in [false, true] {
        let store = store(files).await;
        let options = SiteOptions::default().with_rules_of(&*store).await.unwrap();
        let site = Site::new(store.clone(), options);
        let served = if cached { site.clone().with_cache(CacheOptions::default()) } else { site.clone() };
        let rule = async || ask(&served, "/", &[]).await.1.get("x-rule").map(|it| it.to_str().unwrap().to_owned());
        let write = async |name: &str, text: &str| {
            store.write(&Key::new(name).unwrap(), text.as_bytes().to_vec()).await.unwrap();
            // As between the copy of a file and the next reading of its rules.
            drop(ask(&served, "/", &[]).await);
        };
        assert_eq!(rule().await.as_deref(), Some("one"));
        // A line that was ignored before does not matter; rules by host come into force, too.
        write("_headers", "/*\n X-Rule: two\nold nonsense\nhttps://other.example/*\n X-Rule: other\n").await;
        let reloaded = site.reload_rules().await.unwrap();
        assert_eq!((reloaded.headers, reloaded.redirects), (vec![], vec![]));
        assert_eq!(rule().await.as_deref(), Some("two"));
        let (_, other, _) = ask(&served, "/", &[("host", "other.example")]).await;
        assert_eq!(other.get_all("x-rule").iter().count(), 2, "{other:?}");
        // Nor does a valid rule that a later one for its path replaces.
        write("_headers", "# a comment\n/*\n X-Rule: one\nold nonsense\n/*\n X-Rule: two\n").await;
        assert_eq!(site.reload_rules().await.unwrap().headers, []);
        assert_eq!(rule().await.as_deref(), Some("two"));
        // Each file for itself.
        write("_headers", "/*\n X-Rule: three\nnonsense\n").await;
        write("_redirects", "/old /new 302\n").await;
        let reloaded = site.reload_rules().await.unwrap();
        let lines: Vec<_> = reloaded.headers.iter().map(|it| (it.line, &*it.text)).collect();
        assert_eq!((lines, reloaded.redirects), (vec![(3, "nonsense")], vec![]));
        assert_eq!(rule().await.as_deref(), Some("two"));
        let (status, headers, _) = ask(&served, "/old", &[]).await;
        assert_eq!((status, &headers["location"]), (302, &"/new".parse().unwrap()));
        // Too long is an error, and no file is no rule.
        write("_headers", &"# long\n".repeat(2 << 20)).await;
        assert!(site.reload_rules().await.is_err());
        assert_eq!(rule().await.as_deref(), Some("two"));
        store.delete(&[Key::new("_headers").unwrap()]).await.unwrap();
        site.reload_rules().await.unwrap();
        assert_eq!(rule().await, None);
    }
}

/// Files with ids and dates in their names are not fingerprinted: they may change, and are gone when deleted.
#[tokio::test]
async fn only_fingerprinted_files_are_immutable_and_outlive_their_deploy() {
    const IMMUTABLE: &str = "public, max-age=31536000, immutable";
    let named = [
        "invoice-3f9a1c2b.pdf",
        "post-3f9a1c2b.html",
        "550e8400-e29b-41d4-a716-446655440000.html",
        "img/550e8400-e29b-41d4-a716-44665544abcd.png",
        "data.3f9a1c2b.json",
    ];
    let built = ["assets/app-3f9a1c2b.js", "css/site.0badc0de.css"];
    let all: Vec<(&str, &[u8])> = named.iter().chain(&built).map(|name| (*name, &b"old"[..])).collect();
    let target = Arc::new(MemoryStore::new());
    let deploys = Deploys::new(target.clone() as Arc<dyn ObjectStore>, "");
    let options = DeployOptions::default();
    deploys.deploy(&*store(&all).await, &options).await.unwrap();
    let served = |fingerprints| {
        let options = SiteOptions::default().with_deploys(true).with_fingerprints(fingerprints);
        Site::new(target.clone(), options.with_html_handling(isobar_site::HtmlHandling::None))
    };
    let by_name = served(Fingerprints::by_name());
    let none = served(Fingerprints::none());
    let globs = served(Fingerprints::globs(["*.pdf"]).unwrap());
    let told = async |site: &Site, name: &str| {
        let (status, headers, _) = ask(site, &format!("/{name}"), &[]).await;
        (status, headers.get("cache-control").is_some_and(|control| control == IMMUTABLE))
    };
    for name in named {
        assert_eq!(told(&by_name, name).await, (200, false), "{name}");
        assert_eq!(told(&globs, name).await, (200, name.ends_with(".pdf")), "{name}");
    }
    for name in built {
        assert_eq!((told(&by_name, name).await, told(&none, name).await), ((200, true), (200, false)), "{name}");
    }
    deploys.deploy(&*store(&[("index.html", b"new")]).await, &options).await.unwrap();
    for name in named {
        assert_eq!(told(&by_name, name).await.0, 404, "{name}");
        assert_eq!(told(&globs, name).await.0, if name.ends_with(".pdf") { 200 } else { 404 }, "{name}");
    }
    for name in built {
        assert_eq!((told(&by_name, name).await, told(&none, name).await.0), ((200, true), 404), "{name}");
    }
}

/// Each extension has the content type of the asset Worker.
#[tokio::test]
async fn every_type_of_the_asset_worker_is_served() {
    let table: Vec<(&str, &str)> = include_str!("../../../storage/src/content_types.tsv")
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .collect();
    let names: Vec<String> = table.iter().map(|(extension, _)| format!("x.{extension}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"a"[..])).collect();
    let site =
        Site::new(store(&files).await, SiteOptions::default().with_html_handling(isobar_site::HtmlHandling::None));
    for ((_, content_type), name) in table.iter().zip(&names) {
        let (status, headers, _) = ask(&site, &format!("/{name}"), &[]).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, *content_type), "{name}");
    }
}
