//! Resources: a table becomes an API by declaration.

mod bulk;
mod column;
mod declaration;
#[cfg(not(target_arch = "wasm32"))]
mod fair_scheduler;
mod handlers;
mod idempotency;
mod input;
mod list;
mod quotas;
mod routes;
mod row_count;
mod scope;
mod state;
mod validation;

pub(crate) use column::Kind;
pub use column::{Column, Format, Shape};
pub use declaration::{Resource, ResourceInfo};
pub(crate) use list::{MAX_LIMIT, OPERATORS, object as row_object};
pub use quotas::Quotas;
pub(crate) use routes::routes;
pub(crate) use state::ApiState;
