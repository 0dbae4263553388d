//! `.assetsignore`: files of a site that are not published.
//!
//! The file is wrangler's, and the rules are those of `.gitignore` without case. The library `ignore`
//! has them, with these differences, which are evened out here so that a folder is published alike by
//! both:
//!
//! | case | `ignore` | wrangler, and here |
//! |---|---|---|
//! | case of letters beyond ASCII | distinguished | folded |
//! | `{` and `}` | alternatives | literal |
//! | `[` without `]` | literal | the line matches nothing, with a warning |
//! | a file below an excluded folder, included again by `!` | depends on the caller | stays excluded, as in git |
//! | a byte order mark, `\r\n` | part of a pattern | left out |
//! | not UTF-8, a zero byte | accepted in part | an error: the whole file may have been written in another encoding |
//!
//! `.assetsignore` itself is never published. `_headers` and `_redirects` at the top are always read,
//! as they are the site's rules, and a site never serves them; below other folders they are files like
//! any other.

use std::error::Error;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

const FILE: &str = ".assetsignore";

/// Files of rules, which are read and never published, also if `.assetsignore` does not list them.
const RULES: [&str; 2] = ["_headers", "_redirects"];

/// A Pages function, which wrangler refuses to publish unless there is an `.assetsignore`.
const WORKER: &str = "_worker.js";

/// The files that a folder's `.assetsignore` matches, by the rules of `.gitignore` without case, and that file itself.
#[derive(Debug, Clone)]
pub(crate) struct Ignored {
    rules: Gitignore,
    warnings: Vec<String>,
    is_there: bool,
}

impl Ignored {
    /// Reads the file of this folder, if it has one.
    ///
    /// A folder without the file has the two rules of its own alone.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or has a zero byte. Lines that cannot be parsed are
    /// warnings, as in wrangler.
    pub(crate) fn of(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut builder = GitignoreBuilder::new("");
        // As in wrangler, `readme.md` also matches `README.md`.
        builder.case_insensitive(true)?;
        for name in [FILE].iter().chain(&RULES) {
            builder.add_line(None, &format!("/{name}"))?;
        }
        let file = folder.join(FILE);
        let is_there = file.is_file();
        let mut warnings = Vec::new();
        if is_there {
            let shown = file.display();
            let bytes = std::fs::read(&file).map_err(|error| format!("cannot read {shown}: {error}"))?;
            let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
            let text =
                text.ok_or_else(|| format!("{shown} is not UTF-8, or has a zero byte in it; save it as UTF-8"))?;
            for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').split('\n')) {
                let line = line.trim_end_matches('\r');
                let added = if has_open_class(line) {
                    Err("[ without ]".to_owned())
                } else {
                    builder.add_line(None, &pattern(line)).map(|_| ()).map_err(|error| error.to_string())
                };
                // As in wrangler, an invalid pattern matches nothing.
                if let Err(error) = added {
                    warnings.push(format!("{shown}, line {number} is ignored: {error}"));
                }
            }
        }
        Ok(Self { rules: builder.build()?, warnings, is_there })
    }

    /// Whether the file at this path below the folder is included; for a path that ends with a slash, whether the folder is.
    ///
    /// Names are paths below the folder, with slashes; in a bucket they are keys. The walk asks for a
    /// folder before it opens it.
    pub(crate) fn take(&self, name: &str) -> bool {
        // A key may begin with a slash; a path below a folder does not.
        let is_folder = name.ends_with('/');
        let name = name.trim_start_matches('/');
        if RULES.contains(&name) {
            return true;
        }
        let name = folded(name.trim_end_matches('/'));
        // A file below an excluded folder cannot be included again.
        let mut folders = name.match_indices('/').map(|(at, _)| &name[..at]);
        !folders.any(|folder| self.rules.matched(folder, true).is_ignore())
            && !self.rules.matched(&name, is_folder).is_ignore()
    }

    /// Prints warnings about ignored lines.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
    }

    /// Fails if a file is server code and there is no `.assetsignore`.
    ///
    /// wrangler refuses likewise: who has a Pages project may not know that its server code lies in the
    /// folder of the site. Any `.assetsignore`, also an empty one, shows that this was considered.
    pub(crate) fn check_worker<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> Result<(), String> {
        match names.find(|name| !self.is_there && name.starts_with(WORKER)) {
            None => Ok(()),
            Some(name) => Err(format!(
                "{name} is server code that would become public: add {WORKER} to the file {FILE} to leave it out, or create an \
                 empty {FILE} to publish it"
            )),
        }
    }
}

/// Whether a line has an unclosed character class, which the matcher takes literally and wrangler ignores.
///
/// A class opens at a `[` that no backslash escapes, and closes at the next such `]`. Comments have no
/// classes.
fn has_open_class(line: &str) -> bool {
    let mut is_open = false;
    let mut is_escaped = false;
    for char in line.chars() {
        match char {
            '[' if !is_escaped => is_open = true,
            ']' if !is_escaped => is_open = false,
            _ => {}
        }
        is_escaped = char == '\\' && !is_escaped;
    }
    is_open && !line.starts_with('#')
}

/// Converts a line to a pattern of the matcher: escapes braces, which have no meaning in `.gitignore`.
fn pattern(line: &str) -> String {
    let mut pattern = String::new();
    let mut is_escaped = false;
    for char in folded(line).chars() {
        if matches!(char, '{' | '}') && !is_escaped {
            pattern.push('\\');
        }
        is_escaped = char == '\\' && !is_escaped;
        pattern.push(char);
    }
    pattern
}

/// Folds the case of all letters; the matcher itself folds only ASCII.
fn folded(text: &str) -> String {
    if text.is_ascii() { text.to_owned() } else { text.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assetsignore_excludes_named_files() {
        let folder = tempfile::tempdir().expect("the folder is created");
        let take = |name: &str| Ignored::of(folder.path()).expect("the rules are read").take(name);
        assert!(take("a.js") && take(".well-known/x") && !take(FILE));
        std::fs::write(folder.path().join(FILE), "# not these\n*.map\n/drafts\n!keep.map\n")
            .expect("the file is written");
        assert!(!take("js/a.map") && take("js/keep.map") && take("a.js"));
        assert!(!take("drafts/x.html") && take("a/drafts/x.html") && !take(FILE));
    }

    #[test]
    fn assetsignore_ignores_case_as_wrangler_does() {
        let folder = tempfile::tempdir().expect("the folder is created");
        let take = |name: &str| Ignored::of(folder.path()).expect("the rules are read").take(name);
        std::fs::write(folder.path().join(FILE), "\u{feff}README.md\r\nSecret/\r\n*.MAP\n\u{dc}ber.txt\n_*\n")
            .expect("the file is written");
        for name in
            ["readme.md", "a/ReadMe.MD", "secret/x", "SECRET/a/b", "a.map", "\u{fc}ber.txt", ".ASSETSIGNORE", "_x"]
        {
            assert!(!take(name), "{name}");
        }
        assert!(take("secret") && take("_headers") && take("_redirects") && !take("a/_headers"));
        assert!(!take("secret/") && take("public/"));
    }

    #[test]
    fn patterns_are_those_of_gitignore() {
        let folder = tempfile::tempdir().expect("the folder is created");
        let ignored = || Ignored::of(folder.path()).expect("the rules are read");
        let lines = "drafts\n!*.html\n{slug}.txt\n*.{map,ts}\n[z\nbuild/**\n!build/keep.css\n\\#odd\ntrailing  \n";
        std::fs::write(folder.path().join(FILE), lines).expect("the file is written");
        for name in ["drafts/x.html", "a/drafts/b/x.html", "{slug}.txt", "build/x.css", "#odd", "trailing"] {
            assert!(!ignored().take(name), "{name}");
        }
        assert!(!ignored().take("_HEADERS") && ignored().take("a/_headers") && ignored().take("_headers"));
        for name in ["x.html", "slug.txt", "a.map", "b.ts", "[z", "z", "build/keep.css"] {
            assert!(ignored().take(name), "{name}");
        }
        assert!(ignored().warnings.iter().all(|warning| warning.contains("line 5")) && ignored().warnings.len() == 1);
    }

    #[test]
    fn assetsignore_that_is_not_utf8_is_refused() {
        let folder = tempfile::tempdir().expect("the folder is created");
        for bytes in [&b"caf\xe9\n"[..], b"a\0b\n"] {
            std::fs::write(folder.path().join(FILE), bytes).expect("the file is written");
            let error = Ignored::of(folder.path()).expect_err("not text").to_string();
            assert!(error.contains(FILE) && error.contains("UTF-8"), "{error}");
        }
    }

    #[test]
    fn server_code_needs_an_assetsignore_to_be_published() {
        let folder = tempfile::tempdir().expect("the folder is created");
        let check = |name: &'static str| {
            Ignored::of(folder.path()).expect("the rules are read").check_worker([name].into_iter())
        };
        assert!(check("_worker.js").is_err() && check("_worker.js/index.js").is_err() && check("a/_worker.js").is_ok());
        std::fs::write(folder.path().join(FILE), "").expect("the file is written");
        assert!(check("_worker.js").is_ok());
    }
}
