//! Accounts: signing up, in and out, sessions, keys, and what is tried against them.

use std::sync::Arc;

use isobar_api::auth::PasswordCost;
use isobar_api::{Api, Auth, AuthOptions, Principal};
use isobar_db::{Database, QueryableExt, SqliteDatabase};
use serde_json::json;

use crate::town::{Browser, PASSWORD, Town, log_in, sign_up, town, town_with};

#[tokio::test]
async fn somebody_signs_up_out_and_in() {
    let town = town().await;
    let mut ada = town.browser();
    ada.get("/auth/me").await.is(401);
    let answer = ada.post("/auth/signup", sign_up("Ada")).await.is(201);
    let cookie = answer.header("set-cookie");
    for attribute in ["__Host-session=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Max-Age=2592000"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let me = ada.get("/auth/me").await.is(200).json();
    assert_eq!((&me["user"]["email"], &me["tenant"]["slug"]), (&json!("ada@example.com"), &json!("ada")));
    assert_eq!((&me["role"], me["tenants"].as_array().unwrap().len()), (&json!("owner"), 1));
    ada.post("/notes", json!({"text": "mine"})).await.is(201);
    assert!(!answer.text.contains("hash") && !me.to_string().contains("argon2"));

    let token = ada.cookie.clone();
    ada.post("/auth/logout", json!({})).await.is(204);
    assert_eq!(ada.cookie, None);
    ada.cookie = token;
    ada.get("/auth/me").await.is(401);
    ada.post("/auth/login", log_in("ADA", PASSWORD)).await.is(200);
    assert_eq!(ada.get("/notes").await.is(200).json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_sign_up_is_named() {
    let town = town().await;
    let mut ada = town.browser();
    let wrong = json!({"email": "a", "password": "short", "name": " ", "tenant": {"slug": "A b", "name": ""}});
    let fields = ada.post("/auth/signup", wrong).await.is(400).fields();
    assert_eq!(fields, ["email", "password", "name", "tenant.slug", "tenant.name"]);
    let answer = ada.post("/auth/signup", json!({"email": "a", "password": {"secret": PASSWORD}})).await.is(400);
    assert!(!answer.text.contains(PASSWORD), "{}", answer.text);
    ada.post("/auth/signup", sign_up("ada")).await.is(201);
    assert_eq!(town.browser().post("/auth/signup", sign_up("ADA")).await.is(409).fields(), ["tenant.slug"]);
    let mut again = sign_up("ada");
    again["tenant"]["slug"] = json!("other");
    assert_eq!(town.browser().post("/auth/signup", again).await.is(409).fields(), ["email"]);
    assert_eq!(
        (town.count("users").await, town.count("tenants").await),
        (2, 2),
        "nothing half done, beside the operator"
    );
}

#[tokio::test]
async fn the_first_owner_comes_by_a_link_that_is_good_once() {
    let town = town_with(AuthOptions::default()).await;
    let mut ada = town.browser();
    ada.post("/auth/signup", sign_up("ada")).await.is(403);
    let older = town.auth.setup_token().await.unwrap().unwrap();
    let token = town.auth.setup_token().await.unwrap().unwrap();
    let with = |name: &str, token: &str| {
        let mut body = sign_up(name);
        body["token"] = json!(token);
        body
    };
    for wrong in ["", "x", &older] {
        ada.post("/auth/signup", with("ada", wrong)).await.is(403);
    }
    ada.post("/auth/signup", with("ada", &token)).await.is(201);
    town.browser().post("/auth/signup", with("bob", &token)).await.is(403);
    assert_eq!(town.auth.setup_token().await.unwrap(), None);
    assert_eq!(town.count("users").await, 1);
}

#[tokio::test]
async fn wrong_passwords_tell_nothing_and_are_throttled() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    ada.cookie = None;
    let unknown = ada.post("/auth/login", log_in("nobody", PASSWORD)).await.is(401);
    for _ in 0..5 {
        let wrong = ada.post("/auth/login", log_in("ada", "wrong")).await.is(401);
        assert_eq!(wrong.text, unknown.text);
    }
    let throttled = ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(429);
    assert!(throttled.header("retry-after").parse::<u32>().unwrap() > 800);
    // Ada herself, from elsewhere, is not kept out.
    let mut elsewhere = town.browser();
    elsewhere.address = [198, 51, 100, 7].into();
    elsewhere.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    for _ in 0..60 {
        ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(429);
    }
    elsewhere.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    let later = "UPDATE auth_attempts SET window_ends_at = '2020-01-01T00:00:00.000Z'";
    town.database.prepare(later).run().await.unwrap();
    ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    for _ in 0..30 {
        ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    }
    let stored: Vec<String> = town.database.prepare("SELECT key FROM auth_attempts").all().await.unwrap();
    assert!(stored.iter().all(|key| !key.contains("192.0") && !key.contains("ada")), "{stored:?}");
}

#[tokio::test]
async fn guesses_at_once_are_counted_as_many() {
    let town = Arc::new(town().await);
    Browser::signed_up(&town, "ada").await;
    let mut tasks = Vec::new();
    for number in 0..20 {
        let town = Arc::clone(&town);
        tasks.push(tokio::spawn(async move {
            town.browser().post("/auth/login", log_in("ada", &format!("wrong {number}"))).await.status
        }));
    }
    let mut judged = 0;
    for task in tasks {
        judged += usize::from(task.await.unwrap() == 401);
    }
    assert_eq!(judged, 5);
    // A network of IPv6 is one, however many addresses it has.
    let mut statuses = Vec::new();
    for number in 0..7_u16 {
        let mut browser = town.browser();
        browser.address = [0x2001, 0xdb8, 0, 1, 0, 0, 0, number].into();
        statuses.push(browser.post("/auth/login", log_in("bob", "wrong")).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
}

#[tokio::test]
async fn requests_that_another_site_makes_are_refused() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let note = || Some(json!({"text": "x"}));
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "https://example.com.evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://example.com")],
        &[("origin", "")],
    ] {
        ada.send("POST", "/notes", headers, note()).await.is(403);
        let socket: Vec<_> = headers.iter().copied().chain([("upgrade", "websocket")]).collect();
        ada.send("GET", "/notes", &socket, None).await.is(403);
        ada.send("GET", "/notes", headers, None).await.is(200);
    }
    ada.send("POST", "/notes", &[("origin", "https://example.com")], note()).await.is(201);
    ada.post("/notes", json!({"text": "x"})).await.is(201);
}

#[tokio::test]
async fn a_session_that_somebody_plants_is_not_taken_over() {
    let town = town().await;
    let mallory = Browser::signed_up(&town, "mallory").await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    ada.cookie = mallory.cookie.clone();
    ada.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    assert_ne!(ada.cookie, mallory.cookie);
    let mut mallory = mallory;
    mallory.get("/auth/me").await.is(401);
    let mut made_up = town.browser();
    made_up.cookie = Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned());
    made_up.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    assert_ne!(made_up.cookie.as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
}

#[tokio::test]
async fn tokens_rotate_and_the_one_before_is_good_for_a_moment() {
    let zero = chrono::TimeDelta::zero();
    let lifetime = chrono::TimeDelta::days(30);
    let idle = chrono::TimeDelta::days(7);
    let town = town_with(AuthOptions::default().with_signup(true).with_session(lifetime, idle, zero)).await;
    town.found().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let first = ada.cookie.clone();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    ada.get("/auth/me").await.is(200);
    assert_ne!(ada.cookie, first);
    let mut under_way = town.browser();
    under_way.cookie = first.clone();
    under_way.get("/auth/me").await.is(200);
    assert_eq!(under_way.cookie, first, "the older token makes no new one");
    let later = "UPDATE sessions SET rotated_at = '2026-01-01T00:00:00.000Z', expires_at = '2999-01-01T00:00:00.000Z'";
    town.database.prepare(later).run().await.unwrap();
    under_way.get("/auth/me").await.is(401);
    ada.get("/auth/me").await.is(401); // idle for too long
    let plain = town.database.prepare("SELECT count(*) FROM sessions WHERE token_hash = ?");
    assert_eq!(
        plain.bind(ada.cookie.unwrap().into_bytes()).one::<i64>().await.unwrap(),
        0,
        "the database has no token"
    );
}

#[tokio::test]
async fn signing_out_everywhere_and_a_new_password_end_every_session() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut phone = town.browser();
    phone.post("/auth/login", log_in("ada", PASSWORD)).await.is(200);
    let change = |current: &str, new: &str| json!({"current": current, "new": new});
    assert_eq!(ada.post("/auth/password", change("wrong", "a new password")).await.is(403).fields(), ["current"]);
    assert_eq!(ada.post("/auth/password", change(PASSWORD, "short")).await.is(400).fields(), ["new"]);
    phone.get("/auth/me").await.is(200);
    ada.post("/auth/password", change(PASSWORD, "a new password")).await.is(200);
    phone.get("/auth/me").await.is(401);
    ada.get("/auth/me").await.is(200);
    phone.post("/auth/login", log_in("ada", PASSWORD)).await.is(401);
    phone.post("/auth/login", log_in("ada", "a new password")).await.is(200);
    ada.post("/auth/logout-everywhere", json!({})).await.is(204);
    phone.get("/auth/me").await.is(401);
    town.database.prepare("UPDATE users SET disabled = 1").run().await.unwrap();
    phone.post("/auth/login", log_in("ada", "a new password")).await.is(401);
}

#[tokio::test]
async fn keys_are_shown_once_and_do_what_their_scopes_say() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let wrong = json!({"name": "", "scopes": ["tickets"], "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(ada.post("/auth/keys", wrong).await.is(400).fields(), ["name", "scopes", "expires_at"]);
    let made = ada.post("/auth/keys", json!({"name": "CI", "scopes": ["notes:read"]})).await.is(201).json();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with(&format!("iso_{}_", made["prefix"].as_str().unwrap())) && key.len() == 60, "{key}");
    town.with_key(key, "GET", "/notes", None).await.is(200);
    town.with_key(key, "POST", "/notes", Some(json!({"text": "x"}))).await.is(403);
    town.with_key(key, "GET", "/auth/keys", None).await.is(403);
    let all = ada.post("/auth/keys", json!({"name": "all", "role": "member"})).await.is(201).json();
    let all_key = all["key"].as_str().unwrap();
    town.with_key(all_key, "POST", "/notes", Some(json!({"text": "x"}))).await.is(201);
    town.with_key(all_key, "POST", "/auth/keys", Some(json!({"name": "more"}))).await.is(403);
    town.with_key(all_key, "DELETE", "/memberships/x", None).await.is(403);

    let listed = ada.get("/auth/keys").await.is(200);
    let secret = key.splitn(3, '_').nth(2).unwrap();
    assert!(!listed.text.contains(secret) && !listed.text.contains("hash"), "{}", listed.text);
    assert!(listed.json()["items"][0]["last_used_at"].is_string());
    let mut bob = Browser::signed_up(&town, "bob").await;
    let path = format!("/auth/keys/{}", made["id"].as_str().unwrap());
    bob.send("DELETE", &path, &[], None).await.is(404);
    ada.send("DELETE", &path, &[], None).await.is(204);
    ada.send("DELETE", &path, &[], None).await.is(404);
    town.with_key(key, "GET", "/notes", None).await.is(401);
    town.database.prepare("UPDATE api_keys SET expires_at = '2026-01-01T00:00:00.000Z'").run().await.unwrap();
    town.with_key(all_key, "GET", "/notes", None).await.is(401);
}

#[tokio::test]
async fn guessed_keys_are_refused_and_throttled() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let made = ada.post("/auth/keys", json!({"name": "CI"})).await.is(201).json();
    let right = made["key"].as_str().unwrap();
    let (start, _) = right.rsplit_once('_').unwrap();
    let mut statuses = Vec::new();
    for guess in [format!("{start}_{}", "A".repeat(43)), "iso_".to_owned(), "x".to_owned(), String::new()]
        .iter()
        .cycle()
        .take(22)
    {
        statuses.push(town.with_key(guess, "GET", "/notes", None).await.status);
    }
    assert_eq!((&statuses[..20], &statuses[20..]), (&[401; 20][..], &[429; 2][..]));
    town.with_key(right, "GET", "/notes", None).await.is(200);
}

#[tokio::test]
async fn a_lowered_role_lowers_keys_and_a_tenant_keeps_an_owner() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut bob = Browser::signed_up(&town, "bob").await;
    let join = "INSERT INTO memberships SELECT 'm2', t.id, u.id, 'admin', 1, u.created_at, u.created_at \
                FROM tenants t, users u WHERE t.slug = 'ada' AND u.email = 'bob@example.com'";
    town.database.prepare(join).run().await.unwrap();
    bob.post("/auth/tenant", json!({"tenant": "carol"})).await.is(403);
    let switched = bob.post("/auth/tenant", json!({"tenant": "ada"})).await.is(200).json();
    assert_eq!((&switched["role"], &switched["tenant"]["slug"]), (&json!("admin"), &json!("ada")));
    assert_eq!(bob.post("/auth/keys", json!({"name": "k", "role": "owner"})).await.is(400).fields(), ["role"]);
    let key = bob.post("/auth/keys", json!({"name": "k"})).await.is(201).json()["key"].as_str().unwrap().to_owned();
    let any = [("if-match", "*")];
    bob.send("PATCH", "/memberships/m2", &any, Some(json!({"role": "owner"}))).await.is(403);
    town.with_key(&key, "POST", "/notes", Some(json!({"text": "x"}))).await.is(201);
    ada.send("PATCH", "/memberships/m2", &any, Some(json!({"role": "viewer"}))).await.is(200);
    town.with_key(&key, "POST", "/notes", Some(json!({"text": "x"}))).await.is(403);

    let members = ada.get("/memberships?role=owner").await.is(200).json();
    let own = format!("/memberships/{}", members["items"][0]["id"].as_str().unwrap());
    let lowered = ada.send("PATCH", &own, &any, Some(json!({"role": "viewer"}))).await.is(409);
    assert_eq!(lowered.json()["detail"], "a tenant keeps an owner");
    ada.send("DELETE", &own, &[], None).await.is(409);
    ada.send("DELETE", "/memberships/m2", &[], None).await.is(204);
    bob.get("/auth/me").await.is(401);
    town.with_key(&key, "GET", "/notes", None).await.is(401);
    // The tenant itself may go, and takes its owner's membership with it.
    town.database.prepare("DELETE FROM tenants WHERE slug = 'ada'").run().await.unwrap();
    assert_eq!(town.count("memberships").await, 2, "bob's own and the operator's");
}

#[tokio::test]
async fn nothing_of_a_secret_is_stored_or_shown() {
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap());
    database.exec("PRAGMA optimize").await.unwrap();
    database.run_script(&format!("{};{}", isobar_api::SCHEMA, isobar_api::auth::SCHEMA)).await.unwrap();
    let cost = PasswordCost { memory: 64, passes: 1 };
    let auth = Auth::new(database.clone(), AuthOptions::default().with_signup(true).with_password_cost(cost));
    let router = auth.protect(auth.mount(Api::new(database.clone())).into_router());
    let town = Town { database, auth, router };
    town.found().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let key = ada.post("/auth/keys", json!({"name": "CI"})).await.is(201).json()["key"].as_str().unwrap().to_owned();
    let cookie = ada.cookie.clone().unwrap();
    let secrets = [PASSWORD, key.splitn(3, '_').nth(2).unwrap(), cookie.as_str()]; // base64url has _, too
    let shown = format!("{:?} {:?}", town.auth, Principal::anonymous());
    for secret in secrets {
        assert!(!shown.contains(secret));
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn people_come_into_a_team_by_invitations_that_are_good_once() {
    let town = town().await;
    let mut owner = town.browser();
    owner.post("/auth/signup", sign_up("ada")).await.is(201);
    let invite = |email: &str, role: &str| json!({"email": email, "role": role});
    let invited = owner.post("/auth/invitations", invite("Bob@example.com", "member")).await.is(201).json();
    let token = invited["token"].as_str().unwrap().to_owned();
    owner.post("/auth/invitations", invite("ada@example.com", "member")).await.is(409);
    owner.post("/auth/invitations", invite("nobody", "member")).await.is(400);

    let mut bob = town.browser();
    let told = bob.post("/auth/invitations/read", json!({"token": token})).await.is(200).json();
    assert_eq!((&told["email"], &told["role"]), (&json!("bob@example.com"), &json!("member")));
    bob.post("/auth/invitations/read", json!({"token": "x"})).await.is(403);
    bob.post("/auth/join", json!({"token": token, "password": "short", "name": "Bob"})).await.is(400);
    bob.post("/auth/join", json!({"token": token, "password": PASSWORD})).await.is(400);
    let joined =
        bob.post("/auth/join", json!({"token": token, "password": PASSWORD, "name": "Bob"})).await.is(201).json();
    assert_eq!((&joined["user"]["email"], &joined["role"]), (&json!("bob@example.com"), &json!("member")));
    // Good once; and a member invites nobody, an admin nobody above.
    town.browser().post("/auth/join", json!({"token": token, "password": PASSWORD, "name": "Eve"})).await.is(403);
    bob.post("/auth/invitations", invite("eve@example.com", "viewer")).await.is(403);
    let members = owner.send("GET", "/auth/members", &[], None).await.is(200).json();
    assert_eq!(members["items"].as_array().unwrap().len(), 2);
    bob.send("GET", "/auth/members", &[], None).await.is(403);

    // Who is somebody already comes in with their own password, and keeps their own tenant.
    let mut eve = town.browser();
    eve.post("/auth/signup", sign_up("eve")).await.is(201);
    let invited = owner.post("/auth/invitations", invite("eve@example.com", "admin")).await.is(201).json();
    let token = invited["token"].as_str().unwrap().to_owned();
    let mut elsewhere = town.browser();
    elsewhere.post("/auth/join", json!({"token": token, "password": "not her password"})).await.is(403);
    let joined = elsewhere.post("/auth/join", json!({"token": token, "password": PASSWORD})).await.is(201).json();
    assert_eq!((joined["tenants"].as_array().unwrap().len(), &joined["role"]), (2, &json!("admin")));
    elsewhere.post("/auth/invitations", invite("mallory@example.com", "owner")).await.is(400);
    // What somebody has invited to is worth nothing when they may no more.
    let invited = elsewhere.post("/auth/invitations", invite("cy@example.com", "viewer")).await.is(201).json();
    town.database.prepare("UPDATE memberships SET role = 'viewer' WHERE role = 'admin'").run().await.unwrap();
    let cy = json!({"token": invited["token"], "password": PASSWORD, "name": "Cy"});
    town.browser().post("/auth/join", cy).await.is(403);
}
