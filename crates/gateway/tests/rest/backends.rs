//! The kit of databases through isobar's own client of D1's REST API and the door.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body as AxumBody;
use http::header::HOST;
use http::{Request, Response};
use isobar_cloudflare::client::{Account, Body, Client, Retry, Transport, TransportError, TransportErrorKind};
use isobar_db::cloudflare::D1RestDatabase;
use isobar_db::{Database, SqliteDatabase, conformance};
use tower::ServiceExt;

use crate::door::Door;

/// Takes the place of the network.
#[derive(Debug)]
struct InProcess(Router);

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let (mut head, body) = request.into_parts();
        let host = head.uri.authority().unwrap().as_str().parse().unwrap();
        head.headers.insert(HOST, host);
        head.uri = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
        let request = Request::from_parts(head, AxumBody::from_stream(body.into_stream()));
        let (head, body) = self.0.clone().oneshot(request).await.unwrap().into_parts();
        let broken = |error| TransportError::new(TransportErrorKind::Broken, "it broke off").with_source(error);
        Ok(Response::from_parts(head, axum::body::to_bytes(body, usize::MAX).await.map_err(broken)?.into()))
    }
}

/// Cases that cannot pass: the API has no bookmarks in its answers, and the door leaves out what has no statement in it, as at the end of
/// a script, and splits the SQL, so that a parameter before the last statement has another message.
const DIFFERENT: [&str; 4] = [
    "queries/several_statements_give_the_last_rows",
    "transactions/statements_end_where_sqlite_ends_them",
    "sessions/sessions_carry_bookmarks",
    "errors/empty_sql_is_refused",
];

/// Runs the kit. Returns the cases that fail.
async fn conforms(database: &D1RestDatabase) -> Vec<String> {
    let report = conformance::run(async || Arc::new(database.clone()) as _).await;
    let text = report.to_string();
    assert!(report.passed() > 80, "{text}");
    let failed = text.lines().filter_map(|line| Some(line.strip_prefix("FAILED   ")?.split_once(": ")?.0));
    failed.map(str::to_owned).collect()
}

/// A database of a door, through the client.
fn remote(door: &Door, database: Arc<dyn Database>) -> D1RestDatabase {
    let info = door.catalog.insert_database("kit", database);
    let client = Client::new(InProcess(door.router.clone())).with_retry(Retry::never());
    let account = Account::new(door.keys.account_id(), &*door.token).unwrap();
    let account = account.with_base_url("http://isobar.test/client/v4").with_client(client);
    D1RestDatabase::new(account, &info.id).unwrap()
}

#[tokio::test]
async fn database_in_memory_conforms_through_the_door() {
    let door = Door::new().await;
    let database = remote(&door, Arc::new(SqliteDatabase::memory().await.unwrap()));
    assert_eq!(conforms(&database).await, DIFFERENT);
}

/// The door over the backend for D1's REST API, which is another door.
#[tokio::test]
async fn database_of_another_server_conforms_through_the_door() {
    let inner = Door::new().await;
    let outer = Door::new().await;
    let other = remote(&inner, Arc::new(SqliteDatabase::memory().await.unwrap()));
    let database = remote(&outer, Arc::new(other));
    // An integer that is refused rather than rounded has the code of an SQL error behind the second door.
    let expected = [&["queries/integers_are_never_rounded"][..], &DIFFERENT].concat();
    assert_eq!(conforms(&database).await, expected);
}
