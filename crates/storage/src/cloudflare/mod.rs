//! R2 itself: by its binding inside Workers, and over its S3 side natively.
//!
//! | | `R2Bucket` (`cloudflare-binding`) | `S3Bucket` (`cloudflare-http`) |
//! |---|---|---|
//! | runs | in Workers | natively |
//! | authenticates by | the binding | an R2 API token's access key |
//! | times | milliseconds | whole seconds |
//! | `copy`, `list_parts`, `presign` | no | yes |
//! | conditional completion, list of uploads | no | no |
//! | names of custom metadata | as given | lower case |
//! | retries | the runtime's | the client's, where that is safe |

#[cfg(feature = "cloudflare-binding")]
mod binding;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
mod s3;

#[cfg(feature = "cloudflare-binding")]
pub use binding::R2Bucket;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
pub use s3::{S3Bucket, S3Config};
