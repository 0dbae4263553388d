//! Lifecycle rules: as clients set them, and the sweep that carries them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use http::Method;
use isobar_gateway::catalog::{BucketCatalog, Expiry, FixedBuckets, LifecyclePolicy, LifecycleRule};
use isobar_gateway::lifecycle::LifecycleSweeper;
use isobar_storage::local::{LocalOptions, LocalStore};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{
    Clock, Error, ErrorKind, Key, ListOptions, ListUploadsOptions, MultipartOptions, ObjectStore, ObjectStoreExt,
    Operation,
};

use crate::client::{Call, Setup};
use crate::rules::{self, Rules};

const DAY: i64 = 24 * 60 * 60;
const RULES: &str = "<LifecycleConfiguration><Rule><ID>logs</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>\
                     <Expiration><Days>90</Days></Expiration></Rule><Rule><ID>old</ID><Prefix>2019/</Prefix><Status>Disabled</Status>\
                     <Expiration><Date>2024-01-01T00:00:00Z</Date></Expiration></Rule><Rule><ID>uploads</ID><Filter/>\
                     <Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>\
                     </AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>";

#[tokio::test]
async fn rules_are_set_read_and_removed() {
    let client = rules::setup().client("owner");
    let default = client.get("/photos?lifecycle").await.ok();
    assert_eq!(default.elements("ID"), ["Default Multipart Abort Rule"]);
    assert_eq!(default.element("DaysAfterInitiation"), Some("7"));
    client.call(Call::put("/photos?lifecycle", RULES)).await.ok();
    let read = client.get("/photos?lifecycle").await.ok();
    assert_eq!(read.elements("ID"), ["logs", "old", "uploads"]);
    assert_eq!(read.elements("Prefix"), ["logs/", "2019/", ""]);
    assert_eq!(read.elements("Status"), ["Enabled", "Disabled", "Enabled"]);
    assert_eq!((read.element("Days"), read.element("DaysAfterInitiation")), (Some("90"), Some("2")));
    assert!(read.element("Date").is_some_and(|date| date.starts_with("2024-01-01T00:00:00")), "{read:?}");
    assert_eq!(client.delete("/photos?lifecycle").await.ok().status, 204);
    client.get("/photos?lifecycle").await.refused(404, "NoSuchLifecycleConfiguration");
    client.get("/nothing?lifecycle").await.refused(404, "NoSuchBucket");
    client.call(Call::put("/nothing?lifecycle", RULES)).await.refused(404, "NoSuchBucket");
}

#[tokio::test]
async fn rule_without_an_id_gets_one() {
    let client = rules::setup().client("owner");
    client.call(Call::put("/photos?lifecycle", RULES.replace("<ID>logs</ID>", ""))).await.ok();
    let read = client.get("/photos?lifecycle").await.ok();
    assert!(read.elements("ID")[0].len() > 10, "{read:?}");
}

#[tokio::test]
async fn rules_that_cannot_be_carried_out_are_refused() {
    let client = rules::setup().client("owner");
    let filter = |inner: &str| format!("<Filter>{inner}</Filter>");
    let prefix = "<Filter><Prefix>logs/</Prefix></Filter>";
    let days = "<Days>90</Days>";
    let tag = filter("<Tag><Key>a</Key><Value>b</Value></Tag>");
    let size = filter("<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>");
    let transition =
        "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition></Rule><Rule><ID>old</ID>";
    let versions = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>\
                    </Rule><Rule><ID>old</ID>";
    for (from, to, status, code) in [
        (prefix, &*tag, 501, "NotImplemented"),
        (prefix, &*size, 501, "NotImplemented"),
        ("</Rule><Rule><ID>old</ID>", transition, 501, "NotImplemented"),
        ("</Rule><Rule><ID>old</ID>", versions, 501, "NotImplemented"),
        (days, "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>", 501, "NotImplemented"),
        (">2<", ">8<", 501, "NotImplemented"),
        (days, "<Days>0</Days>", 400, "InvalidArgument"),
        (days, "<Days>-1</Days>", 400, "InvalidArgument"),
        (days, "<Days>1</Days><Date>2024-01-01T00:00:00Z</Date>", 400, "MalformedXML"),
        (days, "", 400, "MalformedXML"),
        ("<Expiration><Days>90</Days></Expiration>", "", 400, "InvalidRequest"),
        ("T00:00:00Z", "T12:00:00Z", 400, "InvalidArgument"),
        ("Disabled", "disabled", 400, "MalformedXML"),
        (prefix, "<Prefix>a</Prefix><Filter><Prefix>b</Prefix></Filter>", 400, "MalformedXML"),
        (">old<", ">logs<", 400, "InvalidArgument"),
    ] {
        let body = RULES.replace(from, to);
        assert_ne!(body, RULES, "{from}");
        let reply = client.call(Call::put("/photos?lifecycle", body)).await;
        assert_eq!(reply.outcome(), (status, code.to_owned()), "{to}: {reply:?}");
    }
    for body in ["", "<LifecycleConfiguration/>"] {
        client.call(Call::put("/photos?lifecycle", body)).await.refused(400, "MalformedXML");
    }
    let default = client.get("/photos?lifecycle").await.ok();
    assert_eq!(default.elements("ID"), ["Default Multipart Abort Rule"], "nothing was kept");
}

#[tokio::test]
async fn keys_that_administer_set_rules() {
    let setup = rules::setup();
    for key in ["reader", "album", "stranger"] {
        setup.client(key).call(Call::put("/photos?lifecycle", RULES)).await.refused(403, "AccessDenied");
        setup.client(key).delete("/photos?lifecycle").await.refused(403, "AccessDenied");
    }
    setup.client("reader").get("/photos?lifecycle").await.ok();
    setup.client("album").get("/photos?lifecycle").await.refused(403, "AccessDenied");
    let fixed = Setup::new().client("owner");
    fixed.call(Call::put("/photos?lifecycle", RULES)).await.refused(501, "NotImplemented");
    let owner = Call::new(Method::GET, "/photos?lifecycle").with("x-amz-expected-bucket-owner", "x");
    fixed.call(owner).await.refused(501, "NotImplemented");
}

/// A clock, and its seconds.
fn clock() -> (Arc<AtomicI64>, Clock) {
    let seconds = Arc::new(AtomicI64::new(1_767_225_600));
    let read = Arc::clone(&seconds);
    (seconds, Arc::new(move || DateTime::from_timestamp(read.load(Ordering::Relaxed), 0).unwrap()))
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn write(store: &dyn ObjectStore, name: &str) {
    store.write(&key(name), name.to_owned()).await.unwrap();
}

async fn names(store: &dyn ObjectStore) -> Vec<String> {
    let page = store.list(ListOptions::default()).await.unwrap();
    page.objects.into_iter().map(|object| object.key.as_str().to_owned()).collect()
}

/// A sweeper of one bucket with these rules.
fn sweeper(store: Arc<dyn ObjectStore>, clock: &Clock, rules: Vec<LifecycleRule>) -> LifecycleSweeper {
    let buckets = FixedBuckets::new().with_bucket("all", store);
    let buckets = buckets.with_lifecycle("all", LifecyclePolicy::new(rules).unwrap());
    LifecycleSweeper::new(Arc::new(buckets)).with_clock(Arc::clone(clock))
}

fn logs() -> LifecycleRule {
    LifecycleRule::new("logs").with_prefix("logs/").with_expiry(Expiry::Age(DAY as u64))
}

#[tokio::test]
async fn sweep_deletes_objects_at_their_age_and_aborts_uploads() {
    let home = tempfile::tempdir().unwrap();
    let (seconds, clock) = clock();
    let local = LocalOptions::default().with_clock(Arc::clone(&clock));
    let local: Arc<dyn ObjectStore> = Arc::new(LocalStore::open_with(home.path().join("r2"), local).await.unwrap());
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
    for store in [local, memory] {
        let uploads = LifecycleRule::new("uploads").with_prefix("films/").with_abort_uploads_after(60);
        let sweeper = sweeper(Arc::clone(&store), &clock, vec![logs(), uploads]);
        for name in ["logs/a", "logs/b", "logsheet", "photos/a"] {
            write(&*store, name).await;
        }
        let abandoned = store.create_multipart(&key("films/a"), MultipartOptions::default()).await.unwrap();
        store.create_multipart(&key("series/a"), MultipartOptions::default()).await.unwrap();
        assert_eq!(sweeper.sweep().await.deleted, 0);
        seconds.fetch_add(DAY - 1, Ordering::Relaxed);
        write(&*store, "logs/new").await;
        let open = store.create_multipart(&key("films/new"), MultipartOptions::default()).await.unwrap();
        let early = sweeper.sweep().await;
        assert_eq!((early.deleted, early.aborted, early.failed), (0, 1, 0));
        seconds.fetch_add(1, Ordering::Relaxed);
        let report = sweeper.sweep().await;
        assert_eq!((report.buckets, report.deleted, report.spared, report.failed), (1, 2, 0, 0));
        assert_eq!(names(&*store).await, ["logs/new", "logsheet", "photos/a"]);
        let listed = store.list_uploads(ListUploadsOptions::default()).await.unwrap();
        assert_eq!(listed.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["films/new", "series/a"]);
        assert!(listed.iter().any(|upload| upload.id == open) && listed.iter().all(|upload| upload.id != abandoned));
    }
}

#[tokio::test]
async fn object_that_is_written_between_listing_and_deletion_stays() {
    let (seconds, clock) = clock();
    let memory = MemoryStore::with_clock(Arc::clone(&clock));
    let mock = MockStore::new(memory.clone());
    let sweeper = sweeper(Arc::new(mock.clone()), &clock, vec![logs()]);
    write(&memory, "logs/a").await;
    write(&memory, "logs/b").await;
    seconds.fetch_add(DAY, Ordering::Relaxed);
    let held = mock.script().hold_next(Operation::Delete);
    let rewrite = async {
        while !mock.script().calls().iter().any(|call| call.operation == Operation::Delete.name()) {
            tokio::task::yield_now().await;
        }
        // The same bytes, so that the etag is the same.
        write(&memory, "logs/a").await;
        held.release();
    };
    let (report, ()) = tokio::join!(sweeper.sweep(), rewrite);
    assert_eq!((report.deleted, report.spared, report.failed), (1, 1, 0));
    assert_eq!(names(&memory).await, ["logs/a"]);
}

#[tokio::test]
async fn rule_that_is_removed_during_a_sweep_deletes_no_further_page() {
    let (seconds, clock) = clock();
    let memory = MemoryStore::with_clock(Arc::clone(&clock));
    let mock = MockStore::new(memory.clone());
    for number in 0..1_500 {
        write(&memory, &format!("logs/{number:04}")).await;
    }
    seconds.fetch_add(DAY, Ordering::Relaxed);
    let buckets = Arc::new(Rules::new(Arc::new(mock.clone())));
    let policy = |rules| LifecyclePolicy::new(rules).unwrap();
    buckets.set_lifecycle("photos", policy(vec![logs()])).await.unwrap();
    let sweeper = LifecycleSweeper::new(buckets.clone()).with_clock(clock);
    let held = mock.script().hold_next(Operation::Delete);
    let remove = async {
        while !mock.script().calls().iter().any(|call| call.operation == Operation::Delete.name()) {
            tokio::task::yield_now().await;
        }
        buckets.set_lifecycle("photos", policy(Vec::new())).await.unwrap();
        held.release();
    };
    let (report, ()) = tokio::join!(sweeper.sweep(), remove);
    assert_eq!((report.deleted, report.failed), (1_000, 0));
    assert_eq!(memory.list(ListOptions::default()).await.unwrap().objects.len(), 500);
    assert_eq!(sweeper.sweep().await.deleted, 0);
}

#[tokio::test]
async fn sweep_goes_through_every_page_up_to_its_limit() {
    let (seconds, clock) = clock();
    let memory = MemoryStore::with_clock(Arc::clone(&clock));
    for number in 0..2_500 {
        write(&memory, &format!("logs/{number:04}")).await;
    }
    write(&memory, "photos/a").await;
    seconds.fetch_add(DAY, Ordering::Relaxed);
    let all = sweeper(Arc::new(memory.clone()), &clock, vec![logs()]);
    assert_eq!(all.clone().with_limit(1_200).sweep().await.deleted, 1_200);
    assert_eq!(all.sweep().await.deleted, 1_300);
    assert_eq!(names(&memory).await, ["photos/a"]);
}

#[tokio::test]
async fn bucket_that_fails_does_not_keep_others_from_being_swept() {
    let (seconds, clock) = clock();
    let memory = MemoryStore::with_clock(Arc::clone(&clock));
    let broken = MockStore::new(MemoryStore::with_clock(Arc::clone(&clock)));
    write(&memory, "logs/a").await;
    write(&broken, "logs/a").await;
    seconds.fetch_add(DAY, Ordering::Relaxed);
    let policy = || LifecyclePolicy::new(vec![logs()]).unwrap();
    let buckets = FixedBuckets::new().with_bucket("a", Arc::new(broken.clone())).with_lifecycle("a", policy());
    let buckets = buckets.with_bucket("b", Arc::new(memory.clone())).with_lifecycle("b", policy());
    let sweeper = LifecycleSweeper::new(Arc::new(buckets)).with_clock(clock);
    broken.script().fail_next(Operation::List, Error::new(ErrorKind::Unavailable, "busy"));
    let report = sweeper.sweep().await;
    assert_eq!((report.deleted, report.failed), (1, 1));
    broken.script().fail_next(Operation::Delete, Error::new(ErrorKind::Unavailable, "busy"));
    let report = sweeper.sweep().await;
    assert_eq!((report.deleted, report.failed), (0, 1));
    assert_eq!(sweeper.sweep().await.deleted, 1, "the next sweep makes up for it");
    assert!(names(&memory).await.is_empty() && names(&broken).await.is_empty());
}

#[tokio::test]
async fn bucket_without_rules_of_its_own_is_not_opened() {
    let (_, clock) = clock();
    let mock = MockStore::new(MemoryStore::with_clock(Arc::clone(&clock)));
    let buckets = FixedBuckets::new().with_bucket("all", Arc::new(mock.clone()));
    let report = LifecycleSweeper::new(Arc::new(buckets)).with_clock(clock).sweep().await;
    assert_eq!((report.buckets, report.failed), (0, 0));
    assert!(mock.script().calls().is_empty());
}

#[tokio::test]
async fn sweeps_follow_each_other_until_the_sweeper_is_dropped() {
    let memory = MemoryStore::new();
    let rule = LifecycleRule::new("now").with_expiry(Expiry::Age(0));
    let clock: Clock = Arc::new(|| chrono::Utc::now() + chrono::TimeDelta::seconds(1));
    let sweeper = sweeper(Arc::new(memory.clone()), &clock, vec![rule]);
    let run = sweeper.run(Duration::from_millis(1));
    let watch = async {
        for name in ["first", "second"] {
            write(&memory, name).await;
            while !names(&memory).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        tokio::select! {
            () = run => false,
            () = watch => true,
        }
    });
    assert!(ended.await.expect("two sweeps take no half minute"));
}
