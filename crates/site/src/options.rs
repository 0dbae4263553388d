//! How a site is served.

/// Options of a [`Site`](crate::Site).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SiteOptions {
    /// What the site's keys start with: `static/`, say.
    pub prefix: String,
    /// What `Cache-Control` says where the object itself says nothing.
    pub cache: CachePolicy,
    /// Look for precompressed variants: `.br`, `.zst`, `.gz` beside the file.
    pub precompressed: bool,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self { prefix: String::new(), cache: CachePolicy::default(), precompressed: true }
    }
}

impl SiteOptions {
    /// What the site's keys start with; a missing `/` at the end is added.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        if !self.prefix.is_empty() && !self.prefix.ends_with('/') {
            self.prefix.push('/');
        }
        self
    }

    /// What `Cache-Control` says where the object itself says nothing.
    #[must_use]
    pub fn with_cache(mut self, cache: CachePolicy) -> Self {
        self.cache = cache;
        self
    }

    /// Look for precompressed variants.
    #[must_use]
    pub fn with_precompressed(mut self, precompressed: bool) -> Self {
        self.precompressed = precompressed;
        self
    }
}

/// What `Cache-Control` says. The defaults are those of Workers Static Assets, and a year for names with a hash in them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachePolicy {
    /// For everything else.
    pub default: String,
    /// For names with a content hash, which never change: `app-3f9a1c2b.js`, `logo.5d41402abc.svg`.
    pub hashed: String,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            default: "public, max-age=0, must-revalidate".to_owned(),
            hashed: "public, max-age=31536000, immutable".to_owned(),
        }
    }
}

impl CachePolicy {
    /// The same for every name.
    pub fn always(value: impl Into<String>) -> Self {
        let value = value.into();
        Self { default: value.clone(), hashed: value }
    }

    /// What is said for a key.
    pub(crate) fn of(&self, key: &str) -> &str {
        if has_hash(key) { &self.hashed } else { &self.default }
    }
}

/// Whether a part of the file's name, between `-`, `.` or `_`, is at least 8 hexadecimal digits, both letters and digits:
/// all digits are a date or a number, all letters a word.
fn has_hash(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let is_hash = |part: &str| {
        part.len() >= 8
            && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            && part.bytes().any(|byte| byte.is_ascii_digit())
            && part.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    // The first part is the name itself: `20261123.html` is a date, not a hash.
    name.split(['-', '.', '_']).skip(1).any(is_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_from_names() {
        for hashed in ["a/app-3f9a1c2b.js", "logo.5d41402abc4b2a76.svg", "chunk_00ff00ff.css"] {
            assert!(has_hash(hashed), "{hashed}");
        }
        for plain in [
            "index.html",
            "20261123.html",
            "report-20261123.html",
            "a/defaced-facade.js",
            "app-1.2.3.js",
            "3f9a1c2b/app.js",
        ] {
            assert!(!has_hash(plain), "{plain}");
        }
    }
}
