//! Cloudflare's REST API v4 over isobar's buckets, databases and session objects (feature `rest`).
//!
//! [`RestDoor`] is a router with every route below `/client/v4`: wrangler, Cloudflare's SDKs, Drizzle and others use it unmodified
//! once their base URL is changed.
//!
//! | resource | operations |
//! |---|---|
//! | tokens, accounts, memberships | verify; list and get the account |
//! | R2 | buckets: list, create, get, edit, delete, CORS, lifecycle; features that there are not: get; objects: list, get, put, delete |
//! | D1 | list, create, get, edit, delete, query, raw, import, export, time travel |
//! | Durable Objects | list namespaces and their objects |
//! | Analytics Engine | SQL over the datasets (feature `analytics`) |
//! | GraphQL | the number and size of a bucket's objects, as `wrangler r2 bucket info` asks for it |
//!
//! Errors of SQL are status 400 with code 7500, and no failure of a write is a status that SDKs repeat (429 and 5xx). Of a database that
//! keeps no history ([`time_travel`](isobar_db::Database::time_travel)) the current bookmark alone is known.
//!
//! # The modules
//!
//! | module | what it has |
//! |---|---|
//! | `door`, `serve`, `route` | options; the way of a request; paths |
//! | `call`, `authenticate`, `envelope`, `page`, `failure` | a request's head; its token; results and errors; pages; errors of databases |
//! | `account`, `buckets`, `rules`, `features`, `objects`, `databases`, `query`, `time_travel`, `sessions`, `analytics`, `graphql` | the routes |
//! | `transfer`, `jobs`, `room` | imports and exports: their steps, their state, their memory |
//!
//! # Statuses
//!
//! | status | when |
//! |---|---|
//! | 200 | the envelope has `"success": true`; a GraphQL query that is refused also has 200, as the protocol wants it |
//! | 206, 304, 412, 416 | reads and writes of objects, by RFC 9110 |
//! | 400 | malformed requests, SQL that fails, a missing `Authorization` header |
//! | 401 | a token that is not valid, where it is only checked (`/tokens/verify`) |
//! | 403 | a token that is not valid, lacks a permission or is bound to other resources; another account; a door that is read-only |
//! | 404, 405 | no such route, resource or object; another method |
//! | 409 | a bucket that exists, or is not empty |
//! | 413 | a body above its limit |
//! | 429 | an address with too many failed attempts, with `Retry-After` |
//! | 500, 503, 507 | failures of the server, for requests that clients may repeat |

mod account;
#[cfg(feature = "analytics")]
mod analytics;
mod authenticate;
mod buckets;
mod call;
mod databases;
mod door;
mod envelope;
mod failure;
mod features;
mod graphql;
mod jobs;
mod objects;
mod page;
mod query;
mod room;
mod route;
mod rules;
mod serve;
mod sessions;
mod time_travel;
mod transfer;

pub use door::{RestDoor, RestOptions};

/// Parts for the explorer, which answers by the same rules.
#[cfg(feature = "explorer")]
pub(crate) mod parts {
    pub(crate) use super::authenticate::authenticate;
    pub(crate) use super::call::{Call, json, require};
    pub(crate) use super::databases::{find as find_database, open as open_database};
    pub(crate) use super::envelope::{Answer, ApiError, BUCKETS, OTHERS, code, success};
    pub(crate) use super::failure::{Kind, failed};
    pub(crate) use super::objects::{failed as object_failed, read as read_object};
    pub(crate) use super::query::{Shape, run as query_database};
    pub(crate) use super::route::decoded;
    pub(crate) use super::serve::{answer, refused};
}
