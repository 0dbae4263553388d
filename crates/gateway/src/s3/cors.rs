//! CORS: preflight requests, and the headers by which a browser lets scripts read a response.
//!
//! The first rule of the bucket that covers origin, method and every request header decides, as with S3. `*` in a rule stands for any
//! characters; methods and origins are compared byte by byte, names of headers without case, as the Fetch standard has it.
//!
//! A preflight request is not signed, so that it may not learn anything: a bucket without a rule that covers it, and one that does not
//! exist, answer alike. Every other response of a bucket with rules has `Vary: Origin`, those to requests without an origin, too:
//! otherwise a cache could answer a script with what an image was answered before. A refusal that no rule covers has none: it may be
//! to a client that may not know of the bucket.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use s3s::S3Result;
use s3s::dto::*;
use s3s::{S3Request, S3Response};

use super::error::{OrS3, refusal};
use super::session::Session;
use crate::catalog::{BucketCatalog, CorsPolicy, CorsRule};

/// Most request headers that a preflight request may name.
const MOST_HEADERS: usize = 100;
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// A request as CORS sees it, once its head is gone.
#[derive(Debug)]
pub(super) struct CorsRequest {
    bucket: String,
    method: Method,
    origin: Option<HeaderValue>,
}

impl CorsRequest {
    /// Takes what CORS needs from a request. `None` where it names no bucket.
    pub(super) fn of(head: &http::request::Parts) -> Option<Self> {
        let bucket = bucket_of(head.uri.path())?;
        Some(Self { bucket, method: head.method.clone(), origin: head.headers.get(header::ORIGIN).cloned() })
    }

    /// Sets the headers by which the bucket's rules let scripts read the response. Rules that cannot be read let none.
    pub(super) async fn allow<B>(&self, buckets: &dyn BucketCatalog, response: &mut Response<B>) {
        match buckets.cors(&self.bucket).await {
            Ok(policy) => allow(&policy, &self.method, self.origin.as_ref(), response),
            Err(error) => {
                tracing::error!(target: "isobar_gateway", error = %error.with_causes(), "the CORS rules cannot be read");
            }
        }
    }
}

/// Answers a preflight request by the rules of its bucket.
///
/// # Errors
/// 400 for a request that is not one; 403 for one that no rule covers.
pub(super) async fn preflight(buckets: &dyn BucketCatalog, head: &http::request::Parts) -> S3Result<HeaderMap> {
    let policy = match bucket_of(head.uri.path()) {
        Some(bucket) => buckets.cors(&bucket).await.or_s3()?,
        None => CorsPolicy::default(),
    };
    let bad_request = |message: &str| refusal(StatusCode::BAD_REQUEST, "BadRequest", message);
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN).ok_or_else(|| bad_request("A preflight request has a header Origin"))?;
    let method = text(header::ACCESS_CONTROL_REQUEST_METHOD)
        .ok_or_else(|| bad_request("A preflight request has a header Access-Control-Request-Method"))?;
    let names = requested(&head.headers);
    let rule = names.as_ref().and_then(|names| {
        policy.rules().iter().find(|rule| covers(rule, origin, method) && names.iter().all(|name| takes(rule, name)))
    });
    let forbidden = || {
        let message = "No CORS rule of the bucket allows this origin, method and headers";
        refusal(StatusCode::FORBIDDEN, "AccessForbidden", message)
    };
    let rule = rule.ok_or_else(forbidden)?;
    let mut headers = HeaderMap::new();
    insert(&mut headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, shown_origin(rule, origin));
    insert(&mut headers, header::ACCESS_CONTROL_ALLOW_METHODS, &rule.allowed.methods.join(", "));
    if let Some(names) = names.filter(|names| !names.is_empty()) {
        insert(&mut headers, header::ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", "));
    }
    if let Some(seconds) = rule.max_age_seconds {
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, seconds.into());
    }
    Ok(headers)
}

/// Sets `Vary` of every response to a preflight request.
pub(super) fn vary_preflight(headers: &mut HeaderMap) {
    headers.insert(header::VARY, HeaderValue::from_static(PREFLIGHT_VARY));
}

/// Sets the headers of a response to a request that is not a preflight request.
fn allow<B>(policy: &CorsPolicy, method: &Method, origin: Option<&HeaderValue>, response: &mut Response<B>) {
    let covering = origin.and_then(|origin| origin.to_str().ok()).and_then(|origin| {
        let rule = policy.rules().iter().find(|rule| covers(rule, origin, method.as_str()))?;
        Some((rule, origin))
    });
    if policy.rules().is_empty() || (covering.is_none() && !is_kept(response.status())) {
        return;
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some((rule, origin)) = covering else { return };
    insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, shown_origin(rule, origin));
    if !rule.expose_headers.is_empty() {
        insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &rule.expose_headers.join(", "));
    }
}

/// Whether a cache may keep a response of this status. All these are answered to keys that may know of the bucket.
fn is_kept(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection() || status == StatusCode::NOT_FOUND
}

/// The bucket that a path names. Paths that s3s cannot read name none.
fn bucket_of(path: &str) -> Option<String> {
    let first = path.strip_prefix('/')?.split('/').next().filter(|first| !first.is_empty())?;
    Some(percent_decode_str(first).decode_utf8().ok()?.into_owned())
}

/// Names of the headers that the request would have, in lower case; `None` where there are too many.
fn requested(headers: &HeaderMap) -> Option<Vec<String>> {
    let values = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    // A value that is not ASCII names no header that a rule could allow.
    let values = values.map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>()?;
    let names = values.into_iter().flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.take(MOST_HEADERS + 1).map(str::to_ascii_lowercase).collect();
    (names.len() <= MOST_HEADERS).then_some(names)
}

/// Whether a rule covers an origin with a method.
fn covers(rule: &CorsRule, origin: &str, method: &str) -> bool {
    rule.allowed.methods.iter().any(|allowed| allowed == method)
        && rule.allowed.origins.iter().any(|allowed| matches(allowed, origin))
}

/// Whether a rule allows a request header, whose name is in lower case.
fn takes(rule: &CorsRule, name: &str) -> bool {
    rule.allowed.headers.iter().any(|allowed| matches(&allowed.to_ascii_lowercase(), name))
}

/// Whether a text is the pattern, in which one `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

/// The value of `Access-Control-Allow-Origin`: `*` where the rule has that for every origin.
fn shown_origin<'a>(rule: &CorsRule, origin: &'a str) -> &'a str {
    if rule.allowed.origins.iter().any(|allowed| allowed == "*") { "*" } else { origin }
}

/// Sets a header whose value was checked as the rule was.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Returns the rules of a bucket.
pub(super) async fn get(
    session: &Session,
    request: S3Request<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let bucket = request.input.bucket;
    session.to_list(&bucket, "").await?;
    let policy = session.buckets.cors(&bucket).await.or_s3()?;
    if policy.rules().is_empty() {
        let message = "The CORS configuration does not exist";
        return Err(refusal(StatusCode::NOT_FOUND, "NoSuchCORSConfiguration", message));
    }
    let rules = policy.rules().iter().map(|rule| CORSRule {
        allowed_headers: some(&rule.allowed.headers),
        allowed_methods: rule.allowed.methods.clone(),
        allowed_origins: rule.allowed.origins.clone(),
        expose_headers: some(&rule.expose_headers),
        id: rule.id.clone(),
        max_age_seconds: rule.max_age_seconds.and_then(|seconds| i32::try_from(seconds).ok()),
    });
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(rules.collect()) }))
}

/// Replaces the rules of a bucket.
pub(super) async fn put(
    session: &Session,
    request: S3Request<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    session.check_administrator()?;
    let PutBucketCorsInput { bucket, cors_configuration, .. } = request.input;
    session.check_bucket(&bucket).await?;
    let rules = cors_configuration.cors_rules.into_iter().map(|rule| {
        let mut read = CorsRule::new(rule.allowed_origins, rule.allowed_methods);
        read.id = rule.id;
        read.allowed.headers = rule.allowed_headers.unwrap_or_default();
        read.expose_headers = rule.expose_headers.unwrap_or_default();
        // A negative number is refused with those that are too large.
        read.max_age_seconds = rule.max_age_seconds.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        read
    });
    let policy = CorsPolicy::new(rules.collect()).or_s3()?;
    session.buckets.set_cors(&bucket, policy).await.or_s3()?;
    Ok(S3Response::new(PutBucketCorsOutput::default()))
}

/// Removes the rules of a bucket.
pub(super) async fn delete(
    session: &Session,
    request: S3Request<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    session.check_administrator()?;
    session.check_bucket(&request.input.bucket).await?;
    session.buckets.set_cors(&request.input.bucket, CorsPolicy::default()).await.or_s3()?;
    Ok(S3Response::with_status(DeleteBucketCorsOutput::default(), StatusCode::NO_CONTENT))
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(policy: &CorsPolicy, method: &Method, origin: &str) -> Option<String> {
        let mut response = Response::new(());
        allow(policy, method, Some(&HeaderValue::from_str(origin).unwrap()), &mut response);
        assert_eq!(response.headers()[header::VARY], "Origin");
        response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn one_wildcard_stands_for_any_characters() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "https://a"),
            ("https://*", "https://"),
            ("https://*.a", "https://b.c.a"),
            ("x-amz-*", "x-amz-meta-a"),
            ("a*a", "aa"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a*a", "a"),
            ("https://*.a", "https://a"),
            ("https://*.a", "https://b.a.evil"),
            ("https://a", "https://a:8443"),
            ("https://a", "http://a"),
            ("https://a", "https://A"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn first_rule_that_covers_origin_and_method_decides() {
        let rules = vec![
            CorsRule::new(["https://a"], ["PUT"]).with_expose_headers(["x-first"]),
            CorsRule::new(["https://a", "https://*.b"], ["GET", "PUT"]).with_expose_headers(["x-second"]),
            CorsRule::new(["*"], ["HEAD"]),
        ];
        let policy = CorsPolicy::new(rules).unwrap();
        for (method, origin, expected) in [
            (Method::GET, "https://a", Some("https://a")),
            (Method::GET, "https://c.b", Some("https://c.b")),
            (Method::GET, "https://c", None),
            (Method::HEAD, "https://c", Some("*")),
            (Method::HEAD, "null", Some("*")),
            (Method::DELETE, "https://a", None),
        ] {
            assert_eq!(allowed(&policy, &method, origin).as_deref(), expected, "{method} {origin}");
        }
        for (method, expected) in [(Method::PUT, "x-first"), (Method::GET, "x-second")] {
            let mut response = Response::new(());
            allow(&policy, &method, Some(&HeaderValue::from_static("https://a")), &mut response);
            assert_eq!(response.headers()[header::ACCESS_CONTROL_EXPOSE_HEADERS], expected);
        }
    }

    #[test]
    fn request_headers_are_read_as_a_list_without_case() {
        let mut headers = HeaderMap::new();
        assert_eq!(requested(&headers), Some(Vec::new()));
        headers.append("access-control-request-headers", HeaderValue::from_static("Content-Type , ,x-a"));
        headers.append("access-control-request-headers", HeaderValue::from_static("X-B"));
        assert_eq!(requested(&headers).unwrap(), ["content-type", "x-a", "x-b"]);
        headers.append("access-control-request-headers", HeaderValue::from_str(&"a,".repeat(97)).unwrap());
        assert_eq!(requested(&headers).map(|names| names.len()), Some(100));
        headers.append("access-control-request-headers", HeaderValue::from_static("a"));
        assert_eq!(requested(&headers), None);
    }

    #[test]
    fn bucket_is_the_first_segment_of_a_path() {
        for (path, expected) in [
            ("/photos", Some("photos")),
            ("/photos/a/b", Some("photos")),
            ("/ph%6ftos/a", Some("photos")),
            ("/", None),
            ("//a", None),
            ("*", None),
            ("/%FF/a", None),
        ] {
            assert_eq!(bucket_of(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn bucket_without_rules_leaves_a_response_alone() {
        let mut response = Response::new(());
        allow(&CorsPolicy::default(), &Method::GET, Some(&HeaderValue::from_static("https://a")), &mut response);
        assert!(response.headers().is_empty());
    }
}
