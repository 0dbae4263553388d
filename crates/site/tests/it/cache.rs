//! Tests of the cache: freshness, revalidation, and failures of the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt;
use isobar_site::{CacheOptions, CacheState, Purge, Redirects, Site, SiteBody, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Error, ErrorKind, Key, ObjectStore, ObjectStoreExt};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Returns a site with a cache, and its store.
async fn site(blind: bool, cache: CacheOptions) -> (Site, Arc<MockStore>) {
    let store = MockStore::new(MemoryStore::new());
    let store = Arc::new(if blind { store.without_generation() } else { store });
    store.write(&key("page.html"), "one").await.unwrap();
    store.write(&key("big.bin"), vec![7; 10_000]).await.unwrap();
    let options = SiteOptions::default().with_redirects(Redirects::parse("/old /page", Default::default()));
    (Site::new(Arc::clone(&store) as Arc<dyn ObjectStore>, options).with_cache(cache), store)
}

fn request(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

async fn told(answer: Response<SiteBody>) -> (u16, String, Option<CacheState>) {
    let state = answer.extensions().get().copied();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned(), state)
}

async fn get(site: &Site, path: &str) -> (u16, String, Option<CacheState>) {
    told(site.respond(&request(path)).await).await
}

/// Sends 50 concurrent requests, the first of which is held in the store. Returns their answers.
async fn ask_together(
    site: &Site,
    path: &'static str,
    held: isobar_testkit::Release,
) -> Vec<(u16, String, Option<CacheState>)> {
    let asking = join_all((0..50).map(|_| {
        let site = site.clone();
        tokio::spawn(async move { get(&site, path).await })
    }));
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        held.release();
    };
    let (answers, ()) = tokio::join!(asking, release);
    answers.into_iter().map(|answer| answer.unwrap()).collect()
}

fn failure() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is away")
}

#[tokio::test]
async fn writes_are_visible_at_once() {
    let (site, store) = site(false, CacheOptions::default()).await;
    assert_eq!(get(&site, "/page").await, (200, "one".into(), Some(CacheState::Miss)));
    let asked = store.script().calls().len();
    assert_eq!(get(&site, "/page").await, (200, "one".into(), Some(CacheState::Hit)));
    assert_eq!(told(site.ready_answer(&request("/page"), None).unwrap()).await.2, Some(CacheState::Hit));
    assert_eq!(store.script().calls().len(), asked, "nobody was asked");
    // After a write of another object the page is revalidated without reading it.
    store.write(&key("other"), "x").await.unwrap();
    let read = store.script().count("get");
    assert!(site.ready_answer(&request("/page"), None).is_none());
    assert_eq!(get(&site, "/page").await, (200, "one".into(), Some(CacheState::Revalidated)));
    assert_eq!(store.script().count("get"), read);
    store.write(&key("page.html"), "two").await.unwrap();
    assert_eq!(get(&site, "/page").await, (200, "two".into(), Some(CacheState::Miss)));
    store.delete(&[key("page.html")]).await.unwrap();
    assert_eq!(get(&site, "/page").await.0, 404);
    assert_eq!(get(&site, "/page").await.2, Some(CacheState::Hit), "that there is nothing is kept, too");
    // A new file that takes precedence is found, too.
    store.write(&key("page"), "three").await.unwrap();
    assert_eq!(get(&site, "/page").await.1, "three");
}

#[tokio::test]
async fn store_without_generation_is_revalidated() {
    let times = CacheOptions::default()
        .with_fresh_for(Duration::from_millis(100))
        .with_stale_while_revalidate(Duration::from_millis(400))
        .with_stale_if_error(Duration::from_secs(5));
    let (site, store) = site(true, times).await;
    assert_eq!(get(&site, "/page").await.1, "one");
    store.write(&key("page.html"), "two").await.unwrap();
    assert_eq!(get(&site, "/page").await, (200, "one".into(), Some(CacheState::Hit)));
    tokio::time::sleep(Duration::from_millis(120)).await;
    // One request revalidates; others do not wait.
    let held = store.script().hold_next("head");
    let asking = tokio::spawn({
        let site = site.clone();
        async move { get(&site, "/page").await }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(get(&site, "/page").await, (200, "one".into(), Some(CacheState::Stale)));
    held.release();
    assert_eq!(asking.await.unwrap(), (200, "two".into(), Some(CacheState::Miss)));
    // The site stays available while the store fails.
    tokio::time::sleep(Duration::from_millis(120)).await;
    for _ in 0..2 {
        store.script().fail_next("head", failure());
    }
    assert_eq!(get(&site, "/page").await, (200, "two".into(), Some(CacheState::Stale)));
    assert_eq!(get(&site, "/page").await.2, Some(CacheState::Revalidated));
    // A purged answer is read again, also if it is fresh.
    store.write(&key("page.html"), "three").await.unwrap();
    assert_eq!(get(&site, "/page").await.1, "two");
    site.purge(Purge::Prefix("/other"));
    assert_eq!(get(&site, "/page").await.1, "three", "others are looked at again");
    site.purge(Purge::Prefix("/"));
    assert_eq!(get(&site, "/page").await, (200, "three".into(), Some(CacheState::Miss)));
}

#[tokio::test]
async fn concurrent_requests_coalesce_into_one_read() {
    let (site, store) = site(false, CacheOptions::default()).await;
    let held = store.script().hold_next("get");
    let read = store.script().count("get");
    let answers = ask_together(&site, "/page", held).await;
    assert!(answers.into_iter().all(|answer| answer.1 == "one"));
    assert_eq!(store.script().count("get"), read + 1);
    // A changed file is read again, too.
    store.write(&key("page.html"), "two").await.unwrap();
    let held = store.script().hold_next("get");
    let read = store.script().count("get");
    let answers = ask_together(&site, "/page", held).await;
    assert!(answers.into_iter().all(|answer| answer.1 == "two"));
    assert_eq!(store.script().count("get"), read + 1);
}

#[tokio::test]
async fn waiting_requests_get_the_failure() {
    let (site, store) = site(false, CacheOptions::default()).await;
    let held = store.script().hold_next("head");
    for _ in 0..2 {
        store.script().fail_next("head", failure());
    }
    let asked = store.script().count("head");
    let answers = ask_together(&site, "/none", held).await;
    assert!(answers.into_iter().all(|answer| answer.0 == 503));
    assert!(store.script().count("head") <= asked + 4, "each would have asked by itself");
    assert_eq!(get(&site, "/none").await.0, 404);
}

#[tokio::test]
async fn navigations_and_scripts_have_separate_entries() {
    use isobar_site::NotFoundHandling;
    let store = Arc::new(MemoryStore::new());
    store.write(&key("index.html"), "the app").await.unwrap();
    let options = SiteOptions::default().with_not_found_handling(NotFoundHandling::SinglePageApplication);
    let site = Site::new(store as Arc<dyn ObjectStore>, options).with_cache(CacheOptions::default());
    for _ in 0..2 {
        for (destination, status) in [(None, 404), (Some("document"), 200), (Some("script"), 404)] {
            let mut request = request("/foo%2Ejs");
            if let Some(destination) = destination {
                request.headers_mut().insert("sec-fetch-dest", destination.parse().unwrap());
            }
            let answer = site.respond(&request).await;
            // The path is not canonical, so it redirects.
            let want = if status == 200 { 307 } else { status };
            assert_eq!(answer.status().as_u16(), want, "{destination:?}");
            *request.uri_mut() = "/foo.js".parse().unwrap();
            let answer = site.respond(&request).await;
            assert_eq!(answer.status().as_u16(), status, "{destination:?}");
            assert!(answer.headers()["vary"].to_str().unwrap().contains("Sec-Fetch-Dest"), "{destination:?}");
        }
    }
}

#[tokio::test]
async fn failures_are_not_cached() {
    let (site, store) = site(false, CacheOptions::default()).await;
    store.script().fail_next("head", Error::new(ErrorKind::Internal, "broken"));
    assert_eq!(get(&site, "/page").await.0, 500);
    assert_eq!(get(&site, "/page").await.1, "one");
}

#[tokio::test]
async fn large_bodies_and_redirects_with_a_query_are_not_cached() {
    let (site, store) = site(false, CacheOptions::default().with_max_object_bytes(5000)).await;
    for round in 1..3 {
        let answer = site.respond(&request("/big.bin")).await;
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 10_000);
        assert_eq!(store.script().count("get"), round);
    }
    for query in ["", "?a=b", "?c=d", ""] {
        let answer = site.respond(&request(&format!("/old{query}"))).await;
        assert_eq!(answer.headers()["location"].to_str().unwrap(), format!("/page{query}"));
    }
    // A query does not change the answer of a file.
    assert_eq!(get(&site, "/page?a=b").await.2, Some(CacheState::Miss));
    assert_eq!(get(&site, "/page").await.2, Some(CacheState::Hit));
    // A request with credentials has other headers.
    let mut private = request("/page");
    private.headers_mut().insert("authorization", "x".parse().unwrap());
    assert!(!site.respond(&private).await.headers().contains_key("cache-control"));
}

#[tokio::test]
async fn memory_stays_within_its_bound() {
    let store = Arc::new(MemoryStore::new());
    for number in 0..200 {
        store.write(&key(&format!("{number}.bin")), vec![0; 100_000]).await.unwrap();
    }
    let bound = CacheOptions::default().with_max_bytes(2_000_000);
    let site = Site::new(Arc::clone(&store) as Arc<dyn ObjectStore>, SiteOptions::default()).with_cache(bound);
    for number in 0..200 {
        assert_eq!(get(&site, &format!("/{number}.bin")).await.0, 200);
    }
    let kept = join_all((0..200).map(|number| {
        let site = site.clone();
        async move { site.ready_answer(&request(&format!("/{number}.bin")), None).is_some() }
    }));
    let kept = kept.await.into_iter().filter(|kept| *kept).count();
    assert!((5..=20).contains(&kept), "{kept} of 100 kB each in 2 MB");
}

#[tokio::test]
async fn files_without_variant_are_compressed_once_with_their_own_etag() {
    let (site, store) = site(false, CacheOptions::default()).await;
    let css = "body { color: red }\n".repeat(500);
    store.write(&key("long.css"), css.clone()).await.unwrap();
    let mut noise = vec![0; 20_000];
    isobar_base::random::fill(&mut noise).unwrap();
    store.write(&key("noise.txt"), noise).await.unwrap();
    let asked = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, body) = site.respond(&request.body(()).unwrap()).await.into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    };
    let (plain, body) = asked("/long.css", &[]).await;
    assert_eq!((plain.headers.get("content-encoding"), body.len()), (None, css.len()));
    let mut etags = vec![plain.headers["etag"].clone()];
    for (accepted, encoding) in [("gzip", "gzip"), ("gzip, zstd", "zstd"), ("gzip, br, zstd;q=0.5", "br")] {
        let (parts, body) = asked("/long.css", &[("accept-encoding", accepted)]).await;
        let token = &parts.headers["content-encoding"];
        let vary = &parts.headers["vary"];
        assert_eq!((token.to_str().unwrap(), vary.to_str().unwrap()), (encoding, "Accept-Encoding"));
        assert!(body.len() < css.len() / 10, "{encoding}: {}", body.len());
        let mut decoded = String::new();
        let mut decoder: Box<dyn std::io::Read> = match encoding {
            "gzip" => Box::new(flate2::read::GzDecoder::new(&body[..])),
            "zstd" => Box::new(zstd::Decoder::new(&body[..]).unwrap()),
            _ => Box::new(brotli::Decompressor::new(&body[..], 4096)),
        };
        decoder.read_to_string(&mut decoded).unwrap();
        assert_eq!(decoded, css, "{encoding}");
        assert!(!etags.contains(&parts.headers["etag"]), "each encoding has an etag of its own");
        etags.push(parts.headers["etag"].clone());
    }
    let (parts, body) = asked("/long.css", &[("accept-encoding", "gzip")]).await;
    let etag = parts.headers["etag"].to_str().unwrap().to_owned();
    assert_ne!(etag, plain.headers["etag"].to_str().unwrap());
    // An ETag of one encoding does not match another.
    let again = async |encoding: &str| {
        asked("/long.css", &[("accept-encoding", encoding), ("if-none-match", &etag)]).await.0.status.as_u16()
    };
    assert_eq!((again("gzip").await, again("identity").await), (304, 200));
    let (part, bytes) = asked("/long.css", &[("accept-encoding", "gzip"), ("range", "bytes=2-5")]).await;
    assert_eq!((part.status.as_u16(), &bytes[..]), (206, &body[2..6]));
    let (refused, _) = asked("/long.css", &[("accept-encoding", "gzip;q=0")]).await;
    assert!(!refused.headers.contains_key("content-encoding"));
    // A file that does not shrink is not compressed, and an unchanged one is not compressed again.
    assert!(!asked("/noise.txt", &[("accept-encoding", "gzip")]).await.0.headers.contains_key("content-encoding"));
    store.write(&key("other"), "x").await.unwrap();
    let read = store.script().count("get");
    assert_eq!(asked("/long.css", &[("accept-encoding", "gzip")]).await.1, body);
    assert_eq!(store.script().count("get"), read);
}
