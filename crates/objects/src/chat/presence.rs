//! Presence in a room: its present members.
//!
//! Presence is the set of open sockets, and is stored nowhere: after a restart it is what has connected again. An event names
//! the first 100 members and counts all, so that its size is bounded; changes that come faster than the rate are sent together
//! half a second later.

use std::collections::HashSet;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value as Json, json};

use super::{ChatRoom, attached};
use crate::rate::Rate;
use crate::rate::Verdict;
use crate::time::sleep;
use isobar_sessions::{Result, WebSocket};

/// Rate of presence events; changes between are coalesced.
const PRESENCE: Rate = Rate::new(16, 2.0);
const PRESENCE_AFTER: Duration = Duration::from_millis(500);
/// Members that `presence` and `/members` name; `count` has them all.
const MEMBERS: usize = 100;

impl ChatRoom {
    /// Returns the members present, each once, however many windows they have open: the first of them, and how many.
    pub(super) fn members(&self, leaving: Option<&WebSocket>) -> (Vec<Json>, usize) {
        let mut members = Vec::new();
        let mut users = HashSet::new();
        let sockets = self.context.websockets(None);
        let here = sockets.iter().rev().filter(|socket| socket.is_open() && Some(*socket) != leaving);
        for member in here.filter_map(|socket| attached(socket).ok().flatten()) {
            if users.insert(member.user.clone()) && members.len() < MEMBERS {
                members.push(json!({"user": member.user, "name": member.name}));
            }
        }
        (members, users.len())
    }

    /// Returns the `presence` event: the first 100 members, and the number of all.
    pub(super) fn presence(&self, leaving: Option<&WebSocket>) -> Json {
        let (members, count) = self.members(leaving);
        json!({"type": "presence", "members": members, "count": count})
    }

    /// Sends presence: at once while it seldom changes, else its state of half a second later.
    pub(super) fn tell_presence(&self, leaving: Option<&WebSocket>) -> Result<()> {
        let verdict = self.live.borrow_mut().presence.take(PRESENCE, Utc::now());
        if verdict == Verdict::Granted {
            return self.tell_all(&self.presence(leaving), leaving);
        }
        if !std::mem::replace(&mut self.live.borrow_mut().presence_waits, true) {
            let this = self.clone();
            self.context.wait_until(async move {
                sleep(PRESENCE_AFTER).await;
                this.live.borrow_mut().presence_waits = false;
                if let Err(error) = this.tell_all(&this.presence(None), None) {
                    this.context.abort(&error.to_string());
                }
            });
        }
        Ok(())
    }

    /// Sends an event to every open socket but one.
    pub(super) fn tell_all(&self, event: &Json, except: Option<&WebSocket>) -> Result<()> {
        let event = event.to_string();
        for socket in self.open_sockets(None).iter().filter(|socket| Some(*socket) != except) {
            // A socket that is closing misses it alone.
            if self.hears(socket)? {
                drop(socket.send(event.as_str()));
            }
        }
        Ok(())
    }

    /// Whether a socket may be sent to. The attachment is read once in an instance's life.
    fn hears(&self, socket: &WebSocket) -> Result<bool> {
        let known = self.live.borrow().good_until.get(&socket.id()).copied();
        if known.is_some_and(|until| until >= Utc::now()) {
            return Ok(true);
        }
        let Some(who) = self.participant(socket)? else { return Ok(false) };
        self.live.borrow_mut().good_until.insert(socket.id(), who.valid_until);
        Ok(true)
    }
}
