//! The type of an upload, by its name and its first bytes. Nothing is decoded, so decompression bombs have no effect.

use isobar_storage::content_type;

use crate::Problem;

/// Bytes at the beginning of an upload that are kept for its dimensions: a JPEG has them behind its EXIF data and colour profile.
pub(super) const HEAD_BYTES: usize = 256 * 1024;
/// Bytes by which the type is recognised.
pub(super) const SIGNATURE_BYTES: usize = 512;
/// Pixels that an image may claim to have: a viewer has to allocate memory for them.
const MAX_PIXELS: u64 = 100_000_000;

/// The kind of a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Video,
    Model,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Model => "model",
        }
    }

    /// The folder of the bucket.
    fn folder(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Video | Self::Model => "media",
        }
    }
}

/// The type that a name declares, before the first byte has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) content_type: String,
    extension: String,
}

impl Named {
    /// Returns the type that a name declares.
    ///
    /// # Errors
    /// 400 for an invalid name, 415 for an extension of another type.
    pub(super) fn of(name: &str) -> Result<Self, Problem> {
        let invalid = |detail: &str| Problem::bad_request("the upload's name is not valid").with_field("name", detail);
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(|it| it.is_control() || "/\\".contains(it))
        {
            return Err(invalid("must be 1 to 200 characters without slashes"));
        }
        let (_, extension) = name.rsplit_once('.').unwrap_or_default();
        let content_type = content_type::from_key(name).unwrap_or_default();
        let kind = match content_type.split('/').next() {
            Some("image") => Kind::Image,
            Some("video") => Kind::Video,
            Some("model") => Kind::Model,
            _ => {
                let detail =
                    "only images, videos and 3D models are taken: .png, .jpg, .webp, .svg, .mp4, .webm, .glb, .gltf";
                return Err(Problem::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail));
            }
        };
        Ok(Self { kind, content_type, extension: extension.to_ascii_lowercase() })
    }

    /// The object's key.
    pub(super) fn key(&self, id: &str) -> String {
        format!("{}/{id}.{}", self.kind.folder(), self.extension)
    }

    /// Checks that an upload begins with the signature of its type.
    ///
    /// # Errors
    /// 415.
    pub(super) fn check(&self, head: &[u8]) -> Result<(), Problem> {
        if self.begins(head) {
            return Ok(());
        }
        let detail = format!("the content is not {}, though its name ends with .{}", self.content_type, self.extension);
        Err(Problem::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail))
    }

    fn begins(&self, head: &[u8]) -> bool {
        let brand = || head.get(4..8) == Some(b"ftyp");
        let starts = |signature: &[u8]| head.starts_with(signature);
        let essence = self.content_type.split(';').next().unwrap_or_default();
        match essence {
            "image/png" => starts(b"\x89PNG\r\n\x1a\n"),
            "image/jpeg" => starts(b"\xff\xd8\xff"),
            "image/gif" => starts(b"GIF87a") || starts(b"GIF89a"),
            "image/webp" => starts(b"RIFF") && head.get(8..12) == Some(b"WEBP"),
            "image/avif" | "image/heic" | "image/heif" => brand(),
            "image/bmp" => starts(b"BM"),
            "image/tiff" => starts(b"II*\0") || starts(b"MM\0*"),
            "image/vnd.microsoft.icon" => starts(b"\0\0\x01\0"),
            "image/svg+xml" => contains(head, b"<svg"),
            "video/mp4" | "video/quicktime" | "video/x-m4v" => brand(),
            "video/webm" | "video/x-matroska" => starts(b"\x1a\x45\xdf\xa3"),
            "video/ogg" => starts(b"OggS"),
            "video/mpeg" => starts(b"\0\0\x01"),
            "video/mp2t" => starts(b"\x47"),
            "video/x-msvideo" => starts(b"RIFF") && head.get(8..12) == Some(b"AVI "),
            "model/gltf-binary" => starts(b"glTF"),
            "model/gltf+json" => trimmed(head).starts_with(b"{"),
            "model/vnd.usdz+zip" => starts(b"PK\x03\x04"),
            // Text or nearly so: no signature, but no page and no other kind either.
            "model/obj" | "model/stl" => !head.is_empty() && !trimmed(head).starts_with(b"<"),
            _ => false,
        }
    }
}

/// Returns an image's width and height in pixels, where its beginning has them.
///
/// # Errors
/// 422 for an image with more than 100 million pixels.
pub(super) fn dimensions(kind: Kind, head: &[u8]) -> Result<Option<(u32, u32)>, Problem> {
    if kind != Kind::Image {
        return Ok(None);
    }
    let Ok(size) = imagesize::blob_size(head) else { return Ok(None) };
    let width = size.width as u64;
    let height = size.height as u64;
    if width.saturating_mul(height) > MAX_PIXELS {
        let detail = format!("an image of {width} x {height} has too many pixels; {MAX_PIXELS} at most");
        return Err(Problem::new(http::StatusCode::UNPROCESSABLE_ENTITY).with_detail(detail));
    }
    Ok(u32::try_from(width).ok().zip(u32::try_from(height).ok()))
}

fn contains(head: &[u8], word: &[u8]) -> bool {
    head.windows(word.len()).any(|window| window == word)
}

fn trimmed(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend(width.to_be_bytes());
        png.extend(height.to_be_bytes());
        png.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
        png
    }

    #[test]
    fn names_say_what_is_taken_and_where_it_goes() {
        let key = |name: &str| Named::of(name).map(|named| named.key("7")).map_err(|problem| problem.status().as_u16());
        assert_eq!(key("Cat.PNG"), Ok("images/7.png".to_owned()));
        assert_eq!(key("film.mp4"), Ok("media/7.mp4".to_owned()));
        assert_eq!(key("chair.glb"), Ok("media/7.glb".to_owned()));
        assert_eq!(key("page.html"), Err(415));
        assert_eq!(key("archive.zip"), Err(415));
        assert_eq!(key("none"), Err(415));
        for name in ["", "a/b.png", "a\\b.png", "a\n.png", &"x".repeat(300)] {
            assert_eq!(key(name), Err(400), "{name}");
        }
    }

    #[test]
    fn contents_must_be_what_their_names_say() {
        let fits = |name: &str, head: &[u8]| Named::of(name).expect("a name").check(head).is_ok();
        assert!(fits("a.png", &png(1, 1)));
        assert!(!fits("a.png", b"<html><script>alert(1)</script>"));
        assert!(!fits("a.png", b""));
        assert!(fits("a.svg", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"));
        assert!(fits("a.mp4", b"\0\0\0\x18ftypmp42"));
        assert!(!fits("a.mp4", b"GIF89a"));
        assert!(fits("a.glb", b"glTF\x02\0\0\0"));
        assert!(fits("a.gltf", b"\xef\xbb\xbf {\"asset\":{}}"));
        assert!(!fits("a.stl", b" <html>"));
        assert!(fits("a.stl", b"a binary one \x00\x00\x00<"));
    }

    #[test]
    fn dimensions_are_told_and_bombs_refused() {
        assert_eq!(dimensions(Kind::Image, &png(640, 480)).ok(), Some(Some((640, 480))));
        assert_eq!(dimensions(Kind::Video, &png(640, 480)).ok(), Some(None));
        assert_eq!(dimensions(Kind::Image, b"<svg").ok(), Some(None));
        let refused = dimensions(Kind::Image, &png(65_000, 65_000)).expect_err("a bomb");
        assert_eq!(refused.status(), 422);
    }
}
