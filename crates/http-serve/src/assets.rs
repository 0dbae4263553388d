//! Options of a site by the `[assets]` of a wrangler configuration.
//!
//! `isobar serve` and applications call these; the names of modes are checked here and not in the
//! configuration's reader, which knows no site. Field names in errors are wrangler's.

use isobar_cloudflare::wrangler::{Assets, RunWorkerFirst};
use isobar_site::{HtmlHandling, NotFoundHandling, RoutingError, SiteOptions, WorkerFirst};

/// An error in `[assets]`.
///
/// ```
/// use isobar_cloudflare::wrangler::Assets;
/// use isobar_http_serve::site_options;
///
/// let mut assets = Assets::default();
/// assets.html_handling = Some("pretty".to_owned());
/// let error = site_options(&assets).unwrap_err();
/// assert!(error.to_string().starts_with("[assets] html_handling is \"pretty\"; it can be auto-trailing-slash, "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssetsError {
    /// An unknown mode.
    #[error("[assets] {field} is {value:?}; it can be {known}")]
    Mode {
        /// The field.
        field: &'static str,
        /// The configured value.
        value: String,
        /// The valid values.
        known: &'static str,
    },
    /// Invalid rules in `run_worker_first`.
    #[error("[assets] {0}")]
    Routing(#[from] RoutingError),
}

/// Returns the options of the site of `[assets]`. Defaults are wrangler's: `auto-trailing-slash`, and `none` for missing paths.
///
/// ```
/// use isobar_cloudflare::wrangler::Assets;
/// use isobar_http_serve::site_options;
/// use isobar_site::NotFoundHandling;
///
/// let mut assets = Assets::default();
/// assets.not_found_handling = Some("404-page".to_owned());
/// let options = site_options(&assets)?;
/// assert_eq!(options.not_found_handling, NotFoundHandling::from_name("404-page").unwrap());
/// # Ok::<(), isobar_http_serve::AssetsError>(())
/// ```
///
/// # Errors
/// [`AssetsError::Mode`].
pub fn site_options(assets: &Assets) -> Result<SiteOptions, AssetsError> {
    let html = assets.html_handling.as_deref().map(|value| {
        let known = "auto-trailing-slash, force-trailing-slash, drop-trailing-slash or none";
        let unknown = || AssetsError::Mode { field: "html_handling", value: value.to_owned(), known };
        HtmlHandling::from_name(value).ok_or_else(unknown)
    });
    let not_found = assets.not_found_handling.as_deref().map(|value| {
        let known = "none, 404-page or single-page-application";
        let unknown = || AssetsError::Mode { field: "not_found_handling", value: value.to_owned(), known };
        NotFoundHandling::from_name(value).ok_or_else(unknown)
    });
    Ok(SiteOptions::default()
        .with_html_handling(html.transpose()?.unwrap_or_default())
        .with_not_found_handling(not_found.transpose()?.unwrap_or(NotFoundHandling::None)))
}

/// Returns the requests that `[assets]` leaves to the application, by `run_worker_first`: `true` for
/// all, `false` (wrangler's default) for those that the site does not have, or a list of rules.
///
/// ```
/// use isobar_cloudflare::wrangler::{Assets, RunWorkerFirst};
/// use isobar_http_serve::{App, worker_first};
///
/// let mut assets = Assets::default();
/// assets.run_worker_first = RunWorkerFirst::Globs(vec!["/api/*".to_owned(), "!/api/docs/*".to_owned()]);
/// let app = App::new().worker_first(worker_first(&assets)?);
/// assets.run_worker_first = RunWorkerFirst::Globs(vec!["api/*".to_owned()]);
/// assert!(worker_first(&assets).is_err(), "a rule begins with / or !/");
/// # drop(app);
/// # Ok::<(), isobar_http_serve::AssetsError>(())
/// ```
///
/// # Errors
/// [`AssetsError::Routing`]: see [`WorkerFirst::paths`].
pub fn worker_first(assets: &Assets) -> Result<WorkerFirst, AssetsError> {
    Ok(match &assets.run_worker_first {
        RunWorkerFirst::Always(true) => WorkerFirst::always(),
        RunWorkerFirst::Always(false) => WorkerFirst::never(),
        RunWorkerFirst::Globs(rules) => WorkerFirst::paths(rules)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_assets_are_refused_with_the_valid_values() {
        let mut assets = Assets::default();
        assert_eq!(site_options(&assets).expect("nothing is said").not_found_handling, NotFoundHandling::None);
        assets.not_found_handling = Some("404".to_owned());
        let error = site_options(&assets).expect_err("there is no such mode").to_string();
        assert_eq!(
            error,
            "[assets] not_found_handling is \"404\"; it can be none, 404-page or single-page-application"
        );
        assets.run_worker_first = RunWorkerFirst::Globs(vec!["api".to_owned()]);
        let error = worker_first(&assets).expect_err("it is no path").to_string();
        assert_eq!(error, "[assets] run_worker_first: \"api\" must begin with / or !/");
    }
}
