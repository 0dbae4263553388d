//! Time travel on D1, over the REST API.
//!
//! Two endpoints of the REST API, `time_travel/bookmark` and `time_travel/restore`. A restore is sent once: where
//! its answer is lost, ask for the newest bookmark to see whether it has happened.

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use http::Method;
use isobar_cloudflare::client::Idempotency;
use serde::Deserialize;

use super::rest::{D1RestDatabase, failure};
use crate::{Bookmark, Error, ErrorKind, History, Restored, Result, TimeTravel};

#[derive(Deserialize)]
struct Found {
    bookmark: String,
}

#[derive(Deserialize)]
struct Answer {
    bookmark: String,
    previous_bookmark: String,
}

#[async_trait]
impl TimeTravel for D1RestDatabase {
    async fn bookmark(&self, at: Option<DateTime<Utc>>) -> Result<Bookmark> {
        let at = at.map(|at| format!("?timestamp={}", at.to_rfc3339_opts(SecondsFormat::Millis, true)));
        let path = format!("{}/time_travel/bookmark{}", self.path, at.unwrap_or_default());
        let found: Found = self
            .account
            .call(Idempotency::Idempotent, Method::GET, &path, None)
            .await
            .map_err(|error| failure(error).during("bookmark"))?;
        Ok(Bookmark::new(found.bookmark))
    }

    /// D1 does not report the extent.
    async fn history(&self) -> Result<History> {
        Err(Error::new(ErrorKind::Unsupported, "D1 does not report how far its history goes back").during("history"))
    }

    async fn restore(&self, to: &Bookmark) -> Result<Restored> {
        let to = to.as_str();
        if to.is_empty() || !to.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let message = format!("invalid bookmark {to:?}: use one that D1 has given");
            return Err(Error::new(ErrorKind::History, message).during("restore"));
        }
        let path = format!("{}/time_travel/restore?bookmark={to}", self.path);
        let answer: Answer = self
            .account
            .call(Idempotency::Once, Method::POST, &path, None)
            .await
            .map_err(|error| failure(error).during("restore"))?;
        Ok(Restored::new(Bookmark::new(answer.bookmark), Bookmark::new(answer.previous_bookmark)))
    }
}
