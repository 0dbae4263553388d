//! Access keys: how a door finds the secret of a client, and what the client may do.
//!
//! With feature `keys` there is a [`KeyStore`] of access keys and bearer tokens in a database, a limit on
//! [failed attempts](FailedAttempts), and an [`Audit`] of refused requests.
//!
//! | | without feature `keys` | with it |
//! |---|---|---|
//! | a key | [`AccessKey`]: id, secret, [`BucketScope`] | `Key`: also a name, a `KeyScope`, uses |
//! | its store | [`StaticKeys`], or an [`AccessKeys`] of one's own | `KeyStore`, in a database |
//! | signs | S3 | S3; its token opens the REST API and the explorer |
//!
//! Scopes only allow: what no permission names is refused, and a list of resources narrows a
//! permission.

mod access_key;
#[cfg(feature = "keys")]
mod attempts;
#[cfg(feature = "keys")]
mod audit;
#[cfg(feature = "keys")]
mod permission;
mod scope;
#[cfg(feature = "keys")]
mod store;
#[cfg(feature = "keys")]
mod token;

pub use access_key::{AccessKey, AccessKeys, KeysError, StaticKeys};
#[cfg(feature = "keys")]
pub use attempts::FailedAttempts;
#[cfg(feature = "keys")]
pub use audit::{Audit, RefusedRequest};
#[cfg(feature = "keys")]
pub use permission::{KeyScope, Permission, UnknownPermission};
pub use scope::BucketScope;
#[cfg(feature = "keys")]
pub use store::{IssuedKey, Key, KeyStore, NewKey, Verified};
