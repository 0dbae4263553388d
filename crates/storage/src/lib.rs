//! Object storage with the semantics of Cloudflare R2, wherever it runs.
//!
//! [`ObjectStore`] is the dyn-safe trait of irreducible operations, [`ObjectStoreExt`] the convenience on top. Backends:
//!
//! | backend | feature | what it is |
//! |---|---|---|
//! | [`memory::MemoryStore`] | `memory` (default) | a faithful fake without I/O |
//! | `directory::Directory` | `local` | a plain folder, only to be read |
//! | `local::LocalStore` | `local` | SQLite index, packs of small bodies, immutable blob files; durable before `put` answers |
//! | `cloudflare::R2Bucket` | `cloudflare-binding` | R2 itself, inside Workers |
//! | `cloudflare::S3Bucket` | `cloudflare-http` | R2 from outside, over its S3 side; any other server that speaks S3 |
//! | `mock::MockStore` | `mock` | records calls and scripts faults over any backend |
//!
//! The same [conformance kit](https://docs.rs/isobar-storage) (`conformance`, feature `conformance`) runs on each.
//!
//! ```
//! use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
//! # futures_util::FutureExt::now_or_never(async {
//! let store = MemoryStore::new();
//! let key = Key::new("static/index.html")?;
//! store.write(&key, "<h1>hello</h1>").await?; // content type from the extension
//! let (meta, bytes) = store.read(&key).await?.expect("just written");
//! assert_eq!(meta.http.content_type.as_deref(), Some("text/html; charset=utf-8"));
//! assert_eq!(bytes, "<h1>hello</h1>");
//! # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
#[cfg_attr(not(any(feature = "memory", feature = "local")), allow(dead_code))]
mod checksum;
mod clock;
mod conditions;
pub mod content_type;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub mod directory;
mod error;
mod ext;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
mod files;
mod key;
mod meta;
mod multipart;
mod operation;
mod options;
mod range;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
mod read_buffers;
pub mod rules;
mod store;
mod upload;

#[cfg(any(feature = "cloudflare-binding", all(feature = "cloudflare-http", not(target_arch = "wasm32"))))]
pub mod cloudflare;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "layers")]
pub mod layers;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub mod local;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(feature = "object-store")]
pub mod object_store;
#[cfg(feature = "signed")]
pub mod signed;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub mod sync;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub mod walk;

pub use body::Body;
pub use checksum::{Checksum, ChecksumAlgorithm};
pub use clock::{Clock, system_clock};
pub use conditions::{Conditions, Etag, Etags};
pub use error::{Error, ErrorKind, Result};
pub use ext::ObjectStoreExt;
pub use key::Key;
pub use meta::{HttpMetadata, ObjectMeta, StorageClass};
pub use multipart::{ListUploadsOptions, MultipartOptions, Part, PartInfo, UploadId, UploadInfo};
pub use operation::Operation;
pub use options::{
    Capabilities, CopyOptions, GetOptions, GetResult, ListOptions, ListPage, PresignMethod, PresignOptions, PutOptions,
    PutResult,
};
pub use range::{ByteRange, Range};
pub use store::ObjectStore;
pub use upload::Multipart;

/// Limits of R2, which every backend keeps. Source: R2's documentation, "Limits".
///
/// | limit | checked by | error |
/// |---|---|---|
/// | [`KEY_BYTES`](limits::KEY_BYTES) | [`Key::new`] | [`ErrorKind::InvalidKey`] |
/// | [`METADATA_BYTES`](limits::METADATA_BYTES) | [`rules::check_metadata`] | [`ErrorKind::MetadataTooLarge`] |
/// | [`SINGLE_PUT_BYTES`](limits::SINGLE_PUT_BYTES) | [`rules::check_size`] | [`ErrorKind::TooLarge`] |
/// | [`LIST_KEYS`](limits::LIST_KEYS) | [`rules::check_limit`] | [`ErrorKind::InvalidListLimit`] |
/// | [`DELETE_KEYS`](limits::DELETE_KEYS) | [`rules::check_delete`] | [`ErrorKind::InvalidArgument`] |
/// | [`PART_NUMBER`](limits::PART_NUMBER) | [`rules::check_part_number`] | [`ErrorKind::InvalidArgument`] |
/// | [`PART_MIN_BYTES`](limits::PART_MIN_BYTES) | [`rules::complete_parts`] | [`ErrorKind::PartTooSmall`] |
/// | [`UPLOAD_DAYS`](limits::UPLOAD_DAYS) | every operation on the upload | [`ErrorKind::NoSuchUpload`] |
pub mod limits {
    /// Bytes of UTF-8 in a key.
    pub const KEY_BYTES: usize = 1024;
    /// Bytes of names and values of the custom metadata of one object.
    pub const METADATA_BYTES: usize = 8192;
    /// Bytes in a single `put` or part: 5 GiB - 5 MiB.
    pub const SINGLE_PUT_BYTES: u64 = 5 * 1024 * 1024 * 1024 - 5 * 1024 * 1024;
    /// Keys and delimited prefixes in one page of a listing.
    pub const LIST_KEYS: usize = 1000;
    /// Keys in one `delete`.
    pub const DELETE_KEYS: usize = 1000;
    /// The largest part number; the smallest is 1.
    pub const PART_NUMBER: u16 = 10_000;
    /// The smallest size of a part that is not the last.
    pub const PART_MIN_BYTES: u64 = 5 * 1024 * 1024;
    /// Days after which an unfinished multipart upload is given up.
    pub const UPLOAD_DAYS: i64 = 7;
}

/// The quick start of the README, compiled and run as a doctest.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../README.md")]
struct Readme;
