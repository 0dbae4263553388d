//! Access keys: how a door finds the secret of a client, and what the client may do.

mod access_key;
mod scope;

pub use access_key::{AccessKey, AccessKeys, KeysError, StaticKeys};
pub use scope::BucketScope;
