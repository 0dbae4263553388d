//! Names by globs, and names of buckets.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The names that take part.
pub(crate) struct Names {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Names {
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        let include = if include.is_empty() { None } else { Some(globs(include)?) };
        Ok(Self { include, exclude: globs(exclude)? })
    }

    pub(crate) fn take(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(name)) && !self.exclude.is_match(name)
    }
}

/// A glob without a slash is of names anywhere, as in `.gitignore`.
pub(crate) fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        let anywhere = if pattern.contains('/') { pattern.clone() } else { format!("**/{pattern}") };
        globs.add(GlobBuilder::new(&anywhere).literal_separator(true).build()?);
    }
    globs.build()
}

/// A bucket's name, and what the keys begin with.
pub(crate) fn bucket_and_prefix(text: &str) -> (&str, String) {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    match prefix.trim_end_matches('/') {
        "" => (bucket, String::new()),
        prefix => (bucket, format!("{prefix}/")),
    }
}
