//! Resources: a table becomes an API by declaration.

mod bulk;
mod column;
#[cfg(not(target_arch = "wasm32"))]
mod fair_scheduler;
mod handlers;
mod idempotency;
mod input;
mod list;
mod quota;
mod scope;

pub use column::{Column, Format, Shape};
pub(crate) use column::{Kind, rfc3339, timestamp};
pub(crate) use handlers::{Served, routes};
pub(crate) use input::{must_have_changed, nothing_changed, now};
pub(crate) use list::{MAX_LIMIT, OPERATORS, object as row_object};
pub use quota::Quotas;
pub(crate) use quota::{is_reached, must_not};

use isobar_db::Result;

use crate::{Policy, Role};

/// A table, as the API serves it.
///
/// The table has, beside the declared columns, `id TEXT` (unique), `revision INTEGER`, `created_at TEXT` and
/// `updated_at TEXT`, all of them not null and written by the API alone.
#[derive(Debug, Clone)]
pub struct Resource {
    pub(crate) name: &'static str,
    pub(crate) table: &'static str,
    pub(crate) tenancy: Tenancy,
    pub(crate) columns: Vec<Column>,
    pub(crate) description: &'static str,
    pub(crate) search: Option<&'static str>,
    pub(crate) own: Option<Own>,
    pub(crate) policies: Policies,
    pub(crate) sort: &'static str,
    pub(crate) max_rows: Option<u64>,
}

/// A description of a resource: see [`Resource::info`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResourceInfo {
    /// Its name, which is its path.
    pub name: String,
    /// The description.
    pub description: String,
    /// Its columns, each an object with `name`, `takes`, `required`, `read_only` and `description`.
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
pub(crate) struct Own {
    pub(crate) column: &'static str,
    /// The least role that sees and writes the rows of all users.
    pub(crate) except: Role,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policies {
    pub(crate) read: Policy,
    pub(crate) create: Policy,
    pub(crate) update: Policy,
    pub(crate) delete: Policy,
}

impl Resource {
    /// Rows of which each is one tenant's, by the column `tenant_id`: a caller sees and writes those of its own tenant.
    /// No principal is admitted until policies are declared.
    #[must_use]
    pub fn of_tenant(name: &'static str) -> Self {
        Self::new(name, Tenancy::Tenant("tenant_id"))
    }

    /// Rows that belong to no tenant: the same for all callers.
    #[must_use]
    pub fn shared(name: &'static str) -> Self {
        Self::new(name, Tenancy::Shared)
    }

    fn new(name: &'static str, tenancy: Tenancy) -> Self {
        let (columns, policies) = (Vec::new(), Policies::default());
        let (description, search, own, sort, max_rows) = ("", None, None, "-id", None);
        Self { name, table: name, tenancy, columns, description, search, own, policies, sort, max_rows }
    }

    /// Sets the name of the table. Default: the resource's.
    #[must_use]
    pub fn table(mut self, table: &'static str) -> Self {
        self.table = table;
        self
    }

    /// Sets the column of the tenant's id. Default: `tenant_id`. For the tenants themselves it is `id`.
    ///
    /// # Panics
    /// When the rows are shared.
    #[must_use]
    pub fn tenant_column(mut self, column: &'static str) -> Self {
        assert!(self.tenancy != Tenancy::Shared, "{} is shared", self.name);
        self.tenancy = Tenancy::Tenant(column);
        self
    }

    /// Sets the description in the documentation.
    #[must_use]
    pub fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// A column.
    ///
    /// # Panics
    /// When there is one of this name, the name is a parameter of lists, its default is none of its values, or it is to be
    /// sorted by and may be null.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        let taken = [standard_names().as_slice(), list::RESERVED].concat();
        let free = !taken.contains(&column.name) && self.find(column.name).is_none();
        assert!(free, "{}: the name {} is taken", self.name, column.name);
        assert!(!column.sortable || !column.nullable(), "{}: {} may be null: no sort", self.name, column.name);
        if let Some(default) = &column.default {
            let checked = column.value(default);
            assert!(checked.is_ok(), "{}: the default of {}: {checked:?}", self.name, column.name);
        }
        self.columns.push(column);
        self
    }

    /// Sets the FTS5 table whose rows have the rowids of this one: lists take `q`.
    #[must_use]
    pub fn search(mut self, fts_table: &'static str) -> Self {
        self.search = Some(fts_table);
        self
    }

    /// Makes each row one user's, whose id the API writes into this column; callers below the role see and write their own.
    #[must_use]
    pub fn owned_by(mut self, column: &'static str, except: Role) -> Self {
        self.own = Some(Own { column, except });
        self
    }

    /// Rows that a tenant may have of it. Default: [`Quotas::rows`].
    #[must_use]
    pub fn max_rows(mut self, rows: u64) -> Self {
        self.max_rows = Some(rows);
        self
    }

    /// Sets the order of lists that ask for none, as `sort` takes it. Default: `-id`, the newest first.
    #[must_use]
    pub fn sort(mut self, sort: &'static str) -> Self {
        self.sort = sort;
        self
    }

    /// Sets the principals that may list and get.
    #[must_use]
    pub fn read(mut self, policy: Policy) -> Self {
        self.policies.read = policy;
        self
    }

    /// Sets the principals that may create, change and delete.
    #[must_use]
    pub fn write(mut self, policy: Policy) -> Self {
        (self.policies.create, self.policies.update, self.policies.delete) = (policy, policy, policy);
        self
    }

    /// Sets the principals that may create.
    #[must_use]
    pub fn create(mut self, policy: Policy) -> Self {
        self.policies.create = policy;
        self
    }

    /// Sets the principals that may change rows.
    #[must_use]
    pub fn update(mut self, policy: Policy) -> Self {
        self.policies.update = policy;
        self
    }

    /// Sets the principals that may delete.
    #[must_use]
    pub fn delete(mut self, policy: Policy) -> Self {
        self.policies.delete = policy;
        self
    }

    /// Returns the resource's description, for documentation by other means than OpenAPI.
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

/// A new id: a UUID of version 7 (RFC 9562), so that ids sort by the moment they were made.
///
/// # Errors
/// When the system has no randomness.
pub fn new_id() -> Result<String> {
    let mut bytes: [u8; 16] = isobar_base::random::bytes()?;
    let milliseconds = chrono::Utc::now().timestamp_millis().to_be_bytes();
    bytes[..6].copy_from_slice(&milliseconds[2..]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex = hex::encode(bytes);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_that_sort_by_time() {
        let first = new_id().expect("randomness");
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = new_id().expect("randomness");
        assert!(first < second && column::is_id(&first));
        assert_eq!((first.len(), &first[14..15]), (36, "7"));
    }

    #[test]
    fn declarations_that_cannot_hold_are_refused() {
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
}
