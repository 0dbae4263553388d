//! Ids: 32 bytes that only their namespace makes and takes.
//!
//! The first half is `HMAC-SHA-256(SHA-256(namespace), name)` cut to 16 bytes, or randomness; the second half is the HMAC of
//! `id` and the first half. So a check needs no list of ids. The first bytes are uniformly distributed, by which a host
//! spreads objects over its threads and folders. Durable Objects' own ids have the same length and properties, and other
//! bytes.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result};

/// Id of an object: 32 bytes, 64 hexadecimal digits as text. One that was made from a name keeps the name; one that was parsed
/// has none. Two ids are equal when their bytes are.
///
/// An application gets it from its namespace: [`SessionNamespaceExt::id`](crate::SessionNamespaceExt::id) for a name, always the same
/// one; [`SessionNamespace::unique_id`](crate::SessionNamespace::unique_id); and
/// [`SessionNamespace::parse_id`](crate::SessionNamespace::parse_id) for a text that was stored or has come from a client.
///
/// ```
/// use isobar_sessions::IdScheme;
/// let rooms = IdScheme::new("Room");
/// let lobby = rooms.from_name("lobby");
/// assert_eq!(lobby.to_string().len(), 64);
/// let parsed = rooms.parse(&lobby.to_string())?;
/// assert_eq!((parsed.name(), parsed == lobby), (None, true)); // the text has no name
/// # Ok::<(), isobar_sessions::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ObjectId {
    bytes: [u8; 32],
    name: Option<String>,
}

impl ObjectId {
    /// Creates an id, for hosts.
    #[must_use]
    pub fn from_parts(bytes: [u8; 32], name: Option<String>) -> Self {
        Self { bytes, name }
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Returns the name that it was made from; `None` for a unique id and for one parsed from text.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.bytes))
    }
}

/// Ids are equal when their bytes are: the name is only a memory.
impl PartialEq for ObjectId {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for ObjectId {}

impl std::hash::Hash for ObjectId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

/// Scheme by which the hosts of this crate make ids: 16 bytes from the name or from randomness, and 16 that prove the namespace.
///
/// So an id of another namespace, or one that a client has made up, is refused before an object is created for it. It is not a
/// secret, and proves no permission: who knows the namespace's name can compute the id of any name.
///
/// ```
/// use isobar_sessions::{ErrorKind, IdScheme};
///
/// let rooms = IdScheme::new("Room");
/// let lobby = rooms.from_name("lobby");
/// assert_eq!(rooms.parse(&lobby.to_string())?, lobby);
/// assert_eq!(lobby.name(), Some("lobby"));
/// // Another namespace refuses it.
/// assert_eq!(IdScheme::new("Game").parse(&lobby.to_string()).unwrap_err().kind(), ErrorKind::InvalidId);
/// # Ok::<(), isobar_sessions::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct IdScheme {
    key: [u8; 32],
}

impl IdScheme {
    /// The scheme of a namespace; its name must stay the same for the ids to stay valid.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        Self { key: Sha256::digest(namespace.as_bytes()).into() }
    }

    /// The id of a name: always the same.
    #[must_use]
    pub fn from_name(&self, name: &str) -> ObjectId {
        let [head, _] = self.mac(name.as_bytes());
        ObjectId { bytes: self.prove(head), name: Some(name.to_owned()) }
    }

    /// A new id that no other call has given.
    ///
    /// ```
    /// use isobar_sessions::IdScheme;
    /// let games = IdScheme::new("Game");
    /// let one = games.unique()?;
    /// let other = games.unique()?;
    /// assert!(one != other && one.name().is_none());
    /// # Ok::<(), isobar_sessions::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the system has no randomness.
    pub fn unique(&self) -> Result<ObjectId> {
        let head = isobar_base::random::bytes()?;
        Ok(ObjectId { bytes: self.prove(head), name: None })
    }

    /// The id that a text stands for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidId`] when it is not 64 hexadecimal digits, or of another namespace.
    pub fn parse(&self, text: &str) -> Result<ObjectId> {
        let malformed = || Error::new(ErrorKind::InvalidId, "Invalid Durable Object ID: must be 64 hex digits");
        let bytes: [u8; 32] = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(malformed)?;
        let mut head = [0; 16];
        head.copy_from_slice(&bytes[..16]);
        if self.prove(head) != bytes {
            return Err(Error::new(ErrorKind::InvalidId, "Durable Object ID is not valid for this namespace."));
        }
        Ok(ObjectId { bytes, name: None })
    }

    /// Returns the id with this first half: the second proves the namespace.
    fn prove(&self, head: [u8; 16]) -> [u8; 32] {
        let [tail, _] = self.mac(&[b"id", head.as_slice()].concat());
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&head);
        bytes[16..].copy_from_slice(&tail);
        bytes
    }

    /// Returns both halves of the message's code under the namespace's key.
    fn mac(&self, message: &[u8]) -> [[u8; 16]; 2] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(message);
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let mut head = [0; 16];
        let mut tail = [0; 16];
        head.copy_from_slice(&digest[..16]);
        tail.copy_from_slice(&digest[16..]);
        [head, tail]
    }
}
