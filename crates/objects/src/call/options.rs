//! Options of a call, and its TURN server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::rate::Rate;

/// Options of a call room: its environment.
///
/// ```
/// use isobar_objects::call::{CallOptions, Turn};
///
/// let turn = Turn::new(["turn:turn.example.com:3478".to_owned()], "the secret of coturn");
/// let options = CallOptions::default()
///     .with_limit(8)
///     .with_stun(["stun:stun.example.com:3478".to_owned()])
///     .with_turn(turn);
/// assert_eq!(options.places_of_user, 4);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallOptions {
    /// Largest number of participants of a call; one more is refused with 409. Default: 16.
    pub limit: usize,
    /// Largest number of places of one user in a call: windows and machines, and those that the user has just left; one more is refused with 409.
    /// Default: 4.
    pub places_of_user: usize,
    /// STUN servers, like `stun:stun.example.com:3478`. Default: none.
    pub stun: Vec<String>,
    /// TURN server, for browsers that cannot reach each other. Default: `None`.
    pub turn: Option<Turn>,
    /// Time after which a participant that sends nothing is away. Default: 45 s.
    pub silent: TimeDelta,
    /// Time after which a participant that is away has left. Default: 30 s.
    pub away: TimeDelta,
    /// Interval at which the room looks for both. Default: 15 s.
    pub look: TimeDelta,
    /// Commands of one participant: signals, states. Default: 200 at once, 50 per second, which is more than browsers that
    /// find each other in a full call send.
    pub commands: Rate,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            limit: 16,
            places_of_user: 4,
            stun: Vec::new(),
            turn: None,
            silent: TimeDelta::seconds(45),
            away: TimeDelta::seconds(30),
            look: TimeDelta::seconds(15),
            commands: Rate::new(200, 50.0),
        }
    }
}

impl CallOptions {
    /// Sets the number of participants.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the number of places of one user.
    #[must_use]
    pub fn with_places_of_user(mut self, places: usize) -> Self {
        self.places_of_user = places;
        self
    }

    /// Sets the times after which a silent participant is away, and one that is away has left, and the interval of looking.
    ///
    /// The room looks at every `look`, so a silent participant is away after `silent + look` at the latest. Clients ping every
    /// 15 s: `silent` should be some times that.
    ///
    /// ```
    /// use chrono::TimeDelta;
    /// use isobar_objects::call::CallOptions;
    /// let (silent, away, look) = (TimeDelta::seconds(60), TimeDelta::minutes(2), TimeDelta::seconds(20));
    /// assert_eq!(CallOptions::default().with_patience(silent, away, look).away, TimeDelta::minutes(2));
    /// ```
    #[must_use]
    pub fn with_patience(mut self, silent: TimeDelta, away: TimeDelta, look: TimeDelta) -> Self {
        self.silent = silent;
        self.away = away;
        self.look = look;
        self
    }

    /// Sets the rate of one participant's commands.
    #[must_use]
    pub fn with_commands(mut self, commands: Rate) -> Self {
        self.commands = commands;
        self
    }

    /// Sets the STUN servers.
    #[must_use]
    pub fn with_stun(mut self, urls: impl IntoIterator<Item = String>) -> Self {
        self.stun = urls.into_iter().collect();
        self
    }

    /// Sets the TURN server.
    #[must_use]
    pub fn with_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }
}

/// A TURN server that shares a secret with the application (coturn's `use-auth-secret`): credentials are made for each
/// participant and are valid for an hour.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use isobar_objects::call::Turn;
///
/// let turn = Turn::new(["turn:turn.example.com:3478".to_owned()], "the secret of coturn");
/// let (name, _password) = turn.credentials("user-1", DateTime::<Utc>::UNIX_EPOCH);
/// assert_eq!(name, "3600:user-1"); // the end of validity, in seconds since 1970
/// ```
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
    /// Takes a server by its URLs (`turn:turn.example.com:3478`) and its secret. Credentials are valid for an hour.
    pub fn new(urls: impl IntoIterator<Item = String>, secret: impl Into<String>) -> Self {
        Self { urls: urls.into_iter().collect(), secret: secret.into(), lifetime: TimeDelta::hours(1) }
    }

    /// Returns name and password for a user, valid for an hour from `now`, by `draft-uberti-behave-turn-rest` as coturn has it.
    ///
    /// The name is the end of validity and the user, `1700003600:ada`; the password is the base64 of the HMAC-SHA-1 of the
    /// name under the secret. The server keeps no list of them, so they cannot be taken back before their end.
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
