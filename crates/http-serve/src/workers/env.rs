//! Bindings of a Worker's `env`, recognised by their classes.
//!
//! The runtime gives objects, not types: an R2 bucket is an object whose constructor is called
//! `R2Bucket`. wrangler's local runtime has classes of other names for some, and a binding to another
//! Worker answers to any method, so that names decide where classes do not:
//!
//! | class | binding |
//! |---|---|
//! | `R2Bucket`, `D1Database`, `DurableObjectNamespace` | bucket, database, session namespace |
//! | `AnalyticsEngineDataset`, `LocalAnalyticsEngineDataset`, `AnalyticsEngine` | dataset |
//! | `Fetcher`, named in `ISOBAR_DATASETS` | dataset, by another Worker |
//! | `SendEmail`, or `Fetcher` called `EMAIL` | e-mail |
//! | `Fetcher` or `BrowserRendering` called `BROWSER` | browsers |
//! | a text | var and secret |
//! | plain JSON | var |
//! | any other | left out |

use std::borrow::Cow;
use std::sync::Arc;

use isobar_analytics::cloudflare::{AnalyticsEngineDataset, AnalyticsSqlBinding};
use isobar_analytics::query::QueryExecutor;
use isobar_cloudflare::binding::Object;
use isobar_cloudflare::binding::js_sys::JSON;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_db::cloudflare::D1Database;
use isobar_sessions::cloudflare::DurableObjectNamespace;
use isobar_storage::cloudflare::R2Bucket;

use super::{Client, SqlApi};
use crate::dataset_queries::DatasetQueries;
use crate::not_configured::NotConfigured;
use crate::platform::{BindingError, Platform, PlatformBuilder};
use crate::secret::Secret;

/// The name of the binding of browsers, which looks like a service binding.
#[cfg(feature = "browser")]
const BROWSER: &str = "BROWSER";
/// Name of the e-mail binding where it looks like a service binding, as it does locally.
const EMAIL: &str = "EMAIL";
/// The var that has the address that e-mail is sent from.
const MAIL_FROM: &str = "MAIL_FROM";
/// The var that names, with commas between, bindings to other Workers that stand in for datasets.
const DATASETS: &str = "ISOBAR_DATASETS";
/// The var that has the names of datasets that differ from those of their bindings: `EVENTS=web, OTHER=other_events`.
const DATASET_NAMES: &str = "ISOBAR_DATASET_NAMES";
/// Name of the Analytics SQL binding.
const ANALYTICS_SQL: &str = "ANALYTICS_SQL";
/// The var and the secret of the account whose SQL API is asked without such a binding, as in wrangler's environment.
const ACCOUNT_ID: &str = "CLOUDFLARE_ACCOUNT_ID";
const API_TOKEN: &str = "CLOUDFLARE_API_TOKEN";
/// The var that has the base URL of another server that speaks the API.
const BASE_URL: &str = "CLOUDFLARE_API_BASE_URL";
const NOT_CONFIGURED: &str = "inside Workers datasets are asked by an Analytics SQL binding called ANALYTICS_SQL, or by the SQL API: \
    set the var CLOUDFLARE_ACCOUNT_ID and the secret CLOUDFLARE_API_TOKEN, a token with the permission Account Analytics: Read";

impl Platform {
    /// The platform of a Worker: its `env`.
    ///
    /// A text is a var and a secret at once: the runtime does not distinguish them. A binding to another Worker whose
    /// entrypoint has `writeDataPoint` stands in for a dataset where the var `ISOBAR_DATASETS` (names with commas between) names it.
    /// Browser Rendering is taken where it is bound as `BROWSER`, and a `send_email` binding sends from the address of the var
    /// `MAIL_FROM`; locally, where it looks like a service binding, it is taken where it is called `EMAIL`. What is none of the platform's kinds - a queue, say - is left
    /// out.
    ///
    /// Datasets [are asked](Self::dataset_queries) through the Analytics SQL binding `ANALYTICS_SQL`, or else through the SQL API, by
    /// the var `CLOUDFLARE_ACCOUNT_ID` and the secret `CLOUDFLARE_API_TOKEN` (and `CLOUDFLARE_API_BASE_URL` for a server other than
    /// Cloudflare's); without either, queries fail and say so. A binding does not know the name of its dataset: where it is not the
    /// binding's own, the var `ISOBAR_DATASET_NAMES` has it (`EVENTS=web`, with commas between).
    ///
    /// # Errors
    /// When a binding looks like one of the platform's kinds and is none.
    pub fn from_env(env: &JsValue) -> Result<Self, BindingError> {
        let mut builder = Self::builder();
        let env = Object::from(env.clone());
        let stand_ins = env.text(DATASETS).unwrap_or_default();
        let from = env.text(MAIL_FROM);
        let mail = |binding| std::sync::Arc::new(super::mail::SendEmail::new(binding, from.clone()));
        let stands_in = |name: &str| stand_ins.split(',').any(|one| one.trim() == name);
        let mut datasets = Vec::new();
        for (name, value) in env.entries() {
            let broken = |kind, error: &dyn std::fmt::Display| BindingError::unusable(kind, &name, error);
            let object = Object::from(value.clone());
            builder = match object.class().as_str() {
                // A binding to a Worker answers to every method: what it is for must be said.
                #[cfg(feature = "browser")]
                "Fetcher" | "BrowserRendering" if name == BROWSER => {
                    let browsers = isobar_objects::browser::BrowserBinding::new(object);
                    builder
                        .with_browser(&name, std::sync::Arc::new(browsers.map_err(|error| broken("browser", &error))?))
                }
                _ if name == ANALYTICS_SQL && value.is_object() => builder,
                "SendEmail" => builder.with_mail(&name, mail(object)),
                "Fetcher" if name == EMAIL && !stands_in(&name) => builder.with_mail(&name, mail(object)),
                "Fetcher" if !stands_in(&name) => builder,
                "R2Bucket" => {
                    builder.with_bucket(&name, R2Bucket::new(object).map_err(|error| broken("bucket", &error))?)
                }
                "D1Database" => {
                    builder.with_database(&name, D1Database::new(object).map_err(|error| broken("database", &error))?)
                }
                "DurableObjectNamespace" => {
                    let namespace = DurableObjectNamespace::new(object);
                    builder.with_sessions(&name, namespace.map_err(|error| broken("session namespace", &error))?)
                }
                // Locally miniflare stands in for Analytics Engine, or another Worker does.
                "AnalyticsEngineDataset" | "LocalAnalyticsEngineDataset" | "AnalyticsEngine" | "Fetcher" => {
                    let dataset = AnalyticsEngineDataset::new(object);
                    datasets.push(name.clone());
                    builder.with_dataset(&name, dataset.map_err(|error| broken("dataset", &error))?)
                }
                _ => with_var(builder, &name, &value),
            };
        }
        let names = env.text(DATASET_NAMES).unwrap_or_default();
        let executor = executor(&env);
        for binding in datasets {
            let queries = DatasetQueries::new(Arc::clone(&executor), dataset_name(&names, &binding));
            builder = builder.with_dataset_queries(&binding, queries);
        }
        Ok(builder.build())
    }

    /// Waits until the datasets have stored what was written; failures are logged.
    pub(super) async fn flush(&self) {
        for dataset in self.datasets() {
            if let Err(error) = dataset.flush().await {
                tracing::warn!(%error, "events were lost");
            }
        }
    }
}

/// The executor of the account's queries. What is wrong with its configuration fails them, and nothing else.
fn executor(env: &Object) -> Arc<dyn QueryExecutor> {
    configured(env).unwrap_or_else(|error| {
        Arc::new(NotConfigured(Cow::Owned(format!("datasets cannot be asked: {}", error.message()))))
    })
}

/// Chooses the executor: the binding, else the SQL API, else one that says what is missing.
///
/// # Errors
/// A binding or an account that cannot be one; then queries fail with that, and the Worker runs.
fn configured(env: &Object) -> isobar_analytics::Result<Arc<dyn QueryExecutor>> {
    let binding = env.object(ANALYTICS_SQL);
    if binding.value().is_object() {
        return Ok(Arc::new(AnalyticsSqlBinding::new(binding)?));
    }
    let (Some(account), Some(token)) = (env.text(ACCOUNT_ID), env.text(API_TOKEN)) else {
        return Ok(Arc::new(NotConfigured(Cow::Borrowed(NOT_CONFIGURED))));
    };
    let api = SqlApi::new(Arc::new(Client), account, &token)?;
    let api = match env.text(BASE_URL) {
        Some(base_url) => api.with_base_url(&base_url)?,
        None => api,
    };
    Ok(Arc::new(api))
}

/// The name of a binding's dataset, out of a list `BINDING=NAME, ...`.
fn dataset_name<'a>(names: &'a str, binding: &'a str) -> &'a str {
    let pairs = names.split(',').filter_map(|pair| pair.split_once('='));
    let name = pairs.map(|(of, name)| (of.trim(), name.trim())).find(|(of, _)| *of == binding);
    name.map_or(binding, |(_, name)| name)
}

/// Binds a text as var and secret, and plain JSON as var.
fn with_var(builder: PlatformBuilder, name: &str, value: &JsValue) -> PlatformBuilder {
    if let Some(text) = value.as_string() {
        return builder.with_var(name, text.clone()).with_secret(name, Secret::new(text));
    }
    // JSON vars; what has no JSON is another kind of binding.
    let json = JSON::stringify(value).ok().and_then(|json| json.as_string());
    let is_simple = value.as_f64().is_some() || value.as_bool().is_some() || value.is_null();
    let is_plain = is_simple || matches!(Object::from(value.clone()).class().as_str(), "Object" | "Array");
    match json.filter(|_| is_plain).and_then(|json| serde_json::from_str::<serde_json::Value>(&json).ok()) {
        Some(json) => builder.with_var(name, json),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_has_the_name_of_its_binding_unless_the_list_has_another() {
        let names = "EVENTS=web, A-B = a_b";
        assert_eq!(["EVENTS", "A-B", "OTHER"].map(|binding| dataset_name(names, binding)), ["web", "a_b", "OTHER"]);
        assert_eq!(dataset_name("", "EVENTS"), "EVENTS");
    }
}
