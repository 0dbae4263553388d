//! The process's limit of open files, and how it is divided.

/// The most that the soft limit is raised to: programs that are started inherit it, and some look at every number below.
#[cfg(unix)]
const MOST: u64 = 1 << 20;
/// Files of an open session object: its database, its log and the log's index.
const OBJECT_FILES: u64 = 3;
/// Files that are kept for everything else, where a quarter would be more.
const RESERVE: u64 = 2048;
/// Open files of a process where the system does not say.
const ASSUMED: u64 = 1024;

/// The limit of open files of this process, and the shares that connections and session objects may take of it. The rest is
/// a reserve for databases, buckets, events and programs that are started.
///
/// ```
/// use isobar_server::DescriptorLimit;
///
/// let limit = DescriptorLimit::default(); // 1,024 files
/// assert_eq!((limit.connections(), limit.session_objects()), (513, 85));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescriptorLimit {
    /// Files that the process may have open at once.
    pub files: u64,
}

impl DescriptorLimit {
    /// Raises the soft limit to the hard one (`RLIMIT_NOFILE`, up to 1,048,576), and returns what it is then. Where the system
    /// refuses, the limit stays as it is.
    ///
    /// ```
    /// use isobar_server::DescriptorLimit;
    ///
    /// let limit = DescriptorLimit::raise();
    /// assert_eq!(DescriptorLimit::raise(), limit); // once is enough
    /// ```
    #[must_use]
    pub fn raise() -> Self {
        #[cfg(unix)]
        {
            use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
            let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
            let current = current.unwrap_or(MOST);
            let wanted = maximum.unwrap_or(MOST).min(MOST);
            if current >= wanted {
                return Self { files: current };
            }
            match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
                Ok(()) => Self { files: wanted },
                Err(error) => {
                    tracing::warn!(%error, current, wanted, "the limit of open files cannot be raised");
                    Self { files: current }
                }
            }
        }
        #[cfg(not(unix))]
        Self { files: ASSUMED * 64 }
    }

    /// Connections at once: what session objects and the reserve leave, at least a half.
    #[must_use]
    pub fn connections(&self) -> usize {
        let objects = self.session_objects() as u64 * OBJECT_FILES;
        let left = self.files.saturating_sub(objects + (self.files / 4).min(RESERVE));
        usize::try_from(left).unwrap_or(usize::MAX).max(1)
    }

    /// Session objects that may be open at once, of three files each: a quarter of the files, and at most 4,096 objects.
    #[must_use]
    pub fn session_objects(&self) -> usize {
        usize::try_from(self.files / 4 / OBJECT_FILES).unwrap_or(usize::MAX).clamp(1, 4096)
    }
}

impl Default for DescriptorLimit {
    /// The limit that systems have by default: 1,024 files.
    fn default() -> Self {
        Self { files: ASSUMED }
    }
}
