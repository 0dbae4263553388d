//! The layers conform, and each changes the one thing it is for.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt;
use isobar_storage::layers::{
    CacheOptions, Cached, Counters, LimitOptions, Limited, NfcKeys, Observation, Observed, Observer, Prefixed,
    ReadOnly, Retried, RetryOptions, Sleep,
};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{
    Body, Clock, Conditions, CopyOptions, Error, ErrorKind, GetOptions, ListOptions, MultipartOptions, ObjectStore,
    ObjectStoreExt, Operation, PutOptions, Range, conformance,
};

use crate::local::key;

fn sleep() -> Sleep {
    Arc::new(|time| tokio::time::sleep(time).boxed())
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "not now")
}

#[tokio::test]
async fn every_layer_conforms() {
    let store = MemoryStore::new;
    but_for_the_longest_keys(conformance::run(async || Arc::new(Prefixed::new(store(), "below/").unwrap()) as _).await);
    conformance::run(async || Arc::new(Retried::new(store(), RetryOptions::default(), sleep())) as _)
        .await
        .assert_green();
    conformance::run(async || Arc::new(Limited::new(store(), LimitOptions::default())) as _).await.assert_green();
    conformance::run(async || Arc::new(NfcKeys::new(store())) as _).await.assert_green();
    conformance::run(async || Arc::new(Observed::new(store(), Counters::default())) as _).await.assert_green();
    conformance::run(async || Arc::new(Cached::new(store(), CacheOptions::default())) as _).await.assert_green();
    let all = async || {
        let store = Limited::new(Observed::new(store(), Counters::default()), LimitOptions::default());
        let store = Retried::new(Prefixed::new(store, "a/b/").unwrap(), RetryOptions::default(), sleep());
        Arc::new(Cached::new(store, CacheOptions::default())) as _
    };
    but_for_the_longest_keys(conformance::run(all).await);
}

/// Below a prefix there is less room for keys.
fn but_for_the_longest_keys(mut report: isobar_testkit::Report) {
    let before = report.outcomes.len();
    report.outcomes.retain(|(_, case, _)| *case != "keys_have_limits");
    assert_eq!(report.outcomes.len(), before - 1);
    report.assert_green();
}

#[tokio::test]
async fn nothing_beside_the_prefix_is_reached() {
    let inner = MemoryStore::new();
    for name in ["a", "below", "below/", "below/one", "below/two/three", "belows"] {
        inner.write(&key(name), name).await.unwrap();
    }
    let store = Prefixed::new(inner.clone(), "below/").unwrap();
    let page = store.list(ListOptions::default().with_delimiter("/")).await.unwrap();
    assert_eq!(page.objects.iter().map(|meta| meta.key.as_str()).collect::<Vec<_>>(), ["one"]);
    assert_eq!(page.prefixes, ["two/"]);
    assert_eq!(store.read(&key("one")).await.unwrap().unwrap().0.key.as_str(), "one");
    assert!(store.head(&key("../a")).await.unwrap().is_none());
    store.delete(&[key("one"), key("a")]).await.unwrap();
    assert!(inner.head(&key("a")).await.unwrap().is_some() && inner.head(&key("below/one")).await.unwrap().is_none());
    let after = store.list(ListOptions::default().with_start_after("two/three")).await.unwrap();
    assert!(after.objects.is_empty());
    assert_eq!(Prefixed::new(inner, "x".repeat(1024)).unwrap_err().kind(), ErrorKind::InvalidKey);
    let long = store.write(&key(&"x".repeat(1020)), "").await.unwrap_err();
    assert_eq!((long.kind(), long.code()), (ErrorKind::InvalidKey, Some(10020)));
}

#[tokio::test]
async fn two_forms_of_a_key_are_one_as_in_r2() {
    let composed = "caf\u{e9}/\u{fc}";
    let decomposed = "cafe\u{301}/u\u{308}";
    let inner = MemoryStore::new();
    let store = NfcKeys::new(inner.clone());
    assert_eq!(store.write(&key(decomposed), "1").await.unwrap().key.as_str(), composed);
    assert!(
        store.head(&key(composed)).await.unwrap().is_some() && store.head(&key(decomposed)).await.unwrap().is_some()
    );
    assert_eq!(inner.head(&key(decomposed)).await.unwrap(), None);
    let page = store.list(ListOptions::default().with_prefix("cafe\u{301}").with_delimiter("u\u{308}")).await.unwrap();
    assert_eq!(page.prefixes, [composed]);
    let create = PutOptions::default().with_conditions(Conditions::create_only());
    assert!(store.put(&key(decomposed), "2".into(), create).await.unwrap().stored().is_none());
    let upload = store.multipart(&key(decomposed), MultipartOptions::default()).await.unwrap();
    let part = upload.upload_part(1, "3").await.unwrap();
    assert_eq!(upload.complete(vec![part]).await.unwrap().key.as_str(), composed);
    let copied = store.copy(&key(decomposed), &key("u\u{308}"), CopyOptions::default()).await.unwrap();
    assert!(copied.is_some_and(|copy| copy.stored().is_some_and(|meta| meta.key.as_str() == "\u{fc}")));
    store.delete(&[key(decomposed), key("\u{fc}")]).await.unwrap();
    assert!(inner.list(ListOptions::default()).await.unwrap().objects.is_empty());
    // From before, and past the layer.
    inner.write(&key(decomposed), "4").await.unwrap();
    assert_eq!(store.list(ListOptions::default()).await.unwrap().objects.len(), 1);
    assert_eq!(store.head(&key(decomposed)).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_only_read_is_not_written() {
    let inner = MemoryStore::new();
    inner.write(&key("a"), "a").await.unwrap();
    let upload = inner.create_multipart(&key("b"), MultipartOptions::default()).await.unwrap();
    let store = ReadOnly::new(inner.clone());
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "a");
    assert_eq!(store.list(ListOptions::default()).await.unwrap().objects.len(), 1);
    let refused = [
        store.write(&key("a"), "b").await.unwrap_err(),
        store.delete(&[key("a")]).await.unwrap_err(),
        store.copy(&key("a"), &key("c"), Default::default()).await.unwrap_err(),
        store.create_multipart(&key("c"), MultipartOptions::default()).await.unwrap_err(),
        store.upload_part(&key("b"), &upload, 1, "x".into()).await.unwrap_err(),
        store.complete_multipart(&key("b"), &upload, Vec::new()).await.unwrap_err(),
        store.abort_multipart(&key("b"), &upload).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::PermissionDenied), "{refused:?}");
    assert_eq!(inner.read(&key("a")).await.unwrap().unwrap().1, "a");
    assert!(!store.capabilities().copy && store.capabilities().list_parts);
}

#[tokio::test]
async fn what_can_be_repeated_is_and_what_cannot_is_not() {
    let inner = MockStore::new(MemoryStore::new());
    let options =
        RetryOptions::default().with_attempts(3).with_backoff(Duration::from_millis(1), Duration::from_millis(4));
    let store = Retried::new(inner.clone(), options, sleep());
    let fail = |operation: &'static str, times: usize| {
        (0..times).for_each(|_| inner.script().fail_next(operation, unavailable()));
    };
    fail("put", 2);
    store.write(&key("a"), "a").await.unwrap();
    assert_eq!(inner.script().count("put"), 3);
    fail("get", 2);
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "a");
    fail("head", 3);
    let error = store.head(&key("a")).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("after 3 attempts"), "{error}");
    // Not what may have been done already, nor what streams, nor what will not get better.
    fail("put", 1);
    let create = PutOptions::default().with_conditions(Conditions::create_only());
    assert!(store.put(&key("b"), "b".into(), create).await.is_err());
    fail("put", 1);
    let body = Body::from_stream(1, futures_util::stream::iter([Ok("b".into())]));
    assert!(store.put(&key("b"), body, PutOptions::default()).await.is_err());
    inner.script().fail_next("list", Error::new(ErrorKind::PermissionDenied, "never"));
    assert!(store.list(ListOptions::default()).await.is_err());
    assert_eq!((inner.script().count("put"), inner.script().count("list")), (5, 1));
}

#[tokio::test]
async fn only_so_many_at_once_and_only_so_large() {
    let inner = MockStore::new(MemoryStore::new());
    let options = LimitOptions::default().with_concurrency(2).with_max_bytes(10);
    let store = Limited::new(inner.clone(), options);
    let error = store.write(&key("a"), vec![0; 11]).await.unwrap_err();
    assert_eq!((error.kind(), inner.script().count("put")), (ErrorKind::TooLarge, 0));
    store.write(&key("a"), "a").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let local = isobar_storage::local::LocalStore::open(folder.path()).await.unwrap();
    let large = vec![1; 2_000_000];
    local.write(&key("large"), large.clone()).await.unwrap();
    let store = Limited::new(local, LimitOptions::default().with_concurrency(2));
    // Two bodies that are open take both turns; a third read waits until one is dropped.
    let open = async || store.get(&key("large"), GetOptions::default()).await.unwrap().into_object().unwrap().1;
    let first = open().await;
    let second = open().await;
    assert!(tokio::time::timeout(Duration::from_millis(50), store.head(&key("large"))).await.is_err());
    drop(first);
    assert!(store.head(&key("large")).await.unwrap().is_some());
    assert!(second.bytes().await.unwrap() == large);
}

#[tokio::test]
async fn operations_are_counted() {
    let counters = Counters::default();
    let inner = MockStore::new(MemoryStore::new());
    let store = Observed::new(inner.clone(), counters.clone());
    store.write(&key("a"), "four").await.unwrap();
    store.read(&key("a")).await.unwrap();
    store.get(&key("a"), GetOptions::default().with_range(Range::Suffix(2))).await.unwrap();
    inner.script().fail_next("get", unavailable());
    assert!(store.read(&key("a")).await.is_err());
    let stats = counters.stats();
    let of = |operation| stats.get(&operation).map(|tally| (tally.calls, tally.bytes, tally.errors));
    assert_eq!(of(Operation::Put), Some((1, 4, 0)));
    assert_eq!(of(Operation::Get), Some((3, 6, 1)));
}

/// A cache over a recorded store, and a clock in seconds.
fn cached(options: CacheOptions) -> (Arc<Cached<MockStore>>, MockStore, Arc<AtomicI64>) {
    let seconds = Arc::new(AtomicI64::new(0));
    let shift = Arc::clone(&seconds);
    let start = Utc::now();
    let clock: Clock = Arc::new(move || start + chrono::Duration::seconds(shift.load(Ordering::SeqCst)));
    let inner = MockStore::new(MemoryStore::new());
    (Arc::new(Cached::new(inner.clone(), options.with_clock(clock))), inner, seconds)
}

#[tokio::test]
async fn what_is_fresh_is_not_asked_for_and_what_is_not_is_asked_by_its_etag() {
    let (store, inner, seconds) = cached(CacheOptions::default().with_fresh_for(Duration::from_secs(10)));
    store.write(&key("a"), "first").await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "first");
    }
    let range = GetOptions::default().with_range(Range::Suffix(2));
    assert_eq!(store.get(&key("a"), range).await.unwrap().into_object().unwrap().1.bytes().await.unwrap(), "st");
    assert_eq!(inner.script().count("get"), 1);
    // Others' writes are seen when it is no longer fresh; by the etag, so that the body does not come again.
    let other = PutOptions::default().with_content_type("text/x-other");
    inner.put(&key("a"), "first".into(), other).await.unwrap().stored().unwrap();
    assert_eq!(store.head(&key("a")).await.unwrap().unwrap().http.content_type, None);
    seconds.store(11, Ordering::SeqCst);
    let (meta, bytes) = store.read(&key("a")).await.unwrap().unwrap();
    assert_eq!((meta.http.content_type.as_deref(), &bytes[..]), (Some("text/x-other"), &b"first"[..]));
    inner.write(&key("a"), "second").await.unwrap();
    seconds.store(22, Ordering::SeqCst);
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "second");
    // One's own at once.
    store.write(&key("a"), "third").await.unwrap();
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "third");
    store.delete(&[key("a")]).await.unwrap();
    assert!(store.read(&key("a")).await.unwrap().is_none());
    inner.write(&key("a"), "back").await.unwrap();
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "back");
}

#[tokio::test]
async fn many_who_want_the_same_ask_once() {
    let (store, inner, _) = cached(CacheOptions::default());
    inner.write(&key("a"), "a").await.unwrap();
    let gate = inner.script().hold_next("get");
    let reads: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.read(&key("a")).await.unwrap().unwrap().1 })
        })
        .collect();
    while inner.script().count("get") == 0 {
        tokio::task::yield_now().await;
    }
    gate.release();
    for read in reads {
        assert_eq!(read.await.unwrap(), "a");
    }
    assert_eq!(inner.script().count("get"), 1);
}

/// Writes through the cache at the moment when the old object has been read and is not kept yet.
#[derive(Debug, Default)]
struct Between(OnceLock<Arc<Watched>>, AtomicI64);

type Watched = Cached<Observed<MemoryStore, Arc<Between>>>;

impl Observer for Between {
    fn observed(&self, observation: &Observation<'_>) {
        if observation.operation == Operation::Get && self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            // Memory answers at once.
            self.0.get().unwrap().write(&key("a"), "new").now_or_never().unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_asked_for_before_a_write_is_not_kept_after_it() {
    let inner = MemoryStore::new();
    let between = Arc::new(Between::default());
    inner.write(&key("a"), "old").await.unwrap();
    let options = CacheOptions::default().with_fresh_for(Duration::from_secs(1000));
    let store = Arc::new(Cached::new(Observed::new(inner, Arc::clone(&between)), options));
    between.0.set(Arc::clone(&store)).unwrap();
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "old");
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "new");
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().1, "new");
    assert_eq!(between.1.load(Ordering::SeqCst), 2, "the new one is kept");
}

#[tokio::test]
async fn the_cache_keeps_to_its_bytes() {
    let options = CacheOptions::default().with_max_bytes(100_000).with_max_object_bytes(20_000);
    let (store, inner, _) = cached(options);
    inner.write(&key("large"), vec![1; 30_000]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(store.read(&key("large")).await.unwrap().unwrap().1.len(), 30_000);
    }
    assert_eq!((inner.script().count("get"), store.bytes()), (2, 0));
    for number in 0..100 {
        let name = key(&format!("{number}"));
        inner.write(&name, vec![1; 10_000]).await.unwrap();
        store.read(&name).await.unwrap().unwrap();
        assert!(store.bytes() <= 100_000, "{} bytes", store.bytes());
    }
    assert!(store.bytes() > 50_000);
    let ranged = GetOptions::default().with_range(Range::Suffix(5));
    assert_eq!(store.get(&key("large"), ranged).await.unwrap().into_object().unwrap().1.length(), 5);
}
