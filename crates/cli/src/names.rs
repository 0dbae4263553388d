//! Filters of names by globs, and names of buckets.
//!
//! `--include`, `--exclude` and `--immutable` have one syntax, that of the crate `globset` with a
//! separator: `*` and `?` stay within a folder, `**` crosses folders, `[a-z]` and `{a,b}` are
//! alternatives. A glob without a slash matches the last part of a path, in any folder, as a line of
//! `.gitignore` does; one with a slash matches the whole path below the source or target.
//!
//! Globs differ from `.assetsignore` (see `ignored`): they know no negation, no comments and no order,
//! and distinguish case.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// A filter of names: those that an `--include` matches, if there is one, and no `--exclude` does.
/// Excluding wins.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Names {
    /// Compiles both lists. An empty list of includes takes everything.
    ///
    /// # Errors
    /// A glob that cannot be parsed, with its text.
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        let include = if include.is_empty() { None } else { Some(globs(include)?) };
        Ok(Self { include, exclude: globs(exclude)? })
    }

    /// Whether a file is included; for a path that ends with a slash, whether any file in the folder may be.
    ///
    /// The question for folders is asked by the walk before it opens one: a folder of which nothing can
    /// be taken is not read, and an unreadable folder or a link that leads out is no error there. The
    /// answer may err on the side of `true`, which costs only time, and never on that of `false`:
    /// includes are therefore not considered for folders, and an exclusion only if it matches the
    /// folder itself, or files both directly in it and further below.
    pub(crate) fn take(&self, name: &str) -> bool {
        if let Some(folder) = name.strip_suffix('/') {
            // Impossible names represent all files in the folder.
            let in_it = ["", "/\u{1}", "/\u{1}/\u{1}"].map(|rest| self.exclude.is_match(format!("{folder}{rest}")));
            return !(in_it[0] || in_it[1] && in_it[2]);
        }
        self.include.as_ref().is_none_or(|include| include.is_match(name)) && !self.exclude.is_match(name)
    }
}

/// Compiles globs. A glob without a slash matches names in every folder, as in `.gitignore`.
pub(crate) fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        let anywhere = if pattern.contains('/') { pattern.clone() } else { format!("**/{pattern}") };
        globs.add(GlobBuilder::new(&anywhere).literal_separator(true).build()?);
    }
    globs.build()
}

/// Splits BUCKET/PREFIX into the bucket's name and the prefix of the keys.
///
/// The prefix is empty or ends with one slash: `assets`, `assets/` and `assets//` are the whole bucket,
/// `assets/a` and `assets/a/` are the keys below `a/`, and not those that begin with `ab`.
pub(crate) fn bucket_and_prefix(text: &str) -> (&str, String) {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    match prefix.trim_end_matches('/') {
        "" => (bucket, String::new()),
        prefix => (bucket, format!("{prefix}/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_excluded_if_all_of_its_files_are() {
        let take =
            |exclude: &str, name: &str| Names::new(&[], &[exclude.to_owned()]).expect("the glob is valid").take(name);
        for exclude in ["media", "media/**", "**/media/**", "m*"] {
            assert!(!take(exclude, "media/"), "{exclude}");
        }
        for exclude in ["media/*.png", "*.png", "media/*", "other/**"] {
            assert!(take(exclude, "media/"), "{exclude}");
        }
        let include = Names::new(&["*.html".to_owned()], &[]).expect("the glob is valid");
        assert!(include.take("media/") && !include.take("media/a.png"));
    }
}
