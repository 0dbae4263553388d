//! A Worker that runs every conformance kit on the bindings of the real workerd. `GET /storage` (or `/site`, `/db`, `/sessions`,
//! `/analytics`) lists the cases of a kit as JSON, `GET /storage/multipart/completion_is_final` runs one and returns its outcome:
//! `passed`, `failed` or `skipped`, with the reason; `GET /storage/random/7/200` returns the outcomes of 200 random operations;
//! `POST /programs` runs programs of session objects; `GET /panic` panics; `GET /scheduled` has the last `scheduled` event.
//! `cargo xtask conformance` builds it, starts workerd, and runs all cases. Requests under `/test`, `/config` and `/state` go to the
//! server of `ORIGIN` through the cache of the Workers entry, for `cargo xtask cache-tests`.

use std::sync::Arc;

use async_trait::async_trait;
use isobar_api::HttpClient;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::worker::{self, Context, Env, Response, ScheduleContext, ScheduledEvent, event};
use isobar_cloudflare::binding::{JsError, Object, send};
use isobar_http_serve::{App, BindingError, Platform};
use isobar_sessions::cloudflare::DurableObjectNamespace;
use isobar_sessions::{Capabilities, ErrorKind, ListedObject, ObjectId, Request, SessionNamespace};
use isobar_storage::{Key, ObjectStoreExt};
use isobar_testkit::{Case, Outcome};
use serde_json::{Value, json};

isobar_sessions::durable_object!(Probe => isobar_sessions::conformance::Probe, |_| Ok(()));

/// Key, and path, of the last scheduled event.
const SCHEDULED: &str = "scheduled";

type Answer = Result<Value, Box<dyn std::error::Error>>;

#[event(fetch)]
async fn fetch(mut request: worker::Request, env: Env, context: Context) -> worker::Result<Response> {
    if ["/test/", "/config/", "/state/"].iter().any(|prefix| request.path().starts_with(prefix)) {
        let origin = env.var("ORIGIN")?.to_string();
        return isobar_http_serve::workers::serve(|_| Ok(proxy(origin)), request, env, &context).await;
    }
    let env = Object::from(JsValue::from(env));
    let path = request.path();
    if path == "/panic" {
        panic!("on purpose: the next request must be answered all the same");
    }
    let (kit, case) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let answer = match kit {
        "programs" => programs(request.json().await?, &env).await,
        _ => answer(kit, case, &env).await,
    };
    match answer {
        Ok(answer) => Response::from_json(&answer),
        Err(error) => Response::error(format!("{path}: {error}"), 500),
    }
}

#[event(scheduled)]
async fn scheduled(event: ScheduledEvent, env: Env, _: ScheduleContext) {
    isobar_http_serve::workers::scheduled(noted, event, env).await;
}

/// Stores each scheduled event in the bucket, in place of the one before.
fn noted(platform: &Platform) -> Result<App, BindingError> {
    let bucket = platform.bucket("BUCKET")?;
    Ok(App::new().scheduled(move |event| {
        let bucket = Arc::clone(&bucket);
        let text = json!({"cron": event.cron, "time": event.scheduled_time.timestamp_millis()}).to_string();
        async move { bucket.write(&Key::new(SCHEDULED)?, text).await.map(drop) }
    }))
}

/// Forwards all requests to another server.
fn proxy(origin: String) -> axum::Router {
    axum::Router::new().fallback(async move |request: axum::extract::Request| {
        let failed = |error: &dyn std::fmt::Display| (http::StatusCode::BAD_GATEWAY, error.to_string());
        let (mut parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.map_err(|error| failed(&error))?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("{origin}{path}").parse().map_err(|error| failed(&error))?;
        parts.headers.remove(http::header::HOST);
        let asked = isobar_http_serve::workers::Client.send(http::Request::from_parts(parts, body)).await;
        asked.map(|answer| answer.map(axum::body::Body::from)).map_err(|error| failed(&error))
    })
}

async fn answer(kit: &str, case: &str, env: &Object) -> Answer {
    match kit {
        "storage" => {
            let bucket: isobar_storage::conformance::Subject =
                Arc::new(isobar_storage::cloudflare::R2Bucket::new(env.object("BUCKET"))?);
            if let Some(seed) = case.strip_prefix("random/") {
                let (seed, steps) = seed.split_once('/').ok_or_else(|| JsError::new("no number of steps"))?;
                let told = isobar_storage::conformance::transcript(&bucket, seed.parse()?, steps.parse()?).await;
                return Ok(told.map_err(|failure| JsError::new(failure.0))?.into());
            }
            let capabilities = bucket.capabilities();
            run(isobar_storage::conformance::cases(), case, bucket, |name| capabilities.has(name)).await
        }
        "db" => {
            let database: isobar_db::conformance::Subject =
                Arc::new(isobar_db::cloudflare::D1Database::new(env.object("DB"))?);
            let capabilities = database.capabilities();
            run(isobar_db::conformance::cases(), case, database, |name| capabilities.has(name)).await
        }
        "site" => {
            let bucket: isobar_site::conformance::Subject =
                Arc::new(isobar_storage::cloudflare::R2Bucket::new(env.object("BUCKET"))?);
            run(isobar_site::conformance::cases(), case, bucket, |_| false).await
        }
        "sessions" => {
            let namespace = sessions(env)?;
            let capabilities = namespace.capabilities();
            run(isobar_sessions::conformance::cases(), case, namespace, |name| capabilities.has(name)).await
        }
        "analytics" => {
            let sink: isobar_analytics::conformance::Subject =
                Arc::new(isobar_analytics::cloudflare::AnalyticsEngineDataset::new(env.object("EVENTS"))?);
            run(isobar_analytics::conformance::cases(), case, sink, |_| false).await
        }
        SCHEDULED => {
            let bucket = isobar_storage::cloudflare::R2Bucket::new(env.object("BUCKET"))?;
            let stored = bucket.read(&Key::new(SCHEDULED)?).await?;
            let (_, text) = stored.ok_or_else(|| JsError::new("no scheduled event has come"))?;
            Ok(serde_json::from_slice(&text)?)
        }
        _ => Err(JsError::new("there is no such kit").into()),
    }
}

/// Runs programs of session objects, `{"prefix": TEXT, "programs": [[event, ..], ..]}`, and returns what each event gave.
async fn programs(mut batch: Value, env: &Object) -> Answer {
    let programs: Vec<Vec<Value>> = serde_json::from_value(batch["programs"].take())?;
    let prefix = batch["prefix"].as_str().unwrap_or_default();
    let transcripts = isobar_sessions::conformance::run_programs(&sessions(env)?, prefix, &programs).await;
    Ok(json!(transcripts))
}

fn sessions(env: &Object) -> isobar_sessions::Result<isobar_sessions::conformance::Subject> {
    let namespace = DurableObjectNamespace::new(env.object("PROBE"))?;
    Ok(Arc::new(Evicting { namespace, evict: env.object("EVICT") }))
}

/// Lists the cases, or runs the one of this name.
async fn run<S>(cases: Vec<Case<S>>, name: &str, subject: S, capable: impl Fn(&str) -> bool) -> Answer {
    let name_of = |case: &Case<S>| format!("{}/{}", case.group, case.name);
    if name.is_empty() {
        return Ok(cases.iter().map(name_of).collect());
    }
    let case = cases.into_iter().find(|case| name_of(case) == name).ok_or_else(|| JsError::new("no such case"))?;
    let mut subject = Some(subject);
    let take = async || subject.take().expect("one case asks for one subject");
    let report = isobar_testkit::run(&[case], take, capable).await;
    let (_, _, outcome) = report.outcomes.into_iter().next().ok_or_else(|| JsError::new("the case did not run"))?;
    Ok(match outcome {
        Outcome::Passed => json!({"outcome": "passed"}),
        Outcome::Failed(why) => json!({"outcome": "failed", "why": why}),
        Outcome::Skipped(needs) => json!({"outcome": "skipped", "why": needs}),
    })
}

/// The binding, with eviction through miniflare, the only way to make an object hibernate.
#[derive(Debug)]
struct Evicting {
    namespace: DurableObjectNamespace,
    evict: Object,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionNamespace for Evicting {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(false, true)
    }
    fn id_from_name(&self, name: &str) -> ObjectId {
        self.namespace.id_from_name(name)
    }
    fn unique_id(&self) -> isobar_sessions::Result<ObjectId> {
        self.namespace.unique_id()
    }
    fn parse_id(&self, text: &str) -> isobar_sessions::Result<ObjectId> {
        self.namespace.parse_id(text)
    }
    async fn fetch(&self, id: &ObjectId, request: Request) -> isobar_sessions::Result<isobar_sessions::Response> {
        self.namespace.fetch(id, request).await
    }
    async fn list(&self) -> isobar_sessions::Result<Vec<ListedObject>> {
        self.namespace.list().await
    }
    async fn health(&self) -> isobar_sessions::Result<()> {
        self.namespace.health().await
    }
    async fn evict(&self, id: &ObjectId) -> isobar_sessions::Result<()> {
        let failed = |error: JsError| isobar_sessions::Error::new(ErrorKind::Internal, error.message);
        let url = format!("http://evict/{id}");
        let answer =
            send(async { self.evict.ask("fetch", &[url.into()]).await.map(Object::from) }).await.map_err(failed)?;
        if answer.get("ok").is_truthy() {
            Ok(())
        } else {
            Err(failed(JsError::new("miniflare did not evict the object")))
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn sockets(&self, id: &ObjectId) -> isobar_sessions::Result<Vec<isobar_sessions::SocketDetails>> {
        self.namespace.sockets(id).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn drain(&self, limit: std::time::Duration) -> isobar_sessions::Result<()> {
        self.namespace.drain(limit).await
    }
}
