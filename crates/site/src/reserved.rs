//! Names below a site that are never served.

use crate::rules;

/// The folder of the deploys, under the site's prefix. Never served and never listed.
pub const FOLDER: &str = ".deploy/";

/// Whether a path is never served: a file of rules, or a part of a deploy.
pub(crate) fn is_reserved(path: &str) -> bool {
    let name = path.strip_prefix('/').unwrap_or(path);
    name.starts_with(FOLDER) || [rules::HEADERS, rules::REDIRECTS, ".assetsignore"].contains(&name)
}
