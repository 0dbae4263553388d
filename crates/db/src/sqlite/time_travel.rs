//! Time travel on a file.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::SqliteDatabase;
use crate::{Bookmark, History, Restored, Result, TimeTravel};

#[async_trait]
impl TimeTravel for SqliteDatabase {
    async fn bookmark(&self, at: Option<DateTime<Utc>>) -> Result<Bookmark> {
        let at = at.map(|at| at.timestamp_micros());
        self.engine.find(at).await.map_err(|error| error.during("bookmark"))
    }

    async fn history(&self) -> Result<History> {
        self.engine.history().await.map_err(|error| error.during("history"))
    }

    async fn restore(&self, to: &Bookmark) -> Result<Restored> {
        self.engine.restore(to).await.map_err(|error| error.during("restore"))
    }
}
