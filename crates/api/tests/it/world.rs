//! A small platform: projects of tenants, tickets in them, notes of users, themes for all.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use isobar_api::{Api, Column, Format, Policy, Principal, Resource, Role, Shape};
use isobar_db::vault::{self, Keyring, Vault};
use isobar_db::{QueryableExt, SqliteDatabase};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

const TABLES: &str = "
    CREATE TABLE projects (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, slug TEXT NOT NULL, name TEXT NOT NULL,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, UNIQUE (tenant_id, slug));
    CREATE TABLE tickets (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant_id TEXT NOT NULL,
        project_id TEXT REFERENCES projects (id), subject TEXT NOT NULL, body TEXT, priority INTEGER NOT NULL,
        status TEXT NOT NULL, urgent INTEGER NOT NULL, weight REAL, due_at TEXT, tags TEXT NOT NULL, token BLOB,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
    CREATE INDEX tickets_tenant ON tickets (tenant_id, id);
    CREATE VIRTUAL TABLE tickets_fts USING fts5(subject, body, content='tickets', content_rowid='row');
    CREATE TRIGGER tickets_ai AFTER INSERT ON tickets BEGIN
        INSERT INTO tickets_fts (rowid, subject, body) VALUES (new.row, new.subject, new.body); END;
    CREATE TRIGGER tickets_ad AFTER DELETE ON tickets BEGIN
        INSERT INTO tickets_fts (tickets_fts, rowid, subject, body) VALUES ('delete', old.row, old.subject, old.body); END;
    CREATE TRIGGER tickets_au AFTER UPDATE OF subject, body ON tickets BEGIN
        INSERT INTO tickets_fts (tickets_fts, rowid, subject, body) VALUES ('delete', old.row, old.subject, old.body);
        INSERT INTO tickets_fts (rowid, subject, body) VALUES (new.row, new.subject, new.body); END;
    CREATE TABLE notes (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, text TEXT NOT NULL,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
    CREATE TABLE themes (id TEXT PRIMARY KEY, slug TEXT NOT NULL UNIQUE, tokens TEXT NOT NULL,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
    INSERT INTO vault_columns (table_name, column_name) VALUES ('tickets', 'token')";

pub(crate) const RESOURCES: [&str; 4] = ["projects", "tickets", "notes", "themes"];

fn resources() -> [Resource; 4] {
    let member = Policy::AtLeast(Role::Member);
    let viewer = Policy::AtLeast(Role::Viewer);
    [
        Resource::of_tenant("projects")
            .column(Column::text("slug").chars(1..=64).format(Format::Slug).required().immutable())
            .column(Column::text("name").chars(1..=200).required().sortable())
            .read(viewer)
            .write(member),
        Resource::of_tenant("tickets")
            .describe("What somebody needs.")
            .column(Column::reference("project_id", "projects"))
            .column(Column::text("subject").chars(1..=200).required().sortable())
            .column(Column::text("body").chars(0..=10_000))
            .column(Column::integer("priority").range(1..=5).default(3).sortable())
            .column(Column::choice("status", &["open", "closed"]).default("open").sortable())
            .column(Column::boolean("urgent").default(false))
            .column(Column::number("weight"))
            .column(Column::timestamp("due_at"))
            .column(Column::json("tags", Shape::Array).default(json!([])))
            .column(Column::secret("token"))
            .search("tickets_fts")
            .read(viewer)
            .write(member),
        Resource::of_tenant("notes")
            .column(Column::text("text").required())
            .owned_by("user_id", Role::Admin)
            .read(viewer)
            .write(viewer),
        Resource::shared("themes")
            .column(Column::text("slug").chars(1..=64).format(Format::Slug).required())
            .column(Column::json("tokens", Shape::Object).required())
            .read(Policy::Public)
            .write(Policy::AtLeast(Role::Owner)),
    ]
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) database: Arc<SqliteDatabase>,
    router: Router,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The names of the fields that a problem has.
    pub(crate) fn fields(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        if status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json");
            assert_eq!(self.json()["status"], status);
        }
        self
    }
}

pub(crate) async fn world() -> World {
    let database = Arc::new(SqliteDatabase::memory().await.unwrap());
    let schema = format!("{};{};{TABLES}", isobar_api::SCHEMA, vault::SCHEMA);
    database.run_script(&schema).await.unwrap();
    let keyring = Keyring::generate("test").unwrap().expose_text().unwrap().parse().unwrap();
    let vault = Vault::new(database.clone(), "test", keyring);
    let api = Api::new(database.clone()).title("Test <API>").vault(vault);
    let api = resources().into_iter().fold(api, Api::resource);
    let count = axum::routing::get(async || "counted").post(async || "written");
    let api = api.route("/stats/{name}", Policy::AtLeast(Role::Viewer), Policy::default(), count);
    World { database, router: api.into_router() }
}

impl World {
    pub(crate) async fn send(
        &self,
        principal: &Principal,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Json>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(principal.clone());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, principal: &Principal, path: &str) -> Answer {
        self.send(principal, "GET", path, &[], None).await
    }

    pub(crate) async fn post(&self, principal: &Principal, path: &str, body: Json) -> Answer {
        self.send(principal, "POST", path, &[], Some(body)).await
    }

    pub(crate) async fn patch(&self, principal: &Principal, path: &str, etag: &str, body: Json) -> Answer {
        self.send(principal, "PATCH", path, &[("if-match", etag)], Some(body)).await
    }

    /// Creates a row; its id.
    pub(crate) async fn create(&self, principal: &Principal, resource: &str, body: Json) -> String {
        let created = self.post(principal, &format!("/{resource}"), body).await.is(201);
        created.json()["id"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn member(tenant: &str) -> Principal {
    Principal::member(format!("user-of-{tenant}"), tenant, Role::Member)
}

/// A body that creates a row of this resource.
pub(crate) fn example(resource: &str) -> Json {
    match resource {
        "projects" => json!({"slug": "a", "name": "A"}),
        "tickets" => json!({"subject": "A", "token": "s3cret"}),
        "notes" => json!({"text": "A"}),
        "themes" => json!({"slug": "dark", "tokens": {"ink": "#000"}}),
        other => panic!("{other}"),
    }
}
