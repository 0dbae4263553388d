//! Statements that write rows.

use super::{Generator, Table};

const CONFLICTS: [&str; 20] = [
    "REPLACE", "REPLACE", "REPLACE", "REPLACE", "REPLACE", "IGNORE", "IGNORE", "IGNORE", "IGNORE", "IGNORE", "IGNORE",
    "ABORT", "ABORT", "ABORT", "FAIL", "FAIL", "FAIL", "FAIL", "FAIL", "ROLLBACK",
];

impl Generator {
    /// An INSERT.
    pub(super) fn insert(&mut self) -> String {
        let table = self.target();
        let or = match self.chance(25) {
            true => format!(" OR {}", self.pick(&CONFLICTS)),
            false => String::new(),
        };
        if self.chance(4) {
            return format!("INSERT{or} INTO {} DEFAULT VALUES", table.name);
        }
        let columns: Vec<_> = table.columns.iter().filter(|column| !column.is_generated).cloned().collect();
        // Without a rowid of its own a row gets one.
        let gets_key = columns.len() > 1 && table.has_rowid && columns[0].kind == "INTEGER" && table.key.is_some();
        let from = usize::from(gets_key && self.chance(60));
        let columns = &columns[from..];
        let names: Vec<_> = columns.iter().map(|column| column.name).collect();
        let mut sql = format!("INSERT{or} INTO {} ({}) ", table.name, names.join(", "));
        if self.chance(10) {
            let source = self.any_table();
            let scope = source.scope("");
            let values: Vec<_> = columns.iter().map(|_| self.expression(&scope, 1)).collect();
            sql.push_str(&format!("SELECT {} FROM {} WHERE true LIMIT 4", values.join(", "), source.name));
        } else {
            let rows: Vec<_> = (0..1 + self.random.below(3))
                .map(|_| {
                    let values: Vec<_> = columns.iter().map(|column| self.value_for(column.kind)).collect();
                    format!("({})", values.join(", "))
                })
                .collect();
            sql.push_str(&format!("VALUES {}", rows.join(", ")));
        }
        if or.is_empty() && self.chance(20) {
            sql.push_str(&self.on_conflict(&table));
        }
        sql + &self.returning(&table)
    }

    fn on_conflict(&mut self, table: &Table) -> String {
        let plain: Vec<_> = table.columns.iter().filter(|column| !column.is_generated).map(|it| it.name).collect();
        let column = *self.random.pick(&plain);
        match (self.random.below(4), table.key) {
            (0, _) => " ON CONFLICT DO NOTHING".to_owned(),
            (1, Some(key)) => format!(" ON CONFLICT ({key}) DO NOTHING"),
            (_, Some(key)) => {
                let value = self.expression(&[format!("excluded.{column}"), format!("{}.{column}", table.name)], 1);
                let condition =
                    if self.chance(25) { format!(" WHERE excluded.{column} IS NOT 3") } else { String::new() };
                format!(" ON CONFLICT ({key}) DO UPDATE SET {column} = {value}{condition}")
            }
            _ => format!(" ON CONFLICT ({column}) DO UPDATE SET {column} = excluded.{column}"),
        }
    }

    fn returning(&mut self, table: &Table) -> String {
        if !self.chance(20) {
            return String::new();
        }
        if self.chance(50) {
            return " RETURNING *".to_owned();
        }
        let scope: Vec<_> = table.columns.iter().map(|column| column.name.to_owned()).collect();
        format!(" RETURNING {} AS r, {}", self.expression(&scope, 1), self.leaf(&scope))
    }

    /// An UPDATE.
    pub(super) fn update(&mut self) -> String {
        let table = self.target();
        let scope = table.scope("");
        let or = match self.chance(15) {
            true => format!(" OR {}", self.pick(&CONFLICTS)),
            false => String::new(),
        };
        let columns: Vec<_> = table.columns.iter().filter(|column| !column.is_generated).cloned().collect();
        let mut sets = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let column = self.random.pick(&columns).clone();
            let value = if self.chance(50) { self.value_for(column.kind) } else { self.expression(&scope, 1) };
            sets.push(format!("{} = {value}", column.name));
        }
        let mut sql = format!("UPDATE{or} {} SET {}", table.name, sets.join(", "));
        if self.chance(10) {
            let source = self.any_table();
            let column = source.columns[0].name;
            sql.push_str(&format!(
                " FROM (SELECT {column} AS v FROM {} LIMIT 3) AS s WHERE {} = s.v",
                source.name, scope[0]
            ));
        } else if self.chance(85) {
            sql.push_str(&format!(" WHERE {}", self.condition(&scope)));
        }
        self.limited(&table, sql)
    }

    /// A DELETE.
    pub(super) fn delete(&mut self) -> String {
        let table = self.target();
        let scope = table.scope("");
        let mut sql = format!("DELETE FROM {}", table.name);
        if self.chance(95) {
            sql.push_str(&format!(" WHERE {}", self.condition(&scope)));
            if self.chance(60) {
                sql = format!("{sql} AND {} > 2", scope[0]);
            }
        }
        self.limited(&table, sql)
    }

    /// The statement with RETURNING, or with ORDER BY and LIMIT.
    fn limited(&mut self, table: &Table, sql: String) -> String {
        if self.chance(12) && table.has_rowid && !sql.contains(" FROM (") {
            let column = table.columns[0].name;
            return format!("{sql} ORDER BY {column} LIMIT {}", self.pick(&["1", "2", "3 OFFSET 1"]));
        }
        sql + &self.returning(table)
    }
}
