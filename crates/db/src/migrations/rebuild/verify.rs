//! A rebuild on a copy of the schema without rows, in memory.

use super::{Rebuild, refused};
use crate::schema::{ColumnKind, Schema, Table, TableKind};
use crate::{QueryableExt, Result, SqliteDatabase, sql};

/// Runs the statements on a copy of the schema, and compares what they make of it with what they are to make.
pub(super) async fn verify(schema: &Schema, new: &Table, rebuild: &Rebuild) -> Result<()> {
    let copy = SqliteDatabase::memory().await?;
    make(&copy, schema).await?;
    let untouched = SqliteDatabase::memory().await?;
    make(&untouched, schema).await?;
    let before = Schema::read(&copy).await?;
    if let Err(error) = compile(&copy, &before).await {
        return Err(refused(format!("the schema is broken already, mend it first: {}", error.message())));
    }
    let run = copy.run_script(&rebuild.sql()).await;
    run.map_err(|error| refused(format!("cannot rebuild {}: {}", rebuild.table, error.message())))?;
    let after = Schema::read(&copy).await?;
    if let Err(error) = compile(&copy, &after).await {
        return Err(refused(format!("the new {} breaks another object: {}", rebuild.table, error.message())));
    }
    let mut expected = before;
    for table in expected.tables.iter_mut().filter(|table| table.name == rebuild.table) {
        let indexes = new.indexes.iter().chain(table.indexes.iter().filter(|index| index.sql.is_some()));
        *table = Table { name: table.name.clone(), indexes: indexes.cloned().collect(), ..new.clone() };
    }
    if let Some(difference) = expected.differences(&after).first() {
        return Err(refused(format!("after the rebuild of {}, {difference}", rebuild.table)));
    }
    let was = resolved(&untouched).await?;
    let is_other = |object: &&(String, String)| !was.contains(object);
    match resolved(&copy).await?.iter().find(is_other) {
        None => Ok(()),
        Some((name, sql)) => Err(refused(format!(
            "the new {} breaks another object: in {name} a name in double quotes would change its meaning: {sql}",
            rebuild.table
        ))),
    }
}

/// Names of the views and triggers, and their SQL with texts in single quotes: a name in double quotes that is not a column is a text,
/// without an error. SQLite writes them so where a column is renamed.
async fn resolved(copy: &SqliteDatabase) -> Result<Vec<(String, String)>> {
    let probe = "CREATE TABLE isobar_rebuild_probe (a); ALTER TABLE isobar_rebuild_probe RENAME COLUMN a TO b; DROP TABLE \
                 isobar_rebuild_probe;";
    let run = copy.run_script(probe).await;
    run.map_err(|error| refused(format!("the names of the schema cannot be resolved: {}", error.message())))?;
    let schema = Schema::read(copy).await?;
    let views = schema.views.into_iter().map(|view| (view.name, view.sql));
    Ok(views.chain(schema.triggers.into_iter().map(|trigger| (trigger.name, trigger.sql))).collect())
}

/// Makes the objects of a schema.
async fn make(copy: &SqliteDatabase, schema: &Schema) -> Result<()> {
    let tables = || schema.tables.iter().filter(|table| table.kind != TableKind::Shadow);
    let indexes = tables().flat_map(|table| &table.indexes).filter_map(|index| index.sql.as_ref());
    let views = schema.views.iter().map(|view| &view.sql);
    let triggers = schema.triggers.iter().map(|trigger| &trigger.sql);
    let mut script = String::new();
    for object in tables().map(|table| &table.sql).chain(indexes).chain(views).chain(triggers) {
        script.push_str(&sql::closed(object));
        script.push_str(";\n");
    }
    if script.is_empty() {
        return Ok(());
    }
    copy.run_script(&script).await.map(drop)
}

/// Has SQLite look at all views and triggers, which CREATE does not do.
async fn compile(copy: &SqliteDatabase, schema: &Schema) -> Result<()> {
    // A renaming resolves the names of the whole schema.
    let probe = "CREATE TABLE isobar_rebuild_probe (a); ALTER TABLE isobar_rebuild_probe RENAME TO isobar_rebuild_probed; DROP TABLE \
                 isobar_rebuild_probed;";
    copy.run_script(probe).await?;
    // The foreign keys, whose mismatch is an error of each statement that meets it.
    copy.prepare("PRAGMA foreign_key_check").run().await?;
    // The statements by which a table's triggers are compiled.
    for table in schema.tables.iter().filter(|table| table.kind == TableKind::Table) {
        if !schema.triggers.iter().any(|trigger| trigger.table.eq_ignore_ascii_case(&table.name)) {
            continue;
        }
        let name = sql::quoted(&table.name);
        let columns = table.columns.iter().filter(|column| column.kind == ColumnKind::Ordinary);
        let columns = columns.map(|column| sql::quoted(&column.name)).map(|column| format!("{column} = {column}"));
        let set = columns.collect::<Vec<_>>().join(", ");
        let statements = [
            format!("EXPLAIN INSERT INTO {name} DEFAULT VALUES"),
            format!("EXPLAIN UPDATE {name} SET {set}"),
            format!("EXPLAIN DELETE FROM {name}"),
        ];
        for statement in statements {
            copy.prepare(statement).run().await?;
        }
    }
    Ok(())
}
