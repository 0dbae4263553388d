//! Digests of bodies: those of S3's checksum headers, and Content-MD5.
//!
//! Clients send a digest of the body in a header or in a trailer. All of them are computed while the
//! body passes, at the cost of one pass for each, and compared at its end; only the client that names
//! one pays for it. The hashers are s3s's.
//!
//! | | bytes | kept by the store |
//! |---|---|---|
//! | CRC-32, CRC-32C | 4 | no |
//! | CRC-64/NVME | 8 | no |
//! | SHA-1, SHA-256 | 20, 32 | yes |
//! | `Content-MD5` | 16 | every store has an MD5 |

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, StatusCode};
use s3s::S3Result;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};

use super::error::{invalid_request, refusal};

/// Algorithm of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
    Md5,
}

impl Algorithm {
    pub(super) const ALL: [Self; 6] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256, Self::Md5];

    /// Name of the header that has the digest in Base64.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
            Self::Md5 => "content-md5",
        }
    }

    /// Length of a digest in bytes.
    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Md5 => 16,
        }
    }

    /// Returns the algorithm whose digest a trailer of this name has.
    pub(super) fn of_trailer(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| *algorithm != Self::Md5 && name.eq_ignore_ascii_case(algorithm.header()))
    }
}

/// A digest that a client expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) algorithm: Algorithm,
    digest: Vec<u8>,
}

impl Expected {
    /// Reads a digest.
    ///
    /// # Errors
    /// `InvalidDigest` for an MD5, `InvalidRequest` for another, where it is not the Base64 of as many
    /// bytes.
    pub(super) fn parse(algorithm: Algorithm, text: &str) -> S3Result<Self> {
        let digest = BASE64.decode(text.trim()).ok().filter(|digest| digest.len() == algorithm.bytes());
        let header = algorithm.header();
        let message = || format!("The header {header} is not the Base64 of {} bytes", algorithm.bytes());
        match digest {
            Some(digest) => Ok(Self { algorithm, digest }),
            None if algorithm == Algorithm::Md5 => Err(refusal(StatusCode::BAD_REQUEST, "InvalidDigest", message())),
            None => Err(invalid_request(message())),
        }
    }

    /// Returns the digests that the headers of a request have.
    pub(super) fn of_headers(headers: &HeaderMap) -> S3Result<Vec<Self>> {
        let mut expected = Vec::new();
        for algorithm in Algorithm::ALL {
            let Some(value) = headers.get(algorithm.header()) else { continue };
            expected.push(Self::parse(algorithm, value.to_str().unwrap_or_default())?);
        }
        if expected.iter().filter(|one| one.algorithm != Algorithm::Md5).count() > 1 {
            return Err(invalid_request("A request has one checksum header at most"));
        }
        Ok(expected)
    }

    /// The digest.
    pub(super) fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The digest as headers have it.
    pub(super) fn base64(&self) -> String {
        BASE64.encode(&self.digest)
    }

    /// Compares with the digest of the body that came.
    pub(super) fn check(&self, got: &[u8]) -> S3Result<()> {
        if got == self.digest {
            return Ok(());
        }
        let header = self.algorithm.header();
        let expected = self.base64();
        let got = BASE64.encode(got);
        let message = format!("The body is not the one that {header} announces: it has {got}, expected is {expected}");
        Err(refusal(StatusCode::BAD_REQUEST, "BadDigest", message))
    }
}

/// Digest of a body that passes.
pub(super) enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Box<Sha1>),
    Sha256(Box<Sha256>),
    Md5(Box<Md5>),
}

impl Hasher {
    /// Begins a digest.
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Crc32::new()),
            Algorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Self::Sha1(Box::new(Sha1::new())),
            Algorithm::Sha256 => Self::Sha256(Box::new(Sha256::new())),
            Algorithm::Md5 => Self::Md5(Box::new(Md5::new())),
        }
    }

    /// Takes more of the body.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc32c(hasher) => hasher.update(bytes),
            Self::Crc64Nvme(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the digest.
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc32(hasher) => hasher.finalize()[..].to_vec(),
            Self::Crc32c(hasher) => hasher.finalize()[..].to_vec(),
            Self::Crc64Nvme(hasher) => hasher.finalize()[..].to_vec(),
            Self::Sha1(hasher) => hasher.finalize()[..].to_vec(),
            Self::Sha256(hasher) => hasher.finalize()[..].to_vec(),
            Self::Md5(hasher) => hasher.finalize()[..].to_vec(),
        }
    }
}

/// Returns the Base64 of a digest in hexadecimal.
pub(super) fn base64_of_hex(hex: &str) -> Option<String> {
    let pair = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let digest: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(pair).collect();
    digest.map(|digest| BASE64.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_published_check_values() {
        // The check values of the CRC catalogue, and RFC 1321's and FIPS 180's of the same nine bytes.
        let hex = |algorithm| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            hasher.finish().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(hex(Algorithm::Crc32), "cbf43926");
        assert_eq!(hex(Algorithm::Crc32c), "e3069283");
        assert_eq!(hex(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(hex(Algorithm::Md5), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(hex(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert!(hex(Algorithm::Sha256).starts_with("15e2b0d3c33891ebb0f1ef609ec41942"));
    }

    #[test]
    fn digest_of_another_length_is_invalid() {
        let code = |algorithm, text| Expected::parse(algorithm, text).unwrap_err().code().as_str().to_owned();
        assert_eq!(code(Algorithm::Md5, "AAAA"), "InvalidDigest");
        assert_eq!(code(Algorithm::Crc32, "not Base64"), "InvalidRequest");
        assert!(Expected::parse(Algorithm::Crc32, "AAAAAA==").is_ok());
    }

    #[test]
    fn two_checksum_headers_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-checksum-crc32", "AAAAAA==".parse().unwrap());
        assert_eq!(Expected::of_headers(&headers).unwrap().len(), 1);
        headers.insert("x-amz-checksum-crc32c", "AAAAAA==".parse().unwrap());
        assert!(Expected::of_headers(&headers).is_err());
    }
}
