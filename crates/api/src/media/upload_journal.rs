//! The journal of uploads. An object in the bucket without a row in `images` has a row in `uploads`, from before its first byte
//! until after its deletion. So a crash leaves no orphaned object, and a sweep needs no listing of the bucket.
//!
//! | state of a row | meaning | ends by |
//! |---|---|---|
//! | `coming` | bytes are received; the object is not shown | `keep`, `discard`, or the sweep after `expires_at` |
//! | `going` | the object is being deleted | `forget`, by the request or the sweep |
//! | `kept` | the image has its row; a tail may be left | `forget`, by the request or the sweep |
//!
//! A writer holds the lock of its row: a random token with a time, 60 s from the last renewal, and every statement that changes
//! its progress has the token in its `WHERE`. A writer that was too slow changes no row any more, and gets 409. The quota is counted
//! by what rows have reserved: before bytes are stored, their number is reserved in the statement that checks the sum.

use chrono::{TimeDelta, Utc};
use isobar_db::{QueryableExt, Row, Statement};
use isobar_storage::{Key, ObjectMeta, ObjectStoreExt, Part, UploadId};
use sha2::Sha256;
use sha2::digest::common::hazmat::SerializableState;

use super::Media;
use super::kind::Named;
use crate::batch::{is_reached, must_have_changed, must_not, nothing_changed};
use crate::id::new_id;
use crate::integer::integer;
use crate::time::{now, rfc3339};
use crate::{Principal, Problem};

/// Size of a part in bytes: the least that R2 takes for one that is not the last.
pub(super) const PART_BYTES: u64 = 5 * 1024 * 1024;
/// Longest time of an upload in one request.
const DIRECT: TimeDelta = TimeDelta::hours(24);
/// Lifetime of the lock of a request that writes to an upload, from its last renewal.
const LOCK: TimeDelta = TimeDelta::seconds(60);
/// Time between the two deletions of an abandoned upload's object: a part may have been in flight at the first one.
pub(super) const LINGER: TimeDelta = TimeDelta::hours(1);
/// Unfinished uploads of one user.
const MAX_UPLOADS: i64 = 100;

/// An unfinished upload, as its row has it.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) key: Key,
    pub(super) name: String,
    pub(super) named: Named,
    /// The whole length in bytes, where it was announced.
    pub(super) size: Option<u64>,
    /// Largest length in bytes while it was not announced.
    pub(super) limit: u64,
    /// `Upload-Metadata`, as the client has sent it.
    pub(super) metadata: Option<String>,
    /// Durable bytes: whole parts, and a tail in an object of its own.
    pub(super) received: u64,
    /// Bytes of the tenant's quota that are reserved for the upload.
    reserved: u64,
    pub(super) multipart: Option<UploadId>,
    pub(super) parts: Vec<Part>,
    /// Hash of the whole parts.
    pub(super) hash: Sha256,
    /// The first bytes of the whole parts, at most [`HEAD_BYTES`](super::kind::HEAD_BYTES).
    pub(super) head: Vec<u8>,
    pub(super) expires_at: String,
    /// Whether a later request may resume it. Then there may be a tail, also one that the row does not mention.
    resumable: bool,
    /// The token of this request's lock.
    lock: String,
}

impl Upload {
    /// Returns the key of the object with the bytes behind the last whole part.
    pub(super) fn tail(id: &str) -> Result<Key, Problem> {
        Ok(Key::new(format!("uploads/{id}"))?)
    }

    /// Most bytes that may be in the bucket: the durable ones, and a part or a tail whose request broke off.
    fn most_stored(&self) -> u64 {
        self.received.max(self.parts.len() as u64 * PART_BYTES) + PART_BYTES
    }

    /// Bytes in the tail.
    pub(super) fn tail_bytes(&self) -> u64 {
        self.received - self.parts.len() as u64 * PART_BYTES
    }
}

impl Media {
    /// Opens an upload: its row is there before its object.
    ///
    /// # Errors
    /// 400 and 415 as [`Named::of`], 401 for an anonymous principal, 413 for a length above the limit, 429 for too many
    /// unfinished uploads, 507 where the tenant's quota has no room.
    pub(super) async fn open(
        &self,
        principal: &Principal,
        name: &str,
        size: Option<u64>,
        resumable: bool,
        metadata: Option<String>,
    ) -> Result<Upload, Problem> {
        let named = Named::of(name)?;
        let largest = self.options().max_bytes;
        if size.is_some_and(|size| size > largest) {
            return Err(self.too_large());
        }
        let unknown = || Problem::new(http::StatusCode::UNAUTHORIZED);
        let tenant = principal.tenant().ok_or_else(unknown)?;
        let user = principal.user().ok_or_else(unknown)?;
        let limit = largest.min(self.free_bytes(tenant).await?);
        if limit == 0 || size.is_some_and(|size| size > limit) {
            return Err(self.no_room());
        }
        let id = new_id()?;
        let lifetime = if resumable { self.options().resumable_for } else { DIRECT };
        let upload = Upload {
            key: Key::new(named.key(&id))?,
            id,
            tenant: tenant.to_owned(),
            user: user.to_owned(),
            name: name.to_owned(),
            named,
            size,
            limit,
            metadata,
            received: 0,
            reserved: size.unwrap_or_default(),
            multipart: None,
            parts: Vec::new(),
            hash: Sha256::default(),
            head: Vec::new(),
            expires_at: rfc3339(Utc::now() + lifetime),
            resumable,
            lock: new_id()?,
        };
        self.insert(&upload).await?;
        Ok(upload)
    }

    /// Inserts the row of a new upload. Uploads are opened concurrently, so the limits are checked by the statement itself.
    async fn insert(&self, upload: &Upload) -> Result<(), Problem> {
        let Upload { id, tenant, user, key, name, size, lock, expires_at, metadata, reserved, .. } = upload;
        let sql = "INSERT INTO uploads (id, tenant_id, user_id, key, name, state, size, lock, locked_until, expires_at, created_at, \
                   metadata, reserved) SELECT ?1, ?2, ?3, ?4, ?5, 'coming', ?6, ?7, ?8, ?9, ?10, ?13, ?14 WHERE (SELECT count(*) FROM \
                   uploads WHERE tenant_id = ?2 AND user_id = ?3 AND state = 'coming' AND expires_at > ?10) < ?11 AND (SELECT \
                   count(*) FROM uploads WHERE tenant_id = ?2 AND state = 'coming' AND expires_at > ?10) < ?12 AND ";
        let sql = format!("{sql}{} + ?14 <= ?15", used("?2"));
        let insert = self.database().prepare(sql).bind(id).bind(tenant).bind(user).bind(key.as_str()).bind(name);
        let insert = insert.bind(size.map(integer)).bind(lock).bind(rfc3339(Utc::now() + LOCK)).bind(expires_at);
        let insert = insert.bind(now()).bind(MAX_UPLOADS).bind(self.options().tenant_uploads).bind(metadata.clone());
        let insert = insert.bind(integer(*reserved)).bind(integer(self.options().tenant_bytes));
        if insert.run().await?.changes > 0 {
            return Ok(());
        }
        let free = self.free_bytes(tenant).await?;
        if free == 0 || size.is_some_and(|size| size > free) {
            return Err(self.no_room());
        }
        let detail = format!(
            "you have {MAX_UPLOADS} unfinished uploads, or your team has {}; finish or delete some",
            self.options().tenant_uploads
        );
        let problem = Problem::new(http::StatusCode::TOO_MANY_REQUESTS).with_detail(detail);
        Err(problem.with_retry_after(http::HeaderValue::from_static("60")))
    }

    /// Returns the bytes that a tenant may still store: its limit less its media, unfinished uploads and media that are being deleted
    /// included.
    async fn free_bytes(&self, tenant: &str) -> Result<u64, Problem> {
        let used: i64 = self.database().prepare(format!("SELECT {}", used("?1"))).bind(tenant).one().await?;
        Ok(self.options().tenant_bytes.saturating_sub(u64::try_from(used).unwrap_or_default()))
    }

    pub(super) fn no_room(&self) -> Problem {
        let detail = format!(
            "your team's media may have {} bytes, unfinished uploads and media that are being deleted included; delete some",
            self.options().tenant_bytes
        );
        Problem::new(http::StatusCode::INSUFFICIENT_STORAGE).with_detail(detail)
    }

    /// Sets the length of an upload that was begun without one.
    ///
    /// # Errors
    /// 409 for a length below the received bytes or one that differs from an earlier one, 413 for a length above the limit, 507
    /// where the tenant's quota has no room.
    pub(super) async fn set_length(&self, upload: &mut Upload, length: u64) -> Result<(), Problem> {
        if upload.size.is_some_and(|size| size != length) || length < upload.received {
            let detail = "the upload's length was announced already, or is less than the bytes received";
            return Err(Problem::new(http::StatusCode::CONFLICT).with_detail(detail));
        }
        if length > self.options().max_bytes {
            return Err(self.too_large());
        }
        if upload.size.is_none() {
            self.reserve(upload, length).await?;
            let sql = "UPDATE uploads SET size = ? WHERE id = ? AND lock = ? AND state = 'coming'";
            let update = self.database().prepare(sql).bind(integer(length)).bind(&upload.id).bind(&upload.lock);
            if update.run().await?.changes == 0 {
                return Err(lost());
            }
            upload.size = Some(length);
        }
        Ok(())
    }

    /// Returns an upload of the principal's, to be read.
    pub(super) async fn find(&self, principal: &Principal, id: &str) -> Result<Option<Upload>, Problem> {
        let sql = "SELECT * FROM uploads WHERE id = ? AND tenant_id = ? AND user_id = ? AND state = 'coming' AND expires_at > ?";
        let statement = Statement::new(sql).bind(id).bind(principal.tenant()).bind(principal.user()).bind(now());
        let result = self.database().query(statement.rows_only()).await?;
        result.rows.first().map(|row| self.read(row)).transpose()
    }

    fn read(&self, row: &Row) -> Result<Upload, Problem> {
        Ok(Upload { limit: self.options().max_bytes, ..read(row)? })
    }

    /// Locks an upload of the principal's, to write to it.
    ///
    /// # Errors
    /// 404 for an upload that does not exist or has expired, 423 while another request has locked it.
    pub(super) async fn lock(&self, principal: &Principal, id: &str) -> Result<Upload, Problem> {
        let lock = new_id()?;
        let sql = "UPDATE uploads SET lock = ?1, locked_until = ?2 WHERE id = ?3 AND tenant_id = ?4 AND user_id = ?5 \
                   AND state = 'coming' AND expires_at > ?6 AND locked_until <= ?6 RETURNING *";
        let statement = Statement::new(sql).bind(&lock).bind(rfc3339(Utc::now() + LOCK)).bind(id);
        let result =
            self.database().query(statement.bind(principal.tenant()).bind(principal.user()).bind(now())).await?;
        match result.rows.first() {
            Some(row) => {
                let mut upload = self.read(row)?;
                if upload.size.is_none() {
                    let free = self.free_bytes(&upload.tenant).await?;
                    upload.limit = upload.limit.min(upload.reserved.saturating_add(free));
                }
                Ok(upload)
            }
            None if self.find(principal, id).await?.is_some() => {
                let detail = "another request writes to this upload; try again in a moment";
                Err(Problem::new(http::StatusCode::LOCKED).with_detail(detail))
            }
            None => Err(Problem::not_found("the upload was not found, or has ended")),
        }
    }

    /// Extends the lock.
    ///
    /// # Errors
    /// 409 where the lock was lost.
    pub(super) async fn renew(&self, upload: &Upload) -> Result<(), Problem> {
        let sql = "UPDATE uploads SET locked_until = ? WHERE id = ? AND lock = ? AND state = 'coming'";
        let update = self.database().prepare(sql).bind(rfc3339(Utc::now() + LOCK)).bind(&upload.id).bind(&upload.lock);
        if update.run().await?.changes == 0 { Err(lost()) } else { Ok(()) }
    }

    /// Extends the lock, and reserves this many bytes in all of the tenant's quota, before they are stored.
    ///
    /// # Errors
    /// 409 where the lock was lost, 507 where other media and unfinished uploads leave too little.
    pub(super) async fn reserve(&self, upload: &mut Upload, bytes: u64) -> Result<(), Problem> {
        if bytes <= upload.reserved {
            return self.renew(upload).await;
        }
        // The upload's own row is among those that are summed.
        let sql = format!(
            "UPDATE uploads SET locked_until = ?3, reserved = ?4 WHERE id = ?1 AND tenant_id = ?2 AND lock = ?5 \
             AND state = 'coming' AND {} - reserved + ?4 <= ?6",
            used("?2")
        );
        let update = self.database().prepare(sql).bind(&upload.id).bind(&upload.tenant);
        let update = update.bind(rfc3339(Utc::now() + LOCK)).bind(integer(bytes)).bind(&upload.lock);
        if update.bind(integer(self.options().tenant_bytes)).run().await?.changes == 0 {
            self.renew(upload).await?;
            return Err(self.no_room());
        }
        upload.reserved = bytes;
        Ok(())
    }

    /// Unlocks an upload without storing its progress.
    pub(super) async fn release(&self, upload: &Upload) -> Result<(), Problem> {
        let sql = "UPDATE uploads SET locked_until = '' WHERE id = ? AND lock = ?";
        self.database().prepare(sql).bind(&upload.id).bind(&upload.lock).run().await?;
        Ok(())
    }

    /// Stores the progress of an upload, and unlocks it where `release` is set.
    ///
    /// # Errors
    /// 409 where the lock was lost.
    pub(super) async fn save(&self, upload: &Upload, release: bool) -> Result<(), Problem> {
        let until = if release { String::new() } else { rfc3339(Utc::now() + LOCK) };
        let parts = serde_json::to_string(&upload.parts).map_err(|error| {
            Problem::ours(http::StatusCode::INTERNAL_SERVER_ERROR, "the upload's parts could not be kept", &error)
        })?;
        let sql = "UPDATE uploads SET received = ?, multipart = ?, parts = ?, hash = ?, head = ?, locked_until = ? \
                   WHERE id = ? AND lock = ? AND state = 'coming'";
        let multipart = upload.multipart.as_ref().map(|upload| upload.as_str().to_owned());
        let update = self.database().prepare(sql).bind(integer(upload.received)).bind(multipart).bind(parts);
        let update = update.bind(upload.hash.serialize().to_vec()).bind(upload.head.clone()).bind(until);
        if update.bind(&upload.id).bind(&upload.lock).run().await?.changes == 0 { Err(lost()) } else { Ok(()) }
    }

    /// Returns the tail that an earlier request has stored.
    ///
    /// # Errors
    /// 410 where it is gone.
    pub(super) async fn tail(&self, upload: &Upload) -> Result<bytes::Bytes, Problem> {
        if upload.tail_bytes() == 0 {
            return Ok(bytes::Bytes::new());
        }
        let found = self.store().read(&Upload::tail(&upload.id)?).await?;
        // A longer one begins with the same bytes: its request ended before it could say how far it had come.
        let length = usize::try_from(upload.tail_bytes()).unwrap_or(usize::MAX);
        let tail = found.filter(|(_, bytes)| bytes.len() >= length).map(|(_, bytes)| bytes.slice(..length));
        tail.ok_or_else(|| {
            Problem::new(http::StatusCode::GONE).with_detail("a part of the upload was lost; start again")
        })
    }

    /// Stores a tail for the next request.
    pub(super) async fn put_tail(&self, upload: &Upload, bytes: bytes::Bytes) -> Result<(), Problem> {
        self.store().write(&Upload::tail(&upload.id)?, bytes).await?;
        Ok(())
    }

    /// Replaces the row of a complete upload by one of `images`, in one transaction.
    ///
    /// # Errors
    /// 409 where the lock was lost, 507 where the tenant's quota has no room.
    pub(super) async fn keep(
        &self,
        upload: &Upload,
        meta: &ObjectMeta,
        sha256: String,
        dimensions: Option<(u32, u32)>,
    ) -> Result<(), Problem> {
        let moment = now();
        let take = match upload.resumable {
            true => {
                "UPDATE uploads SET state = 'kept', expires_at = ?3 WHERE id = ?1 AND lock = ?2 AND state = 'coming'"
            }
            false => "DELETE FROM uploads WHERE id = ?1 AND lock = ?2 AND state = 'coming' AND ?3 = ?3",
        };
        let take = Statement::new(take).bind(&upload.id).bind(&upload.lock).bind(&moment);
        let (width, height) = dimensions.unzip();
        let insert = Statement::new(
            "INSERT INTO images (id, tenant_id, user_id, key, name, kind, content_type, size, etag, sha256, width, height, \
             revision, created_at, updated_at, upload_metadata) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 1, ?13, \
             ?13, ?14)",
        );
        let insert = insert.bind(&upload.id).bind(&upload.tenant).bind(&upload.user).bind(upload.key.as_str());
        let insert = insert.bind(&upload.name).bind(upload.named.kind.as_str()).bind(&upload.named.content_type);
        let insert =
            insert.bind(integer(meta.size)).bind(&meta.etag).bind(sha256).bind(width).bind(height).bind(moment);
        let insert = insert.bind(upload.metadata.clone());
        // In the transaction: uploads without an announced length end concurrently.
        let within = must_not("bytes > ?", "media_usage WHERE tenant_id = ?");
        let within = within.bind(integer(self.options().tenant_bytes)).bind(&upload.tenant);
        match self.database().batch(vec![take, must_have_changed(), insert, within]).await {
            Ok(_) => {}
            // Nothing was done: the upload is this request's still, and so is its end.
            Err(error) if is_reached(&error) => return Err(self.no_room()),
            Err(error) if nothing_changed(&error) => {
                // Deleted by the sweep, perhaps before the object was there, or taken over by another
                // request: then the object is that one's.
                let sql = "SELECT (SELECT count(*) FROM images WHERE id = ?1) + \
                           (SELECT count(*) FROM uploads WHERE id = ?1 AND state = 'coming')";
                if self.database().prepare(sql).bind(&upload.id).one::<i64>().await? == 0 {
                    self.store().delete(std::slice::from_ref(&upload.key)).await?;
                }
                return Err(lost());
            }
            Err(error) => return Err(error.into()),
        }
        if upload.resumable {
            self.forget(&upload.id, &[Upload::tail(&upload.id)?], "kept").await?;
        }
        Ok(())
    }

    /// Deletes an upload and all that it has stored. Its quota is lowered to what it may have stored at once, and returned when that
    /// is deleted. Where the bucket fails, the next sweep deletes it.
    pub(super) async fn discard(&self, upload: &Upload) -> Result<(), Problem> {
        let sql = "UPDATE uploads SET state = 'going', expires_at = ?, reserved = min(reserved, ?) \
                   WHERE id = ? AND lock = ? AND state = 'coming'";
        let update = self.database().prepare(sql).bind(rfc3339(Utc::now() + LINGER));
        let update = update.bind(integer(upload.most_stored())).bind(&upload.id).bind(&upload.lock);
        if update.run().await?.changes == 0 {
            return Ok(()); // the sweep has deleted it, or another request has taken it over
        }
        if let Err(problem) = self.clear(&upload.id, &upload.key, upload.multipart.as_ref()).await {
            self.expire(upload).await?;
            return Err(problem);
        }
        // A request that has lost its lock may still write: the sweep deletes that an hour later.
        if upload.resumable { self.free(&upload.id).await } else { self.forget(&upload.id, &[], "going").await }
    }

    /// Leaves an upload whose deletion has failed to the next sweep, as one that has expired. A request that has lost its lock may
    /// still write: the sweep deletes an expired upload twice, an hour apart.
    async fn expire(&self, upload: &Upload) -> Result<(), Problem> {
        let sql = "UPDATE uploads SET state = 'coming', expires_at = ? WHERE id = ? AND lock = ? AND state = 'going'";
        self.database().prepare(sql).bind(now()).bind(&upload.id).bind(&upload.lock).run().await?;
        Ok(())
    }

    /// Deletes an image: its row at once, its object before this is done or by the sweep.
    pub(super) async fn remove(&self, principal: &Principal, id: &str) -> Result<(), Problem> {
        // A row that is there already is replaced as a whole.
        let insert = "INSERT INTO uploads (id, tenant_id, user_id, key, name, state, expires_at, created_at, reserved) \
                      SELECT id, tenant_id, user_id, key, name, 'going', ?3, ?3, size FROM images \
                      WHERE id = ?1 AND tenant_id = ?2 \
                      ON CONFLICT (id) DO UPDATE SET tenant_id = excluded.tenant_id, user_id = excluded.user_id, \
                      key = excluded.key, name = excluded.name, state = excluded.state, expires_at = excluded.expires_at, \
                      created_at = excluded.created_at, reserved = excluded.reserved, size = NULL, received = 0, \
                      multipart = NULL, parts = '[]', hash = NULL, head = NULL, lock = '', locked_until = '', metadata = NULL";
        let delete = "DELETE FROM images WHERE id = ? AND tenant_id = ? RETURNING key";
        let statements = vec![
            Statement::new(insert).bind(id).bind(principal.tenant()).bind(now()),
            Statement::new(delete).bind(id).bind(principal.tenant()),
        ];
        let results = self.database().batch(statements).await?;
        let key: String = match results.get(1).and_then(|result| result.rows.first()) {
            Some(row) => row.get("key")?,
            None => return Err(Problem::not_found("not found among images")),
        };
        self.forget(id, &[Key::new(key)?, Upload::tail(id)?], "going").await
    }

    /// Removes what an upload has in the bucket.
    pub(super) async fn clear(&self, id: &str, key: &Key, multipart: Option<&UploadId>) -> Result<(), Problem> {
        if let Some(multipart) = multipart
            && let Err(error) = self.store().abort_multipart(key, multipart).await
            && error.kind() != isobar_storage::ErrorKind::NoSuchUpload
        {
            return Err(error.into());
        }
        self.store().delete(&[key.clone(), Upload::tail(id)?]).await?;
        Ok(())
    }

    /// Returns the quota that an upload had reserved, once its bytes are deleted.
    pub(super) async fn free(&self, id: &str) -> Result<(), Problem> {
        let sql = "UPDATE uploads SET reserved = 0 WHERE id = ? AND state = 'going'";
        self.database().prepare(sql).bind(id).run().await?;
        Ok(())
    }

    /// Deletes objects, and then the row that named them.
    pub(super) async fn forget(&self, id: &str, keys: &[Key], state: &str) -> Result<(), Problem> {
        if !keys.is_empty() {
            self.store().delete(keys).await?;
        }
        let sql = "DELETE FROM uploads WHERE id = ? AND state = ?";
        self.database().prepare(sql).bind(id).bind(state).run().await?;
        Ok(())
    }
}

fn read(row: &Row) -> Result<Upload, Problem> {
    let broken = |what: &str| {
        tracing::error!(what, "an upload's row is damaged");
        Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR)
    };
    let name: String = row.get("name")?;
    let hash = match row.get::<Option<bytes::Bytes>>("hash")? {
        Some(state) => (&*state).try_into().ok().and_then(|state| Sha256::deserialize(state).ok()),
        None => Some(Sha256::default()),
    };
    Ok(Upload {
        id: row.get("id")?,
        tenant: row.get("tenant_id")?,
        user: row.get("user_id")?,
        key: Key::new(row.get::<String>("key")?)?,
        named: Named::of(&name)?,
        name,
        size: row.get::<Option<i64>>("size")?.and_then(|size| u64::try_from(size).ok()),
        limit: 0,
        metadata: row.get("metadata")?,
        received: u64::try_from(row.get::<i64>("received")?).map_err(|_| broken("received"))?,
        reserved: u64::try_from(row.get::<i64>("reserved")?).map_err(|_| broken("reserved"))?,
        multipart: row.get::<Option<String>>("multipart")?.map(UploadId::new),
        parts: serde_json::from_str(&row.get::<String>("parts")?).map_err(|_| broken("parts"))?,
        hash: hash.ok_or_else(|| broken("hash"))?,
        head: row.get::<Option<bytes::Bytes>>("head")?.map(|head| head.to_vec()).unwrap_or_default(),
        expires_at: row.get("expires_at")?,
        resumable: true,
        lock: row.get("lock")?,
    })
}

/// SQL for the bytes of a tenant's quota that are used. What is being deleted, and an upload that has expired, count until their
/// bytes are deleted.
fn used(tenant: &str) -> String {
    format!(
        "coalesce((SELECT bytes FROM media_usage WHERE tenant_id = {tenant}), 0) + (SELECT coalesce(sum(u.reserved), 0) \
         FROM uploads AS u WHERE u.tenant_id = {tenant} AND u.state IN ('coming', 'going'))"
    )
}

fn lost() -> Problem {
    let detail = "the upload took too long and was given up, or another request has taken it over";
    Problem::new(http::StatusCode::CONFLICT).with_detail(detail)
}
