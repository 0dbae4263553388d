//! Fuzz tests with malformed requests and rules: none panics, none reaches a key outside the site.
//!
//! 20,000 cases in every run; `ISOBAR_FUZZ=1000000` for more.

use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request};
use isobar_site::{
    CacheOptions, HeaderRules, HtmlHandling, NotFoundHandling, Redirects, Site, SiteOptions, WorkerFirst,
};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const HTML: [HtmlHandling; 4] = [
    HtmlHandling::AutoTrailingSlash,
    HtmlHandling::ForceTrailingSlash,
    HtmlHandling::DropTrailingSlash,
    HtmlHandling::None,
];
const NOT_FOUND: [NotFoundHandling; 3] =
    [NotFoundHandling::None, NotFoundHandling::NotFoundPage, NotFoundHandling::SinglePageApplication];
const HEADERS: [&str; 10] = [
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "accept-encoding",
    "host",
    "authorization",
    "sec-fetch-dest",
];

/// Pieces of paths, headers and rules: special sequences and noise.
fn pieces(most: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec![
            "/", "//", ".", "..", "%2f", "%2e", "%5c", "%00", "%", "%25", "%c3%a9", "\\", "index", ".html", "a", "docs", "*",
            ":a", ":splat", "https://", "example.com", " ", "\n", "301", "200", ": ", "! ", "#", "?", "&", "=", "bytes=", "-",
            ",", "0", "9", "99999999999999999999", "\"", "W/", "gzip", "br", ";q=0", "_headers", "_redirects", ".env", "\t",
        ]).prop_map(str::to_owned),
        1 => "\\PC{1,3}",
    ];
    proptest::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

/// Whether a target in the rules has a host. Values of a request must never turn a path into one.
fn names_host(redirects: &str) -> bool {
    let here = url::Url::parse("https://site.invalid/").unwrap();
    let is_other = |url: url::Url| url.host_str() != here.host_str() || url.path().starts_with("//");
    redirects.split_whitespace().any(|word| word.starts_with("//") || here.join(word).is_ok_and(is_other))
}

#[test]
fn no_request_and_no_rule_leaves_the_site_or_panics() {
    let cases = std::env::var("ISOBAR_FUZZ").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20_000);
    let files = MemoryStore::new();
    for (name, body) in
        [("s/index.html", "home"), ("s/a", "a"), ("s/docs/index.html", "docs"), ("s/404.html", "none"), ("out", "no")]
    {
        files.write(&Key::new(name).unwrap(), body).now_or_never().unwrap().unwrap();
    }
    let input = (
        (pieces(12), proptest::collection::vec((0..HEADERS.len(), pieces(6)), 0..4)),
        (pieces(20), pieces(20)),
        (0..4usize, 0..3usize, any::<bool>(), any::<bool>(), any::<bool>()),
    );
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome =
        runner.run(&input, |((path, headers), (header_rules, redirects), (html, not_found, cached, dots, post))| {
            let store = MockStore::new(files.clone());
            let options = SiteOptions::default()
                .with_prefix("s")
                .with_html_handling(HTML[html])
                .with_not_found_handling(NOT_FOUND[not_found])
                .with_headers(HeaderRules::parse(&header_rules))
                .with_redirects(Redirects::parse(&redirects, HTML[html]))
                .with_dotfiles(dots)
                .with_listing(dots != post);
            let mut site = Site::new(Arc::new(store.clone()) as Arc<dyn ObjectStore>, options);
            if cached {
                site = site.with_cache(CacheOptions::default());
            }
            drop(WorkerFirst::paths(header_rules.lines()));
            let Ok(mut request) = Request::builder().uri(format!("/{path}")).body(()) else { return Ok(()) };
            if post {
                *request.method_mut() = Method::POST;
            }
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    request.headers_mut().append(HeaderName::from_static(HEADERS[name]), value);
                }
            }
            let answer = site.respond(&request).now_or_never().expect("nothing in memory waits");
            prop_assert!(answer.status().as_u16() < 500, "{}", answer.status());
            if let Some(location) = answer.headers().get("location") {
                // Only a rule redirects to another host.
                let location = location.to_str().unwrap_or_default();
                let place = location.split(['?', '#']).next().unwrap_or_default();
                prop_assert!(!place.starts_with("//") || names_host(&redirects), "{location}");
                prop_assert!(!place.contains('\\'), "{location}");
                prop_assert!(location.starts_with('/') || redirects.contains("https://"), "{location}");
            }
            for call in store.script().calls() {
                prop_assert!(call.subject.starts_with("s/"), "{call:?}");
                prop_assert!(call.subject.split('/').all(|segment| segment != ".." && segment != "."), "{call:?}");
            }
            Ok(())
        });
    outcome.unwrap();
}
