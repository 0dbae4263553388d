//! Files that never change under their name.

use std::sync::Arc;

use regex_lite::Regex;

/// Extensions that bundlers write with a hash of the content in the name, and other tools rarely do.
const CODE: &[&str] = &["cjs", "css", "eot", "js", "mjs", "otf", "ttf", "wasm", "woff", "woff2"];

/// Extensions that bundlers also write with a hash, and that people upload under names with an id in it.
const MEDIA: &[&str] = &[
    "aac", "apng", "avif", "bmp", "cur", "flac", "gif", "glb", "gltf", "ico", "jfif", "jpeg", "jpg", "jxl", "ktx2",
    "m4a", "mov", "mp3", "mp4", "ogg", "opus", "png", "svg", "vtt", "wav", "webm", "webp",
];

/// Folders in which only a build writes files.
const BUILD_FOLDERS: &[&str] =
    &["_app", "_assets", "_astro", "_expo", "_next", "_nuxt", "assets", "build", "bundles", "dist"];

/// Words that may stand between the hash and the extension.
const MARKS: &[&str] = &["bundle", "chunk", "legacy", "min", "module", "worker"];

/// The files that never change under their name because a build has put a hash of the content in it. They are cached for a year
/// (`immutable`) and stay reachable for some further deploys.
///
/// Default: [by the name](Self::by_name). `_headers` and `Cache-Control` stored with the object take precedence.
///
/// ```
/// use isobar_site::{Fingerprints, SiteOptions};
///
/// // Vite writes hashes of letters, digits, `-` and `_`, which no rule can tell from words: name its folder.
/// let options = SiteOptions::default().with_fingerprints(Fingerprints::globs(["assets/**"])?);
/// assert!(Fingerprints::globs([""]).is_err());
/// # drop(options);
/// # Ok::<_, isobar_site::GlobError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fingerprints(Rule);

/// The rule by which files are recognized.
#[derive(Debug, Clone, Default)]
enum Rule {
    #[default]
    Name,
    None,
    Globs(Arc<[Regex]>),
}

/// An invalid glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid glob {glob:?}: {message}")]
pub struct GlobError {
    glob: String,
    message: String,
}

impl Fingerprints {
    /// Recognizes files by their name: `app-3f9a1c2b.js`, `main.5d41402abc4b2a76.chunk.css`, `assets/logo-3f9a1c2b.svg`.
    ///
    /// The last part of the name before the extension, behind `-`, `.` or `_`, is 8 to 128 hexadecimal digits, letters and
    /// numbers among them, and not the end of a UUID; `.min`, `.chunk`, `.bundle`, `.module`, `.worker` and `.legacy` may follow.
    /// And the file is of a type that builds write: a script, a style, their source maps, WebAssembly, a font; an image, a
    /// sound, a video or a model only where the hash stands behind a `.`, or in a folder in which only builds write (`assets`,
    /// `build`, `bundles`, `dist`, `_app`, `_assets`, `_astro`, `_expo`, `_next`, `_nuxt`). Never a page, a document or data:
    /// their names have ids and dates in them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("app-3f9a1c2b.js")?, "1").await?;
    /// store.write(&Key::new("app-20261129.js")?, "1").await?; // a date
    /// let site = Site::new(Arc::new(store), SiteOptions::default());
    /// let hashed = site.respond(&http::Request::get("/app-3f9a1c2b.js").body(())?).await;
    /// assert_eq!(hashed.headers()["cache-control"], "public, max-age=31536000, immutable");
    /// let dated = site.respond(&http::Request::get("/app-20261129.js").body(())?).await;
    /// assert_eq!(dated.headers()["cache-control"], "public, max-age=0, must-revalidate");
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn by_name() -> Self {
        Self(Rule::Name)
    }

    /// Recognizes no file: every file may change.
    ///
    /// For sites whose builds write other names, where a long life would be a guess.
    ///
    /// ```
    /// use isobar_site::{Fingerprints, SiteOptions};
    /// let options = SiteOptions::default().with_fingerprints(Fingerprints::none());
    /// # drop(options);
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self(Rule::None)
    }

    /// Recognizes files whose path below the site matches one of these globs: `assets/**`, `*.woff2`. `*` and `?` do not match a
    /// slash, `**` does. A glob without a slash matches file names in every folder.
    ///
    /// # Errors
    /// An empty glob, or one that is too large to be compiled.
    ///
    /// ```
    /// use isobar_site::Fingerprints;
    ///
    /// let fingerprints = Fingerprints::globs(["assets/**", "*.woff2"])?;
    /// let refused = Fingerprints::globs(["/"]).unwrap_err();
    /// assert_eq!(refused.to_string(), "invalid glob \"/\": it is empty");
    /// # drop(fingerprints);
    /// # Ok::<_, isobar_site::GlobError>(())
    /// ```
    pub fn globs<G: AsRef<str>>(globs: impl IntoIterator<Item = G>) -> Result<Self, GlobError> {
        let globs: Result<Vec<Regex>, GlobError> = globs.into_iter().map(|glob| compiled(glob.as_ref())).collect();
        Ok(Self(Rule::Globs(globs?.into())))
    }

    /// Whether the file at this path below the site never changes.
    pub(crate) fn has(&self, path: &str) -> bool {
        match &self.0 {
            Rule::Name => has_hash(path),
            Rule::None => false,
            Rule::Globs(globs) => {
                let path = without_encoding(path);
                globs.iter().any(|glob| glob.is_match(path))
            }
        }
    }
}

/// Compiles a glob to a regular expression that matches a whole path. It takes linear time for every path.
fn compiled(glob: &str) -> Result<Regex, GlobError> {
    let refused = |message: String| GlobError { glob: glob.to_owned(), message };
    let pattern = glob.trim_start_matches('/');
    if pattern.is_empty() {
        return Err(refused("it is empty".to_owned()));
    }
    let mut regex = String::from(if glob.contains('/') { "^" } else { "^(?:.*/)?" });
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let (part, length) = match next {
            '*' if rest.starts_with("**/") => ("(?:.*/)?".to_owned(), 3),
            '*' if rest.starts_with("**") => (".*".to_owned(), 2),
            '*' => ("[^/]*".to_owned(), 1),
            '?' => ("[^/]".to_owned(), 1),
            _ => (regex_lite::escape(&rest[..next.len_utf8()]), next.len_utf8()),
        };
        regex.push_str(&part);
        rest = &rest[length..];
    }
    regex.push('$');
    Regex::new(&regex).map_err(|error| refused(error.to_string()))
}

/// Strips the suffix of a precompressed variant from a path.
fn without_encoding(path: &str) -> &str {
    [".br", ".zst", ".gz"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path)
}

/// Whether a name has a hash in it: see [`Fingerprints::by_name`].
fn has_hash(path: &str) -> bool {
    let (folders, name) = without_encoding(path).rsplit_once('/').unwrap_or(("", without_encoding(path)));
    let Some((mut stem, mut extension)) = name.rsplit_once('.') else { return false };
    if extension.eq_ignore_ascii_case("map") {
        // A source map is named after its script or style.
        let Some(mapped) = stem.rsplit_once('.') else { return false };
        (stem, extension) = mapped;
    }
    let is_of = |types: &[&str]| types.iter().any(|other| extension.eq_ignore_ascii_case(other));
    let is_code = is_of(CODE);
    if !is_code && !is_of(MEDIA) {
        return false;
    }
    while let Some((before, mark)) = stem.rsplit_once('.')
        && MARKS.contains(&mark)
    {
        stem = before;
    }
    // The first part is the name itself: `20261123.js` is a date, not a hash.
    let Some(at) = stem.rfind(['-', '.', '_']).filter(|at| *at > 0) else { return false };
    let before = &stem[..at];
    let hash = &stem[at + 1..];
    let is_marked = stem.as_bytes()[at] == b'.' || folders.split('/').any(|folder| BUILD_FOLDERS.contains(&folder));
    is_hash(hash) && !ends_uuid(before, hash) && (is_code || is_marked)
}

/// Whether a part is a hexadecimal hash: only digits may be a date or a number, only letters a word.
fn is_hash(part: &str) -> bool {
    (8..=128).contains(&part.len())
        && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether these are the parts of a UUID: `550e8400-e29b-41d4-a716-446655440000`.
fn ends_uuid(before: &str, last: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut parts = before.rsplit(['-', '_']);
    let has_groups = (0..3).all(|_| parts.next().is_some_and(|part| part.len() == 4 && is_hex(part)));
    let first = parts.next().unwrap_or_default();
    let first = first.rsplit('.').next().unwrap_or_default();
    last.len() == 12 && has_groups && first.len() == 8 && is_hex(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_distinguished_from_names_with_ids() {
        for hashed in [
            "a/app-3f9a1c2b.js",
            "logo.5d41402abc4b2a76.svg",
            "chunk_00ff00ff.css",
            "static/js/main.3f9a1c2b.chunk.js",
            "main.3f9a1c2b.js.map",
            "app-3f9a1c2b.min.css",
            "app-3f9a1c2b.js.br",
            "assets/photo-3f9a1c2b.JPG",
            "_next/static/media/inter-5d41402abc4b2a76.woff2",
            "fonts/inter-5d41402abc4b2a76b9719d911017c592.woff2",
            "550e8400-e29b-41d4-a716-446655440000.3f9a1c2b.js",
            "core_bg-3f9a1c2b.wasm",
        ] {
            assert!(has_hash(hashed), "{hashed}");
        }
        for plain in [
            "index.html",
            "20261123.html",
            "report-20261123.html",
            "a/defaced-facade.js",
            "app-1.2.3.js",
            "3f9a1c2b/app.js",
            "3f9a1c2b.js",
            "-3f9a1c2b.js",
            "invoice-3f9a1c2b.pdf",
            "invoice-3f9a1c2b.html",
            "assets/invoice-3f9a1c2b.html",
            "users/user-3f9a1c2b.json",
            "assets/data-3f9a1c2b.json",
            "docs/commit-3f9a1c2b",
            "export.3f9a1c2b.csv",
            "550e8400-e29b-41d4-a716-446655440000.html",
            "550e8400-e29b-41d4-a716-446655440000.png",
            "assets/550e8400-e29b-41d4-a716-446655440000.png",
            "assets/user-550e8400-e29b-41d4-a716-446655440abc.js",
            "assets/user_550e8400_e29b_41d4_a716_446655440abc.js",
            "photos/photo-3f9a1c2b.jpg",
            "avatar_5d41402abc4b2a76.png",
            "app-3f9a1c2b-v2.js",
            "backup-3f9a1c2b.zip",
            "3f9a1c2b.map",
        ] {
            assert!(!has_hash(plain), "{plain}");
        }
    }

    #[test]
    fn globs_replace_the_rule() {
        let globs = Fingerprints::globs(["assets/**", "*.woff2", "/img/?.png"]).expect("the globs are valid");
        for (path, is_fixed) in [
            ("assets/index-DiwrgTda.js", true),
            ("assets/deep/er.css", true),
            ("assets/index.js.br", true),
            ("fonts/inter.woff2", true),
            ("inter.woff2", true),
            ("img/a.png", true),
            ("img/ab.png", false),
            ("app-3f9a1c2b.js", false),
            ("x/assets/a.js", false),
        ] {
            assert_eq!(globs.has(path), is_fixed, "{path}");
        }
        assert!(!Fingerprints::none().has("app-3f9a1c2b.js"));
        assert!(Fingerprints::default().has("app-3f9a1c2b.js"));
        assert!(Fingerprints::globs(["/"]).is_err());
        assert!(Fingerprints::globs(["a/**/b.js"]).expect("the glob is valid").has("a/b.js"));
    }
}
