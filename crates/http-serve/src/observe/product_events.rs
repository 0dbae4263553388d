//! Product events, beside those of requests: the actions of users, without their identities.
//!
//! # What is kept of a user
//!
//! A pseudonym: eight bytes of a MAC of the vault's over the user's id, in hexadecimal. It is the same
//! for the same user, so that users can be counted, and leads to nobody without the keyring. Properties
//! are checked by their names and by an `@` in texts: a check against carelessness, not against intent.
//!
//! # Limits
//!
//! | limit | value | answer |
//! |---|---|---|
//! | events of a tenant in a minute | 600 | 429, `Retry-After: 60` |
//! | properties of an event | 20 | 400 |
//! | text of a property | 200 bytes | 400 |
//! | names | 1 to 64 of `a-z`, `0-9`, `_`, a letter first | 400 |
//! | period of statistics | 2,208 hours | 400 |
//!
//! Limits are counted in memory, by process or isolate: several of them allow more together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use isobar_analytics::EventSink;
use isobar_api::auth::is_operator;
use isobar_api::{Api, Policy, Principal, Problem, Role};
use isobar_base::sync::IgnorePoison;
use isobar_db::Database;
use isobar_db::vault::Vault;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::events::ProductEvent;
use super::stats_cache::StatsCache;
use crate::dataset_queries::DatasetQueries;

const MAX_PROPERTIES: usize = 20;
/// Most bytes of a property's text.
const TEXT_BYTES: usize = 200;
/// Events that one tenant may write in a minute.
const PER_MINUTE: u32 = 600;
/// Hours that statistics are asked for at most: three months, for which Analytics Engine retains events.
const MAX_HOURS: i64 = 92 * 24;
/// Names that a property must not have, because they are of personal data.
const PERSONAL: [&str; 12] = [
    "email",
    "e_mail",
    "mail",
    "name",
    "first_name",
    "last_name",
    "phone",
    "address",
    "ip",
    "password",
    "token",
    "user",
];

/// Body of `POST /analytics/track`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Track {
    name: String,
    #[serde(default)]
    properties: Map<String, Json>,
}

/// Query of `GET /stats`. Default: 24 hours.
#[derive(Debug, Deserialize)]
struct Asked {
    hours: Option<i64>,
}

/// Routes that write events of the product, and that report statistics of all events. Users and tenants are known to them by
/// pseudonyms alone; properties with names of personal data (`email`, `phone`, ...) and texts with an `@` are refused.
///
/// ```no_run
/// # fn example(platform: &isobar_http_serve::Platform, vault: isobar_db::vault::Vault, api: isobar_api::Api)
/// # -> Result<isobar_api::Api, isobar_http_serve::BindingError> {
/// use isobar_http_serve::Analytics;
///
/// let queries = platform.dataset_queries("EVENTS")?;
/// let analytics = Analytics::new(platform.dataset("EVENTS")?, queries, vault, platform.database("DB")?);
/// let api = analytics.mount(api); // POST /analytics/track, GET /stats
/// # Ok(api) }
/// ```
#[derive(Debug, Clone)]
pub struct Analytics {
    dataset: Arc<dyn EventSink>,
    queries: DatasetQueries,
    vault: Vault,
    database: Arc<dyn Database>,
    cache: Arc<StatsCache>,
    tracked: Arc<Tracked>,
}

/// State that outlives a request.
#[derive(Debug, Clone, Default)]
struct Kept {
    cache: Arc<StatsCache>,
    tracked: Arc<Tracked>,
}

impl Kept {
    /// Natively an application is made once; inside Workers for each request, so that an isolate keeps it in a place of its own.
    fn of_process() -> Self {
        #[cfg(target_arch = "wasm32")]
        {
            static KEPT: std::sync::LazyLock<Kept> = std::sync::LazyLock::new(Kept::default);
            KEPT.clone()
        }
        #[cfg(not(target_arch = "wasm32"))]
        Self::default()
    }
}

/// The events that each tenant has written in this minute.
#[derive(Debug, Default)]
struct Tracked(Mutex<(i64, HashMap<String, u32>)>);

impl Tracked {
    /// Counts an event; `false` where the tenant has reached its limit for this minute.
    fn count(&self, tenant: &str, now: DateTime<Utc>) -> bool {
        // Changed in single steps.
        let mut state = self.0.lock().ignore_poison();
        let (minute, counts) = &mut *state;
        let this = now.timestamp().div_euclid(60);
        if *minute != this {
            *minute = this;
            *counts = HashMap::new();
        }
        let count = counts.entry(tenant.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count <= PER_MINUTE
    }
}

impl Analytics {
    /// Keeps events in this dataset, and asks it for statistics; the vault makes the pseudonyms. By the accounts of the database, [the operator](is_operator)
    /// sees the statistics of all requests and events, and every other tenant those of its own events.
    pub fn new(
        dataset: Arc<dyn EventSink>,
        queries: DatasetQueries,
        vault: Vault,
        database: Arc<dyn Database>,
    ) -> Self {
        let Kept { cache, tracked } = Kept::of_process();
        Self { dataset, queries, vault, database, cache, tracked }
    }

    /// Adds `POST /analytics/track` for authenticated principals, 600 events a minute for each
    /// tenant, and `GET /stats` for admins. Statistics are kept for 5 s; the dataset
    /// is asked for one tenant after the other, and for each once at a time. Where it cannot be asked, `GET /stats` is 501 and says
    /// what to configure.
    #[must_use]
    pub fn mount(&self, api: Api) -> Api {
        let problem = || json!({"$ref": "#/components/responses/Problem"});
        let track_item = json!({"post": {
            "operationId": "track", "tags": ["analytics"], "summary": "Write an event of the product",
            "requestBody": {"required": true, "content": {"application/json": {"schema": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
                    "properties": {"type": "object", "maxProperties": MAX_PROPERTIES,
                        "additionalProperties": {"type": ["string", "number", "boolean"]},
                        "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,63}$"}},
                },
            }}}},
            "responses": {"202": {"description": "The event is written"}, "4XX": problem(), "5XX": problem()},
        }});
        let stats_item = json!({"get": {
            "operationId": "stats", "tags": ["analytics"], "summary": "Statistics of requests and events",
            "parameters": [{"name": "hours", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_HOURS}}],
            "responses": {"200": {"description": "The statistics", "content": {"application/json": {"schema": {"type": "object"}}}},
                "4XX": problem(), "5XX": problem()},
        }});
        let known = Policy::AtLeast(Role::Viewer);
        let admin = Policy::AtLeast(Role::Admin);
        api.route("/analytics/track", Policy::Nobody, known, post(track).with_state(self.clone()))
            .route("/stats", admin, Policy::Nobody, get(shown).with_state(self.clone()))
            .document("/analytics/track", track_item)
            .document("/stats", stats_item)
    }

    /// Makes a pseudonym: the same for the same text, under the vault's keys.
    async fn pseudonym(&self, of: &str) -> Result<String, Problem> {
        let mac = self.vault.mac("analytics pseudonym", of.as_bytes()).await?;
        Ok(hex::encode(&mac[..8]))
    }
}

/// Writes an event. It is counted against the tenant's limit before it is checked, so that invalid ones
/// cost their sender, too.
async fn track(
    State(analytics): State<Analytics>,
    principal: Principal,
    body: Result<axum::Json<Json>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    let axum::Json(json) = body?;
    if !analytics.tracked.count(principal.tenant().unwrap_or_default(), Utc::now()) {
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS)
            .with_detail(format!("a tenant may write {PER_MINUTE} events a minute; wait a minute"))
            .with_retry_after(HeaderValue::from_static("60")));
    }
    let Track { name, properties } = serde_json::from_value(json)
        .map_err(|error| Problem::bad_request(format!("the event is not valid: {error}")))?;
    let mut problem = Problem::bad_request("the event is not valid; see errors");
    let mut is_wrong = false;
    let mut refuse = |field: String, detail: &str| {
        is_wrong = true;
        problem = problem.clone().with_field(field, detail);
    };
    if !is_word(&name) {
        refuse("name".to_owned(), "must be 1 to 64 of a-z, 0-9 and _, a letter first");
    }
    if properties.len() > MAX_PROPERTIES {
        refuse("properties".to_owned(), "must be 20 at most");
    }
    for (key, value) in properties.iter().take(MAX_PROPERTIES) {
        let field = format!("properties.{key}");
        match value {
            _ if !is_word(key) => refuse(field, "must be called by 1 to 64 of a-z, 0-9 and _"),
            _ if PERSONAL.contains(&key.as_str()) => refuse(field, "is the name of personal data"),
            Json::String(text) if text.len() > TEXT_BYTES => refuse(field, "must have 200 bytes at most"),
            Json::String(text) if text.contains('@') => refuse(field, "looks like an e-mail address"),
            Json::String(_) | Json::Number(_) | Json::Bool(_) => {}
            _ => refuse(field, "must be a text, a number or a boolean"),
        }
    }
    if is_wrong {
        return Err(problem);
    }
    let user = analytics.pseudonym(principal.user().unwrap_or_default()).await?;
    let tenant = analytics.pseudonym(principal.tenant().unwrap_or_default()).await?;
    analytics.dataset.write(ProductEvent { name, user, tenant, properties }.to_point());
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Returns statistics: of all for the operator, else of the principal's tenant.
async fn shown(
    State(analytics): State<Analytics>,
    principal: Principal,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let hours = asked.map(|asked| asked.hours.unwrap_or(24)).unwrap_or_default();
    if !(1..=MAX_HOURS).contains(&hours) {
        let detail = format!("must be 1 to {MAX_HOURS}");
        return Err(Problem::bad_request("the query is not valid").with_field("hours", detail));
    }
    let tenant = match is_operator(&*analytics.database, &principal).await? {
        true => None,
        false => Some(analytics.pseudonym(principal.tenant().unwrap_or_default()).await?),
    };
    let stats = analytics.cache.get(&*analytics.dataset, &analytics.queries, hours, tenant).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(&*stats)).into_response())
}

/// Whether a text may be the name of an event or a property.
fn is_word(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_fine) && text.as_bytes()[0].is_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_limited_to_events_a_minute() {
        let tracked = Tracked::default();
        let now = DateTime::from_timestamp(60 * 1000, 0).unwrap();
        assert!((0..PER_MINUTE).all(|_| tracked.count("a", now)));
        assert!(!tracked.count("a", now) && tracked.count("b", now));
        assert!(tracked.count("a", now + chrono::TimeDelta::seconds(60)));
    }
}
