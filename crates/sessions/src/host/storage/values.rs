//! Keys and values, the alarm's row, and what the host keeps beside them.

use bytes::Bytes;
use rusqlite::{OptionalExtension, params, params_from_iter};

use isobar_sqlite::set_last_insert_rowid;

use super::Storage;
use crate::{KvListOptions, Result};

/// Key of the metadata that says when the alarm was set; it stays when the alarm is gone.
const ALARM_MADE: &str = "alarm made";

/// The alarm as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) struct AlarmRow {
    /// When it was set for, in milliseconds since 1970.
    pub(in crate::host) scheduled: i64,
    /// When it is to run: later than `scheduled` after a failure.
    pub(in crate::host) due: i64,
    /// How often it has failed.
    pub(in crate::host) retries: u32,
    /// Time of the clock when it was set; unknown for one of an older version.
    pub(in crate::host) made: Option<i64>,
}

impl Storage {
    pub(in crate::host) fn kv_get(&self, key: &str) -> Result<Option<Bytes>> {
        let sql = "SELECT value FROM _cf_KV WHERE key = ?";
        let value: Option<Vec<u8>> = self.trusted(|connection| {
            connection.prepare_cached(sql)?.query_row([key.as_bytes()], |row| row.get(0)).optional()
        })?;
        Ok(value.map(Bytes::from))
    }

    pub(in crate::host) fn kv_put(&self, key: &str, value: &[u8]) -> Result<()> {
        self.begin()?;
        let sql = "INSERT OR REPLACE INTO _cf_KV VALUES (?, ?)";
        self.trusted(|connection| connection.prepare_cached(sql)?.execute(params![key.as_bytes(), value]))?;
        self.changes.release();
        Ok(())
    }

    pub(in crate::host) fn kv_delete(&self, key: &str) -> Result<bool> {
        self.begin()?;
        let sql = "DELETE FROM _cf_KV WHERE key = ?";
        let removed = self.trusted(|connection| connection.prepare_cached(sql)?.execute([key.as_bytes()]))?;
        self.changes.release();
        Ok(removed > 0)
    }

    pub(in crate::host) fn kv_list(&self, options: &KvListOptions) -> Result<Vec<(String, Bytes)>> {
        let KvListOptions { start, start_after, end, prefix, reverse, limit } = options;
        let mut conditions = vec!["1"];
        let mut values = Vec::new();
        let mut and = |condition, value: &Option<String>| {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                conditions.push(condition);
                values.push(value.clone().into_bytes());
            }
        };
        and("key >= ?", start);
        and("key > ?", start_after);
        and("key >= ?", prefix);
        let ends = [end.clone().map(String::into_bytes), prefix.as_deref().and_then(prefix_end)];
        for end in ends.into_iter().flatten() {
            conditions.push("key < ?");
            values.push(end);
        }
        let limit = limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let order = if *reverse { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT key, value FROM _cf_KV WHERE {} ORDER BY key {order} LIMIT {limit}",
            conditions.join(" AND ")
        );
        self.trusted(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            let mut entries = Vec::new();
            for row in rows {
                let (key, value) = row?;
                entries.push((String::from_utf8_lossy(&key).into_owned(), Bytes::from(value)));
            }
            Ok(entries)
        })
    }

    pub(in crate::host) fn alarm(&self) -> Result<Option<AlarmRow>> {
        let made: Option<i64> = self.metadata(ALARM_MADE)?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok(AlarmRow { scheduled: row.get(0)?, due: row.get(1)?, retries: row.get(2)?, made })
        };
        let sql = "SELECT scheduled, due, retries FROM _cf_ALARM";
        self.trusted(|connection| connection.query_row(sql, [], row).optional())
    }

    pub(in crate::host) fn set_alarm(&self, alarm: Option<AlarmRow>) -> Result<()> {
        self.begin()?;
        self.keep_alarm(alarm)
    }

    /// As [`set_alarm`](Self::set_alarm), for the host's own bookkeeping, which the reserve of disk is for.
    pub(in crate::host) fn set_own_alarm(&self, alarm: Option<AlarmRow>) -> Result<()> {
        self.health.check_poison()?;
        self.begin_at_once()?;
        self.keep_alarm(alarm)
    }

    /// As [`set_own_alarm`](Self::set_own_alarm), and commits it. Where that fails nothing of it remains for the next turn to commit.
    pub(in crate::host) fn commit_own_alarm(&self, alarm: Option<AlarmRow>) -> Result<()> {
        let committed = self.set_own_alarm(alarm).and_then(|()| self.commit());
        if committed.is_err() {
            self.roll_back();
        }
        committed
    }

    /// Writes the alarm's row. What the object's SQL sees of that by `changes()` and `last_insert_rowid()` is what it sees in workerd, which
    /// has the alarm in a row of its own that is inserted once, and then updated; nothing where nothing changes. When it was set is written
    /// in any case where that is unknown, or later by the clock than now.
    fn keep_alarm(&self, alarm: Option<AlarmRow>) -> Result<()> {
        let stored = self.alarm()?;
        let is_same = match (stored, alarm) {
            (Some(stored), Some(alarm)) => {
                stored.made.is_some() && stored.made <= alarm.made && AlarmRow { made: alarm.made, ..stored } == alarm
            }
            (stored, alarm) => stored.is_none() && alarm.is_none(),
        };
        if is_same {
            return Ok(());
        }
        let was_there = self.metadata::<i64>(ALARM_MADE)?.is_some();
        let rowid = self.connection.last_insert_rowid();
        self.write_alarm(alarm)?;
        self.changes.release();
        if was_there {
            set_last_insert_rowid(&self.connection, rowid);
        }
        Ok(())
    }

    fn write_alarm(&self, alarm: Option<AlarmRow>) -> Result<()> {
        match alarm {
            Some(AlarmRow { scheduled, due, retries, made }) => {
                self.put_metadata(ALARM_MADE, made.map(rusqlite::types::Value::from))?;
                let sql = "INSERT OR REPLACE INTO _cf_ALARM VALUES (1, ?, ?, ?)";
                self.trusted(|connection| connection.execute(sql, params![scheduled, due, retries])).map(drop)
            }
            None => self.trusted(|connection| connection.execute("DELETE FROM _cf_ALARM", [])).map(drop),
        }
    }

    /// The object's name, where the file knows it.
    pub(in crate::host) fn object_name(&self) -> Result<Option<String>> {
        self.metadata("name")
    }

    fn metadata<T: rusqlite::types::FromSql>(&self, key: &str) -> Result<Option<T>> {
        if !self.has_metadata.get() {
            return Ok(None);
        }
        let sql = "SELECT value FROM _cf_METADATA WHERE key = ?";
        let value = self.trusted(|connection| connection.query_row(sql, [key], |row| row.get(0)).optional())?;
        Ok(value.flatten())
    }

    pub(super) fn put_metadata(&self, key: &str, value: Option<rusqlite::types::Value>) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO _cf_METADATA VALUES (?, ?)";
        self.trusted(|connection| connection.execute(sql, params![key, value])).map(drop)
    }
}

/// The first key beyond all that start with the prefix, in byte order.
fn prefix_end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 0xff: the last one can be raised.
    *end.last_mut()? += 1;
    Some(end)
}
