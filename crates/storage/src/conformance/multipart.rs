//! Multipart uploads.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, fault, get_text, key};
use crate::{
    Conditions, Error, ErrorKind, GetOptions, Key, ListUploadsOptions, MultipartOptions, ObjectStore, ObjectStoreExt,
    Part, PutResult, Range, UploadId,
};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "multipart" => {
            parts_join_in_order_of_their_numbers if "multipart",
            an_overwritten_part_is_stale if "multipart",
            an_upload_resumes_by_its_id if "multipart",
            no_parts_make_an_empty_object if "multipart",
            parts_must_be_five_mebibytes_but_for_the_last if "multipart",
            parts_must_be_equal_but_for_the_last if "multipart",
            a_short_part_listed_last_is_judged_by_its_number if "multipart",
            an_unknown_part_is_10025 if "multipart",
            a_part_given_twice_is_10001 if "multipart",
            part_numbers_have_limits if "multipart",
            an_unknown_upload_is_refused if "multipart",
            abort_is_idempotent_and_final if "multipart",
            completion_is_final if "multipart",
            nothing_shows_before_completion if "multipart",
            a_stream_of_unknown_length_is_stored_whole if "multipart",
            a_stream_that_fails_stores_nothing if "multipart",
            listed_parts_are_the_stored if "list_parts",
            completion_keeps_its_condition if "conditional_complete",
            failed_condition_ends_the_upload if "conditional_complete",
            open_uploads_are_listed if "list_uploads",
        }
    }
}

const MIB5: usize = 5 * 1024 * 1024;

fn bytes(of: u8, length: usize) -> Vec<u8> {
    vec![of; length]
}

/// Numbers may have gaps; the etag is the md5 of the parts' md5s and their count; there is no checksum of the whole.
async fn parts_join_in_order_of_their_numbers(store: Subject) -> Outcome {
    let options = MultipartOptions::default().with_custom("a", "b");
    let upload = store.multipart(&key("multipart/join"), options.clone()).await?;
    let last = upload.upload_part(9, bytes(9, 10)).await?;
    let first = upload.upload_part(2, bytes(2, MIB5)).await?;
    let meta = upload.complete(vec![first, last]).await?;
    ensure_eq!((meta.size, &meta.custom), (MIB5 as u64 + 10, &options.custom));
    ensure!(meta.etag.ends_with("-2") && meta.etag.len() == 34, "{}", meta.etag);
    ensure!(meta.checksums.is_empty());
    let (_, body) = store.read(&key("multipart/join")).await?.ok_or_else(|| super::Failure("gone".into()))?;
    ensure!(body[..MIB5].iter().all(|byte| *byte == 2) && body[MIB5..] == bytes(9, 10));
    let across = GetOptions::default().with_range(Range::From { offset: MIB5 as u64 - 1, length: Some(3) });
    ensure_eq!(get_text(&store, "multipart/join", across).await?, "\u{2}\u{9}\u{9}");
    Ok(())
}

/// A part that was uploaded again is known by its new etag alone (10025).
async fn an_overwritten_part_is_stale(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/stale"), MultipartOptions::default()).await?;
    let old = upload.upload_part(1, "old").await?;
    let new = upload.upload_part(1, "new").await?;
    let again = store.resume_multipart(&key("multipart/stale"), upload.id().clone());
    ensure_eq!(fault(again.complete(vec![old]).await)?, (ErrorKind::InvalidPart, Some(10025)));
    upload.complete(vec![new]).await?;
    ensure_eq!(get_text(&store, "multipart/stale", GetOptions::default()).await?, "new");
    Ok(())
}

/// The id as text is enough to go on.
async fn an_upload_resumes_by_its_id(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/resume"), MultipartOptions::default()).await?;
    let part = upload.upload_part(1, "resumed").await?;
    let id = UploadId::new(upload.id().as_str());
    store.resume_multipart(&key("multipart/resume"), id).complete(vec![part]).await?;
    ensure_eq!(get_text(&store, "multipart/resume", GetOptions::default()).await?, "resumed");
    Ok(())
}

/// A completion without parts is allowed; its etag ends in `-0`.
async fn no_parts_make_an_empty_object(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/none"), MultipartOptions::default()).await?;
    let meta = upload.complete(Vec::new()).await?;
    ensure_eq!((meta.size, meta.etag.as_str()), (0, "d41d8cd98f00b204e9800998ecf8427e-0"));
    Ok(())
}

/// 10011.
async fn parts_must_be_five_mebibytes_but_for_the_last(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/small"), MultipartOptions::default()).await?;
    let parts = vec![upload.upload_part(1, "small").await?, upload.upload_part(2, "small").await?];
    ensure_eq!(fault(upload.complete(parts).await)?, (ErrorKind::PartTooSmall, Some(10011)));
    Ok(())
}

/// R2's rule, which S3 does not have (10048).
async fn parts_must_be_equal_but_for_the_last(store: Subject) -> Outcome {
    for sizes in [[MIB5, MIB5 + 1, 1], [MIB5, MIB5, MIB5 + 1]] {
        let upload = store.multipart(&key("multipart/unequal"), MultipartOptions::default()).await?;
        let mut parts = Vec::new();
        for (number, size) in (1..).zip(sizes) {
            parts.push(upload.upload_part(number, bytes(0, size)).await?);
        }
        ensure_eq!(fault(upload.complete(parts).await)?, (ErrorKind::UnequalParts, Some(10048)));
    }
    Ok(())
}

/// The last part is the one with the highest number, however they are listed.
async fn a_short_part_listed_last_is_judged_by_its_number(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/listed"), MultipartOptions::default()).await?;
    let short = upload.upload_part(1, "x").await?;
    let whole = upload.upload_part(2, bytes(0, MIB5)).await?;
    let again = store.resume_multipart(&key("multipart/listed"), upload.id().clone());
    ensure_eq!(fault(again.complete(vec![whole.clone(), short.clone()]).await)?.0, ErrorKind::UnequalParts);
    ensure_eq!(fault(upload.complete(vec![short, whole]).await)?.0, ErrorKind::PartTooSmall);
    Ok(())
}

/// An etag that no uploaded part has.
async fn an_unknown_part_is_10025(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/unknown"), MultipartOptions::default()).await?;
    let part = Part { part_number: 1, etag: "0".repeat(32) };
    ensure_eq!(fault(upload.complete(vec![part]).await)?, (ErrorKind::InvalidPart, Some(10025)));
    Ok(())
}

/// R2 answers its internal error.
async fn a_part_given_twice_is_10001(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/twice"), MultipartOptions::default()).await?;
    let part = upload.upload_part(1, "x").await?;
    ensure_eq!(fault(upload.complete(vec![part.clone(), part]).await)?.1, Some(10001));
    Ok(())
}

/// 1 to 10,000.
async fn part_numbers_have_limits(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/number"), MultipartOptions::default()).await?;
    for number in [0, 10_001] {
        ensure_eq!(fault(upload.upload_part(number, "x").await)?.0, ErrorKind::InvalidArgument);
    }
    upload.upload_part(10_000, "x").await?;
    Ok(())
}

/// A part of an unknown upload is 10024, its completion and abortion 10001.
async fn an_unknown_upload_is_refused(store: Subject) -> Outcome {
    let unknown = || store.resume_multipart(&key("multipart/unknown"), UploadId::new("no-such-upload"));
    ensure_eq!(fault(unknown().upload_part(1, "x").await)?, (ErrorKind::NoSuchUpload, Some(10024)));
    ensure_eq!(fault(unknown().complete(Vec::new()).await)?.1, Some(10001));
    ensure_eq!(fault(unknown().abort().await)?.1, Some(10001));
    Ok(())
}

/// Aborting again succeeds; parts and completion are 10024 from then on.
async fn abort_is_idempotent_and_final(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/abort"), MultipartOptions::default()).await?;
    let part = upload.upload_part(1, "x").await?;
    let again = || store.resume_multipart(&key("multipart/abort"), upload.id().clone());
    again().abort().await?;
    again().abort().await?;
    ensure_eq!(fault(again().upload_part(1, "x").await)?.1, Some(10024));
    ensure_eq!(fault(again().complete(vec![part]).await)?.1, Some(10024));
    ensure_eq!(store.head(&key("multipart/abort")).await?, None);
    Ok(())
}

/// Completing again is 10024, and aborting what is complete does nothing.
async fn completion_is_final(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/final"), MultipartOptions::default()).await?;
    let part = upload.upload_part(1, "x").await?;
    let again = || store.resume_multipart(&key("multipart/final"), upload.id().clone());
    again().complete(vec![part.clone()]).await?;
    ensure_eq!(fault(again().complete(vec![part]).await)?.1, Some(10024));
    ensure_eq!(fault(again().upload_part(2, "x").await)?.1, Some(10024));
    again().abort().await?;
    ensure_eq!(get_text(&store, "multipart/final", GetOptions::default()).await?, "x");
    Ok(())
}

/// Parts are no object.
async fn nothing_shows_before_completion(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/hidden"), MultipartOptions::default()).await?;
    upload.upload_part(1, "x").await?;
    ensure_eq!(store.head(&key("multipart/hidden")).await?, None);
    upload.abort().await?;
    Ok(())
}

/// By their numbers, with their sizes.
async fn listed_parts_are_the_stored(store: Subject) -> Outcome {
    let upload = store.multipart(&key("multipart/list"), MultipartOptions::default()).await?;
    let second = upload.upload_part(2, "22").await?;
    let first = upload.upload_part(1, "1").await?;
    let listed = store.list_parts(&key("multipart/list"), upload.id()).await?;
    let listed: Vec<_> = listed.into_iter().map(|info| (info.part, info.size)).collect();
    ensure_eq!(listed, [(first, 1), (second, 2)]);
    Ok(())
}

/// The condition is on the object that would be replaced.
async fn completion_keeps_its_condition(store: Subject) -> Outcome {
    let key = key("multipart/if");
    let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    let part = store.upload_part(&key, &upload, 1, "first".into()).await?;
    let stored = store.complete_multipart_if(&key, &upload, vec![part], Conditions::create_only()).await?;
    let etag = stored.stored().map(|meta| meta.etag).unwrap_or_default();
    ensure!(etag.ends_with("-1"), "{etag}");
    let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    let part = store.upload_part(&key, &upload, 1, "second".into()).await?;
    let stored = store.complete_multipart_if(&key, &upload, vec![part], Conditions::if_etag(etag)?).await?;
    ensure!(stored.stored().is_some());
    ensure_eq!(get_text(&store, key.as_str(), GetOptions::default()).await?, "second");
    Ok(())
}

/// As in S3: the parts are judged first, and a failed condition ends the upload.
async fn failed_condition_ends_the_upload(store: Subject) -> Outcome {
    let key = key("multipart/if-failed");
    store.write(&key, "there").await?;
    let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    let part = store.upload_part(&key, &upload, 1, "other".into()).await?;
    // The parts are judged first.
    let unknown = Part { part_number: 2, etag: "none".into() };
    let failed = store.complete_multipart_if(&key, &upload, vec![unknown], Conditions::create_only()).await;
    ensure_eq!(failed.map_err(|error| error.kind()), Err(ErrorKind::InvalidPart));
    let failed = store.complete_multipart_if(&key, &upload, vec![part.clone()], Conditions::create_only()).await?;
    ensure_eq!(failed, PutResult::ConditionFailed);
    ensure_eq!(get_text(&store, key.as_str(), GetOptions::default()).await?, "there");
    let again = store.complete_multipart(&key, &upload, vec![part]).await;
    ensure_eq!(again.map_err(|error| error.kind()), Err(ErrorKind::NoSuchUpload));
    Ok(())
}

/// By key and id, behind a place, within a prefix; ended ones are not listed.
async fn open_uploads_are_listed(store: Subject) -> Outcome {
    let mut uploads = Vec::new();
    for name in ["b", "a", "b", "c"] {
        let key = key(&format!("multipart/open/{name}"));
        uploads.push((key.clone(), store.create_multipart(&key, MultipartOptions::default()).await?));
    }
    let (key, ended) = uploads.pop().expect("four were created");
    store.abort_multipart(&key, &ended).await?;
    uploads.sort_by(|(a, x), (b, y)| (a, x.as_str()).cmp(&(b, y.as_str())));
    let options = ListUploadsOptions::default().with_prefix("multipart/open/");
    ensure_eq!(listed_uploads(&store, options.clone()).await?, uploads);
    ensure_eq!(listed_uploads(&store, options.clone().with_limit(2)).await?, uploads[..2]);
    let (key, id) = &uploads[1];
    let behind = options.clone().with_after(key.as_str(), Some(id.clone()));
    ensure_eq!(listed_uploads(&store, behind).await?, uploads[2..]);
    let behind = options.clone().with_after("multipart/open/a", None);
    ensure_eq!(listed_uploads(&store, behind).await?, uploads[1..]);
    let behind = options.clone().with_after("multipart/open/b", None);
    ensure!(listed_uploads(&store, behind).await?.is_empty());
    let refused = store.list_uploads(options.with_limit(0)).await;
    ensure_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::InvalidListLimit));
    Ok(())
}

async fn listed_uploads(store: &Subject, options: ListUploadsOptions) -> Result<Vec<(Key, UploadId)>, Error> {
    let listed = store.list_uploads(options).await?;
    Ok(listed.into_iter().map(|upload| (upload.key, upload.id)).collect())
}

/// The convenience puts what fits one part, and uploads parts of one size else.
async fn a_stream_of_unknown_length_is_stored_whole(store: Subject) -> Outcome {
    // Whole; exactly one part; two and a bit.
    for chunks in [3, 8, 20] {
        let name = format!("multipart/stream-{chunks}.txt");
        // One that may not be asked again after its end.
        let stream = stream::unfold(0, move |chunk| async move {
            (chunk < chunks).then(|| (Ok::<_, Error>(Bytes::from(bytes(chunk, 1 << 20))), chunk + 1))
        });
        let stream = stream.boxed();
        let meta = store.write_stream(&key(&name), stream, MultipartOptions::default()).await?;
        ensure_eq!(meta.size, u64::from(chunks) << 20);
        ensure_eq!(meta.http.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        let (_, body) = store.read(&key(&name)).await?.ok_or_else(|| super::Failure("gone".into()))?;
        ensure!(body.chunks(1 << 20).zip(0..).all(|(chunk, of)| chunk.iter().all(|byte| *byte == of)));
    }
    Ok(())
}

/// The upload is aborted, and the stream's error reported.
async fn a_stream_that_fails_stores_nothing(store: Subject) -> Outcome {
    let end = || Err(Error::new(ErrorKind::Body, "the stream broke off"));
    let stream =
        stream::iter((0..12).map(move |chunk| if chunk < 11 { Ok(bytes(chunk, 1 << 20).into()) } else { end() }));
    let result = store.write_stream(&key("multipart/broken"), stream.boxed(), MultipartOptions::default()).await;
    ensure_eq!(fault(result)?, (ErrorKind::Body, None));
    ensure!(store.head(&key("multipart/broken")).await?.is_none());
    Ok(())
}
