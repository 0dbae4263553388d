//! Projects: rows of the legacy database.

use axum::Json;
use axum::extract::State;
use isobar_api::Principal;
use isobar_api::auth::is_operator;
use isobar_db::QueryableExt;
use isobar_http_serve::{Platform, Problem};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::bindings::{DB, MEAUXOS_DB};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Project {
    id: i64,
    title: String,
    archived: bool,
}

pub(super) async fn list(State(platform): State<Platform>, principal: Principal) -> Answer<Json<Vec<Project>>> {
    // The legacy database has no tenants: only the operator may read it.
    if !is_operator(&*platform.database(DB)?, &principal).await? {
        return Err(Problem::not_found("not found"));
    }
    let sql = "SELECT id, title, archived FROM projects ORDER BY id LIMIT 1000";
    Ok(Json(platform.database(MEAUXOS_DB)?.prepare(sql).all().await?))
}
