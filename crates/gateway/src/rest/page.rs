//! Pages of lists.

use serde::Serialize;
use serde_json::json;

use super::envelope::{Answer, ApiError, success_with};
use super::route::Parameters;

/// A page of a list that is whole in memory: `page` from 1, `per_page`; a page behind the end is empty, at which the SDKs stop.
pub(super) fn page<T: Serialize>(all: &[T], query: &Parameters, per_page: usize, most: usize) -> Answer {
    let number = |name| match query.get(name).map(str::parse::<usize>) {
        None => Ok(None),
        Some(Ok(number)) if number > 0 => Ok(Some(number)),
        Some(_) => Err(ApiError::malformed(format_args!("{name} must be a number from 1 on"))),
    };
    let page = number("page")?.unwrap_or(1);
    let per_page = number("per_page")?.unwrap_or(per_page).min(most);
    let rest = all.get((page - 1).saturating_mul(per_page)..).unwrap_or_default();
    let items = &rest[..rest.len().min(per_page)];
    let info = json!({
        "page": page, "per_page": per_page, "count": items.len(), "total_count": all.len(),
        "total_pages": all.len().div_ceil(per_page),
    });
    success_with(&items, Some(info), &[])
}
