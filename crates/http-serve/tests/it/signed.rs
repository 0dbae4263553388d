//! Signed URLs: who has one may do what it says, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use chrono::Utc;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use isobar_http_serve::{App, signed_objects};
use isobar_storage::local::{LocalOptions, LocalStore};
use isobar_storage::signed::Signer;
use isobar_storage::{ErrorKind, Key, ObjectStore, ObjectStoreExt, PresignMethod, PresignOptions};
use tower::ServiceExt;

struct World {
    store: LocalStore,
    router: Router,
    _folder: tempfile::TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let secret = LocalStore::signing_secret(folder.path()).await.unwrap();
    assert_eq!(LocalStore::signing_secret(folder.path()).await.unwrap(), secret, "it is kept");
    let signer = Signer::new("http://here/r2/assets", secret).unwrap();
    let options = LocalOptions::default().with_signer(signer.clone());
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    let router = App::new().nest("/r2/assets", signed_objects(Arc::new(store.clone()), signer)).into_router();
    World { store, router, _folder: folder }
}

impl World {
    async fn url(&self, key: &str, method: PresignMethod) -> String {
        let options = PresignOptions::new(Key::new(key).unwrap(), method, Duration::from_secs(60));
        self.store.presign(options).await.unwrap()
    }

    async fn ask(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> (u16, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(url.trim_start_matches("http://here"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[tokio::test]
async fn an_object_is_written_and_read_by_signed_urls() {
    let world = world().await;
    assert!(world.store.capabilities().presign);
    let key = "a b/ü 100%?.txt";
    let put = world.url(key, PresignMethod::Put).await;
    let headers = [("content-length", "5"), ("content-type", "text/x-mine"), ("cache-control", "max-age=7")];
    let (status, answer, text) = world.ask("PUT", &put, &headers, "hello").await;
    assert_eq!(status, 200, "{text}");
    let meta = world.store.head(&Key::new(key).unwrap()).await.unwrap().unwrap();
    assert_eq!(answer["etag"], meta.http_etag());
    assert_eq!(meta.http.cache_control.as_deref(), Some("max-age=7"));
    let get = world.url(key, PresignMethod::Get).await;
    let (status, answer, text) = world.ask("GET", &get, &[("range", "bytes=1-2")], "").await;
    assert_eq!((status, &text[..], &answer["content-type"]), (206, "el", &"text/x-mine".parse().unwrap()));
    let (status, answer, text) = world.ask("HEAD", &get, &[], "").await;
    assert_eq!((status, &text[..], &answer["content-length"]), (200, "", &"5".parse().unwrap()));
    let fresh = [("if-none-match", meta.http_etag())];
    assert_eq!(world.ask("GET", &get, &[("if-none-match", &fresh[0].1)], "").await.0, 304);
}

#[tokio::test]
async fn a_signed_url_opens_its_own_object_alone() {
    let world = world().await;
    for name in ["docs.html", "docs/index.html", "404.html", "/a", "a//b", ".env", "end/"] {
        world.store.write(&Key::new(name).unwrap(), name).await.unwrap();
    }
    for name in ["docs/index.html", "/a", "a//b", ".env", "end/"] {
        let (status, headers, text) = world.ask("GET", &world.url(name, PresignMethod::Get).await, &[], "").await;
        assert_eq!((status, &text[..], &headers["cache-control"]), (200, name, &"private".parse().unwrap()));
    }
    for name in ["docs", "docs/", "a/b", "a"] {
        let (status, _, text) = world.ask("GET", &world.url(name, PresignMethod::Get).await, &[], "").await;
        assert!(status == 404 && text.contains("there is no such object"), "{name}: {status} {text}");
    }
    let url = world.url("docs.html", PresignMethod::Get).await;
    assert_eq!(world.ask("GET", &url, &[("if-match", "\"other\"")], "").await.0, 412);
    assert_eq!(world.ask("GET", &url, &[("if-modified-since", "Sat, 01 Jan 2180 00:00:00 GMT")], "").await.0, 304);
}

#[tokio::test]
async fn a_misused_signed_url_is_refused_with_the_reason() {
    let world = world().await;
    world.store.write(&Key::new("a").unwrap(), "a").await.unwrap();
    let get = world.url("a", PresignMethod::Get).await;
    let put = world.url("a", PresignMethod::Put).await;
    let sized = [("content-length", "1")];
    let refused = [
        ("GET", "http://here/r2/assets/a".to_owned()),
        ("GET", put.clone()),
        ("PUT", get.clone()),
        ("GET", get.replace("/a?", "/b?")),
        ("GET", get.replace("expires=", "expires=9")),
        ("PUT", put.replace("/a?", "/b?")),
    ];
    for (method, url) in &refused {
        let (status, _, text) = world.ask(method, url, &sized, "b").await;
        assert!(status == 403 && text.contains("the URL is"), "{method} {url}: {status} {text}");
    }
    assert_eq!(world.ask("DELETE", &get, &[], "").await.0, 405);
    assert_eq!(world.ask("GET", &world.url("none", PresignMethod::Get).await, &[], "").await.0, 404);
    assert_eq!(world.ask("PUT", &put, &[], "b").await.0, 411);
    assert_eq!(world.ask("PUT", &put, &[("content-length", "2")], "b").await.0, 400, "it broke off");
    assert_eq!(world.ask("PUT", &put, &[("content-length", "1"), ("if-none-match", "*")], "b").await.0, 412);
    assert_eq!(world.ask("PUT", &put, &[("content-length", "1"), ("if-match", "odd")], "b").await.0, 400);
    let wrong = [("content-length", "1"), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    let (status, _, text) = world.ask("PUT", &put, &wrong, "b").await;
    assert!(status == 400 && text.contains("10037"), "{text}");
    assert_eq!(world.store.read(&Key::new("a").unwrap()).await.unwrap().unwrap().1, "a", "nothing was written");
    let over = Signer::new("http://here/r2/assets", [1; 32]).unwrap();
    let options = PresignOptions::new(Key::new("a").unwrap(), PresignMethod::Get, Duration::from_secs(1));
    let foreign = over.sign(&options, Utc::now()).unwrap();
    assert_eq!(world.ask("GET", &foreign, &[], "").await.0, 403);
    let plain = LocalStore::open(tempfile::tempdir().unwrap().path()).await.unwrap();
    assert_eq!(plain.presign(options).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
