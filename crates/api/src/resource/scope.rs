//! The one place where SQL for a resource is written, and where tenants are kept apart.
//!
//! A [`Scope`] is built from a resource and a principal, and builds every statement on the resource's table. All of them have the
//! predicates of the tenant and of the owner.
//!
//! Invariants, which `tests/it/tenants.rs` holds for every kind of request:
//!
//! - No handler writes SQL on a resource's table of its own; [`Sql`] leaves this module only with the predicates in it.
//! - The tenant and the user come from the [`Principal`], never from a path, a parameter or a body.
//! - Values are bound, names are quoted and come from declarations.
//! - A row outside of the scope behaves as one that does not exist, in statuses and texts.
//!
//! `WHERE true` begins every condition, so that each predicate is appended as ` AND ...`, whether or not there are others.

use http::StatusCode;
use isobar_db::{Statement, Value, sql};

use super::declaration::{Resource, Tenancy};
use crate::{Policy, Principal, Problem};

/// The rows of a resource that a principal may read and write.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    resource: &'a Resource,
    /// Columns with the values that every row of the scope has, and that new rows get.
    pinned: Vec<(&'static str, Value)>,
    /// The column with the owner's id, for new rows.
    owner: Option<(&'static str, Value)>,
}

/// SQL and what is bound to it, as it grows.
#[derive(Debug, Default)]
pub(super) struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// Appends SQL of the program's own.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A column or table of a declaration; quoted, though declarations are the program's own.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        self.text.push_str(&sql::quoted(name));
        self
    }

    /// Appends a parameter.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.text.push('?');
        self.values.push(value.into());
        self
    }

    pub(super) fn parameters(&self) -> usize {
        self.values.len()
    }

    pub(super) fn into_statement(self) -> Statement {
        Statement::new(self.text).bind_all(self.values)
    }
}

impl<'a> Scope<'a> {
    /// Returns the rows that the principal may read and write, if the policy admits the principal.
    ///
    /// # Errors
    /// As [`Policy::admit`]; 403 when rows of tenants are public and the principal has none.
    pub(super) fn new(
        resource: &'a Resource,
        principal: &Principal,
        policy: Policy,
        writes: bool,
    ) -> Result<Self, Problem> {
        policy.admit(principal, resource.name, writes)?;
        Self::of_reference(resource, principal)
    }

    /// Returns the rows that a principal may refer to, without checking a policy.
    ///
    /// # Errors
    /// 401 for an anonymous principal where rows belong to tenants or users.
    pub(super) fn of_reference(resource: &'a Resource, principal: &Principal) -> Result<Self, Problem> {
        let mut pinned = Vec::new();
        if let Tenancy::Tenant(column) = resource.tenancy {
            let tenant = principal.tenant().ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED))?;
            pinned.push((column, tenant.into()));
        }
        let mut owner = None;
        if let Some(ownership) = resource.ownership {
            let user = principal.user().ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED))?;
            owner = Some((ownership.column, user.into()));
            if principal.role().is_none_or(|role| role < ownership.except) {
                pinned.push((ownership.column, user.into()));
            }
        }
        Ok(Self { resource, pinned, owner })
    }

    pub(super) fn resource(&self) -> &'a Resource {
        self.resource
    }

    /// Returns the tenant of the rows; `None` for a shared resource.
    pub(super) fn tenant(&self) -> Option<Value> {
        match self.resource.tenancy {
            Tenancy::Tenant(_) => self.pinned.first().map(|(_, tenant)| tenant.clone()),
            Tenancy::Shared => None,
        }
    }

    /// SQL that begins with `begin` and `more`, followed by the number of all rows of the tenant, including those of its users.
    pub(super) fn all_of_tenant(&self, begin: &str, more: impl FnOnce(&mut Sql)) -> Sql {
        let mut sql = Sql::default();
        sql.push(begin);
        more(&mut sql);
        sql.push("(SELECT count(*) FROM ").name(self.resource.table).push(" WHERE true");
        if let (Tenancy::Tenant(column), Some(tenant)) = (self.resource.tenancy, self.tenant()) {
            sql.push(" AND ").name(column).push(" = ").bind(tenant);
        }
        sql.push(")");
        sql
    }

    /// `SELECT columns FROM table WHERE` the rows of the scope; conditions and order may follow.
    pub(super) fn select<'c>(&self, columns: impl IntoIterator<Item = &'c str>) -> Sql {
        let mut sql = Sql::default();
        sql.push("SELECT ");
        for (index, column) in columns.into_iter().enumerate() {
            sql.push(if index == 0 { "" } else { ", " }).name(column);
        }
        sql.push(" FROM ").name(self.resource.table);
        self.rows(&mut sql);
        sql
    }

    /// The statement that inserts a row, with the tenant and the owner of the scope.
    pub(super) fn insert(&self, row: Vec<(&'static str, Value)>) -> Statement {
        let owner = self.owner.iter().filter(|(name, _)| !self.pinned.iter().any(|(pinned, _)| pinned == name));
        let row: Vec<_> = row.into_iter().chain(self.pinned.clone()).chain(owner.cloned()).collect();
        let mut sql = Sql::default();
        sql.push("INSERT INTO ").name(self.resource.table).push(" (");
        for (index, (name, _)) in row.iter().enumerate() {
            sql.push(if index == 0 { "" } else { ", " }).name(name);
        }
        sql.push(") VALUES (");
        for (index, (_, value)) in row.into_iter().enumerate() {
            sql.push(if index == 0 { "" } else { ", " }).bind(value);
        }
        sql.push(")");
        sql.into_statement()
    }

    /// SQL that changes a row, if it has the given revision, and increments the revision.
    pub(super) fn update(&self, id: &str, revision: Option<i64>, changes: Vec<(&'static str, Value)>) -> Sql {
        let mut sql = Sql::default();
        sql.push("UPDATE ").name(self.resource.table).push(" SET \"revision\" = \"revision\" + 1");
        for (name, value) in changes {
            sql.push(", ").name(name).push(" = ").bind(value);
        }
        self.rows(&mut sql);
        one(&mut sql, id, revision);
        sql
    }

    /// SQL that deletes a row, if it has the given revision.
    pub(super) fn delete(&self, id: &str, revision: Option<i64>) -> Sql {
        let mut sql = Sql::default();
        sql.push("DELETE FROM ").name(self.resource.table);
        self.rows(&mut sql);
        one(&mut sql, id, revision);
        sql
    }

    /// Appends the predicates of the tenant and the owner.
    fn rows(&self, sql: &mut Sql) {
        sql.push(" WHERE true");
        for (name, value) in &self.pinned {
            sql.push(" AND ").name(name).push(" = ").bind(value.clone());
        }
    }
}

/// Appends the predicates of one row, and of its revision where one is expected.
fn one(sql: &mut Sql, id: &str, revision: Option<i64>) {
    sql.push(" AND \"id\" = ").bind(id);
    if let Some(revision) = revision {
        sql.push(" AND \"revision\" = ").bind(revision);
    }
}
