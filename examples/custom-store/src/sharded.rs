//! One bucket, spread over several.

use std::collections::BTreeMap;

use async_trait::async_trait;
use isobar_storage::{
    Body, Capabilities, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage, MultipartOptions,
    ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignOptions, PutOptions, PutResult, Result, UploadId,
    limits,
};

/// A store that keeps each object in one of several others, which it picks by the hash of the key.
///
/// The shards and their order are part of where objects are: they must stay the same.
#[derive(Debug)]
pub(crate) struct ShardedStore<S> {
    shards: Vec<S>,
}

impl<S: ObjectStore> ShardedStore<S> {
    /// A store over these shards; at least one.
    pub(crate) fn new(shards: Vec<S>) -> Result<Self> {
        if shards.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a sharded store needs at least one shard"));
        }
        Ok(Self { shards })
    }

    /// The shard of a key.
    fn shard(&self, key: &Key) -> &S {
        &self.shards[self.index(key)]
    }

    /// FNV-1a: the standard library's hash may be another one in its next version, and every object be lost by that.
    fn index(&self, key: &Key) -> usize {
        let hash = key
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // Less than the number of shards, so it fits.
        (hash % self.shards.len() as u64) as usize
    }

    /// The entries of a listing in all shards, and whether there are more than these. Each shard gives at least `limit`
    /// entries or all it has, so the first `limit` of the union are right.
    async fn entries(&self, options: &ListOptions, limit: usize) -> Result<(BTreeMap<String, Entry>, bool)> {
        let mut entries = BTreeMap::new();
        let mut is_cut = false;
        for shard in &self.shards {
            let mut options = options.clone();
            let mut count = 0;
            loop {
                let page = shard.list(options.clone()).await?;
                count += page.objects.len() + page.prefixes.len();
                // Several shards may have objects of one group: the map has it once.
                entries.extend(page.prefixes.into_iter().map(|prefix| (prefix, Entry::Group)));
                let objects = page.objects.into_iter();
                entries.extend(objects.map(|meta| (meta.key.to_string(), Entry::Object(Box::new(meta)))));
                match page.cursor {
                    // A page may be shorter than its limit.
                    Some(cursor) if count < limit => options = options.with_cursor(cursor),
                    Some(_) => {
                        is_cut = true;
                        break;
                    }
                    None => break,
                }
            }
        }
        Ok((entries, is_cut))
    }
}

/// An entry of a listing, by its name.
enum Entry {
    Object(Box<ObjectMeta>),
    Group,
}

/// The position behind an entry, as a cursor and as the `start_after` of the shards. They know nothing of each other's
/// cursors, so ours says where in the order of the keys the page ended.
fn cursor(name: &str, entry: &Entry) -> String {
    match entry {
        Entry::Object(_) => format!("object:{name}"),
        Entry::Group => format!("group:{name}"),
    }
}

/// The key that a cursor stands for.
fn position(cursor: &str) -> Result<String> {
    if let Some(key) = cursor.strip_prefix("object:") {
        return Ok(key.to_owned());
    }
    let Some(group) = cursor.strip_prefix("group:") else {
        return Err(Error::new(ErrorKind::InvalidArgument, "the cursor is not one that a listing has given"));
    };
    // Behind all keys of the group: they are at most 1024 bytes long, and U+10FFFF is the largest character.
    Ok(group.to_owned() + &"\u{10ffff}".repeat(limits::KEY_BYTES / 4))
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for ShardedStore<S> {
    fn capabilities(&self) -> Capabilities {
        // No copy: source and destination may be in different shards. What a store cannot do it denies.
        let mut capabilities = Capabilities::default();
        capabilities.multipart = self.shards.iter().all(|shard| shard.capabilities().multipart);
        capabilities.list_parts = self.shards.iter().all(|shard| shard.capabilities().list_parts);
        capabilities.delete_version = self.shards.iter().all(|shard| shard.capabilities().delete_version);
        capabilities.presign = self.shards.iter().all(|shard| shard.capabilities().presign);
        capabilities
    }

    fn health(&self) -> Result<()> {
        self.shards.iter().try_for_each(ObjectStore::health)
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.shard(key).head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.shard(key).get(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.shard(key).put(key, body, options).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        // The limit is that of the whole call: no shard may delete before it is known that none refuses.
        if keys.len() > limits::DELETE_KEYS {
            let message = format!("delete takes at most {} keys, not {}", limits::DELETE_KEYS, keys.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message).during(Operation::Delete));
        }
        let mut divided = vec![Vec::new(); self.shards.len()];
        for key in keys {
            divided[self.index(key)].push(key.clone());
        }
        for (shard, keys) in self.shards.iter().zip(divided).filter(|(_, keys)| !keys.is_empty()) {
            shard.delete(&keys).await?;
        }
        Ok(())
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        self.shard(key).delete_version(key, version).await
    }

    async fn list(&self, mut options: ListOptions) -> Result<ListPage> {
        let limit = options.limit.unwrap_or(limits::LIST_KEYS);
        if let Some(cursor) = options.cursor.take() {
            // Of `start_after` and the cursor the later one counts.
            let position = position(&cursor).map_err(|error| error.during(Operation::List))?;
            options.start_after = options.start_after.max(Some(position));
        }
        // A limit that is none is refused by the first shard.
        let (entries, is_cut) = self.entries(&options, limit).await?;
        let has_more = is_cut || entries.len() > limit;
        let mut page = ListPage::default();
        for (name, entry) in entries.into_iter().take(limit) {
            page.cursor = has_more.then(|| cursor(&name, &entry));
            match entry {
                Entry::Object(meta) => page.objects.push(*meta),
                Entry::Group => page.prefixes.push(name),
            }
        }
        Ok(page)
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.shard(key).create_multipart(key, options).await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.shard(key).upload_part(key, upload, number, body).await
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.shard(key).complete_multipart(key, upload, parts).await
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.shard(key).abort_multipart(key, upload).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.shard(key).list_parts(key, upload).await
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        self.shard(&options.key).presign(options).await
    }
}
