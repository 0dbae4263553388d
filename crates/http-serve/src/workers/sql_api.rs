//! Analytics Engine's SQL API, from inside a Worker.
//!
//! `isobar-analytics` has a client of its own for this API, over the HTTP stack of native programs;
//! inside a Worker there is only `fetch`. Both send the same SQL and read the same JSON.
//!
//! A query that has failed is not repeated here: an application asks for statistics again when somebody
//! looks at them again.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use isobar_analytics::query::{Answer, Query, QueryExecutor};
use isobar_analytics::{Error, ErrorKind, Result};
use isobar_api::HttpClient;

/// Base URL of Cloudflare's REST API.
const BASE_URL: &str = "https://api.cloudflare.com/client/v4";
/// How much of a refusal's text an error has, in characters.
const REFUSAL: usize = 300;

/// The datasets of an account, through Analytics Engine's SQL API. An answer has at most 1 MiB and must come within 10 s; nothing is
/// sent twice.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_analytics::query::{Query, QueryExecutor};
/// use isobar_http_serve::http_client;
/// use isobar_http_serve::workers::SqlApi;
///
/// let api = SqlApi::new(http_client()?, "0123456789abcdef0123456789abcdef", "the-token")?;
/// let answer = api.query(&Query::new("SELECT count() FROM web WHERE blob1 = $1").with("/home")).await?;
/// println!("{:?}", answer.value(0, 0));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SqlApi {
    client: Arc<dyn HttpClient>,
    account: String,
    uri: Uri,
    /// Shows in no debug output.
    authorization: HeaderValue,
}

impl SqlApi {
    /// Asks the datasets of the account with this id, by an API token with the permission Account Analytics: Read.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] where the token cannot be one, [`ErrorKind::Query`] where the id cannot be one.
    pub fn new(client: Arc<dyn HttpClient>, account: impl Into<String>, token: &str) -> Result<Self> {
        let account = account.into();
        if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(invalid(ErrorKind::Query, format!("invalid account id {account:?}")));
        }
        let authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
        let mut authorization = authorization.ok_or_else(|| {
            invalid(ErrorKind::PermissionDenied, "the API token is empty or not a valid header value".to_owned())
        })?;
        authorization.set_sensitive(true);
        let uri = uri(BASE_URL, &account)?;
        Ok(Self { client, account, uri, authorization })
    }

    /// Sets the base URL of the API, up to and including its version: of a server that speaks it.
    ///
    /// # Errors
    /// [`ErrorKind::Query`] where it is not a URL.
    ///
    /// ```
    /// use isobar_http_serve::http_client;
    /// use isobar_http_serve::workers::SqlApi;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let api = SqlApi::new(http_client()?, "0123456789abcdef0123456789abcdef", "the-token")?;
    /// let api = api.with_base_url("http://127.0.0.1:8788/client/v4")?; // a server of `isobar serve --rest`
    /// assert!(api.with_base_url("not a url").is_err());
    /// # Ok(()) }
    /// ```
    pub fn with_base_url(self, base_url: &str) -> Result<Self> {
        let uri = uri(base_url.trim_end_matches('/'), &self.account)?;
        Ok(Self { uri, ..self })
    }
}

/// The URL of an account's queries.
fn uri(base_url: &str, account: &str) -> Result<Uri> {
    let url = format!("{base_url}/accounts/{account}/analytics_engine/sql");
    url.parse::<Uri>()
        .ok()
        .filter(|uri| uri.authority().is_some())
        .ok_or_else(|| invalid(ErrorKind::Query, format!("invalid URL {url:?}")))
}

/// An error of the configuration.
fn invalid(kind: ErrorKind, message: String) -> Error {
    Error::new(kind, message).during("open")
}

#[async_trait]
impl QueryExecutor for SqlApi {
    async fn query(&self, query: &Query) -> Result<Answer> {
        let (sql, format) = query.to_sql_and_format()?;
        let mut request = Request::new(Bytes::from(sql));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(header::AUTHORIZATION, self.authorization.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let answer = self.client.send(request).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, error.to_string()).with_source(error).during("query")
        })?;
        if !answer.status().is_success() {
            return Err(refusal(answer.status(), answer.body()));
        }
        Ok(Answer::from_json(answer.body())?.with_format(format))
    }
}

/// The error of an answer that is no success. 401 and 403 are the token's, 408, 429 and 5xx pass, all
/// else is the query's.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let kind = match status.as_u16() {
        401 | 403 => ErrorKind::PermissionDenied,
        408 | 429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Query,
    };
    let text: String = String::from_utf8_lossy(body).trim().chars().take(REFUSAL).collect();
    Error::new(kind, format!("Cloudflare answered {status}: {text}")).during("query")
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::sync::Mutex;

    use chrono::{TimeDelta, Utc};
    use http::Response;
    use isobar_analytics::query::Value;
    use isobar_api::HttpClientError;
    use serde_json::json;

    use super::*;
    use crate::{DatasetQueries, stats};

    /// Answers by a function of the query's text, and records the requests.
    struct Fetch<F> {
        answer: F,
        requests: Arc<Mutex<Vec<Request<Bytes>>>>,
    }

    impl<F> std::fmt::Debug for Fetch<F> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Fetch")
        }
    }

    #[async_trait]
    impl<F: Fn(&str) -> (u16, String) + Send + Sync> HttpClient for Fetch<F> {
        async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpClientError> {
            let (status, body) = (self.answer)(std::str::from_utf8(request.body()).expect("the query is UTF-8"));
            self.requests.lock().expect("the lock is not poisoned").push(request);
            Ok(Response::builder().status(status).body(body.into()).expect("the head is valid"))
        }
    }

    type Requests = Arc<Mutex<Vec<Request<Bytes>>>>;

    fn api(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (SqlApi, Requests) {
        let requests = Requests::default();
        let fetch = Fetch { answer, requests: Arc::clone(&requests) };
        (SqlApi::new(Arc::new(fetch), "account1", "the-token").expect("the account is valid"), requests)
    }

    #[tokio::test]
    async fn extensions_of_the_local_executor_are_refused_before_they_are_sent() {
        let (api, requests) = api(|_| (200, String::new()));
        let error = api.query(&Query::new("SELECT timestamp FROM web ORDER BY timestamp WITH FILL")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Query);
        assert!(requests.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_query_is_posted_with_the_token_and_its_values_are_literals() {
        let answer = json!({"meta": [{"name": "n", "type": "UInt64"}], "data": [{"n": "3"}], "rows": 1}).to_string();
        let (api, requests) = api(move |_| (200, answer.clone()));
        let query = Query::new("SELECT count() AS n FROM web WHERE blob1 = $1 FORMAT JSON").with("it's");
        assert_eq!(api.query(&query).await.unwrap().value(0, 0), Value::UInt(3));
        let requests = requests.lock().unwrap();
        let request = &requests[0];
        let url = "https://api.cloudflare.com/client/v4/accounts/account1/analytics_engine/sql";
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", url));
        assert_eq!(request.headers()["authorization"], "Bearer the-token");
        assert_eq!(request.body().as_ref(), b"SELECT count() AS n FROM web WHERE blob1 = 'it\\'s'");
        assert!(!format!("{api:?}").contains("the-token"));
    }

    #[tokio::test]
    async fn refusals_have_different_kinds() {
        let kind = async |status: u16| {
            let (api, _) = api(move |_| (status, "no".to_owned()));
            api.query(&Query::new("SELECT 1")).await.unwrap_err().kind()
        };
        assert_eq!(kind(403).await, ErrorKind::PermissionDenied);
        assert_eq!(kind(429).await, ErrorKind::Unavailable);
        assert_eq!(kind(422).await, ErrorKind::Query);
        assert_eq!(kind(200).await, ErrorKind::Internal);
        let (api, _) = api(|_| (422, "unknown column".to_owned()));
        let error = api.query(&Query::new("SELECT x")).await.unwrap_err();
        assert_eq!(error.to_string(), "query: Cloudflare answered 422 Unprocessable Entity: unknown column");
    }

    #[test]
    fn an_invalid_account_token_or_url_is_refused() {
        let (fetch, _) = api(|_| (200, String::new()));
        assert!(SqlApi::new(Arc::clone(&fetch.client), "../x", "t").is_err());
        assert!(SqlApi::new(Arc::clone(&fetch.client), "a", "").is_err());
        assert!(SqlApi::new(Arc::clone(&fetch.client), "a", "a\nb").is_err());
        assert!(fetch.clone().with_base_url("not a url").is_err());
        let other = fetch.with_base_url("http://127.0.0.1:8787/client/v4/").unwrap();
        assert_eq!(other.uri, "http://127.0.0.1:8787/client/v4/accounts/account1/analytics_engine/sql");
    }

    #[tokio::test]
    async fn statistics_are_those_queries_over_the_account_s_dataset() {
        let summary = [("requests", "Float64"), ("errors", "Float64"), ("sent", "Float64"), ("waited", "Float64")];
        let quantiles = [("median", "Float64"), ("p95", "Float64"), ("p99", "Float64")];
        let figures =
            json!({"requests": 8, "errors": 2, "sent": 100, "waited": 4, "median": 1.5, "p95": null, "p99": 9});
        let answer = move |sql: &str| {
            let (keys, cells): (Vec<(&str, &str)>, _) = if sql.contains(" AS step") {
                (vec![("step", "Int64")], json!({"step": "23"}))
            } else if sql.contains(" AS users") {
                let columns = vec![("blob2", "String"), ("written", "UInt64"), ("users", "UInt64")];
                (columns, json!({"blob2": "saved", "written": "5", "users": "2"}))
            } else if sql.contains("SELECT blob5") {
                (vec![("blob5", "String")], json!({"blob5": "none"}))
            } else if sql.contains("SELECT blob2") {
                (vec![("blob2", "String")], json!({"blob2": "/api/x"}))
            } else {
                (vec![], json!({}))
            };
            let mut row = cells.as_object().unwrap().clone();
            row.extend(figures.as_object().unwrap().clone());
            let columns = keys.iter().chain(&summary).chain(&quantiles);
            let meta: Vec<_> = columns.map(|(name, ty)| json!({"name": name, "type": ty})).collect();
            (200, json!({"meta": meta, "data": [row], "rows": 1}).to_string())
        };
        let (api, requests) = api(answer);
        let queries = DatasetQueries::new(api, "my-events");
        let day = stats(&NoSink, &queries, Utc::now() - TimeDelta::days(1), Utc::now(), None).await.unwrap();
        assert_eq!((day.requests.count, day.requests.errors, day.requests.database_ms), (8, 2, 0.5));
        assert_eq!((day.requests.median_ms, day.requests.p95_ms, day.requests.p99_ms), (1.5, 0.0, 9.0));
        assert_eq!((day.series[23].requests.count, day.series[0].requests.count), (8, 0));
        assert_eq!((day.routes[0].route.as_str(), day.caches["none"]), ("/api/x", 8));
        assert_eq!((day.events[0].name.as_str(), day.events[0].count, day.events[0].users), ("saved", 5, 2));
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 5);
        let texts = requests.iter().map(|request| String::from_utf8_lossy(request.body()).into_owned());
        for sql in texts {
            assert!(sql.contains(" FROM \"my-events\" WHERE timestamp >= toDateTime('"), "{sql}");
        }
    }

    /// A dataset that is only written, as those inside Workers.
    #[derive(Debug)]
    struct NoSink;

    #[async_trait]
    impl isobar_analytics::EventSink for NoSink {
        fn write(&self, _: isobar_analytics::DataPoint) {}
        async fn flush(&self) -> Result<()> {
            Ok(())
        }
        async fn close(&self) -> Result<()> {
            Ok(())
        }
        async fn health(&self) -> Result<()> {
            Ok(())
        }
        fn stats(&self) -> isobar_analytics::SinkStats {
            isobar_analytics::SinkStats::default()
        }
    }
}
