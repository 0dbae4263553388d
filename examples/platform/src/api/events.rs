//! What happened: a summary of the dataset.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use isobar_analytics::ScanOptions;
use isobar_http_serve::{Platform, RequestEvent};
use serde::Serialize;

use super::Answer;
use crate::bindings::ANALYTICS;

/// The newest so many requests are summed up.
const NEWEST: usize = 10_000;

#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    requests: usize,
    errors: usize,
    routes: Vec<Route>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Route {
    route: String,
    requests: usize,
    errors: usize,
    median_ms: f64,
}

pub(super) async fn summary(State(platform): State<Platform>) -> Answer<Json<Summary>> {
    let dataset = platform.dataset(ANALYTICS)?;
    dataset.flush().await?;
    let events = dataset.scan(ScanOptions::default().with_limit(NEWEST)).await?;
    let mut routes: BTreeMap<String, (Route, Vec<f64>)> = BTreeMap::new();
    let mut summary = Summary::default();
    for event in events.iter().filter_map(RequestEvent::from_event) {
        let error = usize::from(event.status >= 500);
        summary.requests += 1;
        summary.errors += error;
        let (route, times) = routes.entry(event.route.clone()).or_default();
        route.route = event.route;
        route.requests += 1;
        route.errors += error;
        times.push(event.milliseconds);
    }
    let with_median = |(mut route, mut times): (Route, Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        route.median_ms = times.get(times.len() / 2).copied().unwrap_or_default();
        route
    };
    summary.routes = routes.into_values().map(with_median).collect();
    summary.routes.sort_by_key(|route| std::cmp::Reverse(route.requests));
    Ok(Json(summary))
}
