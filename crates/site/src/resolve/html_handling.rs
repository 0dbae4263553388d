//! The files that may answer a path, by the `html_handling` of Workers Static Assets.
//!
//! A page has one address, and the others redirect to it. With `auto-trailing-slash`, the default:
//!
//! | file | address | redirected to it |
//! |---|---|---|
//! | `/about.html` | `/about` | `/about.html`, `/about/` |
//! | `/docs/index.html` | `/docs/` | `/docs`, `/docs/index`, `/docs/index.html` |
//!
//! `force-trailing-slash` gives both a slash, `drop-trailing-slash` neither. The lists here are pure: they say what would be
//! served or redirected if the file existed, and [`find`](super::find) looks. They are held to the real asset Worker by `cargo
//! xtask assets`.

use crate::handling::HtmlHandling;

/// A candidate for a path.
pub(super) enum Candidate {
    /// Serve this file.
    Serve(String),
    /// Redirect to that path if it leads to this file.
    Redirect { file: String, to: String },
}

/// Returns the candidates for a path, in order: the first whose file exists decides.
pub(super) fn candidates(html: HtmlHandling, path: &str) -> Vec<Candidate> {
    let mut candidates = Candidates { path, all: Vec::with_capacity(6) };
    match html {
        HtmlHandling::None => candidates.serve_exact(),
        HtmlHandling::AutoTrailingSlash => candidates.auto(),
        HtmlHandling::ForceTrailingSlash => candidates.force(),
        HtmlHandling::DropTrailingSlash => candidates.drop_slash(),
    }
    candidates.all
}

/// The candidates for a path as they are collected.
struct Candidates<'p> {
    path: &'p str,
    all: Vec<Candidate>,
}

impl<'p> Candidates<'p> {
    /// Adds a file to serve.
    fn serve(&mut self, file: String) {
        self.all.push(Candidate::Serve(file));
    }

    /// Adds a redirect to a path that leads to a file.
    fn redirect(&mut self, file: String, to: &str) {
        self.all.push(Candidate::Redirect { file, to: to.to_owned() });
    }

    /// The file whose name is the path.
    fn serve_exact(&mut self) {
        self.serve(self.path.to_owned());
    }

    /// Redirects the path of a page that is named in full.
    fn redirect_exact(&mut self, to: &str) {
        self.redirect(self.path.to_owned(), to);
    }

    /// Returns the page of the path.
    fn with_html(&self) -> String {
        format!("{}.html", self.path)
    }

    /// Returns the index of the path as a folder.
    fn with_index(&self) -> String {
        format!("{}/index.html", self.path)
    }

    /// [`HtmlHandling::AutoTrailingSlash`]: pages without a slash, folders with one.
    fn auto(&mut self) {
        let path: &'p str = self.path;
        let with_slash = format!("{path}/");
        if let Some(parent) = path.strip_suffix("/index") {
            self.serve_exact();
            self.redirect(self.with_html(), &format!("{parent}/"));
            self.redirect(format!("{parent}.html"), parent);
        } else if let Some(parent) = path.strip_suffix("/index.html") {
            self.redirect_exact(&format!("{parent}/"));
            self.redirect(format!("{parent}.html"), parent);
        } else if let Some(page) = path.strip_suffix('/') {
            self.serve(format!("{path}index.html"));
            self.redirect(format!("{page}.html"), page);
        } else if let Some(page) = path.strip_suffix(".html") {
            self.redirect_exact(page);
            self.redirect(format!("{page}/index.html"), &format!("{page}/"));
        }
        self.serve_exact();
        self.serve(self.with_html());
        self.redirect(self.with_index(), &with_slash);
    }

    /// [`HtmlHandling::ForceTrailingSlash`]: all with a slash.
    fn force(&mut self) {
        let path: &'p str = self.path;
        let with_slash = format!("{path}/");
        if let Some(parent) = path.strip_suffix("/index") {
            self.serve_exact();
            self.redirect(self.with_html(), &format!("{parent}/"));
            self.redirect(format!("{parent}.html"), &format!("{parent}/"));
        } else if let Some(parent) = path.strip_suffix("/index.html") {
            self.redirect_exact(&format!("{parent}/"));
            self.redirect(format!("{parent}.html"), &format!("{parent}/"));
        } else if let Some(page) = path.strip_suffix('/') {
            self.serve(format!("{path}index.html"));
            self.serve(format!("{page}.html"));
        } else if let Some(page) = path.strip_suffix(".html") {
            self.redirect_exact(&format!("{page}/"));
            self.serve_exact();
            self.redirect(format!("{page}/index.html"), &format!("{page}/"));
        }
        self.serve_exact();
        self.redirect(self.with_html(), &with_slash);
        self.redirect(self.with_index(), &with_slash);
    }

    /// [`HtmlHandling::DropTrailingSlash`]: all without a slash.
    fn drop_slash(&mut self) {
        let path: &'p str = self.path;
        if path == "/index" {
            self.serve_exact();
            self.redirect("/index.html".to_owned(), "/");
        } else if path == "/index.html" {
            self.redirect_exact("/");
        } else if path == "/" {
            self.serve("/index.html".to_owned());
        } else if let Some(parent) = path.strip_suffix("/index") {
            self.serve_exact();
            self.redirect(format!("{parent}.html"), parent);
            self.redirect(self.with_html(), parent);
        } else if let Some(parent) = path.strip_suffix("/index.html") {
            self.redirect_exact(parent);
            self.serve_exact();
            self.redirect(format!("{parent}.html"), parent);
        } else if let Some(page) = path.strip_suffix('/') {
            self.redirect(format!("{page}.html"), page);
            self.redirect(format!("{page}/index.html"), page);
        } else if let Some(page) = path.strip_suffix(".html") {
            self.redirect_exact(page);
            self.redirect(format!("{page}/index.html"), page);
        }
        self.serve_exact();
        self.serve(self.with_html());
        self.serve(self.with_index());
    }
}
