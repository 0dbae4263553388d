//! Signing in and connecting at providers, with a provider that can be told to misbehave.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use isobar_api::auth::{OAuth, OAuthProvider, PasswordCost};
use isobar_api::{Api, Auth, AuthOptions, HttpClient, HttpClientError};
use isobar_db::vault::{self, Keyring, Secret, Vault};
use isobar_db::{FromValue, QueryableExt, SqliteDatabase};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

const ISSUER: &str = "https://id.example";
const SETUP_TOKEN: &str = "set-up-of-the-tests";

/// A provider: what it was last asked, and what it claims.
#[derive(Debug, Default)]
struct Provider {
    /// The challenge and the nonce of the sign-in under way.
    challenge: String,
    nonce: String,
    claims: Json,
    refreshed: usize,
    /// Every token it has given.
    tokens: Vec<String>,
    refuses: bool,
}

#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Provider>>);

#[async_trait]
impl HttpClient for Fake {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpClientError> {
        let mut provider = self.0.lock().unwrap();
        let form: std::collections::BTreeMap<String, String> = std::str::from_utf8(request.body())
            .unwrap()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let json = match request.uri().to_string().as_str() {
            "https://id.example/.well-known/openid-configuration" => json!({
                "issuer": ISSUER, "authorization_endpoint": "https://id.example/auth",
                "token_endpoint": "https://id.example/token", "userinfo_endpoint": "https://id.example/me",
                "authorization_response_iss_parameter_supported": true,
            }),
            "https://id.example/token" => {
                assert_eq!(request.headers()["authorization"], "Basic aXNvYmFyOnMzY3JldC1vZi10aGUtY2xpZW50");
                let is_right = match form["grant_type"].as_str() {
                    "authorization_code" => {
                        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
                        form["code"] == "good" && challenge == provider.challenge
                    }
                    _ => Some(&form["refresh_token"]) == provider.tokens.last(),
                };
                if !is_right || provider.refuses {
                    let answer = Response::builder().status(400).body(Bytes::from(r#"{"error": "invalid_grant"}"#));
                    return Ok(answer.unwrap());
                }
                provider.refreshed += 1;
                let access = format!("access-{}", provider.refreshed);
                let refresh = format!("refresh-{}", provider.refreshed);
                provider.tokens.extend([access.clone(), refresh.clone()]);
                let now = chrono::Utc::now().timestamp();
                let mut claims =
                    json!({"iss": ISSUER, "aud": "isobar", "exp": now + 60, "iat": now, "nonce": provider.nonce});
                claims.as_object_mut().unwrap().extend(provider.claims.as_object().cloned().unwrap_or_default());
                let id_token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
                json!({"access_token": access, "refresh_token": refresh, "expires_in": 3600, "id_token": id_token,
                    "scope": "openid email", "token_type": "Bearer"})
            }
            "https://id.example/me" => json!({"sub": "7", "email": "ada@example.com", "email_verified": true}),
            other => return Err(HttpClientError::new(format!("nobody is at {other}"))),
        };
        Ok(Response::new(Bytes::from(json.to_string())))
    }
}

struct Town {
    database: Arc<SqliteDatabase>,
    provider: Fake,
    oauth: OAuth,
    router: Router,
}

#[derive(Default)]
struct Browser {
    cookies: std::collections::BTreeMap<String, String>,
}

impl Browser {
    async fn send(&mut self, town: &Town, method: &str, path: &str, body: Option<Json>) -> (u16, HeaderMap, Json) {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder().method(method).uri(path).header("cookie", cookies.join("; "));
        let request = request.header("host", "app.example").header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = town.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        for cookie in parts.headers.get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => drop(self.cookies.remove(name)),
                value => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Begins; the provider knows what it was asked. The state.
    async fn begin(&mut self, town: &Town, intent: &str) -> String {
        let body = json!({"intent": intent, "return_to": "/dashboard/keys"});
        let (status, _, json) = self.send(town, "POST", "/auth/oauth/local", Some(body)).await;
        assert_eq!(status, 200, "{json}");
        let url = json["url"].as_str().unwrap();
        let parameter =
            |name: &str| url.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap();
        assert_eq!(parameter("redirect_uri"), "https%3A%2F%2Fapp.example%2Fapi%2Fauth%2Foauth%2Flocal%2Fcallback");
        assert_eq!((parameter("code_challenge_method"), parameter("client_id")), ("S256", "isobar"));
        let mut provider = town.provider.0.lock().unwrap();
        provider.challenge = parameter("code_challenge").to_owned();
        provider.nonce = parameter("nonce").to_owned();
        parameter("state").to_owned()
    }

    /// Comes back; where it ends.
    async fn come_back(&mut self, town: &Town, state: &str, more: &str) -> String {
        let path = format!("/auth/oauth/local/callback?state={state}{more}");
        let (status, headers, json) = self.send(town, "GET", &path, None).await;
        assert_eq!(status, 303, "{json}");
        headers["location"].to_str().unwrap().to_owned()
    }

    async fn sign_in(&mut self, town: &Town, intent: &str) -> String {
        let state = self.begin(town, intent).await;
        self.come_back(town, &state, GOOD).await
    }

    async fn who(&mut self, town: &Town) -> Option<String> {
        let (_, _, json) = self.send(town, "GET", "/auth/me", None).await;
        json["user"]["email"].as_str().map(str::to_owned)
    }
}

const GOOD: &str = "&code=good&iss=https%3A%2F%2Fid.example";

async fn town(signup: bool) -> Town {
    let database = Arc::new(SqliteDatabase::memory().await.unwrap());
    let schema =
        [isobar_api::SCHEMA, vault::SCHEMA, isobar_api::auth::SCHEMA, isobar_api::auth::OAUTH_SCHEMA].join(";");
    database.run_script(&schema).await.unwrap();
    let keyring = Keyring::generate("test").unwrap().expose_text().unwrap().parse().unwrap();
    let vault = Vault::new(database.clone(), "test", keyring);
    let options = AuthOptions::default().with_signup(signup).with_setup_token(SETUP_TOKEN).unwrap();
    let auth = Auth::new(database.clone(), options.with_password_cost(PasswordCost { memory: 64, passes: 1 }));
    let provider = Fake::default();
    provider.0.lock().unwrap().claims =
        json!({"sub": "7", "email": "Ada@example.com", "email_verified": true, "name": "Ada"});
    let local =
        OAuthProvider::oidc("local", "Local", ISSUER, "isobar").with_secret(Secret::new("s3cret-of-the-client"));
    let oauth = OAuth::new(auth.clone(), vault.clone(), Arc::new(provider.clone()), vec![local]);
    let api = auth.mount(oauth.mount(Api::new(database.clone()).vault(vault)));
    let town = Town { database, provider, oauth, router: auth.protect(api.into_router()) };
    if signup {
        owner(&town).await; // before there is an operator nobody signs up
    }
    town
}

async fn owner(town: &Town) -> Browser {
    let mut browser = Browser::default();
    let body = json!({"email": "owner@example.com", "password": "correct horse battery", "name": "Owner",
        "tenant": {"slug": "iam", "name": "IAM"}, "token": SETUP_TOKEN});
    assert_eq!(browser.send(town, "POST", "/auth/signup", Some(body)).await.0, 201);
    browser
}

#[tokio::test]
async fn who_has_connected_an_account_signs_in_by_it() {
    let town = town(false).await;
    let (_, _, list) = Browser::default().send(&town, "GET", "/auth/oauth", None).await;
    assert_eq!(list, json!({"items": [{"name": "local", "title": "Local"}]}));
    // Nobody has connected it, and nobody may sign up.
    assert_eq!(Browser::default().sign_in(&town, "login").await, "/dashboard/login#oauth=unknown");
    let mut owner = owner(&town).await;
    assert_eq!(owner.sign_in(&town, "connect").await, "/dashboard/keys");
    let mut elsewhere = Browser::default();
    assert_eq!(elsewhere.sign_in(&town, "login").await, "/dashboard/keys");
    assert_eq!(elsewhere.who(&town).await.as_deref(), Some("owner@example.com"));
    // What was given stands in the database sealed alone.
    let (_, rows) = town.database.prepare("SELECT access_token, refresh_token FROM oauth_tokens").raw().await.unwrap();
    let sealed: Vec<Bytes> = rows[0].iter().map(|value| Bytes::from_value(value).unwrap()).collect();
    for token in &town.provider.0.lock().unwrap().tokens {
        for sealed in &sealed {
            assert!(!sealed.windows(token.len()).any(|window| window == token.as_bytes()));
        }
    }
    let (connections, tokens): (i64, i64) = town
        .database
        .prepare("SELECT (SELECT count(*) FROM oauth_connections), (SELECT count(*) FROM oauth_tokens)")
        .one()
        .await
        .unwrap();
    assert_eq!((connections, tokens), (1, 1));
    // To connect something, one is signed in.
    let (status, ..) =
        Browser::default().send(&town, "POST", "/auth/oauth/local", Some(json!({"intent": "connect"}))).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn where_sign_up_is_open_a_verified_address_makes_a_user_and_takes_nobodys() {
    let town = town(true).await;
    let mut ada = Browser::default();
    assert_eq!(ada.sign_in(&town, "login").await, "/dashboard/keys");
    assert_eq!(ada.who(&town).await.as_deref(), Some("ada@example.com"));
    // The same subject again is the same user; another subject with that address is nobody.
    let mut again = Browser::default();
    assert_eq!(again.sign_in(&town, "login").await, "/dashboard/keys");
    town.provider.0.lock().unwrap().claims["sub"] = json!("8");
    assert_eq!(Browser::default().sign_in(&town, "login").await, "/dashboard/login#oauth=unknown");
    town.provider.0.lock().unwrap().claims =
        json!({"sub": "9", "email": "mallory@example.com", "email_verified": false});
    assert_eq!(Browser::default().sign_in(&town, "login").await, "/dashboard/login#oauth=unknown");
    let users: i64 = town.database.prepare("SELECT count(*) FROM users").one().await.unwrap();
    assert_eq!(users, 2, "the operator and Ada");
}

#[tokio::test]
async fn a_sign_in_is_good_once_in_its_own_browser_and_for_its_own_provider() {
    let town = town(false).await;
    let mut owner = owner(&town).await;
    owner.sign_in(&town, "connect").await;
    let expired = "/dashboard/login#oauth=expired";
    let mut victim = Browser::default();
    let state = victim.begin(&town, "login").await;
    // Another browser, no state, a wrong one.
    assert_eq!(Browser::default().come_back(&town, &state, GOOD).await, expired);
    assert_eq!(victim.come_back(&town, "wrong", GOOD).await, expired);
    // The first answer has forgotten the browser's cookie: the flow is over, as it should be.
    assert_eq!(victim.come_back(&town, &state, GOOD).await, expired);
    let state = victim.begin(&town, "login").await;
    let cookies = victim.cookies.clone();
    assert_eq!(victim.come_back(&town, &state, GOOD).await, "/dashboard/keys");
    let mut replay = Browser { cookies };
    assert_eq!(replay.come_back(&town, &state, GOOD).await, expired);
    for (more, end) in [
        ("&error=access_denied&iss=https%3A%2F%2Fid.example", "denied"),
        ("&code=bad&iss=https%3A%2F%2Fid.example", "failed"),
        ("&code=good&iss=https%3A%2F%2Fevil.example", "failed"),
        ("&code=good", "failed"),
    ] {
        let mut browser = Browser::default();
        let state = browser.begin(&town, "login").await;
        assert_eq!(browser.come_back(&town, &state, more).await, format!("/dashboard/login#oauth={end}"), "{more}");
    }
    for (claim, value) in
        [("nonce", json!("x")), ("aud", json!("other")), ("iss", json!("https://evil.example")), ("exp", json!(1))]
    {
        town.provider.0.lock().unwrap().claims[claim] = value;
        assert_eq!(Browser::default().sign_in(&town, "login").await, "/dashboard/login#oauth=failed", "{claim}");
        town.provider.0.lock().unwrap().claims.as_object_mut().unwrap().remove(claim);
    }
    for return_to in ["https://evil.example", "//evil.example", "/\\evil.example", "dashboard", "/a\nb"] {
        let body = json!({"intent": "login", "return_to": return_to});
        let (status, ..) = Browser::default().send(&town, "POST", "/auth/oauth/local", Some(body)).await;
        assert_eq!(status, 400, "{return_to}");
    }
    let (status, ..) =
        Browser::default().send(&town, "POST", "/auth/oauth/none", Some(json!({"intent": "login"}))).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn tokens_are_refreshed_by_one_at_a_time_and_end_when_they_are_refused() {
    let town = town(false).await;
    let mut owner = owner(&town).await;
    owner.sign_in(&town, "connect").await;
    let id: String = town.database.prepare("SELECT id FROM oauth_connections").one().await.unwrap();
    let token = |secret: Secret| secret.expose_text().unwrap().to_owned();
    assert_eq!(token(town.oauth.access_token(&id).await.unwrap()), "access-1");
    town.database.prepare("UPDATE oauth_tokens SET expires_at = '2000'").run().await.unwrap();
    let (one, other) = tokio::join!(town.oauth.access_token(&id), town.oauth.access_token(&id));
    let got: Vec<_> = [one, other].into_iter().filter_map(Result::ok).map(token).collect();
    assert!(got.iter().all(|token| token == "access-2") && !got.is_empty(), "{got:?}");
    assert_eq!(town.provider.0.lock().unwrap().refreshed, 2);
    let refresh = format!("/auth/oauth/connections/{id}/refresh");
    let (status, _, json) = owner.send(&town, "POST", &refresh, None).await;
    assert!(status == 200 && json["expires_at"].is_string(), "{json}");
    assert_eq!(Browser::default().send(&town, "POST", &refresh, None).await.0, 401);
    let (status, ..) = owner.send(&town, "POST", "/auth/oauth/connections/none/refresh", None).await;
    assert_eq!(status, 404);

    town.provider.0.lock().unwrap().refuses = true;
    assert_eq!(owner.send(&town, "POST", &refresh, None).await.0, 409);
    let status: String = town.database.prepare("SELECT status FROM oauth_connections").one().await.unwrap();
    let tokens: i64 = town.database.prepare("SELECT count(*) FROM oauth_tokens").one().await.unwrap();
    assert_eq!((status.as_str(), tokens), ("expired", 0));
    town.provider.0.lock().unwrap().refuses = false;
    owner.sign_in(&town, "connect").await;
    assert!(town.oauth.access_token(&id).await.is_ok(), "connected again, it is the same connection");
}

/// GitHub, which answers 200 to what it refuses and tells e-mail addresses apart.
#[derive(Debug)]
struct GitHub;

#[async_trait]
impl HttpClient for GitHub {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpClientError> {
        let body = std::str::from_utf8(request.body()).unwrap();
        let bearer = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let json = match request.uri().to_string().as_str() {
            "https://github.com/login/oauth/access_token" => {
                assert!(body.contains("client_secret=s3cret") && body.contains("code_verifier="), "{body}");
                match body.contains("code=good") {
                    true => json!({"access_token": "gho_1", "token_type": "bearer", "scope": "read:user,user:email"}),
                    false => json!({"error": "bad_verification_code", "error_description": "no"}),
                }
            }
            "https://api.github.com/user" => {
                assert_eq!(bearer.as_deref(), Some("Bearer gho_1"));
                json!({"id": 42, "login": "ada", "name": null})
            }
            "https://api.github.com/user/emails" => json!([
                {"email": "other@example.com", "primary": false, "verified": true},
                {"email": "Ada@example.com", "primary": true, "verified": true},
            ]),
            other => return Err(HttpClientError::new(format!("nobody is at {other}"))),
        };
        Ok(Response::new(Bytes::from(json.to_string())))
    }
}

#[tokio::test]
async fn github_has_no_openid_connect_and_is_asked_who_it_is() {
    let town = town(true).await;
    let vault_key = Keyring::generate("github").unwrap().expose_text().unwrap().parse().unwrap();
    let vault = Vault::new(town.database.clone(), "github", vault_key);
    let options = AuthOptions::default().with_signup(true).with_password_cost(PasswordCost { memory: 64, passes: 1 });
    let auth = Auth::new(town.database.clone(), options);
    let github = OAuthProvider::github("isobar").with_secret(Secret::new("s3cret"));
    let oauth = OAuth::new(auth.clone(), vault, Arc::new(GitHub), vec![github]).with_base_url("https://iam.example/");
    let api = auth.mount(oauth.mount(Api::new(town.database.clone())));
    let town = Town { router: auth.protect(api.into_router()), oauth, ..town };
    let issuer = "&iss=https%3A%2F%2Fgithub.com%2Flogin%2Foauth";
    for (code, iss, end) in [
        ("bad", issuer, "/dashboard/login#oauth=failed"),
        ("good", "&iss=https%3A%2F%2Fevil.example", "/dashboard/login#oauth=failed"),
        ("good", issuer, "/dashboard/"),
        ("good", "", "/dashboard/"),
    ] {
        let mut ada = Browser::default();
        let (status, _, json) = ada.send(&town, "POST", "/auth/oauth/github", Some(json!({"intent": "login"}))).await;
        assert_eq!(status, 200, "{json}");
        let url = json["url"].as_str().unwrap();
        assert!(url.starts_with("https://github.com/login/oauth/authorize?"), "{url}");
        assert!(
            url.contains("redirect_uri=https%3A%2F%2Fiam.example%2Fapi%2Fauth%2Foauth%2Fgithub%2Fcallback"),
            "{url}"
        );
        let state = url.split(['?', '&']).find_map(|pair| pair.strip_prefix("state=")).unwrap().to_owned();
        let path = format!("/auth/oauth/github/callback?state={state}&code={code}{iss}");
        let (_, headers, _) = ada.send(&town, "GET", &path, None).await;
        assert_eq!(headers["location"], end);
        if end == "/dashboard/" {
            assert_eq!(ada.who(&town).await.as_deref(), Some("ada@example.com"));
        }
    }
    let subject: String = town.database.prepare("SELECT subject FROM oauth_connections").one().await.unwrap();
    assert_eq!(subject, "42");
    // A token without an end needs no refresh.
    let id: String = town.database.prepare("SELECT id FROM oauth_connections").one().await.unwrap();
    assert_eq!(town.oauth.access_token(&id).await.unwrap().expose_text(), Some("gho_1"));
}

#[tokio::test]
async fn a_connection_of_an_ended_membership_stays_closed_when_its_user_comes_back() {
    let town = town(false).await;
    let mut owner = owner(&town).await;
    let invite = json!({"email": "bob@example.com", "role": "member"});
    for connects in [true, false] {
        let (status, _, invited) = owner.send(&town, "POST", "/auth/invitations", Some(invite.clone())).await;
        assert_eq!(status, 201, "{invited}");
        let mut bob = Browser::default();
        let join = json!({"token": invited["token"], "password": "correct horse battery", "name": "Bob"});
        assert_eq!(bob.send(&town, "POST", "/auth/join", Some(join)).await.0, 201);
        if connects {
            assert_eq!(bob.sign_in(&town, "connect").await, "/dashboard/keys");
            assert_eq!(Browser::default().sign_in(&town, "login").await, "/dashboard/keys");
            let end = "DELETE FROM memberships WHERE user_id = (SELECT id FROM users WHERE email = 'bob@example.com')";
            town.database.prepare(end).run().await.unwrap();
        }
        assert_eq!(Browser::default().sign_in(&town, "login").await, "/dashboard/login#oauth=unknown");
    }
    for table in ["oauth_connections", "oauth_tokens"] {
        let rows: i64 = town.database.prepare(format!("SELECT count(*) FROM {table}")).one().await.unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}
