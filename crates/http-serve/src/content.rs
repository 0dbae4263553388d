//! Objects of a bucket by the rules of HTTP, for the API's media and for signed URLs.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use isobar_api::media::ContentServer;
use isobar_site::{CachePolicy, Site, SiteOptions};
use isobar_storage::{Key, ObjectStore};

use crate::Problem;

/// Serves single objects as a [`Site`] does: ranges, conditions, HEAD. Shared caches keep nothing of it, unless the object says so.
#[derive(Debug, Clone)]
pub struct SiteContent(Site);

impl SiteContent {
    /// The objects of this bucket.
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
