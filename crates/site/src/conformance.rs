//! The conformance kit of a site: cases that hold over every [`ObjectStore`], including R2 inside workerd.
//!
//! ```
//! use std::sync::Arc;
//! use isobar_storage::memory::MemoryStore;
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let report = isobar_site::conformance::run(async || Arc::new(MemoryStore::new()) as _).await;
//! report.assert_green();
//! # });
//! # Ok::<_, std::io::Error>(())
//! ```

use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use http::{HeaderMap, Request};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{ErrorKind, Key, ListOptions, ObjectStore, ObjectStoreExt};
use isobar_testkit::{Case, Failure, Report, cases, ensure, ensure_eq};

use crate::body::SiteBody;
use crate::deploy::{DeployOptions, Deploys};
use crate::options::SiteOptions;
use crate::site::Site;

/// The store under test. Cases may share one: each uses its own keys.
pub type Subject = Arc<dyn ObjectStore>;

type Outcome = Result<(), Failure>;

/// Runs the whole kit, each case on the store that `subject` yields.
pub async fn run<F: AsyncFnMut() -> Subject>(subject: F) -> Report {
    isobar_testkit::run(&cases(), subject, |_| false).await
}

/// Every case, by group.
#[must_use]
pub fn cases() -> Vec<Case<Subject>> {
    cases! {
        "files" => {
            page_is_found_without_its_extension,
            conditions_and_ranges_apply,
            best_accepted_variant_is_served,
            folders_are_listed,
        }
        "deploys" => {
            deploy_is_served_atomically_and_rolled_back,
            hashed_files_outlive_their_deploy,
            concurrent_deploys_are_all_complete,
            pruning_keeps_served_files,
            incomplete_deploy_is_refused_and_can_be_restored,
        }
    }
}

/// A response of a site: status, headers, body.
type Told = (u16, HeaderMap, Vec<u8>);

/// Sends a request to a new site, which has nothing cached.
async fn ask(store: &Subject, options: &SiteOptions, path: &str, headers: &[(&str, &str)]) -> Result<Told, Failure> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).map_err(|error| Failure(error.to_string()))?;
    let (parts, body) = Site::new(Arc::clone(store), options.clone()).respond(&request).await.into_parts();
    Ok((parts.status.as_u16(), parts.headers, bytes(body).await?))
}

/// Reads a body to its end.
async fn bytes(mut body: SiteBody) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await
    {
        bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    Ok(bytes)
}

/// Sends a request without headers. Returns the status and the body as text.
async fn get(store: &Subject, options: &SiteOptions, path: &str) -> Result<(u16, String), Failure> {
    let (status, _, body) = ask(store, options, path, &[]).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Returns a header as text; empty where it is missing.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Writes files under a prefix of a store.
async fn write(store: &dyn ObjectStore, prefix: &str, files: &[(&str, &str)]) -> Outcome {
    for (name, body) in files {
        store.write(&Key::new(format!("{prefix}{name}"))?, (*body).to_owned()).await?;
    }
    Ok(())
}

/// Returns a store with these files, to deploy from.
async fn source(files: &[(&str, &str)]) -> Result<MemoryStore, Failure> {
    let source = MemoryStore::new();
    write(&source, "", files).await?;
    Ok(source)
}

/// Deploys these files. Returns the id of the deploy.
async fn deploy(deploys: &Deploys, files: &[(&str, &str)]) -> Result<String, Failure> {
    Ok(deploys.deploy(&source(files).await?, &DeployOptions::default()).await?.deploy.id)
}

/// The deploys under a prefix, and a site of them.
fn deploys(store: &Subject, prefix: &str) -> (Deploys, SiteOptions) {
    let options = SiteOptions::default().with_prefix(prefix).with_deploys(true);
    (Deploys::new(Arc::clone(store), prefix), options)
}

/// Each page has one path, to which its file name redirects with the query; names are decoded once.
async fn page_is_found_without_its_extension(store: Subject) -> Outcome {
    let options = SiteOptions::default().with_prefix("site-pages");
    write(&*store, "site-pages/", &[("index.html", "home"), ("about.html", "about"), ("a b/\u{e9}.txt", "odd")])
        .await?;
    ensure_eq!(get(&store, &options, "/").await?, (200, "home".to_owned()));
    ensure_eq!(get(&store, &options, "/about").await?, (200, "about".to_owned()));
    ensure_eq!(get(&store, &options, "/a%20b/%C3%A9.txt").await?, (200, "odd".to_owned()));
    let (status, headers, _) = ask(&store, &options, "/about.html?x=1", &[]).await?;
    ensure_eq!((status, text(&headers, "location")), (307, "/about?x=1"));
    ensure_eq!(get(&store, &options, "/none").await?.0, 404);
    Ok(())
}

/// The ETag of a response is accepted in `If-None-Match` and `If-Range`, another one fails `If-Match`; one range and several are
/// served, and one outside the file is not.
async fn conditions_and_ranges_apply(store: Subject) -> Outcome {
    let options = SiteOptions::default().with_prefix("site-ranges");
    let long = "0123456789".repeat(100);
    write(&*store, "site-ranges/", &[("long.txt", &long)]).await?;
    let (status, headers, body) = ask(&store, &options, "/long.txt", &[]).await?;
    ensure_eq!((status, &*body), (200, long.as_bytes()));
    let etag = text(&headers, "etag");
    ensure!(etag.len() > 2 && etag.starts_with('"'), "{etag}");
    let status =
        async |headers: &[(&str, &str)]| Ok::<_, Failure>(ask(&store, &options, "/long.txt", headers).await?.0);
    ensure_eq!(status(&[("if-none-match", etag)]).await?, 304);
    ensure_eq!(status(&[("if-match", "\"another\"")]).await?, 412);
    ensure_eq!(status(&[("range", "bytes=1000-")]).await?, 416);
    let last = [("range", "bytes=-3"), ("if-range", etag)];
    let (status, headers, body) = ask(&store, &options, "/long.txt", &last).await?;
    ensure_eq!((status, text(&headers, "content-range"), &*body), (206, "bytes 997-999/1000", &b"789"[..]));
    let (status, headers, body) = ask(&store, &options, "/long.txt", &[("range", "bytes=0-0,998-999")]).await?;
    let parts = String::from_utf8_lossy(&body);
    ensure_eq!((status, parts.matches("Content-Range: bytes").count()), (206, 2));
    ensure!(text(&headers, "content-type").starts_with("multipart/byteranges"));
    Ok(())
}

/// Of the variants that the client accepts the best compressed is served, with the type of the file and `Vary`.
async fn best_accepted_variant_is_served(store: Subject) -> Outcome {
    let options = SiteOptions::default().with_prefix("site-variants");
    write(&*store, "site-variants/", &[("a.css", "plain"), ("a.css.br", "brotli"), ("a.css.gz", "gzip")]).await?;
    for (accepted, encoding, expected) in
        [("gzip, br", "br", "brotli"), ("gzip", "gzip", "gzip"), ("zstd", "", "plain")]
    {
        let (status, headers, body) = ask(&store, &options, "/a.css", &[("accept-encoding", accepted)]).await?;
        ensure_eq!((status, text(&headers, "content-encoding"), &*body), (200, encoding, expected.as_bytes()));
        ensure_eq!(
            (text(&headers, "vary"), text(&headers, "content-type")),
            ("Accept-Encoding", "text/css; charset=utf-8")
        );
    }
    Ok(())
}

/// A folder is listed as JSON from keys and from a deploy alike, without hidden names, in the order of the bytes.
async fn folders_are_listed(store: Subject) -> Outcome {
    const FILES: [(&str, &str); 5] =
        [("f/a.txt", "a"), ("f/b/c.txt", "c"), ("f/b/d.txt", "d"), ("f/.x", "x"), ("f/z", "")];
    write(&*store, "site-folders/", &FILES).await?;
    let (deploys, deployed) = deploys(&store, "site-folders-deployed");
    deploy(&deploys, &FILES).await?;
    for options in [SiteOptions::default().with_prefix("site-folders"), deployed] {
        let options = options.with_listing(true);
        let (status, _, body) = ask(&store, &options, "/f/", &[("accept", "application/json")]).await?;
        let listing: serde_json::Value = serde_json::from_slice(&body)?;
        let entries = listing["entries"].as_array().into_iter().flatten();
        let names: Vec<_> = entries.filter_map(|entry| entry["name"].as_str()).collect();
        ensure_eq!((status, names), (200, vec!["a.txt", "b/", "z"]));
        ensure_eq!(get(&store, &options, "/f").await?.0, 307);
    }
    Ok(())
}

/// A deploy replaces the plain keys and its predecessor as a whole, rules included, and a rollback brings both back.
async fn deploy_is_served_atomically_and_rolled_back(store: Subject) -> Outcome {
    let (deploys, options) = deploys(&store, "site-deploys");
    write(&*store, "site-deploys/", &[("index.html", "a plain key")]).await?;
    ensure_eq!(get(&store, &options, "/").await?.1, "a plain key");
    let rules = ("_headers", "/*\n  X-Deploy: one");
    let first = deploy(&deploys, &[("index.html", "one"), ("only.txt", "one"), rules]).await?;
    let (status, headers, body) = ask(&store, &options, "/", &[]).await?;
    ensure_eq!((status, text(&headers, "x-deploy"), &*body), (200, "one", &b"one"[..]));
    let second = deploy(&deploys, &[("index.html", "two")]).await?;
    let (_, headers, body) = ask(&store, &options, "/", &[]).await?;
    ensure_eq!((text(&headers, "x-deploy"), &*body), ("", &b"two"[..]));
    ensure_eq!(get(&store, &options, "/only.txt").await?.0, 404);
    ensure_eq!(deploys.rollback(None).await?.id, first);
    ensure_eq!(
        (get(&store, &options, "/").await?.1, get(&store, &options, "/only.txt").await?.0),
        ("one".to_owned(), 200)
    );
    ensure_eq!(deploys.rollback(Some(&second)).await?.id, second);
    ensure_eq!(get(&store, &options, "/").await?.1, "two");
    let list: Vec<_> = deploys.list().await?.into_iter().map(|deploy| (deploy.id, deploy.is_current)).collect();
    ensure_eq!(list, vec![(second, true), (first, false)]);
    Ok(())
}

/// A file with a hash in its name is served after the next deploy has dropped it, as immutable; another file is not.
async fn hashed_files_outlive_their_deploy(store: Subject) -> Outcome {
    let (deploys, options) = deploys(&store, "site-retained");
    deploy(&deploys, &[("index.html", "1"), ("app-3f9a1c2b.js", "one()"), ("plain.js", "one()")]).await?;
    deploy(&deploys, &[("index.html", "2"), ("app-0badc0de.js", "two()")]).await?;
    let (status, headers, body) = ask(&store, &options, "/app-3f9a1c2b.js", &[]).await?;
    ensure_eq!((status, &*body), (200, &b"one()"[..]));
    ensure!(text(&headers, "cache-control").contains("immutable"));
    ensure_eq!(get(&store, &options, "/plain.js").await?.0, 404);
    Ok(())
}

/// Of concurrent deploys each is listed and can be served with all of its files: compare-and-swap loses none.
async fn concurrent_deploys_are_all_complete(store: Subject) -> Outcome {
    let (deploys, options) = deploys(&store, "site-at-once");
    let made = join_all((0..4).map(|number| {
        let deploys = deploys.clone();
        async move { deploy(&deploys, &[("index.html", &number.to_string()), ("same.txt", "same")]).await }
    }));
    let ids: Vec<String> = made.await.into_iter().collect::<Result<_, _>>()?;
    ensure_eq!(deploys.list().await?.len(), 4);
    for (number, id) in ids.iter().enumerate() {
        deploys.rollback(Some(id)).await?;
        ensure_eq!(get(&store, &options, "/").await?, (200, number.to_string()));
        ensure_eq!(get(&store, &options, "/same.txt").await?.1, "same");
    }
    Ok(())
}

/// Pruning deletes the objects of removed deploys and no other, and does not block the next deploy.
async fn pruning_keeps_served_files(store: Subject) -> Outcome {
    let (deploys, options) = deploys(&store, "site-pruned");
    for number in 0..3 {
        deploy(&deploys, &[("index.html", &format!("page {number}")), ("same.txt", "same")]).await?;
    }
    let pruned = deploys.prune(1).await?;
    ensure_eq!((pruned.deploys.len(), pruned.objects), (2, 4));
    ensure_eq!(get(&store, &options, "/").await?, (200, "page 2".to_owned()));
    ensure_eq!(get(&store, &options, "/same.txt").await?.1, "same");
    let listing = store.list_all(ListOptions::default().with_prefix("site-pruned/"));
    ensure_eq!(listing.try_collect::<Vec<_>>().await?.len(), 4);
    // It does not block later deploys.
    deploy(&deploys, &[("index.html", "page 3")]).await?;
    ensure_eq!(get(&store, &options, "/").await?.1, "page 3");
    Ok(())
}

/// A deploy without files is refused, one whose object is lost cannot be served, and deploying its files again restores it.
async fn incomplete_deploy_is_refused_and_can_be_restored(store: Subject) -> Outcome {
    let (deploys, _) = deploys(&store, "site-damaged");
    let refused = deploys.deploy(&MemoryStore::new(), &DeployOptions::default()).await;
    ensure_eq!(refused.map_err(|error| error.kind()).err(), Some(ErrorKind::InvalidArgument));
    let first = deploy(&deploys, &[("index.html", "one")]).await?;
    deploy(&deploys, &[("index.html", "two")]).await?;
    let one = "site-damaged/.deploy/objects/7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    ensure!(store.head(&Key::new(one)?).await?.is_some());
    store.delete(&[Key::new(one)?]).await?;
    let damaged = deploys.rollback(Some(&first)).await;
    ensure_eq!(damaged.map_err(|error| error.kind()).err(), Some(ErrorKind::Corrupt));
    // Deploying the same files again restores it.
    deploy(&deploys, &[("index.html", "one"), ("more.txt", "")]).await?;
    deploys.rollback(Some(&first)).await?;
    Ok(())
}
