//! batch, exec, sessions, migrations.

use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, count, fault, table};
use crate::migrations::{self, Migration, Migrator};
use crate::{Bookmark, Consistency, ErrorKind, QueryableExt, Statement};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "transactions" => {
            a_batch_is_all_or_nothing,
            a_batch_gives_a_result_each,
            an_empty_batch_is_refused,
            deferred_foreign_keys_are_checked_at_the_end if "sqlite",
            a_failing_statement_undoes_its_predecessors,
            scripts_keep_triggers_whole if "sqlite",
            concurrent_increments_are_all_counted,
            tables_can_be_altered,
            a_statement_follows_its_changed_table,
            undone_writes_are_not_counted if "sqlite",
            names_like_end_do_not_end_a_trigger if "sqlite",
            dump_of_sqlite3_is_run if "sqlite",
            statements_end_where_sqlite_ends_them if "sqlite",
            foreign_keys_stay_on_after_a_pragma if "sqlite",
            select_reads_the_last_insert_rowid if "sqlite",
        }
        "exec" => {
            exec_runs_line_by_line,
            exec_errors_name_the_first_line if "sqlite",
        }
        "sessions" => {
            sessions_carry_bookmarks,
        }
        "migrations" => {
            migrations_apply_in_order_once if "sqlite",
            a_failing_migration_leaves_the_earlier_ones,
            concurrent_applies_run_each_migration_once,
            migrations_are_recorded_in_the_table_that_is_named,
            a_dry_run_of_migrations_writes_nothing,
            migrations_are_undone_with_their_record,
        }
    }
}

/// A statement that fails undoes those before it.
async fn a_batch_is_all_or_nothing(db: Subject) -> Outcome {
    table(&db, "t_batch", "a TEXT UNIQUE").await?;
    let insert = |value: &str| Statement::new("INSERT INTO t_batch VALUES (?)").bind(value);
    let error = fault(db.batch(vec![insert("x"), insert("y"), insert("x")]).await)?;
    ensure!(matches!(error.kind(), ErrorKind::Constraint(_)));
    ensure_eq!(count(&db, "t_batch").await?, 0);
    db.batch(vec![insert("x"), insert("y")]).await?;
    ensure_eq!(count(&db, "t_batch").await?, 2);
    Ok(())
}

/// An empty statement gives none; of several in one text the last one's rows.
async fn a_batch_gives_a_result_each(db: Subject) -> Outcome {
    table(&db, "t_each", "a TEXT").await?;
    let statements = vec![
        Statement::new("INSERT INTO t_each VALUES ('x')"),
        Statement::new("  "),
        Statement::new("SELECT a FROM t_each; SELECT a || '!' FROM t_each"),
        Statement::new("UPDATE t_each SET a = ?").bind("y"),
        Statement::new("SELECT a FROM t_each"),
    ];
    let results = db.batch(statements).await?;
    ensure_eq!(results.iter().map(|result| result.rows.len()).collect::<Vec<_>>(), [0, 1, 0, 1]);
    ensure_eq!(results[1].rows_as::<String>()?, ["x!"]);
    ensure_eq!(results[3].rows_as::<String>()?, ["y"]);
    ensure_eq!(results.iter().map(|result| result.meta.changes).collect::<Vec<_>>(), [1, 0, 1, 0]);
    Ok(())
}

/// As in D1.
async fn an_empty_batch_is_refused(db: Subject) -> Outcome {
    let error = fault(db.batch(Vec::new()).await)?;
    ensure!(error.to_string().contains("No SQL statements detected."), "{error}");
    Ok(())
}

/// `defer_foreign_keys` lasts until the end of the batch.
async fn deferred_foreign_keys_are_checked_at_the_end(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS t_child; DROP TABLE IF EXISTS t_parent; CREATE TABLE t_parent (id INTEGER PRIMARY KEY); CREATE TABLE t_child (p REFERENCES t_parent(id));").await?;
    let child = || Statement::new("INSERT INTO t_child VALUES (1)");
    let error = fault(db.query(child()).await)?;
    ensure_eq!(error.kind(), ErrorKind::Constraint(crate::Constraint::ForeignKey));
    let parent = Statement::new("INSERT INTO t_parent VALUES (1)");
    db.batch(vec![Statement::new("PRAGMA defer_foreign_keys = ON"), child(), parent]).await?;
    ensure_eq!(count(&db, "t_child").await?, 1);
    Ok(())
}

/// Also within one text.
async fn a_failing_statement_undoes_its_predecessors(db: Subject) -> Outcome {
    table(&db, "t_undo", "a INTEGER").await?;
    drop(fault(db.prepare("INSERT INTO t_undo VALUES (1); INSERT INTO t_none VALUES (1)").run().await)?);
    ensure_eq!(count(&db, "t_undo").await?, 0);
    Ok(())
}

/// Semicolons in a trigger's body do not end it; its changes count.
async fn scripts_keep_triggers_whole(db: Subject) -> Outcome {
    db.run_script(
        "DROP TABLE IF EXISTS t_log; DROP TABLE IF EXISTS t_main;\r\n\
         CREATE TABLE t_log (what TEXT); -- a comment; with a semicolon\n\
         CREATE TABLE t_main (a);\n\
         create trigger t_trigger after insert on t_main begin\n\
           insert into t_log values (case when new.a = 1 then 'one; it is' else 'other' end);\n\
           insert into t_log values ('done');\n\
         end;\n\
         INSERT INTO t_main VALUES (1);",
    )
    .await?;
    let log: Vec<String> = db.prepare("SELECT what FROM t_log ORDER BY rowid").all().await?;
    ensure_eq!(log, ["one; it is", "done"]);
    let meta = db.prepare("INSERT INTO t_main VALUES (2)").run().await?;
    ensure_eq!(meta.changes, 3);
    Ok(())
}

/// Statements are serialized.
async fn concurrent_increments_are_all_counted(db: Subject) -> Outcome {
    table(&db, "t_counter", "n INTEGER").await?;
    db.prepare("INSERT INTO t_counter VALUES (0)").run().await?;
    let increments = (0..20).map(|_| db.prepare("UPDATE t_counter SET n = n + 1").run());
    futures_util::future::try_join_all(increments).await?;
    let n: i64 = db.prepare("SELECT n FROM t_counter").one().await?;
    ensure_eq!(n, 20);
    Ok(())
}

/// ALTER TABLE reads temporary tables on its way, which the authorizer has to let through.
async fn tables_can_be_altered(db: Subject) -> Outcome {
    db.run_script(
        "DROP TABLE IF EXISTS t_altered; DROP TABLE IF EXISTS t_alter; CREATE TABLE t_alter (a TEXT, b TEXT)",
    )
    .await?;
    db.run_script("ALTER TABLE t_alter ADD COLUMN c TEXT; ALTER TABLE t_alter RENAME COLUMN b TO bb; ALTER TABLE t_alter DROP COLUMN a; ALTER TABLE t_alter RENAME TO t_altered")
        .await?;
    ensure_eq!(db.prepare("SELECT * FROM t_altered").raw().await?.0, ["bb", "c"]);
    Ok(())
}

/// A statement that is kept prepared sees a new column.
async fn a_statement_follows_its_changed_table(db: Subject) -> Outcome {
    table(&db, "t_changing", "a INTEGER").await?;
    let select = || db.prepare("SELECT * FROM t_changing").raw();
    ensure_eq!(select().await?.0, ["a"]);
    db.run_script("INSERT INTO t_changing VALUES (1)").await?;
    ensure_eq!(select().await?.1[0].len(), 1);
    db.run_script("ALTER TABLE t_changing ADD COLUMN b INTEGER DEFAULT 2").await?;
    ensure_eq!(select().await?.1[0].len(), 2);
    db.run_script("DELETE FROM t_changing; ALTER TABLE t_changing DROP COLUMN a").await?;
    ensure_eq!(select().await?.0, ["b"]);
    Ok(())
}

/// `changes` and `changed_db` are those of what stayed, also after SQLite itself has ended a transaction.
async fn undone_writes_are_not_counted(db: Subject) -> Outcome {
    table(&db, "t_undone", "a UNIQUE").await?;
    let twice = "INSERT INTO t_undone VALUES (1); INSERT INTO t_undone VALUES (1)";
    drop(fault(db.prepare(twice).run().await)?);
    let nothing = db.prepare("UPDATE t_undone SET a = 2 WHERE a = 99").run().await?;
    ensure_eq!((nothing.changes, nothing.changed_db), (0, false));
    // SQLite ends the transaction itself here; the next write goes on all the same.
    db.prepare("INSERT INTO t_undone VALUES (5)").run().await?;
    drop(fault(
        db.batch(vec!["INSERT INTO t_undone VALUES (6)".into(), "INSERT OR ROLLBACK INTO t_undone VALUES (5)".into()])
            .await,
    )?);
    db.prepare("INSERT INTO t_undone VALUES (7)").run().await?;
    ensure_eq!(count(&db, "t_undone").await?, 2);
    Ok(())
}

/// `count` is the number of lines with statements.
async fn exec_runs_line_by_line(db: Subject) -> Outcome {
    table(&db, "t_exec", "a INTEGER").await?;
    let done = db.exec("-- a comment\r\nINSERT INTO t_exec VALUES (1); INSERT INTO t_exec VALUES (2)\n\nINSERT INTO t_exec VALUES (3)\n").await?;
    ensure_eq!(done.count, 2);
    ensure_eq!(count(&db, "t_exec").await?, 3);
    Ok(())
}

async fn exec_errors_name_the_first_line(db: Subject) -> Outcome {
    table(&db, "t_exec2", "a").await?;
    let error = fault(db.exec("INSERT INTO t_exec2 VALUES (1)\nSELEC 1").await)?;
    let text = error.to_string();
    ensure!(text.starts_with("D1_EXEC_ERROR: ") && text.contains("near \"SELEC\": syntax error"), "{text}");
    ensure_eq!(count(&db, "t_exec2").await?, 0);
    let spanning = fault(db.exec("CREATE TABLE t_ml (\na)").await)?.to_string();
    ensure!(spanning.contains("incomplete input"), "{spanning}");
    ensure!(fault(db.exec("-- c").await)?.to_string().contains("No SQL statements detected."));
    Ok(())
}

async fn sessions_carry_bookmarks(db: Subject) -> Outcome {
    table(&db, "t_session", "a TEXT").await?;
    let session = db.session(Consistency::FirstPrimary);
    ensure_eq!(session.bookmark(), None);
    session.prepare("INSERT INTO t_session VALUES ('x')").run().await?;
    let first = session.bookmark();
    ensure!(first.is_some());
    session.batch(vec![Statement::new("SELECT a FROM t_session")]).await?;
    ensure!(session.bookmark() >= first);
    let later = db.session(Consistency::Bookmark(first.clone().unwrap_or(Bookmark::new(""))));
    ensure_eq!(later.bookmark(), first);
    let seen: Vec<String> = later.prepare("SELECT a FROM t_session").all().await?;
    ensure_eq!(seen, ["x"]);
    let future = db.session(Consistency::Bookmark(Bookmark::new("zzz")));
    future.prepare("SELECT 1").run().await?;
    ensure_eq!(future.bookmark(), Some(Bookmark::new("zzz")));
    Ok(())
}

async fn migrations_apply_in_order_once(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS d1_migrations; DROP TABLE IF EXISTS m_a;").await?;
    let files = [
        Migration::new("0010_third.sql", "INSERT INTO m_a VALUES ('third')"),
        Migration::new("zz_last.sql", "INSERT INTO m_a VALUES ('last');"),
        Migration::new("2_second.sql", "INSERT INTO m_a VALUES ('second');\n-- done\n"),
        Migration::new(
            "0001_first.sql",
            "CREATE TABLE m_a (a);\nCREATE TRIGGER m_t AFTER INSERT ON m_a BEGIN SELECT 1; END;",
        ),
    ];
    let order = ["0001_first.sql", "2_second.sql", "0010_third.sql", "zz_last.sql"];
    ensure_eq!(migrations::apply(&db, &files).await?, order);
    ensure_eq!(migrations::apply(&db, &files).await?, Vec::<String>::new());
    let applied = migrations::applied(&db).await?;
    ensure_eq!(applied.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), order);
    let rows: Vec<String> = db.prepare("SELECT a FROM m_a ORDER BY rowid").all().await?;
    ensure_eq!(rows, ["second", "third", "last"]);
    Ok(())
}

async fn a_failing_migration_leaves_the_earlier_ones(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS d1_migrations; DROP TABLE IF EXISTS m_b;").await?;
    let files = [
        Migration::new("1_good.sql", "CREATE TABLE m_b (a INTEGER)"),
        Migration::new("2_bad.sql", "INSERT INTO m_b VALUES (1); INSERT INTO m_none VALUES (1)"),
        Migration::new("3_never.sql", "INSERT INTO m_b VALUES (3)"),
    ];
    let error = fault(migrations::apply(&db, &files).await)?;
    ensure!(error.to_string().contains("2_bad.sql") && error.to_string().contains("m_none"), "{error}");
    ensure_eq!(count(&db, "m_b").await?, 0);
    let pending = migrations::pending(&db, &files).await?;
    ensure_eq!(pending.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["2_bad.sql", "3_never.sql"]);
    Ok(())
}

async fn names_like_end_do_not_end_a_trigger(db: Subject) -> Outcome {
    let script = "DROP TABLE IF EXISTS t_words; DROP TABLE IF EXISTS t_worded; CREATE TABLE t_worded (x);
        CREATE TABLE t_words (a, begin, \"end\");
        CREATE TRIGGER t_begin AFTER INSERT ON t_words BEGIN INSERT INTO t_worded VALUES (NEW.begin); END;
        CREATE TRIGGER t_end AFTER INSERT ON t_words BEGIN INSERT INTO t_worded VALUES (NEW.end); END;
        INSERT INTO t_words VALUES (1, 2, 3)";
    ensure_eq!(db.run_script(script).await?.len(), 7);
    ensure_eq!(db.prepare("SELECT x FROM t_worded ORDER BY x").all::<i64>().await?, [2, 3]);
    let files = [Migration::new("1.sql", script), Migration::new("2.sql", "INSERT INTO t_words VALUES (4, 5, 6)")];
    db.prepare("DROP TABLE IF EXISTS d1_migrations").run().await?;
    ensure_eq!(migrations::apply(&db, &files).await?, ["1.sql", "2.sql"]);
    ensure_eq!(count(&db, "t_worded").await?, 4);
    Ok(())
}

async fn dump_of_sqlite3_is_run(db: Subject) -> Outcome {
    db.prepare("DROP TABLE IF EXISTS t_dumped").run().await?;
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t_dumped(a TEXT);\n\
                INSERT INTO t_dumped VALUES('BEGIN TRANSACTION;');\nCOMMIT;\n";
    db.run_script(dump).await?;
    ensure_eq!(db.prepare("SELECT a FROM t_dumped").one::<String>().await?, "BEGIN TRANSACTION;");
    let twice = fault(db.run_script("BEGIN TRANSACTION; COMMIT; BEGIN TRANSACTION; COMMIT;").await)?;
    ensure_eq!(twice.kind(), ErrorKind::NotAuthorized);
    Ok(())
}

async fn statements_end_where_sqlite_ends_them(db: Subject) -> Outcome {
    for sql in
        ["SELECT 1;\t", "SELECT 1;\r\n", "; SELECT 1", "/* a */ SELECT 1", "SELECT 2; -- c\nSELECT 1", "SELECT 1 -- c"]
    {
        ensure_eq!((sql, db.prepare(sql).one::<i64>().await?), (sql, 1));
    }
    for sql in ["SELECT 1; -- c", "SELECT 1; /* c */", "SELECT 1;;", "SELECT 1; ;"] {
        let error = fault(db.prepare(sql).run().await)?.to_string();
        ensure_eq!((sql, error.as_str()), (sql, "D1_ERROR: SQL code did not contain a statement."));
    }
    let second = fault(db.prepare("SELECT 1; SELECT nope").run().await)?.to_string();
    ensure_eq!(second, "D1_ERROR: no such column: nope at offset 7: SQLITE_ERROR");
    Ok(())
}

// Only what a transaction ignores. Whether a setting of the connection, such as `case_sensitive_like`, takes effect depends in workerd
// on the queries before it: at once in a new database, not at all after the other cases. Natively it does, see `tests/it/faults.rs`.
async fn foreign_keys_stay_on_after_a_pragma(db: Subject) -> Outcome {
    db.prepare("PRAGMA foreign_keys = OFF").run().await?;
    ensure_eq!(db.prepare("PRAGMA foreign_keys").one::<i64>().await?, 1);
    Ok(())
}

async fn select_reads_the_last_insert_rowid(db: Subject) -> Outcome {
    table(&db, "t_last", "id INTEGER PRIMARY KEY").await?;
    db.prepare("INSERT INTO t_last VALUES (41), (42)").run().await?;
    ensure_eq!(db.prepare("SELECT last_insert_rowid()").one::<i64>().await?, 42);
    Ok(())
}

async fn concurrent_applies_run_each_migration_once(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS d1_migrations; DROP TABLE IF EXISTS m_race;").await?;
    let files = [
        Migration::new("1_table.sql", "CREATE TABLE m_race (a INTEGER)"),
        Migration::new("2_row.sql", "INSERT INTO m_race VALUES (1)"),
        Migration::new("3_row.sql", "INSERT INTO m_race VALUES (2)"),
    ];
    let applying = (0..4).map(|_| migrations::apply(&db, &files));
    let mut applied = futures_util::future::try_join_all(applying).await?.concat();
    applied.sort();
    ensure_eq!(applied, ["1_table.sql", "2_row.sql", "3_row.sql"]);
    ensure_eq!(count(&db, "m_race").await?, 2);
    Ok(())
}

async fn migrations_are_recorded_in_the_table_that_is_named(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS d1_migrations; DROP TABLE IF EXISTS \"m versions\"; DROP TABLE IF EXISTS m_c;")
        .await?;
    let files = [Migration::new("folder/1_it's.sql", "CREATE TABLE m_c (a INTEGER)")];
    let migrator = Migrator::default().with_table("m versions");
    ensure_eq!(migrator.pending(&db, &files).await?.len(), 1);
    ensure_eq!(migrator.applied(&db).await?.len(), 0);
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('m versions', 'd1_migrations')";
    ensure_eq!(db.prepare(tables).one::<i64>().await?, 0);
    ensure_eq!(migrator.apply(&db, &files).await?, ["folder/1_it's.sql"]);
    ensure_eq!(migrator.apply(&db, &files).await?, Vec::<String>::new());
    ensure_eq!(db.prepare("SELECT name FROM \"m versions\"").one::<String>().await?, "folder/1_it's.sql");
    ensure_eq!(migrations::applied(&db).await?.len(), 0);
    Ok(())
}

async fn a_dry_run_of_migrations_writes_nothing(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS m_dry_table; DROP TABLE IF EXISTS m_dry;").await?;
    let migrator = Migrator::default().with_table("m_dry_table");
    let good = Migration::new("1_good.sql", "CREATE TABLE m_dry (a INTEGER);\nINSERT INTO m_dry VALUES (1); -- one");
    let bad = Migration::new("2_bad.sql", "INSERT INTO m_dry VALUES (2);\n\nINSERT INTO m_none VALUES (1)");
    let planned = migrator.dry_run(&db, std::slice::from_ref(&good)).await?;
    ensure_eq!(planned.iter().map(|one| (one.name.as_str(), one.statements)).collect::<Vec<_>>(), [("1_good.sql", 2)]);
    let error = fault(migrator.dry_run(&db, &[good, bad]).await)?;
    ensure!(error.message().contains("2_bad.sql") && error.message().contains("m_none"), "{error}");
    let tables: i64 = db.prepare("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'm_dry%'").one().await?;
    ensure_eq!(tables, 0);
    Ok(())
}

async fn migrations_are_undone_with_their_record(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS m_undo_table; DROP TABLE IF EXISTS m_undo;").await?;
    let migrator = Migrator::default().with_table("m_undo_table");
    let up = [
        Migration::new("1.sql", "CREATE TABLE m_undo (a INTEGER)"),
        Migration::new("2.sql", "ALTER TABLE m_undo ADD b INTEGER"),
    ];
    migrator.apply(&db, &up).await?;
    ensure_eq!(migrator.last_applied(&db, 2).await?, ["2.sql", "1.sql"]);
    let wrong = fault(migrator.undo(&db, &[Migration::new("2.sql", "DROP TABLE m_none")]).await)?;
    ensure!(wrong.message().contains("2.sql") && wrong.message().contains("m_none"), "{wrong}");
    ensure_eq!(migrator.applied(&db).await?.len(), 2);
    let down =
        [Migration::new("2.sql", "ALTER TABLE m_undo DROP COLUMN b"), Migration::new("1.sql", "DROP TABLE m_undo")];
    ensure_eq!(migrator.undo(&db, &down).await?, ["2.sql", "1.sql"]);
    ensure_eq!(fault(migrator.undo(&db, &down).await)?.kind(), ErrorKind::Migration);
    ensure_eq!(fault(migrator.last_applied(&db, 1).await)?.kind(), ErrorKind::Migration);
    ensure_eq!(migrator.apply(&db, &up).await?.len(), 2);
    Ok(())
}
