//! Statements of others on SQLite itself, and exports of databases that are open.

use std::io::Write;
use std::sync::{Arc, Mutex};

use isobar_db::dump::ExportOptions;
use isobar_db::page::Keyset;
use isobar_db::{Database, ErrorKind, Queryable, QueryableExt, SqliteDatabase, Statement};

/// A database in memory, and one in a file of this folder.
async fn both(folder: &tempfile::TempDir) -> [SqliteDatabase; 2] {
    let file = folder.path().join("db.sqlite");
    [SqliteDatabase::memory().await.unwrap(), SqliteDatabase::open(file).await.unwrap()]
}

#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_reads_by_its_words_and_writes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(&folder).await {
        db.run_script(
            "CREATE TABLE t (a); CREATE INDEX i ON t (a); CREATE VIEW v AS SELECT * FROM pragma_optimize('0x10002');
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 500) INSERT INTO t SELECT n FROM n;",
        )
        .await
        .unwrap();
        let statistics = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'";
        for sql in ["SELECT * FROM v", "SELECT (SELECT count(*) FROM v)", "WITH x AS (SELECT * FROM v) SELECT * FROM x"]
        {
            // Alone and among writes; on the writer it may have been kept prepared.
            for batch in [vec![], vec![Statement::new("INSERT INTO t VALUES (0)")]] {
                let mut batch = batch;
                batch.push(Statement::new(sql).read_only());
                let error = db.batch(batch).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotAuthorized, "{db:?}: {sql}: {error}");
            }
            assert_eq!(db.prepare(statistics).one::<i64>().await.unwrap(), 0, "{db:?}: {sql}");
        }
        // It does write, where it may.
        db.prepare("SELECT * FROM v").run().await.unwrap();
        assert_eq!(db.prepare(statistics).one::<i64>().await.unwrap(), 1, "{db:?}");
        db.query(Statement::new("EXPLAIN DELETE FROM t").read_only()).await.unwrap();
        assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(), 500);
    }
}

#[tokio::test]
async fn row_of_large_values_is_not_copied_beyond_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(&folder).await {
        let columns = vec!["zeroblob(2000000)"; 100].join(", ");
        let error = db.query(Statement::new(format!("SELECT {columns}")).with_result_bytes(1 << 20)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooBig, "{error}");
        assert!(error.message().contains("more than 1048576 bytes"), "{error}");
        // The write before it is undone.
        db.exec("CREATE TABLE t (a)").await.unwrap();
        let returning = Statement::new("INSERT INTO t VALUES (zeroblob(2000)) RETURNING a").with_result_bytes(2000);
        assert_eq!(db.query(returning).await.unwrap_err().kind(), ErrorKind::TooBig);
        assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn export_of_an_open_database_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    // Keys that refer to later tables and rows, and to columns that an index alone makes unique.
    let script = "CREATE TABLE child (p REFERENCES parent (id), c REFERENCES codes (code));
                  CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE codes (code TEXT);
                  CREATE UNIQUE INDEX by_code ON codes (code); CREATE INDEX by_parent ON child (p);
                  CREATE VIEW v AS SELECT * FROM child -- the end
                  ; CREATE VIRTUAL TABLE search USING fts5 (text); INSERT INTO search VALUES ('words');
                  INSERT INTO parent VALUES (7); INSERT INTO codes VALUES ('x'); INSERT INTO child VALUES (7, 'x'), (NULL, NULL);
                  CREATE TABLE texts (t); INSERT INTO texts VALUES ('a' || char(0, 13, 10));";
    let mut scripts = Vec::new();
    for db in both(&folder).await {
        db.import(script).await.unwrap();
        let written = Written::default();
        db.export(ExportOptions::default(), Box::new(written.clone())).await.unwrap();
        let copy = SqliteDatabase::memory().await.unwrap();
        copy.import(&written.text()).await.unwrap();
        assert_eq!(copy.prepare("SELECT hex(t) FROM texts").one::<String>().await.unwrap(), "61000D0A");
        assert_eq!(copy.prepare("SELECT count(*) FROM search WHERE search = 'words'").one::<i64>().await.unwrap(), 1);
        assert_eq!(copy.prepare("SELECT seq FROM sqlite_sequence").one::<i64>().await.unwrap(), 7);
        assert_eq!(copy.prepare("SELECT count(*) FROM v").one::<i64>().await.unwrap(), 2);
        scripts.push(written.text());
    }
    assert_eq!(scripts[0], scripts[1]);
}

#[tokio::test]
async fn failed_output_ends_an_export() {
    #[derive(Debug)]
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("there is no room"))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let folder = tempfile::tempdir().unwrap();
    for db in both(&folder).await {
        db.exec("CREATE TABLE t (a)").await.unwrap();
        let error = db.export(ExportOptions::default(), Box::new(Full)).await.unwrap_err();
        assert!(error.message().contains("there is no room") && error.operation() == "export", "{error}");
        db.query("INSERT INTO t VALUES (1)".into()).await.unwrap();
    }
}

#[tokio::test]
async fn pages_and_transactions_keep_the_bounds_of_a_statement() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.run_script("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2);").await.unwrap();
    let bounded = || Statement::new("SELECT a FROM t").with_result_bytes(40);
    let order = Keyset::new().descending("a").not_null();
    assert_eq!(db.page::<i64>(bounded(), &order, 50, None).await.unwrap_err().kind(), ErrorKind::TooBig);
    let read = db.transaction(move |tx| async move { tx.query(bounded()).await.map(drop) });
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::TooBig);
}
