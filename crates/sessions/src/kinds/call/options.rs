//! How a call behaves, and its TURN server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::kinds::Rate;

/// How calls behave: the room's environment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallOptions {
    /// How many may take part; 16 when not given.
    pub limit: usize,
    /// STUN servers: `stun:stun.example.com:3478`.
    pub stun: Vec<String>,
    /// The TURN server, for browsers that cannot reach each other.
    pub turn: Option<Turn>,
    /// How long somebody may be silent; 45 s when not given.
    pub silent: TimeDelta,
    /// How long somebody may be away; 30 s when not given.
    pub away: TimeDelta,
    /// How often the room looks; 15 s when not given.
    pub look: TimeDelta,
    /// Commands of one participant: signals, states. Default: 200 at once, 50 per second, which is more than browsers that
    /// find each other in a full call send.
    pub commands: Rate,
}

impl Default for CallOptions {
    fn default() -> Self {
        let [silent, away, look] = [45, 30, 15].map(TimeDelta::seconds);
        Self { limit: 16, stun: Vec::new(), turn: None, silent, away, look, commands: Rate::new(200, 50.0) }
    }
}

impl CallOptions {
    /// How many may take part.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How long somebody may be silent and away, and how often the room looks.
    #[must_use]
    pub fn with_patience(mut self, silent: TimeDelta, away: TimeDelta, look: TimeDelta) -> Self {
        (self.silent, self.away, self.look) = (silent, away, look);
        self
    }

    /// Sets the rate of one participant's commands.
    #[must_use]
    pub fn with_commands(mut self, commands: Rate) -> Self {
        self.commands = commands;
        self
    }

    /// STUN servers.
    #[must_use]
    pub fn with_stun(mut self, urls: impl IntoIterator<Item = String>) -> Self {
        self.stun = urls.into_iter().collect();
        self
    }

    /// The TURN server.
    #[must_use]
    pub fn with_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }
}

/// A TURN server that shares a secret with the application (coturn's `use-auth-secret`): credentials are made for each
/// participant and are good for a while.
#[derive(Clone)]
pub struct Turn {
    pub(super) urls: Vec<String>,
    secret: String,
    lifetime: TimeDelta,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Turn {
    /// A server by its URLs (`turn:turn.example.com:3478`); credentials are good for an hour.
    pub fn new(urls: impl IntoIterator<Item = String>, secret: impl Into<String>) -> Self {
        Self { urls: urls.into_iter().collect(), secret: secret.into(), lifetime: TimeDelta::hours(1) }
    }

    /// The name and the password for a user until then: `draft-uberti-behave-turn-rest`, as coturn has it.
    #[must_use]
    pub fn credentials(&self, user: &str, now: DateTime<Utc>) -> (String, String) {
        let name = format!("{}:{user}", (now + self.lifetime).timestamp());
        let mut mac = Hmac::<Sha1>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes keys of every length");
        mac.update(name.as_bytes());
        let password = STANDARD.encode(mac.finalize().into_bytes());
        (name, password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_credentials_are_what_coturn_expects() {
        // printf '1700003600:ada' | openssl dgst -sha1 -hmac north -binary | base64
        let turn = Turn::new(["turn:turn.example.com".to_owned()], "north");
        let (name, password) = turn.credentials("ada", DateTime::from_timestamp(1_700_000_000, 0).expect("a moment"));
        assert_eq!((name.as_str(), password.as_str()), ("1700003600:ada", "xnSlQG4JwD6eDlwPBFdbTt6sTJk="));
        assert!(!format!("{turn:?}").contains("north"));
    }
}
