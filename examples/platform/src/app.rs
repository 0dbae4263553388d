//! The application: its API, its site, and its readiness.

use std::time::Duration;

use isobar_http_serve::{App, BindingError, Platform, SecurityHeaders};
use isobar_site::{CacheOptions, Site, SiteOptions};

use crate::iam_session::RoomOptions;
use crate::{api, bindings};

/// Time for which browsers use only `https` after a visit over it.
const HSTS: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Returns the application on this platform.
///
/// # Errors
/// Fails where a binding of wrangler.toml is missing.
pub fn app(platform: &Platform) -> Result<App, BindingError> {
    // Serves the current deploy of `isobar deploy`, or else the files as they are.
    let options = SiteOptions::default()
        .with_prefix("static/")
        .with_deploys(true)
        .with_page_headers(SecurityHeaders::default().page_headers());
    let site = Site::new(platform.bucket(bindings::STORAGE)?, options);
    platform.sessions(bindings::IAM_SESSION)?;
    platform.database(bindings::MEAUXOS_DB)?;
    RoomOptions::new(platform)?; // a wrong limit is an error of the start, and not of the rooms
    Ok(App::new()
        .api(api::router(platform)?)
        .documentation("/api/docs")
        .site(site)
        .cache(CacheOptions::default())
        .observe(platform.dataset(bindings::ANALYTICS)?)
        .hsts(HSTS)
        .ready_with(platform))
}
