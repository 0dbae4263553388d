//! The one query of GraphQL that a client needs and the door can answer: the number and size of a bucket's objects.
//!
//! GraphQL is not parsed: the query is known by its `operationName`, and its bucket by a variable.
//! wrangler sends exactly this one.

use axum::body::Body;
use axum::response::Response;
use chrono::{SecondsFormat, Utc};
use http::StatusCode;
use isobar_storage::{ListOptions, ObjectStore};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::call::{self, require};
use super::door::RestDoor;
use super::envelope::{Answer, respond};
use super::{buckets, objects};
use crate::keys::{Key, Permission};

/// Name of wrangler's query for `r2 bucket info`.
const BUCKET_METRICS: &str = "getR2StorageMetrics";
/// Pages of 1,000 objects that are counted at most; the counts of a larger bucket are of its first million.
const PAGES: usize = 1000;

/// A request of GraphQL, as far as it is read.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(rename = "operationName")]
    operation: Option<String>,
    #[serde(default)]
    variables: Json,
}

/// Answers in GraphQL's form: errors of a query have status 200. Counts of queries and requests are not kept, so that every other
/// query is refused.
pub(super) async fn query(door: &RestDoor, key: &Key, body: Body) -> Answer {
    let asked: Asked = call::json(body, door.options.json_bytes).await?;
    let bucket = asked.variables["filter"]["bucketName"].as_str();
    let (Some(BUCKET_METRICS), Some(bucket)) = (asked.operation.as_deref(), bucket) else {
        return Ok(answer(&refused("this server answers no other query than that of wrangler r2 bucket info")));
    };
    require(key, Permission::R2Read)?;
    let store = buckets::open(door, key, bucket).await?;
    if !key.scope.buckets().can_list(bucket, "") {
        return Ok(answer(&refused("the token is bound to a prefix of the bucket")));
    }
    let (count, bytes, metadata) = counted(&*store).await?;
    let group = json!({
        "max": {"objectCount": count, "payloadSize": bytes, "metadataSize": metadata},
        "dimensions": {"datetime": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)},
    });
    let accounts = json!([{"r2StorageAdaptiveGroups": [group]}]);
    Ok(answer(&json!({"data": {"viewer": {"accounts": accounts}}, "errors": null})))
}

/// Objects, their bytes, and those of their keys and metadata.
async fn counted(store: &dyn ObjectStore) -> Answer<(usize, u64, usize)> {
    let (mut count, mut bytes, mut metadata) = Default::default();
    let mut options = ListOptions::default().with_metadata();
    for _ in 0..PAGES {
        let page = store.list(options.clone()).await.map_err(|error| objects::failed(&error))?;
        for object in &page.objects {
            count += 1;
            bytes += object.size;
            let custom = object.custom.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            metadata += object.key.as_str().len() + custom;
        }
        let Some(cursor) = page.cursor else { break };
        options = options.with_cursor(cursor);
    }
    Ok((count, bytes, metadata))
}

/// The answer to a query that is refused.
fn refused(message: &str) -> Json {
    json!({"data": null, "errors": [{"message": message}]})
}

/// An answer of GraphQL, without the envelope.
fn answer(body: &Json) -> Response {
    respond(StatusCode::OK, body)
}
