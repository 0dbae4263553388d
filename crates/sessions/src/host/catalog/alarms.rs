//! The objects with an alarm in the order of its time, and the timers of an object.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::listing::{self, Row};
use super::reader::CHECK;
use super::snapshot::damaged;
use super::{
    AlarmCursor, AlarmListOptions, AlarmPage, Catalog, CatalogEntry, Guard, ObjectAlarm, TimerDetails, alarm_details,
};
use crate::{ErrorKind, ObjectId, Result};

/// Objects whose files are read at a time where there is no index: the rest of the memory is a page's.
const CHUNK: usize = 256;

impl Catalog {
    /// Lists objects that have an alarm, a page at a time, in the order in which their host wakes them: at the time of
    /// [`CatalogEntry::alarm`], which is when the alarm is due, or earlier. Nothing is changed, and no alarm runs by it.
    ///
    /// The index of the host says who is woken. Where it is missing or damaged, each page reads the files of all objects; what is in
    /// memory is a page. While a host runs, an alarm that is set between two pages may be in none of them, or in both.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use chrono::{TimeDelta, Utc};
    /// use isobar_sessions::local::{AlarmListOptions, Catalog, HostOptions, LocalHost};
    /// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
    /// # struct Auction(SessionContext);
    /// # impl SessionObject for Auction {
    /// #     type Env = ();
    /// #     async fn start(context: SessionContext, _: ()) -> Result<Self> {
    /// #         Ok(Self(context))
    /// #     }
    /// #     async fn fetch(&self, _: Request) -> Result<Response> {
    /// #         self.0.set_alarm(Utc::now() + TimeDelta::minutes(5))?;
    /// #         Ok(Response::default())
    /// #     }
    /// # }
    /// # let folder = tempfile::tempdir()?;
    /// let auctions = LocalHost::<Auction>::open(folder.path(), "Auction", &HostOptions::default(), || ())?;
    /// auctions.get(&auctions.id("chair"), "/").await?; // it sets an alarm
    ///
    /// let catalog = Catalog::open(folder.path(), "Auction")?;
    /// let within_an_hour = AlarmListOptions::default().with_until(Utc::now() + TimeDelta::hours(1));
    /// let page = catalog.alarms(&within_an_hour)?;
    /// assert_eq!(page.objects[0].entry.id.name(), Some("chair"));
    /// assert_eq!(page.objects[0].alarm.as_ref().map(|alarm| alarm.retries), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], and [`ErrorKind::Overloaded`] when a host changes its index, or an object's file, all the time.
    pub fn alarms(&self, options: &AlarmListOptions) -> Result<AlarmPage> {
        if options.after.is_none() {
            drop(self.index.take()); // of an earlier list
        }
        let limit = options.limit.max(1);
        let mut after = options.after.clone();
        let mut page = AlarmPage::default();
        loop {
            // One more says whether something follows the page.
            let wanted = (limit - page.objects.len()).saturating_add(1);
            let rows = self.due(after.as_ref(), options, wanted)?;
            let is_last = rows.len() < wanted;
            for (position, row) in rows {
                if page.objects.len() == limit {
                    page.cursor = after;
                    return Ok(page);
                }
                after = Some(position);
                let guard = self.guard()?;
                let Some(entry) = listing::entry(self, row, false, &guard)? else { continue };
                let found = if options.files {
                    self.read_alarm(entry, &guard)?
                } else {
                    Some(ObjectAlarm { entry, alarm: None, timers: 0 })
                };
                // An object may be woken earlier than its alarm is due, and for one that it has deleted.
                let has_alarm =
                    |found: &ObjectAlarm| !options.files || found.alarm.is_some() || found.entry.damage.is_some();
                page.objects.extend(found.filter(has_alarm));
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    /// Returns an object with its alarm and the number of its timers, whether it has one or not; `None` where there is no such object.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], and [`ErrorKind::Overloaded`] when a host writes to it all the time.
    pub fn alarm(&self, id: &ObjectId) -> Result<Option<ObjectAlarm>> {
        drop(self.index.take()); // of an earlier list
        let guard = self.guard()?;
        let entry = listing::entry_of(self, id, &guard)?;
        entry.map_or(Ok(None), |entry| self.read_alarm(entry, &guard))
    }

    /// Shows the timers of an object (`isobar_sessions::timers`), the next one first and those that are given up last, until `each` breaks
    /// it off. They are read one by one, from one moment of the object. Returns whether there is such an object. While `each` looks at
    /// them, no host can start in the folder; one that runs goes on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::ops::ControlFlow;
    ///
    /// use isobar_sessions::local::Catalog;
    /// # use isobar_sessions::local::CatalogWriter;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # drop(CatalogWriter::create(folder.path(), "Reminders")?);
    /// let catalog = Catalog::open(folder.path(), "Reminders")?;
    /// let mut failed = Vec::new();
    /// let is_there = catalog.timers(&catalog.id("ada"), |timer| {
    ///     failed.extend(timer.failure.map(|why| (timer.name, why)));
    ///     if failed.len() < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    /// })?;
    /// assert!(!is_there && failed.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], [`ErrorKind::Storage`], [`ErrorKind::Overloaded`] when a host writes to it all the time, and
    /// [`ErrorKind::Sql`] when it takes longer than the [bounds](Self::with_bounds) allow.
    pub fn timers(&self, id: &ObjectId, each: impl FnMut(TimerDetails) -> ControlFlow<()>) -> Result<bool> {
        let guard = self.guard()?;
        let Some(mut reader) = self.reader(id, &guard)? else { return Ok(false) };
        reader.bound(self.bounds.time)?;
        let read = reader.each_timer(each);
        read.map_err(|error| reader.overdue(CHECK).unwrap_or_else(|| damaged(&self.file(id), &error)))?;
        Ok(true)
    }

    /// Reads an object's alarm in its file; `None` where the object was deleted meanwhile.
    fn read_alarm(&self, entry: CatalogEntry, guard: &Guard) -> Result<Option<ObjectAlarm>> {
        let mut found = ObjectAlarm { entry, alarm: None, timers: 0 };
        if found.entry.damage.is_some() {
            return Ok(Some(found));
        }
        let id = found.entry.id.clone();
        let failed = |error: rusqlite::Error| damaged(&self.file(&id), &error);
        let read = || -> Result<Option<_>> {
            let Some(reader) = self.reader(&id, guard)? else { return Ok(None) };
            let alarm = reader.alarm().map_err(failed)?.map(|row| alarm_details(&row));
            Ok(Some((alarm, reader.timers().map_err(failed)?)))
        };
        match read() {
            Ok(Some((alarm, timers))) => {
                found.alarm = alarm;
                found.timers = timers;
            }
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Damaged => found.entry.damage = Some(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(Some(found))
    }

    /// The first objects to be woken after a position: by the index, or by all files where that is missing or damaged.
    fn due(
        &self,
        after: Option<&AlarmCursor>,
        options: &AlarmListOptions,
        wanted: usize,
    ) -> Result<Vec<(AlarmCursor, Row)>> {
        let until = options.until.map_or(i64::MAX, |until| until.timestamp_millis());
        let position = |row: Row| Some((AlarmCursor { at: row.alarm?, id: row.id }, row));
        let guard = self.guard()?;
        let first = after.map_or((i64::MIN, &[][..]), |after| (after.at, &after.id[..]));
        if let Some(rows) = listing::ask(self, &guard, |index| index.due(first, until, wanted))? {
            return Ok(rows.into_iter().filter_map(position).collect());
        }
        drop(guard);
        let mut due = BTreeMap::new();
        let mut last = None;
        loop {
            let rows = listing::rows_of_files(self, &self.guard()?, last.as_ref(), CHUNK)?;
            let is_last = rows.len() < CHUNK;
            last = rows.last().map(|row| row.id);
            for (position, row) in rows.into_iter().filter_map(position) {
                if position.at <= until && after.is_none_or(|after| position > *after) {
                    due.insert(position, row);
                    if due.len() > wanted {
                        due.pop_last();
                    }
                }
            }
            if is_last {
                return Ok(due.into_iter().collect());
            }
        }
    }
}
