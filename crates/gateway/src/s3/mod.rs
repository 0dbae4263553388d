//! S3: the protocol of R2's buckets for clients that others wrote, over every [`ObjectStore`](isobar_storage::ObjectStore).
//!
//! [`S3Door`] is a service of tower's. s3s reads and writes the protocol; this module has the operations, what R2 refuses and ignores,
//! and the checks that s3s does not make.
//!
//! # Operations
//!
//! | of | operations |
//! |---|---|
//! | buckets | list, head, create, delete; CORS, lifecycle; location, versioning; tagging, replication, object lock and encryption say that there is none |
//! | objects | put, get, head, delete, delete many, copy; listings of both versions |
//! | uploads | create, part, part by copy, complete, abort, list of parts, list of uploads |
//!
//! Others answer `NotImplemented`, as R2's documentation has it, and so do the headers of its table of features: grants, tagging,
//! object lock, KMS, `x-amz-expected-bucket-owner` and others. A canned `x-amz-acl` is ignored.
//!
//! # What differs from R2
//!
//! - Encryption with keys of the client's is not implemented. GetBucketEncryption answers that there is none.
//! - An object is one part to a read by `partNumber`: those of its upload are not kept.
//! - Lifecycle rules do not change the storage class, and uploads end after 7 days whatever they say. There is no `x-amz-expiration`.
//! - A browser's credentials are not allowed by CORS rules: requests are signed. A rule that could not take effect is refused.
//! - A condition on DeleteObject is refused. R2 ignores it, and deletes.
//! - Conditions on completion, lists of parts and lists of uploads need a store with that capability: local ones and those in memory.
//! - Of checksums, a store keeps SHA-1 and SHA-256. CRCs are compared while the body comes, and not kept; those that a completion repeats
//!   are not compared again.
//! - A page of ListBuckets has the elements of S3; those that R2 adds are in its headers, `cf-is-truncated` and
//!   `cf-next-continuation-token`.
//! - Every header `x-amz-*` must be signed, as AWS has it, and so must R2's own.
//!
//! # The modules
//!
//! | module | what it has |
//! |---|---|
//! | `door`, `watch` | the service, and the way of a request; failed attempts and the audit |
//! | `guard`, `screen` | checks before the signature is verified, and after it |
//! | `session`, `service` | the key's view of the buckets; the operations by their handlers |
//! | `buckets`, `bucket_list`, `objects`, `listing`, `copy`, `multipart` | the handlers |
//! | `upload`, `digest`, `body` | bodies and their checksums |
//! | `cors` | preflight requests and the headers of other responses; the handlers of the rules |
//! | `lifecycle` | the handlers of lifecycle rules; [`lifecycle`](crate::lifecycle) carries them out |
//! | `conditions`, `metadata`, `error` | headers and errors, in both directions |

mod body;
mod bucket_list;
mod buckets;
mod conditions;
mod copy;
mod cors;
mod digest;
mod door;
mod error;
mod guard;
mod lifecycle;
mod listing;
mod metadata;
mod multipart;
mod objects;
mod screen;
mod service;
mod session;
mod upload;
#[cfg(feature = "keys")]
mod watch;

pub use body::S3Body;
pub use door::S3Door;
