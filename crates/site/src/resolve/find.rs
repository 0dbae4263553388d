//! The file for a path, by the `html_handling` and `not_found_handling` of Workers Static Assets.

use http::HeaderMap;
use isobar_storage::Error;

use crate::deploy::{self, File};
use crate::rules;
use crate::snapshot::Snapshot;
use crate::{HtmlHandling, NotFoundHandling};

/// The result of looking a path up.
pub(crate) enum Intent {
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
pub(crate) struct Finder<'s> {
    snapshot: &'s Snapshot,
    /// Whether the client may want a page.
    wants_page: bool,
    seen: Vec<(String, Option<File>)>,
}

/// A candidate for a path.
enum Step {
    /// Serve this file.
    Serve(String),
    /// Redirect to that path if it leads to this file.
    Redirect { file: String, to: String },
}

impl<'s> Finder<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, path: &str, headers: &HeaderMap) -> Self {
        Self { snapshot, wants_page: wants_page(path, headers), seen: Vec::new() }
    }

    /// Resolves a decoded path; `not_found` says whether `not_found_handling` applies.
    pub(crate) async fn intent(&mut self, path: &str, not_found: bool) -> Result<Option<Intent>, Error> {
        for step in steps(self.snapshot.site.options.html_handling, path) {
            match step {
                Step::Serve(file) => {
                    if let Some(file) = self.file(&file).await? {
                        return Ok(Some(Intent::File(file)));
                    }
                }
                Step::Redirect { file, to } => {
                    if self.is_found_under(&file, &to).await? {
                        return Ok(Some(Intent::Redirect(to)));
                    }
                }
            }
        }
        if not_found { self.not_found(path).await } else { Ok(None) }
    }

    /// Resolves a path without a file by `not_found_handling`.
    pub(crate) async fn not_found(&mut self, path: &str) -> Result<Option<Intent>, Error> {
        match self.snapshot.site.options.not_found_handling {
            NotFoundHandling::None => Ok(None),
            NotFoundHandling::SinglePageApplication if !self.wants_page => Ok(None),
            NotFoundHandling::SinglePageApplication => Ok(self.file("/index.html").await?.map(Intent::Fallback)),
            NotFoundHandling::NotFoundPage => {
                let mut folder = path;
                while let Some((parent, _)) = folder.rsplit_once('/') {
                    if let Some(file) = self.file(&format!("{parent}/404.html")).await? {
                        return Ok(Some(Intent::NotFoundPage(file)));
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
        for step in steps(self.snapshot.site.options.html_handling, path) {
            if let Step::Serve(candidate) = step
                && let Some(found) = self.file(&candidate).await?
            {
                return Ok(found.meta.etag == wanted.meta.etag);
            }
        }
        Ok(false)
    }

    /// The file of a path.
    async fn file(&mut self, path: &str) -> Result<Option<File>, Error> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_hidden = name.starts_with('.') && !self.snapshot.site.options.dotfiles;
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

/// The candidates for a path, in order.
fn steps(html: HtmlHandling, path: &str) -> Vec<Step> {
    let serve = |file: String| Step::Serve(file);
    let redirect = |file: String, to: &str| Step::Redirect { file, to: to.to_owned() };
    let exact = || serve(path.to_owned());
    let with_html = || format!("{path}.html");
    let with_index = || format!("{path}/index.html");
    let mut steps = Vec::with_capacity(6);
    match html {
        HtmlHandling::None => return vec![exact()],
        HtmlHandling::AutoTrailingSlash => {
            if let Some(parent) = path.strip_suffix("/index") {
                steps.push(exact());
                steps.push(redirect(with_html(), &format!("{parent}/")));
                steps.push(redirect(format!("{parent}.html"), parent));
            } else if let Some(parent) = path.strip_suffix("/index.html") {
                steps.push(redirect(path.to_owned(), &format!("{parent}/")));
                steps.push(redirect(format!("{parent}.html"), parent));
            } else if let Some(page) = path.strip_suffix('/') {
                steps.push(serve(format!("{path}index.html")));
                steps.push(redirect(format!("{page}.html"), page));
            } else if let Some(page) = path.strip_suffix(".html") {
                steps.push(redirect(path.to_owned(), page));
                steps.push(redirect(format!("{page}/index.html"), &format!("{page}/")));
            }
            steps.push(exact());
            steps.push(serve(with_html()));
            steps.push(redirect(with_index(), &format!("{path}/")));
        }
        HtmlHandling::ForceTrailingSlash => {
            if let Some(parent) = path.strip_suffix("/index") {
                steps.push(exact());
                steps.push(redirect(with_html(), &format!("{parent}/")));
                steps.push(redirect(format!("{parent}.html"), &format!("{parent}/")));
            } else if let Some(parent) = path.strip_suffix("/index.html") {
                steps.push(redirect(path.to_owned(), &format!("{parent}/")));
                steps.push(redirect(format!("{parent}.html"), &format!("{parent}/")));
            } else if let Some(page) = path.strip_suffix('/') {
                steps.push(serve(format!("{path}index.html")));
                steps.push(serve(format!("{page}.html")));
            } else if let Some(page) = path.strip_suffix(".html") {
                steps.push(redirect(path.to_owned(), &format!("{page}/")));
                steps.push(exact());
                steps.push(redirect(format!("{page}/index.html"), &format!("{page}/")));
            }
            steps.push(exact());
            steps.push(redirect(with_html(), &format!("{path}/")));
            steps.push(redirect(with_index(), &format!("{path}/")));
        }
        HtmlHandling::DropTrailingSlash => {
            match path {
                "/index" => steps.extend([exact(), redirect("/index.html".to_owned(), "/")]),
                "/index.html" => steps.push(redirect("/index.html".to_owned(), "/")),
                "/" => steps.push(serve("/index.html".to_owned())),
                _ => {
                    if let Some(parent) = path.strip_suffix("/index") {
                        steps.push(exact());
                        steps.push(redirect(format!("{parent}.html"), parent));
                        steps.push(redirect(with_html(), parent));
                    } else if let Some(parent) = path.strip_suffix("/index.html") {
                        steps.push(redirect(path.to_owned(), parent));
                        steps.push(exact());
                        steps.push(redirect(format!("{parent}.html"), parent));
                    } else if let Some(page) = path.strip_suffix('/') {
                        steps.push(redirect(format!("{page}.html"), page));
                        steps.push(redirect(format!("{page}/index.html"), page));
                    } else if let Some(page) = path.strip_suffix(".html") {
                        steps.push(redirect(path.to_owned(), page));
                        steps.push(redirect(format!("{page}/index.html"), page));
                    }
                }
            }
            steps.push(exact());
            steps.push(serve(with_html()));
            steps.push(serve(with_index()));
        }
    }
    steps
}

/// Whether a browser wants a page, by `Sec-Fetch-Dest`; `None` without that header.
pub(crate) fn destination(headers: &HeaderMap) -> Option<bool> {
    let destination = headers.get("sec-fetch-dest").and_then(|destination| destination.to_str().ok())?;
    Some(matches!(destination, "document" | "iframe" | "frame"))
}

/// Whether the client may want a page: by `Sec-Fetch-Dest`, else by the extension of the path.
fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    match destination(headers) {
        Some(is_page) => is_page,
        None => {
            let name = path.rsplit('/').next().unwrap_or_default();
            !name.contains('.') || name.ends_with(".html")
        }
    }
}

/// Whether a path is never served: a file of rules, or a part of a deploy.
pub(crate) fn is_reserved(path: &str) -> bool {
    let name = path.strip_prefix('/').unwrap_or(path);
    name.starts_with(deploy::FOLDER) || [rules::HEADERS, rules::REDIRECTS, ".assetsignore"].contains(&name)
}
