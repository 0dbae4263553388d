//! The file for a path, by the `html_handling` and `not_found_handling` of Workers Static Assets.
//!
//! Candidates are looked up in their order, and the first that exists decides. An error of the store ends the search: taking the
//! next candidate would answer with another page, or with 404, because the store was busy. Each file is looked up once for a
//! request, as the candidates of several rules name the same ones.

use isobar_storage::Error;

use super::html_handling::{Candidate, candidates};
use crate::deploy::File;
use crate::handling::NotFoundHandling;
use crate::request::RequestHead;
use crate::reserved::is_reserved;
use crate::snapshot::Snapshot;

/// The result of looking a path up.
pub(super) enum Match {
    /// The file at the path.
    File(File),
    /// The single-page application's index: no file matches, and the client may want a page.
    Fallback(File),
    /// The `404.html` page, sent with status 404: no file matches.
    NotFoundPage(File),
    /// The canonical path of the file.
    Redirect(String),
}

/// Looks up the files of one request; reads each from the store at most once.
pub(super) struct Finder<'s> {
    snapshot: &'s Snapshot,
    /// Whether the client may want a page.
    wants_page: bool,
    seen: Vec<(String, Option<File>)>,
}

impl<'s> Finder<'s> {
    /// Creates a finder that has looked nothing up; `path` is the decoded path of the request.
    pub(super) fn new(snapshot: &'s Snapshot, path: &str, head: RequestHead<'_>) -> Self {
        Self { snapshot, wants_page: wants_page(path, head), seen: Vec::new() }
    }

    /// Resolves a decoded path; `not_found` says whether `not_found_handling` applies.
    ///
    /// # Errors
    /// The store's error, if a candidate cannot be looked up: a later candidate must not take the place of an earlier one.
    pub(super) async fn find(&mut self, path: &str, not_found: bool) -> Result<Option<Match>, Error> {
        for candidate in candidates(self.snapshot.source.options.html_handling, path) {
            match candidate {
                Candidate::Serve(file) => {
                    if let Some(file) = self.file(&file).await? {
                        return Ok(Some(Match::File(file)));
                    }
                }
                Candidate::Redirect { file, to } => {
                    if self.is_found_under(&file, &to).await? {
                        return Ok(Some(Match::Redirect(to)));
                    }
                }
            }
        }
        if not_found { self.not_found(path).await } else { Ok(None) }
    }

    /// Resolves a path without a file by `not_found_handling`: the `404.html` of the nearest folder, or `/index.html`.
    ///
    /// # Errors
    /// The store's error, if a page cannot be looked up.
    pub(super) async fn not_found(&mut self, path: &str) -> Result<Option<Match>, Error> {
        match self.snapshot.source.options.not_found_handling {
            NotFoundHandling::None => Ok(None),
            NotFoundHandling::SinglePageApplication if !self.wants_page => Ok(None),
            NotFoundHandling::SinglePageApplication => Ok(self.file("/index.html").await?.map(Match::Fallback)),
            NotFoundHandling::NotFoundPage => {
                let mut folder = path;
                while let Some((parent, _)) = folder.rsplit_once('/') {
                    if let Some(file) = self.file(&format!("{parent}/404.html")).await? {
                        return Ok(Some(Match::NotFoundPage(file)));
                    }
                    folder = parent;
                }
                Ok(None)
            }
        }
    }

    /// Whether a path that is not a file itself leads to this file, or to one with the same bytes.
    async fn is_found_under(&mut self, file: &str, path: &str) -> Result<bool, Error> {
        let Some(wanted) = self.file(file).await? else { return Ok(false) };
        if self.file(path).await?.is_some() {
            return Ok(false);
        }
        for candidate in candidates(self.snapshot.source.options.html_handling, path) {
            if let Candidate::Serve(file) = candidate
                && let Some(found) = self.file(&file).await?
            {
                return Ok(found.meta.etag == wanted.meta.etag);
            }
        }
        Ok(false)
    }

    /// Returns the file of a path; `None` also for paths that are never served: hidden, reserved, and those that a rule made and
    /// that lead out of the site.
    async fn file(&mut self, path: &str) -> Result<Option<File>, Error> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_hidden = name.starts_with('.') && !self.snapshot.source.options.dotfiles;
        // A rule turns `/.html` into a path that begins with `//`, which a browser reads as a host, and `/..html` into a
        // path with a `..` segment.
        let leads_off = path.starts_with("//") || path.split('/').any(|segment| matches!(segment, "." | ".."));
        if name.is_empty() || leads_off || is_reserved(path) || is_hidden {
            return Ok(None);
        }
        if let Some((_, seen)) = self.seen.iter().find(|(seen, _)| seen == path) {
            return Ok(seen.clone());
        }
        let found = self.snapshot.file(path.strip_prefix('/').unwrap_or(path)).await?;
        self.seen.push((path.to_owned(), found.clone()));
        Ok(found)
    }
}

/// Whether the client may want a page: by `Sec-Fetch-Dest`, else by the extension of the path.
fn wants_page(path: &str, head: RequestHead<'_>) -> bool {
    match head.wants_page() {
        Some(is_page) => is_page,
        None => {
            let name = path.rsplit('/').next().unwrap_or_default();
            !name.contains('.') || name.ends_with(".html")
        }
    }
}
