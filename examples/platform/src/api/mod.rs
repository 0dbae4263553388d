//! The API: declared resources and the platform's own routes.

mod projects;
mod resources;
mod revocation;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use isobar_api::auth::{MailOptions, OAuth, OAuthProvider, SetupTokenError};
use isobar_api::{Api, Auth, AuthOptions, Media, MediaOptions, Policy, Quotas, Role};
use isobar_db::vault::{Keyring, Secret, Vault};
use isobar_http_serve::{Analytics, ApiTools, BindingError, Platform, Problem, SiteContent, http_client};
use isobar_objects::mcp::McpService;
use serde::Deserialize;

use crate::bindings::{
    ANALYTICS, DB, DB_NAME, EMAIL, KEYRING, OAUTH_PROVIDERS, PUBLIC_URL, QUOTA_MEDIA_BYTES, QUOTA_ROWS, SETUP_TOKEN,
    SIGNUP, STORAGE,
};

/// The result of a handler.
type Answer<T> = Result<T, Problem>;

const TITLE: &str = "Inner Animal Media";

/// Returns the routes under `/api`.
///
/// # Errors
/// Fails where a binding is missing.
pub(crate) fn router(platform: &Platform) -> Result<Router, BindingError> {
    let auth = auth(platform)?;
    let vault = vault(platform)?;
    let [viewer, admin] = [Role::Viewer, Role::Admin].map(Policy::AtLeast);
    let with = |routes: axum::routing::MethodRouter<Platform>| routes.with_state(platform.clone());
    let api = resources(platform)?
        .route("/projects", admin, Policy::Nobody, with(get(projects::list)))
        .route("/sessions/{kind}/{name}/{*path}", viewer, viewer, with(any(sessions::forward)))
        .route("/mcp", viewer, viewer, with(any(sessions::mcp)));
    let api = media(platform)?.mount(api);
    let queries = platform.dataset_queries(ANALYTICS)?;
    let analytics = Analytics::new(platform.dataset(ANALYTICS)?, queries, vault.clone(), platform.database(DB)?);
    let api = analytics.mount(api);
    let api = oauth(platform, auth.clone(), vault)?.mount(api);
    Ok(auth.protect(auth.mount(api).into_router()))
}

/// Returns the service for MCP clients: the resources, with the principal's own permissions.
///
/// # Errors
/// Fails where a binding is missing.
pub(crate) fn mcp(platform: &Platform) -> Result<Arc<dyn McpService>, BindingError> {
    let images = isobar_api::media::resource();
    let info = resources::all().iter().chain([&images]).map(isobar_api::Resource::info).collect();
    let router = resources(platform)?.resource(images).into_router();
    Ok(Arc::new(ApiTools::new(router, info, TITLE, env!("CARGO_PKG_VERSION"))))
}

/// Returns the declared resources.
fn resources(platform: &Platform) -> Result<Api, BindingError> {
    let mut quotas = Quotas::default();
    if let Some(rows) = number(platform, QUOTA_ROWS)? {
        quotas = quotas.with_rows(rows);
    }
    let api = Api::new(platform.database(DB)?).title(TITLE).vault(vault(platform)?).quotas(quotas);
    Ok(resources::all().into_iter().fold(api, Api::resource))
}

/// Returns the platform's accounts.
///
/// # Errors
/// Fails where the database is not bound, or where e-mail is bound and `PUBLIC_URL` is not set. A `SETUP_TOKEN` of fewer than 16
/// characters is not used: see [`unused_setup_token`].
pub fn auth(platform: &Platform) -> Result<Auth, BindingError> {
    let signup = platform.var(SIGNUP).is_ok_and(|signup| signup == "open");
    let closes = Arc::new(revocation::Connections(platform.clone()));
    let mut options = AuthOptions::default().with_signup(signup).with_revocations(closes);
    if let Ok(token) = platform.secret(SETUP_TOKEN) {
        options = match options.clone().with_setup_token(token.expose()) {
            Ok(options) => options,
            // A platform that has an operator serves, and ignores this token.
            Err(_error) => {
                #[cfg(all(target_arch = "wasm32", feature = "workers"))]
                worker::console_error!("{SETUP_TOKEN} is not used: {_error}");
                options
            }
        };
    }
    if let Ok(sender) = platform.mail(EMAIL) {
        let url = public_url(platform).ok_or_else(|| {
            let why = "set the var PUBLIC_URL, the base URL of links in messages";
            BindingError::unusable("sender of e-mail", EMAIL, why)
        })?;
        options = options.with_mail(MailOptions::new(sender, &url).with_service(TITLE));
    }
    Ok(Auth::new(platform.database(DB)?, options))
}

/// Returns the error of a `SETUP_TOKEN` that is too short, and that is not used.
#[must_use]
pub fn unused_setup_token(platform: &Platform) -> Option<SetupTokenError> {
    let token = platform.secret(SETUP_TOKEN).ok()?;
    AuthOptions::default().with_setup_token(token.expose()).err()
}

/// Returns the platform's images, videos and models.
///
/// # Errors
/// Fails where a binding is missing.
pub(crate) fn media(platform: &Platform) -> Result<Media, BindingError> {
    let store = platform.bucket(STORAGE)?;
    let content = Arc::new(SiteContent::new(Arc::clone(&store)));
    let mut options = MediaOptions::default();
    if let Some(bytes) = number(platform, QUOTA_MEDIA_BYTES)? {
        options = options.with_tenant_bytes(bytes);
    }
    Ok(Media::new(platform.database(DB)?, store, vault(platform)?, content, options))
}

/// Returns the platform's public URL: a var, or natively an environment variable.
fn public_url(platform: &Platform) -> Option<String> {
    let var = platform.var(PUBLIC_URL).ok().and_then(|url| url.as_str().map(str::to_owned));
    var.or_else(|| platform.secret(PUBLIC_URL).ok().map(|url| url.expose().to_owned()))
}

/// Returns a number from the vars, if it is set.
pub(crate) fn number(platform: &Platform, name: &str) -> Result<Option<u64>, BindingError> {
    let Ok(value) = platform.var(name) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.map(Some).ok_or_else(|| BindingError::unusable("var", name, format!("{value} is not a number")))
}

/// A provider in the var `OAUTH_PROVIDERS`: `{"name": "github", "client_id": "..."}` for GitHub and Google, with an
/// `issuer` for others. Its secret is in `OAUTH_{NAME}_SECRET`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Configured {
    name: String,
    client_id: String,
    issuer: Option<String>,
    title: Option<String>,
    scopes: Option<String>,
}

fn oauth(platform: &Platform, auth: Auth, vault: Vault) -> Result<OAuth, BindingError> {
    let configured = platform.var(OAUTH_PROVIDERS);
    // Natively it may be an environment variable, as the secrets are.
    let configured = configured.or_else(|_| platform.secret(OAUTH_PROVIDERS).map(|text| text.expose().into()));
    let configured = configured.unwrap_or_else(|_| serde_json::json!([]));
    // A var in TOML is a table or a list; `wrangler secret` and `.dev.vars` have only strings.
    let configured = match configured.as_str() {
        Some(text) => serde_json::from_str(text),
        None => serde_json::from_value(configured),
    };
    let unusable = |error: &dyn std::fmt::Display| BindingError::unusable("var", OAUTH_PROVIDERS, error);
    let configured: Vec<Configured> = configured.map_err(|error: serde_json::Error| unusable(&error))?;
    let providers = configured.into_iter().map(|it| {
        if !isobar_api::Format::Slug.fits(&it.name) {
            return Err(unusable(&format!("invalid provider name {:?}: use a-z, 0-9 and -", it.name)));
        }
        let title = it.title.as_deref().unwrap_or(&it.name);
        let provider = match (it.issuer.as_deref(), it.name.as_str()) {
            (Some(issuer), name) => OAuthProvider::oidc(name, title, issuer, &it.client_id),
            (None, "github") => OAuthProvider::github(&it.client_id),
            (None, "google") => OAuthProvider::google(&it.client_id),
            (None, name) => return Err(unusable(&format!("{name} needs an issuer"))),
        };
        let provider = match &it.scopes {
            Some(scopes) => provider.with_scopes(scopes),
            None => provider,
        };
        let secret = platform.secret(&format!("OAUTH_{}_SECRET", it.name.to_ascii_uppercase().replace('-', "_")));
        Ok(match secret {
            Ok(secret) => provider.with_secret(Secret::new(secret.expose())),
            Err(_) => provider,
        })
    });
    let client = http_client().map_err(|error| unusable(&error))?;
    let oauth = OAuth::new(auth, vault, client, providers.collect::<Result<_, _>>()?);
    Ok(match platform.var(PUBLIC_URL) {
        Ok(url) => oauth.with_base_url(url.as_str().unwrap_or_default()),
        Err(_) => oauth,
    })
}

/// Returns the vault of the primary database.
pub(crate) fn vault(platform: &Platform) -> Result<Vault, BindingError> {
    let keyring: Keyring = platform
        .secret(KEYRING)?
        .expose()
        .parse()
        .map_err(|error: isobar_db::Error| BindingError::unusable("secret", KEYRING, error.message()))?;
    let database = platform.database(DB)?;
    Ok(Vault::new(Arc::clone(&database), DB_NAME, keyring))
}
