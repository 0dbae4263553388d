//! Media: images, videos and 3D models in a bucket, with a row for each in `images`.
//!
//! They are uploaded by a form, as a raw body, or by the resumable protocol tus 1.0.0, and stored under `images/` or `media/`. A
//! row is inserted once its object is stored. Until then, and during a deletion, the object has a row in the journal (`uploads`), so
//! that a [sweep](Media::sweep) finishes what a crash has interrupted. Media are private until they are made public. A link shows one
//! to its bearer, until it expires or is revoked. A tenant's bytes and unfinished uploads have [limits](MediaOptions).

mod body;
mod content;
mod kind;
mod sweep;
mod tus;
mod upload;
mod upload_journal;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use axum::routing::{delete, get, head, post};
use http::StatusCode;
use http::request::Parts;
use isobar_db::Database;
use isobar_db::vault::Vault;
use isobar_storage::{Key, ObjectStore};
use serde_json::json;

pub use sweep::SweepReport;

use crate::{Api, Column, Policy, Problem, Resource, Role};

/// The tables of media, for a migration after that of accounts.
pub const SCHEMA: &str = concat!(include_str!("schema.sql"), include_str!("upgrade.sql"), include_str!("reserve.sql"));

/// [`SCHEMA`] in the order in which it has grown, each a migration of its own.
pub const MIGRATIONS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("upgrade.sql"), include_str!("reserve.sql")];

/// Serves an object's bytes by the rules of HTTP: ranges, preconditions. `isobar_http_serve::SiteContent` is the implementation for
/// a bucket.
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use http::request::Parts;
/// use isobar_api::media::ContentServer;
/// use isobar_storage::Key;
///
/// /// Shows the name of the object, for a test.
/// #[derive(Debug)]
/// struct Names;
///
/// #[async_trait::async_trait]
/// impl ContentServer for Names {
///     async fn serve(&self, key: &Key, _: Parts) -> Response {
///         key.to_string().into_response()
///     }
/// }
/// ```
#[async_trait]
pub trait ContentServer: Debug + Send + Sync {
    /// Answers a GET or HEAD for an object. Of the request only the method and the headers count. Errors are responses, too: 404 for a
    /// missing object.
    async fn serve(&self, key: &Key, request: Parts) -> Response;
}

/// Options of media.
///
/// ```
/// use isobar_api::{MediaOptions, Policy, Role};
/// let options = MediaOptions::default()
///     .with_max_bytes(100 << 20)
///     .with_tenant_bytes(1 << 30)
///     .with_resumable_for(chrono::TimeDelta::hours(6))
///     .with_link_policy(Policy::AtLeast(Role::Admin));
/// assert_eq!(options.max_bytes, 100 << 20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MediaOptions {
    /// Largest upload in bytes. Beyond it an upload is answered 413. Default: 5 GiB. Limit: 48 GiB, as R2 takes 10,000 parts.
    pub max_bytes: u64,
    /// Lifetime of a resumable upload. Afterwards it is deleted by the sweep. Default: 1 day.
    pub resumable_for: chrono::TimeDelta,
    /// Largest total size of a tenant's media in bytes, unfinished uploads and media that are being deleted included. Unfinished
    /// uploads count with their announced length, or with their stored bytes; deleted media count until the bucket has deleted
    /// their bytes. Beyond it an upload is answered 507. Default: 50 GiB.
    pub tenant_bytes: u64,
    /// Largest number of a tenant's unfinished uploads. Beyond it, and beyond 100 of one user, a new one is answered 429. Default:
    /// 1,000.
    pub tenant_uploads: u32,
    /// The principals that may create and revoke links to private media. Default: members.
    pub link_policy: Policy,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            max_bytes: 5 << 30,
            resumable_for: chrono::TimeDelta::days(1),
            tenant_bytes: 50 << 30,
            tenant_uploads: 1_000,
            link_policy: Policy::AtLeast(Role::Member),
        }
    }
}

impl MediaOptions {
    /// Sets the largest upload in bytes. Default: 5 GiB. A larger value than 48 GiB is lowered to that.
    ///
    /// ```
    /// use isobar_api::MediaOptions;
    /// assert_eq!(MediaOptions::default().with_max_bytes(10 << 20).max_bytes, 10 << 20);
    /// assert_eq!(MediaOptions::default().with_max_bytes(1 << 40).max_bytes, 48 << 30);
    /// ```
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes.min(48 << 30); // R2 takes 10,000 parts
        self
    }

    /// Sets the lifetime of a resumable upload. Default: 1 day.
    #[must_use]
    pub fn with_resumable_for(mut self, time: chrono::TimeDelta) -> Self {
        self.resumable_for = time;
        self
    }

    /// Sets the largest total size of a tenant's media in bytes, unfinished uploads and media that are being deleted included.
    /// Default: 50 GiB.
    #[must_use]
    pub fn with_tenant_bytes(mut self, bytes: u64) -> Self {
        self.tenant_bytes = bytes;
        self
    }

    /// Sets the largest number of a tenant's unfinished uploads. Default: 1,000.
    #[must_use]
    pub fn with_tenant_uploads(mut self, uploads: u32) -> Self {
        self.tenant_uploads = uploads;
        self
    }

    /// Sets the principals that may create and revoke links to private media. Default: members.
    ///
    /// ```
    /// use isobar_api::{MediaOptions, Policy};
    /// // No links: private media are seen by their tenant only.
    /// assert_eq!(MediaOptions::default().with_link_policy(Policy::Nobody).link_policy, Policy::Nobody);
    /// ```
    #[must_use]
    pub fn with_link_policy(mut self, policy: Policy) -> Self {
        self.link_policy = policy;
        self
    }
}

/// Media in a bucket and in a database that has the tables of [`SCHEMA`]. Cheap to clone.
///
/// ```
/// # use axum::response::{IntoResponse, Response};
/// # #[derive(Debug)] struct Names;
/// # #[async_trait::async_trait]
/// # impl isobar_api::media::ContentServer for Names {
/// #     async fn serve(&self, key: &isobar_storage::Key, _: http::request::Parts) -> Response { key.to_string().into_response() }
/// # }
/// use std::sync::Arc;
/// use isobar_api::{Api, Media, MediaOptions};
/// use isobar_db::{Database, SqliteDatabase};
/// use isobar_db::vault::{Keyring, Vault};
/// use isobar_storage::memory::MemoryStore;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
/// let keyring: Keyring = Keyring::generate("2026-11")?.expose_text().unwrap_or_default().parse()?;
/// let vault = Vault::new(Arc::clone(&database), "app", keyring);
/// let content = Arc::new(Names); // in a server: isobar_http_serve::SiteContent
/// let media = Media::new(Arc::clone(&database), Arc::new(MemoryStore::new()), vault, content, MediaOptions::default());
/// let router = media.mount(Api::new(database)).into_router();
/// # drop(router);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Media {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Arc<dyn Database>,
    store: Arc<dyn ObjectStore>,
    vault: Vault,
    content: Arc<dyn ContentServer>,
    options: MediaOptions,
}

impl Media {
    /// Media with their rows in `database` and their bytes in `store`. The vault signs the links, `content` serves the bytes.
    pub fn new(
        database: Arc<dyn Database>,
        store: Arc<dyn ObjectStore>,
        vault: Vault,
        content: Arc<dyn ContentServer>,
        options: MediaOptions,
    ) -> Self {
        Self { inner: Arc::new(Inner { database, store, vault, content, options }) }
    }

    /// Adds the resource `images`, and the routes for uploads (`/images`, and `/uploads` for tus), contents and links. Viewers read;
    /// members upload, change and delete; links are by [`MediaOptions::link_policy`].
    #[must_use]
    pub fn mount(&self, api: Api) -> Api {
        let viewer = Policy::AtLeast(Role::Viewer);
        let member = Policy::AtLeast(Role::Member);
        let links = self.options().link_policy;
        let with = |routes: axum::routing::MethodRouter<Self>| routes.with_state(self.clone());
        // Streamed bodies are limited where they are received.
        let streams = |routes: axum::routing::MethodRouter<Self>| with(routes.layer(DefaultBodyLimit::disable()));
        let api = api
            .resource(resource())
            .route("/images", viewer, member, streams(post(body::post).put(body::put)))
            .route("/images/{id}", viewer, member, with(delete(content::delete)))
            .route("/images/{id}/content", Policy::Public, Policy::Nobody, with(get(content::show)))
            .route("/images/{id}/link", Policy::Nobody, links, with(post(content::link).delete(content::revoke_links)))
            .route("/uploads", member, member, streams(post(tus::create).options(tus::options)))
            .route(
                "/uploads/{id}",
                member,
                member,
                streams(
                    head(tus::show).patch(tus::append).delete(tus::end).post(tus::overridden).options(tus::options),
                ),
            );
        documents().into_iter().fold(api, |api, (path, item)| api.document(path, item))
    }

    fn database(&self) -> &dyn Database {
        &*self.inner.database
    }

    fn store(&self) -> &dyn ObjectStore {
        &*self.inner.store
    }

    fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    fn options(&self) -> &MediaOptions {
        &self.inner.options
    }

    fn too_large(&self) -> Problem {
        let detail =
            format!("an upload has at most {} bytes, and no more than its announced length", self.options().max_bytes);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail(detail)
    }
}

/// Returns the declaration of the resource `images`. Rows are created by uploads; they can be read, renamed and made public.
///
/// ```
/// let names: Vec<_> = isobar_api::media::resource().info().columns.into_iter().map(|column| column["name"].clone()).collect();
/// assert!(names.iter().any(|name| name == "sha256") && !names.iter().any(|name| name == "key"));
/// ```
#[must_use]
pub fn resource() -> Resource {
    Resource::of_tenant("images")
        .describe("Images, videos and 3D models in the bucket.")
        .column(Column::text("user_id").required().read_only())
        .column(Column::text("name").chars(1..=200).required().sortable())
        .column(Column::choice("kind", &["image", "video", "model"]).required().read_only())
        .column(Column::text("content_type").required().read_only())
        .column(Column::integer("size").required().read_only().describe("Bytes."))
        .column(Column::text("etag").required().read_only())
        .column(Column::text("sha256").required().read_only())
        .column(Column::integer("width").read_only())
        .column(Column::integer("height").read_only())
        .column(
            Column::choice("visibility", &["private", "public"])
                .default("private")
                .describe("Whether the content is visible to everyone."),
        )
        .read(Policy::AtLeast(Role::Viewer))
        .update(Policy::AtLeast(Role::Member))
}

fn documents() -> [(&'static str, serde_json::Value); 4] {
    let problem = || json!({"$ref": "#/components/responses/Problem"});
    let image = || json!({"application/json": {"schema": {"$ref": "#/components/schemas/Images"}}});
    let id = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}}]);
    let file = || json!({"type": "string", "contentMediaType": "application/octet-stream"});
    let name = json!([{"name": "name", "in": "query", "required": true, "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        "description": "The file's name; its extension determines the type."}]);
    let upload = |id: &str| {
        json!({
            "operationId": id, "tags": ["images"], "summary": "Upload an image, a video or a 3D model", "parameters": name,
            "requestBody": {"required": true, "content": {"application/octet-stream": {"schema": file()}}},
            "responses": {"201": {"description": "The stored image", "content": image()}, "4XX": problem(), "5XX": problem()},
        })
    };
    let link = json!({
        "operationId": "link_images", "tags": ["images"], "summary": "Create a link that shows the image to its bearer for a time",
        "requestBody": {"required": true, "content": {"application/json": {"schema": {
            "type": "object", "additionalProperties": false, "required": ["seconds"],
            "properties": {"seconds": {"type": "integer", "minimum": 1, "maximum": content::MAX_SECONDS}},
        }}}},
        "responses": {
            "200": {"description": "The link", "content": {"application/json": {"schema": {
                "type": "object", "required": ["url", "expires_at"],
                "properties": {"url": {"type": "string"}, "expires_at": {"type": "string", "format": "date-time"}},
            }}}},
            "4XX": problem(), "5XX": problem(),
        },
    });
    let unlink = json!({
        "operationId": "unlink_images", "tags": ["images"], "summary": "Revoke every link to the image",
        "responses": {"204": {"description": "The links are revoked"}, "4XX": problem(), "5XX": problem()},
    });
    let content = json!({
        "operationId": "content_images", "tags": ["images"],
        "summary": "The bytes, for the tenant, for the bearer of a link, and for everyone if public",
        "responses": {"200": {"description": "The bytes"}, "206": {"description": "A range of them"},
            "304": {"description": "Not modified"}, "4XX": problem(), "5XX": problem()},
    });
    let delete = json!({
        "operationId": "delete_images", "tags": ["images"], "summary": "Delete the image",
        "responses": {"204": {"description": "Deleted"}, "4XX": problem(), "5XX": problem()},
    });
    [
        ("/images", json!({"post": upload("upload_images"), "put": upload("put_images")})),
        ("/images/{id}", json!({"parameters": id, "delete": delete})),
        ("/images/{id}/content", json!({"parameters": id, "get": content})),
        ("/images/{id}/link", json!({"parameters": id, "post": link, "delete": unlink})),
    ]
}
