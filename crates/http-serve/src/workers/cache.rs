//! The data centre's cache, for answers that say that everybody may keep them. The runtime's cache slices ranges and answers
//! conditions out of the whole that was put.

use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::worker::Context;
use isobar_cloudflare::binding::{JsError, Object};

use crate::REQUEST_ID;

/// Content codings that the site has variants for.
const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];

/// A request as the cache knows it, if it may have an answer to it.
pub(super) struct Lookup {
    key: Option<(Object, Object)>,
}

impl Lookup {
    /// Only a plain GET without credentials: what the answer is to anything else is the application's to say.
    pub(super) fn of(request: &Object) -> Self {
        let headers = request.object("headers");
        let header = |name: &str| headers.call("get", &[name.into()]).ok().and_then(|value| value.as_string());
        let is_plain = request.text("method").as_deref() == Some("GET")
            && ["authorization", "cookie", "upgrade", "cache-control"].iter().all(|name| header(name).is_none());
        let key = || {
            let cache = Object::global().object("caches").object("default");
            if !is_plain || cache.is_nothing() {
                return None;
            }
            let url = key(&request.text("url")?, &header("accept-encoding").unwrap_or_default());
            // The headers go with it: Range and the conditions are the cache's to answer.
            let init = Object::empty().with("headers", headers.value().clone());
            Some((cache, Object::construct("Request", &[url.into(), init.into()]).ok()?))
        };
        Self { key: key() }
    }

    /// The kept answer. A cache that fails has none.
    pub(super) async fn find(&self) -> Option<Object> {
        let (cache, request) = self.key.as_ref()?;
        let hit = Object::from(cache.ask("match", &[request.value().clone()]).await.ok()?);
        (!hit.is_nothing()).then_some(hit)
    }

    /// Whether this answer may be kept for everybody.
    pub(super) fn wants(&self, response: &Response) -> bool {
        self.key.is_some() && response.status() == StatusCode::OK && is_public(response.headers())
    }

    /// Keeps a copy of the answer, after it has gone.
    pub(super) fn keep(&self, answer: &Object, context: &Context) -> Result<(), JsError> {
        let Some((cache, request)) = self.key.clone() else { return Ok(()) };
        let url: JsValue = request.get("url");
        let copy = answer.call("clone", &[])?;
        // The id is this request's alone.
        Object::from(copy.clone()).object("headers").call("delete", &[REQUEST_ID.as_str().into()])?;
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

fn is_public(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let directives = text(header::CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    let has = |name: &str| directives.split(',').any(|one| one.trim() == name);
    let age = |name: &str| directives.split(',').find_map(|one| one.trim().strip_prefix(name)?.parse::<u64>().ok());
    let lasts = age("s-maxage=").or_else(|| age("max-age=")).unwrap_or(0) > 0;
    let varies = text(header::VARY).is_some_and(|vary| !vary.eq_ignore_ascii_case("accept-encoding"));
    has("public")
        && lasts
        && !has("no-store")
        && !has("private")
        && !varies
        && !headers.contains_key(header::SET_COOKIE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_codings_apart() {
        assert_eq!(key("http://a/x", "gzip, br;q=0.9"), "http://a/x?isobar-codings=br.gzip");
        assert_eq!(key("http://a/x", "GZIP;q=0, br; q=0.000 ,zstd;q=1"), "http://a/x?isobar-codings=zstd");
        assert_eq!(key("http://a/x?y=1", ""), "http://a/x?y=1&isobar-codings=");
    }

    #[test]
    fn only_what_is_public_for_a_while_is_kept() {
        let of = |lines: &[(&'static str, &'static str)]| {
            let lines = lines
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            is_public(&lines.collect())
        };
        assert!(of(&[("cache-control", "public, max-age=60"), ("vary", "Accept-Encoding")]));
        assert!(of(&[("cache-control", "public, max-age=0, s-maxage=60")]));
        for kept_out in [
            &[("cache-control", "public, max-age=0, must-revalidate")][..],
            &[("cache-control", "private, max-age=60")],
            &[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")],
            &[("cache-control", "public, max-age=60"), ("vary", "Cookie")],
            &[],
        ] {
            assert!(!of(kept_out), "{kept_out:?}");
        }
    }
}
