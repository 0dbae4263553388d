//! The vault: what it seals opens where it was sealed and nowhere else, through every rotation.

use std::sync::Arc;

use isobar_db::vault::{self, Cell, Keyring, Secret, Vault};
use isobar_db::{Database, Error, ErrorKind, Queryable, QueryableExt, SqliteDatabase};

const TABLE: &str = "CREATE TABLE tokens (id INTEGER PRIMARY KEY, secret BLOB, other BLOB, secret_index TEXT)";
const DECLARED: &str =
    "INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'secret'), ('tokens', 'other')";

fn key(name: &str) -> String {
    Keyring::generate(name).unwrap().expose_text().unwrap().to_owned()
}

async fn prepared(db: &SqliteDatabase) {
    db.run_script(&format!("{};{TABLE};{DECLARED}", vault::SCHEMA)).await.unwrap();
}

async fn database() -> SqliteDatabase {
    let db = SqliteDatabase::memory().await.unwrap();
    prepared(&db).await;
    db
}

fn vault(db: &SqliteDatabase, keyring: &str) -> Vault {
    Vault::new(Arc::new(db.clone()), "business", keyring.parse().unwrap())
}

fn cell(id: i64) -> Cell<'static> {
    Cell::new("tokens", "secret", id)
}

async fn insert(db: &SqliteDatabase, vault: &Vault, ids: std::ops::Range<i64>) {
    for id in ids {
        let sealed = vault.seal(&cell(id), format!("secret {id}").as_bytes()).await.unwrap();
        db.prepare("INSERT INTO tokens (id, secret) VALUES (?, ?)").bind(id).bind(sealed).run().await.unwrap();
    }
}

async fn read(db: &SqliteDatabase, vault: &Vault, id: i64) -> Result<Secret, Error> {
    let row = db.query(db.prepare("SELECT secret FROM tokens WHERE id = ?").bind(id).into_statement()).await.unwrap();
    vault.open(&cell(id), &row.rows[0].get::<bytes::Bytes>("secret").unwrap()).await
}

fn assert_sealed<T: std::fmt::Debug>(result: Result<T, Error>, says: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sealed, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn sealed_value_opens_in_its_own_cell_only() {
    let db = database().await;
    let vault = vault(&db, &key("a"));
    for plain in [&b""[..], b"gho_secret", &[0; 100_000]] {
        let sealed = vault.seal(&cell(1), plain).await.unwrap();
        assert_eq!(vault.open(&cell(1), &sealed).await.unwrap().expose(), plain);
        assert_ne!(vault.seal(&cell(1), plain).await.unwrap(), sealed, "every nonce is new");
        let elsewhere = [cell(2), Cell::new("tokens", "other", 1), Cell::new("tokens", "secret", "1")];
        for other in &elsewhere {
            assert_sealed(vault.open(other, &sealed).await, "another place");
        }
    }
    let sealed = vault.seal(&cell(1), b"moved").await.unwrap();
    let legacy = Vault::new(Arc::new(db), "meauxos", key("a").parse().unwrap());
    assert_sealed(legacy.open(&cell(1), &sealed).await, "does not unwrap");
}

#[tokio::test]
async fn every_changed_bit_and_every_cut_is_noticed() {
    let vault = vault(&database().await, &key("a"));
    let sealed = vault.seal(&cell(1), b"x").await.unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(vault.open(&cell(1), &changed).await.unwrap_err().kind(), ErrorKind::Sealed, "bit {bit}");
    }
    for length in 0..sealed.len() {
        assert_eq!(vault.open(&cell(1), &sealed[..length]).await.unwrap_err().kind(), ErrorKind::Sealed);
    }
}

#[tokio::test]
async fn sealing_for_an_undeclared_column_is_refused() {
    let db = database().await;
    let vault = vault(&db, &key("a"));
    let late = Cell::new("tokens", "late", 1);
    assert_sealed(vault.seal(&late, b"x").await, "does not declare tokens.late");
    db.exec("INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'late')").await.unwrap();
    vault.seal(&late, b"x").await.unwrap();
}

#[tokio::test]
async fn keyring_of_another_database_is_refused() {
    let db = database().await;
    let right = key("a");
    let wrong = key("a");
    let sealed = vault(&db, &right).seal(&cell(1), b"x").await.unwrap();
    assert_sealed(vault(&db, &wrong).open(&cell(1), &sealed).await, "does not unwrap");
    assert_sealed(vault(&db, &key("b")).rotate().await, "\"a\", which the keyring lacks; it has: b");
    for (text, says) in [
        ("", "empty"),
        ("# nothing", "empty"),
        ("a", "not name:key"),
        ("a:AAAA", "32 bytes"),
        (&format!("{right}\n{wrong}"), "twice"),
    ] {
        assert_sealed(text.parse::<Keyring>(), says);
    }
    let both = format!("# newest first\n{}, {right}\n", key("b"));
    assert_eq!(both.parse::<Keyring>().unwrap().names().collect::<Vec<_>>(), ["b", "a"]);
}

#[cfg(unix)]
#[test]
fn a_keyring_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring");
    std::fs::write(&path, key("a")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_sealed(Keyring::from_file(&path), "chmod 600");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Keyring::from_file(&path).unwrap();
}

#[tokio::test]
async fn rotation_and_sweep_leave_every_value_readable_and_old_keys_gone() {
    let db = database().await;
    let old = key("old");
    let new = key("new");
    let one = vault(&db, &old);
    insert(&db, &one, 0..120).await;
    let elsewhere = vault(&db, &format!("{new},{old}"));
    for _ in 0..3 {
        let before = elsewhere.status().await.unwrap().active_key;
        assert!(elsewhere.rotate().await.unwrap() > before);
    }
    assert_eq!(elsewhere.rewrap().await.unwrap(), 2, "the index key and the first data key");
    let column =
        |status: &vault::Status| status.columns.iter().find(|it| it.column.column == "secret").cloned().unwrap();
    let status = elsewhere.status().await.unwrap();
    assert_eq!((column(&status).current, column(&status).outdated, status.keys.len()), (0, 120, 4));

    let mut pages = 0;
    let sweep = elsewhere.sweep(|_| pages += 1).await.unwrap();
    assert_eq!((sweep.sealed, sweep.removed_keys, pages), (120, 2, 3));
    assert_eq!(sweep.failed, Vec::<String>::new());
    let status = elsewhere.status().await.unwrap();
    assert_eq!((column(&status).current, column(&status).outdated, status.keys.len()), (120, 0, 2));
    assert_eq!(elsewhere.sweep(|_| ()).await.unwrap().sealed, 0, "again does nothing");

    // The keyring without the old line, and a process that read the keys before the rotation but has both lines.
    let reopened = vault(&db, &new);
    assert_eq!(read(&db, &reopened, 119).await.unwrap().expose(), b"secret 119");
    assert_sealed(read(&db, &one, 0).await, "which the keyring lacks");
}

#[tokio::test]
async fn interrupted_sweep_continues_and_newer_writes_win() {
    let db = database().await;
    let keyring = key("a");
    let vault_ = vault(&db, &keyring);
    insert(&db, &vault_, 0..60).await;
    let behind = vault(&db, &keyring);
    behind.seal(&cell(0), b"reads the keys before they change").await.unwrap();
    vault_.rotate().await.unwrap();

    let broken = std::panic::AssertUnwindSafe(vault_.sweep(|_| panic!("the process ends here")));
    assert!(futures_util::FutureExt::catch_unwind(broken).await.is_err());
    let outdated = |status: vault::Status| status.columns.iter().map(|it| it.outdated).sum::<u64>();
    assert_eq!(outdated(vault_.status().await.unwrap()), 10);

    // A process that is behind writes under the old key meanwhile; nothing of it is lost.
    let late = behind.seal(&cell(0), b"late").await.unwrap();
    db.prepare("UPDATE tokens SET secret = ? WHERE id = 0").bind(late).run().await.unwrap();
    assert_eq!(vault_.sweep(|_| ()).await.unwrap().sealed, 11);
    assert_eq!(outdated(vault_.status().await.unwrap()), 0);
    assert_eq!(read(&db, &vault_, 0).await.unwrap().expose(), b"late");
    assert_eq!(read(&db, &behind, 59).await.unwrap().expose(), b"secret 59");
}

#[tokio::test]
async fn a_value_that_does_not_open_is_reported_and_keeps_its_key() {
    let db = database().await;
    let vault_ = vault(&db, &key("a"));
    insert(&db, &vault_, 0..3).await;
    db.exec("UPDATE tokens SET secret = (SELECT secret FROM tokens WHERE id = 2) WHERE id = 1").await.unwrap();
    db.exec("INSERT INTO tokens (id, secret) VALUES (9, 'in plain')").await.unwrap();
    for _ in 0..2 {
        vault_.rotate().await.unwrap();
    }
    let sweep = vault_.sweep(|_| ()).await.unwrap();
    assert_eq!((sweep.sealed, sweep.removed_keys, sweep.failed.len()), (2, 0, 2));
    assert!(sweep.failed[0].contains("tokens.secret of 1"), "{:?}", sweep.failed);
    assert!(!format!("{sweep:?}").contains("in plain"));
}

#[tokio::test]
async fn equal_values_of_a_column_have_equal_indexes() {
    let db = database().await;
    let keyring = key("a");
    let index = async |column: &'static str, plain: &'static [u8]| {
        vault(&db, &keyring).blind_index("tokens", column, plain).await.unwrap()
    };
    let one = index("secret", b"ada@example.com").await;
    assert_eq!((one.len(), &one), (64, &index("secret", b"ada@example.com").await));
    assert_ne!(one, index("secret", b"bob@example.com").await);
    assert_ne!(one, index("other", b"ada@example.com").await);
    vault(&db, &keyring).rotate().await.unwrap();
    assert_eq!(one, index("secret", b"ada@example.com").await, "rotation leaves indexes alone");
}

#[tokio::test]
async fn two_processes_that_begin_at_once_make_one_index_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    prepared(&SqliteDatabase::open(&path).await.unwrap()).await;
    let keyring = key("a");
    let mut tasks = Vec::new();
    for id in 0..8 {
        let path = path.clone();
        let keyring = keyring.clone();
        tasks.push(tokio::spawn(async move {
            let db = SqliteDatabase::open(path).await.unwrap();
            let vault = vault(&db, &keyring);
            insert(&db, &vault, id..id + 1).await;
            vault.blind_index("tokens", "secret", b"same").await.unwrap()
        }));
    }
    let mut indexes = std::collections::BTreeSet::new();
    for task in tasks {
        indexes.insert(task.await.unwrap());
    }
    assert_eq!(indexes.len(), 1);
    let db = SqliteDatabase::open(path).await.unwrap();
    for id in 0..8 {
        read(&db, &vault(&db, &keyring), id).await.unwrap();
    }
}

#[tokio::test]
async fn debug_text_hides_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    prepared(&db).await;
    let keyring = key("a");
    let vault = vault(&db, &keyring);
    let plain = b"a secret that stands nowhere";
    let sealed = vault.seal(&cell(1), plain).await.unwrap();
    let insert = db.prepare("INSERT INTO tokens (id, secret, secret_index) VALUES (1, ?, ?)");
    insert.bind(sealed.clone()).bind(vault.blind_index("tokens", "secret", plain).await.unwrap()).run().await.unwrap();
    let opened = vault.open(&cell(1), &sealed).await.unwrap();
    let shown = format!("{vault:?} {opened:?} {:?}", vault.open(&cell(2), &sealed).await);
    let (_, key) = keyring.split_once(':').unwrap();
    assert!(!shown.contains("nowhere") && !shown.contains(key), "{shown}");
    drop((vault, db));
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(plain) && !holds(key.as_bytes()));
    }
}

#[tokio::test]
async fn a_renamed_table_is_rebound_and_its_values_open() {
    let db = database().await;
    let keyring = key("a");
    let vault_ = vault(&db, &keyring);
    insert(&db, &vault_, 0..120).await;
    db.exec("ALTER TABLE tokens RENAME TO secrets").await.unwrap();
    let status = vault_.status().await.unwrap();
    assert_eq!(status.missing.iter().map(|it| it.column.as_str()).collect::<Vec<_>>(), ["other", "secret"]);
    assert_eq!(status.undeclared.iter().map(|it| it.table.as_str()).collect::<Vec<_>>(), ["secrets"]);
    let keys = async || db.prepare("SELECT count(*) FROM vault_keys").one::<i64>().await.unwrap();
    // No try makes a key.
    for _ in 0..3 {
        assert_sealed(vault_.rotate().await, "vault_columns declares tokens.other");
        assert_sealed(vault_.sweep(|_| ()).await, "isobar vault rebind");
    }
    assert_eq!(keys().await, 2);
    assert_sealed(vault_.rebind(("tokens", "secret"), ("secrets", "nope")).await, "there is no column secrets.nope");
    assert_sealed(vault_.rebind(("nope", "secret"), ("secrets", "secret")).await, "declares neither");
    let rebound = vault_.rebind(("tokens", "secret"), ("secrets", "secret")).await.unwrap();
    assert_eq!((rebound.sealed, rebound.present, rebound.failed.len()), (120, 0, 0));
    assert_eq!(
        vault_.rebind(("tokens", "secret"), ("secrets", "secret")).await.unwrap().present,
        120,
        "again does nothing"
    );
    let sealed: bytes::Bytes =
        db.prepare("SELECT secret FROM secrets WHERE id = 119").first_column("secret").await.unwrap().unwrap();
    assert_eq!(vault_.open(&Cell::new("secrets", "secret", 119), &sealed).await.unwrap().expose(), b"secret 119");
    db.exec("DELETE FROM vault_columns WHERE table_name = 'tokens'").await.unwrap();
    vault_.rotate().await.unwrap();
    assert_eq!(vault_.sweep(|_| ()).await.unwrap().sealed, 120);
    assert!(vault_.rebind(("secrets", "secret"), ("secrets", "other")).await.is_err(), "a column that is there stays");
}

#[tokio::test]
async fn values_stay_readable_after_their_declaration_is_removed() {
    let db = database().await;
    let vault_ = vault(&db, &key("a"));
    insert(&db, &vault_, 0..3).await;
    db.exec("DELETE FROM vault_columns").await.unwrap();
    for _ in 0..3 {
        vault_.rotate().await.unwrap();
        let sweep = vault_.sweep(|_| ()).await.unwrap();
        assert_eq!(sweep.undeclared.iter().map(|it| it.column.as_str()).collect::<Vec<_>>(), ["secret"]);
    }
    assert_eq!(read(&db, &vault_, 2).await.unwrap().expose(), b"secret 2");
    // Declared again, they are swept, and the keys go.
    db.exec(DECLARED).await.unwrap();
    let sweep = vault_.sweep(|_| ()).await.unwrap();
    assert_eq!((sweep.sealed, sweep.undeclared.len()), (3, 0));
    assert!(sweep.removed_keys > 0);
}

#[tokio::test]
async fn a_keyring_is_compared_before_anything_is_served() {
    let db = SqliteDatabase::memory().await.unwrap();
    let right = key("a");
    let wrong = key("a");
    assert_eq!(vault::wrapping_keys(&db).await.unwrap(), Vec::<String>::new());
    assert_sealed(vault(&db, &right).check().await, "vault_keys is not there");
    prepared(&db).await;
    // Before there is a key, every keyring fits.
    vault(&db, &wrong).check().await.unwrap();
    assert_eq!(vault::wrapping_keys(&db).await.unwrap(), Vec::<String>::new());
    assert_eq!(db.prepare("SELECT count(*) FROM vault_keys").one::<i64>().await.unwrap(), 0, "looking makes nothing");
    insert(&db, &vault(&db, &right), 0..1).await;
    assert_eq!(vault::wrapping_keys(&db).await.unwrap(), ["a"]);
    vault(&db, &right).check().await.unwrap();
    assert_sealed(vault(&db, &wrong).check().await, "does not unwrap");
    assert_sealed(vault(&db, &key("b")).check().await, "\"a\", which the keyring lacks");
    assert_sealed(vault(&db, &key("b")).status().await, "lacks");
    // Keys that are gone are not made anew while there are values.
    db.exec("DELETE FROM vault_keys").await.unwrap();
    assert_sealed(vault(&db, &right).check().await, "tokens.secret");
    assert_sealed(vault(&db, &right).seal(&cell(7), b"x").await, "from a backup");
    assert_eq!(db.prepare("SELECT count(*) FROM vault_keys").one::<i64>().await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_that_has_lost_tables_of_its_vault_is_refused() {
    let db = database().await;
    let vault_ = vault(&db, &key("a"));
    insert(&db, &vault_, 0..1).await;
    vault_.check().await.unwrap();
    db.exec("DROP TABLE vault_columns").await.unwrap();
    assert_sealed(vault_.check().await, "vault_columns is not there");
    assert_eq!(vault::wrapping_keys(&db).await.unwrap(), ["a"], "no new keyring is made for it");
    db.exec("DROP TABLE vault_keys").await.unwrap();
    assert_sealed(vault_.check().await, "vault_keys is not there");
    db.run_script(vault::SCHEMA).await.unwrap();
    db.exec(DECLARED).await.unwrap();
    assert_sealed(vault_.check().await, "tokens.secret");
}

#[tokio::test]
async fn bytes_that_look_sealed_count_in_declared_columns_only() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec("CREATE TABLE files (id INTEGER PRIMARY KEY, body BLOB)").await.unwrap();
    // The header of a value under data key 7, and no such key.
    let body = [&[1_u8, 1, 0, 0, 0, 7][..], &[9; 60]].concat();
    db.prepare("INSERT INTO files VALUES (1, ?)").bind(body.clone()).run().await.unwrap();
    let vault_ = vault(&db, &key("a"));
    prepared(&db).await;
    vault_.check().await.unwrap();
    insert(&db, &vault_, 0..1).await;
    vault_.check().await.unwrap();
    assert!(vault_.status().await.unwrap().undeclared.is_empty());
    assert!(vault_.sweep(|_| ()).await.unwrap().undeclared.is_empty());
    // A value of the vault's that was copied elsewhere is still found.
    db.exec("INSERT INTO files SELECT 2, secret FROM tokens").await.unwrap();
    let undeclared = vault_.status().await.unwrap().undeclared;
    assert_eq!(undeclared.iter().map(|it| it.table.as_str()).collect::<Vec<_>>(), ["files"]);
    // In a declared column the form is enough, since the keys may be gone.
    db.exec("DELETE FROM vault_keys\nUPDATE tokens SET secret = NULL").await.unwrap();
    vault_.check().await.unwrap();
    db.prepare("UPDATE tokens SET secret = ?").bind(body).run().await.unwrap();
    assert_sealed(vault_.check().await, "tokens.secret");
}
