//! Signed URLs of a store that has no server of its own: who has one may do one thing to one object for a while.
//!
//! `{base}/{key}?expires=1700003600&signature=...`: an HMAC-SHA256 over the method, the key and the moment. A [`Signer`] signs
//! and verifies; `isobar-http-serve` honours them for a bucket. A URL for `GET` is good for `HEAD`, too.

use std::fmt;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::key::url_path;
use crate::{Error, ErrorKind, Key, Operation, PresignMethod, PresignOptions, Result};

/// The shortest secret.
const SECRET_BYTES: usize = 32;

/// Signs URLs for one bucket, and verifies them.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_storage::signed::Signer;
/// use isobar_storage::{Key, PresignMethod, PresignOptions};
///
/// # fn main() -> isobar_storage::Result<()> {
/// let signer = Signer::new("https://example.com/r2/assets", vec![7; 32])?;
/// let key = Key::new("report.pdf")?;
/// let now = chrono::Utc::now();
/// let url = signer.sign(&PresignOptions::new(key.clone(), PresignMethod::Get, Duration::from_secs(60)), now)?;
/// let (_, query) = url.split_once('?').expect("a signed URL has a query");
/// assert!(signer.verify(PresignMethod::Get, &key, query, now).is_ok());
/// assert!(signer.verify(PresignMethod::Put, &key, query, now).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Signer {
    base: String,
    secret: Vec<u8>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer of URLs that begin with `base`, where the bucket is served: `https://example.com/r2/assets`. Everybody who signs
    /// or verifies for the bucket has the same secret, and no other bucket has it: the signature does not name the bucket.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a secret of less than 32 bytes.
    ///
    /// ```
    /// use isobar_storage::ErrorKind;
    /// use isobar_storage::signed::Signer;
    ///
    /// assert!(Signer::new("https://example.com/r2/assets", [7; 32]).is_ok());
    /// assert_eq!(Signer::new("https://example.com/r2/assets", "password").unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// ```
    pub fn new(base: impl Into<String>, secret: impl Into<Vec<u8>>) -> Result<Self> {
        let base = base.into().trim_end_matches('/').to_owned();
        let secret = secret.into();
        if secret.len() < SECRET_BYTES {
            let message = format!("a signing secret has {SECRET_BYTES} bytes at least, not {}", secret.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Self { base, secret })
    }

    /// The URL for this. The same options at the same time give the same URL, so that a cache between can keep its answer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a time below a second or over seven days.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_storage::signed::Signer;
    /// use isobar_storage::{Key, PresignMethod, PresignOptions};
    ///
    /// # fn main() -> isobar_storage::Result<()> {
    /// let signer = Signer::new("https://example.com/r2/assets", [7; 32])?;
    /// let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("a time in range");
    /// let options = PresignOptions::new(Key::new("a b.pdf")?, PresignMethod::Get, Duration::from_secs(3600));
    /// let url = signer.sign(&options, now)?;
    /// assert!(url.starts_with("https://example.com/r2/assets/a%20b.pdf?expires=1700003600&signature="));
    /// # Ok(())
    /// # }
    /// ```
    pub fn sign(&self, options: &PresignOptions, now: DateTime<Utc>) -> Result<String> {
        options.check()?;
        let PresignOptions { key, method, expires } = options;
        let expires = now.timestamp() + expires.as_secs() as i64; // a week at most
        let signature = hex::encode(self.mac(*method, key, expires).finalize().into_bytes());
        // A slash at the beginning is the key's own: routers take two of them for one.
        let (slash, rest) = key.as_str().strip_prefix('/').map_or(("", key.as_str()), |rest| ("%2F", rest));
        let path = url_path(rest);
        Ok(format!("{}/{slash}{path}?expires={expires}&signature={signature}", self.base))
    }

    /// Whether a request is what a URL of this signer allows: by its query, as it came, and by its key, decoded. Other parameters in the query
    /// are ignored. The signature is compared in constant time.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] for a URL with another signature, for another object or method, or that has expired.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_storage::signed::Signer;
    /// use isobar_storage::{ErrorKind, Key, PresignMethod, PresignOptions};
    ///
    /// # fn main() -> isobar_storage::Result<()> {
    /// let signer = Signer::new("https://example.com/r2/assets", [7; 32])?;
    /// let key = Key::new("report.pdf")?;
    /// let now = chrono::Utc::now();
    /// let url = signer.sign(&PresignOptions::new(key.clone(), PresignMethod::Put, Duration::from_secs(60)), now)?;
    /// let (_, query) = url.split_once('?').expect("a signed URL has a query");
    /// let later = now + chrono::Duration::seconds(61);
    /// let error = signer.verify(PresignMethod::Put, &key, query, later).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify(&self, method: PresignMethod, key: &Key, query: &str, now: DateTime<Utc>) -> Result<()> {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
        };
        let refused = |why: &str| Err(Error::new(ErrorKind::PermissionDenied, why).during(Operation::Presign));
        let expires = value("expires").and_then(|expires| expires.parse().ok());
        let signature = value("signature").and_then(|signature| hex::decode(signature).ok());
        let (Some(expires), Some(signature)) = (expires, signature) else { return refused("the URL is not signed") };
        // In constant time.
        if self.mac(method, key, expires).verify_slice(&signature).is_err() {
            return refused("the URL is signed for something else");
        }
        if expires <= now.timestamp() { refused("the URL is over") } else { Ok(()) }
    }

    fn mac(&self, method: PresignMethod, key: &Key, expires: i64) -> Hmac<Sha256> {
        let method = match method {
            PresignMethod::Get => "GET",
            PresignMethod::Put => "PUT",
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of every length");
        // The key comes last: nothing in it can be taken for what is before it.
        mac.update(format!("isobar-signed-1\n{method}\n{expires}\n{key}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_url_is_good_for_one_thing_for_a_while() {
        let signer = Signer::new("https://example.com/r2/assets/", [7; 32]).expect("a long secret");
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a moment");
        let key = Key::new("a b/ü%.txt").expect("a key");
        let options = PresignOptions::new(key.clone(), PresignMethod::Get, Duration::from_secs(60));
        let url = signer.sign(&options, now).expect("a time within a week");
        let (path, query) = url.split_once('?').expect("a query");
        assert_eq!(path, "https://example.com/r2/assets/a%20b/%C3%BC%25.txt");
        let good = |method, key: &Key, query: &str, seconds| {
            signer.verify(method, key, query, now + chrono::Duration::seconds(seconds)).is_ok()
        };
        assert!(good(PresignMethod::Get, &key, query, 0) && good(PresignMethod::Get, &key, query, 59));
        assert!(!good(PresignMethod::Get, &key, query, 60), "it is over");
        assert!(!good(PresignMethod::Put, &key, query, 0), "it is for reading");
        assert!(!good(PresignMethod::Get, &Key::new("a b").expect("a key"), query, 0), "it is for another object");
        let later = query.replace("expires=1700000060", "expires=1700009999");
        assert!(!good(PresignMethod::Get, &key, &later, 0), "its time is signed");
        for odd in ["", "expires=1700000060", "signature=00", "expires=x&signature=zz", &query[..query.len() - 1]] {
            assert!(!good(PresignMethod::Get, &key, odd, 0), "{odd}");
        }
        let other = Signer::new("https://example.com/r2/assets", [8; 32]).expect("a long secret");
        assert!(other.verify(PresignMethod::Get, &key, query, now).is_err());
        assert!(Signer::new("x", [1; 31]).is_err());
        for seconds in [0, 7 * 24 * 3600 + 1] {
            let options = PresignOptions::new(key.clone(), PresignMethod::Get, Duration::from_secs(seconds));
            assert_eq!(signer.sign(&options, now).map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument));
        }
        assert!(!format!("{signer:?}").contains('7'));
    }
}
