//! The declaration of a resource: its table, columns, ownership and policies.
//!
//! A declaration is a value: it is built once per router, is shared by its handlers, and touches no database. Names are
//! `&'static str`, so that neither a table nor a column can come from a request; they are quoted in SQL all the same. Mistakes
//! panic as soon as they can be seen: taken names and defaults in [`Resource::column`], references and secrets in
//! `Api::into_router`. That the table has the columns is not checked: a statement that names a missing one is answered 500,
//! and the error is logged.

use super::Column;
use crate::{Policy, Role};

/// Names of parameters that no column may have.
pub(crate) const RESERVED: &[&str] = &["limit", "cursor", "sort", "fields", "q"];

/// The declaration of a table that the API serves.
///
/// Beside the declared columns the table has `id TEXT` (unique), `revision INTEGER`, `created_at TEXT` and `updated_at TEXT`, all
/// `NOT NULL` and written by the API only. Rows of tenants have a column with the tenant's id, too, which is not declared.
///
/// ```
/// use isobar_api::{Column, Policy, Resource, Role};
///
/// let notes = Resource::of_tenant("notes")
///     .describe("Notes of a team.")
///     .column(Column::text("title").chars(1..=100).required().sortable())
///     .column(Column::text("body").chars(0..=10_000))
///     .owned_by("user_id", Role::Admin)
///     .max_rows(10_000)
///     .sort("title")
///     .read(Policy::AtLeast(Role::Viewer))
///     .write(Policy::AtLeast(Role::Member))
///     .delete(Policy::AtLeast(Role::Admin));
/// assert_eq!(notes.info().columns.len(), 6); // id, title, body, revision, created_at, updated_at
/// ```
#[derive(Debug, Clone)]
pub struct Resource {
    pub(crate) name: &'static str,
    pub(crate) table: &'static str,
    pub(crate) tenancy: Tenancy,
    pub(crate) columns: Vec<Column>,
    pub(crate) description: &'static str,
    pub(crate) search: Option<&'static str>,
    pub(crate) ownership: Option<RowOwnership>,
    pub(crate) policies: Policies,
    pub(crate) sort: &'static str,
    pub(crate) max_rows: Option<u64>,
}

/// A description of a resource, as [`Resource::info`] returns it.
///
/// ```
/// use isobar_api::{Column, Resource};
/// let info = Resource::shared("themes").describe("Colours.").column(Column::text("name").required()).info();
/// assert_eq!((info.name.as_str(), info.description.as_str()), ("themes", "Colours."));
/// let names: Vec<_> = info.columns.iter().filter_map(|column| column["name"].as_str()).collect();
/// assert_eq!(names, ["id", "name", "revision", "created_at", "updated_at"]);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResourceInfo {
    /// Name of the resource, which is the first segment of its paths.
    pub name: String,
    /// Description of the resource; empty by default.
    pub description: String,
    /// Columns in their order, each an object with `name`, `takes`, `required`, `read_only` and `description`.
    pub columns: Vec<serde_json::Value>,
}

/// Ownership of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenancy {
    /// Each row belongs to the tenant whose id is in this column.
    Tenant(&'static str),
    /// The rows are shared by all tenants.
    Shared,
}

/// Rows that belong to one user each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowOwnership {
    pub(crate) column: &'static str,
    /// The least role that sees and writes the rows of all users.
    pub(crate) except: Role,
}

/// The policies of the operations, each [`Policy::Nobody`] until it is set.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policies {
    pub(crate) read: Policy,
    pub(crate) create: Policy,
    pub(crate) update: Policy,
    pub(crate) delete: Policy,
}

impl Resource {
    /// A resource whose rows belong to one tenant each, whose id is in the column `tenant_id`. A principal sees and writes the
    /// rows of its own tenant only. No principal is admitted until policies are declared.
    ///
    /// Every statement has the tenant of the principal in its `WHERE`, and a new row gets it: no body, no parameter and no id
    /// chooses another one. The name is the path, the scope of API keys, and the table unless [`table`](Self::table) names
    /// another one. An index `(tenant_id, id)` makes lists cost what their page costs.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_api::{Api, Column, Policy, Principal, Resource, Role};
    /// # use isobar_db::{QueryableExt, SqliteDatabase};
    /// # use tower::ServiceExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(isobar_api::SCHEMA).await?;
    /// # let sql = "CREATE TABLE notes (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, user_id TEXT, title TEXT NOT NULL, \
    /// #     revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)";
    /// # database.run_script(sql).await?;
    /// let notes = Resource::of_tenant("notes").column(Column::text("title").required()).read(Policy::AtLeast(Role::Viewer));
    /// let router = Api::new(database.clone()).resource(notes).into_router();
    /// database.run_script("INSERT INTO notes VALUES ('n1', 'acme', NULL, 'ours', 1, '', '')").await?;
    /// for (tenant, status) in [("acme", 200), ("other", 404)] {
    ///     let mut request = Request::get("/notes/n1").body(Body::empty())?;
    ///     request.extensions_mut().insert(Principal::member("ada", tenant, Role::Owner));
    ///     assert_eq!(router.clone().oneshot(request).await?.status(), status);
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn of_tenant(name: &'static str) -> Self {
        Self::new(name, Tenancy::Tenant("tenant_id"))
    }

    /// A resource whose rows belong to no tenant, and are the same for all principals. No principal is admitted until policies
    /// are declared.
    ///
    /// Rows are not counted against a quota of a tenant. Writes are seen by all tenants: leave them
    /// at [`Policy::Nobody`] unless the owners of every tenant may change what all of them see.
    #[must_use]
    pub fn shared(name: &'static str) -> Self {
        Self::new(name, Tenancy::Shared)
    }

    fn new(name: &'static str, tenancy: Tenancy) -> Self {
        Self {
            name,
            table: name,
            tenancy,
            columns: Vec::new(),
            description: "",
            search: None,
            ownership: None,
            policies: Policies::default(),
            sort: "-id",
            max_rows: None,
        }
    }

    /// Sets the name of the table. Default: the name of the resource.
    ///
    /// ```
    /// use isobar_api::{Column, Policy, Resource, Role};
    /// // `/members` shows the table `memberships`.
    /// let members = Resource::of_tenant("members")
    ///     .table("memberships")
    ///     .column(Column::choice("role", &["viewer", "member", "admin", "owner"]).required())
    ///     .read(Policy::AtLeast(Role::Viewer));
    /// assert_eq!(members.info().name, "members");
    /// ```
    #[must_use]
    pub fn table(mut self, table: &'static str) -> Self {
        self.table = table;
        self
    }

    /// Sets the column with the tenant's id. Default: `tenant_id`. For a table of the tenants themselves it is `id`.
    ///
    /// ```
    /// use isobar_api::{Column, Policy, Resource, Role};
    /// // A tenant sees and renames its own row only.
    /// let tenants = Resource::of_tenant("tenants")
    ///     .tenant_column("id")
    ///     .column(Column::text("name").chars(1..=200).required())
    ///     .read(Policy::AtLeast(Role::Viewer))
    ///     .update(Policy::AtLeast(Role::Owner));
    /// # drop(tenants);
    /// ```
    ///
    /// # Panics
    /// When the rows are shared.
    #[must_use]
    pub fn tenant_column(mut self, column: &'static str) -> Self {
        assert!(self.tenancy != Tenancy::Shared, "{} is shared", self.name);
        self.tenancy = Tenancy::Tenant(column);
        self
    }

    /// Sets the description in the documentation. Default: empty.
    #[must_use]
    pub fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Adds a column.
    ///
    /// The order of the calls is the order in answers and documents, between `id` and the other standard columns.
    ///
    /// ```should_panic
    /// use isobar_api::{Column, Resource};
    /// // `limit` is a parameter of lists: a filter by the column could not be told from it.
    /// let rules = Resource::of_tenant("rules").column(Column::integer("limit"));
    /// # drop(rules);
    /// ```
    ///
    /// # Panics
    /// When the name is taken, by another column, by that of the owner or by a parameter of lists (`limit`, `cursor`, `sort`, `fields`,
    /// `q`); when the default is not a valid value; when the column is sortable and may be null.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        let taken = [standard_names().as_slice(), RESERVED].concat();
        let is_owner = self.ownership.is_some_and(|ownership| ownership.column == column.name);
        let free = !taken.contains(&column.name) && !is_owner && self.find(column.name).is_none();
        assert!(free, "{}: the name {} is taken", self.name, column.name);
        assert!(!column.sortable || !column.nullable(), "{}: {} may be null: no sort", self.name, column.name);
        if let Some(default) = &column.default {
            let checked = column.value(default);
            assert!(checked.is_ok(), "{}: the default of {}: {checked:?}", self.name, column.name);
        }
        self.columns.push(column);
        self
    }

    /// Sets an FTS5 table whose rows have the rowids of this table. Lists then take `q`, with up to 12 search words. Default: none. In
    /// Postgres it is a view of this name, with the columns `id` and `document`, a `tsvector` of the configuration `simple`.
    ///
    /// Every word must occur, and the last one may be the beginning of a word. Letters and digits are words, all else
    /// separates them, and no operator of FTS5 can be sent. The program keeps the table in step, by triggers for example:
    ///
    /// ```sql
    /// CREATE VIRTUAL TABLE notes_fts USING fts5(title, body, content='notes', content_rowid='row');
    /// CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN
    ///     INSERT INTO notes_fts (rowid, title, body) VALUES (new.row, new.title, new.body); END;
    /// ```
    ///
    /// The rowids have to be stable: the table needs a column `row INTEGER PRIMARY KEY`, as `VACUUM` may renumber rows without
    /// one.
    #[must_use]
    pub fn search(mut self, fts_table: &'static str) -> Self {
        self.search = Some(fts_table);
        self
    }

    /// Makes each row belong to the user who creates it, whose id the API writes into `column`. Principals below the role
    /// `except` see and write their own rows only. Default: rows belong to no user.
    ///
    /// The owner is set at creation, and no request changes it: the column is not declared. For the scope of a principal,
    /// another user's row does not exist: 404.
    ///
    /// ```
    /// use isobar_api::{Column, Policy, Resource, Role};
    /// // Members see their own drafts, admins and owners those of all.
    /// let drafts = Resource::of_tenant("drafts")
    ///     .column(Column::text("text").chars(0..=10_000))
    ///     .owned_by("user_id", Role::Admin)
    ///     .read(Policy::AtLeast(Role::Member))
    ///     .write(Policy::AtLeast(Role::Member));
    /// # drop(drafts);
    /// ```
    ///
    /// # Panics
    /// When the column is declared: requests would set it, and the owner again.
    #[must_use]
    pub fn owned_by(mut self, column: &'static str, except: Role) -> Self {
        assert!(self.find(column).is_none(), "{}: the owner's column {column} is declared", self.name);
        self.ownership = Some(RowOwnership { column, except });
        self
    }

    /// Sets the number of rows that a tenant may have. Beyond it a creation is answered 507. Default: [`Quotas::rows`](crate::Quotas::rows).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_api::{Api, Column, Policy, Principal, Resource, Role};
    /// # use isobar_db::{QueryableExt, SqliteDatabase};
    /// # use tower::ServiceExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(isobar_api::SCHEMA).await?;
    /// # let sql = "CREATE TABLE notes (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, user_id TEXT, title TEXT NOT NULL, \
    /// #     revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)";
    /// # database.run_script(sql).await?;
    /// let member = Policy::AtLeast(Role::Member);
    /// let notes = Resource::of_tenant("notes").column(Column::text("title").required()).create(member).max_rows(1);
    /// let router = Api::new(database).resource(notes).into_router();
    /// for status in [201, 507] {
    ///     let body = Body::from(r#"{"title": "a"}"#);
    ///     let mut create = Request::post("/notes").header("content-type", "application/json").body(body)?;
    ///     create.extensions_mut().insert(Principal::member("ada", "acme", Role::Member));
    ///     assert_eq!(router.clone().oneshot(create).await?.status(), status);
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_rows(mut self, rows: u64) -> Self {
        self.max_rows = Some(rows);
        self
    }

    /// Sets the order of lists without the parameter `sort`, in its form: names of sortable columns, separated by commas, each with a
    /// leading `-` for descending. Default: `-id`, the newest first.
    ///
    /// The id is added as the last column unless it is among them, so that the order is total. A form that is not valid is
    /// answered 400 by every list that does not choose another order.
    #[must_use]
    pub fn sort(mut self, sort: &'static str) -> Self {
        self.sort = sort;
        self
    }

    /// Sets the principals that may list and get rows. Default: [`Policy::Nobody`].
    ///
    /// An API key needs the scope `name:read`, too. [`Policy::Public`] opens a [shared](Self::shared) resource to
    /// everyone.
    #[must_use]
    pub fn read(mut self, policy: Policy) -> Self {
        self.policies.read = policy;
        self
    }

    /// Sets the principals that may create, change and delete rows. Default: [`Policy::Nobody`].
    ///
    /// It sets three policies at once; a later [`create`](Self::create), [`update`](Self::update) or [`delete`](Self::delete)
    /// replaces its own.
    ///
    /// ```
    /// use isobar_api::{Policy, Resource, Role};
    /// let invoices = Resource::of_tenant("invoices")
    ///     .read(Policy::AtLeast(Role::Viewer))
    ///     .write(Policy::AtLeast(Role::Member))
    ///     .delete(Policy::Nobody); // DELETE is answered 405
    /// # drop(invoices);
    /// ```
    #[must_use]
    pub fn write(mut self, policy: Policy) -> Self {
        self.policies.create = policy;
        self.policies.update = policy;
        self.policies.delete = policy;
        self
    }

    /// Sets the principals that may create rows. Default: [`Policy::Nobody`].
    ///
    /// Rows of a tenant are counted only where this is set: those that a program creates by its own statements are not
    /// limited.
    #[must_use]
    pub fn create(mut self, policy: Policy) -> Self {
        self.policies.create = policy;
        self
    }

    /// Sets the principals that may change rows. Default: [`Policy::Nobody`].
    ///
    /// A PATCH is a merge patch of one level: columns that it has are replaced, the others stay.
    #[must_use]
    pub fn update(mut self, policy: Policy) -> Self {
        self.policies.update = policy;
        self
    }

    /// Sets the principals that may delete rows. Default: [`Policy::Nobody`].
    ///
    /// Rows that refer to the deleted one are the schema's matter: `ON DELETE CASCADE` deletes them in the same transaction, a
    /// foreign key without it makes the answer 409.
    #[must_use]
    pub fn delete(mut self, policy: Policy) -> Self {
        self.policies.delete = policy;
        self
    }

    /// Returns a description of the resource, for documentation in another form than OpenAPI.
    #[must_use]
    pub fn info(&self) -> ResourceInfo {
        let column = |column: &Column| {
            serde_json::json!({"name": column.name, "takes": column.expected(), "required": column.required,
                "read_only": column.read_only, "description": column.description})
        };
        let columns = self.all_shown().iter().map(column).collect();
        ResourceInfo { name: self.name.to_owned(), description: self.description.to_owned(), columns }
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// A column that the API shows, declared or standard.
    pub(crate) fn shown(&self, name: &str) -> Option<Column> {
        self.find(name).cloned().or_else(|| standard().into_iter().find(|column| column.name == name))
    }

    /// The columns that the API shows, in their order.
    pub(crate) fn all_shown(&self) -> Vec<Column> {
        let [id, rest @ ..] = standard();
        std::iter::once(id).chain(self.columns.iter().cloned()).chain(rest).collect()
    }
}

/// The columns that every resource has.
///
/// `id` comes first in answers, the others last. Declared columns cannot take their names.
fn standard() -> [Column; 4] {
    [
        Column::text("id").required().read_only().sortable().describe("Newer ids sort after older ones."),
        Column::integer("revision").required().read_only().describe("Counts the changes; the ETag has it."),
        Column::timestamp("created_at").required().read_only().sortable(),
        Column::timestamp("updated_at").required().read_only().sortable(),
    ]
}

fn standard_names() -> [&'static str; 4] {
    standard().map(|column| column.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_with_a_taken_name_or_an_invalid_default_are_refused() {
        let refused = |column: fn() -> Column| {
            std::panic::catch_unwind(|| Resource::shared("x").column(Column::text("a")).column(column())).is_err()
        };
        assert!(refused(|| Column::text("a")));
        assert!(refused(|| Column::text("id")));
        assert!(refused(|| Column::text("limit")));
        assert!(refused(|| Column::text("b").sortable()));
        assert!(refused(|| Column::boolean("b").default("yes")));
        assert!(!refused(|| Column::boolean("b").default(true).sortable()));
    }

    #[test]
    fn the_owners_column_is_not_declared_before_or_after() {
        let owned = || Resource::of_tenant("x").owned_by("user_id", Role::Admin);
        let declared = || Resource::of_tenant("x").column(Column::text("user_id"));
        assert!(std::panic::catch_unwind(|| owned().column(Column::text("user_id"))).is_err());
        assert!(std::panic::catch_unwind(|| declared().owned_by("user_id", Role::Admin)).is_err());
        assert!(owned().column(Column::text("text")).find("text").is_some());
    }
}
