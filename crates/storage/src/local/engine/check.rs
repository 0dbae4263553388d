//! Queries and repairs of `fsck` and of the garbage collection.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::index::{Index, remove};
use crate::local::index::check::OpenUpload;
use crate::local::index::{check, packs, rows};
use crate::local::packs::Sizes;
use crate::{Key, Result};

impl Index {
    /// Returns SQLite's own findings; none when the file is sound.
    pub(in crate::local) fn integrity(&self) -> Result<Vec<String>> {
        self.read(check::integrity)
    }

    /// The keys behind this one, a page of them; a row that cannot be read is an error in its place.
    pub(in crate::local) fn keys_after(&self, after: Option<&[u8]>) -> Result<Vec<Vec<u8>>> {
        self.read(|connection| check::keys_after(connection, after.unwrap_or_default()))
    }

    /// The blobs that objects, parts and garbage name.
    pub(in crate::local) fn named_blobs(&self) -> Result<HashSet<String>> {
        self.read(check::named_blobs)
    }

    pub(in crate::local) fn open_uploads(&self) -> Result<Vec<OpenUpload>> {
        self.read(check::open_uploads)
    }

    /// Returns the packs, and where the last frame of each ends.
    pub(in crate::local) fn pack_ends(&self) -> Result<Sizes> {
        self.read(packs::ends)
    }

    /// Returns the packs whose count of live bytes is wrong.
    pub(in crate::local) fn miscounted(&self) -> Result<Vec<u64>> {
        self.read(packs::miscounted)
    }

    /// Counts the live bytes of a pack anew.
    pub(in crate::local) async fn recount(&self, pack: u64) -> Result<()> {
        self.writer.write(move |transaction| packs::recount(transaction, pack)).await
    }

    /// Returns those of these packs that the index has forgotten.
    pub(in crate::local) fn unknown_packs(&self, packs: Sizes) -> Result<Sizes> {
        self.read(move |connection| check::unknown(connection, packs))
    }

    /// Removes the packs that the index has forgotten, and returns them.
    pub(in crate::local) async fn remove_unknown_packs(
        &self,
        list: impl Fn() -> Result<Sizes> + Send + 'static,
    ) -> Result<Vec<u64>> {
        self.writer
            .write(move |batch| {
                let unknown: Vec<u64> = check::unknown(batch, list()?)?.into_keys().collect();
                unknown.iter().for_each(|pack| batch.remove_pack(*pack));
                Ok(unknown)
            })
            .await
    }

    /// Returns the number of segments and parts that belong to nothing.
    pub(in crate::local) fn unowned(&self) -> Result<u64> {
        self.read(check::unowned)
    }

    /// Removes the segments and parts that belong to nothing.
    pub(in crate::local) async fn remove_unowned(&self) -> Result<()> {
        self.writer.write(|transaction| check::remove_unowned(transaction)).await
    }

    /// Removes an object if it is still of this version; whether it was.
    pub(in crate::local) async fn give_up(&self, key: Key, version: String, now: DateTime<Utc>) -> Result<bool> {
        self.writer
            .write(move |batch| match rows::find(batch, &key)? {
                Some(meta) if meta.version == version => remove(batch, &key, now),
                _ => Ok(false),
            })
            .await
    }

    /// Unlinks, by `unlink`, those of these blobs that nothing names, and returns them. It holds the lock of writers: none is named
    /// in between.
    pub(in crate::local) async fn unlink_unnamed(
        &self,
        blobs: Vec<String>,
        unlink: impl Fn(&str) -> Result<()> + Send + 'static,
    ) -> Result<Vec<String>> {
        self.writer
            .write(move |transaction| {
                let mut unlinked = Vec::new();
                for blob in &blobs {
                    if !check::is_named(transaction, blob)? {
                        unlink(blob)?;
                        unlinked.push(blob.clone());
                    }
                }
                Ok(unlinked)
            })
            .await
    }
}
