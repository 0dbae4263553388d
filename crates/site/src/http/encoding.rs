//! Content negotiation: the coding that a client prefers.
//!
//! A file may have precompressed variants beside it (`app.js.br`, `.zst`, `.gz`). The coding with the highest weight wins; of
//! equal ones the one that compresses best. A coding that the client ranks below `identity` is not used, as the client then
//! prefers the bytes as they are. `*` stands for every coding that is not named.

/// A content coding that a site may have precompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Brotli,
    Zstd,
    Gzip,
}

impl Encoding {
    /// All codings; among equal weights the first is preferred, as it compresses best.
    const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Returns its token in `Content-Encoding`.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Returns the suffix of a variant's key.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// Returns the codings that `Accept-Encoding` accepts and does not rank below identity, best first (RFC 9110 12.5.3).
pub(crate) fn accepted(header: &str) -> Vec<Encoding> {
    let weights: Vec<(String, u16)> = header.split(',').filter_map(weight).collect();
    let of = |token: &str| {
        let named = weights.iter().find(|(name, _)| name == token || (token == "gzip" && name == "x-gzip"));
        named.or_else(|| weights.iter().find(|(name, _)| name == "*" && token != "identity")).map(|(_, weight)| *weight)
    };
    let identity = of("identity").unwrap_or(1);
    let mut wanted: Vec<_> = Encoding::ALL
        .into_iter()
        .filter_map(|encoding| Some((encoding, of(encoding.token())?)))
        .filter(|(_, weight)| *weight > 0 && *weight >= identity)
        .collect();
    wanted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    wanted.into_iter().map(|(encoding, _)| encoding).collect()
}

/// Returns [`accepted`] as a number below 64: equal numbers mean the same codings in the same order. Each thread remembers the header
/// that it parsed last, as most requests to a server have one of a few.
#[cfg(feature = "cache")]
pub(crate) fn accepted_bits(headers: &http::HeaderMap) -> u8 {
    thread_local! {
        static LAST: std::cell::RefCell<(http::HeaderValue, u8)> =
            const { std::cell::RefCell::new((http::HeaderValue::from_static(""), 0)) };
    }
    let Some(header) = headers.get(http::header::ACCEPT_ENCODING) else { return 0 };
    LAST.with_borrow_mut(|(last, bits)| {
        if last != header {
            let accepted = accepted(header.to_str().unwrap_or_default());
            *bits = accepted.into_iter().fold(0, |bits, encoding| bits * 4 + 1 + encoding as u8);
            last.clone_from(header);
        }
        *bits
    })
}

/// Returns the coding that the client prefers.
#[cfg(feature = "cache")]
pub(crate) fn favourite(headers: &http::HeaderMap) -> Option<Encoding> {
    let header = headers.get(http::header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted(header?).into_iter().next()
}

/// Parses a coding and its weight in thousandths; `None` where it is malformed.
fn weight(item: &str) -> Option<(String, u16)> {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let name = name.trim().to_ascii_lowercase();
    let weight = match parameters.trim() {
        "" => 1000.0,
        parameter => {
            1000.0 * parameter.strip_prefix("q=").or(parameter.strip_prefix("Q="))?.trim().parse::<f32>().ok()?
        }
    };
    (!name.is_empty() && (0.0..=1000.0).contains(&weight)).then_some((name, weight as u16))
}

/// Whether files of this type are worth compressing, and so may have variants. Parameters of the type are ignored.
pub(crate) fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/json"
                | "application/json5"
                | "application/javascript"
                | "application/ecmascript"
                | "application/node"
                | "application/sql"
                | "application/rtf"
                | "application/xml"
                | "application/xml-dtd"
                | "application/wasm"
                | "application/yaml"
                | "application/toml"
                | "application/vnd.apple.mpegurl"
                | "application/vnd.ms-fontobject"
                | "font/ttf"
                | "font/otf"
                | "image/bmp"
                | "image/vnd.microsoft.icon"
                | "image/x-icon"
                | "model/mtl"
                | "model/obj"
                | "model/stl"
                | "model/gltf-binary"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_ordered_by_weight_and_zero_refuses() {
        let tokens = |header| accepted(header).into_iter().map(Encoding::token).collect::<Vec<_>>();
        assert_eq!(tokens("gzip, deflate, br, zstd"), ["br", "zstd", "gzip"]);
        assert_eq!(tokens("gzip;q=1.0, br;q=0.5"), ["gzip", "br"]);
        assert_eq!(tokens("br;q=0, *"), ["zstd", "gzip"]);
        assert_eq!(tokens("gzip;q=0.5, identity"), Vec::<&str>::new());
        assert_eq!(tokens("identity;q=0, GZIP;q=0.1"), ["gzip"]);
        assert_eq!(tokens("br;q=2, gzip;q=x, ;, zstd ; q=0.3"), ["zstd"]);
        assert_eq!(tokens(""), Vec::<&str>::new());
    }
}
