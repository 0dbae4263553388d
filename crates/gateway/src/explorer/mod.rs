//! The explorer: a page for people over the data that the doors serve, and the routes that it needs beside those of
//! [`rest`](crate::rest) (feature `explorer`).
//!
//! [`ExplorerDoor`] is a router for a listener of its own:
//!
//! | path | what it has |
//! |---|---|
//! | `/` | the page: HTML, style and ES modules in the program, without data in them |
//! | `/client/v4` | the routes of [`rest`](crate::rest), for the page and whoever else has a token |
//! | `/explorer/v1` | the caller's scope, schemas, rows, plans and histories of databases, links to objects, session objects, deploys, backups |
//!
//! The page asks for a token of the key store, keeps it in the tab's session storage and sends it as a header: there is no cookie that
//! another site could use. Everything is read-only unless the door [allows writes](ExplorerDoor::with_writes), which the server checks.
//! No response but the page's own files runs in a browser: all others are sandboxed attachments, which no cache keeps. SQL that comes out
//! of the page's address, as the filter of a table does, goes to a route that only reads, even where the door allows writes.
//!
//! # Why these routes of its own
//!
//! | route | because |
//! |---|---|
//! | `session` | the page shows only what the token allows |
//! | `databases/{id}/schema`, `explain`, `read` | D1's API has no schema; a filter out of an address must not write, whatever the token may do |
//! | `links`, `links/{key}/{bucket}/{object}` | a browser cannot send a token with a download |
//! | `sessions/...` | Cloudflare's API lists ids alone |
//! | `databases/{id}/history` | D1's API has bookmarks and not their extent |
//! | `deploys/...`, `backups/...` | Cloudflare has no counterpart |
//!
//! All else is the API's, so that the page can do nothing that a client could not.

mod backups;
mod databases;
mod deploys;
mod door;
mod links;
mod operations;
mod page;
mod route;
mod serve;
mod sessions;

pub use door::ExplorerDoor;
