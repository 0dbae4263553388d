//! Parsing a URL's path into a path within the site.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Characters that the URL standard percent-encodes in a path.
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'^').add(b'`').add(b'{').add(b'}');

/// Characters that the URL standard percent-encodes in a query.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\'');

/// Characters that JavaScript's `encodeURIComponent` encodes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// A path, decoded once and checked: relative, without empty, `.` or `..` segments. So it names a key below a prefix, or a file below
/// a folder, and cannot leave it.
///
/// ```
/// use isobar_site::{PathProblem, SitePath};
///
/// let path = SitePath::parse("/a%20b//c/")?;
/// assert_eq!((path.as_str(), path.is_folder()), ("a b/c", true));
/// assert_eq!(SitePath::parse("/%2e%2e/secret"), Err(PathProblem::Traversal));
/// assert_eq!(SitePath::parse("/.git/config"), Err(PathProblem::Hidden));
/// # Ok::<_, PathProblem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePath {
    /// The segments joined by `/`; empty for the root.
    path: String,
    /// The URL ends in `/`, so it names a folder.
    is_folder: bool,
}

/// The reason for which a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathProblem {
    /// Invalid percent-encoding, or bytes that are not UTF-8.
    Encoding,
    /// NUL, another control character, a backslash, or an encoded slash.
    Character,
    /// `.` or `..`, plain or encoded.
    Traversal,
    /// A name that starts with a dot, where those are not served; `/.well-known/` is always served.
    Hidden,
}

impl PathProblem {
    /// Whether the request is malformed (400); otherwise the path is not found (404).
    ///
    /// ```
    /// use isobar_site::PathProblem;
    ///
    /// assert!(PathProblem::Encoding.is_malformed());
    /// // A hidden file is as good as missing: the response must not say that it exists.
    /// assert!(!PathProblem::Hidden.is_malformed());
    /// ```
    #[must_use]
    pub fn is_malformed(self) -> bool {
        self != Self::Hidden
    }
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoding => "the path is not valid percent-encoded UTF-8",
            Self::Character => "the path has a character that is not allowed in file names",
            Self::Traversal => "the path has a segment that leads out of its folder",
            Self::Hidden => "not found",
        })
    }
}

impl SitePath {
    /// Decodes and checks the path of a URL, which starts with `/`.
    ///
    /// # Errors
    /// A [`PathProblem`] for a path that could leave the site or is not a valid name.
    pub fn parse(path: &str) -> Result<Self, PathProblem> {
        Self::read(path, false)
    }

    /// Parses a path as [`parse`](Self::parse) does; with `dotfiles`, names that begin with a dot are allowed.
    ///
    /// # Errors
    /// A [`PathProblem`], by the first segment that has one.
    pub(crate) fn read(path: &str, dotfiles: bool) -> Result<Self, PathProblem> {
        let mut segments = Vec::new();
        for raw in path.split('/').filter(|segment| !segment.is_empty()) {
            let segment = decode(raw)?;
            if segment == "." || segment == ".." {
                return Err(PathProblem::Traversal);
            }
            if segment.contains(['/', '\\']) || segment.chars().any(char::is_control) {
                return Err(PathProblem::Character);
            }
            if !dotfiles && segment.starts_with('.') && !(segments.is_empty() && segment == ".well-known") {
                return Err(PathProblem::Hidden);
            }
            segments.push(segment);
        }
        Ok(Self { path: segments.join("/"), is_folder: path.ends_with('/') || path.is_empty() })
    }

    /// Returns the decoded path without leading and trailing slashes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Whether the path names a folder: the URL ends in `/`.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// Returns the decoded path with its slashes: `/`, `/a b`, `/docs/`.
    pub(crate) fn absolute(&self) -> String {
        match self.path.is_empty() {
            true => "/".to_owned(),
            false => format!("/{}{}", self.path, if self.is_folder { "/" } else { "" }),
        }
    }
}

/// Normalizes a path as a browser would: percent-encoded where necessary, with slashes in place of backslashes.
pub(crate) fn normalized(path: &str) -> Cow<'_, str> {
    match path.contains('\\') {
        true => utf8_percent_encode(&path.replace('\\', "/"), PATH).to_string().into(),
        false => utf8_percent_encode(path, PATH).into(),
    }
}

/// Normalizes a query as [`normalized`] does a path.
pub(crate) fn normalized_query(query: &str) -> Cow<'_, str> {
    utf8_percent_encode(query, QUERY).into()
}

/// Encodes a decoded path for a URL, in its canonical form.
pub(crate) fn encoded(path: &str) -> String {
    let segments: Vec<Cow<'_, str>> =
        path.split('/').map(|segment| utf8_percent_encode(segment, COMPONENT).into()).collect();
    segments.join("/")
}

/// Decodes a segment once; a `%` without two hexadecimal digits is refused.
fn decode(segment: &str) -> Result<String, PathProblem> {
    let well_formed = segment
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit));
    if !well_formed {
        return Err(PathProblem::Encoding);
    }
    percent_decode_str(segment).decode_utf8().map(Into::into).map_err(|_| PathProblem::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_decoded_once_and_stay_inside() {
        let path = |text| SitePath::parse(text).map(|path| (path.path, path.is_folder));
        assert_eq!(path("/"), Ok((String::new(), true)));
        assert_eq!(path("/a//b/"), Ok(("a/b".into(), true)));
        assert_eq!(path("/a%20b/%C3%A9.html"), Ok(("a b/é.html".into(), false)));
        assert_eq!(path("/%2525"), Ok(("%25".into(), false)));
        assert_eq!(path("/.well-known/security.txt"), Ok((".well-known/security.txt".into(), false)));
        for traversal in ["/..", "/a/../b", "/%2e%2e/b", "/%2E./b", "/a/./b", "/.%2e"] {
            assert_eq!(path(traversal), Err(PathProblem::Traversal), "{traversal}");
        }
        for character in ["/a%00b", "/a%5cb", "/a\\b", "/..%2f..%2fetc", "/a%0ab"] {
            assert_eq!(path(character), Err(PathProblem::Character), "{character}");
        }
        for encoding in ["/%", "/%2", "/%zz", "/%ff", "/%c3"] {
            assert_eq!(path(encoding), Err(PathProblem::Encoding), "{encoding}");
        }
        for hidden in ["/.git/config", "/a/.env", "/a/.well-known/x"] {
            assert_eq!(path(hidden), Err(PathProblem::Hidden), "{hidden}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_site(path in "(/|%2f|%5c|%2e|%252e|\\.|a|%00|\\\\|%){0,20}") {
            if let Ok(path) = SitePath::parse(&path) {
                prop_assert!(path.path.split('/').all(|segment| segment != ".." && segment != "."));
                prop_assert!(!path.path.contains(['\\', '\0']) && !path.path.starts_with('/'));
            }
        }
    }
}
