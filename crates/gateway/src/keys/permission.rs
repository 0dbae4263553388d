//! Permissions of a key, and the resources to which they are bound.
//!
//! They are checked in two steps: [`KeyScope::has`] for the operation, then one of the other questions
//! for the resource. A door asks both before it opens anything, so that a bound key cannot tell which
//! other resources exist.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::BucketScope;

/// A permission of a key. It displays as its name, `r2:read` say, and parses from it.
///
/// `r2:write` does not include `r2:read`; `d1:write` includes `d1:read`, since a statement that writes can read, too.
///
/// ```
/// use isobar_gateway::keys::Permission;
///
/// assert_eq!("d1:write".parse(), Ok(Permission::D1Write));
/// assert_eq!(Permission::R2Read.to_string(), "r2:read");
/// let error = "r2:admin".parse::<Permission>().unwrap_err();
/// assert!(error.to_string().starts_with("unknown permission \"r2:admin\": use "));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[non_exhaustive]
pub enum Permission {
    /// `r2:read`: list buckets and objects, read objects.
    R2Read,
    /// `r2:write`: write and delete objects; create and delete buckets, where the key is not bound to some.
    R2Write,
    /// `d1:read`: list databases, run statements that only read, export.
    D1Read,
    /// `d1:write`: run every statement that D1 allows, import; create and delete databases, where the key is not bound to some.
    D1Write,
    /// `analytics:read`: query datasets.
    AnalyticsRead,
    /// `sessions:read`: list namespaces of session objects, and their objects; in the explorer, read all that every object stores.
    SessionsRead,
}

/// There is no permission of this name. It displays with the names that there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown permission {0:?}: use {list}", list = names())]
pub struct UnknownPermission(String);

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 6] =
        [Self::R2Read, Self::R2Write, Self::D1Read, Self::D1Write, Self::AnalyticsRead, Self::SessionsRead];

    /// Returns the name.
    ///
    /// ```
    /// use isobar_gateway::keys::Permission;
    ///
    /// for permission in Permission::ALL {
    ///     assert_eq!(permission.name().parse(), Ok(permission));
    /// }
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::R2Read => "r2:read",
            Self::R2Write => "r2:write",
            Self::D1Read => "d1:read",
            Self::D1Write => "d1:write",
            Self::AnalyticsRead => "analytics:read",
            Self::SessionsRead => "sessions:read",
        }
    }
}

fn names() -> String {
    Permission::ALL.map(Permission::name).join(", ")
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Permission> for &'static str {
    fn from(permission: Permission) -> Self {
        permission.name()
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, UnknownPermission> {
        let found = Self::ALL.into_iter().find(|permission| permission.name() == name);
        found.ok_or_else(|| UnknownPermission(name.to_owned()))
    }
}

impl TryFrom<String> for Permission {
    type Error = UnknownPermission;

    fn try_from(name: String) -> Result<Self, UnknownPermission> {
        name.parse()
    }
}

/// Permissions of a key, and the resources to which they are bound. Default: none.
///
/// A list of resources that is empty is every resource of its kind. A key that is bound to some creates and deletes none.
///
/// ```
/// use isobar_gateway::keys::{KeyScope, Permission};
///
/// let scope = KeyScope::new([Permission::R2Read, Permission::D1Write]).with_bucket("photos").with_database("orders");
/// assert!(scope.buckets().can_read("photos", "a.jpg") && !scope.buckets().can_write("photos", "a.jpg"));
/// assert!(scope.knows_database(["orders"]) && !scope.knows_database(["users"]));
/// assert!(!scope.can_administer_databases());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KeyScope {
    /// The permissions. Default: none.
    pub permissions: BTreeSet<Permission>,
    /// Names of the only buckets. Default: empty, which is every bucket.
    pub buckets: Vec<String>,
    /// Beginning of the only object keys. Default: empty, which is every key.
    pub prefix: String,
    /// Names or ids of the only databases. Default: empty, which is every database.
    pub databases: Vec<String>,
    /// Names of the only datasets. Default: empty, which is every dataset.
    pub datasets: Vec<String>,
}

impl KeyScope {
    /// Returns a scope with these permissions on every resource.
    #[must_use]
    pub fn new(permissions: impl IntoIterator<Item = Permission>) -> Self {
        Self { permissions: permissions.into_iter().collect(), ..Self::default() }
    }

    /// Adds a bucket to the only ones. The first one narrows the scope from every bucket to this one.
    #[must_use]
    pub fn with_bucket(mut self, name: impl Into<String>) -> Self {
        self.buckets.push(name.into());
        self
    }

    /// Binds the scope to object keys with this prefix, letter by letter; a slash at its end makes it a
    /// folder.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Adds a database, by its name or id, to the only ones.
    #[must_use]
    pub fn with_database(mut self, name: impl Into<String>) -> Self {
        self.databases.push(name.into());
        self
    }

    /// Adds a dataset to the only ones.
    #[must_use]
    pub fn with_dataset(mut self, name: impl Into<String>) -> Self {
        self.datasets.push(name.into());
        self
    }

    /// Reports whether the key has a permission of this name. That `d1:write` includes `d1:read` is the
    /// doors' to know.
    #[must_use]
    pub fn has(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Returns what the key may do with buckets.
    ///
    /// ```
    /// use isobar_gateway::keys::{KeyScope, Permission};
    ///
    /// let scope = KeyScope::new([Permission::R2Write]).with_bucket("photos").with_prefix("2026/");
    /// let buckets = scope.buckets();
    /// assert!(buckets.can_write("photos", "2026/a.jpg") && !buckets.can_write("photos", "2025/a.jpg"));
    /// assert!(!buckets.can_read("photos", "2026/a.jpg"), "writing does not include reading");
    /// ```
    #[must_use]
    pub fn buckets(&self) -> BucketScope {
        let mut scope = BucketScope::default().with_prefix(&*self.prefix);
        scope.read = self.has(Permission::R2Read);
        scope.write = self.has(Permission::R2Write);
        scope.buckets.clone_from(&self.buckets);
        scope
    }

    /// Reports whether a database, by all of its names and ids, is within the scope, whatever is done with it.
    #[must_use]
    pub fn knows_database<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        self.databases.is_empty() || names.into_iter().any(|name| self.databases.iter().any(|known| known == name))
    }

    /// Reports whether databases may be created and deleted: by a key that may write and is bound to none.
    ///
    /// ```
    /// use isobar_gateway::keys::{KeyScope, Permission};
    ///
    /// assert!(KeyScope::new([Permission::D1Write]).can_administer_databases());
    /// assert!(!KeyScope::new([Permission::D1Write]).with_database("orders").can_administer_databases());
    /// assert!(!KeyScope::new([Permission::D1Read]).can_administer_databases());
    /// ```
    #[must_use]
    pub fn can_administer_databases(&self) -> bool {
        self.has(Permission::D1Write) && self.databases.is_empty()
    }

    /// Reports whether a dataset may be queried.
    ///
    /// ```
    /// use isobar_gateway::keys::{KeyScope, Permission};
    ///
    /// let scope = KeyScope::new([Permission::AnalyticsRead]).with_dataset("visits");
    /// assert!(scope.can_read_dataset("visits") && !scope.can_read_dataset("audit"));
    /// assert!(!KeyScope::new([Permission::R2Read]).can_read_dataset("visits"));
    /// ```
    #[must_use]
    pub fn can_read_dataset(&self, name: &str) -> bool {
        self.has(Permission::AnalyticsRead)
            && (self.datasets.is_empty() || self.datasets.iter().any(|known| known == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_scope_allows_nothing() {
        let scope = KeyScope::default();
        assert!(Permission::ALL.iter().all(|permission| !scope.has(*permission)));
        assert!(!scope.buckets().can_read("a", "k") && !scope.buckets().can_write("a", "k"));
        assert!(!scope.can_administer_databases() && !scope.can_read_dataset("d"));
    }

    #[test]
    fn scope_survives_json() {
        let scope =
            KeyScope::new(Permission::ALL).with_bucket("b").with_prefix("p/").with_database("d").with_dataset("s");
        let text = serde_json::to_string(&scope).unwrap();
        assert!(text.contains("\"r2:read\""), "{text}");
        assert_eq!(serde_json::from_str::<KeyScope>(&text).unwrap(), scope);
        assert!(serde_json::from_str::<KeyScope>(r#"{"permissions": ["r2:all"]}"#).is_err());
    }

    #[test]
    fn database_is_known_by_each_of_its_names() {
        let scope = KeyScope::new([Permission::D1Read]).with_database("6f1c");
        assert!(scope.knows_database(["orders", "6f1c"]) && !scope.knows_database(["orders", "7a2d"]));
    }
}
