//! Memory of awake objects: what SQLite holds for each open database, and what each instance declares.
//!
//! An object's share is measured when an event of it ends, and given back when it falls asleep. It is a cell of its thread; the sums of
//! all threads are atomic, for those who ask the host.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of an awake object beside its database and its instance: the host's own state, and the tasks of its events.
const STATE: usize = 4 * 1024;

/// The objects of a host that are awake, as [`HostOptions::awake_bytes`](super::HostOptions::awake_bytes) counts them.
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use isobar_sessions::memory::MemoryHost;
/// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject};
/// # struct Any;
/// # impl SessionObject for Any {
/// #     type Env = ();
/// #     async fn start(_: SessionContext, _: ()) -> Result<Self> { Ok(Self) }
/// #     async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
/// # }
/// let host = MemoryHost::<Any>::new("Any", || ())?;
/// host.get(&host.id("a"), "/").await?;
/// assert_eq!(host.awake().objects, 1);
/// host.evict(&host.id("a")).await?;
/// assert_eq!(host.awake().bytes, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwakeObjects {
    /// Their number.
    pub objects: usize,
    /// Their memory in bytes, each as it was when its last event ended.
    pub bytes: usize,
}

/// Sums of all threads.
#[derive(Debug, Default)]
pub(super) struct Total {
    objects: AtomicUsize,
    bytes: AtomicUsize,
}

impl Total {
    pub(super) fn awake(&self) -> AwakeObjects {
        AwakeObjects { objects: self.objects.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// Memory of a thread's awake objects.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: Cell<usize>,
    limit: usize,
    total: Arc<Total>,
}

impl Memory {
    /// None is used yet, of this limit in bytes.
    pub(super) fn new(limit: usize, total: &Arc<Total>) -> Rc<Self> {
        Rc::new(Self { bytes: Cell::new(0), limit, total: Arc::clone(total) })
    }

    /// Whether the objects have more than they may.
    pub(super) fn is_over(&self) -> bool {
        self.bytes.get() > self.limit
    }

    /// The share of an object that is asleep.
    pub(super) fn share(self: &Rc<Self>) -> Rc<Share> {
        Rc::new(Share { memory: Rc::clone(self), bytes: Cell::new(0), instance: Cell::new(0) })
    }
}

/// Memory of one object.
#[derive(Debug)]
pub(super) struct Share {
    memory: Rc<Memory>,
    bytes: Cell<usize>,
    instance: Cell<usize>,
}

impl Share {
    /// Notes the bytes that the instance declares, for the next measurement.
    pub(super) fn declare(&self, instance: usize) {
        self.instance.set(instance);
    }

    /// Notes that the object is awake, with so many bytes of SQLite's.
    pub(super) fn measure(&self, database: usize) {
        self.set(STATE.saturating_add(database).saturating_add(self.instance.get()));
    }

    /// Gives all back: the object falls asleep.
    pub(super) fn release(&self) {
        self.instance.set(0);
        self.set(0);
    }

    fn set(&self, bytes: usize) {
        let before = self.bytes.replace(bytes);
        if before == bytes {
            return;
        }
        let Memory { bytes: sum, total, .. } = &*self.memory;
        sum.set(sum.get().saturating_sub(before).saturating_add(bytes)); // declared sizes may have no bound
        total.bytes.fetch_add(bytes, Ordering::Relaxed);
        total.bytes.fetch_sub(before, Ordering::Relaxed);
        if before == 0 {
            total.objects.fetch_add(1, Ordering::Relaxed);
        } else if bytes == 0 {
            total.objects.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_all_threads_are_summed_up_and_given_back() {
        let total: Arc<Total> = Arc::default();
        let here = Memory::new(100_000, &total);
        let there = Memory::new(100_000, &total);
        let share = here.share();
        share.declare(50_000);
        share.measure(40_000);
        let other = there.share();
        other.measure(0);
        assert!(!here.is_over());
        share.measure(60_000);
        assert!(here.is_over() && !there.is_over());
        let awake = AwakeObjects { objects: 2, bytes: 110_000 + 2 * STATE };
        assert_eq!(total.awake(), awake);
        share.release();
        assert_eq!(total.awake(), AwakeObjects { objects: 1, bytes: STATE });
        assert!(!here.is_over());
        drop(other);
        assert_eq!(total.awake(), AwakeObjects::default());
    }

    #[test]
    fn declared_size_without_bound_does_not_overflow() {
        let memory = Memory::new(1, &Arc::default());
        let share = memory.share();
        share.declare(usize::MAX);
        share.measure(1);
        let other = memory.share();
        other.measure(1);
        assert!(memory.is_over());
        share.release();
        other.release();
        assert!(!memory.is_over());
    }
}
