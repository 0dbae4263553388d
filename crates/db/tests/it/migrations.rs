//! Checksums, status, baseline, drift and files that undo.

use isobar_db::migrations::{Migration, Migrator, State, down_file, from_folder, from_pattern_for};
use isobar_db::{Database, Dialect, ErrorKind, QueryableExt, SqliteDatabase};

fn files() -> Vec<Migration> {
    vec![
        Migration::new("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);\nCREATE INDEX i ON users (id);\n"),
        Migration::new("2_mail.sql", "ALTER TABLE users ADD COLUMN mail TEXT;"),
        Migration::new("3_seed.sql", "INSERT INTO users (mail) VALUES ('ada');"),
    ]
}

async fn states(migrator: &Migrator, db: &SqliteDatabase, files: &[Migration]) -> Vec<(String, State)> {
    migrator.status(db, files).await.unwrap().into_iter().map(|one| (one.name, one.state)).collect()
}

#[tokio::test]
async fn a_file_that_was_changed_after_being_applied_is_refused() {
    let db = SqliteDatabase::memory().await.unwrap();
    let migrator = Migrator::default().with_checksums();
    migrator.apply(&db, &files()[..2]).await.unwrap();
    let mut changed = files();
    changed[0].sql = changed[0].sql.replace('\n', "\r\n");
    assert_eq!(states(&migrator, &db, &changed).await[0].1, State::Applied, "line ends count as one");
    changed[0].sql.push_str("-- more");
    let found = states(&migrator, &db, &changed).await;
    let expected = [("1_users.sql", State::Changed), ("2_mail.sql", State::Applied), ("3_seed.sql", State::Pending)];
    assert_eq!(found, expected.map(|(name, state)| (name.to_owned(), state)));
    for error in [migrator.apply(&db, &changed).await.unwrap_err(), migrator.dry_run(&db, &changed).await.unwrap_err()]
    {
        assert!(error.kind() == ErrorKind::Migration && error.message().starts_with("1_users.sql changed"), "{error}");
    }
    assert_eq!(migrator.baseline(&db, &changed, Some("1_users.sql")).await.unwrap(), Vec::<String>::new());
    assert_eq!(migrator.apply(&db, &changed).await.unwrap(), ["3_seed.sql"]);
}

#[tokio::test]
async fn wrangler_and_checksums_continue_each_others_migrations() {
    let db = SqliteDatabase::memory().await.unwrap();
    // As wrangler applies a file: the table's own statement, and no checksum.
    Migrator::default().apply(&db, &files()[..1]).await.unwrap();
    let migrator = Migrator::default().with_checksums();
    assert_eq!(migrator.apply(&db, &files()[..2]).await.unwrap(), ["2_mail.sql"]);
    let found = states(&migrator, &db, &files()).await;
    assert_eq!(found[0], ("1_users.sql".to_owned(), State::AppliedUnchecked));
    assert_eq!(found[1], ("2_mail.sql".to_owned(), State::Applied));
    assert_eq!(Migrator::default().apply(&db, &files()).await.unwrap(), ["3_seed.sql"]);
    let gone = states(&migrator, &db, &files()[1..]).await;
    assert_eq!(gone[0], ("1_users.sql".to_owned(), State::FileMissing));
    let late = [files(), vec![Migration::new("2_b.sql", "SELECT 1")]].concat();
    assert!(states(&migrator, &db, &late).await.contains(&("2_b.sql".to_owned(), State::OutOfOrder)));
}

#[tokio::test]
async fn baseline_records_migrations_without_running_them() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.run_script(&files()[0].sql).await.unwrap();
    let migrator = Migrator::default().with_checksums();
    assert!(migrator.baseline(&db, &files(), Some("none.sql")).await.unwrap_err().message().contains("none.sql"));
    assert_eq!(migrator.baseline(&db, &files(), Some("1_users.sql")).await.unwrap(), ["1_users.sql"]);
    assert_eq!(migrator.apply(&db, &files()).await.unwrap(), ["2_mail.sql", "3_seed.sql"]);
    assert!(migrator.drift(&db, &files()).await.unwrap().is_empty());
}

#[tokio::test]
async fn drift_lists_changes_made_outside_of_migrations() {
    let db = SqliteDatabase::memory().await.unwrap();
    let migrator = Migrator::default().with_checksums();
    migrator.apply(&db, &files()[..2]).await.unwrap();
    assert!(migrator.drift(&db, &files()).await.unwrap().is_empty(), "a pending file is no drift");
    db.exec("DROP INDEX i\nCREATE VIEW v AS SELECT 1\nALTER TABLE users RENAME COLUMN mail TO email").await.unwrap();
    let drift: Vec<_> = migrator.drift(&db, &files()).await.unwrap().iter().map(ToString::to_string).collect();
    let expected = [
        "column users.mail is missing",
        "column users.email is not expected",
        "index i is missing",
        "view v is not expected",
    ];
    assert_eq!(drift, expected);
    let error = migrator.drift(&db, &files()[1..]).await.unwrap_err();
    assert!(error.message().contains("1_users.sql is applied, but has no file"), "{error}");
}

#[tokio::test]
async fn an_error_of_a_dry_run_names_file_and_line() {
    let db = SqliteDatabase::memory().await.unwrap();
    let mut wrong = files();
    wrong[1].sql = "-- first\nSELECT 1;\n\nINSERT INTO\n nope VALUES (1);\n".to_owned();
    let error = Migrator::default().dry_run(&db, &wrong).await.unwrap_err();
    assert!(error.to_string().starts_with("2_mail.sql, line 4: no such table: nope"), "{error}");
}

#[tokio::test]
async fn dry_run_changes_nothing_and_agrees_with_apply_however_files_end() {
    let table = "CREATE TABLE t (a);\n";
    let mut cases: Vec<Vec<String>> = [
        "",
        "-- the end",
        "/* never closed",
        "SELECT 1 /* never closed",
        "/*",
        "/*/",
        "SELECT 'never closed",
        "SELECT \"never closed",
        "SELECT [never closed",
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1;",
        ";;",
        "COMMIT",
        "ROLLBACK;",
    ]
    .into_iter()
    .map(|end| vec![format!("{table}{end}")])
    .collect();
    // What the first leaves open the second must not close.
    cases.push(vec![format!("{table}SELECT 'open"), "closed';".to_owned()]);
    cases.push(vec![format!("{table}/* open"), "*/ SELECT nope;".to_owned()]);
    cases.push(vec![format!("{table}SELECT 1 -- open"), "SELECT 2".to_owned()]);
    for texts in cases {
        let db = SqliteDatabase::memory().await.unwrap();
        let named = |(number, sql): (usize, &String)| Migration::new(format!("{}_file.sql", number + 1), sql.as_str());
        let files: Vec<_> = texts.iter().enumerate().map(named).collect();
        let dry = Migrator::default().dry_run(&db, &files).await;
        assert_eq!(db.prepare("SELECT count(*) FROM sqlite_schema").one::<i64>().await.unwrap(), 0, "{texts:?}");
        let real = Migrator::default().apply(&db, &files).await;
        assert_eq!(dry.is_ok(), real.is_ok(), "{texts:?}: {dry:?}, {real:?}");
        if let (Err(dry), Err(real)) = (dry, real) {
            let file = |error: &isobar_db::Error| error.message().split_once(':').unwrap().0.to_owned();
            assert_eq!(file(&dry), file(&real), "the file and the line");
        }
    }
}

#[test]
fn files_that_undo_are_not_migrations() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("down")).unwrap();
    for name in ["1_a.sql", "1_a.down.sql", "2_b.sql", "down/2_b.down.sql"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let names: Vec<_> = from_folder(folder.path()).unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["1_a.sql", "2_b.sql"]);
    let down = |name: &str| down_file(folder.path(), name).unwrap().map(|file| (file.name, file.sql));
    assert_eq!(down("1_a.sql"), Some(("1_a.sql".to_owned(), "1_a.down.sql".to_owned())));
    assert_eq!(down("2_b.sql"), Some(("2_b.sql".to_owned(), "down/2_b.down.sql".to_owned())));
    assert_eq!(down("3_c.sql"), None);
}

#[test]
fn files_for_postgres_are_read_once_and_by_postgres_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tables", "postgres"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("tables/1_users.sql"), "CREATE TABLE users (id INTEGER)").unwrap();
    let log = folder.path().join("postgres/2_log.postgres.sql");
    std::fs::write(&log, "CREATE TABLE log (at TIMESTAMPTZ)").unwrap();
    let names = |dialect| {
        let files = from_pattern_for(folder.path(), "*/*.sql", dialect)?;
        let mut names: Vec<_> = files.into_iter().map(|file| file.name).collect();
        names.sort();
        Ok::<_, isobar_db::Error>(names)
    };
    assert_eq!(names(Dialect::Postgres).unwrap(), ["2_log.sql", "tables/1_users.sql"]);
    std::fs::write(log, [0xff]).unwrap(); // no text
    assert_eq!(names(Dialect::Sqlite).unwrap(), ["tables/1_users.sql"]);
    assert!(names(Dialect::Postgres).is_err());
}
