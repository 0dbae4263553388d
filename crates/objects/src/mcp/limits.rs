//! The limits of one user's MCP sessions.
//!
//! Each bounds what one user's object keeps in memory or in its database. At a limit of things that can be begun again,
//! sessions and streams, the oldest goes; at a limit of work, calls and subscriptions, the new one is refused.

/// The limits of one user's MCP sessions.
///
/// ```
/// use isobar_objects::mcp::McpLimits;
///
/// // Ten sessions of a user with 50 subscriptions in all; four streams and four calls at once.
/// let limits = McpLimits::default().with_sessions(10, 50).with_in_flight(4, 4);
/// assert_eq!(limits.event_bytes, 8 * 1024 * 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpLimits {
    /// Largest number of sessions of a user; a new one takes the place of the least recently used one. Default: 100.
    pub sessions: u32,
    /// Largest number of subscriptions of a user, over all sessions, and over all streams of the revision without sessions; one more is refused
    /// with 429. Default: 200.
    pub subscriptions: u32,
    /// Largest number of streams of the revision without sessions; a new one takes the oldest one's place. Default: 32.
    pub listeners: u32,
    /// Largest number of calls of a user in flight; one more is refused with 429. Default: 32.
    pub calls: u32,
    /// Bytes of the events of a session that are kept to be sent again; older ones are forgotten. Default: 8 MiB.
    pub event_bytes: u64,
}

impl Default for McpLimits {
    fn default() -> Self {
        Self { sessions: 100, subscriptions: 200, listeners: 32, calls: 32, event_bytes: 8 * 1024 * 1024 }
    }
}

impl McpLimits {
    /// Sets how many sessions a user has, and how many subscriptions in all.
    #[must_use]
    pub fn with_sessions(mut self, sessions: u32, subscriptions: u32) -> Self {
        self.sessions = sessions;
        self.subscriptions = subscriptions;
        self
    }

    /// Sets how many streams without a session, and how many calls, a user has at once.
    #[must_use]
    pub fn with_in_flight(mut self, listeners: u32, calls: u32) -> Self {
        self.listeners = listeners;
        self.calls = calls;
        self
    }

    /// Sets the bytes of events that a session keeps.
    ///
    /// More lets clients of tools with large answers be away for longer; it is disk of each session.
    ///
    /// ```
    /// use isobar_objects::mcp::McpLimits;
    /// assert_eq!(McpLimits::default().with_event_bytes(1 << 20).event_bytes, 1_048_576);
    /// ```
    #[must_use]
    pub fn with_event_bytes(mut self, bytes: u64) -> Self {
        self.event_bytes = bytes;
        self
    }
}
