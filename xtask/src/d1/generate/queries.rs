//! Statements that read.

use super::{Generator, Table};

const JOINS: [&str; 5] = ["JOIN", "LEFT JOIN", "CROSS JOIN", "RIGHT JOIN", "FULL JOIN"];
const WINDOWS: [&str; 9] = [
    "row_number()",
    "rank()",
    "dense_rank()",
    "ntile(3)",
    "percent_rank()",
    "cume_dist()",
    "lag(#, 1, 'none')",
    "lead(#)",
    "first_value(#)",
];
const FRAMES: [&str; 5] = [
    "",
    " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW",
    " RANGE UNBOUNDED PRECEDING",
];

impl Table {
    /// The columns as an expression names them, with this qualifier if there is one.
    pub(super) fn scope(&self, alias: &str) -> Vec<String> {
        let rowid = (self.has_rowid && !self.is_view).then_some("rowid");
        let names = self.columns.iter().map(|column| column.name).chain(rowid);
        names.map(|name| if alias.is_empty() { name.to_owned() } else { format!("{alias}.{name}") }).collect()
    }
}

impl Generator {
    /// A statement that reads.
    pub(super) fn query(&mut self) -> String {
        match self.random.below(20) {
            0..8 => self.select(),
            8..10 => self.grouped(),
            10..12 => self.joined(),
            12 => self.compound(),
            13 => self.common(),
            14..16 => self.window(),
            16 => self.of_json(),
            17 => self.subqueries(),
            18 => {
                let list: Vec<_> = (0..1 + self.random.below(3)).map(|_| self.expression(&[], 3)).collect();
                format!("SELECT {}", list.join(", "))
            }
            _ => self.edge(),
        }
    }

    /// A query of one table.
    pub(super) fn select(&mut self) -> String {
        let table = self.any_table();
        let scope = table.scope("");
        let distinct = if self.chance(15) { "DISTINCT " } else { "" };
        let columns = self.projection(&scope);
        let mut sql = format!("SELECT {distinct}{columns} FROM {}", table.name);
        if self.chance(60) {
            sql.push_str(&format!(" WHERE {}", self.condition(&scope)));
        }
        sql + &self.order(&scope)
    }

    fn projection(&mut self, scope: &[String]) -> String {
        match self.random.below(6) {
            0 => "*".to_owned(),
            1 => {
                let column = self.random.pick(scope).clone();
                format!("{column}, typeof({column}), {column}")
            }
            2 => format!("*, {} AS extra", self.expression(scope, 2)),
            3 => format!("quote({})", self.expression(scope, 2)),
            _ => {
                let list: Vec<_> = (0..1 + self.random.below(3)).map(|_| self.expression(scope, 2)).collect();
                list.join(", ")
            }
        }
    }

    pub(super) fn order(&mut self, scope: &[String]) -> String {
        let mut sql = String::new();
        if self.chance(50) {
            let term = if self.chance(60) { self.random.pick(scope).clone() } else { self.expression(scope, 1) };
            let direction = self.pick(&["", " DESC", " ASC NULLS LAST", " COLLATE NOCASE", " DESC NULLS FIRST"]);
            sql.push_str(&format!(" ORDER BY {term}{direction}"));
        }
        if self.chance(40) {
            sql.push_str(&format!(" LIMIT {}", self.pick(&["0", "1", "3", "10", "-1", "2 + 1", "'2'"])));
            if self.chance(30) {
                sql.push_str(" OFFSET 1");
            }
        }
        sql
    }

    fn grouped(&mut self) -> String {
        let table = self.any_table();
        let scope = table.scope("");
        let group = if self.chance(70) { self.random.pick(&scope).clone() } else { self.expression(&scope, 1) };
        let aggregates = format!("{}, {}", self.aggregate(&scope), self.aggregate(&scope));
        if self.chance(25) {
            return format!("SELECT {aggregates} FROM {}", table.name);
        }
        let mut sql = format!("SELECT {group}, {aggregates} FROM {} GROUP BY {group}", table.name);
        if self.chance(30) {
            sql.push_str(&format!(" HAVING {} > 1", self.aggregate(&scope)));
        }
        sql
    }

    fn joined(&mut self) -> String {
        let one = self.any_table();
        let other = self.any_table();
        let mut scope = one.scope("x");
        let of_other = other.scope("y");
        let join = self.pick(&JOINS);
        let on = match join {
            "CROSS JOIN" => String::new(),
            _ => format!(" ON {} = {}", self.random.pick(&scope), self.random.pick(&of_other)),
        };
        scope.extend(of_other);
        let columns = match self.random.below(3) {
            0 => "*".to_owned(),
            1 => "count(*)".to_owned(),
            _ => format!("{}, {}", self.expression(&scope, 1), self.expression(&scope, 1)),
        };
        let mut sql = format!("SELECT {columns} FROM {} AS x {join} {} AS y{on}", one.name, other.name);
        if self.chance(40) {
            sql.push_str(&format!(" WHERE {}", self.condition(&scope)));
        }
        sql + " LIMIT 50"
    }

    fn compound(&mut self) -> String {
        let mut sql = String::new();
        for number in 0..2 + self.random.below(3) {
            if number > 0 {
                sql.push_str(self.pick(&[" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT "]));
            }
            let table = self.any_table();
            let scope = table.scope("");
            sql.push_str(&format!("SELECT {} FROM {}", self.leaf(&scope), table.name));
        }
        if self.chance(50) { sql + " ORDER BY 1" } else { sql }
    }

    fn common(&mut self) -> String {
        let table = self.any_table();
        let scope = table.scope("");
        match self.random.below(3) {
            0 => {
                let kind = self.pick(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
                let value = self.expression(&scope, 1);
                let condition = self.condition(&scope);
                format!(
                    "WITH m (v) AS {kind}(SELECT {value} FROM {} WHERE {condition}) SELECT v, count(*) FROM m GROUP BY v",
                    table.name
                )
            }
            1 => {
                let last = 1 + self.random.below(20);
                format!(
                    "WITH RECURSIVE r (i, t) AS (SELECT 1, 'x' UNION ALL SELECT i + 1, t || i FROM r WHERE i < {last}) \
                     SELECT i, t FROM r"
                )
            }
            _ => {
                let column = self.random.pick(&scope).clone();
                format!(
                    "WITH RECURSIVE r (i) AS (VALUES (1) UNION SELECT {column} FROM {}, r WHERE i < 5) SELECT i FROM r LIMIT 30",
                    table.name
                )
            }
        }
    }

    fn window(&mut self) -> String {
        let table = self.any_table();
        let scope = table.scope("");
        let argument = self.random.pick(&scope).clone();
        let function =
            if self.chance(40) { self.aggregate(&scope) } else { self.pick(&WINDOWS).replace('#', &argument) };
        let partition = match self.chance(40) {
            true => format!("PARTITION BY {} ", self.random.pick(&scope)),
            false => String::new(),
        };
        let order = self.random.pick(&scope).clone();
        let frame = self.pick(&FRAMES);
        let column = self.random.pick(&scope).clone();
        format!("SELECT {column}, {function} OVER ({partition}ORDER BY {order}{frame}) FROM {}", table.name)
    }

    fn of_json(&mut self) -> String {
        let function = self.pick(&["json_each", "json_tree"]);
        let document = self.pick(&["'[1,\"a\",null,{\"b\":2}]'", "'{\"a\":{\"b\":[1,2]}}'", "'7'", "'[]'", "NULL"]);
        match self.random.below(3) {
            0 => format!("SELECT key, value, type, atom, fullkey FROM {function}({document})"),
            1 => format!("SELECT json_group_object(coalesce(key, 'none'), value) FROM {function}({document})"),
            _ => {
                let table = self.any_table();
                let scope = table.scope("t");
                let column = self.random.pick(&scope).clone();
                format!("SELECT {column} FROM {} AS t, json_each('[1,2,3]') AS j WHERE {column} = j.value", table.name)
            }
        }
    }

    fn subqueries(&mut self) -> String {
        let one = self.any_table();
        let other = self.any_table();
        let outer = one.scope("x");
        let inner = other.scope("y");
        let link = format!("{} = {}", self.random.pick(&inner), self.random.pick(&outer));
        match self.random.below(3) {
            0 => {
                let not = self.pick(&["", "NOT "]);
                format!(
                    "SELECT * FROM {} AS x WHERE {not}EXISTS (SELECT 1 FROM {} AS y WHERE {link})",
                    one.name, other.name
                )
            }
            1 => format!(
                "SELECT (SELECT count(*) FROM {} AS y WHERE {link}), {} FROM {} AS x",
                other.name,
                self.random.pick(&outer),
                one.name
            ),
            _ => format!(
                "SELECT * FROM {} AS x WHERE {} IN (SELECT {} FROM {} AS y)",
                one.name,
                self.random.pick(&outer),
                self.random.pick(&inner),
                other.name
            ),
        }
    }

    /// A query at one of D1's limits, on either side.
    fn edge(&mut self) -> String {
        let more = self.random.below(3);
        match self.random.below(7) {
            0 => format!("SELECT 'a' LIKE '{}'", "%".repeat(49 + more)),
            1 => format!("SELECT {}", vec!["1"; 99 + more].join(", ")),
            2 => vec!["SELECT 1"; 4 + more].join(" UNION ALL "),
            3 => format!("SELECT {}1{}", "(".repeat(97 + more), ")".repeat(97 + more)),
            4 => format!("SELECT {}", vec!["1"; 98 + more].join(" + ")),
            // workerd takes more than D1's documentation says, and the local database does not.
            5 => format!("SELECT length(zeroblob({}))", 1_999_998 + more),
            _ => format!("SELECT length('{}')", "x".repeat(99_982 + more)),
        }
    }

    /// A PRAGMA, of those that D1 allows.
    pub(super) fn pragma(&mut self) -> String {
        let table = self.any_table();
        match self.random.below(9) {
            0 => format!("PRAGMA table_info({})", table.name),
            1 => format!("PRAGMA table_xinfo({})", table.name),
            2 => format!("PRAGMA foreign_key_list({})", table.name),
            3 => format!("PRAGMA index_list({})", table.name),
            4 if !self.indexes.is_empty() => {
                let kind = self.pick(&["info", "xinfo"]);
                format!("PRAGMA index_{kind}({})", self.random.pick(&self.indexes))
            }
            5 => "PRAGMA quick_check".to_owned(),
            6 => "PRAGMA defer_foreign_keys = ON".to_owned(),
            7 => self.pick(&["PRAGMA foreign_keys", "PRAGMA case_sensitive_like = ON", "PRAGMA page_size"]).to_owned(),
            _ => format!("PRAGMA foreign_key_check({})", table.name),
        }
    }

    /// A statement that is wrong, or that D1 refuses.
    pub(super) fn mistake(&mut self) -> String {
        let table = self.any_table();
        match self.random.below(24) {
            0 => format!("SELEC * FROM {}", table.name),
            1 => format!("SELECT nope FROM {}", table.name),
            2 => "SELECT * FROM nowhere".to_owned(),
            3 => format!("SELECT * FROM {} WHERE", table.name),
            4 => "SELECT nope(1)".to_owned(),
            5 => "SELECT abs(1, 2)".to_owned(),
            6 => "SELECT sqlite_version()".to_owned(),
            7 => "BEGIN".to_owned(),
            8 => "SAVEPOINT x".to_owned(),
            9 => "ATTACH 'x' AS y".to_owned(),
            10 => "CREATE TEMP TABLE x (a)".to_owned(),
            11 => "CREATE TABLE _cf_x (a)".to_owned(),
            12 => "PRAGMA journal_mode".to_owned(),
            13 => "VACUUM".to_owned(),
            14 => "SELECT ?1, ?3".to_owned(),
            15 => "-- nothing".to_owned(),
            16 => String::new(),
            17 => format!("SELECT 1; SELECT * FROM {}", table.name),
            18 => format!("INSERT INTO {} VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)", table.name),
            19 => "SELECT 'open".to_owned(),
            20 => format!("INSERT INTO {} (nope) VALUES (1)", table.name),
            21 => "CREATE VIRTUAL TABLE v USING fts4 (a)".to_owned(),
            22 => format!("CREATE TABLE {} (a)", table.name),
            _ => "SELECT 9223372036854775807 + 1, abs(-9223372036854775808)".to_owned(),
        }
    }
}
