//! An object's alarm, on its thread.

use std::rc::Rc;

use super::Slot;
use crate::host::alarms;
use crate::host::storage::AlarmRow;
use crate::{ErrorKind, SessionObject};

/// How long after it could not be read an object's alarm is looked at again.
const LOOK_AGAIN: i64 = 2_000;
/// How long after its object was found to be damaged.
const LOOK_AGAIN_AT_DAMAGE: i64 = 60_000;

/// Runs an object's alarm if it is due; decides what becomes of it.
pub(super) async fn run_alarm<O: SessionObject>(slot: &Rc<Slot<O>>) {
    let state = Rc::clone(&slot.state);
    let now = state.shared.alarms.now();
    if state.shared.health.check_write().is_err() {
        // The handler could store nothing, and its failures would use up the alarm's retries.
        return state.wake_at(Some(now + LOOK_AGAIN));
    }
    let row = match slot.settle_restore().and_then(|()| state.stored_alarm()) {
        Ok(Some(row)) if row.due <= now => row,
        Ok(later) => return state.wake_at(later.map(|row| row.due)),
        Err(error) => {
            #[cfg(feature = "tracing")]
            tracing::error!(%error, object = %crate::SessionBackend::id(&*state), "an alarm could not be read");
            let pause = if error.kind() == ErrorKind::Damaged { LOOK_AGAIN_AT_DAMAGE } else { LOOK_AGAIN };
            return state.wake_at(Some(now + pause));
        }
    };
    if !state.claim_alarm() {
        return; // one is in flight: its end looks at the stored alarm
    }
    let info = alarms::info(row.scheduled, row.retries);
    let running = Rc::clone(&state);
    let handled = slot.event(async move |object: Rc<O>| {
        running.begin_alarm(); // not before: `start` sees the alarm as it is set
        object.alarm(info).await
    });
    let result = handled.await;
    let is_unkept = result
        .as_ref()
        .is_err_and(|error| matches!(error.kind(), ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Damaged));
    if is_unkept && state.broken().is_some() {
        // The disk's failure, not the alarm's: it does not count, and the row is still there.
        state.release_alarm();
        return state.wake_at(Some(state.shared.alarms.now() + LOOK_AGAIN));
    }
    let next = result.err().and_then(|_error| {
        let delay = alarms::retry_delay(row.retries, isobar_base::random::fraction().unwrap_or(0.0));
        #[cfg(feature = "tracing")]
        tracing::warn!(error = %_error, retries = row.retries, gives_up = delay.is_none(), "an alarm failed");
        let now = state.shared.alarms.now();
        let due = now + i64::try_from(delay?.as_millis()).unwrap_or(i64::MAX);
        Some(AlarmRow { scheduled: row.scheduled, due, retries: row.retries + 1, made: Some(now) })
    });
    if let Err(error) = state.end_alarm(row, next) {
        // The disk's failure, say: it does not count, and the row is still there, so the alarm runs again.
        #[cfg(feature = "tracing")]
        tracing::error!(%error, object = %crate::SessionBackend::id(&*state), "the end of an alarm was not stored");
        state.break_with(error);
        state.wake_at(Some(state.shared.alarms.now() + LOOK_AGAIN));
    }
}
