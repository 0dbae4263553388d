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
//!
//! # Conventions of the API
//!
//! | subject | rule |
//! |---|---|
//! | Paths | as [`Api::into_router`] has them; a server nests it under `/api`, with which links in answers begin |
//! | Bodies | JSON objects in UTF-8; of requests at most 2 MiB, axum's limit, unless the server sets another one |
//! | Ids | texts of 1 to 64 letters, digits, `-` and `_`; those that the API makes are UUIDs of version 7 ([`new_id`]) |
//! | Times | RFC 3339 in UTC to the millisecond, so that texts sort as their times do |
//! | Revisions | an integer that each change increments; the `ETag` is the revision in quotes |
//! | Caches | a row is `private, no-cache` with its `ETag`, lists, writes and errors are `no-store` |
//! | Errors | [`Problem`]; fields are named as the request has them, `operations[2].value.subject` for example |
//!
//! # Order of the layers
//!
//! A request passes [`Auth::protect`], which puts a [`Principal`] into the extensions; then, natively, the fair scheduling of
//! tenants; then the handler, whose first step is the [`Policy`] of its resource. The body is parsed only after the policy has
//! admitted the principal, so that a stranger learns nothing from the errors of a form. Each write is one batch of statements,
//! which the database runs as one transaction: the row, the count of the tenant's rows and the answer that is kept for an
//! `Idempotency-Key` are committed together or not at all. A write that was answered is as durable as the database's commits
//! are.
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
