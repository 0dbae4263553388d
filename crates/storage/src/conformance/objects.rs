//! put, get, head, delete, copy; metadata and checksums.

use bytes::Bytes;
use futures_util::stream;
use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, fault, get_text, key, put, text};
use crate::{
    Body, Checksum, ChecksumAlgorithm, CopyOptions, ErrorKind, GetOptions, GetResult, HttpMetadata, Key,
    ObjectStoreExt, PutOptions, PutResult, StorageClass,
};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "objects" => {
            what_is_put_is_got,
            missing_objects_are_missing,
            a_put_replaces_everything,
            every_write_has_its_version,
            etag_is_the_md5,
            empty_bodies_are_objects,
            bodies_stream_both_ways,
            a_body_of_another_length_stores_nothing,
            names_and_their_prefixes_coexist,
            delete_is_idempotent,
            delete_takes_a_thousand_keys_and_no_more,
            delete_version_spares_another_write if "delete_version",
            copy_takes_bytes_and_metadata if "copy",
            copy_heeds_conditions if "copy",
        }
        "metadata" => {
            http_metadata_is_kept,
            custom_metadata_is_kept,
            names_of_custom_metadata_keep_their_case,
            a_plain_put_guesses_nothing,
            custom_metadata_has_a_limit,
            storage_class_is_kept,
            keys_have_limits,
        }
        "checksums" => {
            a_right_checksum_is_taken,
            checksums_are_kept,
            a_wrong_checksum_stores_nothing,
            a_wrong_checksum_comes_before_the_condition,
        }
    }
}

/// A write of the same bytes is another version; a version is deleted once.
async fn delete_version_spares_another_write(store: Subject) -> Outcome {
    let name = "objects/versions";
    let old = put(&store, name, "same").await?;
    let new = put(&store, name, "same").await?;
    ensure!(!store.delete_version(&key(name), &old.version).await?);
    ensure_eq!(store.head(&key(name)).await?.map(|meta| meta.version), Some(new.version.clone()));
    ensure!(store.delete_version(&key(name), &new.version).await?);
    ensure_eq!(store.head(&key(name)).await?, None);
    ensure!(!store.delete_version(&key(name), &new.version).await?);
    ensure!(!store.delete_version(&key("objects/never written"), &new.version).await?);
    put(&store, name, "again").await?;
    ensure!(!store.delete_version(&key(name), &new.version).await?);
    ensure_eq!(get_text(&store, name, GetOptions::default()).await?, "again");
    Ok(())
}

/// `put`, `head` and `get` answer the same metadata, and the size is that of the body.
async fn what_is_put_is_got(store: Subject) -> Outcome {
    let meta = put(&store, "objects/a", "hello").await?;
    ensure_eq!(meta.size, 5);
    ensure_eq!(get_text(&store, "objects/a", GetOptions::default()).await?, "hello");
    let head = store.head(&key("objects/a")).await?;
    ensure_eq!(head.as_ref(), Some(&meta));
    let got = store.get(&key("objects/a"), GetOptions::default()).await?;
    ensure_eq!(got.meta(), Some(&meta));
    Ok(())
}

/// A key without an object is `None` for `head` and `Missing` for `get`, never an error.
async fn missing_objects_are_missing(store: Subject) -> Outcome {
    ensure_eq!(store.head(&key("objects/none")).await?, None);
    ensure!(matches!(store.get(&key("objects/none"), GetOptions::default()).await?, GetResult::Missing));
    Ok(())
}

/// Nothing of the object before stays: neither its metadata nor its bytes.
async fn a_put_replaces_everything(store: Subject) -> Outcome {
    let options = PutOptions::default().with_content_type("text/plain").with_custom("old", "yes");
    drop(store.put(&key("objects/again"), "one".into(), options).await?);
    drop(store.put(&key("objects/again"), "two".into(), PutOptions::default()).await?);
    let (meta, bytes) = store.read(&key("objects/again")).await?.ok_or_else(|| super::Failure("gone".into()))?;
    ensure_eq!(bytes, Bytes::from("two"));
    ensure!(meta.custom.is_empty());
    Ok(())
}

/// The version changes with each write of the same bytes; the etag does not.
async fn every_write_has_its_version(store: Subject) -> Outcome {
    let first = put(&store, "objects/version", "same").await?;
    let second = put(&store, "objects/version", "same").await?;
    ensure_eq!(first.etag, second.etag);
    ensure!(first.version != second.version);
    ensure!(second.uploaded >= first.uploaded);
    Ok(())
}

/// The etag of an object that was put whole is the md5 of its bytes in lower-case hexadecimal; HTTP has it in quotes.
async fn etag_is_the_md5(store: Subject) -> Outcome {
    let meta = put(&store, "objects/etag", "hello").await?;
    ensure_eq!(meta.etag, "5d41402abc4b2a76b9719d911017c592");
    ensure_eq!(meta.http_etag(), "\"5d41402abc4b2a76b9719d911017c592\"");
    Ok(())
}

/// An empty body is an object like any other.
async fn empty_bodies_are_objects(store: Subject) -> Outcome {
    let meta = put(&store, "objects/empty", "").await?;
    ensure_eq!((meta.size, meta.etag.as_str()), (0, "d41d8cd98f00b204e9800998ecf8427e"));
    ensure_eq!(get_text(&store, "objects/empty", GetOptions::default()).await?, "");
    Ok(())
}

/// A body that comes in chunks is stored as one, and can be read again.
async fn bodies_stream_both_ways(store: Subject) -> Outcome {
    let chunk = Bytes::from(vec![7u8; 64 * 1024]);
    let chunks = stream::iter((0..20).map({
        let chunk = chunk.clone();
        move |_| Ok(chunk.clone())
    }));
    let length = 20 * chunk.len() as u64;
    let put = store.put(&key("objects/stream"), Body::from_stream(length, chunks), PutOptions::default()).await?;
    ensure_eq!(put.stored().map(|meta| meta.size), Some(length));
    let (meta, bytes) = store.read(&key("objects/stream")).await?.ok_or_else(|| super::Failure("gone".into()))?;
    ensure_eq!(bytes.len() as u64, length);
    ensure!(bytes.iter().all(|byte| *byte == 7));
    ensure_eq!(Some(Checksum::of(ChecksumAlgorithm::Md5, &bytes).hex), Some(meta.etag));
    Ok(())
}

/// A stream with more or fewer bytes than were announced fails with `Body`, and no object is there.
async fn a_body_of_another_length_stores_nothing(store: Subject) -> Outcome {
    for (announced, chunks) in [(10u64, 1usize), (3, 1), (200_000, 1)] {
        let body = Body::from_stream(announced, stream::iter((0..chunks).map(|_| Ok(Bytes::from("12345")))));
        let failed = store.put(&key("objects/short"), body, PutOptions::default()).await;
        ensure_eq!(fault(failed)?.0, ErrorKind::Body);
        ensure_eq!(store.head(&key("objects/short")).await?, None);
    }
    Ok(())
}

/// `/`, `..`, empty segments and control characters are parts of names without a meaning; names keep their case.
async fn names_and_their_prefixes_coexist(store: Subject) -> Outcome {
    let names =
        ["objects/n", "objects/n/", "objects/n/..", "objects/n//x", "objects/N", "objects/n/\u{1F980}", "objects/n/\n"];
    for name in names {
        put(&store, name, name.to_owned()).await?;
    }
    for name in names {
        ensure_eq!(get_text(&store, name, GetOptions::default()).await?, name);
    }
    Ok(())
}

/// Deleting a missing key, or no key at all, succeeds.
async fn delete_is_idempotent(store: Subject) -> Outcome {
    put(&store, "objects/delete", "x").await?;
    let keys = [key("objects/delete"), key("objects/never")];
    store.delete(&keys).await?;
    store.delete(&keys).await?;
    store.delete(&[]).await?;
    ensure_eq!(store.head(&keys[0]).await?, None);
    Ok(())
}

/// With 1,001 keys nothing is deleted.
async fn delete_takes_a_thousand_keys_and_no_more(store: Subject) -> Outcome {
    put(&store, "objects/many/7", "x").await?;
    let keys: Vec<_> = (0..1001).map(|number| key(&format!("objects/many/{number}"))).collect();
    ensure_eq!(fault(store.delete(&keys).await)?.0, ErrorKind::InvalidArgument);
    ensure!(store.head(&keys[7]).await?.is_some());
    store.delete(&keys[..1000]).await?;
    ensure_eq!(store.head(&keys[7]).await?, None);
    Ok(())
}

/// A copy has the source's bytes, etag and metadata, a version of its own, and stays when the source is deleted. A missing source
/// is `None`.
async fn copy_takes_bytes_and_metadata(store: Subject) -> Outcome {
    let big = vec![3u8; 200_000];
    for (from, body) in [("copy/small", Body::from("small")), ("copy/big", Body::from(big.clone()))] {
        let options = PutOptions::default().with_content_type("text/x-test").with_custom("a", "b");
        drop(store.put(&key(from), body, options).await?);
        let copied = store.copy(&key(from), &key("copy/to"), CopyOptions::default()).await?;
        ensure!(matches!(copied, Some(PutResult::Stored(_))));
        let source = store.read(&key(from)).await?.ok_or_else(|| super::Failure("no source".into()))?;
        store.delete(&[key(from)]).await?;
        let copy = store.read(&key("copy/to")).await?.ok_or_else(|| super::Failure("no copy".into()))?;
        ensure_eq!(
            (&copy.1, &copy.0.etag, &copy.0.http, &copy.0.custom),
            (&source.1, &source.0.etag, &source.0.http, &source.0.custom)
        );
        ensure!(copy.0.version != source.0.version);
    }
    let missing = store.copy(&key("copy/none"), &key("copy/to"), CopyOptions::default()).await?;
    ensure_eq!(missing, None);
    Ok(())
}

/// Conditions of the destination are judged as those of a `put`.
async fn copy_heeds_conditions(store: Subject) -> Outcome {
    put(&store, "copyif/from", "x").await?;
    put(&store, "copyif/to", "y").await?;
    let options = CopyOptions::default().with_conditions(crate::Conditions::create_only());
    let refused = store.copy(&key("copyif/from"), &key("copyif/to"), options.clone()).await?;
    ensure_eq!(refused, Some(PutResult::ConditionFailed));
    let done = store.copy(&key("copyif/from"), &key("copyif/new"), options).await?;
    ensure!(matches!(done, Some(PutResult::Stored(_))));
    Ok(())
}

/// All six HTTP headers that R2 stores come back.
async fn http_metadata_is_kept(store: Subject) -> Outcome {
    let mut http = HttpMetadata::with_content_type("text/html; charset=utf-8");
    http.content_language = Some("de".into());
    http.content_disposition = Some("inline".into());
    http.content_encoding = Some("br".into());
    http.cache_control = Some("max-age=60".into());
    http.cache_expiry = chrono::DateTime::from_timestamp(1_900_000_000, 0);
    drop(store.put(&key("metadata/http"), "x".into(), PutOptions::default().with_http(http.clone())).await?);
    ensure_eq!(store.head(&key("metadata/http")).await?.map(|meta| meta.http), Some(http));
    Ok(())
}

/// Values may be any text, the empty one too.
async fn custom_metadata_is_kept(store: Subject) -> Outcome {
    let options = PutOptions::default().with_custom("name", "Jörg").with_custom("empty", "");
    drop(store.put(&key("metadata/custom"), "x".into(), options.clone()).await?);
    ensure_eq!(store.head(&key("metadata/custom")).await?.map(|meta| meta.custom), Some(options.custom));
    Ok(())
}

/// R2's binding keeps names of custom metadata as they were given.
async fn names_of_custom_metadata_keep_their_case(store: Subject) -> Outcome {
    let options = PutOptions::default().with_custom("camelCase", "x").with_custom("UPPER", "y");
    drop(store.put(&key("metadata/case"), "x".into(), options.clone()).await?);
    ensure_eq!(store.head(&key("metadata/case")).await?.map(|meta| meta.custom), Some(options.custom));
    Ok(())
}

/// The trait guesses no content type: that is [`ObjectStoreExt::write`]'s part.
async fn a_plain_put_guesses_nothing(store: Subject) -> Outcome {
    drop(store.put(&key("metadata/plain.html"), "x".into(), PutOptions::default()).await?);
    let meta = store.head(&key("metadata/plain.html")).await?;
    ensure_eq!(meta.map(|meta| meta.http), Some(HttpMetadata::default()));
    Ok(())
}

/// Names and values have 8,192 bytes together, counted as workerd counts them: one for each UTF-16 unit if all are Latin-1, else
/// two (10012).
async fn custom_metadata_has_a_limit(store: Subject) -> Outcome {
    for fits in ["v".repeat(8191), "é".repeat(8191), "€".repeat(4095)] {
        drop(store.put(&key("metadata/limit"), "x".into(), PutOptions::default().with_custom("k", fits)).await?);
    }
    let fits = PutOptions::default().with_custom("k", "v".repeat(8191));
    drop(store.put(&key("metadata/limit"), "x".into(), fits).await?);
    let over = PutOptions::default().with_custom("k", "v".repeat(8192));
    let refused = store.put(&key("metadata/limit"), "y".into(), over).await;
    ensure_eq!(fault(refused)?, (ErrorKind::MetadataTooLarge, Some(10012)));
    ensure_eq!(get_text(&store, "metadata/limit", GetOptions::default()).await?, "x");
    Ok(())
}

/// The storage class comes back.
async fn storage_class_is_kept(store: Subject) -> Outcome {
    let options = PutOptions::default().with_storage_class(StorageClass::InfrequentAccess);
    drop(store.put(&key("metadata/class"), "x".into(), options).await?);
    let class = store.head(&key("metadata/class")).await?.map(|meta| meta.storage_class);
    ensure_eq!(class, Some(StorageClass::InfrequentAccess));
    Ok(())
}

/// 1,024 bytes of UTF-8 (10020).
async fn keys_have_limits(store: Subject) -> Outcome {
    let longest = key(&"k".repeat(1024));
    store.write(&longest, "x").await?;
    ensure!(store.head(&longest).await?.is_some());
    store.delete(&[longest]).await?;
    ensure_eq!(fault(Key::new("k".repeat(1025)))?, (ErrorKind::InvalidKey, Some(10020)));
    ensure_eq!(fault(Key::new("ü".repeat(513)))?.0, ErrorKind::InvalidKey);
    Ok(())
}

/// Each of the five functions is verified, for bodies whole and in chunks.
async fn a_right_checksum_is_taken(store: Subject) -> Outcome {
    for algorithm in ChecksumAlgorithm::ALL {
        let options = || PutOptions::default().with_checksum(Checksum::of(algorithm, b"hello"));
        let whole = store.put(&key("checksums/whole"), "hello".into(), options()).await?;
        ensure!(whole.stored().is_some_and(|meta| meta.size == 5), "{algorithm:?}");
        let chunks = stream::iter(["he", "llo"].map(|chunk| Ok(Bytes::from(chunk))));
        let streamed = store.put(&key("checksums/stream"), Body::from_stream(5, chunks), options()).await?;
        ensure!(streamed.stored().is_some_and(|meta| meta.size == 5), "{algorithm:?}");
    }
    Ok(())
}

/// The checksum that was given comes back with the metadata, beside the md5.
async fn checksums_are_kept(store: Subject) -> Outcome {
    for algorithm in ChecksumAlgorithm::ALL {
        let checksum = Checksum::of(algorithm, b"hello");
        let options = PutOptions::default().with_checksum(checksum.clone());
        drop(store.put(&key("checksums/good"), "hello".into(), options).await?);
        let meta = store.head(&key("checksums/good")).await?.ok_or_else(|| super::Failure("gone".into()))?;
        ensure_eq!(meta.checksum(algorithm), Some(&checksum));
        ensure_eq!(meta.checksum(ChecksumAlgorithm::Md5).map(|md5| &md5.hex), Some(&meta.etag));
    }
    Ok(())
}

/// The error (10037) names the function, as R2's does; no object is there.
async fn a_wrong_checksum_stores_nothing(store: Subject) -> Outcome {
    for body in [Body::from("hello"), Body::from(vec![1u8; 100_000])] {
        let options = PutOptions::default().with_checksum(Checksum::of(ChecksumAlgorithm::Sha256, b"other"));
        let refused = store.put(&key("checksums/bad"), body, options).await;
        ensure_eq!(fault(refused)?, (ErrorKind::BadDigest, Some(10037)));
        ensure_eq!(store.head(&key("checksums/bad")).await?, None);
    }
    let options = PutOptions::default().with_checksum(Checksum::of(ChecksumAlgorithm::Md5, b"other"));
    let refused = text(store.put(&key("checksums/bad"), "hello".into(), options).await)?;
    ensure!(refused.contains("MD5 checksum you specified did not match what we received"), "{refused}");
    ensure!(refused.starts_with("put: ") && refused.ends_with("(10037)"), "{refused}");
    Ok(())
}

/// Where both fail, the checksum's error is reported.
async fn a_wrong_checksum_comes_before_the_condition(store: Subject) -> Outcome {
    put(&store, "checksums/order", "x").await?;
    let options = PutOptions::default()
        .with_conditions(crate::Conditions::create_only())
        .with_checksum(Checksum::of(ChecksumAlgorithm::Md5, b"other"));
    let refused = store.put(&key("checksums/order"), "hello".into(), options).await;
    ensure_eq!(fault(refused)?.0, ErrorKind::BadDigest);
    Ok(())
}
