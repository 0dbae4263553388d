//! Compares the site with Workers Static Assets, by the exchanges that `cargo xtask assets` has recorded with the real asset Worker.

use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use isobar_site::{CacheOptions, HtmlHandling, NotFoundHandling, Site, SiteOptions, WorkerFirst};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ObjectStoreExt};
use serde_json::Value;

const FIXTURE: &str = include_str!("assets.json");

/// The compared parts of an answer.
#[derive(Debug, PartialEq)]
struct Told {
    status: u64,
    headers: Vec<(String, String)>,
    body: Option<String>,
    /// Status of a second request with the ETag.
    again: Option<u64>,
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn request(exchange: &Value) -> Request<()> {
    let method = exchange["method"].as_str().unwrap_or("GET");
    let mut request = Request::builder().method(method).uri(text(exchange, "path")).header("host", "example.com");
    for (name, value) in exchange["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap());
    }
    request.body(()).unwrap()
}

async fn site(files: &Value, site: &Value) -> (Site, Option<WorkerFirst>) {
    let store = MemoryStore::new();
    let is_latin1 = site["latin1"].as_bool().unwrap_or_default();
    let encoded = |text: &str| match is_latin1 {
        true => text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect(),
        false => text.as_bytes().to_vec(),
    };
    for name in ["headers", "redirects"] {
        if let Some(rules) = site[name].as_str() {
            store.write(&Key::new(format!("_{name}")).unwrap(), encoded(rules)).await.unwrap();
        }
    }
    for (path, body) in files.as_object().unwrap() {
        store.write(&Key::new(path.trim_start_matches('/')).unwrap(), body.as_str().unwrap().to_owned()).await.unwrap();
    }
    let html = HtmlHandling::from_name(text(site, "html_handling")).unwrap();
    let options = SiteOptions::default()
        .with_html_handling(html)
        .with_not_found_handling(NotFoundHandling::from_name(text(site, "not_found_handling")).unwrap())
        .with_rules_of(&store)
        .await
        .unwrap();
    let first = match &site["run_worker_first"] {
        Value::Bool(true) => Some(WorkerFirst::always()),
        Value::Bool(false) => Some(WorkerFirst::never()),
        Value::Array(rules) => Some(WorkerFirst::paths(rules.iter().filter_map(Value::as_str)).unwrap()),
        _ => None,
    };
    (Site::new(Arc::new(store), options), first)
}

async fn ours(site: &Site, first: Option<&WorkerFirst>, exchange: &Value) -> Told {
    let asked = request(exchange);
    if let Some(first) = first
        && !site.should_serve(&asked, first).await.unwrap()
    {
        return Told {
            status: 200,
            headers: vec![("content-type".into(), "text/plain".into())],
            body: Some("the Worker".into()),
            again: None,
        };
    }
    let (parts, body) = site.respond(&asked).await.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let again = match parts.headers.get("etag").filter(|_| parts.status == 200) {
        Some(etag) => {
            let mut again = request(exchange);
            again.headers_mut().insert("if-none-match", etag.clone());
            Some(u64::from(site.respond(&again).await.status().as_u16()))
        }
        None => None,
    };
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &parts.headers {
        let name = name.as_str();
        let value = value.to_str().unwrap();
        if !["location", "content-type", "cache-control"].contains(&name) && !name.starts_with("x-rule") {
            continue;
        }
        // Node joins several lines of a header.
        match headers.iter_mut().find(|(other, _)| other == name) {
            Some((_, values)) => values.extend([", ", value]),
            None => headers.push((name.to_owned(), value.to_owned())),
        }
    }
    headers.sort();
    Told { status: parts.status.as_u16().into(), headers, body: Some(body), again }
}

fn theirs(exchange: &Value) -> Told {
    let headers = exchange["answered"].as_object().unwrap().iter();
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    headers.sort();
    let body = exchange["body"].as_str().map(str::to_owned);
    Told { status: exchange["status"].as_u64().unwrap(), headers, body, again: exchange["again"].as_u64() }
}

/// Evens out the known differences, each with its reason. Everything else must be the same.
fn even_out(site: &Value, exchange: &Value, ours: &mut Told, theirs: &mut Told) {
    // Our errors have a line of text; theirs have an empty body.
    let is_bare = |told: &Told| told.body.as_deref().is_none_or(str::is_empty);
    if ours.status == theirs.status && ours.status != 200 && is_bare(theirs) {
        ours.body.clone_from(&theirs.body);
        ours.headers.retain(|(name, _)| name != "content-type");
        theirs.headers.retain(|(name, _)| name != "content-type");
    }
    // For an unknown type we send `application/octet-stream`, so that clients do not guess; they send none.
    if !theirs.headers.iter().any(|(name, _)| name == "content-type") {
        ours.headers.retain(|header| *header != ("content-type".into(), "application/octet-stream".into()));
    }
    // Our permanent redirects have `Cache-Control`; without it caches may store them for as long as they like.
    if matches!(ours.status, 301 | 308) && !theirs.headers.iter().any(|(name, _)| name == "cache-control") {
        ours.headers.retain(|header| *header != ("cache-control".into(), "public, max-age=0, must-revalidate".into()));
    }
    // The site does not know the scheme of a request, and a URL without one means the same.
    for (name, value) in &mut theirs.headers {
        if name == "location" && value.starts_with("http://") {
            value.replace_range(.."http:".len(), "");
        }
    }
    let path = text(exchange, "path");
    let html = text(site, "html_handling");
    // Pages with the same bytes are the same to us and Cloudflare; miniflare distinguishes them by their paths.
    let is_told_apart =
        matches!((html, path), ("force-trailing-slash", "/same.html") | ("drop-trailing-slash", "/same/index.html"));
    // A write to a missing path is 404 here; they answer 405 where there is a 404.html.
    // An invalid file name is refused here; they look for it.
    if ours.status == 400 && (path.contains("%2F") || path.contains("%5C")) {
        return forget(ours, theirs);
    }
    let is_missing = text(exchange, "method") == "POST" && ours.status == 404 && theirs.status == 405;
    if (is_told_apart && (ours.status, theirs.status) == (307, 200)) || is_missing {
        return forget(ours, theirs);
    }
    let is_spa = text(site, "not_found_handling") == "single-page-application";
    let destination = text(&exchange["headers"], "sec-fetch-dest");
    // A missing script or style is 404 here, not the page.
    if is_spa && theirs.body.as_deref() == Some("the home page") && ours.status == 404 {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_page = matches!(destination, "document" | "iframe" | "frame")
            || (destination.is_empty() && (!name.contains('.') || name.ends_with(".html")));
        assert!(!is_page, "{path} is a page's");
        forget(ours, theirs);
    }
}

/// Excludes both from the comparison.
fn forget(ours: &mut Told, theirs: &mut Told) {
    for told in [ours, theirs] {
        *told = Told { status: 0, headers: Vec::new(), body: None, again: None };
    }
}

#[tokio::test]
async fn responses_are_those_of_workers_static_assets() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for settings in fixture["sites"].as_array().unwrap() {
        let (site, first) = site(&fixture["files"], settings).await;
        let cached = site.clone().with_cache(CacheOptions::default());
        for exchange in settings["exchanges"].as_array().unwrap() {
            let mut ours = ours(&site, first.as_ref(), exchange).await;
            let mut theirs = theirs(exchange);
            for _ in 0..2 {
                assert_eq!(self::ours(&cached, first.as_ref(), exchange).await, ours, "kept in memory: {exchange}");
            }
            even_out(settings, exchange, &mut ours, &mut theirs);
            count += 1;
            if ours != theirs {
                let name = text(settings, "name");
                let path = text(exchange, "path");
                wrong.push(format!(
                    "{name}: {} {path}\n  ours   {ours:?}\n  theirs {theirs:?}",
                    text(exchange, "method")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 900, "{count}");
}
