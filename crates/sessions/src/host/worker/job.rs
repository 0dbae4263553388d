//! Tasks of a thread.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::host::ticket::Ticket;
use crate::{ObjectId, Request, Response, Result, SocketDetails};

/// A task for a thread.
pub(in crate::host) enum Job {
    Fetch(ObjectId, Box<Request>, oneshot::Sender<Result<Response>>, Ticket),
    Alarm(ObjectId),
    Evict(ObjectId, oneshot::Sender<Result<()>>),
    Sockets(ObjectId, oneshot::Sender<Result<Vec<SocketDetails>>>),
    Finish(Instant, oneshot::Sender<usize>),
    GoAway(Instant, oneshot::Sender<usize>),
    Stop,
}

impl Job {
    /// Whether the caller has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self, Self::Fetch(_, _, reply, _) if reply.is_closed())
    }
}
