//! The store of keys.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use isobar_db::mock::MockDatabase;
use isobar_db::{Database, ErrorKind, QueryableExt, SqliteDatabase};
use isobar_gateway::keys::{AccessKeys, Key, KeyScope, KeyStore, NewKey, Permission, Verified};

use crate::door::keyring;

async fn store() -> (KeyStore, Arc<SqliteDatabase>) {
    let database = Arc::new(SqliteDatabase::memory().await.unwrap());
    (KeyStore::open(database.clone(), keyring()).await.unwrap(), database)
}

fn reader() -> KeyScope {
    KeyScope::new([Permission::R2Read]).with_bucket("photos").with_prefix("2026/")
}

fn active(verified: Verified) -> Key {
    match verified {
        Verified::Active(key) => key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn secrets_are_not_in_the_database() {
    let (keys, database) = store().await;
    let issued = keys.create(NewKey::new("backup", reader())).await.unwrap();
    let secret = issued.secret_access_key();
    let rows = database.prepare("SELECT * FROM gateway_keys").raw().await.unwrap().1;
    let stored = format!("{rows:?}");
    assert!(!stored.contains(issued.token()) && !stored.contains(&secret), "{stored}");
    let hash = database.prepare("SELECT hex(secret_hash) FROM gateway_keys").one::<String>().await.unwrap();
    assert_ne!(hash.to_lowercase(), secret, "the hash of the token is the secret access key");
    assert!(!format!("{issued:?} {keys:?}").contains(&secret));
}

#[tokio::test]
async fn access_key_has_the_secret_that_was_issued() {
    let (keys, _) = store().await;
    let issued = keys.create(NewKey::new("backup", reader())).await.unwrap();
    let found = keys.find(&issued.key.id).await.unwrap().unwrap();
    assert_eq!(found.secret(), issued.secret_access_key());
    assert!(found.scope.can_read("photos", "2026/a") && !found.scope.can_write("photos", "2026/a"));
    assert!(keys.find(&"0".repeat(32)).await.unwrap().is_none());
    assert!(keys.find("no id").await.unwrap().is_none());
}

#[tokio::test]
async fn revoked_and_expired_keys_are_refused() {
    let (keys, _) = store().await;
    let revoked = keys.create(NewKey::new("revoked", reader())).await.unwrap();
    assert_eq!(active(keys.verify(revoked.token()).await.unwrap()).name, "revoked");
    assert!(keys.revoke(&revoked.key.id).await.unwrap());
    assert!(matches!(keys.verify(revoked.token()).await.unwrap(), Verified::Revoked(_)));
    assert!(keys.find(&revoked.key.id).await.unwrap().is_none());
    assert!(!keys.revoke("nothing").await.unwrap());
    let past = Utc::now() - TimeDelta::seconds(1);
    let expired = keys.create(NewKey::new("expired", reader()).with_expires(past)).await.unwrap();
    assert!(matches!(keys.verify(expired.token()).await.unwrap(), Verified::Expired(_)));
    let access_key = keys.find(&expired.key.id).await.unwrap().unwrap();
    assert!(access_key.is_expired(Utc::now()));
}

#[tokio::test]
async fn altered_tokens_are_unknown() {
    let (keys, _) = store().await;
    let one = keys.create(NewKey::new("one", reader())).await.unwrap();
    let two = keys.create(NewKey::new("two", reader())).await.unwrap();
    // The secret of another key.
    let mixed = one.token().replace(&one.key.id, &two.key.id);
    let mut last = one.token().to_owned();
    let replaced = if last.ends_with('A') { "B" } else { "A" };
    last.replace_range(last.len() - 1.., replaced);
    for token in [mixed.as_str(), &last, "", "isobar_", &one.secret_access_key(), &one.key.id] {
        assert_eq!(keys.verify(token).await.unwrap(), Verified::Unknown, "{token}");
    }
}

#[tokio::test]
async fn what_another_process_revokes_is_refused_from_then_on() {
    let (keys, database) = store().await;
    let issued = keys.create(NewKey::new("ci", reader())).await.unwrap();
    active(keys.verify(issued.token()).await.unwrap());
    database.exec("UPDATE gateway_keys SET revoked_at = '2026-01-01T00:00:00.000Z'").await.unwrap();
    assert!(matches!(keys.verify(issued.token()).await.unwrap(), Verified::Revoked(_)));
    assert!(keys.find(&issued.key.id).await.unwrap().is_none());
}

#[tokio::test]
async fn uses_are_counted_in_memory_and_written_later() {
    let (keys, _) = store().await;
    let issued = keys.create(NewKey::new("ci", reader())).await.unwrap();
    let id = &issued.key.id;
    for _ in 0..3 {
        keys.note_use(id);
    }
    assert_eq!(keys.list().await.unwrap()[0].uses, 0);
    keys.write_uses().await.unwrap();
    keys.write_uses().await.unwrap();
    let key = keys.list().await.unwrap().remove(0);
    assert_eq!(key.uses, 3);
    assert!(key.last_used.unwrap() > Utc::now() - TimeDelta::minutes(1));
}

#[tokio::test]
async fn uses_survive_a_failed_write() {
    let mock = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    let keys = KeyStore::open(Arc::new(mock.clone()), keyring()).await.unwrap();
    let issued = keys.create(NewKey::new("ci", reader())).await.unwrap();
    keys.note_use(&issued.key.id);
    mock.script().fail_next(isobar_db::Operation::Batch, isobar_db::Error::new(ErrorKind::StorageFull, "full"));
    assert!(keys.write_uses().await.is_err());
    keys.note_use(&issued.key.id);
    keys.write_uses().await.unwrap();
    assert_eq!(keys.list().await.unwrap()[0].uses, 2);
}

#[tokio::test]
async fn uses_survive_a_write_that_is_broken_off() {
    let mock = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    let keys = KeyStore::open(Arc::new(mock.clone()), keyring()).await.unwrap();
    let issued = keys.create(NewKey::new("ci", reader())).await.unwrap();
    keys.note_use(&issued.key.id);
    let held = mock.script().hold_next(isobar_db::Operation::Batch);
    assert!(tokio::time::timeout(Duration::from_millis(10), keys.write_uses()).await.is_err(), "the write waits");
    drop(held);
    keys.write_uses().await.unwrap();
    assert_eq!(keys.list().await.unwrap()[0].uses, 1);
}

#[tokio::test]
async fn store_opens_again_with_its_keyring_alone() {
    let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await.unwrap());
    let ring = keyring();
    let keys = KeyStore::open(Arc::clone(&database), ring.clone()).await.unwrap();
    let issued = keys.create(NewKey::new("ci", reader())).await.unwrap();
    let again = KeyStore::open(Arc::clone(&database), ring).await.unwrap();
    assert_eq!(again.account_id(), keys.account_id());
    assert_eq!(again.account_id().len(), 32);
    assert_eq!(active(again.verify(issued.token()).await.unwrap()), issued.key);
    assert!(KeyStore::open(database, keyring()).await.is_err(), "another keyring");
}

/// As by two processes that start: each has the database open for itself.
#[tokio::test(flavor = "multi_thread")]
async fn stores_that_open_one_database_at_once_share_account_and_keys() {
    let home = tempfile::tempdir().unwrap();
    let ring = keyring();
    let opening = [(); 4].map(|()| {
        let path = home.path().join("keys.sqlite");
        let ring = ring.clone();
        tokio::spawn(async move {
            let database = SqliteDatabase::open(path).await.unwrap();
            KeyStore::open(Arc::new(database), ring).await.unwrap()
        })
    });
    let stores = futures_util::future::try_join_all(opening).await.unwrap();
    let issued = stores[0].create(NewKey::new("ci", reader())).await.unwrap();
    for store in &stores {
        assert_eq!(store.account_id(), stores[0].account_id());
        assert_eq!(active(store.verify(issued.token()).await.unwrap()), issued.key);
    }
}

#[tokio::test]
async fn keys_without_a_permission_or_a_name_are_refused() {
    let (keys, _) = store().await;
    let error = keys.create(NewKey::new("x", KeyScope::default())).await.unwrap_err();
    assert_eq!(error.to_string(), "access keys: a key needs a permission");
    assert!(keys.create(NewKey::new("", reader())).await.is_err());
    assert!(keys.list().await.unwrap().is_empty());
}
