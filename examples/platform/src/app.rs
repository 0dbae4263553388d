//! The application: its API, its site, what it needs to be ready.

use std::sync::Arc;

use isobar_db::{Database, QueryableExt};
use isobar_http_serve::{App, BindingError, Platform, ReadyCheck};
use isobar_site::{CacheOptions, Site, SiteOptions};

use crate::{api, bindings};

/// The application on this platform.
///
/// # Errors
/// When a binding of wrangler.toml is missing.
pub fn app(platform: &Platform) -> Result<App, BindingError> {
    // What `isobar deploy` puts there, or else the files as they are.
    let options = SiteOptions::default().with_prefix("static/").with_deploys(true);
    let site = Site::new(platform.bucket(bindings::STORAGE)?, options);
    platform.sessions(bindings::IAM_SESSION)?;
    Ok(App::new()
        .api(api::router(platform)?)
        .site(site)
        .cache(CacheOptions::default())
        .observe(platform.dataset(bindings::ANALYTICS)?)
        .ready_when("primary database", answers(platform.database(bindings::DB)?))
        .ready_when("legacy database", answers(platform.database(bindings::MEAUXOS_DB)?)))
}

fn answers(database: Arc<dyn Database>) -> ReadyCheck {
    Arc::new(move || {
        let database = Arc::clone(&database);
        Box::pin(async move { database.prepare("SELECT 1").run().await.map(drop).map_err(|error| error.to_string()) })
    })
}
