//! Checksums: the five that R2 takes, and the hashing of a body as it passes.
//!
//! Two users: the backends of this crate hash each body once as it is written ([`Digests`]), and callers state or read a [`Checksum`].
//! The functions are an enum and not a generic parameter, since which one it is comes with the request.

use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::{Error, ErrorKind, Result};

/// Hash functions that R2 verifies and stores. Every object that was put whole has its md5; of the others it has the one that was
/// given with the `put`. Source: R2's documentation, "Workers API reference", `R2PutOptions`.
///
/// ```
/// use isobar_storage::ChecksumAlgorithm;
///
/// assert_eq!(ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::digest_bytes), [16, 20, 32, 48, 64]);
/// assert_eq!(serde_json::to_string(&ChecksumAlgorithm::Sha256).unwrap(), r#""sha256""#);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ChecksumAlgorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl ChecksumAlgorithm {
    /// All of them, from the shortest digest to the longest.
    pub const ALL: [Self; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name as R2's messages write it.
    ///
    /// ```
    /// assert_eq!(isobar_storage::ChecksumAlgorithm::Sha384.name(), "SHA-384");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    /// The length of its digests in bytes; in hexadecimal they have twice as many characters.
    ///
    /// ```
    /// assert_eq!(isobar_storage::ChecksumAlgorithm::Md5.digest_bytes(), 16);
    /// ```
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A digest and the function that it comes from.
///
/// [`PutOptions::checksum`](crate::PutOptions::checksum) has a store verify the body on its way: a body with another digest fails with
/// [`ErrorKind::BadDigest`] and is not stored.
///
/// ```
/// use isobar_storage::{Checksum, ChecksumAlgorithm, ErrorKind};
///
/// let md5 = Checksum::of(ChecksumAlgorithm::Md5, b"hello");
/// assert_eq!(md5.hex, "5d41402abc4b2a76b9719d911017c592");
/// assert_eq!(Checksum::from_hex(ChecksumAlgorithm::Md5, "5D41402ABC4B2A76B9719D911017C592")?, md5);
/// // The length has to be that of the function.
/// assert_eq!(Checksum::from_hex(ChecksumAlgorithm::Sha1, &md5.hex).unwrap_err().kind(), ErrorKind::InvalidArgument);
/// # Ok::<_, isobar_storage::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The hash function.
    pub algorithm: ChecksumAlgorithm,
    /// The digest in lower-case hexadecimal.
    pub hex: String,
}

impl Checksum {
    /// A checksum from its hexadecimal form, either case.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is not hexadecimal or not of the function's length.
    ///
    /// ```
    /// use isobar_storage::{Checksum, ChecksumAlgorithm, ErrorKind};
    ///
    /// // As a client sends it in a header of its own.
    /// let sent = Checksum::from_hex(ChecksumAlgorithm::Sha1, "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D")?;
    /// assert_eq!(sent, Checksum::of(ChecksumAlgorithm::Sha1, b"hello"));
    /// let odd = Checksum::from_hex(ChecksumAlgorithm::Md5, &"x".repeat(32));
    /// assert_eq!(odd.unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn from_hex(algorithm: ChecksumAlgorithm, hex: &str) -> Result<Self> {
        let name = algorithm.name();
        let want = algorithm.digest_bytes() * 2;
        let got = hex.len();
        if got != want {
            let message = format!("{name} is {want} hex characters, not {got}");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let bytes = hex::decode(hex).map_err(|error| {
            let message = format!("Provided {name} wasn't a valid hex string");
            Error::new(ErrorKind::InvalidArgument, message).with_source(error)
        })?;
        Self::from_bytes(algorithm, &bytes)
    }

    /// A checksum from its digest.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is not of the function's length.
    ///
    /// ```
    /// use isobar_storage::{Checksum, ChecksumAlgorithm};
    ///
    /// let checksum = Checksum::from_bytes(ChecksumAlgorithm::Md5, &[0xab; 16])?;
    /// assert_eq!(checksum.hex, "ab".repeat(16));
    /// assert!(Checksum::from_bytes(ChecksumAlgorithm::Sha256, &[0xab; 16]).is_err());
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn from_bytes(algorithm: ChecksumAlgorithm, digest: &[u8]) -> Result<Self> {
        let want = algorithm.digest_bytes();
        let got = digest.len();
        if got != want {
            let message = format!("{} is {want} bytes, not {got}", algorithm.name());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Self { algorithm, hex: hex::encode(digest) })
    }

    /// The checksum of bytes at hand. It hashes on the calling thread; for a body that streams, see [`Digests`].
    ///
    /// ```
    /// use isobar_storage::{Checksum, ChecksumAlgorithm};
    ///
    /// // An empty object's etag.
    /// assert_eq!(Checksum::of(ChecksumAlgorithm::Md5, b"").hex, "d41d8cd98f00b204e9800998ecf8427e");
    /// ```
    #[must_use]
    pub fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Hashes a body as it passes: always md5, which is R2's etag, and the checksum that the caller has sent, which is compared.
///
/// ```
/// use isobar_storage::rules::Digests;
/// use isobar_storage::{Checksum, ChecksumAlgorithm, ErrorKind};
///
/// # fn main() -> isobar_storage::Result<()> {
/// let sent = Checksum::of(ChecksumAlgorithm::Sha256, b"hello");
/// let mut digests = Digests::new(Some(sent.clone()));
/// digests.update(b"hell");
/// digests.update(b"o");
/// let checksums = digests.finish()?;
/// assert_eq!(checksums[0].hex, "5d41402abc4b2a76b9719d911017c592"); // md5: the etag
/// assert_eq!(checksums[1], sent);
///
/// let damaged = Digests::new(Some(sent));
/// assert_eq!(damaged.finish().unwrap_err().kind(), ErrorKind::BadDigest);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Digests {
    md5: Hasher,
    asked: Option<(Hasher, Checksum)>,
}

impl Digests {
    /// Begins a body, with the checksum that the caller has sent, if any. An md5 that was sent is compared with the one that is made anyway,
    /// so that it costs nothing; any other function hashes each byte once more.
    #[must_use]
    pub fn new(asked: Option<Checksum>) -> Self {
        Self {
            md5: Hasher::new(ChecksumAlgorithm::Md5),
            asked: asked.map(|checksum| (Hasher::new(checksum.algorithm), checksum)),
        }
    }

    /// Adds the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some((hasher, checksum)) = &mut self.asked
            && checksum.algorithm != ChecksumAlgorithm::Md5
        {
            hasher.update(bytes);
        }
    }

    /// Returns the checksums to store, md5 first: one, or two where the caller has sent one of another function.
    ///
    /// # Errors
    /// [`ErrorKind::BadDigest`] when the body is not what the caller's checksum says. The message has both digests, in R2's words.
    ///
    /// ```
    /// use isobar_storage::rules::Digests;
    /// use isobar_storage::{Checksum, ChecksumAlgorithm};
    ///
    /// let md5 = Checksum::of(ChecksumAlgorithm::Md5, b"hello");
    /// let mut digests = Digests::new(Some(md5.clone()));
    /// digests.update(b"hello");
    /// assert_eq!(digests.finish()?, [md5]);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn finish(self) -> Result<Vec<Checksum>> {
        let md5 = self.md5.finish();
        let Some((hasher, asked)) = self.asked else { return Ok(vec![md5]) };
        let is_md5 = asked.algorithm == ChecksumAlgorithm::Md5;
        let got = if is_md5 { md5.clone() } else { hasher.finish() };
        if got != asked {
            return Err(Error::new(ErrorKind::BadDigest, bad_digest(&asked, &got)));
        }
        Ok(if is_md5 { vec![md5] } else { vec![md5, got] })
    }
}

fn bad_digest(asked: &Checksum, got: &Checksum) -> String {
    let name = asked.algorithm.name();
    let asked = &asked.hex;
    let got = &got.hex;
    format!(
        "The {name} checksum you specified did not match what we received.\nYou provided a {name} checksum with value: {asked}\nActual {name} was: {got}"
    )
}

#[derive(Debug, Clone)]
enum Hasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::Md5 => Self::Md5(md5::Md5::new()),
            ChecksumAlgorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            ChecksumAlgorithm::Sha384 => Self::Sha384(sha2::Sha384::new()),
            ChecksumAlgorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Checksum {
        let (algorithm, hex) = match self {
            Self::Md5(hasher) => (ChecksumAlgorithm::Md5, hex::encode(hasher.finalize())),
            Self::Sha1(hasher) => (ChecksumAlgorithm::Sha1, hex::encode(hasher.finalize())),
            Self::Sha256(hasher) => (ChecksumAlgorithm::Sha256, hex::encode(hasher.finalize())),
            Self::Sha384(hasher) => (ChecksumAlgorithm::Sha384, hex::encode(hasher.finalize())),
            Self::Sha512(hasher) => (ChecksumAlgorithm::Sha512, hex::encode(hasher.finalize())),
        };
        Checksum { algorithm, hex }
    }
}
