//! Projects: rows of the legacy database.

use axum::Json;
use axum::extract::State;
use isobar_db::QueryableExt;
use isobar_http_serve::Platform;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::bindings::MEAUXOS_DB;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Project {
    id: i64,
    title: String,
    archived: bool,
}

pub(super) async fn list(State(platform): State<Platform>) -> Answer<Json<Vec<Project>>> {
    let sql = "SELECT id, title, archived FROM projects ORDER BY id LIMIT 1000";
    Ok(Json(platform.database(MEAUXOS_DB)?.prepare(sql).all().await?))
}
