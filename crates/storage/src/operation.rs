//! The operations of the trait, by name.

isobar_base::operations! {
    /// An operation of [`ObjectStore`](crate::ObjectStore), by one name everywhere: in [errors](crate::Error::operation), in what
    /// the layer `Observed` reports (feature `layers`) and in the scripts of `mock::MockStore` (feature `mock`).
    ///
    /// The names are those of R2's binding where it has the operation: `get`, `createMultipartUpload`.
    #[allow(missing_docs, reason = "the names are the trait's")]
    pub enum Operation {
        Head => "head",
        Get => "get",
        Put => "put",
        Delete => "delete",
        List => "list",
        CreateMultipart => "createMultipartUpload",
        UploadPart => "uploadPart",
        CompleteMultipart => "completeMultipartUpload",
        AbortMultipart => "abortMultipartUpload",
        ListParts => "listParts",
        ListUploads => "listUploads",
        Copy => "copy",
        Presign => "presign",
    }
}
