//! From a path to its file, redirect or listing, in this order: `_redirects`, the form of the path, `html_handling`, a listing,
//! `not_found_handling`.
//!
//! | step | decides | answer |
//! |---|---|---|
//! | `_redirects` | a rule that matches | its status and location, or another path with 200 |
//! | the path's form | invalid bytes, `..`, a NUL | 400 |
//! | dotfiles | a hidden segment | as for a missing file |
//! | `html_handling` | a file at another path | 307 to it |
//! | canonical form | `/a//b`, `/%61` | 307 to the one form |
//! | the file | there is one | the file; 405 to a write |
//! | a listing | a folder, where it is on | a page or JSON |
//! | `not_found_handling` | nothing of the above | the index with 200, a page with 404, or 404 |
//!
//! The order is that of Workers Static Assets; the gate compares the answers with those of the real asset Worker.

mod find;
mod html_handling;
mod listing;

use std::borrow::Cow;

use http::{Response, StatusCode, header};
use isobar_storage::Error;

use self::find::{Finder, Match};
use self::listing::Listed;
use crate::body::SiteBody;
use crate::deploy::File;
use crate::handling::NotFoundHandling;
use crate::options::SiteOptions;
use crate::path::{SitePath, encoded};
use crate::representation::{FALLBACK_VARIES, Representation};
use crate::request::{RequestHead, RequestTarget};
use crate::response::{method_not_allowed, text, with};
use crate::rules::Redirection;
use crate::snapshot::Snapshot;
use crate::timing::Rule;

/// The resolution of a path, before the request's conditions and ranges are applied.
pub(crate) enum Resolution {
    /// A finished response.
    Done(Response<SiteBody>),
    /// The listing of a folder, which depends on more of the request than a file does.
    Listing(Response<SiteBody>),
    /// A file.
    File(Representation),
    /// The page for a missing file.
    NotFoundPage(Representation),
}

/// Resolves a path, and names the rule that decided. Of the headers only those count that select among files.
///
/// # Errors
/// The store's error, if a file or a folder cannot be looked up.
pub(crate) async fn resolve(
    snapshot: &Snapshot,
    head: RequestHead<'_>,
    target: &RequestTarget<'_>,
) -> Result<(Rule, Resolution), Error> {
    let options = &snapshot.source.options;
    let asked: Cow<'_, str> = match snapshot.redirects().find(&target.path, target.query()) {
        Some(Redirection::To(status, location)) => {
            return Ok((Rule::Redirects, Resolution::Done(redirect(options, status, &location))));
        }
        Some(Redirection::Rewrite(path)) => path.into(),
        None => (&*target.path).into(),
    };
    let path = match SitePath::read(&asked, true) {
        Ok(path) => path.absolute(),
        Err(problem) => {
            return Ok((Rule::Path, Resolution::Done(text(StatusCode::BAD_REQUEST, &problem.to_string()))));
        }
    };
    let mut finder = Finder::new(snapshot, &path, head);
    let is_hidden = SitePath::read(&asked, options.dotfiles).is_err();
    let found = if is_hidden {
        // A hidden file is treated as missing.
        finder.not_found(&path).await?
    } else if options.listing && head.is_read() {
        match finder.find(&path, false).await? {
            Some(found) => Some(found),
            None => match listing::respond(snapshot, head, &path, target.query()).await? {
                Some(Listed::Page(page)) => return Ok((Rule::Listing, Resolution::Listing(page))),
                Some(Listed::Redirect(to)) => Some(Match::Redirect(to)),
                None => finder.not_found(&path).await?,
            },
        }
    } else {
        finder.find(&path, true).await?
    };
    let Some(found) = found else { return Ok((Rule::Missing, missing(options))) };
    matched(snapshot, head, target.query(), &asked, &path, found).await
}

/// Resolves a match: `path` is `asked`, decoded.
async fn matched(
    snapshot: &Snapshot,
    head: RequestHead<'_>,
    query: Option<&str>,
    asked: &str,
    path: &str,
    found: Match,
) -> Result<(Rule, Resolution), Error> {
    let options = &snapshot.source.options;
    let represented = async |file: File| Representation::select(snapshot, file, head).await;
    Ok(match found {
        // A write to a missing file is not answered by the page for missing files.
        Match::NotFoundPage(_) if !head.is_read() => (Rule::Missing, missing(options)),
        _ if !head.is_read() => (Rule::Method, Resolution::Done(method_not_allowed())),
        Match::Redirect(to) => (Rule::HtmlHandling, Resolution::Done(redirect_to_canonical(options, &to, query))),
        // Each file has one canonical path: `/a//b`, `/%61` and the like redirect to it.
        _ if encoded(path) != asked => (Rule::Path, Resolution::Done(redirect_to_canonical(options, path, query))),
        Match::File(file) => (Rule::File, Resolution::File(represented(file).await?)),
        Match::Fallback(file) => {
            let page = Representation { is_fallback: true, ..represented(file).await? };
            (Rule::NotFoundHandling, Resolution::File(page))
        }
        Match::NotFoundPage(file) => (Rule::NotFoundHandling, Resolution::NotFoundPage(represented(file).await?)),
    })
}

/// Whether a path resolves to anything but not found; `not_found` says whether `not_found_handling` counts.
///
/// # Errors
/// The store's error, if a file or a folder cannot be looked up.
pub(crate) async fn has_match(
    snapshot: &Snapshot,
    head: RequestHead<'_>,
    target: &RequestTarget<'_>,
    not_found: bool,
) -> Result<bool, Error> {
    let options = &snapshot.source.options;
    let asked: Cow<'_, str> = match snapshot.redirects().find(&target.path, target.query()) {
        Some(Redirection::To(..)) => return Ok(true),
        Some(Redirection::Rewrite(path)) => path.into(),
        None => (&*target.path).into(),
    };
    // No file has an invalid name: the application may know it, unless the site handles missing files.
    let Ok(path) = SitePath::read(&asked, options.dotfiles) else {
        return Ok(not_found && options.not_found_handling != NotFoundHandling::None);
    };
    let path = path.absolute();
    if Finder::new(snapshot, &path, head).find(&path, not_found).await?.is_some() {
        return Ok(true);
    }
    Ok(options.listing && listing::is_folder(snapshot, &path).await?)
}

/// Returns the response for a missing file without a page.
fn missing(options: &SiteOptions) -> Resolution {
    let response = text(StatusCode::NOT_FOUND, "not found");
    // A browser that navigates gets the page instead.
    let is_for_some = options.not_found_handling == NotFoundHandling::SinglePageApplication;
    Resolution::Done(if is_for_some { with(response, header::VARY, FALLBACK_VARIES) } else { response })
}

/// Redirects to the canonical form of a decoded path, with the query.
fn redirect_to_canonical(options: &SiteOptions, path: &str, query: Option<&str>) -> Response<SiteBody> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    redirect(options, StatusCode::TEMPORARY_REDIRECT, &format!("{}{query}", encoded(path)))
}

/// Redirects to a location. Permanent redirects get the policy of a page, so that they can be taken back.
fn redirect(options: &SiteOptions, status: StatusCode, location: &str) -> Response<SiteBody> {
    let response = with(text(status, ""), header::LOCATION, location);
    match status {
        // Without `Cache-Control` a cache may store these for as long as it likes (RFC 9110 15.1).
        StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT => {
            with(response, header::CACHE_CONTROL, &options.cache.default)
        }
        _ => response,
    }
}
