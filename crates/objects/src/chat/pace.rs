//! Rates of the users of a room.
//!
//! A user's rate is over all of the user's sockets, so that opening more gives no more. It is in memory: an object that has
//! slept has full buckets, as the sleep is longer than any of them takes to fill. Users within their rate are forgotten beyond
//! 256, which changes no decision.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{ChatOptions, ChatRoom, cut_off};
use crate::participant::Participant;
use crate::rate::Rate;
use crate::rate::{Bucket, Verdict};
use crate::revocations::Revocations;
use isobar_sessions::{Result, WebSocket};

/// Users whose rates are remembered before those that are within them are forgotten.
const PACES: usize = 256;

/// State that an instance keeps in memory. Gone when it hibernates, by when every bucket is full again.
#[derive(Debug, Default)]
pub(super) struct Live {
    paces: HashMap<String, Pace>,
    /// Until when each socket is good, by its id.
    pub(super) good_until: HashMap<u64, DateTime<Utc>>,
    pub(super) presence: Bucket,
    pub(super) presence_waits: bool,
    pub(super) revocations: Revocations,
    /// Requests whose body is being received.
    pub(super) receiving: usize,
}

/// Rates of one user, over all of the user's sockets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    pub(super) commands: Bucket,
    pub(super) changes: Bucket,
    typed_at: DateTime<Utc>,
}

impl ChatRoom {
    /// Whether a command is within its limit. Its sender gets an error event otherwise, and is cut off if it goes on.
    pub(super) fn admits(
        &self,
        socket: &WebSocket,
        who: &Participant,
        bucket: fn(&mut Pace) -> &mut Bucket,
        rate: Rate,
    ) -> Result<bool> {
        let verdict = bucket(self.live.borrow_mut().pace(&who.user, &self.options)).take(rate, Utc::now());
        match verdict {
            Verdict::Granted => return Ok(true),
            Verdict::Refused { is_first: false, .. } => {}
            Verdict::Refused { is_first: true, retry_after_ms } => {
                let detail = "you are sending too much at once; wait a moment";
                socket.send_json(
                    &json!({"type": "error", "status": 429, "detail": detail, "retry_after_ms": retry_after_ms}),
                )?;
            }
            Verdict::Abusive => cut_off(socket, 1008, "too many messages")?,
        }
        Ok(false)
    }

    /// Whether the others are notified that a user types: once per interval, however often the user's clients send it.
    pub(super) fn starts_typing(&self, who: &Participant) -> bool {
        let mut live = self.live.borrow_mut();
        let now = Utc::now();
        let pace = live.pace(&who.user, &self.options);
        // A clock that was set back suppresses no event.
        let is_new = !(pace.typed_at..pace.typed_at + self.options.typing).contains(&now);
        if is_new {
            pace.typed_at = now;
        }
        is_new
    }
}

impl Live {
    /// Returns the rates of a user. Those of users that are within their limits are forgotten when there are too many.
    fn pace(&mut self, user: &str, options: &ChatOptions) -> &mut Pace {
        if !self.paces.contains_key(user) {
            if self.paces.len() >= PACES {
                let now = Utc::now();
                self.paces.retain(|_, pace| {
                    !(pace.commands.is_full(options.commands, now) && pace.changes.is_full(options.changes, now))
                });
            }
            self.paces.insert(user.to_owned(), Pace::default());
        }
        self.paces.get_mut(user).expect("the user's pace was put there")
    }
}
