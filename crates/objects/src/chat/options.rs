//! The limits of a chat room.

use chrono::TimeDelta;

use crate::rate::Rate;

/// The limits of a chat room: its environment.
///
/// ```
/// use chrono::TimeDelta;
/// use isobar_objects::chat::ChatOptions;
///
/// // A small room that forgets what is older than a week.
/// let options = ChatOptions::default().with_sockets(20, 4).with_history(1_000, Some(TimeDelta::weeks(1)));
/// assert_eq!(options.sockets_of_user, 4);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChatOptions {
    /// Largest number of sockets of a room; one more is refused with 429. Default: 500.
    pub sockets: usize,
    /// Largest number of sockets of one user in a room; one more is refused with 429. Default: 16.
    pub sockets_of_user: usize,
    /// Bytes of a message that a client sends over a socket; a larger one closes the socket with 1009. Default: 32 KiB, which
    /// the longest text takes when all of it is escaped.
    pub message_bytes: usize,
    /// Rate of one user's commands over sockets, of all types. Default: 60 at once, 20 per second.
    pub commands: Rate,
    /// Rate of one user's edits and deletions. Default: 20 at once, 2 per second.
    pub changes: Rate,
    /// Shortest time between two `typing` events of one user; those between are dropped. Default: 2 s.
    pub typing: TimeDelta,
    /// Number of messages that a room keeps, the newest; older ones go when a new one comes. Default: 50,000.
    pub history: u32,
    /// Time for which a message is kept and shown; `None` keeps it while `history` does. Default: `None`.
    pub history_age: Option<TimeDelta>,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self {
            sockets: 500,
            sockets_of_user: 16,
            message_bytes: 32 * 1024,
            commands: Rate::new(60, 20.0),
            changes: Rate::new(20, 2.0),
            typing: TimeDelta::seconds(2),
            history: 50_000,
            history_age: None,
        }
    }
}

impl ChatOptions {
    /// Sets the number of sockets of a room, and of one user in it.
    ///
    /// ```
    /// use isobar_objects::chat::ChatOptions;
    /// let options = ChatOptions::default().with_sockets(100, 2);
    /// assert_eq!((options.sockets, options.sockets_of_user), (100, 2));
    /// ```
    #[must_use]
    pub fn with_sockets(mut self, sockets: usize, of_user: usize) -> Self {
        self.sockets = sockets;
        self.sockets_of_user = of_user;
        self
    }

    /// Sets the bytes of a message that a client sends.
    #[must_use]
    pub fn with_message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes;
        self
    }

    /// Sets the rates of one user: of all commands, and of edits and deletions.
    #[must_use]
    pub fn with_rates(mut self, commands: Rate, changes: Rate) -> Self {
        self.commands = commands;
        self.changes = changes;
        self
    }

    /// Sets the shortest time between two `typing` events of one user.
    ///
    /// ```
    /// use chrono::TimeDelta;
    /// use isobar_objects::chat::ChatOptions;
    /// assert_eq!(ChatOptions::default().with_typing(TimeDelta::seconds(5)).typing, TimeDelta::seconds(5));
    /// ```
    #[must_use]
    pub fn with_typing(mut self, every: TimeDelta) -> Self {
        self.typing = every;
        self
    }

    /// Sets the number of messages that are kept, and the time.
    ///
    /// A message over its age is not shown any more, and deleted with new messages, at most 100 with each.
    #[must_use]
    pub fn with_history(mut self, messages: u32, age: Option<TimeDelta>) -> Self {
        self.history = messages;
        self.history_age = age;
        self
    }
}
