//! Names of parameters, bulk inserts, pages, the schema, constraints that are named.

use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, count, fault, table};
use crate::page::{Cursor, Keyset};
use crate::schema::{ColumnKind, Schema, TableKind};
use crate::{BulkInsert, Constraint, QueryableExt, Statement, Value, params};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "convenience" => {
            parameters_are_bound_by_name if "sqlite",
            a_bulk_insert_is_one_transaction,
            a_bulk_insert_takes_100_columns if "sqlite",
            pages_yield_each_row_once_in_any_order if "sqlite",
            page_key_without_a_column_is_an_error if "sqlite",
            the_schema_is_described if "sqlite",
            schemas_are_compared if "sqlite",
            violated_constraints_name_table_and_columns if "sqlite",
        }
    }
}

async fn parameters_are_bound_by_name(db: Subject) -> Outcome {
    table(&db, "v_named", "a, b").await?;
    let insert = db.prepare("INSERT INTO v_named VALUES (:b || '!', @a), (':b', :b)");
    insert.bind_named(params! { a: "x", b: "y" })?.run().await?;
    let rows: Vec<(String, String)> = db.prepare("SELECT a, b FROM v_named ORDER BY rowid").all().await?;
    let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    ensure_eq!(rows, [pair("y!", "x"), pair(":b", "y")]);
    Ok(())
}

async fn a_bulk_insert_is_one_transaction(db: Subject) -> Outcome {
    table(&db, "v_bulk", "a INTEGER PRIMARY KEY, b TEXT, c TEXT").await?;
    let mut bulk = BulkInsert::new("v_bulk", ["a", "b", "c"]);
    for number in 0..250_i64 {
        bulk.push([number.into(), Value::Null, format!("row {number}").into()])?;
    }
    ensure_eq!(db.insert_all(bulk.clone()).await?, 250);
    let sum: i64 = db.prepare("SELECT sum(a) FROM v_bulk").one().await?;
    ensure_eq!(sum, 250 * 249 / 2);
    db.prepare("DELETE FROM v_bulk WHERE a < 240").run().await?;
    drop(fault(db.insert_all(bulk.clone()).await)?);
    ensure_eq!(count(&db, "v_bulk").await?, 10);
    ensure_eq!(db.insert_all(bulk.with_suffix("ON CONFLICT DO NOTHING")).await?, 240);
    ensure_eq!(db.insert_all(BulkInsert::new("v_bulk", ["a"])).await?, 0);
    Ok(())
}

async fn a_bulk_insert_takes_100_columns(db: Subject) -> Outcome {
    let columns: Vec<_> = (0..100).map(|number| format!("c{number}")).collect();
    table(&db, "v_wide", &columns.join(", ")).await?;
    let mut bulk = BulkInsert::new("v_wide", columns);
    for _ in 0..2 {
        bulk.push((0..100_i64).map(Value::from))?;
    }
    db.insert_all(bulk).await?;
    ensure_eq!(db.prepare("SELECT c99 FROM v_wide").all::<i64>().await?, [99, 99]);
    let mut single = BulkInsert::new("v_wide", ["c0"]);
    for number in 0..300_i64 {
        single.push([number.into()])?;
    }
    ensure_eq!(db.insert_all(single).await?, 300);
    Ok(())
}

async fn pages_yield_each_row_once_in_any_order(db: Subject) -> Outcome {
    table(&db, "v_page", "id INTEGER PRIMARY KEY, a, b TEXT COLLATE NOCASE, n INTEGER NOT NULL").await?;
    let values = ["NULL", "1", "1.5", "'x'", "x'00'", "-7", "'X'"];
    let rows: Vec<_> =
        (1..=42).map(|id| format!("({id}, {}, {}, {})", values[id % 7], values[(id / 7 + 3) % 7], id % 4)).collect();
    db.run_script(&format!("INSERT INTO v_page VALUES {}", rows.join(", "))).await?;
    let orders = [
        (Keyset::new().ascending("a").ascending("id"), "a, id"),
        (Keyset::new().descending("a").ascending("b").descending("id"), "a DESC, b, id DESC"),
        (Keyset::new().descending("b").descending("id").not_null(), "b DESC, id DESC"),
        (Keyset::new().descending("n").not_null().ascending("a").ascending("id").not_null(), "n DESC, a, id"),
    ];
    for (order, sql) in orders {
        let all: Vec<i64> = db.prepare(format!("SELECT id FROM v_page WHERE id <> 5 ORDER BY {sql}")).all().await?;
        let mut met = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let query = Statement::new("SELECT * FROM v_page WHERE id <> ? -- all but one").bind(5);
            let page = db.page::<(i64, Value, Value, i64)>(query, &order, 4, cursor.as_ref()).await?;
            ensure!(page.rows.len() == 4 || page.next.is_none());
            met.extend(page.rows.into_iter().map(|row| row.0));
            let Some(next) = page.next else { break };
            cursor = Some(next.to_string().parse()?);
        }
        ensure_eq!((sql, met), (sql, all));
    }
    Ok(())
}

async fn page_key_without_a_column_is_an_error(db: Subject) -> Outcome {
    table(&db, "v_key", "id INTEGER PRIMARY KEY").await?;
    let order = Keyset::new().ascending("nope");
    let error = fault(db.page::<i64>("SELECT id FROM v_key".into(), &order, 10, None).await)?;
    ensure!(error.message().contains("no such column"), "{error}");
    Ok(())
}

async fn the_schema_is_described(db: Subject) -> Outcome {
    let script = "DROP VIEW IF EXISTS v_s_view; DROP TABLE IF EXISTS v_s_child; DROP TABLE IF EXISTS \"v_s \"\"parent\"\"\";
        DROP TABLE IF EXISTS v_s_search;
        CREATE TABLE \"v_s \"\"parent\"\"\" (a TEXT, b INTEGER DEFAULT (1 + 1), c AS (a || b) STORED, d REAL AS (b * 2), PRIMARY KEY (b, a))
          STRICT, WITHOUT ROWID;
        CREATE TABLE v_s_child (id INTEGER PRIMARY KEY, pa, pb, other REFERENCES v_s_child ON UPDATE SET NULL,
          FOREIGN KEY (pb, pa) REFERENCES \"v_s \"\"parent\"\"\" (b, a) ON DELETE CASCADE);
        CREATE UNIQUE INDEX v_s_index ON v_s_child (pa COLLATE NOCASE DESC, lower(pb)) WHERE pa IS NOT NULL;
        CREATE VIEW v_s_view AS SELECT id FROM v_s_child;
        CREATE TRIGGER v_s_trigger AFTER INSERT ON v_s_child BEGIN SELECT 1; END;
        CREATE VIRTUAL TABLE v_s_search USING fts5(body);";
    let script = script.replace("c AS (a || b) STORED", "c TEXT AS (a || b) STORED");
    db.run_script(&script).await?;
    let schema = Schema::read(&db).await?;
    let parent = schema.table("v_s \"parent\"").ok_or_else(|| isobar_testkit::Failure("no parent".to_owned()))?;
    ensure!(parent.is_strict && parent.is_without_rowid && parent.kind == TableKind::Table);
    let kinds: Vec<_> =
        parent.columns.iter().map(|column| (column.name.as_str(), column.kind, column.primary_key)).collect();
    use ColumnKind::{Ordinary, Stored, Virtual};
    ensure_eq!(kinds, [("a", Ordinary, 2), ("b", Ordinary, 1), ("c", Stored, 0), ("d", Virtual, 0)]);
    ensure_eq!(parent.column("b").and_then(|column| column.default.as_deref()), Some("1 + 1"));
    let child = schema.table("V_S_CHILD").ok_or_else(|| isobar_testkit::Failure("no child".to_owned()))?;
    let [own, both] = child.foreign_keys.as_slice() else { return Err(isobar_testkit::Failure(format!("{child:?}"))) };
    ensure_eq!(
        (own.columns.concat(), own.referenced.len(), own.on_update.as_str()),
        ("other".to_owned(), 0, "SET NULL")
    );
    ensure_eq!(
        (both.columns.join(","), both.referenced.join(","), both.on_delete.as_str()),
        ("pb,pa".into(), "b,a".into(), "CASCADE")
    );
    let [index] = child.indexes.as_slice() else { return Err(isobar_testkit::Failure(format!("{child:?}"))) };
    ensure!(index.is_unique && index.is_partial && index.columns[0].is_descending);
    ensure_eq!((index.columns[0].collation.as_str(), index.columns[1].name.as_ref()), ("NOCASE", None));
    ensure!(schema.views.iter().any(|view| view.name == "v_s_view"));
    ensure!(schema.triggers.iter().any(|trigger| trigger.name == "v_s_trigger" && trigger.table == "v_s_child"));
    ensure_eq!(schema.table("v_s_search").map(|table| table.kind), Some(TableKind::Virtual));
    ensure_eq!(schema.table("v_s_search_data").map(|table| table.kind), Some(TableKind::Shadow));
    ensure!(schema.tables.iter().all(|table| !table.name.starts_with("_cf_") && !table.name.starts_with("sqlite_")));
    db.run_script("DROP VIEW v_s_view; DROP TABLE v_s_child; DROP TABLE v_s_search").await?;
    Ok(())
}

async fn schemas_are_compared(db: Subject) -> Outcome {
    table(&db, "v_compared", "a, b").await?;
    let before = Schema::read(&db).await?;
    ensure_eq!(before.differences(&Schema::read(&db).await?), []);
    db.run_script("ALTER TABLE v_compared DROP COLUMN a; ALTER TABLE v_compared ADD COLUMN c; CREATE INDEX v_comp ON v_compared (b)")
        .await?;
    let differences = before.differences(&Schema::read(&db).await?);
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    ensure_eq!(
        texts,
        ["column v_compared.a is missing", "column v_compared.c is not expected", "index v_comp is not expected"]
    );
    Ok(())
}

async fn violated_constraints_name_table_and_columns(db: Subject) -> Outcome {
    table(
        &db,
        "v_c",
        "id INTEGER PRIMARY KEY, a, b, n NOT NULL DEFAULT 1, CONSTRAINT small CHECK (n < 10), UNIQUE (a, b)",
    )
    .await?;
    db.run_script("CREATE UNIQUE INDEX v_c_lower ON v_c (lower(a)) WHERE b IS NULL; INSERT INTO v_c (a, b) VALUES ('x', 1), ('y', NULL)")
        .await?;
    let table = [
        ("INSERT INTO v_c (a, b) VALUES ('x', 1)", Constraint::Unique, "v_c a|b -"),
        ("INSERT INTO v_c (id) VALUES (1)", Constraint::PrimaryKey, "v_c id -"),
        ("INSERT INTO v_c (n) VALUES (NULL)", Constraint::NotNull, "v_c n -"),
        ("INSERT INTO v_c (n) VALUES (10)", Constraint::Check, "-  small"),
        ("INSERT INTO v_c (a) VALUES ('Y')", Constraint::Unique, "-  v_c_lower"),
    ];
    for (sql, constraint, names) in table {
        let error = fault(db.prepare(sql).run().await)?;
        let found = error.violation().map(|one| {
            let [table, name] = [one.table, one.name].map(|name| name.unwrap_or("-"));
            (one.constraint, format!("{table} {} {name}", one.columns.join("|")))
        });
        ensure_eq!((sql, found), (sql, Some((constraint, names.to_owned()))));
    }
    ensure_eq!(fault(db.prepare("SELECT nope").run().await)?.violation(), None);
    Ok(())
}
