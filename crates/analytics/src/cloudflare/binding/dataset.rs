//! Analytics Engine through its binding.
//!
//! `writeDataPoint` returns nothing and never fails, so that a point counts as stored when it has been called. An entrypoint of another Worker in
//! its place returns a promise; those are kept in `pending` and settled by the next flush. `settling` is held over the whole of that: a second
//! flush must not return while the first still waits for points that both cover.

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use isobar_base::sync::IgnorePoison;
use isobar_cloudflare::binding::wasm_bindgen::{JsCast, JsValue};
use isobar_cloudflare::binding::{Object, js_sys, send, uint8_array, wasm_bindgen_futures};

use crate::{DataPoint, DropReason, Error, ErrorKind, EventSink, Operation, Result, SinkStats};

/// An Analytics Engine dataset through its binding, for code inside Workers.
///
/// A point counts as stored once the runtime has accepted it; Analytics Engine itself samples, and does not report dropped
/// points. Points over its limits are dropped and counted here, as the runtime drops them silently.
///
/// The binding may also be to an entrypoint of another Worker with a method `writeDataPoint`, so that points are visible where
/// there is no Analytics Engine; [`flush`](EventSink::flush) then waits for its answer.
///
/// Reading is [`ErrorKind::Unsupported`]. A Worker may write 250 points in one invocation
/// ([`limits::POINTS_PER_INVOCATION`](crate::limits::POINTS_PER_INVOCATION)).
#[derive(Debug)]
pub struct AnalyticsEngineDataset {
    dataset: Object,
    state: Mutex<State>,
    /// Held during a flush, so that a concurrent one does not return early.
    settling: futures_util::lock::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    stats: SinkStats,
    /// Calls in flight.
    pending: Vec<Object>,
    closed: bool,
}

impl AnalyticsEngineDataset {
    /// Creates a dataset from a binding, for example `env.EVENTS`.
    ///
    /// ```no_run
    /// use isobar_analytics::cloudflare::AnalyticsEngineDataset;
    /// use isobar_analytics::{DataPoint, EventSink, Result};
    /// use isobar_cloudflare::binding::Object;
    ///
    /// /// Counts a visit, out of the Worker's `env`.
    /// fn count(env: &Object, page: String) -> Result<()> {
    ///     let events = AnalyticsEngineDataset::new(env.object("EVENTS"))?;
    ///     events.write(DataPoint::new().with_index("tenant-1").with_blob(page));
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where the value is not a dataset.
    pub fn new(binding: impl Into<Object>) -> Result<Self> {
        let dataset = binding.into();
        if dataset.is_nothing() || dataset.method("writeDataPoint").is_err() {
            let message = format!("the binding is not an Analytics Engine dataset but {:?}", dataset.class());
            return Err(Error::new(ErrorKind::Internal, message).during("open"));
        }
        Ok(Self { dataset, state: Mutex::default(), settling: futures_util::lock::Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters, changed in single steps.
        self.state.lock().ignore_poison()
    }

    /// Waits for the calls in flight. Returns how many failed.
    async fn settle(&self) -> u64 {
        let _settling = self.settling.lock().await;
        let pending = std::mem::take(&mut self.state().pending);
        let mut failed = 0;
        for answer in pending {
            let promise = js_sys::Promise::resolve(answer.value());
            let outcome = wasm_bindgen_futures::JsFuture::from(promise).await;
            let mut state = self.state();
            if outcome.is_ok() {
                state.stats.stored += 1;
            } else {
                state.stats.count_dropped(DropReason::Failed, 1);
                failed += 1;
            }
        }
        failed
    }
}

#[async_trait]
impl EventSink for AnalyticsEngineDataset {
    fn write(&self, point: DataPoint) {
        let mut state = self.state();
        if point.problem().is_some() {
            state.stats.invalid += 1;
            return;
        }
        if state.closed {
            state.stats.count_dropped(DropReason::Closed, 1);
            return;
        }
        match self.dataset.call("writeDataPoint", &[event(&point).into()]) {
            Ok(answer)
                if answer.is_instance_of::<js_sys::Promise>()
                    || Object::from(answer.clone()).method("then").is_ok() =>
            {
                state.stats.written += 1;
                state.pending.push(answer.into());
            }
            Ok(_) => {
                state.stats.written += 1;
                state.stats.stored += 1;
            }
            Err(_) => state.stats.count_dropped(DropReason::Failed, 1),
        }
    }

    async fn flush(&self) -> Result<()> {
        if self.state().closed {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(Operation::Flush));
        }
        match send(self.settle()).await {
            0 => Ok(()),
            failed => {
                let message = format!("{failed} data points were refused");
                Err(Error::new(ErrorKind::Unavailable, message).during(Operation::Flush))
            }
        }
    }

    async fn close(&self) -> Result<()> {
        let result = if self.state().closed { Ok(()) } else { self.flush().await };
        self.state().closed = true;
        result
    }

    async fn health(&self) -> Result<()> {
        if self.state().closed {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(Operation::Health));
        }
        Ok(())
    }

    fn stats(&self) -> SinkStats {
        self.state().stats
    }
}

fn event(point: &DataPoint) -> Object {
    let DataPoint { indexes, blobs, doubles } = point;
    let list = |values: &[Bytes]| values.iter().map(blob).collect::<js_sys::Array>();
    Object::empty()
        .with("indexes", list(indexes))
        .with("blobs", list(blobs))
        .with("doubles", doubles.iter().map(|double| JsValue::from(*double)).collect::<js_sys::Array>())
}

/// Converts UTF-8 to a string, and other bytes to an `ArrayBuffer`.
fn blob(bytes: &Bytes) -> JsValue {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => uint8_array(bytes).unchecked_into::<js_sys::Uint8Array>().buffer().into(),
    }
}
