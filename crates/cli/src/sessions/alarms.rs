//! `isobar sessions alarms`.

use std::collections::VecDeque;
use std::io::{BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use clap::Args;
use isobar_sessions::local::{AlarmCursor, AlarmListOptions, Catalog, ObjectAlarm, TimerDetails};
use serde_json::json;

use super::{Class, named, no_object, shown};
use crate::Outcome;
use crate::place::Place;
use crate::table::one_line;
use crate::times::{shown as time, timestamp};

/// Objects of a class that are asked for at a time: what the list takes of memory.
const PAGE: usize = 100;

#[derive(Debug, Args)]
#[command(
    after_help = "Alarms of all classes come in the order in which their objects are woken (WAKES), and are printed as they are read: when each \
is due, how many of its runs have failed (of 7, after which it is given up), and the number of the object's timers. With an object all of \
its timers and cron expressions are listed, those that are given up last. Nothing is changed and no alarm runs; a server may go on \
meanwhile. Objects whose file is damaged are named, and the exit status is 1.

Examples:
  isobar sessions alarms --limit 20
  isobar sessions alarms Room --until 2026-12-01T00:00:00Z
  isobar sessions alarms Room lobby
  isobar sessions alarms --json | jq '.alarms[] | select(.alarm.retries > 0)'"
)]
pub(crate) struct Alarms {
    /// Only objects of this class, or of the namespace with this binding
    class: Option<String>,
    /// The name or id of one object, to list its timers
    #[arg(conflicts_with_all = ["until", "brief"])]
    object: Option<String>,
    /// Most objects to list, or timers of the one object; by default all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only objects that are woken until this time: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    until: Option<DateTime<Utc>>,
    /// Do not read the objects' files: list when objects are woken, without failures and timers
    #[arg(long)]
    brief: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The alarms of a class, a page of which is in memory.
struct Source {
    class: String,
    catalog: Catalog,
    page: VecDeque<ObjectAlarm>,
    /// Where the next page begins.
    cursor: Option<AlarmCursor>,
    is_over: bool,
}

impl Source {
    /// The next object; `None` when all were taken.
    fn peek(&mut self, options: &AlarmListOptions) -> isobar_sessions::Result<Option<&ObjectAlarm>> {
        while self.page.is_empty() && !self.is_over {
            let page = self.catalog.alarms(&options.clone().with_after(self.cursor.take()))?;
            self.is_over = page.cursor.is_none();
            self.cursor = page.cursor;
            self.page.extend(page.objects);
        }
        Ok(self.page.front())
    }
}

impl Alarms {
    pub(super) fn run(self, place: &Place) -> Outcome {
        let output = BufWriter::new(std::io::stdout().lock());
        match (&self.class, &self.object) {
            (Some(class), Some(object)) => {
                let class = Class { class: class.clone() };
                self.timers(&class, object, place, output)
            }
            (class, _) => self.list(class.as_deref(), place, output),
        }
    }

    /// Lists the alarms of classes, merged by their times.
    fn list(&self, class: Option<&str>, place: &Place, mut output: BufWriter<StdoutLock<'_>>) -> Outcome {
        let mut sources = sources(class, place)?;
        let width = sources.iter().map(|source| source.class.len()).max().unwrap_or_default().max("CLASS".len());
        let most = usize::try_from(self.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut options = AlarmListOptions::default().with_limit(most.min(PAGE));
        options.until = self.until;
        options.files = !self.brief;
        if self.json {
            output.write_all(b"{\"alarms\":[")?;
        } else {
            let heading = "WAKES                     DUE                       FAILED    TIMERS";
            writeln!(output, "{:width$}  {heading}  {:64}  NAME", "CLASS", "ID")?;
        }
        let mut count = 0;
        let mut damaged = 0;
        while count < most {
            let mut first: Option<(Option<DateTime<Utc>>, usize)> = None;
            for (number, source) in sources.iter_mut().enumerate() {
                let Some(found) = source.peek(&options)? else { continue };
                let at = (found.entry.alarm, number);
                first = first.filter(|first| *first < at).or(Some(at));
            }
            let Some((_, number)) = first else { break };
            let source = &mut sources[number];
            let Some(found) = source.page.pop_front() else { break };
            if self.json {
                let comma = if count > 0 { "," } else { "" };
                write!(output, "{comma}\n  {}", described(&source.class, &found))?;
            } else {
                writeln!(output, "{}", line(&source.class, width, &found))?;
            }
            count += 1;
            if let Some(why) = &found.entry.damage {
                damaged += 1;
                output.flush()?; // in the order of the list
                eprintln!("damaged: {}/{}: {why}", source.class, named(&found.entry.id));
            }
        }
        if self.json {
            writeln!(output, "{}]}}", if count > 0 { "\n" } else { "" })?;
        }
        output.flush()?;
        if damaged > 0 {
            return Err(format!("{damaged} of {count} objects are damaged; see above").into());
        }
        Ok(())
    }

    /// Lists the timers of one object.
    fn timers(&self, class: &Class, object: &str, place: &Place, mut output: BufWriter<StdoutLock<'_>>) -> Outcome {
        let (name, _) = place.session_class(&class.class)?;
        let catalog = class.look(place)?;
        let id = catalog.id(object);
        let found = catalog.alarm(&id)?.ok_or_else(|| no_object(class, object, &id))?;
        if let Some(why) = &found.entry.damage {
            return Err(why.clone().into());
        }
        if self.json {
            write!(output, "{{\"object\":{},\"timers\":[", described(&name, &found))?;
        } else {
            match &found.alarm {
                Some(alarm) => writeln!(output, "alarm due {}, {} failures", time(alarm.due), alarm.retries)?,
                None => writeln!(output, "no alarm")?,
            }
            writeln!(output, "\n{:24}  FAILED  {:20}  NAME", "DUE", "CRON")?;
        }
        let most = self.limit.unwrap_or(u64::MAX);
        let mut count = 0;
        let mut written = Ok(());
        catalog.timers(&id, |timer| {
            count += 1;
            written = match self.json {
                true => {
                    let comma = if count > 1 { "," } else { "" };
                    write!(output, "{comma}\n  {}", timer_described(&timer))
                }
                false => writeln!(output, "{}", timer_line(&timer)),
            };
            if written.is_ok() && count < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        if self.json {
            writeln!(output, "{}]}}", if count > 0 { "\n" } else { "" })?;
        }
        output.flush()?;
        if count < found.timers {
            eprintln!("note: {} of {} timers are listed", count, found.timers);
        }
        Ok(())
    }
}

/// The classes to list, or the one that is named.
fn sources(class: Option<&str>, place: &Place) -> Result<Vec<Source>, Box<dyn std::error::Error>> {
    let mut sources = Vec::new();
    for class in super::classes(class, place)? {
        let (_, folder) = place.session_class(&class)?;
        if !folder.is_dir() {
            continue; // configured, and not used yet
        }
        let catalog = Catalog::open(folder, &class)?;
        sources.push(Source { class, catalog, page: VecDeque::new(), cursor: None, is_over: false });
    }
    Ok(sources)
}

fn line(class: &str, width: usize, found: &ObjectAlarm) -> String {
    let wakes = found.entry.alarm.map(time).unwrap_or_default();
    let due = found.alarm.as_ref().map(|alarm| time(alarm.due)).unwrap_or_default();
    let failed = found.alarm.as_ref().map(|alarm| alarm.retries.to_string()).unwrap_or_default();
    let timers = if found.timers > 0 { found.timers.to_string() } else { String::new() };
    let id = &found.entry.id;
    let name = id.name().unwrap_or_default();
    let line = format!("{class:width$}  {wakes:24}  {due:24}  {failed:>6}  {timers:>8}  {id}  {name}");
    one_line(&line).trim_end().to_owned()
}

fn timer_line(timer: &TimerDetails) -> String {
    let due = timer.due.map_or_else(|| "given up".to_owned(), time);
    let failed = if timer.retries > 0 { timer.retries.to_string() } else { String::new() };
    let cron = timer.cron.as_deref().unwrap_or_default();
    let why = timer.failure.as_ref().map(|why| format!("  (last failure: {why})")).unwrap_or_default();
    one_line(&format!("{due:24}  {failed:>6}  {cron:20}  {}{why}", timer.name))
}

/// An alarm as JSON.
fn described(class: &str, found: &ObjectAlarm) -> serde_json::Value {
    let alarm = found.alarm.as_ref();
    let alarm = alarm.map(|it| json!({"scheduled": time(it.scheduled), "due": time(it.due), "retries": it.retries}));
    let mut described = shown(class, &found.entry);
    described["wakes"] = described["alarm"].take();
    described["alarm"] = alarm.into();
    described["timers"] = found.timers.into();
    described
}

fn timer_described(timer: &TimerDetails) -> serde_json::Value {
    json!({
        "name": timer.name, "scheduled": time(timer.scheduled), "due": timer.due.map(time), "cron": timer.cron,
        "retries": timer.retries, "failure": timer.failure, "payloadBytes": timer.payload_bytes,
    })
}
