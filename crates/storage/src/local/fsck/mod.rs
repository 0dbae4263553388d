//! Checking a store, and repairing it.
//!
//! [`LocalStore::fsck`] compares in both directions: everything that the index names must be in the files and be what was stored,
//! and everything in the folders must be named by the index. A problem is a [`Finding`]; with [`FsckOptions::repair`] those are
//! repaired whose repair loses nothing: orphans and expired uploads are removed, counts corrected. A damaged object is taken out
//! of the index only after what is left of it is durable in the folder `lost`.
//!
//! An index that is damaged is not repaired: [`LocalStore::rebuild`] makes it again out of the packs. While it is damaged nothing
//! is removed, as what it does not name may be an object's.

mod report;

use std::path::Path;

use chrono::Duration;

use super::blobs::{Checking, Found};
use super::disk::private;
use super::index::Content;
use super::verify::Verify;
use super::{LocalStore, QUARANTINE, Shared, YOUNG};
use crate::{ByteRange, Error, ErrorKind, Key, ObjectMeta, Result, UploadId, limits};

pub use self::report::{Finding, Fsck, FsckOptions, Problem};

/// Bytes that are read before findings are reported.
const AT_ONCE: u64 = 4 * 1024 * 1024;

impl LocalStore {
    /// Checks the whole store: the index, every object's body, the blobs, the uploads. `seen` is called with each object.
    ///
    /// With [`repair`](FsckOptions::repair), objects whose body is damaged or missing are taken out of the index; the rest of
    /// them is kept, with the metadata, in the folder `lost` beside the index.
    /// Orphans, uploads past their days and bodies of no object are removed. Where the index is damaged nothing is repaired, as it
    /// may not find the rows of what would be removed: [`rebuild`](Self::rebuild) makes it again.
    ///
    /// # Errors
    /// Errors of the file system and of the index: a folder that cannot be read, an index that cannot be opened.
    pub async fn fsck(&self, options: FsckOptions, mut seen: impl FnMut(&ObjectMeta)) -> Result<Fsck> {
        self.check(options, &mut seen).await.map_err(|error| error.during("fsck"))
    }

    async fn check(&self, options: FsckOptions, seen: &mut dyn FnMut(&ObjectMeta)) -> Result<Fsck> {
        let mut report = Fsck::default();
        let damage = self.run("fsck", |shared| shared.index.integrity()).await?;
        let options = options.with_repair(options.repair && damage.is_empty());
        report
            .findings
            .extend(damage.into_iter().map(|what| Finding { problem: Problem::Index { what }, repaired: None }));
        self.check_objects(options, &mut report, seen).await?;
        self.check_uploads(options, &mut report).await?;
        self.check_unowned(options, &mut report).await?;
        self.check_orphans(options, &mut report).await?;
        self.check_packs(options, &mut report).await?;
        Ok(report)
    }

    async fn check_objects(
        &self,
        options: FsckOptions,
        report: &mut Fsck,
        seen: &mut dyn FnMut(&ObjectMeta),
    ) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let from = after.clone();
            let keys = self.run("fsck", move |shared| shared.index.keys_after(from.as_deref())).await?;
            let Some(last) = keys.last().cloned() else { return Ok(()) };
            let mut keys = keys.into_iter();
            while keys.len() > 0 {
                // Some at once, as long as they are small: a large one is reported before the next is read.
                let checked;
                (keys, checked) = self.run("fsck", move |shared| shared.check_some(keys, options.bodies)).await?;
                for (key, checked) in checked {
                    self.report_object(options, report, key, checked, seen).await?;
                }
            }
            after = Some(last);
        }
    }

    async fn report_object(
        &self,
        options: FsckOptions,
        report: &mut Fsck,
        key: String,
        checked: Checked,
        seen: &mut dyn FnMut(&ObjectMeta),
    ) -> Result<()> {
        match checked {
            Checked::Gone => {}
            Checked::Unreadable(what) => {
                report.findings.push(Finding { problem: Problem::Row { key, what }, repaired: None });
            }
            Checked::Sound(meta) => {
                report.objects += 1;
                report.bytes += meta.size;
                seen(&meta);
            }
            Checked::Damaged(meta, what) => {
                report.objects += 1;
                let repaired = if options.repair { self.set_aside(&meta).await? } else { None };
                report.findings.push(Finding { problem: Problem::Body { key, what }, repaired });
                seen(&meta);
            }
        }
        Ok(())
    }

    /// Puts what is left of a damaged object into `lost`, and then takes it out of the index.
    async fn set_aside(&self, meta: &ObjectMeta) -> Result<Option<String>> {
        let folder = self.shared.root.join(QUARANTINE);
        let damaged = meta.clone();
        let shown = folder.clone();
        self.run("fsck", move |shared| shared.quarantine(&damaged, &folder)).await?;
        let now = self.shared.now();
        Ok(Some(match self.shared.index.give_up(meta.key.clone(), meta.version.clone(), now).await? {
            true => format!("removed; what is left of it is in {}", shown.display()),
            false => "replaced meanwhile".to_owned(),
        }))
    }

    async fn check_uploads(&self, options: FsckOptions, report: &mut Fsck) -> Result<()> {
        let oldest = self.shared.now() - Duration::days(limits::UPLOAD_DAYS);
        for upload in self.run("fsck", |shared| shared.index.open_uploads()).await? {
            if upload.created > oldest {
                report.uploads += 1;
                continue;
            }
            let repaired = match options.repair {
                true => Some(self.end(&upload.key, &upload.id).await?),
                false => None,
            };
            let key = upload.key.to_string();
            let id = upload.id.to_string();
            let problem = Problem::Upload { upload: id, key, created: upload.created };
            report.findings.push(Finding { problem, repaired });
        }
        Ok(())
    }

    async fn end(&self, key: &Key, upload: &UploadId) -> Result<String> {
        self.shared.index.abort_upload(key.clone(), upload.clone(), self.shared.now()).await?;
        Ok("aborted".to_owned())
    }

    async fn check_unowned(&self, options: FsckOptions, report: &mut Fsck) -> Result<()> {
        let count = self.run("fsck", |shared| shared.index.unowned()).await?;
        if count == 0 {
            return Ok(());
        }
        if options.repair {
            self.shared.index.remove_unowned().await?;
        }
        let repaired = options.repair.then(|| "removed".to_owned());
        report.findings.push(Finding { problem: Problem::Unowned { count }, repaired });
        Ok(())
    }

    async fn check_orphans(&self, options: FsckOptions, report: &mut Fsck) -> Result<()> {
        let age = (!options.exclusive).then_some(YOUNG);
        let (orphans, foreign) = self.run("fsck", move |shared| shared.orphans(age)).await?;
        report.foreign.extend(foreign);
        let gone = if options.repair { self.unlink(&orphans).await? } else { Vec::new() };
        for Found { blob, size, .. } in orphans {
            let repaired = gone.contains(&blob).then(|| "removed".to_owned());
            report.findings.push(Finding { problem: Problem::Orphan { blob, size }, repaired });
        }
        Ok(())
    }

    async fn check_packs(&self, options: FsckOptions, report: &mut Fsck) -> Result<()> {
        for (pack, end) in self.run("fsck", |shared| shared.index.pack_ends()).await? {
            for position in self.run("fsck", move |shared| shared.packs.damaged_headers(pack, end)).await? {
                report.findings.push(Finding { problem: Problem::Header { pack, position }, repaired: None });
            }
        }
        for pack in self.run("fsck", |shared| shared.index.miscounted()).await? {
            let repaired = match options.repair {
                true => self.shared.index.recount(pack).await.map(|()| Some("counted anew".to_owned()))?,
                false => None,
            };
            report.findings.push(Finding { problem: Problem::Count { pack }, repaired });
        }
        let (unknown, foreign) = self
            .run("fsck", |shared| {
                let (packs, foreign) = shared.packs.list()?;
                let mut unknown = shared.index.unknown_packs(packs)?;
                // Others were on their way out.
                unknown.retain(|pack, _| shared.packs.path(*pack).exists());
                Ok((unknown, foreign))
            })
            .await?;
        report.foreign.extend(foreign);
        let gone = if options.repair { self.remove_unknown_packs().await? } else { Vec::new() };
        for (pack, size) in unknown {
            let repaired = gone.contains(&pack).then(|| "removed".to_owned());
            report.findings.push(Finding { problem: Problem::Pack { pack, size }, repaired });
        }
        Ok(())
    }
}

type Keys = std::vec::IntoIter<Vec<u8>>;

enum Checked {
    /// Deleted since the key was listed.
    Gone,
    Unreadable(String),
    Sound(ObjectMeta),
    Damaged(ObjectMeta, String),
}

impl Shared {
    /// Makes durable in the folder what there is of an object: what its row says, and its bytes.
    fn quarantine(&self, meta: &ObjectMeta, folder: &Path) -> Result<()> {
        self.blobs.create_folder(folder)?;
        // Of a row that cannot be read there is what its metadata says.
        let content = self.index.get(&meta.key).ok().flatten().filter(|(now, _)| now.version == meta.version);
        let mut blobs = Vec::new();
        match content {
            Some((_, Content::Packed(place))) => match self.packs.read(place) {
                Ok(Some(bytes)) => write(&folder.join(&meta.version), &bytes)?,
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            },
            Some((_, Content::Blobs(segments, _))) => blobs.extend(segments.into_iter().map(|segment| segment.blob)),
            None => {}
        }
        for blob in blobs.iter().filter(|blob| self.blobs.exists(blob)) {
            self.blobs.keep_in(blob, folder)?;
        }
        let told = serde_json::json!({ "object": meta, "blobs": blobs });
        write(&folder.join(format!("{}.json", meta.version)), told.to_string().as_bytes())?;
        self.blobs.sync_folder(folder)
    }

    /// Checks objects up to a few mebibytes; the keys that are left, and what was found.
    fn check_some(&self, mut keys: Keys, bodies: bool) -> Result<(Keys, Vec<(String, Checked)>)> {
        let mut checked = Vec::new();
        let mut bytes = 0;
        while bytes < AT_ONCE
            && let Some(key) = keys.next()
        {
            let found = self.check_object(&key, bodies)?;
            if let Checked::Sound(meta) | Checked::Damaged(meta, _) = &found {
                bytes += meta.size;
            }
            checked.push((String::from_utf8_lossy(&key).into_owned(), found));
        }
        Ok((keys, checked))
    }

    fn check_object(&self, key: &[u8], bodies: bool) -> Result<Checked> {
        let key = match std::str::from_utf8(key).map_err(|error| error.to_string()).map(Key::new) {
            Ok(Ok(key)) => key,
            Ok(Err(error)) => return Ok(Checked::Unreadable(error.to_string())),
            Err(error) => return Ok(Checked::Unreadable(error)),
        };
        let checked = self.with_object(&key, |meta, content| match self.check_body(&meta, content, bodies) {
            Ok(true) => Ok(Some(Checked::Sound(meta))),
            Ok(false) => Ok(None),
            // A disk that cannot read a file is damage like any other.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal) => {
                Ok(Some(Checked::Damaged(meta, error.message().to_owned())))
            }
            Err(error) => Err(error),
        });
        match checked {
            Ok(checked) => Ok(checked.unwrap_or(Checked::Gone)),
            Err(error) if error.kind() == ErrorKind::Corrupt => match self.index.head(&key) {
                Ok(Some(meta)) => Ok(Checked::Damaged(meta, error.message().to_owned())),
                _ => Ok(Checked::Unreadable(error.message().to_owned())),
            },
            Err(error) => Err(error),
        }
    }

    /// An error where the body is not what it must be; false where it is in a pack that is not there.
    fn check_body(&self, meta: &ObjectMeta, content: &Content, bodies: bool) -> Result<bool> {
        match content {
            Content::Packed(place) => {
                let Some(bytes) = self.packs.read_verified(*place)? else { return Ok(false) };
                Verify::whole(meta, &bytes)?;
            }
            Content::Blobs(segments, _) => {
                let size: u64 = segments.iter().map(|segment| segment.size).sum();
                if size != meta.size {
                    let message = format!("its segments have {size} bytes, {} in its row", meta.size);
                    return Err(Error::new(ErrorKind::Corrupt, message));
                }
                let range = ByteRange { offset: 0, length: meta.size };
                let checking = if bodies { Checking::Full(meta) } else { Checking::Off };
                let pieces = self.blobs.open_pieces(segments, range, checking)?;
                if bodies {
                    pieces.read_through()?;
                }
            }
        }
        Ok(true)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::io(format_args!("cannot write {}", path.display()), error);
    let mut file = private().create(true).truncate(true).open(path).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    file.sync_all().map_err(failed)
}
