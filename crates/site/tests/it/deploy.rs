//! Tests of deploys: deploying, rolling back and pruning, as seen by a site.

use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use isobar_site::{CacheOptions, DeployOptions, Deploys, Purge, Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Error, ErrorKind, Key, ListOptions, ObjectStore, ObjectStoreExt};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn source(files: &[(&str, &str)]) -> MemoryStore {
    let store = MemoryStore::new();
    for (name, body) in files {
        store.write(&key(name), (*body).to_owned()).await.unwrap();
    }
    store
}

/// Returns a store without deploys, and its deploys.
fn empty() -> (Arc<MockStore>, Deploys) {
    let store = Arc::new(MockStore::new(MemoryStore::new()));
    (Arc::clone(&store), Deploys::new(store as Arc<dyn ObjectStore>, "s"))
}

fn site(store: &Arc<MockStore>, cached: bool) -> Site {
    let store = Arc::clone(store) as Arc<dyn ObjectStore>;
    let site = Site::new(store, SiteOptions::default().with_prefix("s").with_deploys(true));
    if cached { site.with_cache(CacheOptions::default()) } else { site }
}

async fn deploy(deploys: &Deploys, files: &[(&str, &str)]) -> String {
    deploys.deploy(&source(files).await, &DeployOptions::default()).await.unwrap().deploy.id
}

async fn told(site: &Site, path: &str) -> (u16, String, http::HeaderMap) {
    let (parts, body) = site.respond(&Request::get(path).body(()).unwrap()).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned(), parts.headers)
}

async fn get(site: &Site, path: &str) -> (u16, String) {
    let (status, body, _) = told(site, path).await;
    (status, body)
}

async fn keys(store: &MockStore) -> Vec<String> {
    store.list_all(ListOptions::default()).map_ok(|meta| meta.key.to_string()).try_collect().await.unwrap()
}

const ONE: &[(&str, &str)] = &[
    ("index.html", "one <script src=app-3f9a1c2b.js>"),
    ("app-3f9a1c2b.js", "one()"),
    ("same.css", "body {}"),
    ("copy.css", "body {}"),
    ("gone.txt", "gone"),
    ("_headers", "/*\n  X-Deploy: one"),
    ("_redirects", "/old /same.css 301"),
];
const TWO: &[(&str, &str)] = &[
    ("index.html", "two <script src=app-0badc0de.js>"),
    ("app-0badc0de.js", "two()"),
    ("same.css", "body {}"),
    ("_headers", "/*\n  X-Deploy: two"),
];

#[tokio::test]
async fn deploy_is_served_atomically() {
    for cached in [false, true] {
        let (store, deploys) = empty();
        store.write(&key("s/index.html"), "a plain key").await.unwrap();
        let site = site(&store, cached);
        assert_eq!(get(&site, "/").await, (200, "a plain key".into()));
        assert_eq!(get(&site, "/same.css").await.0, 404);

        let first = deploy(&deploys, ONE).await;
        let (status, body, headers) = told(&site, "/").await;
        assert_eq!((status, body.as_str(), &headers["x-deploy"]), (200, ONE[0].1, &"one".parse().unwrap()));
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        let (status, _, headers) = told(&site, "/old").await;
        assert_eq!((status, &headers["location"]), (301, &"/same.css".parse().unwrap()));
        assert_eq!(told(&site, "/same.css").await.2["x-deploy"], "one");
        assert_eq!(get(&site, "/_headers").await.0, 404);
        assert_eq!(get(&site, "/.deploy/current.json").await.0, 404);

        let second = deploy(&deploys, TWO).await;
        let (_, body, headers) = told(&site, "/").await;
        assert_eq!((body.as_str(), &headers["x-deploy"]), (TWO[0].1, &"two".parse().unwrap()));
        // An open page finds its script; deleted files and their redirects are gone.
        assert_eq!(get(&site, "/app-3f9a1c2b.js").await, (200, "one()".into()));
        assert_eq!(get(&site, "/app-0badc0de.js").await, (200, "two()".into()));
        assert_eq!((get(&site, "/gone.txt").await.0, get(&site, "/old").await.0), (404, 404));
        // An unchanged file has the new rules.
        assert_eq!(told(&site, "/same.css").await.2["x-deploy"], "two");

        let list = deploys.list().await.unwrap();
        let shown: Vec<_> = list.iter().map(|deploy| (&deploy.id, deploy.is_current, deploy.files)).collect();
        assert_eq!(shown, [(&second, true, 3), (&first, false, 5)]);

        assert_eq!(deploys.rollback(None).await.unwrap().id, first);
        let (_, body, headers) = told(&site, "/").await;
        assert_eq!((body.as_str(), &headers["x-deploy"]), (ONE[0].1, &"one".parse().unwrap()));
        assert_eq!(told(&site, "/same.css").await.2["x-deploy"], "one");
        // A page opened during the newer deploy finds its script, too.
        assert_eq!(get(&site, "/app-0badc0de.js").await, (200, "two()".into()));
        assert_eq!((get(&site, "/gone.txt").await.0, get(&site, "/old").await.0), (200, 301));
        assert_eq!(deploys.rollback(Some(&second)).await.unwrap().id, second);
        assert_eq!(get(&site, "/").await.1, TWO[0].1);
    }
}

#[tokio::test]
async fn each_content_is_uploaded_once_and_a_file_that_stays_keeps_its_date() {
    let (store, deploys) = empty();
    let options = DeployOptions::default().with_message(Some("the first"));
    let first = deploys.deploy(&source(ONE).await, &options).await.unwrap();
    assert_eq!((first.uploaded, first.deploy.message.as_deref()), (4, Some("the first")), "two files are the same");
    let objects = |keys: &[String]| keys.iter().filter(|key| key.contains("/objects/")).count();
    assert_eq!(objects(&keys(&store).await), 4);
    let site = site(&store, false);
    let before = told(&site, "/same.css").await.2;

    let again = deploys.deploy(&source(ONE).await, &DeployOptions::default()).await.unwrap();
    assert!(again.is_unchanged && again.deploy.id == first.deploy.id && again.uploaded == 0);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let second = deploys.deploy(&source(TWO).await, &DeployOptions::default()).await.unwrap();
    assert_eq!((second.uploaded, second.is_unchanged), (2, false));
    let after = told(&site, "/same.css").await.2;
    assert_eq!((&after["etag"], &after["last-modified"]), (&before["etag"], &before["last-modified"]));
    assert_ne!(told(&site, "/").await.2["last-modified"], before["last-modified"]);
}

#[tokio::test]
async fn immutable_files_outlive_their_deploy() {
    let (store, deploys) = empty();
    let immutable = DeployOptions::default().with_immutable(&|name| name.starts_with("assets/"));
    deploys.deploy(&source(&[("index.html", "1"), ("assets/index-DiwrgTda.js", "a")]).await, &immutable).await.unwrap();
    deploys.deploy(&source(&[("index.html", "2"), ("assets/index-CoqwAbpz.js", "b")]).await, &immutable).await.unwrap();
    let site = site(&store, false);
    for (name, body) in [("/assets/index-DiwrgTda.js", "a"), ("/assets/index-CoqwAbpz.js", "b")] {
        let (status, told, headers) = told(&site, name).await;
        assert_eq!((status, told.as_str()), (200, body));
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
    }
    // Files of the current deploy only.
    let none = immutable.with_retain(0);
    deploys.deploy(&source(&[("index.html", "3"), ("assets/index-CoqwAbpz.js", "b")]).await, &none).await.unwrap();
    assert_eq!(get(&site, "/assets/index-DiwrgTda.js").await.0, 404);
}

#[tokio::test]
async fn pruning_keeps_served_files_and_deletes_the_others() {
    let (store, deploys) = empty();
    let first = deploy(&deploys, ONE).await;
    let mut ids = vec![first.clone()];
    for number in 0..4 {
        ids.push(deploy(&deploys, &[("index.html", &format!("page {number}")), ("same.css", "body {}")]).await);
    }
    // A leftover of a failed deploy.
    store.write(&key("s/.deploy/objects/0123"), "lost").await.unwrap();
    deploys.rollback(Some(&first)).await.unwrap();
    let pruned = deploys.prune(2).await.unwrap();
    assert_eq!(pruned.deploys, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(pruned.objects, 2 + 2 + 1, "two pages, two manifests, what was lost");
    let left = deploys.list().await.unwrap();
    assert_eq!(
        left.iter().map(|deploy| deploy.id.clone()).collect::<Vec<_>>(),
        [&ids[4], &ids[3], &ids[0]].map(Clone::clone)
    );
    let site = site(&store, false);
    for (path, body) in [("/", ONE[0].1), ("/same.css", "body {}"), ("/gone.txt", "gone")] {
        assert_eq!(get(&site, path).await, (200, body.into()));
    }
    for id in &ids[3..] {
        deploys.rollback(Some(id)).await.unwrap();
        assert_eq!(get(&site, "/same.css").await.0, 200);
    }
    let gone = deploys.rollback(Some(&ids[1])).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::InvalidArgument);
    assert!(gone.message().contains("there is no deploy"), "{gone}");
    assert_eq!(deploys.prune(0).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(deploys.prune(1).await.unwrap().deploys.len() == 2);
    assert_eq!(deploys.prune(1).await.unwrap().objects, 0);
}

#[tokio::test]
async fn concurrent_deploys_are_complete_and_one_is_served() {
    let (store, deploys) = empty();
    let deployed = join_all((0..8).map(|number| {
        let deploys = deploys.clone();
        tokio::spawn(async move {
            let body = format!("page {number}");
            let files = source(&[("index.html", &body), ("a.css", &format!("a{number}")), ("b.css", "b")]).await;
            deploys.deploy(&files, &DeployOptions::default()).await.unwrap().deploy.id
        })
    }));
    let looks_on = async {
        let site = site(&store, false);
        for _ in 0..200 {
            let (status, page) = get(&site, "/").await;
            // Each file is from the deploy at the time of its request.
            assert!(status == 404 || page.starts_with("page "), "{status} {page}");
            tokio::task::yield_now().await;
        }
    };
    let (ids, ()) = tokio::join!(deployed, looks_on);
    let ids: Vec<String> = ids.into_iter().map(|id| id.unwrap()).collect();
    let list = deploys.list().await.unwrap();
    assert_eq!(list.len(), 8);
    assert_eq!(list.iter().filter(|deploy| deploy.is_current).count(), 1);
    let site = site(&store, true);
    for (number, id) in ids.iter().enumerate() {
        deploys.rollback(Some(id)).await.unwrap();
        assert_eq!(get(&site, "/").await.1, format!("page {number}"));
        assert_eq!(get(&site, "/a.css").await.1, format!("a{number}"));
    }
}

#[tokio::test]
async fn pruning_during_a_deploy_loses_nothing() {
    let (store, deploys) = empty();
    deploy(&deploys, TWO).await;
    deploy(&deploys, ONE).await;
    // A deploy needs objects that only the first deploy has, and is held before it writes the pointer.
    let held = store.script().hold_next("put");
    let three: &[(&str, &str)] = &[("index.html", "three"), ("app-0badc0de.js", "two()")];
    let deploying = tokio::spawn({
        let deploys = deploys.clone();
        async move { deploy(&deploys, three).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(deploys.prune(1).await.unwrap().objects, 3, "page, script and manifest of the first");
    held.release();
    deploying.await.unwrap();
    let site = site(&store, false);
    assert_eq!(get(&site, "/").await, (200, "three".into()));
    assert_eq!(get(&site, "/app-0badc0de.js").await, (200, "two()".into()));
    // A pruning blocks others, for a limited time.
    let mut pointer = pointer(&store).await;
    pointer["pruning_until"] = "2100-01-01T00:00:00Z".into();
    write_pointer(&store, &pointer).await;
    let files = source(ONE).await;
    for refused in [
        deploys.deploy(&files, &DeployOptions::default()).await.unwrap_err(),
        deploys.rollback(None).await.unwrap_err(),
        deploys.prune(1).await.unwrap_err(),
    ] {
        assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Unavailable, true), "{refused}");
    }
    pointer["pruning_until"] = "2000-01-01T00:00:00Z".into();
    write_pointer(&store, &pointer).await;
    deploys.deploy(&files, &DeployOptions::default()).await.unwrap();
}

async fn pointer(store: &MockStore) -> serde_json::Value {
    let (_, bytes) = store.read(&key("s/.deploy/current.json")).await.unwrap().unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn write_pointer(store: &MockStore, pointer: &serde_json::Value) {
    store.write(&key("s/.deploy/current.json"), pointer.to_string()).await.unwrap();
}

#[tokio::test]
async fn failed_deploy_leaves_the_site_unchanged() {
    // Each write may fail: two files, the manifest, the pointer.
    for nth in 0..4 {
        let (store, deploys) = empty();
        deploy(&deploys, ONE).await;
        let site = site(&store, false);
        (0..nth).for_each(|_| store.script().delay_next("put", std::time::Duration::ZERO));
        store.script().fail_next("put", Error::new(ErrorKind::Internal, "the disk is full"));
        let failed = deploys.deploy(&source(TWO).await, &DeployOptions::default()).await.unwrap_err();
        assert!(failed.to_string().contains("the disk is full"), "{failed}");
        assert_eq!(get(&site, "/").await.1, ONE[0].1, "put {nth}");
        deploy(&deploys, TWO).await;
        assert_eq!(get(&site, "/").await.1, TWO[0].1);
    }
}

#[tokio::test]
async fn damaged_or_newer_data_is_reported() {
    let (store, deploys) = empty();
    assert!(deploys.list().await.unwrap().is_empty());
    assert_eq!(deploys.rollback(None).await.unwrap_err().message(), "nothing has been deployed here");
    let nothing = deploys.deploy(&source(&[("_headers", "")]).await, &DeployOptions::default()).await.unwrap_err();
    assert_eq!(nothing.message(), "there are no files to deploy");

    let first = deploy(&deploys, ONE).await;
    let only = deploys.rollback(None).await.unwrap_err();
    assert_eq!(only.message(), format!("there is no deploy before {first}"));
    let manifest = key(&format!("s/.deploy/manifests/{first}.json"));
    let (_, bytes) = store.read(&manifest).await.unwrap().unwrap();
    deploy(&deploys, TWO).await;
    store.write(&manifest, String::from_utf8_lossy(&bytes).replace("same.css", "evil.css")).await.unwrap();
    let damaged = deploys.rollback(Some(&first)).await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Corrupt);
    assert!(damaged.message().contains("the sha256 does not match"), "{damaged}");
    store.write(&manifest, bytes).await.unwrap();
    let object = keys(&store).await.into_iter().find(|key| key.contains("/objects/")).unwrap();
    store.delete(&[key(&object)]).await.unwrap();
    let missing = deploys.rollback(Some(&first)).await.unwrap_err();
    let is_in_first = missing.message().contains("is missing from the store");
    assert!(is_in_first, "{missing}");

    let mut newer = pointer(&store).await;
    newer["version"] = 2.into();
    write_pointer(&store, &newer).await;
    let refused = deploys.list().await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Corrupt && refused.message().contains("a newer isobar"), "{refused}");
    assert_eq!(get(&site(&store, true), "/").await.0, 500);
}

#[tokio::test]
async fn store_without_generation_shows_a_deploy_within_a_second() {
    let store = Arc::new(MockStore::new(MemoryStore::new()).without_generation());
    let deploys = Deploys::new(Arc::clone(&store) as Arc<dyn ObjectStore>, "s/");
    let site = site(&store, true);
    deploy(&deploys, ONE).await;
    assert_eq!(get(&site, "/").await.1, ONE[0].1);
    deploy(&deploys, TWO).await;
    assert_eq!(get(&site, "/").await.1, ONE[0].1);
    site.purge(Purge::Deploy);
    assert_eq!(get(&site, "/").await.1, TWO[0].1);
    deploys.rollback(None).await.unwrap();
    // No other request is in flight, so this one reads the pointer.
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    assert_eq!(get(&site, "/").await.1, ONE[0].1);
}

#[tokio::test]
async fn conformance_kit_passes_in_memory() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    isobar_site::conformance::run(async || Arc::clone(&store)).await.assert_green();
}

#[tokio::test]
async fn deploying_again_restores_lost_objects() {
    let (store, deploys) = empty();
    let first = deploy(&deploys, ONE).await;
    let object = keys(&store).await.into_iter().find(|key| key.contains("/objects/")).unwrap();
    store.delete(&[key(&object)]).await.unwrap();
    let again = deploys.deploy(&source(ONE).await, &DeployOptions::default()).await.unwrap();
    assert_eq!((again.is_unchanged, again.uploaded, again.deploy.id), (true, 1, first.clone()));
    assert!(keys(&store).await.contains(&object));
    // A missing manifest does not affect the other deploys.
    store.delete(&[key(&format!("s/.deploy/manifests/{first}.json"))]).await.unwrap();
    let site = site(&store, true);
    assert_eq!(get(&site, "/").await.0, 500);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert_ne!(deploy(&deploys, ONE).await, first);
    assert_eq!(get(&site, "/").await, (200, ONE[0].1.into()));
    // Files of the earlier deploy are missing, and only those.
    assert_eq!(get(&site, "/favicon.ico").await.0, 404);
}

#[tokio::test]
async fn rolled_back_page_is_not_reported_as_unmodified() {
    for cached in [false, true] {
        let (store, deploys) = empty();
        deploy(&deploys, ONE).await;
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        deploy(&deploys, TWO).await;
        let site = site(&store, cached);
        let newer = told(&site, "/").await.2["last-modified"].clone();
        let since = async |date: &http::HeaderValue| {
            let request = Request::get("/").header("if-modified-since", date.clone()).body(()).unwrap();
            site.respond(&request).await.status().as_u16()
        };
        assert_eq!(since(&newer).await, 304);
        deploys.rollback(None).await.unwrap();
        assert_eq!(since(&newer).await, 200, "it is another page now");
        let older = told(&site, "/").await.2["last-modified"].clone();
        assert_eq!(since(&older).await, 304);
    }
}

#[tokio::test]
async fn rollback_replaces_the_deploy_that_was_current() {
    let (store, deploys) = empty();
    let good = deploy(&deploys, ONE).await;
    deploy(&deploys, TWO).await;
    // A third deploy comes between the rollback's read and its swap: neither is it rolled back, nor does the second return.
    let held = store.script().hold_next("put");
    let rolling = tokio::spawn({
        let deploys = deploys.clone();
        async move { deploys.rollback(None).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let third = deploy(&deploys, &[("index.html", "three")]).await;
    held.release();
    let refused = rolling.await.unwrap().unwrap_err();
    assert!(refused.message().contains("the current deploy has changed meanwhile"), "{refused}");
    assert_eq!(deploys.list().await.unwrap()[0].id, third);
    assert!(deploys.list().await.unwrap()[0].is_current);
    assert_eq!(deploys.rollback(Some(&good)).await.unwrap().id, good);
}

#[tokio::test]
async fn last_deploy_is_served_while_the_store_fails() {
    // The lower mock fails the call that the upper one has held.
    let fails = MockStore::new(MemoryStore::new());
    let store = Arc::new(MockStore::new(fails.clone()).without_generation());
    let deploys = Deploys::new(Arc::clone(&store) as Arc<dyn ObjectStore>, "s/");
    deploy(&deploys, ONE).await;
    let site = site(&store, false);
    assert_eq!(get(&site, "/").await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    // The pointer cannot be read, but the file can. Of concurrent requests only one reads the pointer.
    fails.script().fail_next("get", Error::new(ErrorKind::Unavailable, "the store is away"));
    let before = fails.script().count("get");
    let held = store.script().hold_next("get");
    let asking = join_all((0..20).map(|_| get(&site, "/")));
    let release = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        held.release();
    };
    let (answers, ()) = tokio::join!(asking, release);
    assert!(answers.iter().all(|answer| *answer == (200, ONE[0].1.into())), "{answers:?}");
    assert_eq!(fails.script().count("get") - before, 20 + 1, "20 files and the pointer");
}

#[tokio::test]
async fn unreadable_earlier_deploy_is_read_later() {
    let (store, deploys) = empty();
    let first = deploy(&deploys, &[("index.html", "1"), ("old-0badc0de.js", "of this test alone")]).await;
    deploy(&deploys, TWO).await;
    // The first manifest is not cached for these options, as the rules depend on them.
    let options = SiteOptions::default().with_prefix("s").with_deploys(true);
    let options = options.with_html_handling(isobar_site::HtmlHandling::None);
    let site = Site::new(Arc::clone(&store) as Arc<dyn ObjectStore>, options);
    assert_eq!(get(&site, "/index.html").await.0, 200);
    for _ in 0..2 {
        store.script().fail_next("get", Error::new(ErrorKind::Unavailable, "the store is away"));
    }
    assert_eq!(get(&site, "/old-0badc0de.js").await.0, 503, "of {first}");
    assert_eq!(get(&site, "/old-0badc0de.js").await, (200, "of this test alone".into()));
}

#[tokio::test]
async fn pruning_stops_after_a_concurrent_deploy() {
    let (store, deploys) = empty();
    deploy(&deploys, ONE).await;
    deploy(&deploys, TWO).await;
    let held = store.script().hold_next("list");
    let pruning = tokio::spawn({
        let deploys = deploys.clone();
        async move { deploys.prune(1).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    // By a clock that is ahead, the pruning has timed out.
    let mut ahead = pointer(&store).await;
    ahead["pruning_until"] = serde_json::Value::Null;
    write_pointer(&store, &ahead).await;
    let before = keys(&store).await;
    held.release();
    let refused = pruning.await.unwrap().unwrap_err();
    assert!(refused.message().contains("another process has deployed meanwhile"), "{refused}");
    assert_eq!(keys(&store).await, before);
}

#[tokio::test]
async fn rules_for_a_host_apply_to_that_host_only() {
    let (store, deploys) = empty();
    let site = site(&store, true);
    let asked = async |host: &str| {
        let request = Request::get("/same.css").header("host", host).body(()).unwrap();
        let answer = site.respond(&request).await;
        answer.headers().get("x-host").map(|value| value.to_str().unwrap().to_owned())
    };
    deploy(&deploys, &[("same.css", "body {}")]).await;
    assert_eq!(asked("a.example").await, None);
    let rules = ("_headers", "https://a.example/*\n  X-Host: a\nhttps://b.example/*\n  X-Host: b");
    deploy(&deploys, &[("same.css", "body {}"), rules]).await;
    for _ in 0..2 {
        assert_eq!(asked("a.example").await.as_deref(), Some("a"));
        assert_eq!(asked("b.example").await.as_deref(), Some("b"));
        assert_eq!(asked("c.example").await, None);
    }
}
