//! Listings of a million keys with delimiters that were chosen to make them slow or wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use isobar_storage::rules::list_page;
use isobar_storage::{
    Body, Capabilities, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage, ObjectMeta, ObjectStore,
    PutOptions, PutResult, Result,
};

use crate::client::{Call, Client, Reply, Setup};

const KEYS: usize = 1_000_000;
/// Most keys and prefixes of a page.
const PAGE: usize = 1000;
/// Most keys that a store reads for a page. After each group it looks at two keys, and at twice as many while no other group comes.
const READ: usize = 6 * PAGE;
/// Most bytes of a page.
const BYTES: usize = 1 << 20;

/// A bucket whose keys are made when they are read, in ascending order.
#[derive(Debug)]
struct Lazy {
    key: fn(usize) -> String,
    /// Keys that were read.
    read: AtomicUsize,
}

impl Lazy {
    /// Number of the first key that is not before these bytes, or behind them.
    fn position(&self, bytes: &[u8], is_inclusive: bool) -> usize {
        let mut range = 0..KEYS;
        while range.start < range.end {
            let middle = range.start + (range.end - range.start) / 2;
            let key = (self.key)(middle);
            let is_before = if is_inclusive { key.as_bytes() < bytes } else { key.as_bytes() <= bytes };
            if is_before {
                range.start = middle + 1;
            } else {
                range.end = middle;
            }
        }
        range.start
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "a listing reads no object"))
}

#[async_trait]
impl ObjectStore for Lazy {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn head(&self, _key: &Key) -> Result<Option<ObjectMeta>> {
        unused()
    }

    async fn get(&self, _key: &Key, _options: GetOptions) -> Result<GetResult> {
        unused()
    }

    async fn put(&self, _key: &Key, _body: Body, _options: PutOptions) -> Result<PutResult> {
        unused()
    }

    async fn delete(&self, _keys: &[Key]) -> Result<()> {
        unused()
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        list_page(&options, |start, limit| {
            let from = self.position(&start.bytes, start.inclusive);
            let numbers = from..KEYS.min(from + limit);
            self.read.fetch_add(numbers.len(), Ordering::Relaxed);
            let meta = |number| {
                let key = Key::new((self.key)(number))?;
                Ok(ObjectMeta::new(key, "version".to_owned(), 1, "etag".to_owned(), chrono::Utc::now()))
            };
            numbers.map(meta).collect::<Result<Vec<_>>>()
        })
    }
}

/// A bucket and a delimiter.
struct Case {
    name: &'static str,
    key: fn(usize) -> String,
    prefix: &'static str,
    delimiter: &'static str,
}

const CASES: [Case; 9] = [
    case("each key is a group", |number| format!("{number:06}x"), "", "x"),
    case("each key is a group of the last character", |number| format!("{number:06}\u{10ffff}"), "", "\u{10ffff}"),
    case("one group of all keys", |number| format!("all/{number:06}"), "", "/"),
    case("a thousand groups", |number| format!("{:03}/{:03}", number / 1000, number % 1000), "", "/"),
    case("groups of one digit among keys", |number| format!("{number:06}"), "", "0"),
    case("groups of the last digit among keys", |number| format!("{number:06}"), "", "9"),
    case("every tenth key a group", |number| format!("{:05}{}", number / 10, number % 10), "", "5"),
    case("no key has it", |number| format!("{number:06}"), "", "0123456789/0123456789/0123456789"),
    case("behind a prefix that has it", |number| format!("a/b/{number:06}"), "a/b/5", "5"),
];

const fn case(name: &'static str, key: fn(usize) -> String, prefix: &'static str, delimiter: &'static str) -> Case {
    Case { name, key, prefix, delimiter }
}

impl Case {
    /// Entry of a key in the listing: the key, or the group that it is in. None where the prefix leaves it out.
    fn entry(&self, number: usize) -> Option<String> {
        let key = (self.key)(number);
        let rest = key.strip_prefix(self.prefix)?;
        let end = rest.find(self.delimiter).map(|at| self.prefix.len() + at + self.delimiter.len());
        Some(end.map_or(key.clone(), |end| key[..end].to_owned()))
    }

    /// The entries from a key on but for this one, as they are defined: all keys, one by one. And the number of the first key
    /// behind the page, if there is one.
    fn expected(&self, from: usize, but: Option<String>) -> (Vec<String>, Option<usize>) {
        let mut entries: Vec<String> = Vec::new();
        for number in from..KEYS {
            let Some(entry) = self.entry(number) else { continue };
            if entries.last().or(but.as_ref()) == Some(&entry) {
                continue;
            }
            if entries.len() == PAGE {
                return (entries, Some(number));
            }
            entries.push(entry);
        }
        (entries, None)
    }
}

/// A bucket of a case, behind the door.
struct Listing {
    case: Case,
    store: Arc<Lazy>,
    client: Client,
}

impl Listing {
    fn new(case: Case) -> Self {
        let store = Arc::new(Lazy { key: case.key, read: AtomicUsize::new(0) });
        let client = Setup::over(store.clone()).client("owner");
        Self { case, store, client }
    }

    /// Asks for a page, which has to be whole and small, and the store's work as well.
    async fn page(&self, version: &str, at: Option<(&str, &str)>, expected: &[String], is_truncated: bool) -> Reply {
        let call = Call::get(&format!("/photos?encoding-type=url{version}"));
        let mut call = call.query("delimiter", self.case.delimiter).query("prefix", self.case.prefix);
        if let Some((name, value)) = at {
            call = call.query(name, value);
        }
        self.store.read.store(0, Ordering::Relaxed);
        let reply = self.client.call(call).await.ok();
        let read = self.store.read.load(Ordering::Relaxed);
        let name = self.case.name;
        assert!(read <= READ, "{name}: {read} keys are read for a page");
        assert!(reply.body.len() <= BYTES, "{name}: a page of {} bytes", reply.body.len());
        let group = |group: &str| group.strip_prefix("<Prefix>").unwrap().strip_suffix("</Prefix>").unwrap().to_owned();
        let mut entries: Vec<String> = reply.elements("Key").into_iter().map(str::to_owned).collect();
        entries.extend(reply.elements("CommonPrefixes").into_iter().map(group));
        let mut entries: Vec<String> = entries.iter().map(|entry| decoded(entry)).collect();
        entries.sort();
        assert!(entries.len() <= PAGE, "{name}: a page of {} entries", entries.len());
        let first = entries.iter().zip(expected).find(|(entry, expected)| entry != expected);
        assert_eq!(first, None, "{name}: at {at:?}");
        assert_eq!(entries.len(), expected.len(), "{name}: at {at:?}");
        assert_eq!(
            reply.element("IsTruncated"),
            Some(if is_truncated { "true" } else { "false" }),
            "{name}: at {at:?}"
        );
        reply
    }

    /// Follows the second version's tokens for some pages.
    async fn follow_tokens(&self) {
        let mut from = 0;
        let mut but = None;
        let mut token: Option<String> = None;
        for _ in 0..3 {
            let (expected, next) = self.case.expected(from, but);
            let at = token.as_deref().map(|token| ("continuation-token", token));
            let reply = self.page("&list-type=2", at, &expected, next.is_some()).await;
            assert_eq!(reply.element("KeyCount"), Some(expected.len().to_string().as_str()), "{}", self.case.name);
            let Some(next) = next else { return };
            from = next;
            but = expected.last().cloned();
            token = Some(reply.element("NextContinuationToken").unwrap().to_owned());
        }
    }

    /// Asks for pages of the first version behind entries from all over the listing, the last page among them.
    async fn jump(&self) {
        for number in [1, 100_000, 500_500, 599_999, 899_990, 999_900, KEYS - 1] {
            let Some(marker) = self.case.entry(number) else { continue };
            let (expected, next) = self.case.expected(number, Some(marker.clone()));
            let reply = self.page("", Some(("marker", &marker)), &expected, next.is_some()).await;
            let last = reply.element("NextMarker").map(decoded);
            assert_eq!(last.as_ref(), expected.last().filter(|_| next.is_some()), "{}", self.case.name);
        }
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

#[tokio::test]
async fn pages_of_a_million_keys_are_whole_and_bounded() {
    for case in CASES {
        let listing = Listing::new(case);
        listing.follow_tokens().await;
        listing.jump().await;
    }
}
