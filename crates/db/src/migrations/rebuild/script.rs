//! The statements of a rebuild, in their order.
//!
//! A check is a query that fails where it finds something: `json_extract` refuses the message as a path. The message depends on the
//! row, as SQLite would evaluate a constant one without a row, too.

use super::{ACTIONS, Filled, refused};
use crate::Result;
use crate::schema::{ColumnKind, Index, Schema, Table, Trigger};
use crate::sql::{has_word, literal, quoted};

pub(super) struct Script<'a> {
    pub(super) schema: &'a Schema,
    pub(super) old: &'a Table,
    pub(super) new: &'a Table,
    pub(super) columns: &'a [Filled<'a>],
    pub(super) put_aside: &'a [&'a Table],
}

/// Rows that are put aside and inserted again.
struct PutAside {
    table: String,
    /// The table that holds them meanwhile.
    holder: String,
    /// The columns that are filled, in quotes.
    columns: Vec<String>,
    /// The expressions for them, over the old table.
    sources: Vec<String>,
}

impl Script<'_> {
    pub(super) fn statements(&self) -> Result<Vec<String>> {
        let copies = self.copies()?;
        let counter = self.counter(copies.len())?;
        let mut all = vec!["PRAGMA defer_foreign_keys = ON".to_owned()];
        all.extend(self.checks_of_the_schema());
        all.extend(copies.iter().flat_map(PutAside::fill));
        all.extend(copies.iter().take(1).map(PutAside::check_of_sources));
        if let Some(holder) = &counter {
            let name = literal(&self.old.name);
            all.push(format!("CREATE TABLE {holder} (seq)"));
            all.push(format!("INSERT INTO {holder} SELECT seq FROM sqlite_sequence WHERE name = {name}"));
        }
        let triggers: Vec<&Trigger> = self.triggers().collect();
        all.extend(triggers.iter().map(|trigger| format!("DROP TRIGGER {}", quoted(&trigger.name))));
        all.extend(self.put_aside.iter().map(|table| format!("DELETE FROM {}", quoted(&table.name))));
        all.push(format!("DROP TABLE {}", quoted(&self.old.name)));
        all.push(self.new.sql.clone());
        // A foreign key may refer to the columns of a unique index, which has to be there before the rows.
        all.extend(self.indexes().filter(|index| index.is_unique).filter_map(|index| index.sql.clone()));
        all.extend(copies.iter().map(PutAside::insert));
        all.extend(copies.iter().map(PutAside::check));
        if let Some(holder) = &counter {
            let name = literal(&self.new.name);
            all.push(format!("DELETE FROM sqlite_sequence WHERE name = {name}"));
            all.push(format!("INSERT INTO sqlite_sequence (name, seq) SELECT {name}, seq FROM {holder}"));
            all.push(format!("DROP TABLE {holder}"));
        }
        all.extend(copies.iter().map(|copy| format!("DROP TABLE {}", copy.holder)));
        all.extend(self.indexes().filter(|index| !index.is_unique).filter_map(|index| index.sql.clone()));
        all.extend(triggers.iter().map(|trigger| trigger.sql.clone()));
        all.extend(self.checks_of_keys());
        Ok(all)
    }

    /// The indexes that the old table has beside those of its definition.
    fn indexes(&self) -> impl Iterator<Item = &Index> {
        self.old.indexes.iter().filter(|index| index.sql.is_some())
    }

    /// The triggers of all tables whose rows are deleted and inserted.
    fn triggers(&self) -> impl Iterator<Item = &Trigger> {
        self.schema.triggers.iter().filter(|trigger| self.is_named(&trigger.table))
    }

    fn is_named(&self, table: &str) -> bool {
        self.tables().any(|one| one.name.eq_ignore_ascii_case(table))
    }

    /// The table, and those whose rows are put aside with it.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        std::iter::once(self.old).chain(self.put_aside.iter().copied())
    }

    /// The name of a table that holds something meanwhile.
    fn holder(&self, number: usize) -> Result<String> {
        let name = format!("isobar_rebuild_{number}");
        let objects = self.schema.tables.iter().map(|table| &table.name);
        let indexes = self.schema.tables.iter().flat_map(|table| table.indexes.iter().map(|index| &index.name));
        let views = self.schema.views.iter().map(|view| &view.name);
        if objects.chain(indexes).chain(views).any(|one| one.eq_ignore_ascii_case(&name)) {
            return Err(refused(format!(
                "the name {name} is in use, and the rebuild needs it: rename or drop it first"
            )));
        }
        Ok(quoted(&name))
    }

    /// The holder of the counter of AUTOINCREMENT, where both definitions have one.
    fn counter(&self, number: usize) -> Result<Option<String>> {
        let counts = |table: &Table| has_word(&table.sql, "AUTOINCREMENT");
        if counts(self.old) && counts(self.new) { self.holder(number).map(Some) } else { Ok(None) }
    }

    fn copies(&self) -> Result<Vec<PutAside>> {
        let mut own = PutAside {
            table: self.old.name.clone(),
            holder: self.holder(0)?,
            columns: self.columns.iter().map(|column| quoted(column.name)).collect(),
            sources: self.columns.iter().map(|column| column.source.clone()).collect(),
        };
        if let (Some(from), Some(into)) = (rowid(self.old)?, rowid(self.new)?) {
            own.columns.insert(0, into.to_owned());
            own.sources.insert(0, from.to_owned());
        }
        let mut copies = vec![own];
        for table in self.put_aside {
            let columns = table.columns.iter().filter(|column| column.kind == ColumnKind::Ordinary);
            let mut columns: Vec<String> = columns.map(|column| quoted(&column.name)).collect();
            if let Some(rowid) = rowid(table)? {
                columns.insert(0, rowid.to_owned());
            }
            let holder = self.holder(copies.len())?;
            copies.push(PutAside { table: table.name.clone(), holder, sources: columns.clone(), columns });
        }
        Ok(copies)
    }

    /// Checks that the schema is the one from which the statements are made: a column, trigger or reference that has come since would be
    /// lost, and an index that has gone would come back.
    fn checks_of_the_schema(&self) -> Vec<String> {
        let mut checks = Vec::new();
        for table in self.tables() {
            let name = literal(&table.name);
            checks.push(format!(
                "SELECT json_extract('{{}}', 'the table ' || name || ' has changed since this migration was written') FROM \
                 sqlite_schema WHERE type = 'table' AND name = {name} AND sql <> {}",
                literal(&table.sql)
            ));
            let own = |trigger: &&Trigger| trigger.table.eq_ignore_ascii_case(&table.name);
            let triggers = self.schema.triggers.iter().filter(own).map(|trigger| &trigger.sql);
            let is_rebuilt = table.name == self.old.name;
            let indexes = self.indexes().filter(|_| is_rebuilt).filter_map(|index| index.sql.as_ref());
            let known = triggers.chain(indexes).map(|sql| literal(sql)).collect::<Vec<_>>().join(", ");
            let kinds = if is_rebuilt { "'index', 'trigger'" } else { "'trigger'" };
            checks.push(format!(
                "SELECT json_extract('{{}}', 'the ' || type || ' ' || name || ' has come or changed since this migration was \
                 written') FROM sqlite_schema WHERE tbl_name = {name} COLLATE NOCASE AND type IN ({kinds}) AND sql IS NOT NULL AND \
                 sql NOT IN ({known})"
            ));
        }
        let indexes = self.indexes().map(|index| format!("({})", literal(&index.name))).collect::<Vec<_>>();
        if !indexes.is_empty() {
            checks.push(format!(
                "SELECT json_extract('{{}}', 'the index ' || column1 || ' has gone since this migration was written') FROM (VALUES {}) \
                 WHERE column1 NOT IN (SELECT name FROM sqlite_schema WHERE type = 'index')",
                indexes.join(", ")
            ));
        }
        let names = self.tables().map(|table| literal(&table.name)).collect::<Vec<_>>().join(", ");
        let actions = ACTIONS.map(literal).join(", ");
        checks.push(format!(
            "SELECT json_extract('{{}}', 'the table ' || s.name || ' has come to refer to ' || f.\"table\" || ' since this migration \
             was written') FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS f WHERE s.type = 'table' AND substr(s.name, 1, \
             4) <> '_cf_' AND f.\"table\" COLLATE NOCASE IN ({names}) AND f.on_delete IN ({actions}) AND s.name COLLATE NOCASE NOT IN \
             ({names})"
        ));
        checks
    }

    /// Checks the foreign keys of all tables that have been written, and of those that refer to them. The commit would fail, too, and
    /// not say why.
    fn checks_of_keys(&self) -> Vec<String> {
        let refers = |table: &&Table| table.foreign_keys.iter().any(|key| self.is_named(&key.table));
        let is_written = |table: &&Table| self.is_named(&table.name);
        let check = |table: &Table| {
            format!(
                "SELECT json_extract('{{}}', 'a row of ' || \"table\" || ' refers to no row of ' || parent) FROM \
                 pragma_foreign_key_check({}) LIMIT 1",
                literal(&table.name)
            )
        };
        let tables = self.schema.tables.iter().filter(|table| refers(table) || is_written(table));
        tables.map(check).collect()
    }
}

impl PutAside {
    /// Columns without a type keep each value as it is.
    fn fill(&self) -> [String; 2] {
        let Self { table, holder, sources, .. } = self;
        let columns = (0..sources.len()).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
        let create = format!("CREATE TABLE {holder} ({columns})");
        [create, format!("INSERT INTO {holder} SELECT {} FROM {}", sources.join(", "), quoted(table))]
    }

    /// A source with an aggregate makes one row of all.
    fn check_of_sources(&self) -> String {
        let Self { table, holder, .. } = self;
        format!(
            "SELECT json_extract('{{}}', 'the sources of ' || {} || ' give ' || held || ' rows in place of ' || had) FROM (SELECT \
             (SELECT count(*) FROM {holder}) AS held, (SELECT count(*) FROM {}) AS had) WHERE held <> had",
            literal(table),
            quoted(table)
        )
    }

    fn insert(&self) -> String {
        let Self { table, holder, columns, .. } = self;
        let held = (0..columns.len()).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {} ({}) SELECT {held} FROM {holder}", quoted(table), columns.join(", "))
    }

    /// A constraint with ON CONFLICT IGNORE or REPLACE drops rows without an error.
    fn check(&self) -> String {
        let Self { table, holder, .. } = self;
        format!(
            "SELECT json_extract('{{}}', lost || ' rows of ' || {} || ' would be lost') FROM (SELECT (SELECT count(*) FROM {holder}) - \
             (SELECT count(*) FROM {}) AS lost) WHERE lost <> 0",
            literal(table),
            quoted(table)
        )
    }
}

/// A name of the rowid, where it is neither a column nor absent.
fn rowid(table: &Table) -> Result<Option<&'static str>> {
    let key: Vec<_> = table.columns.iter().filter(|column| column.primary_key > 0).collect();
    let is_descending = |index: &Index| index.sql.is_none() && index.columns.iter().any(|column| column.is_descending);
    let is_alias = key.len() == 1
        && key[0].declared_type.eq_ignore_ascii_case("INTEGER")
        && !table.indexes.iter().any(is_descending);
    if table.is_without_rowid || is_alias {
        return Ok(None);
    }
    let free = ["rowid", "_rowid_", "oid"].into_iter().find(|name| table.column(name).is_none());
    match free {
        Some(name) => Ok(Some(name)),
        None => Err(refused(format!("{} has columns for all names of the rowid, which could not be kept", table.name))),
    }
}
