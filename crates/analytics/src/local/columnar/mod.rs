//! Columnar segments: Parquet files, sorted by index and time, that any reader of Parquet reads.
//!
//! A file has the columns of Analytics Engine's tables, none of which is nullable: `timestamp` (milliseconds, UTC), `_sample_interval`,
//! `index1`, `blob1` to `blob20`, `double1` to `double20`. Index and blobs are text, or binary in a file where one of them is not UTF-8.
//! Row groups, and by the page index pages, are left out by the bounds of time and index. Every block that is read is compared with its
//! checksum in the manifest, since Parquet's pages have none of their own here. Of a segment in an archive the ranges are fetched that the
//! selection needs.

mod fault;
mod file;
mod layout;
mod object;
mod prune;
mod read;
mod rows;
mod selection;
mod write;

pub(crate) use fault::Fault;
pub(crate) use layout::{StoredColumn, file_schema, with_schema};
pub(crate) use read::{Columnar, schema_of, verify};
pub(crate) use rows::{Rows, events};
pub(crate) use selection::{Selection, TextForm};
pub(crate) use write::{ColumnarWriter, ROW_GROUP_ROWS, properties};
