//! Transfer out of a database of another shape: once, again, after a break, and dry.

use isobar_db::transfer::{Map, Report, new_id, transfer};
use isobar_db::{Database, Error, ErrorKind, QueryableExt, SqliteDatabase, mock::MockDatabase};

const OLD: &str = "
    CREATE TABLE teams (id INTEGER PRIMARY KEY, short TEXT NOT NULL, created INTEGER);
    CREATE TABLE people (id INTEGER PRIMARY KEY, team INTEGER, mail TEXT, admin TEXT, joined TEXT);
    INSERT INTO teams VALUES (1, 'Inner Animal', 1700000000), (2, 'Bears!', NULL), (3, 'inner-animal', 5);
    INSERT INTO people VALUES (1, 1, ' Ada@Example.com ', 'yes', '2024-02-29 12:30:00'), (2, 2, 'bob@example.com', 'no', NULL),
        (3, 9, 'cy@example.com', 'no', NULL), (4, 1, 'ADA@example.com', 'no', NULL), (5, 1, 'di@example.com', 'perhaps', NULL),
        (6, 3, 'ed@example.com', 'no', NULL)";
const NEW: &str = "
    CREATE TABLE tenants (id TEXT PRIMARY KEY, slug TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);
    CREATE TABLE users (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL REFERENCES tenants (id), email TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL CHECK (role IN ('admin', 'member')), joined_at TEXT, revision INTEGER NOT NULL)";
const MAP: &str = r#"
    [[table]]
    from = "teams"
    to = "tenants"
    [table.columns]
    id = { id = true }
    slug = { column = "short", as = "slug" }
    created_at = { column = "created", as = "unix-seconds", default = "2020-01-01T00:00:00.000Z" }

    [[table]]
    from = "people"
    to = "users"
    [table.columns]
    id = { id = true }
    tenant_id = { column = "team", reference = "teams" }
    email = { column = "mail", as = "lower" }
    role = { column = "admin", choices = { yes = "admin", no = "member" } }
    joined_at = { column = "joined", as = "sqlite-time" }
    revision = { value = 1 }
"#;

async fn databases() -> (SqliteDatabase, SqliteDatabase, Map) {
    let old = SqliteDatabase::memory().await.unwrap();
    let new = SqliteDatabase::memory().await.unwrap();
    old.run_script(OLD).await.unwrap();
    new.run_script(NEW).await.unwrap();
    (old, new, toml::from_str(MAP).unwrap())
}

async fn run(old: &SqliteDatabase, new: &dyn Database, map: &Map, dry: bool) -> Result<Report, Error> {
    transfer(old, "legacy", new, map, dry, |_| ()).await
}

/// Copied, present, and the keys of what was skipped, table by table.
fn counts(report: &Report) -> Vec<(u64, u64, Vec<&str>)> {
    report
        .tables
        .iter()
        .map(|table| (table.copied, table.present, table.skipped.iter().map(|one| one.key.as_str()).collect()))
        .collect()
}

#[tokio::test]
async fn transfer_maps_rows_and_reports_the_rest() {
    let (old, new, map) = databases().await;
    let report = run(&old, &new, &map, false).await.unwrap();
    assert_eq!(counts(&report), [(2, 0, vec!["3"]), (2, 0, vec!["5", "3", "4", "6"])]);
    let reasons: Vec<_> =
        report.tables.iter().flat_map(|table| &table.skipped).map(|one| one.reason.as_str()).collect();
    for (reason, says) in
        reasons.iter().zip(["tenants.slug", "\"perhaps\"", "FOREIGN KEY", "users.email", "FOREIGN KEY"])
    {
        assert!(reason.contains(says), "{reasons:?}");
    }
    let users: Vec<(String, String, String, Option<String>)> =
        new.prepare("SELECT id, email, role, joined_at FROM users ORDER BY email").all().await.unwrap();
    let ada = new_id("legacy", "people", "1");
    let expected = (ada, "ada@example.com".to_owned(), "admin".to_owned(), Some("2024-02-29T12:30:00.000Z".to_owned()));
    assert_eq!((&users[0], users[1].3.as_deref(), users.len()), (&expected, None, 2));
    let tenants: Vec<(String, String)> =
        new.prepare("SELECT slug, created_at FROM tenants ORDER BY slug").all().await.unwrap();
    assert_eq!(tenants[0], ("bears".to_owned(), "2020-01-01T00:00:00.000Z".to_owned()));
    assert_eq!(tenants[1], ("inner-animal".to_owned(), "2023-11-14T22:13:20.000Z".to_owned()));
}

#[tokio::test]
async fn second_transfer_leaves_existing_rows() {
    let (old, new, map) = databases().await;
    run(&old, &new, &map, false).await.unwrap();
    new.exec("UPDATE users SET role = 'admin'").await.unwrap();
    old.exec("INSERT INTO people VALUES (7, 2, 'new@example.com', 'no', NULL)").await.unwrap();
    let again = run(&old, &new, &map, false).await.unwrap();
    assert_eq!(counts(&again), [(0, 2, vec!["3"]), (1, 2, vec!["5", "3", "4", "6"])]);
    assert_eq!(new.prepare("SELECT count(*) FROM users WHERE role = 'admin'").one::<i64>().await.unwrap(), 2);
}

#[tokio::test]
async fn transfer_dry_run_writes_nothing_and_reports_the_same() {
    let (old, new, map) = databases().await;
    let dry = run(&old, &new, &map, true).await.unwrap();
    assert_eq!(
        new.prepare("SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM users)").one::<i64>().await.unwrap(),
        0
    );
    let real = run(&old, &new, &map, false).await.unwrap();
    assert_eq!(counts(&dry), counts(&real));
    assert_eq!(
        counts(&run(&old, &new, &map, true).await.unwrap()),
        counts(&run(&old, &new, &map, false).await.unwrap())
    );
}

#[tokio::test]
async fn interrupted_transfer_continues() {
    let (old, new, map) = databases().await;
    for number in 100..400 {
        let insert = old.prepare("INSERT INTO people VALUES (?, 1, ?, 'no', NULL)");
        insert.bind(number).bind(format!("{number}@example.com")).run().await.unwrap();
    }
    let mock = MockDatabase::new(new.clone());
    let mut pages = 0;
    let lost = || Error::new(ErrorKind::Unavailable, "Network connection lost.");
    let script = mock.script().clone();
    let broken = transfer(&old, "legacy", &mock, &map, false, |_| {
        pages += 1;
        if pages == 4 {
            script.fail_next("batch", lost());
        }
    });
    assert_eq!(broken.await.unwrap_err().kind(), ErrorKind::Unavailable);
    let there = new.prepare("SELECT count(*) FROM users").one::<i64>().await.unwrap();
    assert!(there > 50 && there < 302, "{there}");
    let report = run(&old, &new, &map, false).await.unwrap();
    assert_eq!((report.tables[1].present, report.tables[1].copied), (there as u64, 302 - there as u64));
}

#[tokio::test]
async fn invalid_map_is_refused_before_any_write() {
    let (old, new, _) = databases().await;
    for (map, says) in [
        ("id = { id = true, value = 1 }", "exactly one"),
        ("id = \"id\"", "id = true"),
        ("id = { id = true }\ntenant_id = { reference = \"people\", column = \"x\" }", "does not transfer"),
    ] {
        let map =
            toml::from_str(&format!("[[table]]\nfrom = \"teams\"\nto = \"tenants\"\n[table.columns]\n{map}")).unwrap();
        let error = run(&old, &new, &map, false).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let unknown = "[[table]]\nfrom = \"nothing\"\nto = \"tenants\"\n[table.columns]\nid = { id = true }";
    assert!(
        run(&old, &new, &toml::from_str(unknown).unwrap(), false).await.unwrap_err().to_string().contains("nothing")
    );
    assert!(toml::from_str::<Map>("[[table]]\nfrom = \"a\"\nto = \"b\"\nkeys = 1").is_err());
}
