//! Keys of the store at the S3 door: they are revoked, expire, and their uses are counted.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use isobar_analytics::memory::MemorySink;
use isobar_db::SqliteDatabase;
use isobar_db::mock::MockDatabase;
use isobar_db::vault::Keyring;
use isobar_db::{Error, ErrorKind, Operation};
use isobar_gateway::catalog::FixedBuckets;
use isobar_gateway::keys::{Audit, IssuedKey, KeyScope, KeyStore, NewKey, Permission};
use isobar_gateway::s3::S3Door;
use isobar_storage::memory::MemoryStore;

use crate::client::{Call, Client};

/// A door to the buckets `photos` and `backups`, with a store of keys and an audit.
struct Setting {
    door: S3Door,
    keys: KeyStore,
    database: MockDatabase,
    events: MemorySink,
}

impl Setting {
    async fn new() -> Self {
        let database = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
        let keyring: Keyring = Keyring::generate("test").unwrap().expose_text().unwrap().parse().unwrap();
        let keys = KeyStore::open(Arc::new(database.clone()), keyring).await.unwrap();
        let buckets = ["photos", "backups"]
            .into_iter()
            .fold(FixedBuckets::new(), |buckets, name| buckets.with_bucket(name, Arc::new(MemoryStore::new())));
        let events = MemorySink::new();
        let audit = Audit::new().with_sink(Arc::new(events.clone()));
        let door = S3Door::new(Arc::new(buckets), Arc::new(keys.clone())).with_audit(audit);
        Self { door, keys, database, events }
    }

    async fn issue(&self, new: NewKey) -> (IssuedKey, Client) {
        let issued = self.keys.create(new).await.unwrap();
        let client = Client {
            door: self.door.clone(),
            key: issued.key.id.clone(),
            secret: issued.secret_access_key(),
            skew: TimeDelta::zero(),
        };
        (issued, client)
    }
}

fn both() -> KeyScope {
    KeyScope::new([Permission::R2Read, Permission::R2Write])
}

#[tokio::test]
async fn revoked_key_is_refused_from_the_next_request_on() {
    let setting = Setting::new().await;
    let (owner, client) = setting.issue(NewKey::new("owner", both())).await;
    let (_, other) = setting.issue(NewKey::new("other", both())).await;
    client.put("/photos/k", "x").await.ok();
    let upload = client.call(Call::post("/photos/u?uploads", "")).await.ok().element("UploadId").unwrap().to_owned();
    let url = client.presign(&Call::get("/photos/k"), 3600);
    assert!(setting.keys.revoke(&owner.key.id).await.unwrap());
    client.send(url).await.refused(401, "Unauthorized");
    let part = Call::put(&format!("/photos/u?partNumber=1&uploadId={upload}"), "x");
    for call in [Call::get("/photos/k"), Call::put("/photos/k", "y"), Call::get("/"), part] {
        client.call(call).await.refused(401, "Unauthorized");
    }
    assert_eq!(client.delete("/photos/k").await.status, 401);
    assert_eq!(other.get("/photos/k").await.ok().text(), "x");
    // Each refusal names the key that is still in use.
    let events = setting.events.points();
    assert_eq!(events.len(), 6);
    assert!(events.iter().all(|event| event.index() == owner.key.id.as_bytes()));
}

#[tokio::test]
async fn expired_key_is_refused() {
    let setting = Setting::new().await;
    let past = Utc::now() - TimeDelta::seconds(1);
    let (_, client) = setting.issue(NewKey::new("old", both()).with_expires(past)).await;
    client.get("/photos/k").await.refused(401, "Unauthorized");
    client.send(client.presign(&Call::get("/photos/k"), 60)).await.refused(401, "Unauthorized");
}

#[tokio::test]
async fn key_of_another_bucket_reads_and_writes_nothing() {
    let setting = Setting::new().await;
    let (_, owner) = setting.issue(NewKey::new("owner", both())).await;
    owner.put("/photos/k", "secret").await.ok();
    let (_, client) = setting.issue(NewKey::new("backup", both().with_bucket("backups"))).await;
    for call in [
        Call::get("/photos/k"),
        Call::get("/photos?list-type=2"),
        Call::put("/photos/k", "x"),
        Call::put("/backups/copy", "").with("x-amz-copy-source", "/photos/k"),
        Call::get("/nowhere/k"),
    ] {
        client.call(call).await.refused(403, "AccessDenied");
    }
    client.send(client.presign(&Call::get("/photos/k"), 60)).await.refused(403, "AccessDenied");
    assert_eq!(client.get("/").await.ok().elements("Name"), ["backups"]);
    assert_eq!(owner.get("/photos/k").await.ok().text(), "secret");
    client.get("/backups/copy").await.refused(404, "NoSuchKey");
}

#[tokio::test]
async fn verified_signatures_are_counted_with_the_time_of_the_last() {
    let setting = Setting::new().await;
    let (reader, client) = setting.issue(NewKey::new("reader", KeyScope::new([Permission::R2Read]))).await;
    let before = Utc::now() - TimeDelta::seconds(1);
    client.get("/photos/none").await.refused(404, "NoSuchKey");
    client.send(client.presign(&Call::get("/photos/none"), 60)).await.refused(404, "NoSuchKey");
    // A use of the key, which it does not allow.
    client.put("/photos/k", "x").await.refused(403, "AccessDenied");
    let wrong = Client { secret: "wrong".to_owned(), ..client };
    wrong.get("/photos/none").await.refused(403, "SignatureDoesNotMatch");
    setting.keys.write_uses().await.unwrap();
    let key = setting.keys.list().await.unwrap().into_iter().find(|key| key.id == reader.key.id).unwrap();
    assert_eq!(key.uses, 3, "a wrong signature is no use");
    assert!(key.last_used.is_some_and(|last| last >= before && last <= Utc::now()), "{key:?}");
}

#[tokio::test]
async fn store_of_keys_that_fails_is_no_wrong_key() {
    let setting = Setting::new().await;
    let (_, client) = setting.issue(NewKey::new("owner", both())).await;
    setting.database.script().fail_next(Operation::Query, Error::new(ErrorKind::Unavailable, "/srv/keys is locked"));
    let reply = client.get("/photos/k").await;
    reply.refused(503, "ServiceUnavailable");
    assert!(!reply.text().contains("/srv"), "{}", reply.text());
    assert!(setting.events.points().is_empty(), "nothing was refused");
}
