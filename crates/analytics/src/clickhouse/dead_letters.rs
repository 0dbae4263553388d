//! The file of batches that no server has taken.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{SecondsFormat, Utc};
use isobar_base::fs::{create_dir, parent, private_file, sync_dir};
use serde_json::json;

use super::rows::Insert;
use crate::{Error, ErrorKind, Result};

/// A file with a JSON line for each batch: `at`, `dataset`, `points`, `token`, `reason`, `query` (the statement) and `body` (its rows, in
/// base64).
#[derive(Debug)]
pub(super) struct DeadLetters {
    path: PathBuf,
    most_bytes: u64,
}

/// A batch with the reason for which it is not in the table.
pub(super) struct DeadLetter<'b> {
    pub(super) dataset: &'b str,
    pub(super) token: &'b str,
    pub(super) reason: &'b str,
    pub(super) query: &'b str,
    pub(super) insert: &'b Insert,
}

impl DeadLetters {
    pub(super) fn new(path: PathBuf, most_bytes: u64) -> Self {
        Self { path, most_bytes }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a batch; it is durable when this returns. What a failure has left of it is removed; what a crash has left is a line of its own.
    ///
    /// Under the lock of the file, as two processes have it while one replaces the other.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`] where the file would have more bytes than it may have; those of the file system.
    pub(super) fn append(&self, letter: &DeadLetter<'_>) -> Result<()> {
        let DeadLetter { dataset, token, reason, query, insert } = letter;
        let at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = STANDARD.encode(&insert.body);
        let line = json!({
            "at": at, "dataset": dataset, "points": insert.points, "token": token, "reason": reason, "query": query, "body": body,
        });
        let io = |error| Error::io(&self.path, error);
        let folder = parent(&self.path);
        create_dir(folder).map_err(io)?;
        let mut file =
            private_file().read(true).write(true).create(true).truncate(false).open(&self.path).map_err(io)?;
        file.lock().map_err(io)?;
        let end = file.seek(SeekFrom::End(0)).map_err(io)?;
        let line = if is_torn(&mut file, end).map_err(io)? { format!("\n{line}\n") } else { format!("{line}\n") };
        if end + line.len() as u64 > self.most_bytes {
            let message = format!("{} would have more than {} bytes", self.path.display(), self.most_bytes);
            return Err(Error::new(ErrorKind::StorageFull, message));
        }
        write(&mut file, line.as_bytes(), end).map_err(io)?;
        // Also where the file is not new: whoever has made it may have ended before this.
        sync_dir(folder).map_err(io)
    }
}

/// Whether a file with its end there ends within a line. Leaves the position at the end.
fn is_torn(file: &mut File, end: u64) -> std::io::Result<bool> {
    if end == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(end - 1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn write(file: &mut File, line: &[u8], end: u64) -> std::io::Result<()> {
    let written = file.write_all(line).and_then(|()| file.sync_data());
    if written.is_err() {
        // The error that is reported is the first one.
        drop(file.set_len(end));
    }
    written
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;

    use super::*;

    #[test]
    fn batches_are_appended_with_their_reason_up_to_the_limit() {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let path = folder.path().join("dead/web.jsonl");
        let letters = DeadLetters::new(path.clone(), 600);
        let insert = Insert { points: 2, blobs: 0, doubles: 0, body: Bytes::from_static(b"\0\xFF") };
        let letter =
            DeadLetter { dataset: "web", token: "t-1", reason: "400: it's \"so\"\n", query: "INSERT", insert: &insert };
        letters.append(&letter).expect("there is room");
        letters.append(&letter).expect("there is room");
        let mut count = 2;
        let full = loop {
            match letters.append(&letter) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        let text = std::fs::read_to_string(&path).expect("the file is there");
        assert_eq!((text.lines().count(), text.ends_with('\n')), (count, true));
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("each line is JSON");
            let [reason, body] = ["reason", "body"].map(|name| line[name].as_str().unwrap_or_default().to_owned());
            assert_eq!((reason.as_str(), body.as_str()), ("400: it's \"so\"\n", "AP8="));
            assert_eq!((&line["points"], &line["token"]), (&json!(2), &json!("t-1")));
        }
    }
    #[test]
    fn batch_after_a_torn_one_is_a_line_of_its_own() {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let path = folder.path().join("web.jsonl");
        std::fs::write(&path, r#"{"at":"2026-"#).expect("the folder is there");
        let insert = Insert { points: 1, blobs: 0, doubles: 0, body: Bytes::from_static(b"a") };
        let letter = DeadLetter { dataset: "web", token: "t-1", reason: "400", query: "INSERT", insert: &insert };
        let letters = DeadLetters::new(path.clone(), 1 << 20);
        (0..2).for_each(|_| letters.append(&letter).expect("there is room"));
        let text = std::fs::read_to_string(&path).expect("the file is there");
        let lines: Vec<Option<Value>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true], "{text}");
    }

    #[test]
    fn batches_of_two_sinks_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let path = folder.path().join("web.jsonl");
        let append = |token: &str| {
            let insert = Insert { points: 1, blobs: 0, doubles: 0, body: Bytes::from(vec![0; 100_000]) };
            let letter = DeadLetter { dataset: "web", token, reason: "400", query: "INSERT", insert: &insert };
            let letters = DeadLetters::new(path.clone(), 1 << 30);
            (0..20).for_each(|_| letters.append(&letter).expect("there is room"));
        };
        std::thread::scope(|scope| {
            for token in ["a", "b", "c", "d"] {
                scope.spawn(move || append(token));
            }
        });
        let text = std::fs::read_to_string(&path).expect("the file is there");
        assert_eq!(text.lines().count(), 80);
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    }
}
