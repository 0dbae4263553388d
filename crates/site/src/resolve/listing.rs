//! Listings of folders, as a page or as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, Response, StatusCode, header};
use isobar_storage::{Error, Key, ListOptions, ObjectMeta};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::body::SiteBody;
use crate::deploy::ServedDeploy;
use crate::http::precondition::{self, Verdict};
use crate::path::encoded;
use crate::request::RequestHead;
use crate::reserved::is_reserved;
use crate::response::{precondition_failed, put_security_headers, response, with};
use crate::snapshot::Snapshot;

/// Most names on a page.
const NAMES: usize = 1000;

const STYLE: &str = "
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { width: 100%; border-spacing: 0 }
th, td { text-align: left; padding: .1rem 1rem .1rem 0; font-weight: normal }
td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th { width: 100%; overflow-wrap: anywhere }
";

/// The response for a folder.
pub(super) enum Listed {
    Page(Response<SiteBody>),
    /// The folder's canonical path.
    Redirect(String),
}

/// A page of a listing, as it is written in JSON.
#[derive(Debug, Serialize)]
struct Listing<'l> {
    path: &'l str,
    entries: Vec<ListedFile>,
    /// Value of `after` for the next page; `None` on the last page.
    next: Option<String>,
}

/// A file, or a folder, whose name ends with a slash.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ListedFile {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<DateTime<Utc>>,
}

/// A page of names, ordered by their bytes.
struct Names {
    entries: Vec<ListedFile>,
    /// The last of them, if there are more.
    next: Option<String>,
}

/// Lists the folder at a decoded path; `None` where there is no such folder or it has only hidden files.
///
/// # Errors
/// The store's error.
pub(super) async fn respond(
    snapshot: &Snapshot,
    head: RequestHead<'_>,
    path: &str,
    query: Option<&str>,
) -> Result<Option<Listed>, Error> {
    let Some(folder) = path.strip_suffix('/') else {
        return Ok(is_folder(snapshot, path).await?.then(|| Listed::Redirect(format!("{path}/"))));
    };
    let query = query.unwrap_or_default();
    let after = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "after");
    let after = after.map(|(_, after)| after.into_owned()).unwrap_or_default();
    let Names { entries, next } = names(snapshot, folder, &after, NAMES).await?;
    // The root always exists, and so does a folder whose names all come before `after`.
    if entries.is_empty() && !folder.is_empty() && (after.is_empty() || !is_folder(snapshot, path).await?) {
        return Ok(None);
    }
    page_of(head, &Listing { path, entries, next }).map(|page| Some(Listed::Page(page)))
}

/// Returns a listing as the client prefers it, by the conditions of the request.
fn page_of(head: RequestHead<'_>, listing: &Listing<'_>) -> Result<Response<SiteBody>, Error> {
    let is_json = wants_json(head.headers);
    let text = if is_json { serde_json::to_string(listing).unwrap_or_default() + "\n" } else { html(listing) };
    let etag = hex::encode(&Sha256::digest(&text)[..16]);
    // A folder has no modification date: the listing is dated now.
    let meta = ObjectMeta::new(Key::new("listing")?, String::new(), text.len() as u64, etag, Utc::now());
    let mut page = match precondition::evaluate(head.headers, head.method, &meta, false) {
        Verdict::Failed => return Ok(precondition_failed()),
        Verdict::NotModified => response(StatusCode::NOT_MODIFIED, HeaderMap::new(), SiteBody::default()),
        Verdict::Proceed if is_json => {
            with(response(StatusCode::OK, HeaderMap::new(), text), header::CONTENT_TYPE, "application/json")
        }
        Verdict::Proceed => {
            let page = response(StatusCode::OK, HeaderMap::new(), text);
            let page = with(page, header::CONTENT_TYPE, "text/html; charset=utf-8");
            with(page, header::CONTENT_SECURITY_POLICY, &policy())
        }
    };
    page = with(page, header::ETAG, &meta.http_etag());
    page = with(page, header::VARY, "Accept");
    let is_page = page.status() == StatusCode::OK && !is_json;
    put_security_headers(page.headers_mut(), is_page);
    Ok(with(page, header::CACHE_CONTROL, "no-cache"))
}

/// The `Content-Security-Policy` of a listing: only the page's own style.
fn policy() -> String {
    format!("default-src 'none'; style-src 'sha256-{}'", STANDARD.encode(Sha256::digest(STYLE)))
}

/// Whether there are files to list under a decoded path.
pub(super) async fn is_folder(snapshot: &Snapshot, path: &str) -> Result<bool, Error> {
    Ok(!names(snapshot, path.trim_end_matches('/'), "", 1).await?.entries.is_empty())
}

/// Returns up to `limit` names in a folder, which come after a given one.
async fn names(snapshot: &Snapshot, folder: &str, after: &str, limit: usize) -> Result<Names, Error> {
    let folder = Folder { snapshot, path: format!("{folder}/"), after, limit };
    match &snapshot.deploy {
        Some(deploy) => Ok(folder.deployed(deploy)),
        None => folder.stored().await,
    }
}

/// A folder to list.
struct Folder<'f> {
    snapshot: &'f Snapshot,
    /// Its path, with slashes around it.
    path: String,
    after: &'f str,
    limit: usize,
}

impl Folder<'_> {
    /// Whether a name is listed: neither hidden nor reserved.
    fn shows(&self, name: &str) -> bool {
        let is_hidden = name.starts_with('.') && !self.snapshot.source.options.dotfiles && name != ".well-known/";
        !is_hidden && !name.trim_end_matches('/').is_empty() && !is_reserved(&format!("{}{name}", self.path))
    }

    /// Lists the files of a deploy.
    fn deployed(&self, deploy: &ServedDeploy) -> Names {
        let below = self.path.trim_start_matches('/');
        let mut entries: Vec<ListedFile> = Vec::new();
        for (name, file) in deploy.below(below) {
            let (name, entry) = match name[below.len()..].split_once('/') {
                Some((sub, _)) => (format!("{sub}/"), None),
                None => (name[below.len()..].to_owned(), Some(file)),
            };
            let is_known = entries.last().is_some_and(|last| last.name == name);
            if name.as_str() <= self.after || is_known || !self.shows(&name) {
                continue;
            }
            let size = entry.map(|file| file.size);
            let modified = entry.map(|file| file.modified);
            entries.push(ListedFile { name, size, modified });
            if entries.len() > self.limit {
                break;
            }
        }
        self.page(entries)
    }

    /// Lists the keys of the store.
    async fn stored(&self) -> Result<Names, Error> {
        let source = &self.snapshot.source;
        let prefix = format!("{}{}", source.options.prefix, self.path.trim_start_matches('/'));
        // Ask for a few more, as some may be hidden.
        let limit = (self.limit + 16).min(NAMES);
        let mut options = ListOptions::default().with_prefix(&prefix).with_delimiter("/").with_limit(limit);
        if !self.after.is_empty() {
            options = options.with_start_after(format!("{prefix}{}", self.after));
        }
        let mut entries: Vec<ListedFile> = Vec::new();
        loop {
            let page = source.store.list(options.clone()).await?;
            let files = page.objects.iter().map(|meta| (meta.key.as_str(), Some(meta)));
            let mut found: Vec<_> = files.chain(page.prefixes.iter().map(|name| (name.as_str(), None))).collect();
            found.sort_unstable_by_key(|(name, _)| *name);
            for (name, meta) in found {
                let name = name[prefix.len()..].to_owned();
                if name.as_str() > self.after && self.shows(&name) {
                    let size = meta.map(|meta| meta.size);
                    let modified = meta.map(|meta| meta.uploaded);
                    entries.push(ListedFile { name, size, modified });
                }
            }
            match page.cursor {
                Some(cursor) if entries.len() <= self.limit => options = options.with_cursor(cursor),
                _ => return Ok(self.page(entries)),
            }
        }
    }

    /// Cuts the names at the limit.
    fn page(&self, mut entries: Vec<ListedFile>) -> Names {
        let has_more = entries.len() > self.limit;
        entries.truncate(self.limit);
        let next = entries.last().filter(|_| has_more).map(|last| last.name.clone());
        Names { entries, next }
    }
}

/// Whether the client prefers JSON: it accepts it, and names it before HTML. Weights are not read.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let at = |kind: &str| accept.find(kind);
    match (at("application/json"), at("text/html")) {
        (Some(json), Some(html)) => json < html,
        (json, _) => json.is_some(),
    }
}

/// Returns a listing as a page, with links relative to the folder.
fn html(listing: &Listing<'_>) -> String {
    let title = escaped(listing.path);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<table>\n"
    );
    if listing.path != "/" {
        page.push_str("<tr><th><a href=\"../\">../</a><td><td>\n");
    }
    for ListedFile { name, size, modified } in &listing.entries {
        let link = encoded(name);
        let name = escaped(name);
        let size = size.map(|size| format!("{size} bytes")).unwrap_or_default();
        let modified = modified.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default();
        // `./` keeps a name like `a:b` from being read as a URL with a scheme.
        page += &format!("<tr><th><a href=\"./{link}\">{name}</a><td>{size}<td>{modified}\n");
    }
    page.push_str("</table>\n");
    if let Some(next) = &listing.next {
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        page += &format!("<p><a href=\"?after={next}\">more</a>\n");
    }
    page
}

/// Escapes a string for HTML text and attribute values.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}
