//! Data of the benches: 100,000 tickets of two tenants.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use isobar_api::{Api, Column, Policy, Principal, Resource, Role};
use isobar_db::{Database, QueryableExt, SqliteDatabase};
use tower::ServiceExt;

const TABLE: &str = "CREATE TABLE tickets (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, subject TEXT NOT NULL, \
    status TEXT NOT NULL, revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)
CREATE INDEX tickets_tenant ON tickets (tenant_id, id)
CREATE INDEX tickets_status ON tickets (tenant_id, status, id)";
const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) \
    INSERT INTO tickets SELECT printf('%08d', i), printf('tenant-%d', i % 2), printf('Subject %d', i), \
    CASE i % 3 WHEN 0 THEN 'open' ELSE 'closed' END, 1, '2026-11-01T00:00:00.000Z', '2026-11-01T00:00:00.000Z' FROM n";

/// The API over a database in this folder.
pub(super) async fn router(folder: &Path) -> Router {
    let db = SqliteDatabase::open(folder.join("bench.sqlite")).await.unwrap();
    db.exec(TABLE).await.unwrap();
    db.prepare(ROWS).run().await.unwrap();
    let tickets = Resource::of_tenant("tickets")
        .column(Column::text("subject").required())
        .column(Column::choice("status", &["open", "closed"]).default("open"))
        .read(Policy::AtLeast(Role::Viewer));
    Api::new(Arc::new(db)).resource(tickets).into_router()
}

/// Asks as a member of this tenant, and reads the answer to its end.
pub(super) async fn get(router: &Router, tenant: &str, path: &str) {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Principal::member("user", tenant, Role::Member));
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
}
