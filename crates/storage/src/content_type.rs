//! Content types by the key's extension.

/// What a key without a known extension is served as.
pub const DEFAULT: &str = "application/octet-stream";

/// The content type that a key's extension stands for; `; charset=utf-8` on text. `None` where the extension says nothing.
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
    let (_, extension) = name.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    let essence = match corrected(&extension) {
        Some(corrected) => corrected.to_owned(),
        None => mime_guess::from_ext(&extension).first_raw()?.to_owned(),
    };
    Some(if is_text(&essence) { essence + "; charset=utf-8" } else { essence })
}

/// Where `mime_guess` is silent, or says other than what browsers and the IANA registry want today.
fn corrected(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "js" | "mjs" | "cjs" => "text/javascript", // RFC 9239
        "webmanifest" => "application/manifest+json",
        "map" => "application/json",
        "jsonld" => "application/ld+json",
        "md" | "markdown" => "text/markdown",
        "ico" => "image/vnd.microsoft.icon",
        "avif" => "image/avif",
        "webp" => "image/webp",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "glb" => "model/gltf-binary",
        "gltf" => "model/gltf+json",
        "usdz" => "model/vnd.usdz+zip",
        "obj" => "model/obj",
        "stl" => "model/stl",
        "ts" => "video/mp2t",
        "m4a" => "audio/mp4",
        "opus" => "audio/ogg",
        "toml" => "application/toml",
        "yaml" | "yml" => "application/yaml", // RFC 9512
        _ => return None,
    })
}

/// Types whose bytes are text and whose charset a browser would otherwise guess.
fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || matches!(
            essence,
            "application/json" | "application/manifest+json" | "application/xml" | "image/svg+xml" | "application/yaml"
        )
}
