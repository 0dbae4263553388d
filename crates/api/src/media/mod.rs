//! Media: images, videos and 3D models in a bucket, with a row for each in `images`.
//!
//! They come by a form, as a raw body, or by the resumable protocol tus 1.0.0, and go to `images/` or `media/`. A row is there
//! when its object is, and not before; what comes or goes is in the ledger (`uploads`), so that a [sweep](Media::sweep) ends
//! what a crash has interrupted. Private until made public; a link shows one to its bearer, until it expires or the image's
//! links are revoked. A tenant's bytes and unfinished uploads have [limits](MediaOptions).

mod body;
mod content;
mod kind;
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

pub use upload_journal::Swept;

use crate::{Api, Column, Policy, Problem, Resource, Role};

/// The tables of media, for a migration after that of accounts.
pub const SCHEMA: &str = concat!(include_str!("schema.sql"), include_str!("upgrade.sql"), include_str!("reserve.sql"));

/// [`SCHEMA`] in the order in which it has grown, each a migration of its own.
pub const MIGRATIONS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("upgrade.sql"), include_str!("reserve.sql")];

/// Answers with an object's bytes by the rules of HTTP: ranges, conditions. `isobar_http_serve::SiteContent` is one.
#[async_trait]
pub trait ContentServer: Debug + Send + Sync {
    /// The answer to a GET or HEAD for this object; only method and headers of the request count.
    async fn serve(&self, key: &Key, request: Parts) -> Response;
}

/// How media behave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MediaOptions {
    /// The largest upload in bytes; 5 GiB when not given, 48 GiB at most.
    pub max_bytes: u64,
    /// How long a resumable upload may be gone on with; a day when not given.
    pub resumable_for: chrono::TimeDelta,
    /// Bytes of one tenant's media. Unfinished uploads count with the length that they have announced, or with what is stored of
    /// them. Default: 50 GiB. Beyond it an upload is answered 507.
    pub tenant_bytes: u64,
    /// Unfinished uploads of one tenant; one user has 100 at most besides. Default: 1,000. Beyond it a new one is answered 429.
    pub tenant_uploads: u32,
    /// The principals that may make and revoke links to private media. Default: members.
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
    /// The largest upload in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes.min(48 << 30); // R2 takes 10,000 parts
        self
    }

    /// How long a resumable upload may be gone on with.
    #[must_use]
    pub fn with_resumable_for(mut self, time: chrono::TimeDelta) -> Self {
        self.resumable_for = time;
        self
    }

    /// Bytes of one tenant's media. Default: 50 GiB.
    #[must_use]
    pub fn with_tenant_bytes(mut self, bytes: u64) -> Self {
        self.tenant_bytes = bytes;
        self
    }

    /// Unfinished uploads of one tenant. Default: 1,000.
    #[must_use]
    pub fn with_tenant_uploads(mut self, uploads: u32) -> Self {
        self.tenant_uploads = uploads;
        self
    }

    /// Sets the principals that may make and revoke links to private media. Default: members.
    #[must_use]
    pub fn with_link_policy(mut self, policy: Policy) -> Self {
        self.link_policy = policy;
        self
    }
}

/// Media in a bucket and a database that has the tables of [`SCHEMA`]. Cheap to clone.
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
    /// Media in this bucket; the vault signs the links.
    pub fn new(
        database: Arc<dyn Database>,
        store: Arc<dyn ObjectStore>,
        vault: Vault,
        content: Arc<dyn ContentServer>,
        options: MediaOptions,
    ) -> Self {
        Self { inner: Arc::new(Inner { database, store, vault, content, options }) }
    }

    /// Adds the resource `images` and the routes beside it: uploads to `/images` and `/uploads` (tus), `content` and `link` of
    /// an image. Viewers see; members upload, delete, make links and revoke them.
    #[must_use]
    pub fn mount(&self, api: Api) -> Api {
        let (viewer, member) = (Policy::AtLeast(Role::Viewer), Policy::AtLeast(Role::Member));
        let links = self.options().link_policy;
        let with = |routes: axum::routing::MethodRouter<Self>| routes.with_state(self.clone());
        // Bodies that stream are counted where they are taken in.
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
            format!("an upload has at most {} bytes, and exactly as many as it announces", self.options().max_bytes);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail(detail)
    }
}

/// Images as a resource: to list, to look at, to rename and to make public.
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
                .describe("Whether everybody may see its content."),
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
        "description": "The file's name; its ending says what it is."}]);
    let upload = |id: &str| {
        json!({
            "operationId": id, "tags": ["images"], "summary": "Upload an image, a video or a 3D model", "parameters": name,
            "requestBody": {"required": true, "content": {"application/octet-stream": {"schema": file()}}},
            "responses": {"201": {"description": "It is stored", "content": image()}, "4XX": problem(), "5XX": problem()},
        })
    };
    let link = json!({
        "operationId": "link_images", "tags": ["images"], "summary": "A link that shows it to anybody for a while",
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
        "operationId": "unlink_images", "tags": ["images"], "summary": "End every link to it",
        "responses": {"204": {"description": "No link to it is valid any more"}, "4XX": problem(), "5XX": problem()},
    });
    let content = json!({
        "operationId": "content_images", "tags": ["images"],
        "summary": "The bytes: for everybody when public, for the tenant, and for who has a link",
        "responses": {"200": {"description": "The bytes"}, "206": {"description": "A range of them"},
            "304": {"description": "They are as they were"}, "4XX": problem(), "5XX": problem()},
    });
    let delete = json!({
        "operationId": "delete_images", "tags": ["images"], "summary": "Delete, the object and its row",
        "responses": {"204": {"description": "It is deleted"}, "4XX": problem(), "5XX": problem()},
    });
    [
        ("/images", json!({"post": upload("upload_images"), "put": upload("put_images")})),
        ("/images/{id}", json!({"parameters": id, "delete": delete})),
        ("/images/{id}/content", json!({"parameters": id, "get": content})),
        ("/images/{id}/link", json!({"parameters": id, "post": link, "delete": unlink})),
    ]
}
