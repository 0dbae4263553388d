//! Resources: a table becomes an API by declaration.
//!
//! | file | part |
//! |---|---|
//! | `declaration`, `column`, `format` | what a program declares: tables, columns, policies, and the form of values |
//! | `routes`, `state` | the router of all resources, and what the handlers share |
//! | `handlers`, `bulk` | the requests: one row, and many in one transaction |
//! | `input`, `validation` | from a body to values, with every mistake named |
//! | `list` | the query of a list: filters, order, keyset pages |
//! | `scope` | the only place with SQL on a resource's table: tenants and owners are kept apart here |
//! | `idempotency`, `row_count`, `quotas` | statements that run in the transaction of a write |
//! | `fair_scheduler` | natively: turns of the tenants at the database |
//!
//! A handler is always in this order: policy and scope, form of the request, values, one batch. Tests are in `tests/it`:
//! `tenants` (nothing of another tenant is reached or revealed), `writes`, `lists`, `quotas`, `openapi`.

mod bulk;
mod column;
mod declaration;
#[cfg(not(target_arch = "wasm32"))]
mod fair_scheduler;
mod format;
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

pub use column::Column;
pub(crate) use column::Kind;
pub use declaration::{Resource, ResourceInfo};
pub use format::{Format, Shape};
pub(crate) use list::{MAX_LIMIT, OPERATORS, object as row_object};
pub use quotas::Quotas;
pub(crate) use routes::routes;
pub(crate) use state::ApiState;
