//! Tests of actions proven by e-mail: addresses, new passwords, invitations.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use isobar_api::AuthOptions;
use isobar_api::auth::MailOptions;
use isobar_api::mail::{Mail, MailError, MailSender};
use isobar_db::QueryableExt;
use serde_json::json;

use crate::town::{Browser, PASSWORD, Town, log_in, sign_up, town, town_with};

/// Keeps what is sent.
#[derive(Debug, Clone, Default)]
struct Post(Arc<Mutex<Vec<Mail>>>);

#[async_trait]
impl MailSender for Post {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0.lock().unwrap().push(mail.clone());
        Ok(())
    }
}

impl Post {
    /// Waits until so many messages were sent to an address; the newest.
    async fn to(&self, address: &str, number: usize) -> Mail {
        let sent = || self.0.lock().unwrap().iter().filter(|mail| mail.to == address).cloned().collect::<Vec<_>>();
        for _ in 0..400 {
            if let Some(mail) = sent().get(number - 1) {
                return mail.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{number} messages to {address}: {:?}", self.0.lock().unwrap());
    }

    /// Waits for an address's first, second, ... link to a page; its token. Messages with other links, which may come
    /// in another order than they were asked for, do not count.
    async fn token(&self, address: &str, number: usize, page: &str) -> String {
        let start = format!("https://iam.example/dashboard/{page}#");
        let link = |mail: &Mail| mail.text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned);
        let sent = || {
            let mails = self.0.lock().unwrap();
            mails.iter().filter(|mail| mail.to == address).filter_map(link).nth(number - 1)
        };
        for _ in 0..400 {
            if let Some(token) = sent() {
                return token;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{number} links to {page} for {address}: {:?}", self.0.lock().unwrap());
    }

    async fn settled(&self) -> usize {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        self.0.lock().unwrap().len()
    }
}

async fn with_mail() -> (Town, Post) {
    let post = Post::default();
    let mail = MailOptions::new(Arc::new(post.clone()), "https://iam.example/").with_service("IAM");
    let town = town_with(AuthOptions::default().with_signup(true).with_mail(mail)).await;
    town.found().await;
    (town, post)
}

async fn over(town: &Town, purpose: &str) {
    let sql = "UPDATE one_time_tokens SET expires_at = '2020-01-01T00:00:00.000Z' WHERE purpose = ?";
    town.database.prepare(sql).bind(purpose).run().await.unwrap();
}

#[tokio::test]
async fn an_address_is_verified_by_a_link_that_is_good_once() {
    let (town, post) = with_mail().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let verified = |me: serde_json::Value| me["user"]["email_verified_at"].is_string();
    assert!(!verified(ada.get("/auth/me").await.is(200).json()));
    let token = post.token("ada@example.com", 1, "verify").await;
    let stored: i64 = town
        .database
        .prepare("SELECT count(*) FROM one_time_tokens WHERE hash = ?")
        .bind(token.clone().into_bytes())
        .one()
        .await
        .unwrap();
    assert_eq!(stored, 0, "the hash alone");
    over(&town, "verify").await;
    town.browser().post("/auth/verify", json!({"token": token})).await.is(403);
    ada.post("/auth/verify/send", json!({})).await.is(202);
    let token = post.token("ada@example.com", 2, "verify").await;
    town.browser().post("/auth/reset", json!({"token": token, "password": "another password of mine"})).await.is(403);
    town.browser().post("/auth/verify", json!({"token": token})).await.is(200);
    town.browser().post("/auth/verify", json!({"token": token})).await.is(403);
    assert!(verified(ada.get("/auth/me").await.is(200).json()));
    ada.post("/auth/verify/send", json!({})).await.is(409);
}

#[tokio::test]
async fn a_password_is_reset_and_ends_what_was_there() {
    let (town, post) = with_mail().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    post.token("ada@example.com", 1, "verify").await;
    let key = ada.post("/auth/keys", json!({"name": "CI"})).await.is(201).json()["key"].as_str().unwrap().to_owned();
    let mut lost = town.browser();
    lost.post("/auth/forgot", json!({"email": "Ada@example.com"})).await.is(202);
    let first = post.token("ada@example.com", 1, "reset").await;
    // Asking again, as anybody can, takes no link away.
    lost.post("/auth/forgot", json!({"email": "ada@example.com"})).await.is(202);
    let second = post.token("ada@example.com", 2, "reset").await;
    let reset = |token: &str, password: &str| json!({"token": token, "password": password});
    for weak in ["short", "password123", "ada@example.com", "aaaaaaaaaaaaaa"] {
        assert_eq!(lost.post("/auth/reset", reset(&first, weak)).await.is(400).fields(), ["password"], "{weak}");
    }
    lost.post("/auth/reset", reset(&first, "another password of mine")).await.is(204);
    ada.get("/auth/me").await.is(401);
    town.with_key(&key, "GET", "/notes", None).await.is(401);
    lost.post("/auth/login", log_in("ada", PASSWORD)).await.is(401);
    let me = lost.post("/auth/login", log_in("ada", "another password of mine")).await.is(200).json();
    assert!(me["user"]["email_verified_at"].is_string(), "the link has proved the address");
    // Good once, and the others with it.
    for used in [&first, &second] {
        lost.post("/auth/reset", reset(used, "a third password of mine")).await.is(403);
    }
    assert!(post.to("ada@example.com", 4).await.subject.contains("was changed"));
    // And for an hour.
    lost.post("/auth/forgot", json!({"email": "ada@example.com"})).await.is(202);
    let late = post.token("ada@example.com", 3, "reset").await;
    over(&town, "reset").await;
    lost.post("/auth/reset", reset(&late, "a third password of mine")).await.is(403);
}

#[tokio::test]
async fn asking_for_a_reset_tells_nothing_of_accounts() {
    let (town, post) = with_mail().await;
    Browser::signed_up(&town, "ada").await;
    post.token("ada@example.com", 1, "verify").await;
    let mut stranger = town.browser();
    let known = stranger.post("/auth/forgot", json!({"email": "ada@example.com"})).await.is(202);
    let unknown = stranger.post("/auth/forgot", json!({"email": "nobody@example.com"})).await.is(202);
    assert_eq!(known.text, unknown.text);
    assert_eq!(known.headers, unknown.headers);
    post.token("ada@example.com", 1, "reset").await;
    town.database.prepare("UPDATE users SET disabled = 1").run().await.unwrap();
    let before = post.settled().await;
    stranger.post("/auth/forgot", json!({"email": "ada@example.com"})).await.is(202);
    assert_eq!(post.settled().await, before, "not to who may not sign in");
    town.database.prepare("UPDATE users SET disabled = 0").run().await.unwrap();
    // Nobody's mailbox is flooded, and whoever asks does not learn that it is full.
    for _ in 0..10 {
        stranger.post("/auth/forgot", json!({"email": "ada@example.com"})).await.is(202);
    }
    assert!(post.settled().await <= before + 5);
    // One network asks 20 times.
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(stranger.post("/auth/forgot", json!({"email": "nobody@example.com"})).await.status);
    }
    assert_eq!(statuses.last(), Some(&429));
}

#[tokio::test]
async fn who_asks_often_takes_no_link_away() {
    let (town, post) = with_mail().await;
    Browser::signed_up(&town, "ada").await;
    let forgot = json!({"email": "ada@example.com"});
    let mut stranger = town.browser();
    for _ in 0..12 {
        stranger.post("/auth/forgot", forgot.clone()).await.is(202);
        post.settled().await;
    }
    let token = post.token("ada@example.com", 1, "reset").await;
    let reset = json!({"token": token, "password": "another password of mine"});
    town.browser().post("/auth/reset", reset).await.is(204);
}

#[tokio::test]
async fn links_end_with_the_password_and_with_signing_out_everywhere() {
    let (town, post) = with_mail().await;
    for way in ["/auth/password", "/auth/logout-everywhere"] {
        let name = if way == "/auth/password" { "ada" } else { "bob" };
        let mut owner = Browser::signed_up(&town, name).await;
        // By a thief who knows the password.
        let mut thief = town.browser();
        thief.post("/auth/login", log_in(name, PASSWORD)).await.is(200);
        let theirs = format!("{name}@thief.example.com");
        thief.post("/auth/email", json!({ "email": theirs })).await.is(202);
        let token = post.token(&theirs, 1, "verify").await;
        let body = json!({"current": PASSWORD, "new": "another password of mine"});
        let status = owner.post(way, body).await.status;
        assert!([200, 204].contains(&status), "{way}: {status}");
        town.browser().post("/auth/verify", json!({ "token": token })).await.is(403);
    }
}

#[tokio::test]
async fn an_inviter_cannot_take_the_address_of_the_invited() {
    let (town, post) = with_mail().await;
    let mut mallory = Browser::signed_up(&town, "mallory").await;
    let invite = json!({"email": "bob@example.com", "role": "member"});
    let invited = mallory.post("/auth/invitations", invite).await.is(201).json();
    assert_eq!((invited.get("token"), &invited["mailed"]), (None, &json!(true)), "{invited}");
    let token = post.token("bob@example.com", 1, "join").await;
    let mut bob = town.browser();
    let joined =
        bob.post("/auth/join", json!({"token": token, "password": PASSWORD, "name": "Bob"})).await.is(201).json();
    assert!(joined["user"]["email_verified_at"].is_string(), "the link came to the address alone");
}

#[tokio::test]
async fn an_address_that_nobody_proved_goes_to_who_proves_it() {
    let (town, post) = with_mail().await;
    // Somebody signs up with Bob's address, and never proves it.
    let mut squatter = Browser::signed_up(&town, "bob").await;
    let key =
        squatter.post("/auth/keys", json!({"name": "way in"})).await.is(201).json()["key"].as_str().unwrap().to_owned();
    let mut bob = town.browser();
    let mut again = sign_up("bob");
    again["tenant"]["slug"] = json!("bobs-own");
    bob.post("/auth/signup", again).await.is(409);
    bob.post("/auth/forgot", json!({"email": "bob@example.com"})).await.is(202);
    let token = post.token("bob@example.com", 1, "reset").await;
    bob.post("/auth/reset", json!({"token": token, "password": "the real bob's password"})).await.is(204);
    bob.post("/auth/login", log_in("bob", "the real bob's password")).await.is(200);
    squatter.get("/auth/me").await.is(401);
    town.with_key(&key, "GET", "/notes", None).await.is(401);
    // Nor does one keep an address from an account that is there and moves to it.
    let mut other = Browser::signed_up(&town, "cleo").await;
    post.token("cleo@example.com", 1, "verify").await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    ada.post("/auth/email", json!({"email": "cleo@example.com"})).await.is(202);
    let token = post.token("cleo@example.com", 2, "verify").await;
    town.browser().post("/auth/verify", json!({"token": token})).await.is(200);
    assert_eq!(ada.get("/auth/me").await.is(200).json()["user"]["email"], "cleo@example.com");
    other.get("/auth/me").await.is(401);
    assert_eq!(town.count("users").await, 4, "the other's account is there, without the address");
}

#[tokio::test]
async fn another_address_is_had_by_a_link_that_is_sent_there() {
    let (town, post) = with_mail().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut bob = Browser::signed_up(&town, "bob").await;
    let token = post.token("bob@example.com", 1, "verify").await;
    bob.post("/auth/verify", json!({"token": token})).await.is(200);
    let change = |email: &str| json!({"email": email});
    ada.post("/auth/email", change("not an address")).await.is(400);
    ada.post("/auth/email", change("ada@example.com")).await.is(400);
    // Taken, and proved: the answer does not tell; the link does, to whoever reads that mailbox.
    let taken = ada.post("/auth/email", change("bob@example.com")).await.is(202);
    let free = ada.post("/auth/email", change("lovelace@example.com")).await.is(202);
    assert_eq!((&taken.text, &taken.headers), (&free.text, &free.headers));
    let to_bob = post.token("bob@example.com", 2, "verify").await;
    town.browser().post("/auth/verify", json!({"token": to_bob})).await.is(409);
    assert_eq!(ada.get("/auth/me").await.is(200).json()["user"]["email"], "ada@example.com");
    // What was sent to the old address is worth nothing once the new one is proved.
    ada.post("/auth/forgot", change("ada@example.com")).await.is(202);
    let reset = post.token("ada@example.com", 1, "reset").await;
    let token = post.token("lovelace@example.com", 1, "verify").await;
    town.browser().post("/auth/verify", json!({"token": token})).await.is(200);
    assert_eq!(ada.get("/auth/me").await.is(200).json()["user"]["email"], "lovelace@example.com");
    town.browser().post("/auth/reset", json!({"token": reset, "password": "another password of mine"})).await.is(403);
    // It takes a recent sign-in.
    let sql = "UPDATE sessions SET authenticated_at = '2026-01-01T00:00:00.000Z'";
    town.database.prepare(sql).run().await.unwrap();
    ada.post("/auth/email", change("other@example.com")).await.is(403);
}

#[tokio::test]
async fn where_no_mail_is_configured_an_invited_address_stays_unverified() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let invited =
        ada.post("/auth/invitations", json!({"email": "bob@example.com", "role": "member"})).await.is(201).json();
    let join = json!({"token": invited["token"], "password": PASSWORD, "name": "Bob"});
    let joined = town.browser().post("/auth/join", join).await.is(201).json();
    assert!(joined["user"]["email_verified_at"].is_null());
    for path in ["/auth/forgot", "/auth/email"] {
        ada.post(path, json!({"email": "bob@example.com"})).await.is(501);
    }
    ada.post("/auth/verify/send", json!({})).await.is(501);
}

#[tokio::test]
async fn passwords_that_are_tried_first_are_refused_everywhere() {
    let town = town().await;
    for weak in ["password123", "Qwertyuiop", "1234567890", "bob@example.com", "zzzzzzzzzzzz"] {
        let mut body = sign_up("bob");
        body["password"] = json!(weak);
        assert_eq!(town.browser().post("/auth/signup", body).await.is(400).fields(), ["password"], "{weak}");
    }
    let mut ada = Browser::signed_up(&town, "ada").await;
    let change = json!({"current": PASSWORD, "new": "password123"});
    assert_eq!(ada.post("/auth/password", change).await.is(400).fields(), ["new"]);
    let invited =
        ada.post("/auth/invitations", json!({"email": "bob@example.com", "role": "member"})).await.is(201).json();
    let join = json!({"token": invited["token"], "password": "iloveyou123", "name": "Bob"});
    assert_eq!(town.browser().post("/auth/join", join).await.is(400).fields(), ["password"]);
}

#[tokio::test]
async fn invitations_that_wait_are_limited() {
    let town = town().await;
    let mut ada = Browser::signed_up(&town, "ada").await;
    let mut statuses = Vec::new();
    for number in 0..31 {
        let invite = json!({"email": format!("guest{number}@example.com"), "role": "viewer"});
        statuses.push(ada.post("/auth/invitations", invite).await.status);
    }
    assert_eq!((&statuses[..30], statuses[30]), (&[201; 30][..], 429));
}
