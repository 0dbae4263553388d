//! The sweep: it ends uploads that have expired, and deletions that were interrupted.
//!
//! States of a row in `uploads`: `coming` (bytes are being received) and `going` (the object is being deleted). The sweep claims
//! a `coming` row that has expired by making it `going`, in a statement that also checks that nobody else has renewed it
//! meanwhile: from then on it cannot become an image. The object is deleted, and once more an hour later, as a part may have been
//! in flight; then the row goes.

use chrono::Utc;
use isobar_db::QueryableExt;
use isobar_storage::{Key, UploadId};

use super::Media;
use super::upload_journal::{LINGER, PART_BYTES, Upload};
use crate::Problem;
use crate::integer::integer;
use crate::time::{now, rfc3339};

/// The result of [`Media::sweep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SweepReport {
    /// Number of unfinished uploads that had expired and were deleted.
    pub abandoned: u64,
    /// Number of deletions and completions that were interrupted earlier and are finished now.
    pub finished: u64,
    /// Number of uploads whose sweep failed. Each is logged, and tried again an hour later.
    pub failed: u64,
}

impl Media {
    /// Finishes interrupted deletions, and deletes unfinished uploads that have expired, at most 100 of both in one call.
    ///
    /// Run it periodically, every 10 minutes for example. Concurrent requests and sweeps do no harm.
    ///
    /// ```
    /// # use axum::response::{IntoResponse, Response};
    /// # #[derive(Debug)] struct Names;
    /// # #[async_trait::async_trait]
    /// # impl isobar_api::media::ContentServer for Names {
    /// #     async fn serve(&self, key: &isobar_storage::Key, _: http::request::Parts) -> Response { key.to_string().into_response() }
    /// # }
    /// # use std::sync::Arc;
    /// # use isobar_api::{Media, MediaOptions, Problem};
    /// # use isobar_db::vault::{Keyring, Vault};
    /// # use isobar_db::{Database, QueryableExt, SqliteDatabase};
    /// # use isobar_storage::memory::MemoryStore;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Problem> {
    /// # let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(&format!("{};{}", isobar_api::auth::SCHEMA, isobar_api::media::SCHEMA)).await?;
    /// # let keyring: Keyring = Keyring::generate("2026-11")?.expose_text().unwrap_or_default().parse()?;
    /// # let vault = Vault::new(Arc::clone(&database), "app", keyring);
    /// let media = Media::new(database, Arc::new(MemoryStore::new()), vault, Arc::new(Names), MediaOptions::default());
    /// let report = media.sweep().await?;
    /// assert_eq!((report.abandoned, report.finished, report.failed), (0, 0, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The database's, as a [`Problem`]. A failure of one upload is counted in [`SweepReport::failed`] instead.
    pub async fn sweep(&self) -> Result<SweepReport, Problem> {
        let mut report = SweepReport::default();
        let sql = "SELECT id, key, state, multipart FROM uploads WHERE expires_at <= ? ORDER BY expires_at LIMIT 100";
        let due: Vec<(String, String, String, Option<String>)> = self.database().prepare(sql).bind(now()).all().await?;
        for (id, key, state, multipart) in due {
            match self.sweep_one(&id, key, &state, multipart).await {
                Ok(one) => {
                    report.abandoned += one.abandoned;
                    report.finished += one.finished;
                }
                Err(problem) => {
                    // It does not delay the others, and is tried again in an hour.
                    tracing::warn!(id, ?problem, "an upload was not swept");
                    report.failed += 1;
                    let sql = "UPDATE uploads SET expires_at = ? WHERE id = ?";
                    self.database().prepare(sql).bind(rfc3339(Utc::now() + LINGER)).bind(&id).run().await?;
                }
            }
        }
        Ok(report)
    }

    async fn sweep_one(
        &self,
        id: &str,
        key: String,
        state: &str,
        multipart: Option<String>,
    ) -> Result<SweepReport, Problem> {
        let key = Key::new(key)?;
        let multipart = multipart.map(UploadId::new);
        if state == "coming" {
            // Whole parts of an upload in one request are not in its row: only where none were stored, or the row has them, is
            // the announced length replaced by what may be stored.
            let sql = "UPDATE uploads SET state = 'going', expires_at = ?, reserved = CASE WHEN received > 0 OR multipart IS NULL \
                       THEN min(reserved, received + ?) ELSE reserved END WHERE id = ? AND state = 'coming' AND expires_at <= ?";
            let claim = self.database().prepare(sql).bind(rfc3339(Utc::now() + LINGER)).bind(integer(PART_BYTES));
            let claim = claim.bind(id).bind(now());
            if claim.run().await?.changes == 0 {
                return Ok(SweepReport::default());
            }
            self.clear(id, &key, multipart.as_ref()).await?;
            self.free(id).await?;
            return Ok(SweepReport { abandoned: 1, ..SweepReport::default() });
        }
        if state == "going" {
            self.clear(id, &key, multipart.as_ref()).await?;
        }
        self.forget(id, &[Upload::tail(id)?], state).await?;
        Ok(SweepReport { finished: 1, ..SweepReport::default() })
    }
}
