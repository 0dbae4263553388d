//! Tests of authority: the operator, actions that need a recent sign-in, ends of sessions, lockout after failed attempts.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use isobar_api::auth::{Revocations, Revoked, is_operator};
use isobar_api::{AuthOptions, Principal, Problem, Role};
use isobar_db::QueryableExt;
use serde_json::{Value as Json, json};

use crate::town::{Browser, PASSWORD, Town, log_in, sign_up, town, town_with};

fn with_token(name: &str, token: &str) -> Json {
    let mut body = sign_up(name);
    body["token"] = json!(token);
    body
}

async fn key_of(browser: &mut Browser<'_>) -> String {
    let made = browser.post("/auth/keys", json!({"name": "CI"})).await.is(201).json();
    made["key"].as_str().unwrap().to_owned()
}

async fn tenant_of(browser: &mut Browser<'_>) -> Principal {
    let me = browser.get("/auth/me").await.is(200).json();
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    Principal::member(text(&me["user"]["id"]), text(&me["tenant"]["id"]), Role::Owner)
}

/// Time passes, for a session.
async fn age_sign_ins(town: &Town) {
    let sql = "UPDATE sessions SET authenticated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-11 minutes')";
    town.database.prepare(sql).run().await.unwrap();
}

#[tokio::test]
async fn open_sign_up_waits_for_the_set_up_token() {
    let town = town_with(AuthOptions::default().with_signup(true)).await;
    let mut stranger = town.browser();
    let refused = stranger.post("/auth/signup", sign_up("mallory")).await.is(503);
    assert!(refused.json()["detail"].as_str().unwrap().contains("set-up link"), "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!((town.count("users").await, town.count("tenants").await), (0, 0));
    let token = town.auth.setup_token().await.unwrap().unwrap();
    let mut ada = town.browser();
    ada.post("/auth/signup", with_token("ada", &token)).await.is(201);
    assert_eq!(town.auth.setup_token().await.unwrap(), None);
    let mut mallory = Browser::signed_up(&town, "mallory").await;
    // An older tenant by its clock or its id is not the operator's.
    town.database
        .prepare("UPDATE tenants SET created_at = '1970-01-01T00:00:00.000Z' WHERE slug = 'mallory'")
        .run()
        .await
        .unwrap();
    let database = &*town.database;
    assert!(is_operator(database, &tenant_of(&mut ada).await).await.unwrap());
    assert!(!is_operator(database, &tenant_of(&mut mallory).await).await.unwrap());
    assert!(!is_operator(database, &Principal::anonymous()).await.unwrap());
    // Nor does the operator's tenant go, and leave its place to another.
    assert!(town.database.prepare("DELETE FROM tenants WHERE slug = 'ada'").run().await.is_err());
}

#[tokio::test]
async fn a_configured_set_up_token_is_good_for_one_operator() {
    let token = "configured-by-hand";
    let town = town_with(AuthOptions::default().with_signup(true).with_setup_token(token).unwrap()).await;
    town.browser().post("/auth/signup", with_token("mallory", "guessed")).await.is(403);
    town.browser().post("/auth/signup", with_token("ada", token)).await.is(201);
    town.browser().post("/auth/signup", with_token("bob", token)).await.is(403);
    assert_eq!((town.count("users").await, town.count("operator").await), (1, 1));
}

#[tokio::test]
async fn an_empty_set_up_token_is_none() {
    let town = town_with(AuthOptions::default().with_signup(true).with_setup_token("").unwrap()).await;
    town.browser().post("/auth/signup", with_token("mallory", "")).await.is(403);
    let token = town.auth.setup_token().await.unwrap().expect("a link is printed instead");
    town.browser().post("/auth/signup", with_token("ada", &token)).await.is(201);
}

#[tokio::test]
async fn an_owner_from_before_there_was_an_operator_redeems_the_token() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    town.database.prepare("DELETE FROM operator").run().await.unwrap(); // as a database from before
    let token = town.auth.setup_token().await.unwrap().unwrap();
    ada.post("/auth/setup", json!({"token": "x"})).await.is(403);
    town.browser().post("/auth/setup", json!({"token": token})).await.is(401);
    ada.post("/auth/setup", json!({"token": token})).await.is(204);
    assert!(is_operator(&*town.database, &tenant_of(&mut ada).await).await.unwrap());
    ada.post("/auth/setup", json!({"token": token})).await.is(403);
}

#[test]
fn a_short_set_up_token_is_refused() {
    for short in ["x", "fifteen-letters", " ", "                    ", "   padded token   "] {
        let error = AuthOptions::default().with_setup_token(short).unwrap_err();
        assert!(error.to_string().contains("at least 16"), "{error}");
    }
    assert!(AuthOptions::default().with_setup_token("sixteen-letters!").is_ok());
}

#[tokio::test]
async fn tries_at_the_set_up_token_are_limited() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut bob = Browser::signed_up(&town, "bob").await;
    town.database.prepare("DELETE FROM operator").run().await.unwrap(); // as a database from before
    let token = town.auth.setup_token().await.unwrap().unwrap();
    for number in 0..5 {
        ada.post("/auth/setup", json!({"token": format!("guess {number}")})).await.is(403);
    }
    let refused = ada.post("/auth/setup", json!({"token": token})).await.is(429);
    assert!(!refused.header("retry-after").is_empty());
    // From wherever she comes; another owner is not locked out by it.
    ada.address = [198, 51, 100, 7].into();
    ada.post("/auth/setup", json!({"token": token})).await.is(429);
    bob.post("/auth/setup", json!({"token": token})).await.is(204);
}

#[tokio::test]
async fn keys_end_with_the_password_and_with_signing_out_everywhere() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let change = |current: &str, new: &str| json!({"current": current, "new": new});
    let first = key_of(&mut ada).await;
    town.with_key(&first, "GET", "/notes", None).await.is(200);
    ada.post("/auth/password", change(PASSWORD, "another password of mine")).await.is(200);
    town.with_key(&first, "GET", "/notes", None).await.is(401);
    // One who only wants another password says so.
    let second = key_of(&mut ada).await;
    let keep = json!({"current": "another password of mine", "new": PASSWORD, "keep_keys": true});
    ada.post("/auth/password", keep).await.is(200);
    town.with_key(&second, "GET", "/notes", None).await.is(200);
    ada.post("/auth/logout-everywhere", json!({})).await.is(204);
    town.with_key(&second, "GET", "/notes", None).await.is(401);
    // Another's key is not touched.
    let mut bob = Browser::signed_up(&town, "bob").await;
    let bobs = key_of(&mut bob).await;
    ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    ada.post("/auth/logout-everywhere", json!({})).await.is(204);
    town.with_key(&bobs, "GET", "/notes", None).await.is(200);
}

#[tokio::test]
async fn a_principal_by_key_has_the_keys_id_and_one_by_session_has_none() {
    let mut town = town().await;
    let who = |principal: Principal| async move { principal.key().unwrap_or("none").to_owned() };
    let router = axum::Router::new().route("/who", axum::routing::get(who));
    town.router = town.router.clone().merge(town.auth.protect(router));
    let mut ada = Browser::signed_up(&town, "ada").await;
    let made = ada.post("/auth/keys", json!({"name": "CI"})).await.is(201).json();
    let by_key = town.with_key(made["key"].as_str().unwrap(), "GET", "/who", None).await.is(200).text;
    assert_eq!(by_key, made["id"].as_str().unwrap());
    assert_eq!(ada.get("/who").await.is(200).text, "none");
}

#[tokio::test]
async fn a_key_takes_a_recent_sign_in() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    age_sign_ins(&town).await;
    let refused = ada.post("/auth/keys", json!({"name": "CI"})).await.is(403);
    assert_eq!(refused.json()["type"], "urn:isobar:problem:reauthenticate");
    assert_eq!(town.count("api_keys").await, 0);
    // Going on in the tenant is not a sign-in.
    ada.post("/auth/tenant", json!({"tenant": "ada"})).await.is(200);
    ada.post("/auth/keys", json!({"name": "CI"})).await.is(403);
    assert_eq!(ada.post("/auth/reauthenticate", json!({"password": "wrong"})).await.is(403).fields(), ["password"]);
    ada.post("/auth/keys", json!({"name": "CI"})).await.is(403);
    ada.post("/auth/reauthenticate", json!({"password": PASSWORD})).await.is(204);
    ada.post("/auth/keys", json!({"name": "CI"})).await.is(201);
    // An admin is another way in; a member is not.
    let invite = |role: &str| json!({"email": "eve@example.com", "role": role});
    ada.post("/auth/invitations", invite("admin")).await.is(201);
    age_sign_ins(&town).await;
    ada.post("/auth/invitations", invite("admin")).await.is(403);
    ada.post("/auth/invitations", invite("member")).await.is(201);
    // Nor is what a clock that was ahead has written.
    town.database.prepare("UPDATE sessions SET authenticated_at = '2999-01-01T00:00:00.000Z'").run().await.unwrap();
    ada.post("/auth/keys", json!({"name": "CI"})).await.is(403);
    // A session that somebody has taken over does not find the password, from however many networks.
    for number in 0..8_u8 {
        ada.address = [198, 51, 100, number].into();
        let status = ada.post("/auth/reauthenticate", json!({"password": "wrong"})).await.status;
        assert_eq!(status, if number < 5 { 403 } else { 429 }, "{number}");
    }
}

#[tokio::test]
async fn every_key_has_an_end() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let in_days = |days| (chrono::Utc::now() + chrono::TimeDelta::days(days)).to_rfc3339();
    let made = ada.post("/auth/keys", json!({"name": "CI"})).await.is(201).json();
    let end = chrono::DateTime::parse_from_rfc3339(made["expires_at"].as_str().unwrap()).unwrap();
    let days = (end.to_utc() - chrono::Utc::now()).num_days();
    assert!((363..=365).contains(&days), "{days}");
    let too_long = json!({"name": "CI", "expires_at": in_days(366)});
    assert_eq!(ada.post("/auth/keys", too_long).await.is(400).fields(), ["expires_at"]);
    ada.post("/auth/keys", json!({"name": "CI", "expires_at": in_days(364)})).await.is(201);
    let without: i64 =
        town.database.prepare("SELECT count(*) FROM api_keys WHERE expires_at IS NULL").one().await.unwrap();
    assert_eq!(without, 0);
    // One from before: worth nothing, should the migration not have given it an end.
    let key = key_of(&mut ada).await;
    town.database.prepare("UPDATE api_keys SET expires_at = NULL").run().await.unwrap();
    town.with_key(&key, "GET", "/notes", None).await.is(401);
}

#[tokio::test]
async fn an_account_has_at_most_a_hundred_wrong_passwords_an_hour() {
    let town = town().await;
    Browser::signed_up(&town, "ada").await;
    let mut judged = 0;
    for number in 0..60_u8 {
        let mut browser = town.browser();
        browser.address = IpAddr::from([198, 51, number, 7]);
        judged += usize::from(browser.post("/auth/login", log_in("ada", "wrong password")).await.status == 401);
    }
    // No hour touches more than five windows of a quarter of one.
    assert_eq!(judged, 20);
}

#[tokio::test]
async fn tries_of_others_do_not_lock_out_a_browser_that_is_known() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let device = ada.given_device.clone().expect("a sign-up makes the browser known");
    for number in 0..30_u8 {
        let mut stranger = town.browser();
        stranger.address = [203, 0, 113, number].into();
        stranger.post("/auth/login", log_in("ada", "wrong password")).await;
    }
    // From everywhere else the account is closed for a while, and from Ada's network, too.
    let mut elsewhere = town.browser();
    elsewhere.address = [198, 51, 100, 7].into();
    elsewhere.post("/auth/login", log_in("ada", PASSWORD)).await.is(429);
    ada.cookie = None;
    ada.device = Some(device.clone());
    ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    // It is known for one account, and its own tries are counted.
    let mut bob = Browser::signed_up(&town, "bob").await;
    bob.cookie = None;
    bob.device = Some(device);
    for _ in 0..5 {
        ada.post("/auth/login", log_in("ada", "wrong password")).await.is(401);
    }
    ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(429);
    for _ in 0..5 {
        bob.post("/auth/login", log_in("bob", "wrong password")).await.is(401);
    }
    bob.post("/auth/login", log_in("bob", PASSWORD)).await.is(429);
    let stored: i64 =
        town.database.prepare("SELECT count(*) FROM known_devices WHERE length(hash) = 32").one().await.unwrap();
    assert_eq!(stored, town.count("known_devices").await, "hashes alone");
}

#[derive(Debug, Clone, Default)]
struct Closed {
    revoked: Arc<Mutex<Vec<Revoked>>>,
    fails: Arc<Mutex<bool>>,
    /// A user whose connections cannot be closed.
    stuck: Option<&'static str>,
}

#[async_trait]
impl Revocations for Closed {
    async fn revoked(&self, revoked: &[Revoked]) -> Result<(), Problem> {
        let is_stuck = revoked.iter().any(|one| Some(&*one.user) == self.stuck);
        if *self.fails.lock().unwrap() || is_stuck {
            return Err(Problem::new(http::StatusCode::SERVICE_UNAVAILABLE));
        }
        self.revoked.lock().unwrap().extend_from_slice(revoked);
        Ok(())
    }
}

impl Closed {
    fn take(&self) -> Vec<Revoked> {
        std::mem::take(&mut *self.revoked.lock().unwrap())
    }
}

#[tokio::test]
async fn access_that_ends_is_delivered_to_the_hook() {
    let closed = Closed::default();
    let options = AuthOptions::default().with_signup(true).with_revocations(Arc::new(closed.clone()));
    let town = town_with(options).await;
    town.found().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut bob = Browser::signed_up(&town, "bob").await;
    closed.take();
    let join = "INSERT INTO memberships SELECT 'm2', t.id, u.id, 'admin', 1, u.created_at, u.created_at \
                FROM tenants t, users u WHERE t.slug = 'ada' AND u.email = 'bob@example.com'";
    town.database.prepare(join).run().await.unwrap();
    let adas = tenant_of(&mut ada).await;
    let bobs = tenant_of(&mut bob).await;
    let is = |revoked: &[Revoked], user: &Principal, tenant: Option<&Principal>| {
        revoked
            .iter()
            .any(|it| Some(&*it.user) == user.user() && it.tenant.as_deref() == tenant.and_then(Principal::tenant))
    };
    // A role is another one; then the membership ends, one by one or by many at once.
    let any = [("if-match", "*")];
    ada.send("PATCH", "/memberships/m2", &any, Some(json!({"role": "viewer"}))).await.is(200);
    let revoked = closed.take();
    assert!(is(&revoked, &bobs, Some(&adas)) && revoked.len() == 1, "{revoked:?}");
    let bulk = json!({"operations": [{"op": "delete", "id": "m2", "revision": 2}]});
    ada.post("/memberships/bulk", bulk).await.is(200);
    assert!(is(&closed.take(), &bobs, Some(&adas)));
    // A key, a sign-out, a new password, all sessions.
    let made = bob.post("/auth/keys", json!({"name": "CI"})).await.is(201).json();
    assert_eq!(closed.take(), []);
    bob.send("DELETE", &format!("/auth/keys/{}", made["id"].as_str().unwrap()), &[], None).await.is(204);
    assert!(is(&closed.take(), &bobs, Some(&bobs)));
    for (path, body) in [
        ("/auth/password", json!({"current": PASSWORD, "new": "another password of mine"})),
        ("/auth/logout-everywhere", json!({})),
    ] {
        bob.post(path, body).await;
        let revoked = closed.take();
        assert!(is(&revoked, &bobs, Some(&bobs)) && revoked[0].session.is_some(), "{path}: {revoked:?}");
        bob.post("/auth/login", log_in("bob", "another password of mine")).await.is(200);
        closed.take();
    }
    // What no route has done is delivered by the next run; what fails is delivered again.
    *closed.fails.lock().unwrap() = true;
    bob.post("/auth/logout", json!({})).await.is(204);
    assert_eq!((closed.take(), town.count("revocations").await), (vec![], 1));
    *closed.fails.lock().unwrap() = false;
    town.database.prepare("UPDATE users SET disabled = 1 WHERE email = 'bob@example.com'").run().await.unwrap();
    assert_eq!(town.auth.deliver_revocations().await.unwrap(), 2);
    assert!(is(&closed.take(), &bobs, None));
    assert_eq!(town.count("revocations").await, 0);
}

#[tokio::test]
async fn rows_behind_many_that_cannot_be_delivered_are_delivered() {
    let closed = Closed { stuck: Some("stuck"), ..Closed::default() };
    let town = town_with(AuthOptions::default().with_revocations(Arc::new(closed.clone()))).await;
    let rows = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1003) INSERT INTO revocations \
                (user_id) SELECT CASE WHEN n <= 1000 THEN 'stuck' ELSE 'bob' END FROM n";
    town.database.prepare(rows).run().await.unwrap();
    for _ in 0..2 {
        let failed = town.auth.deliver_revocations().await.unwrap_err();
        assert_eq!(failed.status(), http::StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(town.count("revocations").await, 1000, "what failed is tried again");
    }
    let delivered: Vec<_> = closed.take().into_iter().map(|one| one.user).collect();
    assert_eq!(delivered, ["bob", "bob", "bob"]);
}

#[tokio::test]
async fn a_request_delivers_the_newest_rows_and_waits_for_no_backlog() {
    let closed = Closed { stuck: Some("stuck"), ..Closed::default() };
    let options = AuthOptions::default().with_signup(true).with_revocations(Arc::new(closed.clone()));
    let town = town_with(options).await;
    town.found().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    town.database.prepare("DELETE FROM revocations").run().await.unwrap();
    let rows = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000) INSERT INTO revocations \
                (user_id) SELECT CASE WHEN n <= 1000 THEN 'stuck' ELSE 'bob' END FROM n";
    town.database.prepare(rows).run().await.unwrap();
    closed.take();
    ada.post("/auth/logout", json!({})).await.is(204);
    // The last 499 of bob's and ada's own.
    assert_eq!((closed.take().len(), town.count("revocations").await), (500, 1501));
}

#[tokio::test]
async fn revocations_without_a_hook_are_dropped() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    ada.post("/auth/logout", json!({})).await.is(204);
    assert!(town.count("revocations").await > 0);
    town.auth.deliver_revocations().await.unwrap();
    assert_eq!(town.count("revocations").await, 0);
}

#[tokio::test]
async fn a_database_from_before_is_brought_up_to_date() {
    let database = isobar_db::SqliteDatabase::memory().await.unwrap();
    let first =
        [isobar_api::MIGRATIONS[0], isobar_api::auth::MIGRATIONS[0], isobar_api::media::MIGRATIONS[0]].join(";");
    database.run_script(&first).await.unwrap();
    let rows = "INSERT INTO tenants (id, slug, name, created_at, updated_at) VALUES ('t', 't', 't', '', '');
        INSERT INTO users (id, email, name, created_at, updated_at) VALUES ('u', 'u@example.com', 'u', '', '');
        INSERT INTO memberships (id, tenant_id, user_id, role, created_at, updated_at) VALUES ('m', 't', 'u', 'owner', '', '');
        INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, secret_hash, role, scopes, created_at)
            VALUES ('k', 't', 'u', 'k', 'p', x'00', 'owner', '[]', '');
        INSERT INTO one_time_tokens (hash, purpose, expires_at) VALUES (x'00', 'setup', '2999');
        INSERT INTO images (id, tenant_id, user_id, key, name, kind, content_type, size, etag, sha256, revision, created_at, updated_at)
            VALUES ('i', 't', 'u', 'k', 'n', 'image', 'image/png', 7, 'e', printf('%064d', 0), 1, '', '')";
    database.run_script(rows).await.unwrap();
    let second =
        [isobar_api::MIGRATIONS[1], isobar_api::auth::MIGRATIONS[1], isobar_api::media::MIGRATIONS[1]].join(";");
    database.run_script(&second).await.unwrap();
    let end: String = database.prepare("SELECT expires_at FROM api_keys").one().await.unwrap();
    let end = chrono::DateTime::parse_from_rfc3339(&end).unwrap().to_utc();
    assert!((364..=366).contains(&(end - chrono::Utc::now()).num_days()), "{end}");
    let usage: (i64, i64) = database.prepare("SELECT bytes, images FROM media_usage").one().await.unwrap();
    assert_eq!(usage, (7, 1));
    let operators: i64 = database.prepare("SELECT count(*) FROM operator").one().await.unwrap();
    assert_eq!(operators, 0, "nobody becomes the operator by being there first");
}

#[tokio::test]
async fn bodies_of_accounts_are_small() {
    let town = town().await;
    let mut body = sign_up("ada");
    body["name"] = json!("x".repeat(20_000));
    town.browser().post("/auth/signup", body).await.is(413);
}

#[tokio::test]
async fn what_an_earlier_membership_opened_stays_closed_when_its_user_comes_back() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut keys = Vec::<String>::new();
    let mut browsers = Vec::<Browser<'_>>::new();
    for _ in 0..2 {
        let invite = json!({"email": "bob@example.com", "role": "member"});
        let invited = ada.post("/auth/invitations", invite).await.is(201).json();
        let mut bob = town.browser();
        let join = json!({"token": invited["token"], "password": PASSWORD, "name": "Bob"});
        bob.post("/auth/join", join).await.is(201);
        for key in &keys {
            town.with_key(key, "GET", "/notes", None).await.is(401);
        }
        for browser in &mut browsers {
            browser.get("/auth/me").await.is(401);
        }
        let key = key_of(&mut bob).await;
        town.with_key(&key, "GET", "/notes", None).await.is(200);
        let members = ada.get("/memberships?role=member").await.is(200).json();
        let membership = format!("/memberships/{}", members["items"][0]["id"].as_str().unwrap());
        ada.send("DELETE", &membership, &[], None).await.is(204);
        town.with_key(&key, "GET", "/notes", None).await.is(401);
        keys.push(key);
        browsers.push(bob);
    }
}

#[tokio::test]
async fn invitations_of_an_ended_membership_stay_void_when_the_inviter_comes_back() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let invite = |name: &str, role: &str| json!({"email": format!("{name}@example.com"), "role": role});
    let join = |invited: &Json, name: &str| json!({"token": invited["token"], "password": PASSWORD, "name": name});
    let of_ada = ada.post("/auth/invitations", invite("dan", "viewer")).await.is(201).json();
    let invited = ada.post("/auth/invitations", invite("bob", "admin")).await.is(201).json();
    let mut bob = town.browser();
    bob.post("/auth/join", join(&invited, "Bob")).await.is(201);
    let of_bob = bob.post("/auth/invitations", invite("cy", "viewer")).await.is(201).json();

    let members = ada.get("/memberships?role=admin").await.is(200).json();
    let membership = format!("/memberships/{}", members["items"][0]["id"].as_str().unwrap());
    ada.send("DELETE", &membership, &[], None).await.is(204);
    town.browser().post("/auth/join", join(&of_bob, "Cy")).await.is(403);
    let invited = ada.post("/auth/invitations", invite("bob", "admin")).await.is(201).json();
    let mut bob = town.browser();
    bob.post("/auth/join", join(&invited, "Bob")).await.is(201);
    town.browser().post("/auth/join", join(&of_bob, "Cy")).await.is(403);
    // Those of others stay valid, and so do those of the new membership.
    town.browser().post("/auth/join", join(&of_ada, "Dan")).await.is(201);
    let of_bob = bob.post("/auth/invitations", invite("cy", "viewer")).await.is(201).json();
    town.browser().post("/auth/join", join(&of_bob, "Cy")).await.is(201);
}

#[tokio::test]
async fn an_account_that_is_enabled_again_has_nothing_of_before_open() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut bob = Browser::signed_up(&town, "bob").await;
    let key_of_ada = key_of(&mut ada).await;
    let key = key_of(&mut bob).await;
    let invite = |name: &str| json!({"email": format!("{name}@example.com"), "role": "viewer"});
    let join = |invited: &Json, name: &str| json!({"token": invited["token"], "password": PASSWORD, "name": name});
    let of_ada = ada.post("/auth/invitations", invite("cy")).await.is(201).json();
    let of_bob = bob.post("/auth/invitations", invite("dan")).await.is(201).json();
    let link = "INSERT INTO one_time_tokens (hash, purpose, expires_at, data, user_id) \
                SELECT x'07', 'reset', '2999', NULL, id FROM users WHERE email = 'bob@example.com'";
    town.database.prepare(link).run().await.unwrap();
    for disabled in [1, 0] {
        let sql = "UPDATE users SET disabled = ? WHERE email = 'bob@example.com'";
        town.database.prepare(sql).bind(disabled).run().await.unwrap();
        bob.get("/auth/me").await.is(401);
        town.with_key(&key, "GET", "/notes", None).await.is(401);
        town.browser().post("/auth/join", join(&of_bob, "Dan")).await.is(403);
    }
    let links = "SELECT count(*) FROM one_time_tokens WHERE hash = x'07'";
    assert_eq!(town.database.prepare(links).one::<i64>().await.unwrap(), 0);
    // The password is still the account's, and nothing of others has ended.
    bob.post("/auth/login", log_in("bob", PASSWORD)).await.is(200);
    town.with_key(&key_of(&mut bob).await, "GET", "/notes", None).await.is(200);
    ada.get("/auth/me").await.is(200);
    town.with_key(&key_of_ada, "GET", "/notes", None).await.is(200);
    town.browser().post("/auth/join", join(&of_ada, "Cy")).await.is(201);
}

#[tokio::test]
async fn accounts_that_were_disabled_before_the_migration_lose_their_keys_by_it() {
    let database = isobar_db::SqliteDatabase::memory().await.unwrap();
    let [first, second, third] = isobar_api::auth::MIGRATIONS;
    database.run_script(first).await.unwrap();
    database.run_script(second).await.unwrap();
    let rows = "INSERT INTO tenants (id, slug, name, created_at, updated_at) VALUES ('t', 't', 't', '', '');
        INSERT INTO users (id, email, name, disabled, created_at, updated_at)
            VALUES ('on', 'on@example.com', 'u', 0, '', ''), ('off', 'off@example.com', 'u', 1, '', '');
        INSERT INTO sessions (id, user_id, tenant_id, token_hash, rotated_at, expires_at, created_at)
            SELECT id, id, 't', id, '', '2999', '' FROM users;
        INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, secret_hash, role, scopes, expires_at, created_at)
            SELECT id, 't', id, 'k', id, x'00', 'owner', '[]', '2999', '' FROM users;
        INSERT INTO one_time_tokens (hash, purpose, expires_at, data, user_id, tenant_id)
            SELECT 'link ' || id, 'verify', '2999', email, id, NULL FROM users
            UNION ALL SELECT 'invitation ' || id, 'invitation', '2999', json_object('by', id), NULL, 't' FROM users";
    database.run_script(rows).await.unwrap();
    database.run_script(third).await.unwrap();
    let left = "SELECT (SELECT group_concat(id) FROM sessions), \
                (SELECT group_concat(id) FROM api_keys WHERE revoked_at IS NULL), \
                (SELECT group_concat(hash) FROM (SELECT hash FROM one_time_tokens ORDER BY hash))";
    let left: (String, String, String) = database.prepare(left).one().await.unwrap();
    assert_eq!(left, ("on".to_owned(), "on".to_owned(), "invitation on,link on".to_owned()));
}
