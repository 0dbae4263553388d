//! Options and results of the operations, a module for each operation.
//!
//! All of them are `#[non_exhaustive]` with `Default` and `with_*`, so that a field can be added without breaking a caller. They are
//! re-exported by the crate's root: no path names these modules.

mod capabilities;
mod copy;
mod get;
mod list;
mod presign;
mod put;

pub use self::capabilities::Capabilities;
pub use self::copy::CopyOptions;
pub use self::get::{GetOptions, GetResult};
pub use self::list::{ListOptions, ListPage};
pub use self::presign::{PresignMethod, PresignOptions};
pub use self::put::{PutOptions, PutResult};
