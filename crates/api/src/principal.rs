//! Principals of the API, and their permissions.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::Problem;

/// A user's role in a tenant, in ascending order. Each includes the permissions of those before it.
///
/// ```
/// use isobar_api::Role;
/// assert!(Role::Owner > Role::Member);
/// assert_eq!("admin".parse(), Ok(Role::Admin));
/// ```
///
/// The API gives the roles no other meaning than their order; [`Policy`] names the least one. `auth` adds: admins invite
/// people and list the members, and a tenant keeps at least one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Role {
    Viewer,
    Member,
    Admin,
    Owner,
}

impl Role {
    /// The role's name: `viewer`, `member`, `admin`, `owner`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];
        let found = all.into_iter().find(|role| role.as_str() == name);
        found.ok_or_else(|| format!("invalid role {name:?}: use viewer, member, admin or owner"))
    }
}

/// The authenticated sender of a request: a user in a tenant with a role, by a session or an API key. An authenticating layer
/// puts it into the request's extensions, where it is an extractor of axum's; without one there, the request is
/// [anonymous](Self::anonymous).
///
/// ```
/// use isobar_api::{Principal, Role};
/// let key = Principal::member("user-1", "tenant-1", Role::Member).with_scopes(["tickets:read".to_owned()]);
/// assert_eq!((key.user(), key.tenant(), key.role()), (Some("user-1"), Some("tenant-1"), Some(Role::Member)));
/// assert!(key.has_scope("tickets", false) && !key.has_scope("tickets", true));
/// assert_eq!(Principal::anonymous().user(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    member: Option<Member>,
    scopes: Option<Arc<[String]>>,
    session: Option<Arc<str>>,
    key: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    user: Arc<str>,
    tenant: Arc<str>,
    role: Role,
}

impl Principal {
    /// An unauthenticated principal.
    ///
    /// It is admitted by [`Policy::Public`] only. Rows that belong to tenants or users are closed to it even then: 401.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { member: None, scopes: None, session: None, key: None }
    }

    /// A user with a role in a tenant.
    ///
    /// ```
    /// use isobar_api::{Principal, Role};
    /// let ada = Principal::member("ada", "acme", Role::Admin);
    /// assert_eq!((ada.user(), ada.tenant(), ada.role()), (Some("ada"), Some("acme"), Some(Role::Admin)));
    /// assert!(ada.has_scope("tickets", true)); // without scopes the role alone limits
    /// ```
    pub fn member(user: impl Into<Arc<str>>, tenant: impl Into<Arc<str>>, role: Role) -> Self {
        let member = Member { user: user.into(), tenant: tenant.into(), role };
        Self { member: Some(member), ..Self::anonymous() }
    }

    /// Limits the principal to these scopes, as an API key does: `tickets:read`, `tickets:write`, `*:read`, `*`. Default: no
    /// limit.
    ///
    /// | scope | permits |
    /// |---|---|
    /// | `*` | everything that the role permits |
    /// | `tickets:read`, `tickets:write` | to read or to write one resource, or the routes whose path begins with its name |
    /// | `tickets:*` | both |
    /// | `*:read`, `*:write` | to read or to write everything |
    ///
    /// Scopes only limit: what the role does not permit, no scope does. An empty list permits nothing, and an unknown form of
    /// a scope permits nothing either.
    ///
    /// ```
    /// use isobar_api::{Principal, Role};
    /// let key = Principal::member("ada", "acme", Role::Owner).with_scopes(["*:read".to_owned()]);
    /// assert!(key.has_scope("tickets", false) && key.has_scope("invoices", false));
    /// assert!(!key.has_scope("tickets", true));
    /// ```
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = String>) -> Self {
        self.scopes = Some(scopes.into_iter().collect());
        self
    }

    /// Sets the id of the session by which the principal is signed in.
    #[must_use]
    pub fn with_session(mut self, session: impl Into<Arc<str>>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Sets the id of the API key that the principal has sent.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Returns user, tenant, role and scopes as JSON, to pass the principal to another component. The ids of session and key are
    /// left out.
    ///
    /// A server passes it from the router to a session object, in a header of a request that only the server can send.
    ///
    /// ```
    /// use isobar_api::{Principal, Role};
    /// let principal = Principal::member("ada", "acme", Role::Member).with_session("session-1");
    /// let json = principal.to_json();
    /// assert_eq!(json, serde_json::json!({"user": "ada", "tenant": "acme", "role": "member", "scopes": null}));
    /// let passed = Principal::from_json(&json).expect("it has a user");
    /// assert_eq!((passed.user(), passed.session()), (Some("ada"), None));
    /// ```
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"user": self.user(), "tenant": self.tenant(), "role": self.role(), "scopes": self.scopes.as_deref()})
    }

    /// Reads a principal from the JSON of [`to_json`](Self::to_json). Returns `None` for an anonymous principal and for any other
    /// JSON.
    ///
    /// Scopes that are neither null nor a list of texts make it `None`, rather than a principal without a limit. The JSON is
    /// believed: it must not come from a client.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        let role = json["role"].as_str()?.parse().ok()?;
        let principal = Self::member(json["user"].as_str()?, json["tenant"].as_str()?, role);
        match &json["scopes"] {
            serde_json::Value::Null => Some(principal),
            scopes => Some(principal.with_scopes(serde_json::from_value::<Vec<String>>(scopes.clone()).ok()?)),
        }
    }

    /// Returns the id of the session by which the principal is signed in; `None` for an API key.
    ///
    /// ```
    /// use isobar_api::{Principal, Role};
    /// let member = Principal::member("ada", "acme", Role::Member);
    /// assert_eq!(member.clone().with_session("session-1").session(), Some("session-1"));
    /// assert_eq!(member.with_key("key-1").session(), None);
    /// ```
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Returns the id of the API key that the principal has sent; `None` for any other principal.
    ///
    /// ```
    /// use isobar_api::{Principal, Role};
    /// let program = Principal::member("ada", "acme", Role::Member).with_key("key-1");
    /// assert_eq!((program.key(), program.session()), (Some("key-1"), None));
    /// ```
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns the user's id; `None` for an anonymous principal.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.member.as_ref().map(|member| &*member.user)
    }

    /// Returns the tenant's id; `None` for an anonymous principal.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.member.as_ref().map(|member| &*member.tenant)
    }

    /// Returns the role in the tenant; `None` for an anonymous principal.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.member.as_ref().map(|member| member.role)
    }

    /// Whether the scopes permit reading or writing a resource. Without scopes only the role limits the principal.
    #[must_use]
    pub fn has_scope(&self, resource: &str, writes: bool) -> bool {
        let action = if writes { "write" } else { "read" };
        let admits = |scope: &String| match scope.split_once(':') {
            Some((name, allowed)) => (name == "*" || name == resource) && (allowed == "*" || allowed == action),
            None => scope == "*",
        };
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(admits))
    }
}

/// It never fails: a handler that must not run for an anonymous principal needs a [`Policy`] or a check of its own.
impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::anonymous))
    }
}

/// The principals that a route or a resource admits. Default: [`Nobody`](Self::Nobody).
///
/// ```
/// use isobar_api::{Policy, Principal, Role};
/// let members = Policy::AtLeast(Role::Member);
/// assert!(members.admit(&Principal::member("ada", "acme", Role::Admin), "tickets", true).is_ok());
/// assert_eq!(members.admit(&Principal::anonymous(), "tickets", true).unwrap_err().status(), 401);
/// ```
///
/// A policy decides by role and scope whether a route or a resource may be used at all. Which rows are visible is another
/// matter, and decided by the resource: rows of the principal's tenant, and of the principal itself where they [belong to
/// users](crate::Resource::owned_by).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// No principal: the route does not exist.
    #[default]
    Nobody,
    /// Every principal, anonymous ones too.
    Public,
    /// Users with at least this role in their tenant.
    AtLeast(Role),
}

impl Policy {
    /// Checks whether the principal may read or write a resource.
    ///
    /// `resource` is the name that scopes have, the first segment of the path. For [`Public`](Self::Public) neither role nor
    /// scope counts.
    ///
    /// # Errors
    /// 404 where no principal is admitted, 401 for an anonymous principal, 403 for a lower role or an API key without the scope.
    pub fn admit(self, principal: &Principal, resource: &str, writes: bool) -> Result<(), Problem> {
        let role = match self {
            Self::Nobody => return Err(Problem::not_found("not found")),
            Self::Public => return Ok(()),
            Self::AtLeast(role) => role,
        };
        let has = principal.role().ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED).with_detail("sign in, or send an API key as Authorization: Bearer")
        })?;
        let forbidden = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN).with_detail(detail));
        if has < role {
            return forbidden(format!("this takes the role {role}"));
        }
        if !principal.has_scope(resource, writes) {
            let action = if writes { "write" } else { "read" };
            return forbidden(format!("the API key lacks the scope {resource}:{action}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_admit_what_they_name() {
        let admits = |scope: &str, resource, writes| {
            Principal::member("u", "t", Role::Owner).with_scopes([scope.to_owned()]).has_scope(resource, writes)
        };
        for (scope, resource, writes, expected) in [
            ("*", "tickets", true, true),
            ("tickets:read", "tickets", false, true),
            ("tickets:read", "tickets", true, false),
            ("tickets:*", "tickets", true, true),
            ("*:read", "themes", false, true),
            ("themes:write", "tickets", true, false),
            ("tickets", "tickets", false, false),
            ("", "tickets", false, false),
        ] {
            assert_eq!(admits(scope, resource, writes), expected, "{scope} {resource} {writes}");
        }
        assert!(!Principal::member("u", "t", Role::Owner).with_scopes([]).has_scope("tickets", false));
    }

    #[test]
    fn principals_are_handed_on_with_what_limits_them() {
        let key = Principal::member("u", "t", Role::Member).with_scopes(["tickets:read".to_owned()]);
        assert_eq!(Principal::from_json(&key.to_json()), Some(key));
        let member = Principal::member("u", "t", Role::Owner);
        assert_eq!(Principal::from_json(&member.clone().with_session("s").to_json()), Some(member));
        assert_eq!(Principal::from_json(&Principal::anonymous().to_json()), None);
        assert_eq!(
            Principal::from_json(&serde_json::json!({"user": "u", "tenant": "t", "role": "owner", "scopes": 7})),
            None
        );
    }

    #[test]
    fn policies_refuse_lower_roles_with_403_and_anonymous_principals_with_401() {
        let status = |policy: Policy, principal: &Principal| {
            policy.admit(principal, "x", true).map_err(|it| it.status().as_u16())
        };
        let viewer = Principal::member("u", "t", Role::Viewer);
        assert_eq!(status(Policy::default(), &viewer), Err(404));
        assert_eq!(status(Policy::Public, &Principal::anonymous()), Ok(()));
        assert_eq!(status(Policy::AtLeast(Role::Viewer), &Principal::anonymous()), Err(401));
        assert_eq!(status(Policy::AtLeast(Role::Member), &viewer), Err(403));
        assert_eq!(status(Policy::AtLeast(Role::Viewer), &viewer), Ok(()));
        assert_eq!(status(Policy::AtLeast(Role::Viewer), &viewer.with_scopes([])), Err(403));
    }
}
