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
    conformance::run(async || Arc::new(database.clone()) as _).await.assert_green();
}

/// The door over the backend for D1's REST API, which is another door.
#[tokio::test]
async fn database_of_another_server_conforms_through_the_door() {
    let inner = Door::new().await;
    let outer = Door::new().await;
    let other = remote(&inner, Arc::new(SqliteDatabase::memory().await.unwrap()));
    let database = remote(&outer, Arc::new(other));
    conformance::run(async || Arc::new(database.clone()) as _).await.assert_green();
}
