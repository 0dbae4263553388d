//! Options and result of `list`.

use crate::ObjectMeta;

/// Options of [`ObjectStore::list`](crate::ObjectStore::list). Default: the first 1,000 objects, with neither HTTP nor custom metadata.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// for name in ["a.txt", "photos/1.jpg", "photos/2.jpg"] {
///     store.write(&Key::new(name)?, "").await?;
/// }
/// let page = store.list(ListOptions::default().with_delimiter("/")).await?;
/// assert_eq!((page.objects.len(), &page.prefixes[..]), (1, &["photos/".to_owned()][..]));
/// // Page by page:
/// let mut options = ListOptions::default().with_prefix("photos/").with_limit(1);
/// let mut names = Vec::new();
/// loop {
///     let page = store.list(options.clone()).await?;
///     names.extend(page.objects.into_iter().map(|object| object.key.to_string()));
///     let Some(cursor) = page.cursor else { break };
///     options = options.with_cursor(cursor);
/// }
/// assert_eq!(names, ["photos/1.jpg", "photos/2.jpg"]);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Beginning of the keys. Default: any.
    pub prefix: Option<String>,
    /// String at which keys are grouped into [`ListPage::prefixes`], where they have it behind the prefix. Default: none.
    pub delimiter: Option<String>,
    /// Key behind which the listing begins. Default: none.
    pub start_after: Option<String>,
    /// [`ListPage::cursor`] of the page before. Default: none, the first page.
    pub cursor: Option<String>,
    /// Objects plus prefixes in a page, 1 to 1,000. Default: 1,000. A page may be shorter: loop on the cursor.
    pub limit: Option<usize>,
    /// Whether [`ObjectMeta::http`] is filled in. Default: false.
    pub include_http: bool,
    /// Whether [`ObjectMeta::custom`] is filled in. Default: false.
    pub include_custom: bool,
}

impl ListOptions {
    /// Only keys that start with this. It is a beginning of the text and not a folder: `a` takes `a/b` and `ab`.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a/b")?, "").await?;
    /// store.write(&Key::new("ab")?, "").await?;
    /// let text = store.list(ListOptions::default().with_prefix("a")).await?;
    /// let folder = store.list(ListOptions::default().with_prefix("a/")).await?;
    /// assert_eq!((text.objects.len(), folder.objects.len()), (2, 1));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Group keys at this: of keys that have it behind the prefix, only the part up to and including its first occurrence is listed, once. So
    /// `/` lists one level of what looks like folders. An empty one groups nothing.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// for name in ["2025/may/1", "2025/may/2", "2025/june/1", "2025/index"] {
    ///     store.write(&Key::new(name)?, "").await?;
    /// }
    /// let page = store.list(ListOptions::default().with_prefix("2025/").with_delimiter("/")).await?;
    /// assert_eq!(page.prefixes, ["2025/june/", "2025/may/"]);
    /// assert_eq!(page.objects[0].key.as_str(), "2025/index");
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_delimiter(mut self, delimiter: impl Into<String>) -> Self {
        self.delimiter = Some(delimiter.into());
        self
    }

    /// Only keys after this one, which need not exist. With a cursor, the later of the two counts.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// for day in ["2026-01-01", "2026-01-02", "2026-02-01"] {
    ///     store.write(&Key::new(day)?, "").await?;
    /// }
    /// let page = store.list(ListOptions::default().with_start_after("2026-01-31")).await?;
    /// assert_eq!(page.objects[0].key.as_str(), "2026-02-01");
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_start_after(mut self, key: impl Into<String>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Go on where a page ended, by its [`ListPage::cursor`]; prefix and delimiter have to be those of that page. A cursor stays good when
    /// objects are written or deleted, and across processes. Its text is the backend's own.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, ListOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let made_up = ListOptions::default().with_cursor("page 2");
    /// assert_eq!(MemoryStore::new().list(made_up).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Objects plus prefixes in a page: 1 to 1,000, which is the default.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, ListOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let error = MemoryStore::new().list(ListOptions::default().with_limit(1001)).await.unwrap_err();
    /// assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidListLimit, Some(10022)));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Fill in HTTP and custom metadata, which a listing leaves out otherwise. A backend reads more for it, and R2 may answer with shorter
    /// pages (its documentation, "Workers API reference", `list`).
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a.txt")?, "").await?;
    /// let bare = store.list(ListOptions::default()).await?;
    /// assert_eq!(bare.objects[0].http.content_type, None);
    /// let full = store.list(ListOptions::default().with_metadata()).await?;
    /// assert_eq!(full.objects[0].http.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_metadata(mut self) -> Self {
        self.include_http = true;
        self.include_custom = true;
        self
    }
}

/// A page of a listing, in byte order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ObjectMeta>,
    /// The groups made by the delimiter, each ending in it.
    pub prefixes: Vec<String>,
    /// Where the next page starts; `None` when this is the last.
    pub cursor: Option<String>,
}
