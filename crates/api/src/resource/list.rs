//! The query of a list: filters, order, page, columns, search words.
//!
//! | parameter | meaning |
//! |---|---|
//! | `limit` | rows of a page, 1 to 200. Default: 50 |
//! | `cursor` | `next` of the page before |
//! | `sort` | columns, each with `-` before it for the descending order. Default: the resource's |
//! | `fields` | columns to answer with. Default: all that are shown |
//! | `q` | words, each of which must occur, where the resource has a search |
//! | `column=x`, `column[gt]=x`, ... | a filter; `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `prefix`, `null` |
//!
//! A page is found by the values of its last row (keyset), not by counting rows: rows that come and go shift nothing, and the
//! hundredth page costs what the first does. So a cursor holds those values, and the order that they are of; it is refused with
//! another order. The id is always the last column of an order, which makes it total. Each parameter that is wrong is named, all
//! in one answer.
//!
//! Several filters must all hold. `column=x` compares by `IS` and `ne` by `IS NOT`, so that a null differs from every value; it
//! is neither less nor greater than any. Texts compare by their bytes.
//!
//! Costs: a list is one statement, of at most 100 parameters, which is D1's limit. It reads `limit + 1` rows where an index
//! has the order: the row more shows whether there is another page. Counting all rows is not offered: it would cost more than
//! the page.
//!
//! A cursor is base64url of JSON, `[order, [keys]]`. It is neither signed nor secret: it holds values of a row that the client
//! has seen, is checked as input, and the scope's predicates apply behind it as to any list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isobar_db::{Dialect, Row, Statement, Value};
use serde_json::Value as Json;

use super::declaration::RESERVED;
use super::scope::{Scope, Sql};
use super::validation::ValidationErrors;
use super::{Column, Kind, Resource};
use crate::Problem;

/// Largest page, in rows.
pub(crate) const MAX_LIMIT: usize = 200;
const DEFAULT_LIMIT: usize = 50;
/// Words of a search.
const MAX_WORDS: usize = 12;
/// Texts of an `in`.
const MAX_CHOICES: usize = 20;
/// D1 binds 100; the cursor and the scope need some.
const MAX_PARAMETERS: usize = 80;

/// Operators behind a column's name in a filter, `priority[gte]=3`, and their SQL.
pub(crate) const OPERATORS: [(&str, &str); 5] =
    [("ne", "IS NOT"), ("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")];

/// A list that is asked for, checked.
#[derive(Debug)]
pub(super) struct ListQuery {
    limit: usize,
    sort: Vec<Sort>,
    sort_text: String,
    after: Option<Vec<Value>>,
    fields: Vec<Column>,
    filters: Vec<Filter>,
    words: Option<Vec<String>>,
}

/// A column of the order.
#[derive(Debug)]
struct Sort {
    column: Column,
    descending: bool,
}

/// A condition on a column.
#[derive(Debug)]
struct Filter {
    column: &'static str,
    test: Test,
}

/// The condition of a filter, with its values already checked for the column.
#[derive(Debug)]
enum Test {
    Compare(&'static str, Value),
    In(Vec<Value>),
    Prefix(String),
    Null(bool),
}

/// A page of rows, and the cursor of the next where there is one.
#[derive(Debug, serde::Serialize)]
pub(super) struct Page {
    pub(super) items: Vec<serde_json::Map<String, Json>>,
    pub(super) next: Option<String>,
}

impl ListQuery {
    /// Checks the parameters of a request.
    ///
    /// # Errors
    /// 400 with each parameter that is unknown, given twice or not valid.
    pub(super) fn parse(resource: &Resource, parameters: &[(String, String)]) -> Result<Self, Problem> {
        let mut errors = ValidationErrors::default();
        let mut limit = DEFAULT_LIMIT;
        let mut cursor = None;
        let mut fields = None;
        let mut words = None;
        let mut filters = Vec::new();
        let mut sort_text = resource.sort;
        for (index, (name, value)) in parameters.iter().enumerate() {
            if parameters[..index].iter().any(|(earlier, _)| earlier == name) {
                errors.field(name, "is given twice".to_owned());
                continue;
            }
            match name.as_str() {
                "limit" => match value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)) {
                    Some(parsed) => limit = parsed,
                    None => errors.field(name, format!("must be 1 to {MAX_LIMIT}")),
                },
                "cursor" => cursor = Some(value),
                "sort" => sort_text = value,
                "fields" => fields = Some(value),
                "q" => match resource.search {
                    Some(_) => words = Some(value),
                    None => errors.field(name, "this resource has no search".to_owned()),
                },
                _ => match filter(resource, name, value) {
                    Ok(filter) => filters.push(filter),
                    Err(detail) => errors.field(name, detail),
                },
            }
        }
        let sort = errors.or_default("sort", parse_sort(resource, sort_text));
        let after = cursor.map(|cursor| errors.or_default("cursor", parse_cursor(cursor, sort_text, &sort)));
        let fields = errors.or_default("fields", parse_fields(resource, fields.map(String::as_str)));
        let words = words.map(|text| errors.or_default("q", parse_words(text)));
        errors.into_result()?;
        Ok(Self { limit, sort, sort_text: sort_text.to_owned(), after, fields, filters, words })
    }

    /// The statement, for one row more than a page has.
    ///
    /// Keys of the order that are not among the chosen columns are selected behind them, for the cursor.
    ///
    /// # Errors
    /// 400 where filters and order need more than 100 parameters.
    pub(super) fn statement(&self, scope: &Scope<'_>, dialect: Dialect) -> Result<Statement, Problem> {
        let keys = self.sort.iter().map(|sort| sort.column.name);
        let keys = keys.filter(|key| !self.fields.iter().any(|field| field.name == *key));
        let mut sql = scope.select(self.fields.iter().map(|column| column.name).chain(keys));
        for Filter { column, test } in &self.filters {
            sql.push(" AND ").name(column);
            match test {
                Test::Compare(operator, value) => drop(sql.push(" ").push(operator).push(" ").bind(value.clone())),
                Test::Null(null) => drop(sql.push(if *null { " IS NULL" } else { " IS NOT NULL" })),
                Test::In(values) => bind_list(sql.push(" IN "), values),
                // No LIKE: it folds case, and its patterns are limited to 50 bytes.
                Test::Prefix(prefix) => {
                    sql.push(" >= ").bind(prefix).push(" AND ").name(column);
                    sql.push(" < ").bind(format!("{prefix}\u{10ffff}"));
                }
            }
        }
        if let (Some(table), Some(words)) = (scope.resource().search, &self.words) {
            search(&mut sql, dialect, table, words);
        }
        self.continue_after(&mut sql);
        for (index, Sort { column, descending }) in self.sort.iter().enumerate() {
            sql.push(if index == 0 { " ORDER BY " } else { ", " }).name(column.name);
            sql.push(if *descending { " DESC" } else { "" });
        }
        sql.push(" LIMIT ").bind(i64::try_from(self.limit + 1).unwrap_or(i64::MAX));
        if sql.parameters() > MAX_PARAMETERS + 20 {
            return Err(Problem::bad_request("the list has too many filters"));
        }
        Ok(sql.into_statement())
    }

    /// The rows after those of the last page. Where all keys go one way, SQLite walks an index by the row comparison.
    ///
    /// For `a, -b, id` after the keys `(1, 2, 3)`: `a > 1 OR a = 1 AND b < 2 OR a = 1 AND b = 2 AND id < 3`. The id goes the
    /// way of the last column before it.
    fn continue_after(&self, sql: &mut Sql) {
        let Some(after) = &self.after else { return };
        let keys: Vec<_> = self.sort.iter().zip(after).collect();
        if self.sort.iter().all(|sort| sort.descending == self.sort[0].descending) {
            sql.push(" AND (");
            for (index, (sort, _)) in keys.iter().enumerate() {
                sql.push(if index == 0 { "" } else { ", " }).name(sort.column.name);
            }
            sql.push(if self.sort[0].descending { ") < " } else { ") > " });
            bind_list(sql, after);
            return;
        }
        sql.push(" AND (");
        for last in 0..keys.len() {
            sql.push(if last == 0 { "(" } else { " OR (" });
            for (index, (sort, value)) in keys[..=last].iter().enumerate() {
                let beyond = if sort.descending { " < " } else { " > " };
                sql.push(if index == 0 { "" } else { " AND " }).name(sort.column.name);
                sql.push(if index == last { beyond } else { " = " }).bind((*value).clone());
            }
            sql.push(")");
        }
        sql.push(")");
    }

    /// The page of the rows that the statement gave.
    ///
    /// The row beyond the limit is left out, and makes the cursor.
    ///
    /// # Errors
    /// 500 for a row without a declared column.
    pub(super) fn page(&self, rows: &[Row]) -> Result<Page, Problem> {
        let shown = &rows[..rows.len().min(self.limit)];
        let items = shown.iter().map(|row| object(&self.fields, row)).collect::<Result<_, _>>()?;
        let next = match shown.last() {
            Some(last) if rows.len() > self.limit => Some(self.cursor(last)?),
            _ => None,
        };
        Ok(Page { items, next })
    }

    /// Where the next page begins: the order, so that it is not used with another, and the last row's keys.
    fn cursor(&self, last: &Row) -> Result<String, Problem> {
        let key = |sort: &Sort| Ok(sort.column.json_of(&last.get::<Value>(sort.column.name)?));
        let keys = self.sort.iter().map(key).collect::<Result<Vec<Json>, isobar_db::Error>>()?;
        let json = serde_json::json!([self.sort_text, keys]).to_string();
        Ok(URL_SAFE_NO_PAD.encode(json))
    }
}

/// A row as the API shows it.
pub(crate) fn object(columns: &[Column], row: &Row) -> Result<serde_json::Map<String, Json>, Problem> {
    let entry = |column: &Column| Ok((column.name.to_owned(), column.json_of(&row.get::<Value>(column.name)?)));
    columns.iter().map(entry).collect()
}

/// Parses one filter: `column=value`, or `column[operator]=value`. The error is the sentence for the parameter.
fn filter(resource: &Resource, name: &str, text: &str) -> Result<Filter, String> {
    let (name, operator) = match name.split_once('[') {
        Some((name, rest)) => {
            (name, rest.strip_suffix(']').ok_or("a filter is column=value or column[operator]=value")?)
        }
        None => (name, ""),
    };
    let column = resource.shown(name).filter(Column::filterable).ok_or_else(|| {
        let known: Vec<_> = resource.all_shown().into_iter().filter(Column::filterable).map(|it| it.name).collect();
        format!("unknown parameter; use {}, or one of the columns {}", RESERVED.join(", "), known.join(", "))
    })?;
    let test = match operator {
        "" => Test::Compare("IS", column.value_of_text(text)?),
        "in" => {
            let values: Vec<_> = text.split(',').map(|one| column.value_of_text(one)).collect::<Result<_, _>>()?;
            if values.len() > MAX_CHOICES {
                return Err(format!("takes at most {MAX_CHOICES} values"));
            }
            Test::In(values)
        }
        "prefix" if matches!(column.kind, Kind::Text { .. }) && !text.contains('\0') => Test::Prefix(text.to_owned()),
        "null" if column.nullable() => Test::Null(text.parse().map_err(|_| "must be true or false")?),
        other => {
            let known = OPERATORS.iter().find(|(name, _)| *name == other);
            let (_, sql) = known.ok_or("unknown operator; use ne, gt, gte, lt, lte, in, prefix (texts) or null")?;
            Test::Compare(sql, column.value_of_text(text)?)
        }
    };
    Ok(Filter { column: column.name, test })
}

/// Parses an order, and adds the id where it is not in it.
fn parse_sort(resource: &Resource, text: &str) -> Result<Vec<Sort>, String> {
    let mut sort: Vec<Sort> = Vec::new();
    for part in text.split(',') {
        let (descending, name) = part.strip_prefix('-').map_or((false, part), |name| (true, name));
        let column = resource.shown(name).filter(|column| column.sortable).ok_or_else(|| {
            let known: Vec<_> = resource.all_shown().into_iter().filter(|it| it.sortable).map(|it| it.name).collect();
            format!("cannot sort by {name:?}; use {}, each with a leading - for descending", known.join(", "))
        })?;
        if sort.iter().any(|earlier| earlier.column.name == name) {
            return Err(format!("{name} is given twice"));
        }
        sort.push(Sort { column, descending });
    }
    // The id makes the order whole, so that no row is left out between two pages.
    if !sort.iter().any(|sort| sort.column.name == "id") {
        let descending = sort.last().is_some_and(|sort| sort.descending);
        sort.extend(resource.shown("id").map(|column| Sort { column, descending }));
    }
    Ok(sort)
}

/// Returns the keys of a cursor, each as a value of its column. A cursor of another order is refused: its keys would be
/// compared with other columns.
fn parse_cursor(text: &str, sort_text: &str, sort: &[Sort]) -> Result<Vec<Value>, String> {
    let wrong = || "is not a cursor of a list in this order; begin without one".to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    let (for_sort, keys): (String, Vec<Json>) = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    if for_sort != sort_text || keys.len() != sort.len() {
        return Err(wrong());
    }
    let value = |(sort, key): (&Sort, &Json)| match (&sort.column.kind, key) {
        // Older rows may have what is not taken any more: the kind alone matters.
        (Kind::Text { .. } | Kind::Choice(_) | Kind::Reference(_) | Kind::Timestamp, Json::String(text)) => {
            Ok(Value::from(text.as_str()))
        }
        _ => sort.column.value(key).map_err(|_| wrong()),
    };
    sort.iter().zip(&keys).map(value).collect()
}

/// Returns the columns to answer with, in the order of the parameter; without it all of them.
fn parse_fields(resource: &Resource, text: Option<&str>) -> Result<Vec<Column>, String> {
    let Some(text) = text else { return Ok(resource.all_shown()) };
    let mut fields: Vec<Column> = Vec::new();
    for name in text.split(',') {
        let column = resource.shown(name).ok_or_else(|| {
            let known: Vec<_> = resource.all_shown().into_iter().map(|column| column.name).collect();
            format!("there is no column {name:?}; use {}", known.join(", "))
        })?;
        if fields.iter().any(|earlier| earlier.name == column.name) {
            return Err(format!("{name} is given twice"));
        }
        fields.push(column);
    }
    Ok(fields)
}

/// The rows in which the words occur. In Postgres the name is that of a view, with the id of a row and its `document`.
fn search(sql: &mut Sql, dialect: Dialect, table: &str, words: &[String]) {
    if dialect == Dialect::Postgres {
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        sql.push(" AND id IN (SELECT id FROM ").name(table).push(" WHERE document @@ to_tsquery('simple', ");
        sql.bind(words.join(" & ") + ":*").push("))");
        return;
    }
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    sql.push(" AND rowid IN (SELECT rowid FROM ").name(table).push(" WHERE ").name(table);
    sql.push(" MATCH ").bind(words.join(" ") + "*").push(")");
}

/// Words that must all be there, the last of them perhaps only begun; nothing in them has a meaning to FTS5.
fn parse_words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<_> = text.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() || words.len() > MAX_WORDS || text.len() > 500 {
        return Err(format!("must be 1 to {MAX_WORDS} words"));
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

/// Appends `(?, ?, ...)`.
fn bind_list(sql: &mut Sql, values: &[Value]) {
    sql.push("(");
    for (index, value) in values.iter().enumerate() {
        sql.push(if index == 0 { "" } else { ", " }).bind(value.clone());
    }
    sql.push(")");
}
