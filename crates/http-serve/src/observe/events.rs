//! The events of a dataset: of requests, and of the product.
//!
//! A dataset has one event for each request or occurrence, of both kinds together, told apart by
//! `blob1`. The columns are a contract: events of old versions are read by new ones, so that a column
//! is only ever added, and a value that is missing has a meaning (a weight of 0 is 1). Analytics Engine
//! has 20 blobs and 20 doubles.

use bytes::Bytes;
use http::{Method, StatusCode};
use isobar_analytics::{DataPoint, Event};
use serde_json::{Map, Value, json};

/// The event of a request, and its columns: `index1` the route; `blob1` `request`, `blob2` the route, `blob3` the method,
/// `blob4` the status, `blob5` the cache's part, `blob6` the country; `double1` the duration in milliseconds, `double2` the
/// bytes answered where known, `double3` the milliseconds that databases took, `double4` how many requests it stands for.
/// Nothing personal: no address, no path with values in it, no query.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{DataPoint, EventSink};
/// use isobar_http_serve::RequestEvent;
///
/// let dataset = MemorySink::new();
/// let point = ["request", "/api/images/{id}", "GET", "404", "none", "AT"].into_iter().fold(DataPoint::new(), DataPoint::with_blob);
/// dataset.write(point.with_double(3.5)); // of an old version, without a weight
/// let event = RequestEvent::from_event(&dataset.points()[0]).expect("it is a request's");
/// assert_eq!((event.status, event.milliseconds, event.weight), (404, 3.5, 1.0));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RequestEvent {
    /// The route's pattern: `/api/images/{id}`; `site` for static files.
    pub route: String,
    /// GET, POST, ...
    pub method: String,
    /// 200, 404, ...; 499 where the request was given up: the client has gone, or the answer took too long.
    pub status: u16,
    /// How long the answer took, in milliseconds.
    pub milliseconds: f64,
    /// Bytes answered, where known beforehand.
    pub bytes: f64,
    /// `revalidated` where the client's copy was good still; natively, where answers are kept in memory,
    /// [what the cache had to do with it](isobar_site::CacheState); else `none`: what a data centre's cache answers does not
    /// come here.
    pub cache: String,
    /// How long the request waited for databases, in milliseconds.
    pub database_milliseconds: f64,
    /// The client's country by ISO 3166-1, two letters; empty where it is not known. See [`App::country_header`](crate::App::country_header).
    pub country: String,
    /// How many requests the event stands for: 1, or more where [not each is written](crate::App::sample_rate), or the dataset samples.
    pub weight: f64,
}

/// `blob1` of a request's event.
pub(super) const REQUEST: &str = "request";
/// `blob1` of an event of the product.
pub(super) const PRODUCT: &str = "event";

/// The longest index, in bytes.
const INDEX_BYTES: usize = 96;

/// The data of a request's event; as little as possible is copied.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(crate) route: Bytes,
    pub(crate) method: Method,
    pub(crate) status: StatusCode,
    pub(crate) milliseconds: f64,
    pub(crate) bytes: f64,
    pub(crate) cache: &'static str,
    pub(crate) database_milliseconds: f64,
    pub(crate) country: Option<Country>,
}

/// A country by ISO 3166-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Country([u8; 2]);

impl Country {
    /// Reads its two letters. Cloudflare also sends `XX` for an unknown country and `T1` for Tor: neither is a country.
    pub(crate) fn read(code: &[u8]) -> Option<Self> {
        let code: [u8; 2] = code.try_into().ok()?;
        let code = code.map(|letter| letter.to_ascii_uppercase());
        (code.iter().all(u8::is_ascii_uppercase) && code != *b"XX").then_some(Self(code))
    }
}

impl Noted {
    /// Returns the data point of the event, which stands for `weight` requests.
    pub(crate) fn to_point(&self, weight: f64) -> DataPoint {
        let Self { route, method, status, milliseconds, bytes, cache, database_milliseconds, country } = self;
        let country = country.map(|Country(code)| Bytes::copy_from_slice(&code)).unwrap_or_default();
        let mut point = DataPoint::new();
        point.indexes = vec![index(route)];
        point.blobs = vec![
            Bytes::from_static(REQUEST.as_bytes()),
            route.clone(),
            named(method),
            numbered(*status),
            Bytes::from_static(cache.as_bytes()),
            country,
        ];
        point.doubles = vec![*milliseconds, *bytes, *database_milliseconds, weight];
        point
    }
}

/// A longer route is cut at a character.
fn index(route: &Bytes) -> Bytes {
    let mut end = route.len().min(INDEX_BYTES);
    while route.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
        end -= 1;
    }
    route.slice(..end)
}

/// The name of a method that HTTP has; a client may make up others.
pub(crate) fn standard(method: &Method) -> Option<&'static str> {
    const NAMES: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    NAMES.into_iter().find(|name| *name == method.as_str())
}

/// The method's name; those of HTTP are not copied.
fn named(method: &Method) -> Bytes {
    let copied = || Bytes::copy_from_slice(method.as_str().as_bytes());
    standard(method).map_or_else(copied, |name| Bytes::from_static(name.as_bytes()))
}

/// The status as text; the usual ones are not copied.
fn numbered(status: StatusCode) -> Bytes {
    match status.as_u16() {
        200 => Bytes::from_static(b"200"),
        206 => Bytes::from_static(b"206"),
        304 => Bytes::from_static(b"304"),
        404 => Bytes::from_static(b"404"),
        _ => Bytes::copy_from_slice(status.as_str().as_bytes()),
    }
}

impl RequestEvent {
    /// Reads the event back; `None` where it is another kind of event.
    #[must_use]
    pub fn from_event(event: &Event) -> Option<Self> {
        let text = |number| String::from_utf8(event.blob(number).to_vec()).ok();
        if event.blob(1) != REQUEST.as_bytes() {
            return None;
        }
        // Events of older versions have no weight; each stood for itself.
        let weight = Some(event.double(4)).filter(|weight| *weight != 0.0).unwrap_or(1.0);
        let weight = weight * f64::from(event.sample_interval);
        Some(Self {
            route: text(2)?,
            method: text(3)?,
            status: text(4)?.parse().ok()?,
            milliseconds: event.double(1),
            bytes: event.double(2),
            cache: text(5)?,
            database_milliseconds: event.double(3),
            country: text(6)?,
            weight,
        })
    }
}

/// An event of the product, and its columns: `index1` the name; `blob1` `event`, `blob2` the name, `blob3` a pseudonym of
/// the user, `blob4` one of the tenant, `blob5` the properties as JSON.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{DataPoint, EventSink};
/// use isobar_http_serve::ProductEvent;
///
/// let dataset = MemorySink::new();
/// let blobs = ["event", "theme_changed", "1f2e", "9a8b", r#"{"to":"dark"}"#];
/// dataset.write(blobs.into_iter().fold(DataPoint::new().with_index("theme_changed"), DataPoint::with_blob));
/// let event = ProductEvent::from_event(&dataset.points()[0]).expect("it is the product's");
/// assert_eq!(event.name, "theme_changed");
/// assert_eq!(event.properties["to"], "dark");
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ProductEvent {
    /// The event's name: `theme_changed`.
    pub name: String,
    /// The user's pseudonym: the same for the same user.
    pub user: String,
    /// The tenant, alike.
    pub tenant: String,
    /// The event's properties.
    pub properties: Map<String, Value>,
}

impl ProductEvent {
    /// Returns the data point of the event.
    pub(crate) fn to_point(&self) -> DataPoint {
        let Self { name, user, tenant, properties } = self;
        DataPoint::new()
            .with_index(name.clone())
            .with_blob(PRODUCT)
            .with_blob(name.clone())
            .with_blob(user.clone())
            .with_blob(tenant.clone())
            .with_blob(json!(properties).to_string())
    }

    /// Reads the event back; `None` where it is another kind of event.
    #[must_use]
    pub fn from_event(event: &Event) -> Option<Self> {
        if event.blob(1) != PRODUCT.as_bytes() {
            return None;
        }
        let text = |number| String::from_utf8(event.blob(number).to_vec()).ok();
        let properties = serde_json::from_slice(event.blob(5)).ok()?;
        Some(Self { name: text(2)?, user: text(3)?, tenant: text(4)?, properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_route_is_cut_at_a_character() {
        let route = Bytes::from("/".to_owned() + &"\u{e9}".repeat(60));
        let cut = index(&route);
        assert_eq!((cut.len(), std::str::from_utf8(&cut).is_ok()), (95, true));
        assert_eq!(index(&Bytes::from_static(b"/short")), "/short");
    }

    #[test]
    fn event_of_a_dataset_that_samples_stands_for_more_requests() {
        let weight = |doubles: &[f64]| {
            let blobs = ["request", "/", "GET", "200", "none", "AT"];
            let mut point = blobs.into_iter().fold(DataPoint::new(), DataPoint::with_blob);
            point.doubles = doubles.to_vec();
            let event = Event::new(chrono::DateTime::UNIX_EPOCH, point).with_sample_interval(4);
            RequestEvent::from_event(&event).map(|event| event.weight)
        };
        assert_eq!(weight(&[1.0, 2.0, 3.0, 5.0]), Some(20.0));
        assert_eq!(weight(&[1.0]), Some(4.0), "of an old version, without a weight");
    }

    #[test]
    fn a_country_is_two_letters() {
        let read = |code: &str| Country::read(code.as_bytes()).map(|Country(code)| code);
        assert_eq!((read("de"), read("AT")), (Some(*b"DE"), Some(*b"AT")));
        assert_eq!([read("XX"), read("T1"), read("DEU"), read(""), read("d\u{e9}")], [None; 5]);
    }
}
