//! Bindings of a Worker's `env`, recognised by their classes.

use isobar_analytics::cloudflare::AnalyticsEngineDataset;
use isobar_cloudflare::binding::Object;
use isobar_cloudflare::binding::js_sys::JSON;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_db::cloudflare::D1Database;
use isobar_sessions::cloudflare::DurableObjectNamespace;
use isobar_storage::cloudflare::R2Bucket;

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

impl Platform {
    /// The platform of a Worker: its `env`.
    ///
    /// A text is a var and a secret at once: the runtime does not distinguish them. A binding to another Worker whose
    /// entrypoint has `writeDataPoint` stands in for a dataset where the var `ISOBAR_DATASETS` (names with commas between) names it.
    /// Browser Rendering is taken where it is bound as `BROWSER`, and a `send_email` binding sends from the address of the var
    /// `MAIL_FROM`; locally, where it looks like a service binding, it is taken where it is called `EMAIL`. What is none of the platform's kinds - a queue, say - is left
    /// out.
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
                    builder.with_dataset(&name, dataset.map_err(|error| broken("dataset", &error))?)
                }
                _ => with_var(builder, &name, &value),
            };
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
