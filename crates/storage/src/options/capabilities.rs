//! Capabilities of a backend.

/// Capabilities of a backend. An operation that it does not have fails with
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). Default: none. R2's binding has `multipart` alone.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Capabilities, ObjectStore};
///
/// assert!(MemoryStore::new().capabilities().has("multipart"));
/// // Of a store of your own:
/// let mut capabilities = Capabilities::default();
/// capabilities.copy = true;
/// assert!(!capabilities.has("multipart"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`ObjectStore::copy`](crate::ObjectStore::copy) within the bucket.
    pub copy: bool,
    /// [`ObjectStore::presign`](crate::ObjectStore::presign).
    pub presign: bool,
    /// Multipart uploads: [`ObjectStore::create_multipart`](crate::ObjectStore::create_multipart) and what follows it. Without it,
    /// bodies of more than 5 GiB - 5 MiB and streams of unknown length that fit no single part cannot be stored.
    pub multipart: bool,
    /// [`ObjectStore::list_parts`](crate::ObjectStore::list_parts) of a multipart upload.
    pub list_parts: bool,
    /// [`ObjectStore::list_uploads`](crate::ObjectStore::list_uploads): the open multipart uploads.
    pub list_uploads: bool,
    /// [`ObjectStore::complete_multipart_if`](crate::ObjectStore::complete_multipart_if): conditions on the object that an upload
    /// replaces.
    pub conditional_complete: bool,
    /// [`ObjectStore::delete_version`](crate::ObjectStore::delete_version): a deletion that spares what was written meanwhile.
    pub delete_version: bool,
}

impl Capabilities {
    /// Whether the capability of this name is there: `copy`, `presign`, `multipart`, `list_parts`, `list_uploads`,
    /// `conditional_complete`, `delete_version`. For cases of a conformance kit, which name what they need; any other name is `false`.
    ///
    /// ```
    /// use isobar_storage::Capabilities;
    ///
    /// let mut capabilities = Capabilities::default();
    /// capabilities.multipart = true;
    /// assert!(capabilities.has("multipart") && !capabilities.has("copy") && !capabilities.has("flight"));
    /// ```
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "copy" => self.copy,
            "presign" => self.presign,
            "multipart" => self.multipart,
            "list_parts" => self.list_parts,
            "list_uploads" => self.list_uploads,
            "conditional_complete" => self.conditional_complete,
            "delete_version" => self.delete_version,
            _ => false,
        }
    }
}
