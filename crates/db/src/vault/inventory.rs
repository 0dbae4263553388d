//! Inventory of a database: its vault's tables, the declared columns, and the columns with sealed values.

use super::cipher::{HEADER_BYTES, Header};
use super::column::{COLUMNS, Column};
use super::sealed_error;
use crate::sql::quoted;
use crate::{Database, Dialect, QueryableExt, Result, Row, Statement};

/// Names of the key-encryption keys that a database's vault needs: those that wrap its keys. Empty where it has no keys
/// yet, or no table `vault_keys`. It creates nothing and needs no keyring.
///
/// For the start of a platform: a missing keyring may be generated only where this is empty.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::SqliteDatabase;
/// use isobar_db::vault::wrapping_keys;
///
/// let db = SqliteDatabase::memory().await?;
/// let may_generate = wrapping_keys(&db).await?.is_empty();
/// assert!(may_generate, "a new database: any keyring will do");
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Queryable::query`](crate::Queryable::query).
pub async fn wrapping_keys(database: &dyn Database) -> Result<Vec<String>> {
    if !tables(database).await?.iter().any(|table| table == "vault_keys") {
        return Ok(Vec::new());
    }
    database.prepare("SELECT DISTINCT wrapped_by FROM vault_keys ORDER BY 1").all().await
}

/// Returns the first of the vault's tables that is not there.
pub(super) async fn missing_table(database: &dyn Database) -> Result<Option<&'static str>> {
    let tables = tables(database).await?;
    Ok(["vault_keys", "vault_columns"].into_iter().find(|table| !tables.iter().any(|name| name == table)))
}

/// The vault's tables that are there.
async fn tables(database: &dyn Database) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('vault_keys', 'vault_columns')";
    database.prepare(sql).all().await
}

/// The declared columns: those that are there, and those whose table, column or key column is not.
pub(super) async fn declared(database: &dyn Database) -> Result<(Vec<Column>, Vec<Column>)> {
    let columns: Vec<Column> = database.prepare(COLUMNS).all().await?;
    let mut present = Vec::new();
    let mut missing = Vec::new();
    for column in columns {
        let sql = match database.dialect() {
            Dialect::Sqlite => {
                "SELECT count(*) FROM pragma_table_xinfo(?1) WHERE name = ?2 COLLATE NOCASE OR name = ?3 COLLATE NOCASE"
            }
            Dialect::Postgres => {
                "SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ?1 \
                 AND column_name IN (?2, ?3)"
            }
        };
        let names = [&column.table, &column.column, &column.key_column].map(|name| name.as_str());
        let found: i64 = database.prepare(sql).bind_all(names).one().await?;
        let needed = if column.column.eq_ignore_ascii_case(&column.key_column) { 1 } else { 2 };
        if found == needed { present.push(column) } else { missing.push(column) }
    }
    Ok((present, missing))
}

/// Refuses where a declared column is not there.
pub(super) async fn check_declared(database: &dyn Database) -> Result<Vec<Column>> {
    let (present, missing) = declared(database).await?;
    let Some(Column { table, column, key_column }) = missing.first() else { return Ok(present) };
    Err(sealed_error(format!(
        "vault_columns declares {table}.{column} with the key {key_column}, and there is no such column: where the table or the \
         column was renamed, run `isobar vault rebind`; where it was dropped, delete the row of vault_columns"
    )))
}

/// Columns with sealed values. In a declared column a value is taken for sealed by its form. In another one the form may be
/// chance, since users' own bytes may begin alike: there it must name a data key that the database has.
pub(super) async fn sealed_columns(database: &dyn Database) -> Result<Vec<Column>> {
    let tables = tables(database).await?;
    let has = |table: &str| tables.iter().any(|name| name == table);
    let declared = if has("vault_columns") { declared(database).await?.0 } else { Vec::new() };
    let mut found = Vec::new();
    for column in all_columns(database).await? {
        let is_declared = declared.iter().any(|known| known.is_same(&column));
        if !is_declared && !has("vault_keys") {
            continue;
        }
        let [table, name] = [&column.table, &column.column].map(|name| quoted(name));
        let of_a_key = if is_declared { String::new() } else { of_a_key(database.dialect(), &name) };
        let is_blob = match database.dialect() {
            Dialect::Sqlite => format!("typeof({name}) = 'blob' AND "),
            // Of these alone are the columns.
            Dialect::Postgres => String::new(),
        };
        // Version, algorithm, and the length of the shortest sealed value at least.
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {is_blob}length({name}) >= ?1 AND substr({name}, 1, 2) IS ?2{of_a_key} \
             LIMIT 1) AS found"
        );
        let prepared = database.prepare(sql).bind(Header::SEALED_BYTES as i64).bind(&Header::START[..]);
        if prepared.one::<i64>().await? > 0 {
            found.push(column);
        }
    }
    Ok(found)
}

/// The condition that a value begins as those do that are sealed under a data key of the database.
fn of_a_key(dialect: Dialect, name: &str) -> String {
    let start: String = Header::START.iter().map(|byte| format!("{byte:02X}")).collect();
    let [begins, key] = match dialect {
        Dialect::Sqlite => [format!("hex(substr({name}, 1, {HEADER_BYTES}))"), format!("printf('{start}%08X', id)")],
        Dialect::Postgres => [
            format!("upper(encode(substr({name}, 1, {HEADER_BYTES}), 'hex'))"),
            format!("'{start}' || lpad(upper(to_hex(id)), 8, '0')"),
        ],
    };
    format!(" AND {begins} IN (SELECT {key} FROM vault_keys WHERE purpose = 'data')")
}

/// Every column of every table but the vault's own, SQLite's and virtual ones. The key is the first column of the primary
/// key.
pub(super) async fn all_columns(database: &dyn Database) -> Result<Vec<Column>> {
    if database.dialect() == Dialect::Postgres {
        return columns_of_bytes(database).await;
    }
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' \
                  AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE '~_cf~_%' ESCAPE '~' \
                  AND name NOT IN ('vault_keys', 'vault_columns') ORDER BY name";
    let mut columns = Vec::new();
    for table in database.prepare(tables).all::<String>().await? {
        let list = Statement::new("SELECT name, pk FROM pragma_table_xinfo(?) ORDER BY cid").bind(table.as_str());
        let rows = database.query(list.rows_only()).await?.rows;
        let key = rows.iter().find(|row| row.get::<i64>("pk").is_ok_and(|place| place == 1));
        let key: String = key.map_or_else(|| Ok("rowid".to_owned()), |row| row.get("name"))?;
        let of = |row: &Row| Ok(Column { table: table.clone(), column: row.get("name")?, key_column: key.clone() });
        columns.extend(rows.iter().map(of).collect::<Result<Vec<_>>>()?);
    }
    Ok(columns)
}

/// Every column of the type BYTEA, of tables in the database's schema.
async fn columns_of_bytes(database: &dyn Database) -> Result<Vec<Column>> {
    let sql = "SELECT CAST(t.relname AS TEXT), CAST(c.attname AS TEXT), CAST(coalesce(k.attname, c.attname) AS TEXT) \
               FROM pg_catalog.pg_class AS t JOIN pg_catalog.pg_attribute AS c ON c.attrelid = t.oid \
               LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid AND i.indisprimary \
               LEFT JOIN pg_catalog.pg_attribute AS k ON k.attrelid = t.oid AND k.attnum = i.indkey[0] \
               WHERE t.relkind IN ('r', 'p') AND t.relnamespace = CAST(current_schema() AS regnamespace) AND c.attnum > 0 \
               AND NOT c.attisdropped AND c.atttypid = CAST('bytea' AS regtype) AND t.relname NOT IN ('vault_keys', 'vault_columns') \
               ORDER BY t.relname, c.attnum";
    let rows: Vec<(String, String, String)> = database.prepare(sql).all().await?;
    Ok(rows.into_iter().map(|(table, column, key_column)| Column { table, column, key_column }).collect())
}
