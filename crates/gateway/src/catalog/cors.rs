//! CORS rules of a bucket, and the checks that they pass before they are kept.
//!
//! Their form in JSON is that of Cloudflare's API, in catalogs and on the wire. What they allow a request is decided by the S3 door.

use serde::{Deserialize, Serialize};

use super::{CatalogError, CatalogErrorKind};

/// Most rules of a bucket, as with S3.
const MOST_RULES: usize = 100;
/// Most bytes of a bucket's rules as JSON, as with S3.
const MOST_BYTES: usize = 64 << 10;
/// Longest time for which a browser may keep a preflight response, in seconds: a day, as with R2.
const LONGEST_MAX_AGE: u32 = 86_400;
const LONGEST_ID: usize = 255;
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// A CORS rule: origins, the methods and request headers that they may use, and the response headers that they may read.
///
/// ```
/// use isobar_gateway::catalog::CorsRule;
///
/// let rule = CorsRule::new(["https://*.example.com"], ["GET", "PUT"]).with_headers(["content-type", "x-amz-*"]);
/// let rule = rule.with_expose_headers(["ETag"]).with_max_age_seconds(3600);
/// assert_eq!((rule.allowed.methods.len(), rule.max_age_seconds), (2, Some(3600)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct CorsRule {
    /// Name of the rule, of at most 255 bytes. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Requests that the rule allows.
    pub allowed: CorsAllowed,
    /// Names of response headers that scripts may read; `*` stands for all. Default: none but those that browsers always show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// Time for which a browser may keep the response to a preflight request, in seconds, at most 86,400. Default: the browser's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

/// Requests that a CORS rule allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CorsAllowed {
    /// Methods, of `GET`, `PUT`, `POST`, `DELETE` and `HEAD`. At least one.
    pub methods: Vec<String>,
    /// Origins (`https://example.com`, without a path), with one `*` at most, which stands for any characters. At least one.
    pub origins: Vec<String>,
    /// Names of request headers, with one `*` at most. Default: none but those that browsers always send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

impl CorsRule {
    /// Returns a rule that allows these origins these methods.
    #[must_use]
    pub fn new<O: Into<String>, M: Into<String>>(
        origins: impl IntoIterator<Item = O>,
        methods: impl IntoIterator<Item = M>,
    ) -> Self {
        let allowed = CorsAllowed { methods: texts(methods), origins: texts(origins), headers: Vec::new() };
        Self { allowed, ..Self::default() }
    }

    /// Sets the name.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the request headers.
    #[must_use]
    pub fn with_headers<H: Into<String>>(mut self, headers: impl IntoIterator<Item = H>) -> Self {
        self.allowed.headers = texts(headers);
        self
    }

    /// Sets the response headers that scripts may read.
    #[must_use]
    pub fn with_expose_headers<H: Into<String>>(mut self, headers: impl IntoIterator<Item = H>) -> Self {
        self.expose_headers = texts(headers);
        self
    }

    /// Sets the time for which a browser may keep the response to a preflight request, in seconds.
    #[must_use]
    pub fn with_max_age_seconds(mut self, seconds: u32) -> Self {
        self.max_age_seconds = Some(seconds);
        self
    }
}

/// The CORS rules of a bucket, checked: at most 100, and 64 KiB as JSON. Default: no rule, so that no other origin may use the bucket.
///
/// ```
/// use isobar_gateway::catalog::{CorsPolicy, CorsRule};
///
/// let policy = CorsPolicy::new(vec![CorsRule::new(["https://example.com"], ["GET"])])?;
/// let text = r#"{"rules":[{"allowed":{"methods":["GET"],"origins":["https://example.com"]}}]}"#;
/// assert_eq!(serde_json::to_string(&policy).unwrap(), text);
/// let error = CorsPolicy::new(vec![CorsRule::new(["https://example.com/a"], ["GET"])]).unwrap_err();
/// assert!(error.to_string().contains("without a path"));
/// # Ok::<(), isobar_gateway::catalog::CatalogError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct CorsPolicy {
    rules: Vec<CorsRule>,
}

/// Rules as they are sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    #[serde(default)]
    rules: Vec<CorsRule>,
}

impl TryFrom<Unchecked> for CorsPolicy {
    type Error = CatalogError;

    fn try_from(unchecked: Unchecked) -> Result<Self, CatalogError> {
        Self::new(unchecked.rules)
    }
}

impl CorsPolicy {
    /// Checks rules, which are asked in this order.
    ///
    /// # Errors
    /// [`CatalogErrorKind::InvalidArgument`] for a rule that could not take effect: an unknown method, an origin with a path, a name that
    /// no header can have, a longer time than a day; and for too many rules.
    pub fn new(rules: Vec<CorsRule>) -> Result<Self, CatalogError> {
        if rules.len() > MOST_RULES {
            return Err(invalid(format!("a bucket has at most {MOST_RULES} CORS rules, not {}", rules.len())));
        }
        rules.iter().try_for_each(check)?;
        let policy = Self { rules };
        let bytes = serde_json::to_vec(&policy).map_or(usize::MAX, |text| text.len());
        if bytes > MOST_BYTES {
            return Err(invalid(format!("the CORS rules of a bucket have at most {MOST_BYTES} bytes as JSON")));
        }
        Ok(policy)
    }

    /// Returns the rules, in the order in which they are asked.
    #[must_use]
    pub fn rules(&self) -> &[CorsRule] {
        &self.rules
    }
}

fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

fn invalid(message: String) -> CatalogError {
    CatalogError::new(CatalogErrorKind::InvalidArgument, message)
}

/// Refuses a rule that could not take effect as it is written.
fn check(rule: &CorsRule) -> Result<(), CatalogError> {
    let CorsAllowed { methods, origins, headers } = &rule.allowed;
    if methods.is_empty() || origins.is_empty() {
        return Err(invalid("a CORS rule has at least one method and one origin".to_owned()));
    }
    if let Some(method) = methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
        return Err(invalid(format!("unsupported method {method:?} in a CORS rule: use {}", METHODS.join(", "))));
    }
    if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
        return Err(invalid(format!(
            "invalid origin {origin:?} in a CORS rule: use scheme://host[:port] without a path, and one * at most"
        )));
    }
    if let Some(name) = headers.iter().find(|name| !is_name(name) || name.matches('*').count() > 1) {
        return Err(invalid(format!("invalid request header {name:?} in a CORS rule: use a name with one * at most")));
    }
    if let Some(name) = rule.expose_headers.iter().find(|name| !is_name(name) || (name.contains('*') && *name != "*")) {
        return Err(invalid(format!("invalid response header {name:?} in a CORS rule: use a name, or * for all")));
    }
    if rule.max_age_seconds.is_some_and(|seconds| seconds > LONGEST_MAX_AGE) {
        return Err(invalid(format!("the max age of a CORS rule is at most {LONGEST_MAX_AGE} seconds")));
    }
    if rule.id.as_ref().is_some_and(|id| id.len() > LONGEST_ID) {
        return Err(invalid(format!("the id of a CORS rule has at most {LONGEST_ID} bytes")));
    }
    Ok(())
}

/// Whether a header `Origin` can be this, or match it.
fn is_origin(origin: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b",/?#".contains(&byte));
    if origin.matches('*').count() > 1 {
        return false;
    }
    match origin.split_once("://") {
        Some((scheme, host)) => is_part(scheme) && is_part(host),
        None => origin == "null" || (is_part(origin) && origin.contains('*')),
    }
}

/// Whether a header can have this name (RFC 9110 5.6.2); `*` is among the characters of names.
fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rule: CorsRule) -> String {
        CorsPolicy::new(vec![rule]).unwrap_err().to_string()
    }

    #[test]
    fn origins_are_schemes_and_hosts_with_one_wildcard() {
        for origin in [
            "*",
            "null",
            "http*",
            "https://*",
            "https://example.com",
            "https://*.example.com:8443",
            "*://localhost",
            "capacitor://localhost",
        ] {
            assert!(CorsPolicy::new(vec![CorsRule::new([origin], ["GET"])]).is_ok(), "{origin}");
        }
        for origin in [
            "",
            "example.com",
            "https://",
            "://a",
            "https://example.com/",
            "https://example.com/a",
            "https://*.*",
            "**",
            "https://a, https://b",
            "https://a?b",
            "https://ä.example",
            "https://a\r\nx: y",
        ] {
            assert!(refused(CorsRule::new([origin], ["GET"])).contains("invalid origin"), "{origin}");
        }
    }

    #[test]
    fn rules_that_could_not_take_effect_are_refused() {
        let rule = || CorsRule::new(["*"], ["GET"]);
        assert!(refused(CorsRule::new(["*"], ["PATCH"])).contains("\"PATCH\""));
        assert!(refused(CorsRule::new(["*"], ["get"])).contains("\"get\""));
        assert!(refused(CorsRule::new(["*"], [""; 0])).contains("at least one"));
        assert!(refused(CorsRule::new([""; 0], ["GET"])).contains("at least one"));
        assert!(refused(rule().with_headers(["x-*-*"])).contains("one *"));
        assert!(refused(rule().with_headers(["a b"])).contains("\"a b\""));
        assert!(refused(rule().with_expose_headers(["x-*"])).contains("\"x-*\""));
        assert!(refused(rule().with_expose_headers(["a\r\nb"])).contains("invalid response header"));
        assert!(refused(rule().with_max_age_seconds(86_401)).contains("86400"));
        assert!(refused(rule().with_id("x".repeat(256))).contains("255"));
        let fine = rule().with_headers(["*", "x-amz-*"]).with_expose_headers(["*"]).with_max_age_seconds(86_400);
        assert!(CorsPolicy::new(vec![fine.with_id("x".repeat(255))]).is_ok());
    }

    #[test]
    fn rules_have_limits_of_number_and_size() {
        let rule = CorsRule::new(["https://example.com"], ["GET"]);
        assert!(CorsPolicy::new(vec![rule.clone(); 100]).is_ok());
        assert!(CorsPolicy::new(vec![rule.clone(); 101]).unwrap_err().to_string().contains("100"));
        let large = rule.with_headers(vec!["x".repeat(1000); 66]);
        assert!(refused(large).contains("65536 bytes"));
    }

    #[test]
    fn json_is_checked_as_it_is_read() {
        let read = |text: &str| serde_json::from_str::<CorsPolicy>(text).map_err(|error| error.to_string());
        let text = r#"{"rules": [{"allowed": {"methods": ["GET"], "origins": ["*"]}, "exposeHeaders": ["ETag"]}]}"#;
        assert_eq!(read(text).unwrap().rules()[0].expose_headers, ["ETag"]);
        assert!(read(&text.replace("GET", "TRACE")).unwrap_err().contains("TRACE"));
        assert!(read(&text.replace("exposeHeaders", "ExposeHeaders")).unwrap_err().contains("unknown field"));
        assert_eq!(read("{}").unwrap(), CorsPolicy::default());
    }
}
