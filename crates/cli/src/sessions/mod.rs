//! The command `isobar sessions`.

mod alarms;
mod backup;
mod list;
mod object;
mod time_travel;
mod transfer;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use isobar_sessions::ObjectId;
use isobar_sessions::local::{Catalog, CatalogEntry, CatalogWriter};
use serde_json::json;

use crate::Outcome;
use crate::place::Place;
use crate::table::one_line;
use crate::times::shown as time;

/// Commands on the session objects (Durable Objects) of this machine.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Objects are named by the class of their namespace, or its binding, and by their name or id. Looking works while a \
server has the objects, too; what changes them needs the server stopped.

Examples:
  isobar sessions list
  isobar sessions info Room lobby
  isobar sessions alarms --until 2026-12-01T00:00:00Z
  isobar sessions sql Room lobby --command 'SELECT * FROM messages LIMIT 5'
  isobar sessions export Room --output rooms.tar
  isobar sessions import Room rooms.tar
  isobar sessions backup Room r2://backups/rooms --every 3600
  isobar sessions restore Room r2://backups/rooms lobby
  isobar sessions time-travel restore Room lobby --timestamp 2026-11-30T08:00:00Z
  isobar sessions delete Room lobby"
)]
pub(crate) enum Sessions {
    /// List objects with size, alarm and last change
    List(list::List),
    /// Show an object's alarm, keys and tables, and check its file
    Info(object::Info),
    /// List alarms by their time, or the timers of one object
    Alarms(alarms::Alarms),
    /// Run SQL on an object's database
    Sql(object::Sql),
    /// Write one object, or all of a class, to a file, without loss
    Export(transfer::Export),
    /// Put the objects of an exported file in place
    Import(transfer::Import),
    /// Back up the objects of a class into a folder or a bucket, while a server has them
    Backup(backup::Save),
    /// Put objects of a backup in place, one or all
    Restore(backup::Load),
    /// Check a backup
    Verify(backup::Verify),
    /// Show and restore earlier states of objects
    #[command(subcommand)]
    TimeTravel(time_travel::Travel),
    /// Delete objects with all that they have stored
    Delete(object::Delete),
}

impl Sessions {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::List(list) => list.run(place),
            Self::Info(info) => info.run(place),
            Self::Alarms(alarms) => alarms.run(place),
            Self::Sql(sql) => sql.run(place),
            Self::Export(export) => export.run(place),
            Self::Import(import) => import.run(place),
            Self::Backup(backup) => backup.run(place).await,
            Self::Restore(restore) => restore.run(place).await,
            Self::Verify(verify) => verify.run(place).await,
            Self::TimeTravel(travel) => travel.run(place),
            Self::Delete(delete) => delete.run(place),
        }
    }
}

/// The class of a command.
#[derive(Debug, Args)]
pub(crate) struct Class {
    /// The class of the objects, or the binding of their namespace
    class: String,
}

impl Class {
    fn folder(&self, place: &Place) -> Result<(String, PathBuf), Box<dyn Error>> {
        let (class, folder) = place.session_class(&self.class)?;
        if !folder.is_dir() {
            return Err(no_class(&class, &folder, place)?.into());
        }
        Ok((class, folder))
    }

    /// Opens the objects, to look.
    fn look(&self, place: &Place) -> Result<Catalog, Box<dyn Error>> {
        let (class, folder) = self.folder(place)?;
        Ok(Catalog::open(folder, &class)?)
    }

    /// Takes the objects, to change them.
    fn take(&self, place: &Place) -> Result<CatalogWriter, Box<dyn Error>> {
        let (class, folder) = self.folder(place)?;
        Ok(CatalogWriter::open(folder, &class)?)
    }
}

/// The message for a class that has no objects here, with those that have.
fn no_class(class: &str, folder: &Path, place: &Place) -> Result<String, Box<dyn Error>> {
    let known = place.session_classes()?;
    let known = if known.is_empty() { String::new() } else { format!("; there are: {}", known.join(", ")) };
    Ok(format!("there are no session objects of {class} here{known}; they would be in {}", folder.display()))
}

/// Returns the classes of a list: the one that is named, or those that have objects.
///
/// # Errors
/// A class that neither has objects nor is in the configuration, which is probably misspelt.
fn classes(named: Option<&str>, place: &Place) -> Result<Vec<String>, Box<dyn Error>> {
    let Some(named) = named else { return place.session_classes() };
    let (class, folder) = place.session_class(named)?;
    let config = place.config()?;
    let mut bindings = config.iter().flat_map(|config| &config.durable_objects.bindings);
    if !folder.is_dir() && !bindings.any(|binding| binding.class_name == class) {
        return Err(no_class(&class, &folder, place)?.into());
    }
    Ok(vec![class])
}

/// The message for an object that is not there.
fn no_object(class: &Class, object: &str, id: &ObjectId) -> String {
    let shown = if id.to_string() == object { String::new() } else { format!(" (id {id})") };
    format!("there is no object {object:?}{shown} of {} here; `isobar sessions list` has those there are", class.class)
}

/// An object's id, with its name where that is known.
fn named(id: &ObjectId) -> String {
    id.name().map_or_else(|| id.to_string(), |name| format!("{id} ({})", one_line(name)))
}

/// An object as JSON.
fn shown(class: &str, entry: &CatalogEntry) -> serde_json::Value {
    json!({
        "class": class, "id": entry.id.to_string(), "name": entry.id.name(), "bytes": entry.bytes,
        "alarm": entry.alarm.map(time), "changed": entry.changed.map(time), "damage": entry.damage,
    })
}
