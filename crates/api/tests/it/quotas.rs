//! How much a tenant may have, and what it is told at the limit.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use isobar_api::{Api, Column, Policy, Principal, Quotas, Resource, Role};
use isobar_db::{QueryableExt, SqliteDatabase};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::town::NOTES;
use crate::world::{Answer, member};

struct Small {
    database: Arc<SqliteDatabase>,
    router: Router,
}

async fn small() -> Small {
    let database = Arc::new(SqliteDatabase::memory().await.unwrap());
    database.run_script(&format!("{};{NOTES}", isobar_api::SCHEMA)).await.unwrap();
    let notes = Resource::of_tenant("notes").column(Column::text("text").required()).max_rows(3);
    let notes = notes.read(Policy::AtLeast(Role::Viewer)).write(Policy::AtLeast(Role::Member));
    let quotas = Quotas::default().with_idempotency(2, 10_000);
    let router = Api::new(database.clone()).quotas(quotas).resource(notes).into_router();
    Small { database, router }
}

impl Small {
    async fn send(&self, principal: &Principal, method: &str, path: &str, key: Option<&str>, body: Json) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(principal.clone());
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn note(&self, principal: &Principal, text: &str) -> Answer {
        self.send(principal, "POST", "/notes", None, json!({ "text": text })).await
    }

    async fn later(&self) {
        let sql = "UPDATE row_counts SET counted_at = '2026-01-01T00:00:00.000Z'";
        self.database.prepare(sql).run().await.unwrap();
    }
}

#[tokio::test]
async fn rows_of_a_tenant_are_limited() {
    let small = small().await;
    let a = member("a");
    let b = member("b");
    // One that was there before rows were counted.
    let sql = "INSERT INTO notes VALUES ('old', 'a', 'x', 1, '', '')";
    small.database.prepare(sql).run().await.unwrap();
    let first = small.note(&a, "1").await.is(201).json();
    small.note(&a, "2").await.is(201);
    let refused = small.note(&a, "3").await.is(507);
    assert!(refused.json()["detail"].as_str().unwrap().contains("3 notes"), "{}", refused.text);
    // Another tenant's rows are its own.
    small.note(&b, "1").await.is(201);
    // A deleted one makes room, by the API or beside it.
    let path = format!("/notes/{}", first["id"].as_str().unwrap());
    small.send(&a, "DELETE", &path, None, json!({})).await.is(204);
    small.note(&a, "4").await.is(201);
    small.note(&a, "5").await.is(507);
    small.database.prepare("DELETE FROM notes WHERE id = 'old'").run().await.unwrap();
    small.note(&a, "6").await.is(507); // counted less than a minute ago
    small.later().await;
    small.note(&a, "7").await.is(201);
    small.later().await;
    small.note(&a, "8").await.is(507);
}

#[tokio::test]
async fn many_rows_at_once_are_limited_as_one_by_one() {
    let small = small().await;
    let a = member("a");
    let create = |number: usize| {
        let operations: Vec<_> =
            (0..number).map(|it| json!({"op": "create", "value": {"text": it.to_string()}})).collect();
        json!({ "operations": operations })
    };
    small.send(&a, "POST", "/notes/bulk", None, create(4)).await.is(507);
    let count = || async { small.database.prepare("SELECT count(*) FROM notes").one::<i64>().await.unwrap() };
    assert_eq!(count().await, 0, "nothing half done");
    let made = small.send(&a, "POST", "/notes/bulk", None, create(3)).await.is(200).json();
    small.send(&a, "POST", "/notes/bulk", None, create(1)).await.is(507);
    // What replaces a row needs no more room.
    let id = &made["results"][0]["id"];
    let replace =
        json!({"operations": [{"op": "delete", "id": id, "revision": 1}, {"op": "create", "value": {"text": "x"}}]});
    small.send(&a, "POST", "/notes/bulk", None, replace).await.is(200);
    assert_eq!(count().await, 3);
    // A conflict is a conflict, not a limit.
    let gone = json!({"operations": [{"op": "delete", "id": id, "revision": 1}]});
    small.send(&a, "POST", "/notes/bulk", None, gone).await.is(409);
}

#[tokio::test]
async fn a_limit_holds_for_requests_at_once() {
    let small = Arc::new(small().await);
    let mut tasks = Vec::new();
    for number in 0..10 {
        let small = Arc::clone(&small);
        tasks.push(tokio::spawn(async move { small.note(&member("a"), &number.to_string()).await.status }));
    }
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.unwrap() == 201);
    }
    assert_eq!(made, 3);
}

#[tokio::test]
async fn idempotency_keys_of_a_tenant_are_limited_and_end() {
    let small = small().await;
    let a = member("a");
    let keyed = |key: &'static str| small.send(&a, "POST", "/notes", Some(key), json!({"text": key}));
    let first = keyed("one").await.is(201);
    keyed("two").await.is(201);
    let refused = keyed("three").await.is(429);
    assert_eq!(refused.header("retry-after"), "3600");
    // What was answered is answered again; without a key all goes on; another tenant has its own.
    assert_eq!(keyed("one").await.is(201).text, first.text);
    small.note(&a, "x").await.is(201);
    small.send(&member("b"), "POST", "/notes", Some("one"), json!({"text": "b"})).await.is(201);
    small.database.prepare("UPDATE idempotency_keys SET created_at = '2026-01-01T00:00:00.000Z'").run().await.unwrap();
    small.database.prepare("DELETE FROM notes").run().await.unwrap();
    small.later().await;
    keyed("three").await.is(201);
    // Their answers' bytes, too.
    small.database.prepare("UPDATE idempotency_keys SET bytes = 10000 WHERE caller LIKE 'a|%'").run().await.unwrap();
    keyed("four").await.is(429);
}
