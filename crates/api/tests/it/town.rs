//! A small town: accounts, notes of tenants, browsers that sign in.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use isobar_api::auth::{ClientAddress, PasswordCost};
use isobar_api::{Api, Auth, AuthOptions, Column, Policy, Resource, Role};
use isobar_db::{QueryableExt, SqliteDatabase};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::world::Answer;

pub(crate) const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, text TEXT NOT NULL, \
    revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)";
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Town {
    pub(crate) database: Arc<SqliteDatabase>,
    pub(crate) auth: Auth,
    pub(crate) router: Router,
}

/// A browser: it keeps the cookie it gets, and says where its requests come from.
pub(crate) struct Browser<'t> {
    town: &'t Town,
    pub(crate) cookie: Option<String>,
    /// That of a browser the account has signed in from; not sent unless a test takes it over.
    pub(crate) device: Option<String>,
    pub(crate) given_device: Option<String>,
    pub(crate) address: IpAddr,
}

pub(crate) async fn town_with(options: AuthOptions) -> Town {
    let database = Arc::new(SqliteDatabase::memory().await.unwrap());
    database.run_script(&format!("{};{};{NOTES}", isobar_api::SCHEMA, isobar_api::auth::SCHEMA)).await.unwrap();
    let auth = Auth::new(database.clone(), options.with_password_cost(PasswordCost { memory: 64, passes: 1 }));
    let notes = Resource::of_tenant("notes").column(Column::text("text").required());
    let notes = notes.read(Policy::AtLeast(Role::Viewer)).write(Policy::AtLeast(Role::Member));
    let members = Resource::of_tenant("memberships")
        .column(Column::choice("role", &["viewer", "member", "admin", "owner"]).required())
        .read(Policy::AtLeast(Role::Viewer))
        .update(Policy::AtLeast(Role::Owner))
        .delete(Policy::AtLeast(Role::Owner));
    let api = Api::new(database.clone()).resource(notes).resource(members);
    let router = auth.protect(auth.mount(api).into_router());
    Town { database, auth, router }
}

pub(crate) async fn town() -> Town {
    let town = town_with(AuthOptions::default().with_signup(true)).await;
    town.found().await;
    town
}

impl Town {
    /// The operator redeems the set-up token: before that nobody signs up without one.
    pub(crate) async fn found(&self) {
        let token = self.auth.setup_token().await.unwrap().unwrap();
        let mut body = sign_up("operator");
        body["token"] = json!(token);
        self.browser().post("/auth/signup", body).await.is(201);
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser { town: self, cookie: None, device: None, given_device: None, address: [192, 0, 2, 1].into() }
    }

    async fn send(&self, mut request: Request<Body>, address: IpAddr) -> Answer {
        request.extensions_mut().insert(ClientAddress(address));
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub(crate) async fn with_key(&self, key: &str, method: &str, path: &str, body: Option<Json>) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
        let request = request.header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap(), [192, 0, 2, 9].into()).await
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.database.prepare(format!("SELECT count(*) FROM {table}")).one().await.unwrap()
    }
}

impl<'t> Browser<'t> {
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Json>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "example.com");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("theme=dark; __Host-session={cookie}"));
        }
        if let Some(device) = &self.device {
            request = request.header("cookie", format!("__Host-device={device}"));
        }
        if !headers.iter().any(|(name, _)| ["sec-fetch-site", "origin"].contains(name)) {
            request = request.header("sec-fetch-site", "same-origin");
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = self.town.send(request.body(body).unwrap(), self.address).await;
        if let Some(cookie) = answer.header("set-cookie").strip_prefix("__Host-session=") {
            self.cookie = cookie.split(';').next().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
        }
        let cookies = answer.headers.get_all("set-cookie").into_iter().filter_map(|cookie| cookie.to_str().ok());
        let device = cookies.filter_map(|cookie| cookie.strip_prefix("__Host-device=")).next();
        self.given_device =
            device.and_then(|cookie| cookie.split(';').next()).map(ToOwned::to_owned).or(self.given_device.take());
        answer
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Json) -> Answer {
        self.send("POST", path, &[], Some(body)).await
    }

    pub(crate) async fn signed_up(town: &'t Town, name: &str) -> Self {
        let mut browser = town.browser();
        browser.post("/auth/signup", sign_up(name)).await.is(201);
        browser
    }
}

pub(crate) fn sign_up(name: &str) -> Json {
    json!({
        "email": format!("{name}@example.com"), "password": PASSWORD, "name": name,
        "tenant": {"slug": name.to_ascii_lowercase(), "name": format!("{name}'s")},
    })
}

pub(crate) fn log_in(name: &str, password: &str) -> Json {
    json!({"email": format!("{name}@example.com"), "password": password})
}
