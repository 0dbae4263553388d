//! The page's files and the headers of every response.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, header};

use crate::door::{Answer, Door};
use crate::setting::{Access, ask, explorer, own};

/// Every file that the page names, from `/` on.
async fn files(door: &Door) -> BTreeMap<String, Answer> {
    let mut waiting = BTreeSet::from(["/".to_owned()]);
    let mut files = BTreeMap::new();
    while let Some(path) = waiting.pop_first() {
        let answer = ask(door, None, Method::GET, &path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let named = ["src=\"/", "href=\"/", "from \"./", "href: \"/"].into_iter().flat_map(|mark| {
            text.split(mark).skip(1).map(|rest| format!("/{}", rest.split('"').next().unwrap_or_default()))
        });
        files.insert(path, answer);
        waiting.extend(named.filter(|path| !files.contains_key(path)).collect::<Vec<_>>());
    }
    files
}

#[tokio::test]
async fn page_is_small_and_complete() {
    let files = files(&explorer(Access::Read).await).await;
    assert!(
        files.len() > 15 && files.contains_key("/buckets.js") && files.contains_key("/openapi.json"),
        "{:?}",
        files.keys()
    );
    let bytes: usize = files.values().map(|file| file.body.len()).sum();
    assert!(bytes < 300_000, "{bytes} bytes");
    for (path, file) in &files {
        let expected = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("json") => "application/json",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(file.headers[header::CONTENT_TYPE], expected, "{path}");
    }
}

#[tokio::test]
async fn page_runs_its_own_scripts_alone() {
    let door = explorer(Access::Read).await;
    for path in ["/", "/app.js", "/style.css", "/icon.svg"] {
        let file = ask(&door, None, Method::GET, path, "").await;
        let policy = file.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|found| found.trim() == part), "{path}: {part} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(file.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(file.headers[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(file.headers[header::REFERRER_POLICY], "no-referrer");
    }
}

#[tokio::test]
async fn data_runs_in_no_browser() {
    let door = explorer(Access::Read).await;
    let object = format!("{}/r2/buckets/photos/objects/2026%2Fa.html", door.account);
    for path in [object.as_str(), "/explorer/v1/session", "/explorer/v1/nothing", "/nothing", "/client/v4/accounts"] {
        for token in [Some(door.token.as_str()), None] {
            let answer = ask(&door, token, Method::GET, path, "").await;
            let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && policy.ends_with("; sandbox"), "{path}: {policy}");
            assert_eq!(answer.headers[header::CONTENT_DISPOSITION], "attachment", "{path}");
            assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
            assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
            assert!(!answer.headers.contains_key(header::SET_COOKIE), "{path}");
        }
    }
}

#[tokio::test]
async fn paths_out_of_the_page_are_not_found() {
    let door = explorer(Access::Read).await;
    for path in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/page/index.html",
        "/index.html",
        "//",
        "/app.js/",
        "/app.js%00",
        "/./app.js",
        "/explorer",
        "/explorer/v1x",
        "/client",
        "/client/v4x/accounts",
        "/style.css/../app.js",
        "/openapi.json/..",
    ] {
        for token in [Some(door.token.as_str()), None] {
            let answer = ask(&door, token, Method::GET, path, "").await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
            assert_eq!(answer.error(), (404, 7003), "{path}");
        }
    }
    assert_eq!(ask(&door, None, Method::HEAD, "/", "").await.status, 200);
    assert_eq!(ask(&door, None, Method::POST, "/", "").await.status, 404);
}

/// An operation's path, with the names of what there is.
fn target(door: &Door, path: &str) -> String {
    let target = path.replace("{account_id}", door.keys.account_id());
    let target = target.replace("{database_id}", "orders").replace("{bucket}", "photos").replace("{key}", "top");
    let target = target
        .replace("{deploy_id}", "first")
        .replace("{namespace_id}", "none")
        .replace("{class}", "Room")
        .replace("{object}", "lobby");
    assert!(!target.contains('{'), "{target}");
    target
}

/// Each operation of the document has a route that takes its method.
#[tokio::test]
async fn document_names_routes_that_exist() {
    let door = explorer(Access::Read).await;
    let document = ask(&door, None, Method::GET, "/openapi.json", "").await.json();
    let mut count = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = own(&door, method.clone(), &target(&door, path), "{}").await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("Could not route") && answer.status != 405, "{method} {path}: {text}");
            count += 1;
        }
    }
    assert!(count >= 55, "{count}");
}

/// A path of the document takes no other method, but to refuse changes of what buckets do not have.
#[tokio::test]
async fn document_names_each_method_of_its_paths() {
    let door = explorer(Access::Write).await;
    let document = ask(&door, None, Method::GET, "/openapi.json", "").await.json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if operations.get(method.as_str().to_lowercase()).is_some() {
                continue;
            }
            let answer = own(&door, method.clone(), &target(&door, path), "{}").await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let is_absent = text.contains("Buckets of this server have no");
            assert!(answer.status == 405 || is_absent, "{method} {path}: {text}");
        }
    }
}

#[tokio::test]
async fn document_names_what_buckets_do_not_have() {
    let door = explorer(Access::Read).await;
    let document = ask(&door, None, Method::GET, "/openapi.json", "").await.json();
    for path in [
        "r2/buckets/{bucket}/domains/custom",
        "r2/buckets/{bucket}/domains/managed",
        "r2/buckets/{bucket}/sippy",
        "r2/buckets/{bucket}/local-uploads",
        "r2/buckets/{bucket}/lock",
        "event_notifications/r2/{bucket}/configuration",
    ] {
        let path = format!("/client/v4/accounts/{{account_id}}/{path}");
        let summary = &document["paths"][&path]["get"]["summary"];
        assert!(summary.as_str().is_some_and(|summary| summary.contains(": ")), "{path}: {summary}");
        own(&door, Method::GET, &target(&door, &path), "").await.result();
    }
}
