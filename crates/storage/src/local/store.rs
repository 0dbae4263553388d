//! The trait on the store: each operation, with its name in the error.
//!
//! Reads run on the runtime's blocking threads (`run`); writes wait for the commit thread and need no thread of their own. Checks that
//! need no index come first, so that a refused body is not written; a put that is refused by its conditions has written its blob by then,
//! and removes it.

use async_trait::async_trait;

use super::LocalStore;
use crate::{
    Body, Capabilities, Conditions, CopyOptions, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignOptions,
    PutOptions, PutResult, Result, UploadId, UploadInfo, rules,
};

#[async_trait]
impl ObjectStore for LocalStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            copy: true,
            presign: self.shared.signer.is_some(),
            multipart: true,
            list_parts: true,
            list_uploads: true,
            conditional_complete: true,
            delete_version: true,
        }
    }

    fn generation(&self) -> Option<u64> {
        Some(self.shared.index.changes())
    }

    fn health(&self) -> Result<()> {
        self.shared.admit(0).map_err(|error| error.during("health"))
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let key = key.clone();
        self.run(Operation::Head, move |shared| shared.index.head(&key)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.get_object(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.put_object(key, body, options).await.map_err(|error| error.during(Operation::Put))
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        rules::check_delete(keys).map_err(|error| error.during(Operation::Delete))?;
        let deleted = self.shared.index.delete(keys.to_vec(), self.shared.now()).await;
        deleted.map_err(|error| error.during(Operation::Delete))
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        let deleted = self.shared.index.delete_version(key.clone(), version.to_owned(), self.shared.now()).await;
        deleted.map_err(|error| error.during(Operation::Delete))
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.run(Operation::List, move |shared| shared.index.list(&options)).await
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        let create = async {
            rules::check_metadata(&options.custom)?;
            self.shared.admit(0)?;
            let id = UploadId::new(rules::random_id()?);
            self.shared.index.create_upload(id.clone(), key.clone(), options, self.shared.now()).await?;
            Ok(id)
        };
        create.await.map_err(|error: Error| error.during(Operation::CreateMultipart))
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.store_part(key, upload, number, body).await.map_err(|error| error.during(Operation::UploadPart))
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        let key = key.clone();
        let upload = upload.clone();
        let now = self.shared.now();
        // A damaged index may hide the object that this would replace.
        self.shared.index.health().map_err(|error| error.during(Operation::CompleteMultipart))?;
        let completed = self.shared.index.complete_upload(key, upload, parts, None, now).await;
        let completed = completed.map_err(|error| error.during(Operation::CompleteMultipart))?;
        Ok(completed.stored().expect("without a condition the object is stored"))
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        let key = key.clone();
        let upload = upload.clone();
        let now = self.shared.now();
        self.shared.index.health().map_err(|error| error.during(Operation::CompleteMultipart))?;
        let completed = self.shared.index.complete_upload(key, upload, parts, Some(conditions), now).await;
        completed.map_err(|error| error.during(Operation::CompleteMultipart))
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        let aborted = self.shared.index.abort_upload(key.clone(), upload.clone(), self.shared.now()).await;
        aborted.map_err(|error| error.during(Operation::AbortMultipart))
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        let key = key.clone();
        let upload = upload.clone();
        let now = self.shared.now();
        self.run(Operation::ListParts, move |shared| shared.index.list_parts(&key, &upload, now)).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        let now = self.shared.now();
        self.run(Operation::ListUploads, move |shared| shared.index.list_uploads(&options, now)).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        let copied = async {
            self.shared.admit(0)?;
            self.shared.index.copy(from.clone(), to.clone(), options, self.shared.now()).await
        };
        copied.await.map_err(|error| error.during(Operation::Copy))
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        let unsupported = || Error::new(ErrorKind::Unsupported, "the store was opened without a signer");
        let signed = async { self.shared.signer.as_ref().ok_or_else(unsupported)?.sign(&options, self.shared.now()) };
        signed.await.map_err(|error| error.during(Operation::Presign))
    }
}
