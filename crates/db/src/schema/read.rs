//! Reading a schema, by the PRAGMAs that D1 allows.
//!
//! Three rounds of queries: `sqlite_schema`; for all tables the PRAGMAs `table_xinfo`, `foreign_key_list` and
//! `index_list` in one batch; for each table with indexes a batch of `index_xinfo`. They are not one transaction,
//! so a table that goes in between shows as [`ErrorKind::Conflict`], or by a result that does not fit.

use super::{Column, ColumnKind, ForeignKey, Index, IndexColumn, Schema, Table, TableKind, Trigger, View};
use crate::{Error, ErrorKind, QueryResult, Queryable, QueryableExt, Result, Statement, sql};

/// A row of `sqlite_schema`.
#[derive(serde::Deserialize)]
struct Object {
    r#type: String,
    name: String,
    tbl_name: String,
    sql: Option<String>,
}

impl Schema {
    /// Reads the schema of a database, in a few batches.
    ///
    /// A schema of very many tables makes a long batch: three statements for each table.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::schema::Schema;
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE t (a); CREATE INDEX by_a ON t (a DESC) WHERE a > 0; CREATE VIEW v AS SELECT a FROM t;").await?;
    /// let schema = Schema::read(&db).await?;
    /// let index = &schema.tables[0].indexes[0];
    /// assert!(index.is_partial && index.columns[0].is_descending);
    /// assert_eq!(schema.views[0].name, "v");
    /// assert_eq!(serde_json::to_value(&schema).unwrap()["tables"][0]["kind"], "table");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::batch`]; [`ErrorKind::Conflict`] where the schema is changed meanwhile.
    pub async fn read(database: &(impl Queryable + ?Sized)) -> Result<Self> {
        let objects: Vec<Object> =
            database.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").all().await?;
        let objects: Vec<Object> = objects.into_iter().filter(|object| !is_reserved(&object.tbl_name)).collect();
        let mut schema = Self::default();
        for object in &objects {
            let sql = || object.sql.clone().unwrap_or_default();
            match object.r#type.as_str() {
                "view" => schema.views.push(View { name: object.name.clone(), sql: sql() }),
                "trigger" => {
                    let table = object.tbl_name.clone();
                    schema.triggers.push(Trigger { name: object.name.clone(), table, sql: sql() });
                }
                _ => {}
            }
        }
        let tables: Vec<&Object> = objects.iter().filter(|object| object.r#type == "table").collect();
        if tables.is_empty() {
            return Ok(schema);
        }
        let mut statements = vec![Statement::new("PRAGMA table_list")];
        for table in &tables {
            let pragmas = ["table_xinfo", "foreign_key_list", "index_list"];
            statements
                .extend(pragmas.map(|pragma| Statement::new(format!("PRAGMA {pragma}({})", sql::quoted(&table.name)))));
        }
        let mut results = database.batch(statements).await?.into_iter();
        let list = results.next().ok_or_else(changed)?;
        for table in tables {
            let parts = [results.next(), results.next(), results.next()];
            let [Some(columns), Some(keys), Some(indexes)] = parts else { return Err(changed()) };
            let mut table = Table::listed(table, &list)?;
            table.columns = columns.rows_as::<ColumnRow>()?.into_iter().map(Column::from).collect();
            table.foreign_keys = foreign_keys(&keys)?;
            table.indexes = indexes_of(database, &indexes, &objects).await?;
            schema.tables.push(table);
        }
        Ok(schema)
    }
}

/// Returns whether a table is SQLite's or Cloudflare's own.
pub(crate) fn is_reserved(table: &str) -> bool {
    let starts = |prefix: &str| table.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    starts("sqlite_") || starts("_cf_")
}

fn changed() -> Error {
    Error::new(ErrorKind::Conflict, "the schema was changed while it was read")
}

impl Table {
    fn listed(object: &Object, list: &QueryResult) -> Result<Self> {
        for row in &list.rows {
            if row.get::<String>("schema")? != "main" || row.get::<String>("name")? != object.name {
                continue;
            }
            let kind = match row.get::<String>("type")?.as_str() {
                "virtual" => TableKind::Virtual,
                "shadow" => TableKind::Shadow,
                _ => TableKind::Table,
            };
            return Ok(Self {
                name: object.name.clone(),
                kind,
                sql: object.sql.clone().unwrap_or_default(),
                is_without_rowid: row.get("wr")?,
                is_strict: row.get("strict")?,
                columns: Vec::new(),
                indexes: Vec::new(),
                foreign_keys: Vec::new(),
            });
        }
        Err(changed())
    }
}

/// A row of `PRAGMA table_xinfo`.
#[derive(serde::Deserialize)]
struct ColumnRow {
    name: String,
    r#type: String,
    notnull: bool,
    dflt_value: Option<String>,
    pk: u32,
    hidden: u8,
}

impl From<ColumnRow> for Column {
    fn from(row: ColumnRow) -> Self {
        let kind = match row.hidden {
            0 => ColumnKind::Ordinary,
            2 => ColumnKind::Virtual,
            3 => ColumnKind::Stored,
            _ => ColumnKind::Hidden,
        };
        Self {
            name: row.name,
            declared_type: row.r#type,
            is_not_null: row.notnull,
            default: row.dflt_value,
            primary_key: row.pk,
            kind,
        }
    }
}

/// A row of `PRAGMA foreign_key_list`: one for each column of a key.
#[derive(serde::Deserialize)]
struct ForeignKeyRow {
    id: i64,
    table: String,
    from: String,
    to: Option<String>,
    on_update: String,
    on_delete: String,
}

/// The foreign keys in the order of their declaration, which is the reverse of the PRAGMA's.
fn foreign_keys(result: &QueryResult) -> Result<Vec<ForeignKey>> {
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    for row in result.rows_as::<ForeignKeyRow>()? {
        if keys.last().is_none_or(|(id, _)| *id != row.id) {
            let ForeignKeyRow { id, table, on_update, on_delete, .. } = row;
            let key = ForeignKey { columns: Vec::new(), table, referenced: Vec::new(), on_update, on_delete };
            keys.push((id, key));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(row.from);
            key.referenced.extend(row.to);
        }
    }
    keys.reverse();
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// A row of `PRAGMA index_list`.
#[derive(serde::Deserialize)]
struct IndexRow {
    name: String,
    unique: bool,
    partial: bool,
}

/// A row of `PRAGMA index_xinfo`.
#[derive(serde::Deserialize)]
struct IndexColumnRow {
    name: Option<String>,
    desc: bool,
    coll: String,
    key: bool,
}

/// The indexes of a table in the order in which they were created.
async fn indexes_of(
    database: &(impl Queryable + ?Sized),
    result: &QueryResult,
    objects: &[Object],
) -> Result<Vec<Index>> {
    let mut rows = result.rows_as::<IndexRow>()?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    rows.reverse();
    let infos = rows.iter().map(|row| Statement::new(format!("PRAGMA index_xinfo({})", sql::quoted(&row.name))));
    let infos = database.batch(infos.collect()).await?;
    let index = |(row, info): (IndexRow, &QueryResult)| {
        let columns = info.rows_as::<IndexColumnRow>()?.into_iter().filter(|column| column.key);
        let columns =
            columns.map(|column| IndexColumn { name: column.name, is_descending: column.desc, collation: column.coll });
        let object = objects.iter().find(|object| object.r#type == "index" && object.name == row.name);
        Ok(Index {
            is_unique: row.unique,
            is_partial: row.partial,
            sql: object.and_then(|object| object.sql.clone()),
            columns: columns.collect(),
            name: row.name,
        })
    };
    rows.into_iter().zip(&infos).map(index).collect()
}
