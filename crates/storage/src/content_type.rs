//! Content types by the key's extension.
//!
//! One table for all that writes files into a bucket (uploads, `sync`, [`ObjectStoreExt::write`](crate::ObjectStoreExt::write)) and for what
//! serves a folder as it is ([`Directory`](crate::directory::Directory)): a site has the same types from either, and those that Cloudflare
//! would answer with. [`ObjectStore::put`](crate::ObjectStore::put) guesses nothing, as R2 does not.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Content type of a key without a known extension, for an answer that has to have one. Such an object itself is stored without.
pub const DEFAULT: &str = "application/octet-stream";

/// The types that Workers Static Assets answers with, by extension: `EXTENSION<tab>TYPE` a line, sorted. Written by `cargo xtask
/// assets --write`, which asks the asset Worker for a file of every extension that wrangler's library knows (`mime` 4.0.7).
const TABLE: &str = include_str!("content_types.tsv");

static TYPES: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| TABLE.lines().filter_map(|line| line.split_once('\t')).collect());

/// Returns the content type that a key's extension stands for, as Workers Static Assets has it: `; charset=utf-8` with
/// `text/*` alone. Extensions that are not known there have the type of the crate `mime_guess`, or none; neither has a name that
/// begins with its only dot.
///
/// ```
/// use isobar_storage::content_type::from_key;
/// assert_eq!(from_key("static/app.JS").as_deref(), Some("text/javascript; charset=utf-8"));
/// assert_eq!(from_key("media/chair.glb").as_deref(), Some("model/gltf-binary"));
/// assert_eq!(from_key("Makefile"), None);
/// ```
#[must_use]
pub fn from_key(key: &str) -> Option<String> {
    let name = key.rsplit('/').next().unwrap_or(key);
    let (_, extension) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())?;
    let extension = extension.to_ascii_lowercase();
    if let Some(known) = TYPES.get(&*extension) {
        return Some((*known).to_owned());
    }
    let essence = mime_guess::from_ext(&extension).first_raw()?;
    Some(if essence.starts_with("text/") { format!("{essence}; charset=utf-8") } else { essence.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_asset_worker_is_answered() {
        for line in TABLE.lines() {
            let (extension, content_type) = line.split_once('\t').expect("a tab in every line");
            for key in [format!("a.{extension}"), format!("a/B.c.{}", extension.to_ascii_uppercase())] {
                assert_eq!(from_key(&key).as_deref(), Some(content_type), "{key}");
            }
            assert_eq!(from_key(&format!("a/.{extension}")), None);
        }
        assert!(TYPES.len() > 1200, "{}", TYPES.len());
    }

    #[test]
    fn types_that_differed_are_the_asset_workers() {
        for (extension, content_type) in [
            ("rpm", "application/x-redhat-package-manager"),
            ("mts", "video/mp2t"),
            ("woff", "font/woff"),
            ("otf", "font/otf"),
            ("m3u8", "application/vnd.apple.mpegurl"),
            ("wgsl", "text/wgsl; charset=utf-8"),
            ("ktx2", "image/ktx2"),
            ("xml", "application/xml"),
            ("json", "application/json"),
            ("svg", "image/svg+xml"),
            ("webmanifest", "application/manifest+json"),
            ("yaml", "text/yaml; charset=utf-8"),
            ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            // Not known there.
            ("py", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(from_key(&format!("a.{extension}")).as_deref(), Some(content_type), "{extension}");
        }
    }
}
