//! `.assetsignore`: which files of a site are not for the world.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

const FILE: &str = ".assetsignore";

/// What the `.assetsignore` of a folder names, by the rules of `.gitignore`, and that file itself.
#[derive(Debug)]
pub(crate) struct Ignored(Gitignore);

impl Ignored {
    /// Reads the file of this folder, if it has one.
    pub(crate) fn of(folder: &Path) -> Result<Self, ignore::Error> {
        let mut builder = GitignoreBuilder::new("");
        builder.add_line(None, &format!("/{FILE}"))?;
        let file = folder.join(FILE);
        if file.is_file()
            && let Some(error) = builder.add(&file)
        {
            return Err(error);
        }
        builder.build().map(Self)
    }

    /// Whether this file, by its path below the folder, takes part.
    pub(crate) fn take(&self, name: &str) -> bool {
        // A key may begin with a slash, and a path below a folder does not.
        !self.0.matched_path_or_any_parents(name.trim_start_matches('/'), false).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_stays_at_home() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = |name: &str| Ignored::of(folder.path()).expect("rules").take(name);
        assert!(take("a.js") && take(".well-known/x") && !take(FILE));
        std::fs::write(folder.path().join(FILE), "# not these\n*.map\n/drafts\n!keep.map\n").expect("a file");
        assert!(!take("js/a.map") && take("js/keep.map") && take("a.js"));
        assert!(!take("drafts/x.html") && take("a/drafts/x.html") && !take(FILE));
    }
}
