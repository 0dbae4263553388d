//! Providers: their names, their endpoints, and the identities that they confirm.

use std::fmt;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderValue, Method, Request, header};
use isobar_base::sync::IgnorePoison;
use isobar_db::vault::Secret;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Failure;
use crate::client::HttpClient;

/// Time for which a provider's metadata is cached.
const METADATA_FOR: TimeDelta = TimeDelta::hours(1);
/// Largest difference of clocks that is tolerated.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);

/// A provider of sign-ins. Its callback URL is `/api/auth/oauth/{name}/callback` at this service.
///
/// ```
/// use isobar_api::auth::OAuthProvider;
/// use isobar_db::vault::Secret;
/// let github = OAuthProvider::github("client-id").with_secret(Secret::new("client-secret"));
/// let company = OAuthProvider::oidc("company", "Company", "https://id.example.com", "client-id")
///     .with_scopes("openid email")
///     .with_parameter("prompt", "select_account");
/// # drop((github, company));
/// ```
#[derive(Clone)]
pub struct OAuthProvider {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) client_id: String,
    client_secret: Option<Secret>,
    pub(super) scopes: String,
    pub(super) parameters: Vec<(String, String)>,
    kind: Kind,
    metadata: Arc<Mutex<Option<Known>>>,
}

/// The time at which metadata was fetched, and the metadata.
type Known = (DateTime<Utc>, Arc<Metadata>);

#[derive(Debug, Clone)]
enum Kind {
    /// OpenID Connect, by its issuer, which publishes the metadata.
    Issuer(String),
    GitHub {
        site: String,
        api: String,
    },
}

/// The provider's metadata, as OpenID Connect Discovery returns it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// A provider's answer to a code or a refresh token.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) expires_in: Option<i64>,
    pub(super) scope: Option<String>,
    id_token: Option<String>,
}

/// A user's identity at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) subject: String,
    /// Only when the provider has verified it.
    pub(super) email: Option<String>,
    pub(super) name: String,
}

impl fmt::Debug for OAuthProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthProvider").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl OAuthProvider {
    /// An OpenID Connect provider by its issuer: `https`, but for an issuer on this machine.
    ///
    /// The metadata is fetched from `{issuer}/.well-known/openid-configuration` at the first sign-in, and kept for an hour.
    /// `name` is part of the callback URL, and of the connections in the database: it must not change. `title` is shown on the
    /// button.
    ///
    /// ```should_panic
    /// use isobar_api::auth::OAuthProvider;
    /// let provider = OAuthProvider::oidc("My Company", "My Company", "https://id.example.com", "client-id"); // not a slug
    /// # drop(provider);
    /// ```
    ///
    /// # Panics
    /// When the name is not a slug.
    pub fn oidc(name: &str, title: &str, issuer: &str, client_id: &str) -> Self {
        Self::new(name, title, client_id, "openid email profile", Kind::Issuer(issuer.trim_end_matches('/').to_owned()))
    }

    /// Google.
    ///
    /// Its client is made in the Google Cloud console, as a web application. It asks for a refresh token at each sign-in.
    #[must_use]
    pub fn google(client_id: &str) -> Self {
        // Without the first it gives no refresh token, and without the second only the first time.
        Self::oidc("google", "Google", "https://accounts.google.com", client_id)
            .with_parameter("access_type", "offline")
            .with_parameter("prompt", "consent")
    }

    /// GitHub, which has OAuth 2 but no OpenID Connect for people.
    #[must_use]
    pub fn github(client_id: &str) -> Self {
        Self::github_at("https://github.com", "https://api.github.com", client_id)
    }

    /// A GitHub Enterprise server, by the URLs of its site and of its API.
    ///
    /// ```
    /// use isobar_api::auth::OAuthProvider;
    /// let github = OAuthProvider::github_at("https://git.example.com", "https://git.example.com/api/v3", "client-id");
    /// # drop(github);
    /// ```
    pub fn github_at(site: &str, api: &str, client_id: &str) -> Self {
        let kind = Kind::GitHub { site: site.to_owned(), api: api.to_owned() };
        Self::new("github", "GitHub", client_id, "read:user user:email", kind)
    }

    fn new(name: &str, title: &str, client_id: &str, scopes: &str, kind: Kind) -> Self {
        assert!(
            name.len() <= 64 && crate::Format::Slug.fits(name),
            "invalid provider name {name:?}: use a-z, 0-9 and -"
        );
        let [name, title, client_id, scopes] = [name, title, client_id, scopes].map(str::to_owned);
        Self {
            name,
            title,
            client_id,
            client_secret: None,
            scopes,
            parameters: Vec::new(),
            kind,
            metadata: Arc::default(),
        }
    }

    /// Sets the client's secret. Default: none; then the client is public, and protected by PKCE only.
    #[must_use]
    pub fn with_secret(mut self, secret: Secret) -> Self {
        self.client_secret = Some(secret);
        self
    }

    /// Adds a parameter for the authorization endpoint, as some providers need.
    ///
    /// ```
    /// use isobar_api::auth::OAuthProvider;
    /// // Asks which account to use, though the browser is signed in to one.
    /// let company = OAuthProvider::oidc("company", "Company", "https://id.example.com", "client-id")
    ///     .with_parameter("prompt", "select_account");
    /// # drop(company);
    /// ```
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the requested scopes, separated by spaces. Default: `openid email profile`, and `read:user user:email` at GitHub.
    ///
    /// An OpenID Connect provider needs `openid` among them. Without `email` a new user cannot sign up by it, as an account
    /// needs a verified address.
    #[must_use]
    pub fn with_scopes(mut self, scopes: &str) -> Self {
        scopes.clone_into(&mut self.scopes);
        self
    }

    /// Its endpoints.
    pub(super) async fn metadata(&self, client: &dyn HttpClient) -> Result<Arc<Metadata>, Failure> {
        let now = Utc::now();
        let known = self.metadata.lock().ignore_poison().clone();
        if let Some((_, metadata)) = known.filter(|(at, _)| now - *at < METADATA_FOR) {
            return Ok(metadata);
        }
        let metadata = Arc::new(match &self.kind {
            Kind::GitHub { site, .. } => Metadata {
                issuer: format!("{site}/login/oauth"), // what it sends to the callback, by RFC 9207
                authorization_endpoint: format!("{site}/login/oauth/authorize"),
                token_endpoint: format!("{site}/login/oauth/access_token"),
                userinfo_endpoint: None,
                token_endpoint_auth_methods_supported: Some(vec!["client_secret_post".to_owned()]),
                authorization_response_iss_parameter_supported: false,
            },
            Kind::Issuer(issuer) => {
                let url = format!("{issuer}/.well-known/openid-configuration");
                let metadata: Metadata = self.get(client, &url, None).await?;
                // OpenID Connect Discovery 4.3: otherwise another issuer's could pass for this one's.
                if metadata.issuer.trim_end_matches('/') != issuer {
                    return Err(self.failure(format!("its metadata has the issuer {:?}", metadata.issuer)));
                }
                metadata
            }
        });
        for url in [&metadata.authorization_endpoint, &metadata.token_endpoint] {
            check_url(url).map_err(|error| self.failure(error))?;
        }
        *self.metadata.lock().ignore_poison() = Some((now, Arc::clone(&metadata)));
        Ok(metadata)
    }

    /// Whether the answer at the callback is this provider's (RFC 9207).
    pub(super) fn is_issuer(&self, metadata: &Metadata, given: Option<&str>) -> bool {
        match given {
            Some(given) => metadata.issuer == given,
            None => !metadata.authorization_response_iss_parameter_supported,
        }
    }

    /// Exchanges a code or a refresh token.
    pub(super) async fn exchange(
        &self,
        client: &dyn HttpClient,
        metadata: &Metadata,
        grant: &[(&str, &str)],
    ) -> Result<Tokens, Failure> {
        let mut form: Vec<(&str, &str)> = grant.to_vec();
        let mut request = Request::builder().method(Method::POST).uri(&metadata.token_endpoint);
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request = request.header(header::ACCEPT, "application/json");
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let basic = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let secret = self.client_secret.as_ref().and_then(Secret::expose_text);
        match secret {
            Some(secret) if basic => {
                // RFC 6749 2.3.1: form-encoded, then base64.
                let pair = format!("{}:{}", encode(&self.client_id), encode(secret));
                let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
                    .map_err(|_| self.failure("its secret has characters that a header does not permit"))?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            Some(secret) => form.extend([("client_id", &*self.client_id), ("client_secret", secret)]),
            None => form.push(("client_id", &self.client_id)),
        }
        let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = request.body(Bytes::from(body.join("&"))).map_err(|error| self.failure(error))?;
        let answer = client.send(request).await.map_err(|error| self.failure(error))?;
        let json: Json = serde_json::from_slice(answer.body()).unwrap_or_default();
        // GitHub answers 200 to what is refused.
        if let Some(error) = json["error"].as_str() {
            let failure = self.failure(format!("it refused: {}", error.escape_debug()));
            return Err(if error == "invalid_grant" { failure.refused() } else { failure });
        }
        if !answer.status().is_success() {
            return Err(self.failure(format!("its token endpoint answered {}", answer.status())));
        }
        serde_json::from_value(json).map_err(|_| self.failure("its token endpoint gave no token"))
    }

    /// Returns the identity that these tokens are for.
    pub(super) async fn identity(
        &self,
        client: &dyn HttpClient,
        metadata: &Metadata,
        tokens: &Tokens,
        nonce: &str,
    ) -> Result<Identity, Failure> {
        match &self.kind {
            Kind::GitHub { api, .. } => self.github_identity(client, api, tokens).await,
            Kind::Issuer(_) => self.oidc_identity(client, metadata, tokens, nonce).await,
        }
    }

    async fn oidc_identity(
        &self,
        client: &dyn HttpClient,
        metadata: &Metadata,
        tokens: &Tokens,
        nonce: &str,
    ) -> Result<Identity, Failure> {
        let token = tokens.id_token.as_deref().ok_or_else(|| self.failure("it gave no ID token"))?;
        let claims = claims(token).ok_or_else(|| self.failure("its ID token cannot be read"))?;
        // It came from the token endpoint itself, over TLS, which stands for its signature (OpenID Connect Core 3.1.3.7).
        check_claims(&claims, &metadata.issuer, &self.client_id, nonce, Utc::now())
            .map_err(|error| self.failure(error))?;
        let subject = claims["sub"].as_str().unwrap_or_default().to_owned();
        if subject.is_empty() || subject.len() > 255 {
            return Err(self.failure("its ID token has no valid subject"));
        }
        let mut claims = claims;
        if claims["email"].is_null()
            && let Some(url) = &metadata.userinfo_endpoint
        {
            let user: Json = self.get(client, url, Some(&tokens.access_token)).await?;
            if user["sub"] != subject.as_str() {
                return Err(self.failure("its userinfo has another subject than its ID token")); // Core 5.3.2
            }
            claims = user;
        }
        let is_verified = claims["email_verified"] == true || claims["email_verified"] == "true";
        let email = claims["email"].as_str().filter(|_| is_verified).map(str::to_ascii_lowercase);
        let name = [&claims["name"], &claims["preferred_username"], &claims["email"]];
        let name = name.iter().find_map(|name| name.as_str()).unwrap_or(&subject).to_owned();
        Ok(Identity { subject, email, name })
    }

    async fn github_identity(&self, client: &dyn HttpClient, api: &str, tokens: &Tokens) -> Result<Identity, Failure> {
        #[derive(Deserialize)]
        struct Email {
            email: String,
            primary: bool,
            verified: bool,
        }
        let token = Some(tokens.access_token.as_str());
        let user: Json = self.get(client, &format!("{api}/user"), token).await?;
        let id = user["id"].as_u64().ok_or_else(|| self.failure("its user has no id"))?;
        let emails: Vec<Email> = self.get(client, &format!("{api}/user/emails"), token).await.unwrap_or_default();
        let email = emails.into_iter().find(|email| email.primary && email.verified);
        let name = [&user["name"], &user["login"]].iter().find_map(|name| name.as_str()).unwrap_or("GitHub").to_owned();
        Ok(Identity { subject: id.to_string(), email: email.map(|it| it.email.to_ascii_lowercase()), name })
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        client: &dyn HttpClient,
        url: &str,
        token: Option<&str>,
    ) -> Result<T, Failure> {
        check_url(url).map_err(|error| self.failure(error))?;
        let mut request = Request::builder().uri(url).header(header::ACCEPT, "application/json");
        request = request.header(header::USER_AGENT, concat!("isobar/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Bytes::new())
            .map_err(|_| self.failure("its token has characters that a header does not permit"))?;
        let answer = client.send(request).await.map_err(|error| self.failure(error))?;
        if !answer.status().is_success() {
            return Err(self.failure(format!("{url} answered {}", answer.status())));
        }
        serde_json::from_slice(answer.body())
            .map_err(|_| self.failure(format!("{url} did not answer with the expected JSON")))
    }

    pub(super) fn failure(&self, why: impl fmt::Display) -> Failure {
        Failure::new(format!("the provider {}: {why}", self.name))
    }
}

/// Secrets go over TLS, or stay on this machine.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let host = url.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_local = host.is_some_and(|host| {
        let name = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
        ["localhost", "127.0.0.1", "[::1]"].contains(&name)
    });
    if url.starts_with("https://") || is_local { Ok(()) } else { Err(format!("{url} is not https")) }
}

/// The claims of a token, without its signature.
fn claims(token: &str) -> Option<Json> {
    let mut parts = token.split('.');
    parts.next()?;
    let claims = parts.next()?;
    parts.next()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// OpenID Connect Core 3.1.3.7.
fn check_claims(claims: &Json, issuer: &str, client: &str, nonce: &str, now: DateTime<Utc>) -> Result<(), String> {
    use subtle::ConstantTimeEq;
    let audiences: Vec<&str> = match &claims["aud"] {
        Json::Array(all) => all.iter().filter_map(Json::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let moment = |name: &str| claims[name].as_i64().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let given = claims["nonce"].as_str().unwrap_or_default();
    let checks = [
        (claims["iss"] == issuer, "its ID token has another issuer"),
        (audiences.contains(&client), "its ID token has another audience"),
        (
            audiences.len() <= 1 || claims["azp"] == client,
            "its ID token has several audiences and another authorized party",
        ),
        (claims["azp"].is_null() || claims["azp"] == client, "its ID token has another authorized party"),
        (moment("exp").is_some_and(|exp| exp + LEEWAY > now), "its ID token has expired"),
        (moment("iat").is_some_and(|iat| iat - LEEWAY < now), "its ID token was issued in the future"),
        (given.as_bytes().ct_eq(nonce.as_bytes()).into(), "its ID token has another nonce"),
    ];
    checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err((*why).to_owned()))
}

/// As a form has it.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn id_tokens_are_judged_by_every_claim() {
        let now = Utc::now();
        let good = || {
            json!({"iss": "https://id.example", "aud": "client", "exp": now.timestamp() + 60, "iat": now.timestamp(),
                "nonce": "n", "sub": "7"})
        };
        let check = |claims: &Json| check_claims(claims, "https://id.example", "client", "n", now);
        assert_eq!(check(&good()), Ok(()));
        for (name, wrong) in [
            ("iss", json!("https://evil.example")),
            ("aud", json!("other")),
            ("aud", json!(["client", "other"])),
            ("azp", json!("other")),
            ("exp", json!(now.timestamp() - 120)),
            ("iat", json!(now.timestamp() + 120)),
            ("nonce", json!("m")),
            ("nonce", Json::Null),
        ] {
            let mut claims = good();
            claims[name] = wrong;
            assert!(check(&claims).is_err(), "{claims}");
        }
        let mut several = good();
        several["aud"] = json!(["client", "other"]);
        several["azp"] = json!("client");
        assert_eq!(check(&several), Ok(()));
    }

    #[test]
    fn secrets_go_over_tls_or_stay_here() {
        for (url, fits) in [
            ("https://id.example/token", true),
            ("http://localhost:4000/token", true),
            ("http://127.0.0.1/token", true),
            ("http://[::1]:4000/token", true),
            ("http://id.example/token", false),
            ("http://localhost.evil.example/token", false),
            ("http://localhost@evil.example/token", false),
            ("ftp://localhost/", false),
        ] {
            assert_eq!(check_url(url).is_ok(), fits, "{url}");
        }
    }
}
