//! The data centre's cache, for answers that shared caches may keep. The runtime's cache slices ranges and answers
//! conditions out of the whole that was put.
//!
//! # The entry
//!
//! The key is the request's URL with the content codings that the client takes as a parameter, since
//! the runtime's cache ignores `Vary`. An entry is put with a `Cache-Control` of its own, by which the
//! runtime lets it expire, and with the client's in a header beside it, which comes back on a hit. Ids
//! and headers of one connection are left out.
//!
//! # What is kept
//!
//! | answer | for |
//! |---|---|
//! | 200, `public`, with a lifetime | the rest of the lifetime |
//! | 200, `public` without a lifetime, of the site | `fresh_for` of the options, if they are set |
//! | with `Set-Cookie`, `private`, `no-store`, `no-cache`, or a `Vary` beyond `Accept-Encoding` | not |
//! | of unknown length, or larger than the limit | not |
//!
//! Sources: RFC 9111 (3, 4.2), and Cloudflare's documentation of the Cache API.
//!
//! A cache that fails is no cache: the application answers, and a failed `put` is a warning.

use axum::body::HttpBody;
use axum::response::Response;
use http::{HeaderMap, HeaderName, StatusCode, header};
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::worker::Context;
use isobar_cloudflare::binding::{JsError, Object, js_sys};
use isobar_site::{CacheOptions, FromSite};

use crate::observe::{REQUEST_ID, request_id};

/// Content codings that the site has variants for.
const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];

/// Requests with these go to the application: credentials, and conditions that the cache does not heed.
const APPLICATION_ONLY: [&str; 7] =
    ["authorization", "cookie", "upgrade", "cache-control", "if-range", "if-match", "if-unmodified-since"];

/// Bytes of the largest answer that is cached by default: for a slow client the runtime holds the difference in memory.
const LARGEST_BYTES: u64 = 16 << 20;

/// Headers of one answer, or of its connection: they are not kept.
const OF_ONE_ANSWER: [&str; 5] = ["age", "connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info"];

/// The header with an answer's own `Cache-Control` for clients; the one that the cache sees has the remaining lifetime.
const CACHE_CONTROL_BEFORE: &str = "x-isobar-cache-control";

/// When it would have been made were it as old as it says, in seconds since 1970: its `Age` is derived from it.
const BORN: &str = "x-isobar-born";

/// A request as the cache knows it, if it may have an answer to it.
pub(super) struct Lookup {
    key: Option<(Object, Object)>,
}

impl Lookup {
    /// Only a plain GET without credentials: what the answer is to anything else is the application's to say.
    pub(super) fn of(request: &Object) -> Self {
        let headers = request.object("headers");
        let header = |name: &str| headers.call("get", &[name.into()]).ok().and_then(|value| value.as_string());
        // Several pieces the runtime's cache writes in its own way, and without a length.
        let has_pieces = header("range").is_some_and(|range| range.contains(','));
        let is_plain = request.text("method").as_deref() == Some("GET")
            && !has_pieces
            && APPLICATION_ONLY.iter().all(|name| header(name).is_none());
        let key = || {
            let cache = Object::global().object("caches").object("default");
            if !is_plain || cache.is_nothing() {
                return None;
            }
            let url = key(&request.text("url")?, &header("accept-encoding").unwrap_or_default());
            // The headers go with it: Range, If-None-Match and If-Modified-Since are the cache's to answer.
            let init = Object::empty().with("headers", headers.value().clone());
            Some((cache, Object::construct("Request", &[url.into(), init.into()]).ok()?))
        };
        Self { key: key() }
    }

    /// The kept answer, with an id of its own. A cache that fails has none, nor has one without the bytes that are wanted:
    /// why it has not is for the application to say.
    pub(super) async fn find(&self) -> Option<Object> {
        let (cache, request) = self.key.as_ref()?;
        let hit = Object::from(cache.ask("match", &[request.value().clone()]).await.ok()?);
        let status = hit.get("status").as_f64()?;
        if status == f64::from(StatusCode::RANGE_NOT_SATISFIABLE.as_u16()) {
            return None;
        }
        // What the cache gives cannot be changed; a copy can.
        let answer = Object::construct("Response", &[hit.get("body"), hit.value().clone()]).ok()?;
        let headers = answer.object("headers");
        let take = |name: &str| {
            let value = headers.call("get", &[name.into()]).ok()?.as_string()?;
            headers.call("delete", &[name.into()]).ok()?;
            Some(value)
        };
        let set = |name: HeaderName, value: String| headers.call("set", &[name.as_str().into(), value.into()]);
        if let Some(before) = take(CACHE_CONTROL_BEFORE) {
            set(header::CACHE_CONTROL, before).ok()?;
        }
        // The runtime counts from when it was put here.
        take(header::AGE.as_str());
        if let Some(born) = take(BORN).and_then(|born| born.parse::<u64>().ok()) {
            set(header::AGE, now().saturating_sub(born).to_string()).ok()?;
        }
        let id = request_id().map(|id| headers.call("set", &[REQUEST_ID.as_str().into(), id.into()]));
        let no_content = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT_RANGES];
        let is_unchanged = status == f64::from(StatusCode::NOT_MODIFIED.as_u16());
        let removed =
            no_content.iter().filter(|_| is_unchanged).map(|name| headers.call("delete", &[name.as_str().into()]));
        id.into_iter().chain(removed).collect::<Result<Vec<_>, _>>().ok()?;
        Some(answer)
    }

    /// How a shared cache may keep this answer, if it may.
    pub(super) fn keeping(&self, response: &Response, options: Option<&CacheOptions>) -> Option<Keeping> {
        let largest = options.map_or(LARGEST_BYTES, |options| options.max_object_bytes);
        let fits = response.body().size_hint().exact().is_some_and(|length| length <= largest);
        if self.key.is_none() || !fits || response.status() != StatusCode::OK {
            return None;
        }
        let fresh = options.map_or(0, |options| options.fresh_for.as_secs());
        let is_sites = response.extensions().get::<FromSite>().is_some();
        Keeping::of(response.headers(), if is_sites { fresh } else { 0 })
    }

    /// Keeps a copy of the answer, after it has gone.
    pub(super) fn keep(&self, answer: &Object, keeping: &Keeping, context: &Context) -> Result<(), JsError> {
        let Some((cache, request)) = self.key.clone() else { return Ok(()) };
        let url: JsValue = request.get("url");
        let copy = answer.call("clone", &[])?;
        let headers = Object::from(copy.clone()).object("headers");
        let delete = |name: &str| headers.call("delete", &[name.into()]);
        let set = |name: &str, value: String| headers.call("set", &[name.into(), value.into()]);
        // The id is this request's alone, and so is what is said of the connection (RFC 9111 3.1). Its age is counted anew: the
        // runtime would take it off the lifetime once more.
        let connection = headers.call("get", &[header::CONNECTION.as_str().into()])?.as_string().unwrap_or_default();
        let named = connection.split(',').map(str::trim).filter(|name| !name.is_empty());
        for name in OF_ONE_ANSWER.into_iter().chain([REQUEST_ID.as_str()]).chain(named) {
            delete(name)?;
        }
        set(CACHE_CONTROL_BEFORE, keeping.control.clone())?;
        set(header::CACHE_CONTROL.as_str(), format!("public, max-age={}", keeping.seconds))?;
        if let Some(age) = keeping.age {
            set(BORN, now().saturating_sub(age).to_string())?;
        }
        context.wait_until(async move {
            if let Err(error) = cache.ask("put", &[url, copy]).await {
                tracing::warn!(%error, "an answer was not cached");
            }
        });
        Ok(())
    }
}

/// The runtime's cache does not heed `Vary`: the codings that the client takes are part of the key.
fn key(url: &str, accept: &str) -> String {
    let accept = accept.to_ascii_lowercase();
    let takes = |coding: &&&str| {
        accept.split(',').any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
            name.trim() == **coding && !refused
        })
    };
    let codings: Vec<&str> = CODINGS.iter().filter(takes).copied().collect();
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}isobar-codings={}", codings.join("."))
}

/// How an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keeping {
    /// For how long.
    seconds: u64,
    /// The `Cache-Control` for clients.
    control: String,
    /// How old it is already, in seconds; `None` where no age is sent: the site's own is kept as in memory natively.
    age: Option<u64>,
}

impl Keeping {
    /// A public answer with a lifetime is cached for the rest of it; one that is public without a lifetime, for `fresh` seconds.
    fn of(headers: &HeaderMap, fresh: u64) -> Option<Self> {
        let directives = all(headers, &header::CACHE_CONTROL);
        if !is_public(headers, &directives) {
            return None;
        }
        let lines = headers.get_all(header::CACHE_CONTROL).iter().map(|line| line.to_str().ok());
        let control = lines.collect::<Option<Vec<_>>>()?.join(", ");
        let lifetime = |name: &str| directives.iter().find_map(|one| one.strip_prefix(name)?.parse::<u64>().ok());
        let lifetime = lifetime("s-maxage=").or_else(|| lifetime("max-age=")).unwrap_or(0);
        if lifetime == 0 {
            return (fresh > 0).then_some(Self { seconds: fresh, control, age: None });
        }
        let age = age(headers)?;
        let seconds = lifetime.checked_sub(age).filter(|seconds| *seconds > 0)?;
        Some(Self { seconds, control, age: Some(age) })
    }
}

/// The values of a header that is a list, in lower case. A line that is not ASCII counts as a value
/// that nothing is equal to.
fn all(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?"));
    lines.flat_map(|line| line.split(',')).map(|one| one.trim().to_ascii_lowercase()).collect()
}

/// Whether a shared cache may keep it.
fn is_public(headers: &HeaderMap, directives: &[String]) -> bool {
    // With an argument, too: `private="x-name"` keeps a header back, which this cache cannot.
    let has = |name: &str| directives.iter().any(|one| one.split('=').next() == Some(name));
    let varies = all(headers, &header::VARY).iter().any(|name| name != "accept-encoding");
    let kept_back = ["no-store", "no-cache", "private"].iter().any(|name| has(name));
    has("public") && !kept_back && !varies && !headers.contains_key(header::SET_COOKIE)
}

/// How old an answer is that came from somewhere else, in seconds; `None` where what it says of that is no age.
fn age(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::AGE).iter();
    let age = lines.next().map_or(Some(0), |line| line.to_str().ok()?.trim().parse().ok())?;
    lines.next().is_none().then_some(age)
}

/// Seconds since 1970.
fn now() -> u64 {
    (js_sys::Date::now() / 1000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_keys_differ_by_coding() {
        assert_eq!(key("http://a/x", "gzip, br;q=0.9"), "http://a/x?isobar-codings=br.gzip");
        assert_eq!(key("http://a/x", "GZIP;q=0, br; q=0.000 ,zstd;q=1"), "http://a/x?isobar-codings=zstd");
        assert_eq!(key("http://a/x?y=1", ""), "http://a/x?y=1&isobar-codings=");
    }

    #[test]
    fn only_answers_public_for_a_while_are_kept() {
        let of = |lines: &[(&'static str, &'static str)]| {
            let lines = lines
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, value);
            }
            [0, 7].map(|fresh| Keeping::of(&headers, fresh))
        };
        let kept = |seconds, control: &str, age| Some(Keeping { seconds, control: control.to_owned(), age });
        // As it was written: not all that is said there is for this cache, and some of it goes by its letters.
        let written = "Public, Max-Age=60, Ext=\"A\"";
        assert_eq!(of(&[("cache-control", written)])[0], kept(60, written, Some(0)));
        let control = "public, max-age=60";
        let as_it_says = [(); 2].map(|()| kept(60, control, Some(0)));
        assert_eq!(of(&[("cache-control", control), ("vary", "Accept-Encoding")]), as_it_says);
        assert_eq!(of(&[("cache-control", "public"), ("cache-control", "max-age=60")]), as_it_says);
        let shared = "public, max-age=0, s-maxage=60";
        assert_eq!(of(&[("cache-control", shared)]), [(); 2].map(|()| kept(60, shared, Some(0))));
        // What is old already is kept for what is left.
        let left = [(); 2].map(|()| kept(20, control, Some(40)));
        assert_eq!(of(&[("cache-control", control), ("age", "40")]), left);
        // What is public, and to be looked at each time, is looked at after a while.
        let before = "public, max-age=0, must-revalidate";
        assert_eq!(of(&[("cache-control", before)]), [None, kept(7, before, None)]);
        for kept_out in [
            &[("cache-control", "private, max-age=60")][..],
            &[("cache-control", control), ("set-cookie", "a=b")],
            &[("cache-control", control), ("vary", "Cookie")],
            &[("cache-control", control), ("vary", "accept-encoding"), ("vary", "origin")],
            &[("cache-control", control), ("cache-control", "private")],
            &[("cache-control", "public, no-cache, max-age=60")],
            &[("cache-control", "public, private=\"x-name\", max-age=60")],
            &[("cache-control", control), ("age", "60")],
            &[("cache-control", control), ("age", "-1")],
            &[("cache-control", control), ("age", "0, 0")],
            &[("cache-control", control), ("age", "0"), ("age", "0")],
            &[],
        ] {
            assert_eq!(of(kept_out), [None, None], "{kept_out:?}");
        }
    }
}
