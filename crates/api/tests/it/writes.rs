//! Creating, changing, deleting: one by one and many at once.

use isobar_api::{Principal, Role};
use isobar_db::QueryableExt;
use serde_json::{Value as Json, json};

use crate::world::{World, example, member, world};

async fn count(world: &World, table: &str) -> i64 {
    world.database.prepare(format!("SELECT count(*) FROM {table}")).one().await.unwrap()
}

#[tokio::test]
async fn a_row_is_created_with_its_defaults_and_read_back() {
    let world = world().await;
    let me = member("a");
    let project = world.create(&me, "projects", example("projects")).await;
    let body = json!({
        "project_id": project, "subject": "Über alles <b>", "priority": 5, "urgent": true, "weight": 2,
        "due_at": "2026-12-01T01:00:00+01:00", "tags": ["a", {"b": null}],
    });
    let created = world.post(&me, "/tickets", body).await.is(201);
    let row = created.json();
    assert_eq!(created.header("location"), format!("/api/tickets/{}", row["id"].as_str().unwrap()));
    assert_eq!((created.header("etag"), created.header("cache-control")), ("\"1\"", "no-store"));
    let got = world.get(&me, &format!("/tickets/{}", row["id"].as_str().unwrap())).await.is(200);
    assert_eq!((got.json(), got.header("etag")), (row.clone(), "\"1\""));
    for (name, expected) in [
        ("subject", json!("Über alles <b>")),
        ("priority", json!(5)),
        ("status", json!("open")),
        ("urgent", json!(true)),
        ("weight", json!(2.0)),
        ("due_at", json!("2026-12-01T00:00:00.000Z")),
        ("tags", json!(["a", {"b": null}])),
        ("body", Json::Null),
        ("token", Json::Null),
        ("revision", json!(1)),
    ] {
        assert_eq!(row[name], expected, "{name}");
    }
}

#[tokio::test]
async fn every_mistake_is_named_by_its_field() {
    let world = world().await;
    let me = member("a");
    let body = json!({
        "priority": 9, "status": "lost", "urgent": "yes", "tags": {}, "due_at": "soon", "project_id": "x y",
        "id": "mine", "revision": 7, "colour": "red", "tenant_id": "b", "token": "",
    });
    let mut fields = world.post(&me, "/tickets", body).await.is(400).fields();
    fields.sort();
    let expected = [
        "colour",
        "due_at",
        "id",
        "priority",
        "project_id",
        "revision",
        "status",
        "subject",
        "tags",
        "tenant_id",
        "token",
        "urgent",
    ];
    assert_eq!(fields, expected);
    for body in [json!([]), json!("x"), json!(null)] {
        world.post(&me, "/tickets", body).await.is(400);
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    world.send(&me, "POST", "/tickets", &form, Some(json!({"subject": "a"}))).await.is(415);
    let deep = "[".repeat(100_000);
    let sent = world.send(&me, "POST", "/tickets", &[], Some(Json::String(deep.clone()))).await;
    sent.is(400);
    let large = json!({"subject": "a", "body": "x".repeat(3_000_000)});
    world.post(&me, "/tickets", large).await.is(413);
    assert_eq!(count(&world, "tickets").await, 0);
}

#[tokio::test]
async fn what_is_there_already_is_a_conflict_that_names_the_field() {
    let world = world().await;
    let me = member("a");
    world.create(&me, "projects", example("projects")).await;
    let again = world.post(&me, "/projects", example("projects")).await.is(409);
    assert_eq!(again.fields(), ["slug"]);
    // Another tenant's slugs are its own.
    world.create(&member("b"), "projects", example("projects")).await;
}

#[tokio::test]
async fn a_change_takes_the_revision_it_is_of() {
    let world = world().await;
    let me = member("a");
    let id = world.create(&me, "tickets", example("tickets")).await;
    let path = format!("/tickets/{id}");
    let without = world.send(&me, "PATCH", &path, &[], Some(json!({"status": "closed"}))).await;
    without.is(428);
    let changed = world.patch(&me, &path, "\"1\"", json!({"status": "closed", "body": "b"})).await.is(200);
    assert_eq!((changed.header("etag"), &changed.json()["status"]), ("\"2\"", &json!("closed")));
    assert_eq!(changed.json()["subject"], "A");
    for stale in ["\"1\"", "W/\"2\"", "\"x\"", "\"1\", W/\"2\""] {
        world.patch(&me, &path, stale, json!({"status": "open"})).await.is(412);
    }
    for malformed in ["2", "", "\"", "*, \"2\""] {
        assert_eq!(world.patch(&me, &path, malformed, json!({})).await.is(400).fields(), ["If-Match"]);
    }
    assert_eq!(world.patch(&me, &path, "\"1\", \"2\"", json!({})).await.is(200).json()["revision"], 3);
    let any = world.patch(&me, &path, "*", json!({"body": null})).await.is(200);
    assert_eq!((&any.json()["body"], &any.json()["revision"]), (&Json::Null, &json!(4)));
    assert_eq!(
        world.patch(&me, &path, "*", json!({"subject": null, "created_at": "x"})).await.is(400).fields().len(),
        2
    );

    let fresh = [("if-none-match", "\"1\", W/\"4\"")];
    assert_eq!(world.send(&me, "GET", &path, &fresh, None).await.is(304).text, "");
    let stale = [("if-match", "\"1\"")];
    world.send(&me, "DELETE", &path, &stale, None).await.is(412);
    world.send(&me, "DELETE", &path, &[], None).await.is(204);
    world.send(&me, "DELETE", &path, &[], None).await.is(404);
    world.patch(&me, &path, "*", json!({})).await.is(404);
}

#[tokio::test]
async fn of_changes_at_once_to_one_revision_one_is_made() {
    let world = world().await;
    let me = member("a");
    let id = world.create(&me, "tickets", example("tickets")).await;
    let mut tasks = Vec::new();
    for priority in 1..=5 {
        let world = world.clone();
        let me = me.clone();
        let path = format!("/tickets/{id}");
        tasks.push(tokio::spawn(async move {
            world.patch(&me, &path, "\"1\"", json!({"priority": priority})).await.status
        }));
    }
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412]);
}

#[tokio::test]
async fn what_is_referred_to_cannot_go() {
    let world = world().await;
    let me = member("a");
    let project = world.create(&me, "projects", example("projects")).await;
    world.create(&me, "tickets", json!({"subject": "x", "project_id": project})).await;
    world.send(&me, "DELETE", &format!("/projects/{project}"), &[], None).await.is(409);
    let immutable = world.patch(&me, &format!("/projects/{project}"), "*", json!({"slug": "b"})).await.is(400);
    assert_eq!(immutable.fields(), ["slug"]);
}

#[tokio::test]
async fn a_request_with_a_key_is_done_once() {
    let world = world().await;
    let me = member("a");
    let key = [("idempotency-key", "one")];
    let send = async |body: Json| world.send(&me, "POST", "/tickets", &key, Some(body)).await;
    let first = send(example("tickets")).await.is(201);
    let second = send(example("tickets")).await.is(201);
    assert_eq!((first.json(), first.header("location")), (second.json(), second.header("location")));
    assert_eq!(second.header("etag"), "\"1\"");
    send(json!({"subject": "another"})).await.is(422);
    assert_eq!(count(&world, "tickets").await, 1);
    let other = world.send(&member("b"), "POST", "/tickets", &key, Some(example("tickets"))).await.is(201);
    assert_ne!(other.json()["id"], first.json()["id"], "another principal's key is another key");

    // A mistake is not kept: the same key may be used for the mended request.
    let key = [("idempotency-key", "two")];
    world.send(&me, "POST", "/tickets", &key, Some(json!({}))).await.is(400);
    world.send(&me, "POST", "/tickets", &key, Some(example("tickets"))).await.is(201);

    let old = "UPDATE idempotency_keys SET created_at = '2020-01-01T00:00:00.000Z' WHERE key = 'one'";
    world.database.prepare(old).run().await.unwrap();
    let later = send(example("tickets")).await.is(201);
    assert_ne!(later.json()["id"], first.json()["id"], "after a day the key is forgotten");
}

#[tokio::test]
async fn requests_at_once_with_one_key_are_one() {
    let world = world().await;
    let me = member("a");
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let world = world.clone();
        let me = me.clone();
        tasks.push(tokio::spawn(async move {
            let key = [("idempotency-key", "one")];
            let answer = world.send(&me, "POST", "/projects", &key, Some(example("projects"))).await.is(201);
            answer.json()["id"].as_str().unwrap().to_owned()
        }));
    }
    let mut ids = std::collections::BTreeSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap());
    }
    assert_eq!((ids.len(), count(&world, "projects").await), (1, 1));
}

#[tokio::test]
async fn many_writes_are_made_together_or_not_at_all() {
    let world = world().await;
    let me = member("a");
    let one = world.create(&me, "tickets", example("tickets")).await;
    let two = world.create(&me, "tickets", example("tickets")).await;
    let operations = json!({"operations": [
        {"op": "create", "value": {"subject": "new"}},
        {"op": "update", "id": one, "revision": 1, "value": {"status": "closed"}},
        {"op": "delete", "id": two, "revision": 1},
    ]});
    let done = world.post(&me, "/tickets/bulk", operations.clone()).await.is(200).json();
    assert_eq!((&done["results"][1]["revision"], &done["results"][2]["id"]), (&json!(2), &json!(two)));
    assert_eq!(count(&world, "tickets").await, 2);

    let failed = world.post(&me, "/tickets/bulk", operations).await.is(409);
    assert_eq!(failed.fields(), ["operations[1]", "operations[2]"]);
    assert_eq!(count(&world, "tickets").await, 2, "nothing of it was done");
    let wrong = json!({"operations": [
        {"op": "create", "value": {"subject": "fine"}},
        {"op": "create", "value": {"subject": ""}},
    ]});
    assert_eq!(world.post(&me, "/tickets/bulk", wrong).await.is(400).fields(), ["operations[1].value.subject"]);
    for body in [json!({}), json!({"operations": []}), json!({"operations": [{"op": "drop"}]})] {
        world.post(&me, "/tickets/bulk", body).await.is(400);
    }
    let many = vec![json!({"op": "create", "value": {"subject": "x"}}); 51];
    world.post(&me, "/tickets/bulk", json!({ "operations": many })).await.is(400);
    assert_eq!(count(&world, "tickets").await, 2);
    let most = vec![json!({"op": "create", "value": {"subject": "x"}}); 50];
    let key = [("idempotency-key", "bulk")];
    for _ in 0..2 {
        let body = Some(json!({ "operations": most }));
        world.send(&me, "POST", "/tickets/bulk", &key, body).await.is(200);
    }
    assert_eq!(count(&world, "tickets").await, 52);
    let viewer = Principal::member("v", "a", Role::Viewer);
    world.post(&viewer, "/tickets/bulk", json!({"operations": "?"})).await.is(403);
}

#[tokio::test]
async fn secrets_are_taken_sealed_and_never_shown() {
    let world = world().await;
    let me = member("a");
    let created = world.post(&me, "/tickets", json!({"subject": "x", "token": "s3cret-token"})).await.is(201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let got = world.get(&me, &format!("/tickets/{id}")).await.is(200);
    let listed = world.get(&me, "/tickets").await.is(200);
    for answer in [&created.text, &got.text, &listed.text] {
        assert!(answer.contains(r#""token":{"sealed":true}"#) && !answer.contains("s3cret"), "{answer}");
    }
    for path in ["/tickets?token=s3cret-token", "/tickets?token[prefix]=s", "/tickets?sort=token"] {
        world.get(&me, path).await.is(400);
    }
    let stored: (String, i64) = world
        .database
        .prepare("SELECT typeof(token), instr(token, CAST('s3cret' AS BLOB)) FROM tickets")
        .one()
        .await
        .unwrap();
    assert_eq!(stored, ("blob".to_owned(), 0));
    let cleared = world.patch(&me, &format!("/tickets/{id}"), "*", json!({"token": null})).await.is(200);
    assert_eq!(cleared.json()["token"], Json::Null);
}
