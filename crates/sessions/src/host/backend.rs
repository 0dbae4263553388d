//! Native backend of an object.
//!
//! [`ObjectState`] is the backend: each operation is a call into its storage or its cells, on the object's thread, and
//! synchronous but for [`durable`](SessionBackend::durable) and
//! [`block_concurrency_while`](SessionBackend::block_concurrency_while). Arguments were checked by the context, once for all
//! hosts. Operations of an instance that is broken fail with the error that has ended it; a database that must not be used
//! again breaks it ([`ObjectState::with_storage`]).
//!
//! An alarm that is set in a transaction is undone with it: what the turn has noted for the index is put back beside the rows.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::LocalBoxFuture;

use super::state::{NewAlarm, ObjectState};
use super::storage::{AlarmRow, Storage};
use crate::context::TransactionBody;
use crate::{
    Bookmark, Cursor, Error, ErrorKind, KvListOptions, ObjectId, Result, ServerSocket, SessionBackend, Value,
    WebSocket, limits,
};

impl SessionBackend for ObjectState {
    fn id(&self) -> &ObjectId {
        &self.id
    }

    fn exec(&self, sql: &str, parameters: Vec<Value>) -> Result<Cursor> {
        self.with_storage(|storage| storage.exec(sql, &parameters))
    }

    fn database_size(&self) -> Result<u64> {
        self.with_storage(Storage::size)
    }

    fn transaction(&self, body: TransactionBody<'_>) -> Result<()> {
        let alarm = self.new_alarm.get();
        let runs = self.alarm_runs.get();
        let result = self.with_storage(|storage| storage.transaction(body));
        if result.is_err() {
            self.new_alarm.set(alarm); // undone with the rest
            self.alarm_runs.set(runs);
        }
        result
    }

    fn kv_get(&self, key: &str) -> Result<Option<Bytes>> {
        self.with_storage(|storage| storage.kv_get(key))
    }

    fn kv_put(&self, key: &str, value: Bytes) -> Result<()> {
        self.with_storage(|storage| storage.kv_put(key, &value))
    }

    fn kv_delete(&self, key: &str) -> Result<bool> {
        self.with_storage(|storage| storage.kv_delete(key))
    }

    fn kv_list(&self, options: &KvListOptions) -> Result<Vec<(String, Bytes)>> {
        self.with_storage(|storage| storage.kv_list(options))
    }

    fn delete_all(&self) -> Result<()> {
        self.with_storage(Storage::delete_all)?;
        self.new_alarm.set(Some(NewAlarm::Deleted));
        self.alarm_runs.set(false);
        Ok(())
    }

    fn alarm(&self) -> Result<Option<DateTime<Utc>>> {
        if self.alarm_runs.get() {
            return Ok(None);
        }
        let row = self.with_storage(Storage::alarm)?;
        Ok(row.and_then(|row| DateTime::from_timestamp_millis(row.scheduled)))
    }

    fn set_alarm(&self, at: Option<DateTime<Utc>>) -> Result<()> {
        let now = self.shared.alarms.now();
        let at = at.map(|at| at.timestamp_millis().max(now));
        let row = at.map(|at| AlarmRow { scheduled: at, due: at, retries: 0, made: Some(now) });
        self.with_storage(|storage| storage.set_alarm(row))?;
        self.new_alarm.set(Some(at.map_or(NewAlarm::Deleted, NewAlarm::At)));
        self.alarm_runs.set(false);
        Ok(())
    }

    fn accept_websocket(&self, socket: ServerSocket, tags: Vec<String>) -> Result<WebSocket> {
        self.accept(socket, tags)
    }

    fn websockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        self.accepted_sockets(tag)
    }

    fn set_auto_response(&self, pair: Option<(String, String)>) -> Result<()> {
        *self.auto_response.borrow_mut() = pair;
        Ok(())
    }

    fn auto_response(&self) -> Option<(String, String)> {
        self.auto_response.borrow().clone()
    }

    fn block_concurrency_while(
        &self,
        work: LocalBoxFuture<'static, Result<()>>,
    ) -> LocalBoxFuture<'static, Result<()>> {
        let this = self.this.clone();
        Box::pin(async move {
            let Some(state) = this.upgrade() else { return Err(Error::new(ErrorKind::Reset, "the object is gone")) };
            let guard = state.enter_gate();
            let limit = Duration::from_secs(limits::BLOCK_SECONDS);
            let result = match tokio::time::timeout(limit, work).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(ErrorKind::Reset, "blockConcurrencyWhile() took longer than 30 seconds")),
            };
            if result.is_ok() {
                // As in workerd, what the work has written is committed before the event goes on.
                tokio::task::yield_now().await;
            }
            drop(guard);
            if let Err(error) = &result {
                // As in workerd: the work's caller gets its error, the event's caller a reset with its message.
                state.break_with(match error.kind() {
                    ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Damaged => error.clone(),
                    _ => Error::new(ErrorKind::Reset, error.message()).with_source(error.clone()),
                });
            }
            result
        })
    }

    fn durable(&self) -> LocalBoxFuture<'static, Result<()>> {
        // The state is kept until it is known: of an object that has fallen asleep meanwhile, too.
        let this = self.this.upgrade();
        Box::pin(async move {
            // A turn ends, and commits, when its event waits; other turns of the object may wait for the disk still.
            tokio::task::yield_now().await;
            let Some(state) = this else { return Err(Error::new(ErrorKind::Reset, "the object is gone")) };
            if let Some(error) = state.broken() {
                return Err(error); // whatever its last turn wrote is undone, or may be lost
            }
            let batch = state.pending();
            std::future::poll_fn(|cx| state.poll_durable(batch, cx)).await;
            match batch {
                Some(batch) if !state.is_durable(batch) => Err(state.lost()),
                _ => Ok(()),
            }
        })
    }

    fn wait_until(&self, work: LocalBoxFuture<'static, ()>) {
        if let Some(this) = self.this.upgrade() {
            let event = this.event(async move {
                work.await;
                Ok(())
            });
            tokio::task::spawn_local(async move { drop(event.await) });
        }
    }

    fn linger(&self, until: LocalBoxFuture<'static, ()>) {
        if let Some(this) = self.this.upgrade() {
            this.linger_until(until);
        }
    }

    fn current_bookmark(&self) -> LocalBoxFuture<'static, Result<Bookmark>> {
        Box::pin(Self::bookmark(self.this.clone(), None))
    }

    fn bookmark_for_time(&self, at: DateTime<Utc>) -> LocalBoxFuture<'static, Result<Bookmark>> {
        Box::pin(Self::bookmark(self.this.clone(), Some(at.timestamp_millis())))
    }

    fn restore_on_next_start(&self, to: &Bookmark) -> LocalBoxFuture<'static, Result<Bookmark>> {
        Box::pin(Self::ask_restore(self.this.clone(), to.clone()))
    }

    fn abort(&self, reason: &str) {
        self.break_with(Error::new(ErrorKind::Reset, reason));
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.shared.alarms.now()).unwrap_or_default()
    }
}
