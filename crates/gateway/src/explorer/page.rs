//! The files of the page, and the headers that keep everything else from running in a browser.
//!
//! The files are compiled into the program: an explorer needs no folder and no network. They are plain
//! ES modules, without a build step, and have no data in them.
//!
//! Two policies: the page's own files may run their scripts, under a Content Security Policy that lets
//! nothing else in; everything else that this listener answers is sealed, since stored objects may be
//! pages and scripts that somebody else has uploaded.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The page's own scripts and style alone; no markup out of strings; images of previews; requests to this listener.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// Nothing at all, for data.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// A file of the page.
#[derive(Debug)]
struct File {
    path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

/// A page.
const fn html(path: &'static str, text: &'static str) -> File {
    File { path, media_type: "text/html; charset=utf-8", text }
}

/// A module of the page.
const fn script(path: &'static str, text: &'static str) -> File {
    File { path, media_type: "text/javascript; charset=utf-8", text }
}

const FILES: &[File] = &[
    html("/", include_str!("page/index.html")),
    File { path: "/style.css", media_type: "text/css; charset=utf-8", text: include_str!("page/style.css") },
    File { path: "/icon.svg", media_type: "image/svg+xml", text: include_str!("page/icon.svg") },
    File { path: "/openapi.json", media_type: "application/json", text: include_str!("page/openapi.json") },
    script("/theme.js", include_str!("page/theme.js")),
    script("/app.js", include_str!("page/app.js")),
    script("/api.js", include_str!("page/api.js")),
    script("/dom.js", include_str!("page/dom.js")),
    script("/format.js", include_str!("page/format.js")),
    script("/grid.js", include_str!("page/grid.js")),
    script("/chart.js", include_str!("page/chart.js")),
    script("/buckets.js", include_str!("page/buckets.js")),
    script("/preview.js", include_str!("page/preview.js")),
    script("/backups.js", include_str!("page/backups.js")),
    script("/history.js", include_str!("page/history.js")),
    script("/databases.js", include_str!("page/databases.js")),
    script("/console.js", include_str!("page/console.js")),
    script("/datasets.js", include_str!("page/datasets.js")),
    script("/sessions.js", include_str!("page/sessions.js")),
    script("/requests.js", include_str!("page/requests.js")),
    script("/deploys.js", include_str!("page/deploys.js")),
    script("/reference.js", include_str!("page/reference.js")),
];

/// The file of a path, with the headers of the page.
pub(super) fn find(method: &Method, path: &str) -> Option<Response> {
    let file = FILES.iter().find(|file| file.path == path).filter(|_| matches!(*method, Method::GET | Method::HEAD))?;
    let mut response = Response::new(Body::from(file.text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    // A program of another version has other files.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    harden(headers);
    Some(response)
}

/// A response with data, which no browser shows as a page, and no cache keeps: what is stored may be anybody's, and its own
/// `Cache-Control: public` would have a proxy give it to those who have no token (RFC 9111, 3.5).
pub(super) fn sealed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(DATA_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let is_attachment = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"attachment");
    if !headers.get(header::CONTENT_DISPOSITION).is_some_and(is_attachment) {
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    harden(headers);
    response
}

/// Sets the headers that both kinds of responses have.
fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_small() {
        let bytes: usize = FILES.iter().map(|file| file.text.len()).sum();
        assert!((20_000..300_000).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn scripts_make_no_markup_of_strings() {
        let makers = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "srcdoc",
            "eval(",
            "Function(",
            "DOMParser",
        ];
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            let found = makers.iter().find(|maker| file.text.contains(**maker));
            assert_eq!(found, None, "{}", file.path);
        }
    }

    /// Everything but the console's own text is sent to a route that only reads: `query` has one use beside its import.
    #[test]
    fn sql_out_of_addresses_only_reads() {
        let script = FILES.iter().find(|file| file.path == "/databases.js").unwrap().text;
        assert_eq!(script.matches("query(").count(), 1);
        assert!(script.contains("run: async (sql, signal) => tables(await query(uuid, sql, signal), name)"));
        for file in FILES.iter().filter(|file| file.path.ends_with(".js") && file.path != "/api.js") {
            assert!(!file.text.contains("/raw") && !file.text.contains("/query`"), "{}", file.path);
        }
    }

    #[test]
    fn page_has_no_script_or_style_of_its_own() {
        let page = FILES.iter().find(|file| file.path == "/").unwrap().text;
        for inline in ["<script>", "<style", " style=", " onclick=", "javascript:", "http://", "https://"] {
            assert!(!page.contains(inline), "{inline}");
        }
    }

    #[test]
    fn attachments_keep_their_names_and_others_become_attachments() {
        for (value, expected) in [
            (None, "attachment"),
            (Some("inline; filename=a.html"), "attachment"),
            (Some("Attachment; filename=a"), "Attachment; filename=a"),
        ] {
            let mut response = Response::new(Body::empty());
            if let Some(value) = value {
                response.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(value));
            }
            assert_eq!(sealed(response).headers()[header::CONTENT_DISPOSITION], expected);
        }
    }
}
