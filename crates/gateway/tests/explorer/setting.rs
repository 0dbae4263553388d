//! An explorer with a bucket, a database, a dataset and deploys.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use chrono::DateTime;
use http::{Method, Request, header};
use isobar_analytics::memory::MemorySink;
use isobar_analytics::query::MemoryDatasets;
use isobar_analytics::{DataPoint, EventSink};
use isobar_gateway::catalog::{BucketCatalog, CatalogError, CatalogErrorKind, DeployCatalog, DeployInfo};
use isobar_gateway::explorer::ExplorerDoor;
use isobar_gateway::keys::Audit;
use isobar_gateway::rest::RestDoor;
use isobar_storage::{Key, PutOptions};
use serde_json::json;

use crate::door::{Answer, Door};

/// Id of the database.
pub(crate) const DATABASE: &str = "/d1/database/00000000-0000-4000-8000-000000000001";

/// Whether the explorer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Two deploys of a site in the bucket `site`, below `static/`.
#[derive(Debug)]
pub(crate) struct TwoDeploys(Mutex<&'static str>);

#[async_trait]
impl DeployCatalog for TwoDeploys {
    fn bucket(&self) -> &str {
        "site"
    }

    fn prefix(&self) -> &str {
        "static/"
    }

    async fn list(&self) -> Result<Vec<DeployInfo>, CatalogError> {
        let current = *self.0.lock().unwrap();
        let info = |id: &str| {
            let mut info = DeployInfo::new(id, DateTime::UNIX_EPOCH, 1, 2);
            info.is_current = id == current;
            info
        };
        Ok(vec![info("second"), info("first")])
    }

    async fn rollback(&self, id: &str) -> Result<DeployInfo, CatalogError> {
        let known = ["first", "second"].into_iter().find(|known| *known == id);
        let known = known.ok_or_else(|| CatalogError::new(CatalogErrorKind::NotFound, "there is no such deploy"))?;
        *self.0.lock().unwrap() = known;
        let mut listed = self.list().await?.into_iter();
        Ok(listed.find(|deploy| deploy.id == id).unwrap())
    }
}

/// An explorer over the bucket `photos`, the database `orders`, the dataset `visits` and a site's deploys.
pub(crate) async fn explorer(access: Access) -> Door {
    let door = Door::new().await;
    let photos = {
        BucketCatalog::create(&*door.catalog, "photos").await.unwrap();
        BucketCatalog::open(&*door.catalog, "photos").await.unwrap().unwrap()
    };
    for (key, content_type, body) in [
        ("2026/a.html", "text/html", "<script>alert(1)</script>"),
        ("2026/b.txt", "text/plain", "hello"),
        ("top", "text/plain", "x"),
    ] {
        let mut options = PutOptions::default().with_content_type(content_type);
        options.http.cache_control = Some("public, max-age=3600".to_owned());
        drop(photos.put(&Key::new(key).unwrap(), body.into(), options).await.unwrap());
    }
    door.database("orders").await;
    let schema = "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL); INSERT INTO items VALUES (1, 'pen')";
    door.post(&format!("{DATABASE}/query"), json!({"sql": schema})).await.result();
    let sink = MemorySink::new();
    sink.write(DataPoint::new().with_index("i").with_blob("/home"));
    let rest = RestDoor::new(door.keys.clone())
        .with_buckets(door.catalog.clone())
        .with_databases(door.catalog.clone())
        .with_datasets(Arc::new(MemoryDatasets::new().with_dataset("visits", sink)))
        .with_audit(Audit::new().with_sink(Arc::new(door.events.clone())));
    let explorer =
        ExplorerDoor::new(rest).with_deploys(Arc::new(TwoDeploys(Mutex::new("second")))).with_requests("visits");
    let explorer = if access == Access::Write { explorer.with_writes() } else { explorer };
    Door { router: explorer.into_router(), ..door }
}

/// Sends a request to an absolute path with a token, or without one.
pub(crate) async fn ask(door: &Door, token: Option<&str>, method: Method, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "isobar.test");
    let request = match token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    let request = request.header(header::CONTENT_LENGTH, body.len());
    door.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Sends a request to an absolute path with every permission.
pub(crate) async fn own(door: &Door, method: Method, path: &str, body: &str) -> Answer {
    ask(door, Some(&door.token), method, path, body).await
}
