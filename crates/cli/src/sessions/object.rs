//! `isobar sessions info`, `sql` and `delete`.
//!
//! `info` and `sql` without `--write` look at a copy of the object's file, of one moment, and neither
//! wait for a server nor make it wait. `sql --write` and `delete` take the folder's lock for as long as
//! they run: a server that has the class refuses them, and cannot start meanwhile.
//!
//! wrangler has no counterpart: on Cloudflare an object's storage is seen by its own code, and by the
//! dashboard.

use clap::Args;
use indicatif::HumanBytes;
use isobar_sessions::local::{CatalogListOptions, ObjectDetails};
use isobar_sessions::{Cursor, Value};
use serde_json::json;

use super::{Class, no_object, shown};
use crate::confirm::{Unattended, confirm};
use crate::place::Place;
use crate::times::shown as time;
use crate::{Outcome, say, table};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar sessions info Room lobby
  isobar sessions info ROOMS 5e2f0c... --json")]
pub(crate) struct Info {
    #[command(flatten)]
    class: Class,
    /// The object's name, or its id
    ///
    /// 64 hexadecimal digits are an id; any other text is a name, from which the id is made.
    object: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without --write one statement that reads is run, on a server's object too; the server's own tables, which begin with \
_cf_, may be read. With --write the SQL runs as the object's own would, in one transaction; the server must be stopped.

Examples:
  isobar sessions sql Room lobby --command 'SELECT * FROM messages ORDER BY id DESC LIMIT 5'
  isobar sessions sql Room lobby --command 'SELECT key, value FROM _cf_KV' --json
  isobar sessions sql Room lobby --command 'DELETE FROM messages WHERE author = ?' --param mallory --write"
)]
pub(crate) struct Sql {
    #[command(flatten)]
    class: Class,
    /// The object's name, or its id
    object: String,
    /// The SQL to run
    ///
    /// Parameters are ?, in the order of --param.
    #[arg(long, value_name = "SQL")]
    command: String,
    /// The value of the next parameter, the first one first; always a text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    param: Vec<String>,
    /// Let the SQL write
    ///
    /// Several statements run in one transaction, of which the last one's rows are printed.
    #[arg(long)]
    write: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The server must be stopped. An object whose file is damaged is given up by this, and begins anew.

Examples:
  isobar sessions delete Room lobby
  isobar sessions delete Room --all --yes"
)]
pub(crate) struct Delete {
    #[command(flatten)]
    class: Class,
    /// The objects' names or ids
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    objects: Vec<String>,
    /// Delete all objects of the class
    ///
    /// Their names are needed no more; alarms and timers go with them.
    #[arg(long)]
    all: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

impl Info {
    /// Prints what is known of an object, after a check of its whole file.
    ///
    /// # Errors
    /// There is no such object; its file is damaged, after what could be read was printed.
    pub(super) fn run(self, place: &Place) -> Outcome {
        let (class, _) = place.session_class(&self.class.class)?;
        let catalog = self.class.look(place)?;
        let id = catalog.id(&self.object);
        let details = catalog.details(&id)?.ok_or_else(|| no_object(&self.class, &self.object, &id))?;
        let is_live = catalog.is_live()?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&described(&class, &details, is_live))?);
        } else {
            print(&class, &details, is_live)?;
        }
        match details.entry.damage {
            Some(why) => Err(why.into()),
            None => Ok(()),
        }
    }
}

/// An object with its details as JSON. `served` says whether a process hosts the class now.
fn described(class: &str, details: &ObjectDetails, is_live: bool) -> serde_json::Value {
    let tables: Vec<_> = details.tables.iter().map(|table| json!({"name": table.name, "rows": table.rows})).collect();
    let alarm = details.alarm.as_ref();
    let alarm = alarm.map(|it| json!({"scheduled": time(it.scheduled), "due": time(it.due), "retries": it.retries}));
    let mut described = shown(class, &details.entry);
    described["alarm"] = alarm.into();
    described["file"] = details.file.display().to_string().into();
    described["keys"] = details.keys.into();
    described["timers"] = details.timers.into();
    described["tables"] = tables.into();
    described["served"] = is_live.into();
    described
}

/// Prints an object as lines of names and values, without what is not there, and its tables.
fn print(class: &str, details: &ObjectDetails, is_live: bool) -> Outcome {
    let entry = &details.entry;
    let alarm = details.alarm.as_ref().map(|alarm| match alarm.retries {
        0 => time(alarm.due),
        retries => format!("{}, set for {}, after {retries} failures", time(alarm.due), time(alarm.scheduled)),
    });
    let rows = [
        ("class", class.to_owned()),
        ("id", entry.id.to_string()),
        ("name", table::one_line(entry.id.name().unwrap_or_default())),
        ("file", details.file.display().to_string()),
        ("size", HumanBytes(entry.bytes).to_string()),
        ("changed", entry.changed.map(time).unwrap_or_default()),
        ("alarm", alarm.unwrap_or_default()),
        ("keys", details.keys.to_string()),
        ("timers", details.timers.to_string()),
        ("served", if is_live { "now, by a process of this machine" } else { "no" }.to_owned()),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        say!("{name:10} {value}");
    }
    if details.tables.is_empty() {
        return Ok(());
    }
    say!("");
    let rows: Vec<_> = details.tables.iter().map(|one| vec![one.name.clone(), one.rows.to_string()]).collect();
    table::print(&["TABLE", "ROWS"].map(String::from), &rows)
}

impl Sql {
    /// Runs SQL, and prints the rows of its last statement.
    ///
    /// # Errors
    /// There is no such object; the SQL fails, or writes without `--write`; with `--write`, a server
    /// has the class. Then nothing has changed.
    pub(super) fn run(self, place: &Place) -> Outcome {
        let parameters: Vec<Value> = self.param.iter().map(Value::from).collect();
        let (id, cursor) = if self.write {
            let writer = self.class.take(place)?;
            let id = writer.catalog().id(&self.object);
            let cursor = writer.execute(&id, &self.command, parameters)?;
            (id, cursor)
        } else {
            let catalog = self.class.look(place)?;
            let id = catalog.id(&self.object);
            let cursor = catalog.query(&id, &self.command, parameters);
            let hint = |error: isobar_sessions::Error| match error.kind() {
                isobar_sessions::ErrorKind::NotAuthorized => format!("{error}; --write lets the SQL write"),
                _ => error.to_string(),
            };
            (id, cursor.map_err(hint)?)
        };
        let cursor = cursor.ok_or_else(|| no_object(&self.class, &self.object, &id))?;
        self.print(cursor)
    }

    /// Prints the rows as a table, or as JSON with blobs as arrays of their bytes.
    fn print(&self, cursor: Cursor) -> Outcome {
        let columns = cursor.column_names().to_vec();
        let written = cursor.rows_written().unwrap_or_default();
        let rows = cursor.raw();
        if self.json {
            let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(Value::to_json).collect()).collect();
            let printed = json!({"columns": columns, "rows": rows, "rowsWritten": written});
            say!("{}", serde_json::to_string_pretty(&printed)?);
            return Ok(());
        }
        if columns.is_empty() {
            say!("{written} rows changed");
            return Ok(());
        }
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        table::print(&columns, &rows)?;
        say!("({} rows)", rows.len());
        Ok(())
    }
}

/// A value as SQLite's shell shows it, with blobs in hexadecimal.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

impl Delete {
    /// Deletes objects for good, after a question. The folder's lock is taken before it is asked, so
    /// that the answer concerns what is there.
    ///
    /// Objects that are named are looked up first: one that is not there ends the command before any is
    /// deleted. All of a class go page by page, and broken off, those before stay deleted.
    ///
    /// # Errors
    /// A server has the class; an object is not there; no answer, or no.
    pub(super) fn run(self, place: &Place) -> Outcome {
        let writer = self.class.take(place)?;
        let class = &self.class.class;
        if self.all {
            confirm(self.yes, &format!("Delete all objects of {class} for good"), Unattended::Refuse)?;
            let mut options = CatalogListOptions::default();
            let mut deleted = 0;
            loop {
                let page = writer.catalog().list(&options)?;
                let ids: Vec<_> = page.objects.into_iter().map(|entry| entry.id).collect();
                deleted += writer.delete(&ids)?;
                if page.cursor.is_none() {
                    break;
                }
                options = options.with_after(page.cursor);
            }
            say!("{deleted} objects deleted");
            return Ok(());
        }
        let mut ids = Vec::new();
        for object in &self.objects {
            let id = writer.catalog().id(object);
            if writer.catalog().entry(&id)?.is_none() {
                return Err(no_object(&self.class, object, &id).into());
            }
            ids.push(id);
        }
        let question = format!("Delete {} of {class} with all that it has stored for good", self.objects.join(", "));
        confirm(self.yes, &question, Unattended::Refuse)?;
        say!("{} objects deleted", writer.delete(&ids)?);
        Ok(())
    }
}
