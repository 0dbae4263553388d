//! Objects of a bucket by the rules of HTTP, for the API's media and for signed URLs.
//!
//! A [`Site`] has the rules of HTTP (RFC 9110: ranges, conditions, `HEAD`) already; here it serves one
//! object at a key that is known, rather than finding one by a path. Neither `_headers` nor variants
//! with a content coding apply.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use isobar_api::Problem;
use isobar_api::media::ContentServer;
use isobar_site::{CachePolicy, Site, SiteOptions};
use isobar_storage::{Key, ObjectStore};

/// Serves single objects as a [`Site`] does: ranges, conditions, HEAD. `Cache-Control` is `private`, unless the object has its own.
///
/// ```
/// use std::sync::Arc;
///
/// use isobar_api::media::ContentServer;
/// use isobar_http_serve::SiteContent;
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = Arc::new(MemoryStore::new());
/// store.write(&Key::new("notes.txt").unwrap(), "all of it").await.unwrap();
/// let content = SiteContent::new(store);
/// let (parts, ()) = http::Request::get("/").header("range", "bytes=0-2").body(()).unwrap().into_parts();
/// let response = content.serve(&Key::new("notes.txt").unwrap(), parts).await;
/// assert_eq!(response.status(), 206);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct SiteContent(Site);

impl SiteContent {
    /// Serves the objects of this bucket, by the whole key.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use isobar_api::media::ContentServer;
    /// use isobar_http_serve::SiteContent;
    /// use isobar_storage::Key;
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let content = SiteContent::new(Arc::new(MemoryStore::new()));
    /// let (parts, ()) = http::Request::get("/").body(()).unwrap().into_parts();
    /// let missing = content.serve(&Key::new("nothing.txt").unwrap(), parts).await;
    /// assert_eq!(missing.status(), 404);
    /// # });
    /// ```
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        let options = SiteOptions::default().with_precompressed(false).with_cache(CachePolicy::always("private"));
        Self(Site::new(store, options))
    }
}

#[async_trait]
impl ContentServer for SiteContent {
    async fn serve(&self, key: &Key, request: Parts) -> Response {
        match self.0.respond_with(key, &request.method, &request.headers).await {
            Some(answer) => answer.map(Body::new),
            None => Problem::not_found("there is no such object").into_response(),
        }
    }
}
