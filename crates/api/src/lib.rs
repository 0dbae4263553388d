//! APIs out of a database: a table becomes an API by declaration, not by handlers.
//!
//! A [`Resource`] declares a table's columns, the ownership of its rows, and permissions; [`Api`] serves them all: lists with
//! keyset pages, filters, order, chosen columns and full-text search; get, create, patch with `If-Match`, delete, bulk,
//! `Idempotency-Key`; problem+json that names the field; OpenAPI 3.1 and a page to read. Tenants are kept apart in one
//! place. Where no [`Policy`] is declared, no principal is admitted.
//!
//! ```
//! use std::sync::Arc;
//! use isobar_api::{Api, Column, Policy, Resource, Role};
//! use isobar_db::SqliteDatabase;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
//! let db = Arc::new(SqliteDatabase::memory().await?);
//! let tickets = Resource::of_tenant("tickets")
//!     .column(Column::text("subject").chars(1..=200).required())
//!     .column(Column::choice("status", &["open", "closed"]).default("open"))
//!     .read(Policy::AtLeast(Role::Viewer))
//!     .write(Policy::AtLeast(Role::Member));
//! let router: axum::Router = Api::new(db).resource(tickets).into_router();
//! # drop(router);
//! # Ok(()) }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
pub mod auth;
mod background;
mod batch;
mod client;
mod id;
mod integer;
mod json;
pub mod mail;
pub mod media;
mod memory;
mod openapi;
mod page;
mod principal;
mod problem;
mod resource;
mod time;

pub use api::Api;
pub use auth::{Auth, AuthOptions};
#[cfg(target_arch = "wasm32")]
pub use background::take_later;
pub use client::{HttpClient, HttpClientError};
pub use id::new_id;
pub use media::{Media, MediaOptions};
pub use memory::{BodyBudget, BodyMemory};
pub use principal::{Policy, Principal, Role};
pub use problem::Problem;
pub use resource::{Column, Format, Quotas, Resource, ResourceInfo, Shape};

/// The tables that the API itself needs, for a migration.
pub const SCHEMA: &str = concat!(include_str!("schema.sql"), include_str!("upgrade.sql"));

/// [`SCHEMA`] in the order in which it has grown, each a migration of its own.
pub const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("upgrade.sql")];

/// The quick start of the README, compiled and run as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
