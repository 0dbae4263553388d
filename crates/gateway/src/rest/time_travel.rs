//! Time travel of databases: bookmarks, and the way back.
//!
//! A bookmark is a text that sorts by time; D1's clients show it and send it back. Restoring is not
//! repeatable in general, so that none of its failures has a status that SDKs repeat.

use chrono::{DateTime, Utc};
use http::StatusCode;
use isobar_db::Bookmark;
use serde_json::json;

use super::call::{Call, require};
use super::databases::{current_bookmark, open};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code, success};
use super::failure::{Kind, failed};
use crate::keys::{Key, Permission};

/// The bookmark of now, or of the time in `timestamp`.
pub(super) async fn bookmark(door: &RestDoor, call: &Call, key: &Key, id: &str) -> Answer {
    require(key, Permission::D1Read)?;
    let (_, database) = open(door, key, id).await?;
    let at = timestamp(call)?;
    let Some(travel) = database.time_travel() else {
        return match at {
            Some(_) => Err(no_history()),
            None => success(&json!({"bookmark": current_bookmark(&*database).await?})),
        };
    };
    let bookmark = travel.bookmark(at).await.map_err(|error| failed(&error, Kind::Read))?;
    success(&json!({"bookmark": bookmark.as_str()}))
}

/// Restores the bookmark in `bookmark`, or the time in `timestamp`.
pub(super) async fn restore(door: &RestDoor, call: &Call, key: &Key, id: &str) -> Answer {
    require(key, Permission::D1Write)?;
    let (info, database) = open(door, key, id).await?;
    let travel = database.time_travel().ok_or_else(no_history)?;
    let to = match (call.query.get("bookmark"), timestamp(call)?) {
        (Some(bookmark), None) => Bookmark::new(bookmark),
        (None, Some(time)) => travel.bookmark(Some(time)).await.map_err(|error| failed(&error, Kind::Write))?,
        _ => return Err(invalid("give either a bookmark or a timestamp")),
    };
    let restored = travel.restore(&to).await.map_err(|error| failed(&error, Kind::Write))?;
    success(&json!({
        "bookmark": restored.bookmark.as_str(),
        "previous_bookmark": restored.previous_bookmark.as_str(),
        "message": format!("The database {} has been restored to the bookmark {to}", info.name),
    }))
}

/// The time in a request's query.
fn timestamp(call: &Call) -> Answer<Option<DateTime<Utc>>> {
    let Some(text) = call.query.get("timestamp") else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(text);
    let time = time.map_err(|_| invalid("the timestamp is not one of RFC 3339, such as 2026-07-13T08:46:42Z"))?;
    Ok(Some(time.with_timezone(&Utc)))
}

/// An error of time travel, with D1's code.
fn invalid(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code::SQL, message)
}

/// The error of a database without a history.
fn no_history() -> ApiError {
    invalid("this database keeps no history for time travel: only its current bookmark is known")
}
