//! Revocations of users, as one object remembers them.
//!
//! A participant carries the time of its judgement, and the object the time of the last revocation of each user: a request is
//! refused whose judgement is not younger. Both times are of wall clocks, which may differ or be set: a revocation of a clock
//! that was ahead is brought back to the present, as it would otherwise lock its user out. Stored are at most the users that
//! were revoked within 15 minutes, as one value.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::participant::Participant;
use crate::participant::VALID;
use isobar_sessions::{Result, SessionContext};

/// Key of the object's storage.
const KEY: &str = "isobar revocations";
/// How far a revocation may lie ahead: more is a clock that was set back.
const AHEAD: TimeDelta = TimeDelta::seconds(10);

/// Users revoked within the last 15 minutes: a request that was judged before its user's revocation and comes after it is not
/// believed. They are stored in the object, so that they hold after its sleep; older ones go with the next that is stored.
#[derive(Debug, Default)]
pub(crate) struct Revocations(Option<HashMap<String, DateTime<Utc>>>);

impl Revocations {
    /// Adds a user's revocation, and stores it where `is_stored` says so.
    pub(crate) fn add(&mut self, context: &SessionContext, user: &str, is_stored: bool) -> Result<()> {
        let now = Utc::now();
        let users = self.load(context)?;
        // A request is in flight for minutes at most.
        users.retain(|_, at| *at + VALID > now);
        users.insert(user.to_owned(), now);
        if is_stored { self.store(context) } else { Ok(()) }
    }

    /// Stores the revocations again, after all that the object kept was deleted.
    pub(crate) fn store(&self, context: &SessionContext) -> Result<()> {
        match &self.0 {
            Some(users) if !users.is_empty() => context.kv().put(KEY, users),
            _ => Ok(()),
        }
    }

    /// Whether a participant was judged before the user's revocation.
    pub(crate) fn covers(&mut self, context: &SessionContext, who: &Participant) -> Result<bool> {
        let users = self.load(context)?;
        let Some(at) = users.get_mut(&who.user) else { return Ok(false) };
        clamp(at);
        Ok(who.judged_at <= *at)
    }

    /// Returns the revocations, read from the storage when the instance first needs them.
    fn load(&mut self, context: &SessionContext) -> Result<&mut HashMap<String, DateTime<Utc>>> {
        if self.0.is_none() {
            let mut users: HashMap<String, DateTime<Utc>> = context.kv().get(KEY)?.unwrap_or_default();
            users.values_mut().for_each(clamp);
            self.0 = Some(users);
        }
        Ok(self.0.get_or_insert_default())
    }
}

/// Puts right a revocation that came while the clock was ahead: a participant that is judged now is believed again.
fn clamp(at: &mut DateTime<Utc>) {
    let now = Utc::now();
    if *at > now + AHEAD {
        *at = now - AHEAD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_of_a_clock_that_was_ahead_locks_no_user_out() {
        let mut at = Utc::now() + TimeDelta::days(365);
        clamp(&mut at);
        let judged = |at| Participant::new("ada", "Ada").with_judged_at(at);
        assert!(judged(Utc::now() - TimeDelta::minutes(1)).judged_at <= at, "judged before it was seen");
        assert!(judged(Utc::now()).judged_at > at);
    }
}
