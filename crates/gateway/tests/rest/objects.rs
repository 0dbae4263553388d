//! Buckets, their objects, and namespaces of session objects.

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Request, header};
use isobar_gateway::catalog::{
    CatalogError, NamespaceEntry, SessionCatalog, SessionDetails, SessionInfo, SessionPage, SessionRows,
};
use isobar_gateway::keys::{KeyScope, Permission};
use isobar_gateway::rest::{RestDoor, RestOptions};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{
    Response, Result as SessionResult, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject,
};
use serde_json::{Value as Json, json};
use std::sync::Arc;

use crate::door::{Answer, Door};

async fn bucket(door: &Door, name: &str) -> String {
    door.post("/r2/buckets", json!({"name": name})).await.result();
    format!("/r2/buckets/{name}/objects")
}

/// A request with headers.
async fn with(door: &Door, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let request = Request::builder().method(method).uri(format!("{}{path}", door.account));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {}", door.token));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    door.send(request.body(body.into()).unwrap()).await
}

async fn put(door: &Door, path: &str, body: &'static str) -> Json {
    with(door, Method::PUT, path, &[("content-length", &body.len().to_string())], body).await.result()
}

#[tokio::test]
async fn buckets_are_created_listed_and_deleted_when_empty() {
    let door = Door::new().await;
    let objects = bucket(&door, "photos").await;
    bucket(&door, "backups").await;
    assert_eq!(door.post("/r2/buckets", json!({"name": "photos"})).await.error(), (409, 10004));
    for name in ["", "ab", "Photos", "-photos", "a/b", "..", &"x".repeat(64)] {
        assert_eq!(door.post("/r2/buckets", json!({"name": name})).await.error(), (400, 10005), "{name}");
    }
    let names =
        |answer: Json| answer["buckets"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(door.get("/r2/buckets").await.result()), ["backups", "photos"]);
    assert_eq!(names(door.get("/r2/buckets?name_contains=hot").await.result()), ["photos"]);
    let first = door.get("/r2/buckets?per_page=1&direction=desc").await;
    assert_eq!(
        (names(first.result()), &first.json()["result_info"]["cursor"]),
        (vec![json!("photos")], &json!("photos"))
    );
    let second = door.get("/r2/buckets?per_page=1&direction=desc&cursor=photos").await;
    assert_eq!((names(second.result()), &second.json()["result_info"]["cursor"]), (vec![json!("backups")], &json!("")));
    assert_eq!(door.get("/r2/buckets/photos").await.result()["name"], "photos");
    assert_eq!(door.get("/r2/buckets/nothing").await.error(), (404, 10006));
    put(&door, &format!("{objects}/a"), "1").await;
    assert_eq!(door.call(Method::DELETE, "/r2/buckets/photos", "").await.error(), (409, 10008));
    door.call(Method::DELETE, &format!("{objects}/a"), "").await.result();
    door.call(Method::DELETE, "/r2/buckets/photos", "").await.result();
    assert_eq!(door.call(Method::DELETE, "/r2/buckets/photos", "").await.error(), (404, 10006));
}

#[tokio::test]
async fn object_keeps_its_bytes_and_headers() {
    let door = Door::new().await;
    let objects = bucket(&door, "photos").await;
    let sent = [("content-type", "text/html"), ("cache-control", "max-age=1"), ("content-length", "5")];
    let stored = with(&door, Method::PUT, &format!("{objects}/a%2Fb%20c+d"), &sent, "hello").await.result();
    assert_eq!((&stored["key"], &stored["size"]), (&json!("a/b c+d"), &json!("5")));
    let got = with(&door, Method::GET, &format!("{objects}/a/b%20c+d"), &[], "").await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"hello"[..]));
    for (name, value) in [("content-type", "text/html"), ("cache-control", "max-age=1"), ("content-length", "5")] {
        assert_eq!(got.headers[name], value, "{name}");
    }
    let etag = got.headers[header::ETAG].to_str().unwrap().to_owned();
    let same = with(&door, Method::GET, &format!("{objects}/a/b%20c+d"), &[("if-none-match", &etag)], "").await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    let part = with(&door, Method::GET, &format!("{objects}/a/b%20c+d"), &[("range", "bytes=1-2")], "").await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"el"[..]));
    assert_eq!(part.headers[header::CONTENT_RANGE], "bytes 1-2/5");
    assert_eq!(door.get(&format!("{objects}/nothing")).await.error(), (404, 10007));
    assert_eq!(door.get("/r2/buckets/nothing/objects/a").await.error(), (404, 10006));
    assert_eq!(door.call(Method::DELETE, &format!("{objects}/nothing"), "").await.result()["key"], "nothing");
}

#[tokio::test]
async fn put_without_a_length_is_stored_whole() {
    let door = Door::new().await;
    let objects = bucket(&door, "photos").await;
    let chunk = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let chunks = futures_util::stream::iter((0..9).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let path = format!("{objects}/large");
    let stored = with(&door, Method::PUT, &path, &[], Body::from_stream(chunks)).await.result();
    assert_eq!(stored["size"], (9 << 20).to_string());
    assert_eq!(door.get(&path).await.body.len(), 9 << 20);
}

#[tokio::test]
async fn put_that_breaks_off_or_has_another_length_stores_nothing() {
    let door = Door::new().await;
    let objects = bucket(&door, "photos").await;
    let path = format!("{objects}/a");
    let broken = futures_util::stream::iter([Ok("12".into()), Err::<bytes::Bytes, _>(std::io::Error::other("broken"))]);
    let answer = with(&door, Method::PUT, &path, &[("content-length", "9")], Body::from_stream(broken)).await;
    assert_eq!(answer.error().0, 400);
    for length in ["4", "6", "x"] {
        let answer = with(&door, Method::PUT, &path, &[("content-length", length)], "12345").await;
        assert_eq!(answer.error().0, 400, "{length}");
    }
    assert_eq!(door.get(&path).await.error(), (404, 10007));
}

#[tokio::test]
async fn conditions_of_a_put_hold_or_nothing_is_written() {
    let door = Door::new().await;
    let path = format!("{}/a", bucket(&door, "photos").await);
    put(&door, &path, "1").await;
    let create = [("if-none-match", "*"), ("content-length", "1")];
    assert_eq!(with(&door, Method::PUT, &path, &create, "2").await.error(), (412, 10031));
    assert_eq!(with(&door, Method::PUT, &path, &create[..1], "2").await.error(), (400, 7400), "no length");
    let invalid = [("if-match", "unquoted"), ("content-length", "1")];
    assert_eq!(with(&door, Method::PUT, &path, &invalid, "2").await.error(), (400, 7400));
    assert_eq!(&door.get(&path).await.body[..], b"1");
    let class = [("cf-r2-storage-class", "Glacier"), ("content-length", "1")];
    assert_eq!(with(&door, Method::PUT, &path, &class, "2").await.error(), (400, 7400));
}

#[tokio::test]
async fn objects_are_listed_page_by_page() {
    let door = Door::new().await;
    let objects = bucket(&door, "photos").await;
    for key in ["a.txt", "dir/1", "dir/2", "z"] {
        put(&door, &format!("{objects}/{key}"), "1").await;
    }
    let mut keys = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = door.get(&format!("{objects}?per_page=3&cursor={cursor}")).await;
        keys.extend(page.result().as_array().unwrap().iter().map(|object| object["key"].clone()));
        cursor = page.json()["result_info"]["cursor"].as_str().unwrap().to_owned();
        assert_eq!(page.json()["result_info"]["is_truncated"], !cursor.is_empty());
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(keys, ["a.txt", "dir/1", "dir/2", "z"]);
    let grouped = door.get(&format!("{objects}?delimiter=/")).await;
    assert_eq!(grouped.json()["result_info"]["delimited"], json!(["dir/"]));
    assert_eq!(grouped.result().as_array().unwrap().len(), 2);
    let listed = door.get(&format!("{objects}?prefix=a")).await.result();
    assert_eq!((&listed[0]["size"], &listed[0]["storage_class"]), (&json!(1), &json!("Standard")));
    assert_eq!(door.get(&format!("{objects}?per_page=1001")).await.error(), (400, 7400));
    assert_eq!(door.get(&format!("{objects}?cursor=invalid%00")).await.error().0, 400);
    let too_long = "x".repeat(1025);
    assert_eq!(door.get(&format!("{objects}/{too_long}")).await.error(), (400, 10020));
}

#[tokio::test]
async fn bucket_info_counts_its_objects() {
    let door = Door::new().await;
    let objects = bucket(&door, "photos").await;
    put(&door, &format!("{objects}/a"), "12345").await;
    let asked =
        |bucket: &str| json!({"operationName": "getR2StorageMetrics", "variables": {"filter": {"bucketName": bucket}}});
    let answer = door.post("/client/v4/graphql", asked("photos")).await.json();
    let group = &answer["data"]["viewer"]["accounts"][0]["r2StorageAdaptiveGroups"][0]["max"];
    assert_eq!((&group["objectCount"], &group["payloadSize"]), (&json!(1), &json!(5)));
    assert_eq!(door.post("/client/v4/graphql", asked("nothing")).await.error(), (404, 10006));
    let other = door.post("/client/v4/graphql", json!({"operationName": "other"})).await.json();
    assert!(other["errors"][0]["message"].as_str().unwrap().contains("no other query"), "{other}");
    let bound = door.issue(KeyScope::new([Permission::R2Read]).with_bucket("backups")).await;
    let answer = door.call_as(&bound, Method::POST, "/client/v4/graphql", asked("photos").to_string()).await;
    assert_eq!(answer.error(), (403, 10000));
}

struct Counter(SessionContext);

impl SessionObject for Counter {
    type Env = ();
    async fn start(context: SessionContext, (): ()) -> SessionResult<Self> {
        Ok(Self(context))
    }
    async fn fetch(&self, _: isobar_sessions::Request) -> SessionResult<Response> {
        self.0.kv().put("count", &1)?;
        Ok(Response::new("".into()))
    }
}

#[tokio::test]
async fn namespaces_and_their_objects_are_listed() {
    let counters: Arc<dyn SessionNamespace> = Arc::new(MemoryHost::<Counter>::new("Counter", || ()).unwrap());
    for name in ["a", "b", "c"] {
        counters.get(&counters.id_from_name(name), "/").await.unwrap();
    }
    let id = "0".repeat(32);
    let entry = NamespaceEntry::new(&*id, "Counter", "platform", counters);
    let door = Door::with(RestOptions::default(), vec![entry]).await;
    let path = "/workers/durable_objects/namespaces";
    let listed = door.get(path).await.result();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["class"]), (1, &json!("Counter")));
    assert_eq!(door.get(&format!("{path}?page=2")).await.result(), json!([]));
    let first = door.get(&format!("{path}/{id}/objects?limit=2")).await;
    let cursor = first.json()["result_info"]["cursors"]["after"].as_str().unwrap().to_owned();
    let second = door.get(&format!("{path}/{id}/objects?limit=2&cursor={cursor}")).await;
    assert_eq!((first.result().as_array().unwrap().len(), second.result().as_array().unwrap().len()), (2, 1));
    assert_eq!(second.json()["result_info"]["cursors"]["after"], "");
    assert_eq!(door.get(&format!("{path}/nothing/objects")).await.error().0, 404);
    let reader = door.issue(KeyScope::new([Permission::D1Read])).await;
    assert_eq!(door.call_as(&reader, Method::GET, path, "").await.error(), (403, 10000));
}

/// The classes `Lobby`, without objects, and `Room`, with five.
#[derive(Debug)]
struct Rooms;

#[async_trait]
impl SessionCatalog for Rooms {
    async fn classes(&self) -> Result<Vec<String>, CatalogError> {
        Ok(vec!["Lobby".to_owned(), "Room".to_owned()])
    }

    async fn list(&self, class: &str, after: Option<&str>, limit: usize) -> Result<Option<SessionPage>, CatalogError> {
        let count = if class == "Room" { 5 } else { 0 };
        let from = after.map_or(0, |after| usize::from_str_radix(after, 16).unwrap() + 1);
        let page: Vec<_> = (from..count).take(limit).map(|number| SessionInfo::new(format!("{number:064x}"))).collect();
        let cursor = page.last().map(|last| last.id.clone()).filter(|_| from + limit < count);
        Ok(Some(SessionPage::new(page, cursor)))
    }

    async fn details(&self, _class: &str, _id: &str) -> Result<Option<SessionDetails>, CatalogError> {
        Ok(None)
    }

    async fn query(&self, _class: &str, _id: &str, _sql: &str) -> Result<Option<SessionRows>, CatalogError> {
        Ok(None)
    }
}

#[tokio::test]
async fn classes_of_a_catalog_are_namespaces_with_the_objects_in_their_files() {
    let door = Door::new().await;
    let router = RestDoor::new(door.keys.clone()).with_sessions("platform", Arc::new(Rooms)).into_router();
    let door = Door { router, ..door };
    let path = "/workers/durable_objects/namespaces";
    let listed = door.get(path).await.result();
    let names: Vec<&Json> = listed.as_array().unwrap().iter().map(|namespace| &namespace["name"]).collect();
    assert_eq!(names, ["platform_Lobby", "platform_Room"]);
    let [lobby, room] = [0, 1].map(|at: usize| listed[at]["id"].as_str().unwrap().to_owned());
    assert!(lobby != room && room.len() == 32, "{lobby} {room}");
    assert_eq!(door.get(&format!("{path}/{lobby}/objects")).await.result(), json!([]));
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = door.get(&format!("{path}/{room}/objects?limit=2&cursor={cursor}")).await;
        ids.extend(page.result().as_array().unwrap().iter().map(|object| object["id"].clone()));
        cursor = page.json()["result_info"]["cursors"]["after"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = (0..5).map(|number| format!("{number:064x}")).collect();
    assert_eq!(ids, expected);
    assert_eq!(door.get(&format!("{path}/{}/objects", "0".repeat(32))).await.error().0, 404);
    let reader = door.issue(KeyScope::new([Permission::R2Read])).await;
    assert_eq!(door.call_as(&reader, Method::GET, path, "").await.error(), (403, 10000));
}
