//! Every conformance kit on the bindings of the real workerd: `GET /storage`, `/db`, `/sessions`, `/analytics` run one kit
//! and answer its report as JSON. `cargo xtask conformance` builds it, starts workerd, and judges the reports.

use std::sync::Arc;

use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::worker::{self, Context, Env, Response, event};
use isobar_cloudflare::binding::{JsError, Object};
use isobar_kit::{Outcome, Report};
use serde_json::{Value, json};

isobar_sessions::durable_object!(Probe => isobar_sessions::conformance::Probe, |_| Ok(()));

#[event(fetch)]
async fn fetch(request: worker::Request, env: Env, _: Context) -> worker::Result<Response> {
    let env = Object::from(JsValue::from(env));
    let path = request.path();
    match run(&path, &env).await {
        Ok(report) => Response::from_json(&to_json(&report)),
        Err(error) => Response::error(format!("{path}: {error}"), 500),
    }
}

async fn run(path: &str, env: &Object) -> Result<Report, Box<dyn std::error::Error>> {
    match path {
        "/storage" => {
            let bucket = Arc::new(isobar_storage::cloudflare::R2Bucket::new(env.object("BUCKET"))?);
            Ok(isobar_storage::conformance::run(async || bucket.clone() as _).await)
        }
        "/db" => {
            let database = Arc::new(isobar_db::cloudflare::D1Database::new(env.object("DB"))?);
            Ok(isobar_db::conformance::run(async || database.clone() as _).await)
        }
        "/analytics" => {
            let sink = || isobar_analytics::cloudflare::AnalyticsEngineDataset::new(env.object("EVENTS"));
            sink()?;
            let subject = async || Arc::new(sink().expect("it was one just now")) as _;
            Ok(isobar_analytics::conformance::run(subject, false).await)
        }
        "/sessions" => {
            let namespace = Arc::new(isobar_sessions::cloudflare::DurableObjectNamespace::new(env.object("PROBE"))?);
            Ok(isobar_sessions::conformance::run(async || namespace.clone() as _).await)
        }
        _ => Err(JsError::new("there is no such kit").into()),
    }
}

fn to_json(report: &Report) -> Value {
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Passed => json!({"outcome": "passed"}),
        Outcome::Failed(why) => json!({"outcome": "failed", "why": why}),
        Outcome::Skipped(needs) => json!({"outcome": "skipped", "why": needs}),
    };
    let cases =
        report.outcomes.iter().map(|(group, name, how)| json!({"group": group, "name": name, "how": outcome(how)}));
    json!({"cases": cases.collect::<Vec<_>>()})
}
