//! Counts the allocations of writing a derived event to the local sink.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "a counting allocator has to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use isobar_analytics::layers::FanOut;
use isobar_analytics::local::{FullPolicy, LocalOptions, LocalSink, Sampling};
use isobar_analytics::{Event, EventSink, EventSinkExt, PointRef};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

/// Counts the calling thread's allocations.
fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is the system allocator's with the same arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Event)]
struct Request<'a> {
    #[event(index)]
    tenant: &'a str,
    #[event(blob = 1)]
    method: &'a str,
    #[event(blob = 2)]
    route: String,
    #[event(blob = 3)]
    status: u16,
    #[event(blob = 4)]
    country: [u8; 2],
    #[event(double = 1)]
    ms: f64,
    #[event(double = 2)]
    bytes: u64,
}

fn request() -> Request<'static> {
    let route = "/api/images/{id}".to_owned();
    Request { tenant: "acme", method: "GET", route, status: 200, country: *b"DE", ms: 1.5, bytes: 4096 }
}

#[test]
fn writing_a_derived_event_allocates_nothing() {
    for policy in [FullPolicy::DropNew, FullPolicy::DropOld] {
        let folder = tempfile::tempdir().unwrap();
        // Smaller than what is written, so that the policy is at work, too.
        let options = LocalOptions::default().with_buffer(5_000).with_when_full(policy);
        let sink = LocalSink::open_with(folder.path(), options).unwrap();
        let event = request();
        let before = ALLOCATIONS.get();
        (0..200_000).for_each(|_| sink.write_event(&event));
        assert_eq!(ALLOCATIONS.get() - before, 0, "{policy:?}");
        let stats = sink.stats();
        let refused = stats.drops.buffer_full;
        assert_eq!((stats.written + refused, stats.dropped), (200_000, refused + stats.drops.evicted));
    }
}

#[test]
fn writing_a_derived_event_to_several_sinks_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| LocalSink::open(folder.path().join(name)).unwrap());
    let sink = FanOut::new("one", one).with_sink("two", two);
    let event = request();
    let before = ALLOCATIONS.get();
    (0..10_000).for_each(|_| sink.write_event(&event));
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(sink.stats_by_sink().all(|(_, stats)| stats.written + stats.dropped == 10_000));
}

#[test]
fn sampling_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sampling = Sampling::new(10, std::time::Duration::from_millis(1)).with_indexes(100);
    let options = LocalOptions::default().with_sampling(Some(sampling));
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    let tenants: Vec<String> = (0..1000).map(|number| format!("tenant-{number}")).collect();
    let before = ALLOCATIONS.get();
    for round in 0..100_000 {
        // The first one has half of all points.
        let tenant = if round % 2 == 0 { &tenants[0] } else { &tenants[round % 1000] };
        sink.write_ref(&PointRef::new(Some(tenant.as_bytes()), &[b"GET"], &[1.5]));
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    let stats = sink.stats();
    assert_eq!(stats.written + stats.dropped + stats.sampled_out, 100_000);
}
