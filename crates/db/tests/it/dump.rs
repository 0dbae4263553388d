//! Export and import: lossless, restorable by the shell, and what others export.

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use isobar_db::dump::{Content, ExportOptions, export, import};
use isobar_db::{Constraint, ErrorKind};
use rusqlite::Connection;
use rusqlite::types::Value;

/// A database with everything that is easily lost.
const RICH: &str = "
    CREATE TABLE parents (a TEXT, b INTEGER, note TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID;
    INSERT INTO parents VALUES ('x', 1, 'it''s'), ('x', 2, NULL);
    CREATE TABLE children (id INTEGER PRIMARY KEY AUTOINCREMENT, pa, pb, next REFERENCES children (id),
        doubled INTEGER AS (id * 2) STORED, half REAL GENERATED ALWAYS AS (id / 2.0), FOREIGN KEY (pb, pa) REFERENCES parents (b, a));
    INSERT INTO children (id, pa, pb, next) VALUES (1, 'x', 1, 7), (7, 'x', 2, 1), (900, NULL, NULL, NULL);
    DELETE FROM children WHERE id = 900;
    CREATE TABLE uncounted (id INTEGER PRIMARY KEY AUTOINCREMENT);
    INSERT INTO sqlite_sequence VALUES ('uncounted', NULL);
    CREATE TABLE any_kind (v, \"strange \"\"name\"\"\" TEXT); -- the end of a comment
    INSERT INTO any_kind VALUES (9223372036854775807, 'max'), (-9223372036854775808, 'min'), (9007199254740993, '2^53 + 1'),
        (9e999, 'inf'), (-9e999, '-inf'), (0.1, 'tenth'), (1.0, 'one'), (1e300, 'big'), (5e-324, 'least'), (0.30000000000000004, 'sum'),
        (x'', 'empty'), (x'00ff27', 'blob'), ('a' || char(0) || 'b', 'nul'), ('a;' || char(10) || '.quit' || char(13, 10) || '--', 'lines'),
        ('', 'nothing'), (NULL, 'null'), ('\u{1f980} \u{e9}', 'utf-8');
    DELETE FROM any_kind WHERE rowid = 3;
    CREATE TABLE strict_one (n ANY, i INT NOT NULL DEFAULT 7) STRICT;
    INSERT INTO strict_one VALUES ('007', 1), (7.0, 2);
    CREATE TABLE log (what);
    CREATE UNIQUE INDEX by_lower ON any_kind (lower(\"strange \"\"name\"\"\")) WHERE v IS NOT NULL;
    CREATE VIEW first_view AS SELECT a FROM parents;
    CREATE VIEW second_view AS SELECT a FROM first_view;
    CREATE TRIGGER logs AFTER INSERT ON any_kind BEGIN INSERT INTO log VALUES ('inserted; again'); END;
    CREATE TRIGGER view_insert INSTEAD OF INSERT ON second_view BEGIN INSERT INTO log VALUES (CASE WHEN 1 THEN 'x' END); END;
    CREATE VIRTUAL TABLE search USING fts5(title, body, tokenize = 'porter');
    INSERT INTO search (rowid, title, body) VALUES (5, 'running', 'the quick fox'), (9, 'it''s', NULL);
    INSERT INTO search (search, rank) VALUES ('rank', 'bm25(10.0, 5.0)');
    CREATE TABLE docs (id INTEGER PRIMARY KEY, body);
    INSERT INTO docs VALUES (3, 'external words');
    CREATE VIRTUAL TABLE external USING fts5(body, content='docs', content_rowid='id');
    INSERT INTO external (external) VALUES ('rebuild');
    CREATE VIRTUAL TABLE places USING rtree(id, x0, x1, y0, y1);
    INSERT INTO places VALUES (1, 0.1, 0.2, 1.5, 2.5);
    CREATE VIEW found AS SELECT rowid AS id, body FROM external('words');
    CREATE VIEW titled AS SELECT id, 'title of ' || body AS body FROM docs;
    CREATE VIRTUAL TABLE viewed USING fts5(body, content='titled', content_rowid='id');
    INSERT INTO viewed (viewed) VALUES ('rebuild');
    CREATE VIEW commented AS SELECT 1 AS a -- the end of a comment
    ;";

fn make(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn exported(path: &Path, options: &ExportOptions) -> String {
    let mut sql = Vec::new();
    export(path, &mut sql, options, &mut |_| ()).unwrap();
    String::from_utf8(sql).unwrap()
}

/// The schema, and every row of every table with its rowid where it has one, numbers to the bit.
fn contents(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let list = |sql: &str| {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let value = |index| match row.get::<_, Value>(index).unwrap() {
                Value::Real(real) => format!("{:016x}", real.to_bits()),
                other => format!("{other:?}"),
            };
            all.push((0..columns).map(value).collect::<Vec<_>>().join("|"));
        }
        all
    };
    let mut all = list("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name");
    let tables: Vec<(String, bool)> = connection
        .prepare("SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') AND name <> 'sqlite_schema' ORDER BY name")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (name, without_rowid) in tables {
        let rowid = if without_rowid || name == "sqlite_sequence" { "0" } else { "rowid" };
        all.push(name.clone());
        let mut rows = list(&format!("SELECT {rowid}, * FROM \"{name}\""));
        rows.sort();
        all.extend(rows);
    }
    all
}

#[test]
fn export_and_import_restore_everything() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rich.sqlite");
    make(&file, RICH);
    let sql = exported(&file, &ExportOptions::default());
    let copy = folder.path().join("new/copy.sqlite");
    let report = import(&copy, &mut sql.as_bytes(), &mut |_| ()).unwrap();
    assert_eq!(contents(&copy), contents(&file));
    assert_eq!(exported(&copy, &ExportOptions::default()), sql);
    assert!(report.tables >= 9 && report.rows >= 25 && report.bytes == sql.len() as u64, "{report:?}");
    let connection = Connection::open(&copy).unwrap();
    let found: i64 = connection.query_row("SELECT rowid FROM search('run')", [], |row| row.get(0)).unwrap();
    let external: i64 = connection.query_row("SELECT rowid FROM external('words')", [], |row| row.get(0)).unwrap();
    let viewed: i64 = connection.query_row("SELECT rowid FROM viewed('title')", [], |row| row.get(0)).unwrap();
    assert_eq!((found, external, viewed), (5, 3, 3));
    connection.execute("INSERT INTO children DEFAULT VALUES", []).unwrap();
    assert_eq!(connection.last_insert_rowid(), 901, "AUTOINCREMENT goes on behind what was deleted");
    assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
}

#[test]
fn sqlite3_shell_restores_an_export_and_its_dump_is_imported() {
    let Ok(shell) = Command::new("sqlite3").arg("--version").output() else {
        eprintln!("skipped: there is no sqlite3 shell");
        return;
    };
    assert!(shell.status.success());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rich.sqlite");
    make(&file, RICH);
    let sql = folder.path().join("export.sql");
    std::fs::write(&sql, exported(&file, &ExportOptions::default())).unwrap();
    let restored = folder.path().join("restored.sqlite");
    let input = Stdio::from(std::fs::File::open(&sql).unwrap());
    let output = Command::new("sqlite3").arg("-bail").arg(&restored).stdin(input).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(contents(&restored), contents(&file));

    // The shell's own dump loses rowids and what follows a NUL, but not the rest.
    let dump = Command::new("sqlite3").arg(&restored).arg(".dump").output().unwrap();
    let copy = folder.path().join("dumped.sqlite");
    import(&copy, &mut dump.stdout.as_slice(), &mut |_| ()).unwrap();
    let connection = Connection::open(&copy).unwrap();
    let found: i64 = connection.query_row("SELECT rowid FROM search('run')", [], |row| row.get(0)).unwrap();
    let least: i64 =
        connection.query_row("SELECT min(v) FROM any_kind WHERE typeof(v) = 'integer'", [], |row| row.get(0)).unwrap();
    assert_eq!((found, least), (5, i64::MIN));
}

#[test]
fn export_of_wrangler_is_imported() {
    // In wrangler's form: no transaction, a table whose parent comes later, counters at the end.
    let sql = "PRAGMA defer_foreign_keys=TRUE;\nCREATE TABLE d1_migrations(\n\t\tid INTEGER PRIMARY KEY AUTOINCREMENT,\n\t\tname TEXT UNIQUE\n);\n\
        INSERT INTO \"d1_migrations\" (\"id\",\"name\") VALUES(1,'0001_a.sql');\nCREATE TABLE a (id INTEGER PRIMARY KEY, b REFERENCES b (id));\n\
        INSERT INTO \"a\" (\"id\",\"b\") VALUES(1,2);\nCREATE TABLE b (id INTEGER PRIMARY KEY, t);\nINSERT INTO \"b\" VALUES(2,replace('x\\ny','\\n',char(10)));\n\
        DELETE FROM sqlite_sequence;\nINSERT INTO \"sqlite_sequence\" VALUES('d1_migrations',1);\nCREATE INDEX i ON a (b);\n";
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.sqlite");
    let report = import(&copy, &mut sql.as_bytes(), &mut |_| ()).unwrap();
    assert_eq!(report.tables, 3);
    let text: String = Connection::open(&copy).unwrap().query_row("SELECT t FROM b", [], |row| row.get(0)).unwrap();
    assert_eq!(text, "x\ny");
}

#[test]
fn failed_import_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.sqlite");
    let other = folder.path().join("other.sqlite");
    let attach = format!("ATTACH '{}' AS o;", other.display());
    for (sql, kind, says) in [
        ("CREATE TABLE t (a);\n\nINSERT INTO\nnope VALUES (1);", ErrorKind::Sql, "line 3: no such table: nope"),
        ("CREATE TABLE t (a)", ErrorKind::Sql, ""),
        (
            "CREATE TABLE p (id PRIMARY KEY);CREATE TABLE t (a REFERENCES p);INSERT INTO t VALUES (1);",
            ErrorKind::Constraint(Constraint::ForeignKey),
            "t (rowid 1) to p",
        ),
        ("BEGIN TRANSACTION;\nCREATE TABLE t (a);\nROLLBACK; -- due to errors\n", ErrorKind::Corrupt, "line 3"),
        (attach.as_str(), ErrorKind::NotAuthorized, "line 1: not authorized"),
        (
            "CREATE TABLE t (a UNIQUE);\nINSERT INTO t VALUES (1), (1);",
            ErrorKind::Constraint(Constraint::Unique),
            "line 2: UNIQUE constraint failed: t.a",
        ),
        ("SELECT 'never ended;\n", ErrorKind::Sql, "line 1"),
    ] {
        let result = import(&copy, &mut sql.as_bytes(), &mut |_| ());
        if says.is_empty() {
            // A last statement needs no semicolon.
            result.unwrap();
            assert_eq!(import(&copy, &mut "".as_bytes(), &mut |_| ()).unwrap_err().kind(), ErrorKind::PermissionDenied);
            std::fs::remove_file(&copy).unwrap();
            continue;
        }
        let error = result.unwrap_err();
        assert_eq!((sql, error.kind()), (sql, kind), "{error}");
        assert!(error.message().contains(says), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{sql}");
    }
}

#[test]
fn export_is_limited_to_the_tables_and_parts_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rich.sqlite");
    make(&file, RICH);
    let schema = exported(&file, &ExportOptions::default().with_content(Content::Schema));
    assert!(schema.contains("CREATE VIEW") && !schema.contains("INSERT INTO \"parents\""));
    let rows = exported(&file, &ExportOptions::default().with_content(Content::Rows).with_tables(["Children"]));
    assert!(
        rows.contains("INSERT INTO \"children\"") && !rows.contains("CREATE") && !rows.contains("any_kind"),
        "{rows}"
    );
    let one = exported(&file, &ExportOptions::default().with_tables(["any_kind"]));
    assert!(one.contains("CREATE TRIGGER logs") && one.contains("by_lower") && !one.contains("view_insert"), "{one}");
    let missing =
        export(&file, &mut Vec::new(), &ExportOptions::default().with_tables(["none"]), &mut |_| ()).unwrap_err();
    assert_eq!(missing.message(), "no such table: none");
    make(&file, "CREATE VIRTUAL TABLE bare USING fts5(a, content='')");
    let error = export(&file, &mut Vec::new(), &ExportOptions::default(), &mut |_| ()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("bare"), "{error}");
}

#[test]
fn a_text_of_a_megabyte_and_of_many_semicolons_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.sqlite");
    make(&file, "CREATE TABLE t (a)");
    let text = "a line that ends a statement;\n".repeat(50_000);
    Connection::open(&file).unwrap().execute("INSERT INTO t VALUES (?1), (?1)", [&text]).unwrap();
    let sql = exported(&file, &ExportOptions::default());
    let copy = folder.path().join("copy.sqlite");
    import(&copy, &mut sql.as_bytes(), &mut |_| ()).unwrap();
    assert_eq!(contents(&copy), contents(&file));
}

#[test]
fn comment_that_a_view_leaves_open_takes_nothing_in_of_what_follows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("open.sqlite");
    make(&file, "CREATE TABLE t (a); CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END;");
    make(&file, "CREATE VIEW v AS SELECT a FROM t /* never closed");
    let sql = exported(&file, &ExportOptions::default());
    assert!(sql.contains("/* never closed*/;\n"), "{sql}");
    let copy = folder.path().join("copy.sqlite");
    import(&copy, &mut sql.as_bytes(), &mut |_| ()).unwrap();
    let names = "SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_schema ORDER BY name)";
    let names: String = Connection::open(&copy).unwrap().query_row(names, [], |row| row.get(0)).unwrap();
    assert_eq!(names, "r t v");
}

#[test]
fn import_refuses_a_name_beside_which_files_of_sqlite_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.sqlite");
    for suffix in ["-wal", "-shm", "-journal"] {
        let left = folder.path().join(format!("copy.sqlite{suffix}"));
        std::fs::write(&left, "of another database").unwrap();
        let error = import(&copy, &mut "CREATE TABLE t (a);".as_bytes(), &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.message().contains(suffix) && error.message().contains("move it away"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "it leaves nothing, and what is there");
        std::fs::remove_file(&left).unwrap();
    }
    import(&copy, &mut "CREATE TABLE t (a);".as_bytes(), &mut |_| ()).unwrap();
}

#[test]
fn second_import_into_a_file_is_refused_while_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.sqlite");
    let unfinished = folder.path().join("copy.sqlite.importing");
    std::fs::write(&unfinished, "left by a crash").unwrap();
    let (script, mut input) = std::io::pipe().unwrap();
    let (runs, has_run) = std::sync::mpsc::channel();
    let file = copy.clone();
    let first = std::thread::spawn(move || import(&file, &mut BufReader::new(script), &mut |_| runs.send(()).unwrap()));
    // Enough for a part to be run.
    input.write_all("-- filled\n".repeat(10_000).as_bytes()).unwrap();
    input.write_all(b"CREATE TABLE first (a);\n").unwrap();
    has_run.recv().unwrap();
    let error = import(&copy, &mut "CREATE TABLE second (a);".as_bytes(), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(input);
    first.join().unwrap().unwrap();
    let name = "SELECT name FROM sqlite_schema";
    let name: String = Connection::open(&copy).unwrap().query_row(name, [], |row| row.get(0)).unwrap();
    assert_eq!(name, "first");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
