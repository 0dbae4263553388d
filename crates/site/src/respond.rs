//! From a request to its answer: redirects, the path, its file, and the `_headers` rules.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use isobar_storage::{Error, Key};

use crate::deploy::File;
use crate::path::{encoded, normalized, normalized_query};
use crate::resolve::find::{Finder, Intent};
use crate::resolve::listing;
use crate::rules::Redirection;
use crate::serve::{FALLBACK_VARIES, Representation, represent, serve, serve_missing};
use crate::snapshot::Snapshot;
use crate::timing::{Rule, timed};
use crate::{FromSite, NotFoundHandling, Site, SiteBody, SitePath};

/// The answer to a path before the request's conditions and ranges are applied.
pub(crate) enum Plan {
    /// A finished answer.
    Done(Response<SiteBody>),
    /// The listing of a folder, which depends on more of the request than a file does.
    Listing(Response<SiteBody>),
    /// A file.
    File(Representation),
    /// The page for a missing file.
    NotFoundPage(Representation),
}

pub(crate) async fn respond(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<SiteBody> {
    #[cfg(feature = "cache")]
    if let Some(answer) = crate::cache::respond(site, method, uri, headers).await {
        return answer;
    }
    let answered = match answer(site, method, uri, headers).await {
        // Replaced between its head and its body, for example: the retry sees the new version.
        Err(error) if error.is_retryable() => answer(site, method, uri, headers).await,
        answered => answered,
    };
    let mut answer = answered.unwrap_or_else(|error| store_error_response(&Snapshot::last(site), uri, headers, &error));
    answer.extensions_mut().insert(FromSite);
    finished(answer, method)
}

/// Returns the answer for an error of the store, with the `_headers` rules applied.
pub(crate) fn store_error_response(
    snapshot: &Snapshot,
    uri: &Uri,
    headers: &HeaderMap,
    error: &Error,
) -> Response<SiteBody> {
    let answer = with_header_rules(snapshot, uri, headers, error_response(error));
    timed(&snapshot.site, answer, Rule::Failed, None)
}

/// Applies the `_headers` rules to an answer, except to the headers that describe a part of a file.
pub(crate) fn with_header_rules(
    snapshot: &Snapshot,
    uri: &Uri,
    headers: &HeaderMap,
    mut answer: Response<SiteBody>,
) -> Response<SiteBody> {
    if snapshot.header_rules().is_empty() {
        return answer;
    }
    let is_part = answer.status() == StatusCode::PARTIAL_CONTENT;
    let is_multipart = |value: &HeaderValue| value.as_bytes().starts_with(b"multipart/byteranges");
    let range = answer.headers().get(header::CONTENT_RANGE).cloned();
    let multipart = answer.headers().get(header::CONTENT_TYPE).filter(|value| is_multipart(value)).cloned();
    snapshot.apply_rules(uri, headers, answer.headers_mut());
    if is_part {
        answer.headers_mut().remove(header::CONTENT_RANGE);
        range.into_iter().for_each(|range| drop(answer.headers_mut().insert(header::CONTENT_RANGE, range)));
        multipart.into_iter().for_each(|kind| drop(answer.headers_mut().insert(header::CONTENT_TYPE, kind)));
    }
    answer
}

async fn answer(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Response<SiteBody>, Error> {
    let snapshot = Snapshot::of(site).await?;
    let (rule, plan) = plan(&snapshot, method, uri.path(), uri.query(), headers).await?;
    let answer = match plan {
        Plan::Done(answer) | Plan::Listing(answer) => answer,
        Plan::File(representation) => serve(site, method, headers, representation).await?,
        Plan::NotFoundPage(page) => serve_missing(site, headers, page).await?,
    };
    Ok(timed(site, with_header_rules(&snapshot, uri, headers, answer), rule, None))
}

/// Whether [`respond`] has an answer for a path other than not found.
pub(crate) async fn has_answer(site: &Site, uri: &Uri, headers: &HeaderMap, not_found: bool) -> Result<bool, Error> {
    let snapshot = Snapshot::of(site).await?;
    let path = normalized(uri.path());
    let path = match snapshot.redirects().find(&path, uri.query()) {
        Some(Redirection::To(..)) => return Ok(true),
        Some(Redirection::Rewrite(path)) => path,
        None => path.into_owned(),
    };
    match SitePath::read(&path, site.options.dotfiles) {
        Ok(parsed) => {
            let path = parsed.absolute();
            if Finder::new(&snapshot, &path, headers).intent(&path, not_found).await?.is_some() {
                return Ok(true);
            }
            Ok(site.options.listing && listing::is_folder(&snapshot, &path).await?)
        }
        // No file has such a name: the application may know it, unless the site handles missing files.
        Err(_) => Ok(not_found && site.options.not_found_handling != NotFoundHandling::None),
    }
}

pub(crate) async fn respond_with(
    site: &Site,
    key: &Key,
    method: &Method,
    headers: &HeaderMap,
) -> Option<Response<SiteBody>> {
    let snapshot = Snapshot::of_keys(site);
    let answer = async || match snapshot.object(key.as_str()).await? {
        Some(file) => serve(site, method, headers, represent(&snapshot, file, headers).await?).await.map(Some),
        None => Ok(None),
    };
    let answered = match answer().await {
        Err(error) if error.is_retryable() => answer().await,
        answered => answered,
    };
    Some(finished(answered.transpose()?.unwrap_or_else(|error| error_response(&error)), method))
}

/// Finishes an answer: removes the body for a HEAD request.
pub(crate) fn finished(mut answer: Response<SiteBody>, method: &Method) -> Response<SiteBody> {
    if method == Method::HEAD {
        let length = http_body::Body::size_hint(answer.body()).exact();
        if let Some(length) = length.filter(|_| answer.status() != StatusCode::NOT_MODIFIED) {
            answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        *answer.body_mut() = SiteBody::default();
    }
    answer
}

/// Resolves a path; of the headers only those count that select among files.
pub(crate) async fn plan(
    snapshot: &Snapshot,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<(Rule, Plan), Error> {
    let options = &snapshot.site.options;
    let asked = normalized(path);
    let query = query.map(normalized_query);
    let query = query.as_deref();
    let asked = match snapshot.redirects().find(&asked, query) {
        Some(Redirection::To(status, location)) => {
            return Ok((Rule::Redirects, Plan::Done(redirect(snapshot, status, &location))));
        }
        Some(Redirection::Rewrite(path)) => path,
        None => asked.into_owned(),
    };
    let parsed = match SitePath::read(&asked, true) {
        Ok(parsed) => parsed,
        Err(problem) => {
            return Ok((Rule::Path, Plan::Done(text(StatusCode::BAD_REQUEST, &problem.to_string()))));
        }
    };
    let path = parsed.absolute();
    let mut finder = Finder::new(snapshot, &path, headers);
    let is_read = method == Method::GET || method == Method::HEAD;
    let intent = match SitePath::read(&asked, options.dotfiles) {
        Ok(_) if options.listing && is_read => match finder.intent(&path, false).await? {
            Some(intent) => Some(intent),
            None => match listing::answer(snapshot, method, &path, query, headers).await? {
                Some(listing::Listed::Page(answer)) => return Ok((Rule::Listing, Plan::Listing(answer))),
                Some(listing::Listed::Redirect(to)) => Some(Intent::Redirect(to)),
                None => finder.not_found(&path).await?,
            },
        },
        Ok(_) => finder.intent(&path, true).await?,
        // A hidden file is treated as missing.
        Err(_) => finder.not_found(&path).await?,
    };
    let nothing = || {
        let answer = text(StatusCode::NOT_FOUND, "not found");
        // A browser that navigates gets the page instead.
        let is_for_some = options.not_found_handling == NotFoundHandling::SinglePageApplication;
        Plan::Done(if is_for_some { with(answer, header::VARY, FALLBACK_VARIES) } else { answer })
    };
    let represented = async |file: File| represent(snapshot, file, headers).await;
    Ok(match intent {
        None => (Rule::Missing, nothing()),
        // A write to a missing file is not answered by the page for missing files.
        Some(Intent::NotFoundPage(..)) if !is_read => (Rule::Missing, nothing()),
        Some(_) if !is_read => (Rule::Method, Plan::Done(refused())),
        Some(Intent::Redirect(to)) => (Rule::HtmlHandling, Plan::Done(redirect_to_canonical(snapshot, &to, query))),
        // Each file has one canonical path: `/a//b`, `/%61` and the like redirect to it.
        Some(_) if encoded(&path) != asked => (Rule::Path, Plan::Done(redirect_to_canonical(snapshot, &path, query))),
        Some(Intent::File(file)) => (Rule::File, Plan::File(represented(file).await?)),
        Some(Intent::Fallback(file)) => {
            (Rule::NotFoundHandling, Plan::File(Representation { is_fallback: true, ..represented(file).await? }))
        }
        Some(Intent::NotFoundPage(file)) => (Rule::NotFoundHandling, Plan::NotFoundPage(represented(file).await?)),
    })
}

/// Returns the host of a request in lower case, without its port.
pub(crate) fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Cow<'r, str> {
    let name = uri.authority().map(http::uri::Authority::as_str);
    let name = name.or_else(|| headers.get(header::HOST)?.to_str().ok()).unwrap_or_default();
    let has_port = |(_, port): &(&str, &str)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = name.rsplit_once(':').filter(has_port).map_or(name, |(host, _)| host);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

fn refused() -> Response<SiteBody> {
    with(text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"), header::ALLOW, "GET, HEAD")
}

/// Redirects to the canonical form of a decoded path, with the query.
fn redirect_to_canonical(snapshot: &Snapshot, path: &str, query: Option<&str>) -> Response<SiteBody> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    redirect(snapshot, StatusCode::TEMPORARY_REDIRECT, &format!("{}{query}", encoded(path)))
}

fn redirect(snapshot: &Snapshot, status: StatusCode, location: &str) -> Response<SiteBody> {
    let answer = with(text(status, ""), header::LOCATION, location);
    match status {
        // Without `Cache-Control` a cache may store these for as long as it likes (RFC 9110 15.1).
        StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT => {
            with(answer, header::CACHE_CONTROL, &snapshot.site.options.cache.default)
        }
        _ => answer,
    }
}

/// Returns an answer with this status, headers and body.
pub(crate) fn response(status: StatusCode, headers: HeaderMap, body: impl Into<SiteBody>) -> Response<SiteBody> {
    let mut answer = Response::new(body.into());
    (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
    answer
}

/// Returns an answer with a line of text.
pub(crate) fn text(status: StatusCode, text: &str) -> Response<SiteBody> {
    let mut answer = Response::new(SiteBody::from(if text.is_empty() { String::new() } else { format!("{text}\n") }));
    *answer.status_mut() = status;
    let answer = with(answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    with(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// Adds a header, unless the value is not a valid header value.
pub(crate) fn with(mut answer: Response<SiteBody>, name: HeaderName, value: &str) -> Response<SiteBody> {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Returns the answer for an error of the store, without its details.
pub(crate) fn error_response(error: &Error) -> Response<SiteBody> {
    #[cfg(feature = "tracing")]
    tracing::error!(%error, "the site's store failed");
    if error.is_retryable() {
        let answer = text(StatusCode::SERVICE_UNAVAILABLE, "the store is temporarily unavailable");
        return with(answer, header::RETRY_AFTER, "1");
    }
    text(StatusCode::INTERNAL_SERVER_ERROR, "the store failed")
}
