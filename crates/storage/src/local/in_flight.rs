//! Blobs that are being written.
//!
//! Two readers: the garbage collection of this process, which must not take a blob whose row is still to come, however long its body
//! takes, and `room`, for which its missing bytes are as good as written. An age alone would not do: an upload over a slow line can take
//! longer than an hour. Other processes have the age only; a commit looks for its blobs once more for their sake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;

/// A blob that is being written: kept from the garbage collection until this is dropped, with room for the rest of it.
pub(super) struct InFlight {
    shared: Arc<Shared>,
    blob: String,
    /// Bytes that the disk does not know of yet.
    left: Arc<AtomicU64>,
}

impl InFlight {
    pub(super) fn new(shared: &Arc<Shared>, blob: &str, size: u64) -> Self {
        shared.in_flight().insert(blob.to_owned());
        shared.room.begin(size);
        Self { shared: Arc::clone(shared), blob: blob.to_owned(), left: Arc::new(AtomicU64::new(size)) }
    }

    /// Returns the function to call with the bytes of each piece that has been written: from then on the disk counts them.
    pub(super) fn written(&self) -> impl Fn(u64) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        let left = Arc::clone(&self.left);
        move |bytes| {
            let take = |left: u64| Some(left.saturating_sub(bytes));
            let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_else(|left| left);
            shared.room.end(bytes.min(before));
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight().remove(&self.blob);
        self.shared.room.end(self.left.swap(0, Ordering::Relaxed));
    }
}
