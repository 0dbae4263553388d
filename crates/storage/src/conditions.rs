//! Conditions: R2's `onlyIf`.
//!
//! Pure: [`Conditions::hold`] judges metadata that is at hand, and the backend sees to it that nothing comes between the judgement and the
//! write (a lock, a transaction, R2 itself). The kit's table (`conformance::conditions`) has each condition alone and in the pairs of which
//! one overrides the other; it runs in workerd as well.

use chrono::{DateTime, SubsecRound, Utc};
use http::{HeaderMap, HeaderName, header};

use crate::{Error, ErrorKind, ObjectMeta, Result};

/// R2's `onlyIf`: an operation goes ahead only if the object, as it is, meets all of them.
///
/// - `etag_matches` compares strongly (a weak etag never matches), `etag_does_not_match` weakly.
/// - `uploaded_before` and `uploaded_after` are strict.
/// - A passing `etag_matches` overrides `uploaded_before`; a passing `etag_does_not_match` overrides `uploaded_after`
///   (as RFC 9110 13.2.2 orders the headers).
/// - A missing object fails `etag_matches` and `uploaded_after`, and passes the others; hence
///   [`create_only`](Self::create_only).
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Conditions, Key, ObjectStore, ObjectStoreExt, PutOptions, PutResult};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let key = Key::new("counter")?;
/// let old = store.write(&key, "1").await?;
/// // Compare-and-swap: the second writer of the two that have read "1" fails.
/// let swap = PutOptions::default().with_conditions(Conditions::if_etag(old.etag)?);
/// assert!(matches!(store.put(&key, "2".into(), swap.clone()).await?, PutResult::Stored(_)));
/// assert_eq!(store.put(&key, "2".into(), swap).await?, PutResult::ConditionFailed);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conditions {
    /// Etags of which the object must have one. Default: any.
    pub etag_matches: Option<Etags>,
    /// Etags of which the object must have none. Default: no such etag.
    pub etag_does_not_match: Option<Etags>,
    /// Time before which it must have been uploaded, to the millisecond. Default: none.
    pub uploaded_before: Option<DateTime<Utc>>,
    /// Time after which it must have been uploaded, to the millisecond. Default: none.
    pub uploaded_after: Option<DateTime<Utc>>,
    /// Whether times compare in whole seconds, as HTTP's do. Default: false.
    pub seconds: bool,
}

/// A set of etags to compare with, as `If-Match` and `If-None-Match` have it (RFC 9110 13.1.1, 13.1.2).
///
/// ```
/// use isobar_storage::{Etag, Etags};
///
/// let header = Etags::parse_header(r#""abc", W/"def""#).expect("a list of etags");
/// let Etags::List(list) = &header else { panic!("the header is a list") };
/// assert_eq!((list[0].as_str(), list[0].is_weak()), ("abc", false));
/// assert!(list[1].is_weak());
/// assert_eq!(Etags::parse_header("abc"), None); // an etag of HTTP stands in quotes
/// assert_eq!(Etags::one("abc")?, Etags::List(vec![Etag::strong("abc")?])); // and R2's does not
/// assert_eq!(Etags::one("*")?, Etags::Any);
/// # Ok::<_, isobar_storage::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Etags {
    /// `*`: every object that exists.
    Any,
    /// Any of these.
    List(Vec<Etag>),
}

/// An entity tag, without its quotes (RFC 9110 8.8.3).
///
/// A weak one (`W/` in a header) says that two representations can stand for each other, not that their bytes are the same. So it
/// matches where a cache asks (`If-None-Match`), and nowhere else. Etags of stored objects are strong.
///
/// | comparison | `"a"` and `"a"` | `W/"a"` and `"a"` | used by |
/// |---|---|---|---|
/// | strong | equal | different | [`Conditions::etag_matches`] |
/// | weak | equal | equal | [`Conditions::etag_does_not_match`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag {
    value: String,
    weak: bool,
}

impl Etag {
    /// A strong etag, unquoted as in [`ObjectMeta::etag`]; `*` is [`Etags::Any`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is wrapped in quotes, as R2 refuses it.
    ///
    /// ```
    /// use isobar_storage::{ErrorKind, Etag};
    ///
    /// assert!(!Etag::strong("abc")?.is_weak());
    /// assert_eq!(Etag::strong("\"abc\"").unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn strong(value: impl Into<String>) -> Result<Self> {
        let value = value.into();
        if value.len() >= 2 && value.starts_with('"') && value.ends_with('"') {
            let message = format!("Conditional ETag should not be wrapped in quotes ({value})."); // workerd's words
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Self { value, weak: false })
    }

    /// The etag without its quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Whether it is marked `W/`.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.weak
    }
}

impl Etags {
    /// Exactly this etag, as [`ObjectMeta::etag`] has it; `*` stands for any.
    ///
    /// # Errors
    /// As [`Etag::strong`].
    ///
    /// ```
    /// use isobar_storage::{Conditions, Etags};
    ///
    /// // Not the version that is known already.
    /// let newer = Conditions::default().with_etag_does_not_match(Etags::one("5d41402abc4b2a76b9719d911017c592")?);
    /// assert!(newer.hold(None));
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn one(value: impl Into<String>) -> Result<Self> {
        let value = value.into();
        if value == "*" { Ok(Self::Any) } else { Ok(Self::List(vec![Etag::strong(value)?])) }
    }

    /// Parses the value of `If-Match` or `If-None-Match`: `*`, or a list of quoted etags, weak ones marked `W/`.
    /// Anything else is `None`: HTTP ignores it.
    ///
    /// ```
    /// use isobar_storage::Etags;
    ///
    /// assert_eq!(Etags::parse_header("*"), Some(Etags::Any));
    /// // A comma within an etag divides nothing.
    /// let Some(Etags::List(list)) = Etags::parse_header(r#""a,b", "c""#) else { panic!("two etags") };
    /// assert_eq!((list.len(), list[0].as_str()), (2, "a,b"));
    /// assert_eq!(Etags::parse_header(r#""unfinished"#), None);
    /// ```
    #[must_use]
    pub fn parse_header(value: &str) -> Option<Self> {
        if value.trim() == "*" {
            return Some(Self::Any);
        }
        let mut rest = value.trim();
        let mut list = Vec::new();
        while !rest.is_empty() {
            let (weak, tail) = rest.strip_prefix("W/").map_or((false, rest), |tail| (true, tail));
            // An opaque-tag may hold commas, so the list is cut at quotes, not at commas (RFC 9110 8.8.3).
            let (value, tail) = tail.strip_prefix('"')?.split_once('"')?;
            list.push(Etag { value: value.to_owned(), weak });
            rest = tail.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        (!list.is_empty()).then_some(Self::List(list))
    }

    fn contains_strongly(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => list.iter().any(|one| !one.weak && one.value == etag),
        }
    }

    fn contains_weakly(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => list.iter().any(|one| one.value == etag),
        }
    }
}

impl Conditions {
    /// Goes ahead only if the object does not exist.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, Key, ObjectStore, PutOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// // A lock that one of several processes gets.
    /// let store = MemoryStore::new();
    /// let take = PutOptions::default().with_conditions(Conditions::create_only());
    /// let first = store.put(&Key::new("lock")?, "one".into(), take.clone()).await?.stored();
    /// let second = store.put(&Key::new("lock")?, "two".into(), take).await?.stored();
    /// assert!(first.is_some() && second.is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn create_only() -> Self {
        Self { etag_does_not_match: Some(Etags::Any), ..Self::default() }
    }

    /// Goes ahead only if the object is the one with this etag: compare-and-swap.
    ///
    /// # Errors
    /// As [`Etag::strong`].
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, Key, ObjectStore, ObjectStoreExt, PutOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("counter")?;
    /// store.write(&key, "41").await?;
    /// // Read, change, write, and once more if another writer came between.
    /// let stored = loop {
    ///     let (meta, bytes) = store.read(&key).await?.expect("it was written");
    ///     let next = String::from_utf8_lossy(&bytes).parse::<u32>().expect("a number") + 1;
    ///     let unchanged = PutOptions::default().with_conditions(Conditions::if_etag(meta.etag)?);
    ///     if let Some(stored) = store.put(&key, next.to_string().into(), unchanged).await?.stored() {
    ///         break stored;
    ///     }
    /// };
    /// assert_eq!((stored.size, store.read(&key).await?.expect("it is there").1), (2, "42".into()));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub fn if_etag(etag: impl Into<String>) -> Result<Self> {
        Ok(Self { etag_matches: Some(Etags::one(etag)?), ..Self::default() })
    }

    /// Requires one of these etags, by strong comparison: `If-Match`. A missing object has none.
    ///
    /// ```
    /// use isobar_storage::{Conditions, Etags};
    ///
    /// let exists = Conditions::default().with_etag_matches(Etags::Any);
    /// assert!(!exists.hold(None));
    /// ```
    #[must_use]
    pub fn with_etag_matches(mut self, etags: Etags) -> Self {
        self.etag_matches = Some(etags);
        self
    }

    /// Requires none of these etags, by weak comparison: `If-None-Match`. A missing object has none, and passes.
    ///
    /// ```
    /// use isobar_storage::{Conditions, Etags};
    ///
    /// let absent = Conditions::default().with_etag_does_not_match(Etags::Any);
    /// assert_eq!(absent, Conditions::create_only());
    /// ```
    #[must_use]
    pub fn with_etag_does_not_match(mut self, etags: Etags) -> Self {
        self.etag_does_not_match = Some(etags);
        self
    }

    /// Requires an upload before this, strictly; a missing object passes.
    ///
    /// ```
    /// use chrono::{DateTime, Duration};
    /// use isobar_storage::{Conditions, Key, ObjectMeta};
    ///
    /// let uploaded = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    /// let meta = ObjectMeta::new(Key::new("a").unwrap(), "version".into(), 0, "etag".into(), uploaded);
    /// assert!(!Conditions::default().with_uploaded_before(uploaded).hold(Some(&meta)));
    /// assert!(Conditions::default().with_uploaded_before(uploaded + Duration::milliseconds(1)).hold(Some(&meta)));
    /// ```
    #[must_use]
    pub fn with_uploaded_before(mut self, at: DateTime<Utc>) -> Self {
        self.uploaded_before = Some(at);
        self
    }

    /// Requires an upload after this, strictly; a missing object fails.
    ///
    /// ```
    /// use chrono::DateTime;
    /// use isobar_storage::{Conditions, Key, ObjectMeta};
    ///
    /// let uploaded = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    /// let meta = ObjectMeta::new(Key::new("a").unwrap(), "version".into(), 0, "etag".into(), uploaded);
    /// let changed_since = |at| Conditions::default().with_uploaded_after(at).hold(Some(&meta));
    /// assert!(changed_since(DateTime::UNIX_EPOCH) && !changed_since(uploaded));
    /// ```
    #[must_use]
    pub fn with_uploaded_after(mut self, at: DateTime<Utc>) -> Self {
        self.uploaded_after = Some(at);
        self
    }

    /// Takes `If-Match`, `If-None-Match`, `If-Unmodified-Since` and `If-Modified-Since` from headers, to the second. As
    /// workerd, a date that is none counts as 1970.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for invalid etags: a condition that cannot be read must not make a write
    /// unconditional.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, header};
    /// use isobar_storage::{Conditions, ErrorKind};
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
    /// let conditions = Conditions::from_headers(&headers)?;
    /// assert!(conditions.hold(None) && conditions.seconds);
    /// headers.insert(header::IF_MATCH, HeaderValue::from_static("without quotes"));
    /// assert_eq!(Conditions::from_headers(&headers).unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn from_headers(headers: &HeaderMap) -> Result<Self> {
        let etags = |name: HeaderName| {
            let lines: Vec<&str> = headers.get_all(&name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
            if lines.is_empty() {
                return Ok(None);
            }
            let invalid = || Error::new(ErrorKind::InvalidArgument, format!("Invalid ETag in {name} header"));
            Etags::parse_header(&lines.join(", ")).map(Some).ok_or_else(invalid)
        };
        let date = |name: HeaderName| {
            let text = headers.get(name)?.to_str().unwrap_or_default();
            Some(httpdate::parse_http_date(text).map_or(DateTime::UNIX_EPOCH, DateTime::from))
        };
        Ok(Self {
            etag_matches: etags(header::IF_MATCH)?,
            etag_does_not_match: etags(header::IF_NONE_MATCH)?,
            uploaded_before: date(header::IF_UNMODIFIED_SINCE),
            uploaded_after: date(header::IF_MODIFIED_SINCE),
            seconds: true,
        })
    }

    /// Whether the object, or its absence, meets all conditions. For backends; in a backend it has to be asked in one step with the write.
    ///
    /// | condition | a missing object | an object |
    /// |---|---|---|
    /// | none | holds | holds |
    /// | `etag_matches` | fails | its etag is one of them, strongly |
    /// | `etag_does_not_match` | holds | its etag is none of them, weakly |
    /// | `uploaded_before` | holds | `etag_matches` is given and holds, or it was uploaded before |
    /// | `uploaded_after` | fails | `etag_does_not_match` is given and holds, or it was uploaded after |
    ///
    /// ```
    /// use isobar_storage::{Conditions, Key, ObjectMeta};
    ///
    /// let meta = ObjectMeta::new(Key::new("a")?, "version".into(), 0, "etag".into(), Default::default());
    /// let same = Conditions::if_etag("etag")?;
    /// // The etag decides, whatever the time says.
    /// let same_and_older = same.with_uploaded_before(meta.uploaded - chrono::Duration::days(1));
    /// assert!(same_and_older.hold(Some(&meta)));
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    #[must_use]
    pub fn hold(&self, object: Option<&ObjectMeta>) -> bool {
        let Some(object) = object else { return self.etag_matches.is_none() && self.uploaded_after.is_none() };
        let time = |at: DateTime<Utc>| if self.seconds { at.trunc_subsecs(0) } else { at };
        let uploaded = time(object.uploaded);

        let matches = self.etag_matches.as_ref().map(|etags| etags.contains_strongly(&object.etag));
        let differs = self.etag_does_not_match.as_ref().map(|etags| !etags.contains_weakly(&object.etag));
        let before = matches == Some(true) || self.uploaded_before.is_none_or(|at| uploaded < time(at));
        let after = differs == Some(true) || self.uploaded_after.is_none_or(|at| time(at) < uploaded);
        matches != Some(false) && differs != Some(false) && before && after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etag_lists_are_cut_at_quotes() {
        let list = |text| match Etags::parse_header(text) {
            Some(Etags::List(list)) => Some(list.into_iter().map(|etag| (etag.value, etag.weak)).collect::<Vec<_>>()),
            _ => None,
        };
        assert_eq!(list(r#""a,b" , W/"c""#), Some(vec![("a,b".into(), false), ("c".into(), true)]));
        assert_eq!(Etags::parse_header(" * "), Some(Etags::Any));
        for malformed in ["", "abc", "\"a", "\"a\" \"b\"", "W/a"] {
            assert_eq!(list(malformed), None, "{malformed}");
        }
    }
}
