//! Tenants: rows of the primary database.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use isobar_db::QueryableExt;
use isobar_http_serve::{Platform, Problem};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::bindings::DB;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tenant {
    id: i64,
    slug: String,
    name: String,
    created_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct NewTenant {
    slug: String,
    name: String,
}

pub(super) async fn list(State(platform): State<Platform>) -> Answer<Json<Vec<Tenant>>> {
    let sql = "SELECT id, slug, name, created_at FROM tenants ORDER BY id LIMIT 1000";
    Ok(Json(platform.database(DB)?.prepare(sql).all().await?))
}

pub(super) async fn show(State(platform): State<Platform>, Path(id): Path<i64>) -> Answer<Json<Tenant>> {
    let sql = "SELECT id, slug, name, created_at FROM tenants WHERE id = ?";
    let tenant = platform.database(DB)?.prepare(sql).bind(id).first().await?;
    tenant.map(Json).ok_or_else(|| missing(id))
}

pub(super) async fn create(
    State(platform): State<Platform>,
    input: Result<Json<NewTenant>, JsonRejection>,
) -> Answer<(StatusCode, Json<Tenant>)> {
    let Json(NewTenant { slug, name }) = input?;
    check(&slug, &name)?;
    let sql = "INSERT INTO tenants (slug, name) VALUES (?, ?) RETURNING id, slug, name, created_at";
    let tenant = platform.database(DB)?.prepare(sql).bind(slug).bind(name.trim()).one().await?;
    Ok((StatusCode::CREATED, Json(tenant)))
}

pub(super) async fn delete(State(platform): State<Platform>, Path(id): Path<i64>) -> Answer<StatusCode> {
    let deleted = platform.database(DB)?.prepare("DELETE FROM tenants WHERE id = ?").bind(id).run().await?;
    if deleted.changes == 0 { Err(missing(id)) } else { Ok(StatusCode::NO_CONTENT) }
}

fn check(slug: &str, name: &str) -> Result<(), Problem> {
    let mut problem = Problem::bad_request("the tenant is not valid");
    let slug_fits = (1..=64).contains(&slug.len())
        && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let name_fits = (1..=200).contains(&name.trim().chars().count());
    if !slug_fits {
        problem = problem.with_field("slug", "must be 1 to 64 of a-z, 0-9 and -");
    }
    if !name_fits {
        problem = problem.with_field("name", "must be 1 to 200 characters");
    }
    if slug_fits && name_fits { Ok(()) } else { Err(problem) }
}

fn missing(id: i64) -> Problem {
    Problem::not_found(format!("there is no tenant {id}"))
}
