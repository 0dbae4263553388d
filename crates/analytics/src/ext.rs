//! Convenience over [`EventSink`].

use std::time::Duration;

use crate::{DataPoint, EventSink};

/// What every sink can do by way of the trait.
pub trait EventSinkExt: EventSink {
    /// Writes how long something took, in milliseconds, under a name: `blob1` the name, `double1` the time.
    fn write_duration(&self, name: impl Into<bytes::Bytes>, duration: Duration) {
        self.write(DataPoint::new().with_blob(name).with_double(duration.as_secs_f64() * 1000.0));
    }

    /// Writes several points.
    fn write_all(&self, points: impl IntoIterator<Item = DataPoint>) {
        points.into_iter().for_each(|point| self.write(point));
    }
}

impl<S: EventSink + ?Sized> EventSinkExt for S {}
