//! Links to media and their end, what media a tenant may have, and what tus says of an upload.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use isobar_api::{BodyBudget, BodyMemory, MediaOptions, Principal, Problem, Role};
use isobar_db::QueryableExt;
use isobar_storage::{Error, ErrorKind, Operation};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::media::{Gallery, OFFSET_STREAM, PART, TUS, ada, eve, gallery, gallery_with, png};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn link(gallery: &Gallery, id: &str) -> String {
    let link =
        gallery.ask(&ada(), "POST", &format!("/images/{id}/link"), &JSON, br#"{"seconds": 60}"#).await.is(200).json();
    link["url"].as_str().unwrap().trim_start_matches("/api").to_owned()
}

fn id_of(image: &Json) -> String {
    image["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn links_are_revoked_by_who_may_make_them() {
    let gallery = gallery().await;
    let one = id_of(&gallery.upload("a.png", &png(1, 1, 9)).await);
    let other = id_of(&gallery.upload("b.png", &png(1, 1, 9)).await);
    let nobody = Principal::anonymous();
    let first = link(&gallery, &one).await;
    let of_other = link(&gallery, &other).await;
    assert_eq!(gallery.content(&nobody, &first).await.0, 200);
    let path = format!("/images/{one}/link");
    // A viewer sees, and shows nothing to others.
    let viewer = Principal::member("bob", "a", Role::Viewer);
    gallery.ask(&viewer, "POST", &path, &JSON, br#"{"seconds": 60}"#).await.is(403);
    gallery.ask(&viewer, "DELETE", &path, &[], b"").await.is(403);
    gallery.ask(&eve(), "DELETE", &path, &[], b"").await.is(404);
    assert_eq!(gallery.content(&nobody, &first).await.0, 200);
    gallery.ask(&ada(), "DELETE", &path, &[], b"").await;
    assert_eq!((gallery.content(&nobody, &first).await.0, gallery.content(&nobody, &of_other).await.0), (404, 200));
    // One that is made from then on is valid, until what was public is made private.
    let second = link(&gallery, &one).await;
    assert_eq!(gallery.content(&nobody, &second).await.0, 200);
    let patch = [("if-match", "*"), JSON[0]];
    for visibility in ["public", "private"] {
        let body = json!({ "visibility": visibility }).to_string();
        gallery.ask(&ada(), "PATCH", &format!("/images/{one}"), &patch, body.as_bytes()).await.is(200);
    }
    assert_eq!(gallery.content(&nobody, &second).await.0, 404);
}

#[tokio::test]
async fn bytes_of_a_tenant_are_limited() {
    let size = png(1, 1, 1000).len();
    let gallery = gallery_with(MediaOptions::default().with_tenant_bytes(3 * size as u64)).await;
    let picture = png(1, 1, 1000);
    let length = size.to_string();
    let known = [("content-length", length.as_str())];
    let upload = |name: &str| format!("/images?name={name}");
    let first = id_of(&gallery.upload("a.png", &picture).await);
    // An unfinished one has its room.
    let at = gallery.begin(size, "b.png").await;
    gallery.ask(&ada(), "POST", &upload("c.png"), &known, &picture).await.is(201);
    let refused = gallery.ask(&ada(), "POST", &upload("d.png"), &known, &picture).await.is(507);
    assert!(refused.text.contains("delete some"), "{}", refused.text);
    // A body whose length is not told is refused while it comes, and leaves nothing.
    gallery.ask(&ada(), "POST", &upload("d.png"), &[], &picture).await.is(507);
    let headers = [TUS, ("upload-length", length.as_str()), ("upload-metadata", "filename YS5wbmc=")];
    gallery.ask(&ada(), "POST", "/uploads", &headers, b"").await.is(507);
    assert_eq!((gallery.count("images").await, gallery.count("uploads").await, gallery.objects().await), (2, 1, 2));
    assert_eq!(gallery.append(&at, 0, Body::from(picture.clone())).await.0, 204);
    // Another tenant has its own; a deletion makes room.
    gallery.ask(&eve(), "POST", &upload("e.png"), &known, &picture).await.is(201);
    gallery.ask(&ada(), "POST", &upload("d.png"), &known, &picture).await.is(507);
    assert_eq!(gallery.ask(&ada(), "DELETE", &format!("/images/{first}"), &[], b"").await.status, 204);
    gallery.ask(&ada(), "POST", &upload("d.png"), &known, &picture).await.is(201);
    let usage: (i64, i64) =
        gallery.database.prepare("SELECT bytes, images FROM media_usage WHERE tenant_id = 'a'").one().await.unwrap();
    assert_eq!(usage, (3 * size as i64, 3));
}

#[tokio::test]
async fn uploads_at_once_do_not_pass_the_limit() {
    let size = png(1, 1, 1000).len();
    let gallery =
        std::sync::Arc::new(gallery_with(MediaOptions::default().with_tenant_bytes(3 * size as u64 + 10)).await);
    let mut tasks = Vec::new();
    for number in 0..8 {
        let gallery = std::sync::Arc::clone(&gallery);
        tasks.push(tokio::spawn(async move {
            let path = format!("/images?name=p{number}.png");
            gallery.ask(&ada(), "POST", &path, &[], &png(1, 1, 1000)).await.status
        }));
    }
    let mut made = 0;
    for task in tasks {
        let status = task.await.unwrap();
        assert!([201, 507].contains(&status), "{status}");
        made += usize::from(status == 201);
    }
    assert_eq!((made, gallery.count("images").await, gallery.objects().await), (3, 3, 3));
    assert_eq!(gallery.count("uploads").await, 0);
}

#[tokio::test]
async fn uploads_begun_at_once_do_not_reserve_more_than_the_limit() {
    let gallery = gallery_with(MediaOptions::default().with_tenant_bytes(3_500)).await;
    let headers = [TUS, ("upload-length", "1000"), ("upload-metadata", "filename YS5wbmc=")];
    let user = ada();
    let begin = (0..8).map(|_| gallery.ask(&user, "POST", "/uploads", &headers, b""));
    let mut statuses: Vec<_> =
        futures_util::future::join_all(begin).await.into_iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 507, 507, 507, 507, 507]);
}

#[tokio::test]
async fn stored_bytes_of_an_unfinished_upload_without_a_length_count() {
    let limit = 2 * PART + 1_000;
    let gallery = std::sync::Arc::new(gallery_with(MediaOptions::default().with_tenant_bytes(limit as u64)).await);
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    let rest = futures_util::stream::once(async move {
        drop(finished.await);
        Ok::<_, std::io::Error>(bytes::Bytes::new())
    });
    let first = bytes::Bytes::from(png(1, 1, PART));
    let body = Body::from_stream(futures_util::StreamExt::chain(futures_util::stream::iter([Ok(first)]), rest));
    let sending = std::sync::Arc::clone(&gallery);
    let upload = tokio::spawn(async move { sending.send(&ada(), "POST", "/images?name=a.png", &[], body).await.0 });
    let reserved = || gallery.database.prepare("SELECT coalesce(sum(reserved), 0) FROM uploads").one::<i64>();
    for _ in 0..400 {
        if reserved().await.unwrap() > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(reserved().await.unwrap(), PART as i64);
    let length = (limit - PART + 1).to_string();
    let headers = [TUS, ("upload-length", length.as_str()), ("upload-metadata", "filename YS5wbmc=")];
    let status = gallery.ask(&ada(), "POST", "/uploads", &headers, b"").await.status;
    assert_eq!(status, 507, "a part of 5 MiB is stored, and counts");
    finish.send(()).unwrap();
    assert_eq!(upload.await.unwrap(), 201);
}

/// A server's account of a body, with room for so many bytes; the most and the last that was held.
#[derive(Debug, Default)]
struct Account {
    room: usize,
    most: AtomicUsize,
    last: AtomicUsize,
}

impl BodyBudget for Account {
    fn hold(&self, bytes: usize) -> Result<(), Problem> {
        if bytes > self.room {
            return Err(Problem::new(http::StatusCode::SERVICE_UNAVAILABLE));
        }
        self.most.fetch_max(bytes, Ordering::Relaxed);
        self.last.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// The path of an upload, its headers and its body.
type Way<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [u8]);

#[tokio::test]
async fn parts_of_uploads_are_counted_as_memory_in_forms_too() {
    let gallery = gallery().await;
    let picture = png(1, 1, PART + 100_000);
    let head = "--x\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a.png\"\r\n\r\n";
    let form = [head.as_bytes(), &picture, b"\r\n--x--\r\n"].concat();
    let metadata = ("upload-metadata", "filename YS5wbmc=");
    let length = picture.len().to_string();
    let ways: [Way<'_>; 3] = [
        ("/images", vec![("content-type", "multipart/form-data; boundary=x")], &form),
        ("/images?name=a.png", vec![], &picture),
        ("/uploads", vec![TUS, OFFSET_STREAM, metadata, ("upload-length", &length)], &picture),
    ];
    for (room, status) in [(1_000_000, 503), (PART + 1_000_000, 201)] {
        for (path, headers, body) in &ways {
            let account = std::sync::Arc::new(Account { room, ..Account::default() });
            // In pieces, as from a network.
            let pieces: Vec<_> = body.chunks(50_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
            let mut request = http::Request::post(*path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut request = request.body(Body::from_stream(futures_util::stream::iter(pieces))).unwrap();
            request.extensions_mut().insert(ada());
            request.extensions_mut().insert(BodyMemory::new(account.clone()));
            let answer = gallery.router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            if status == 503 {
                assert!(answer.headers().contains_key("retry-after"), "{path}");
            } else {
                let most = account.most.load(Ordering::Relaxed);
                let last = account.last.load(Ordering::Relaxed);
                assert!(most >= PART && last == 0, "{path}: {most}, {last}");
            }
        }
        assert_eq!(gallery.count("images").await, if status == 503 { 0 } else { 3 });
    }
}

#[tokio::test]
async fn what_a_resumable_upload_has_buffered_is_kept_when_memory_runs_out() {
    let gallery = gallery().await;
    let picture = png(1, 1, PART + 300_000);
    let at = gallery.begin(picture.len(), "a.png").await;
    let append = |offset: usize, room: usize| {
        let account = std::sync::Arc::new(Account { room, ..Account::default() });
        let pieces: Vec<_> =
            picture[offset..].chunks(50_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let request = http::Request::patch(&at).header(TUS.0, TUS.1).header(OFFSET_STREAM.0, OFFSET_STREAM.1);
        let request = request.header("upload-offset", offset.to_string());
        let mut request = request.body(Body::from_stream(futures_util::stream::iter(pieces))).unwrap();
        request.extensions_mut().insert(ada());
        request.extensions_mut().insert(BodyMemory::new(account));
        gallery.router.clone().oneshot(request)
    };
    let offset = || async {
        let head = gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.is(200);
        head.header("upload-offset").parse::<usize>().unwrap()
    };
    let mut expected = 0;
    for room in [1_000_000, 2_020_000, PART - 200_000] {
        let refused = append(expected, room).await.unwrap();
        assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
        let kept = offset().await;
        assert!(kept > expected && kept + 50_000 > room, "{kept} bytes of {room} are kept, after {expected}");
        expected = kept;
    }
    assert_eq!(append(expected, 10).await.unwrap().status(), 503, "a tail that cannot be held stays");
    assert_eq!(offset().await, expected);
    assert_eq!(append(expected, usize::MAX).await.unwrap().status(), 204);
    let id = at.rsplit('/').next().unwrap();
    assert!(gallery.content(&ada(), &format!("/images/{id}/content")).await.1 == picture);
}

#[tokio::test]
async fn what_is_being_deleted_counts_until_its_bytes_are_gone() {
    let picture = png(1, 1, 1000);
    let size = picture.len();
    let length = size.to_string();
    let gallery = gallery_with(MediaOptions::default().with_tenant_bytes(size as u64 + 10)).await;
    let headers = [TUS, ("upload-length", length.as_str()), ("upload-metadata", "filename YS5wbmc=")];
    let begin = || async { gallery.ask(&ada(), "POST", "/uploads", &headers, b"").await.status };
    let fail = || {
        let error = Error::new(ErrorKind::Unavailable, "the bucket does not answer");
        gallery.store.script().fail_next(Operation::Delete, error);
    };
    // An image, an upload that is ended, and one that is swept: the bucket deletes none of them at first.
    let image = id_of(&gallery.upload("a.png", &picture).await);
    fail();
    assert!(gallery.ask(&ada(), "DELETE", &format!("/images/{image}"), &[], b"").await.status >= 500);
    assert_eq!((gallery.count("images").await, gallery.objects().await, begin().await), (0, 1, 507));
    gallery.media.sweep().await.unwrap();
    assert_eq!(gallery.objects().await, 0);

    let at = gallery.begin(size, "a.png").await;
    assert_eq!(gallery.append(&at, 0, Body::from(picture[..600].to_vec())).await.0, 204);
    fail();
    assert!(gallery.ask(&ada(), "DELETE", &at, &[TUS], b"").await.status >= 500);
    assert_eq!((gallery.objects().await, begin().await), (1, 507));
    // The next sweep deletes it, and deletes it again an hour later.
    gallery.media.sweep().await.unwrap();
    assert_eq!((gallery.objects().await, gallery.count("uploads").await), (0, 1));
    gallery.age().await;
    gallery.media.sweep().await.unwrap();
    assert_eq!(gallery.count("uploads").await, 0);

    let at = gallery.begin(size, "a.png").await;
    assert_eq!(gallery.append(&at, 0, Body::from(picture[..600].to_vec())).await.0, 204);
    gallery.age().await;
    fail();
    assert_eq!(gallery.media.sweep().await.unwrap().failed, 1);
    assert_eq!((gallery.objects().await, begin().await), (1, 507));
    // What has been deleted is free at once, though its row stays for an hour.
    gallery.age().await;
    gallery.media.sweep().await.unwrap();
    assert_eq!(gallery.objects().await, 0);
    let at = gallery.begin(size, "a.png").await;
    assert_eq!(gallery.append(&at, 0, Body::from(picture[..600].to_vec())).await.0, 204);
    assert_eq!(gallery.ask(&ada(), "DELETE", &at, &[TUS], b"").await.status, 204);
    assert_eq!((gallery.count("uploads").await, begin().await), (1, 201));
}

#[tokio::test]
async fn an_upload_whose_deletion_fails_returns_what_it_had_announced_and_not_stored() {
    for is_swept in [false, true] {
        let gallery = gallery_with(MediaOptions::default().with_tenant_bytes(4 * PART as u64)).await;
        let at = gallery.begin(4 * PART, "a.png").await;
        assert_eq!(gallery.append(&at, 0, Body::from(png(1, 1, 1000)[..600].to_vec())).await.0, 204);
        let error = Error::new(ErrorKind::Unavailable, "the bucket does not answer");
        gallery.store.script().fail_next(Operation::Delete, error);
        if is_swept {
            gallery.age().await;
            assert_eq!(gallery.media.sweep().await.unwrap().failed, 1);
        } else {
            assert!(gallery.ask(&ada(), "DELETE", &at, &[TUS], b"").await.status >= 500);
        }
        assert_eq!(gallery.objects().await, 1);
        let other = gallery.begin(2 * PART, "b.png").await;
        // A sweep that failed is repeated an hour later, a deletion by the next sweep.
        let swept = gallery.media.sweep().await.unwrap();
        assert_eq!((swept.abandoned, gallery.objects().await), if is_swept { (0, 1) } else { (1, 0) });
        gallery.ask(&ada(), "HEAD", &other, &[TUS], b"").await.is(200);
    }
}

#[tokio::test]
async fn unfinished_uploads_are_limited_and_end() {
    let gallery = gallery_with(MediaOptions::default().with_tenant_uploads(2)).await;
    let headers = [TUS, ("upload-length", "1000"), ("upload-metadata", "filename YS5wbmc=")];
    let begin = |who: Principal| {
        let gallery = &gallery;
        async move { gallery.ask(&who, "POST", "/uploads", &headers, b"").await }
    };
    begin(ada()).await.is(201);
    begin(Principal::member("bob", "a", Role::Member)).await.is(201);
    let refused = begin(ada()).await.is(429);
    assert_eq!(refused.header("retry-after"), "60");
    begin(eve()).await.is(201);
    gallery.age().await;
    gallery.media.sweep().await.unwrap();
    begin(ada()).await.is(201);
}

#[tokio::test]
async fn tus_tells_the_metadata_that_it_was_given() {
    let gallery = gallery().await;
    let picture = png(3, 4, 100);
    let length = picture.len().to_string();
    let metadata = "filename YS5wbmc=,filetype aW1hZ2UvcG5n,is_confidential";
    let headers = [TUS, ("upload-length", length.as_str()), ("upload-metadata", metadata)];
    let created = gallery.ask(&ada(), "POST", "/uploads", &headers, b"").await.is(201);
    let at = created.header("location").trim_start_matches("/api").to_owned();
    let head = || async { gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await };
    assert_eq!(head().await.is(200).header("upload-metadata"), metadata);
    assert_eq!(gallery.append(&at, 0, Body::from(picture)).await.0, 204);
    let whole = head().await.is(200);
    assert_eq!((whole.header("upload-metadata"), whole.header("upload-offset")), (metadata, length.as_str()));
}

#[tokio::test]
async fn tus_takes_uploads_whose_length_is_not_known_yet() {
    let gallery = gallery().await;
    let metadata = ("upload-metadata", "filename YS5wbmc=");
    let defer = ("upload-defer-length", "1");
    let options = gallery.ask(&ada(), "OPTIONS", "/uploads", &[], b"").await.is(204);
    assert!(options.header("tus-extension").split(',').any(|one| one == "creation-defer-length"));
    for wrong in [vec![TUS, metadata, ("upload-defer-length", "2")], vec![TUS, metadata, defer, ("upload-length", "5")]]
    {
        gallery.ask(&ada(), "POST", "/uploads", &wrong, b"").await.is(400);
    }
    let picture = png(3, 4, 1000);
    let created = gallery.ask(&ada(), "POST", "/uploads", &[TUS, metadata, defer], b"").await.is(201);
    let at = created.header("location").trim_start_matches("/api").to_owned();
    let head = gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.is(200);
    assert_eq!((head.header("upload-defer-length"), head.header("upload-length")), ("1", ""));
    // It is not whole by being at an end.
    assert_eq!(gallery.append(&at, 0, Body::from(picture[..600].to_vec())).await.0, 204);
    assert_eq!(gallery.count("images").await, 0);
    let length = picture.len().to_string();
    let append = |offset: &'static str, length: String, bytes: Vec<u8>| {
        let gallery = &gallery;
        let at = &at;
        async move {
            let headers = [TUS, OFFSET_STREAM, ("upload-offset", offset), ("upload-length", &length)];
            gallery.ask(&ada(), "PATCH", at, &headers, &bytes).await
        }
    };
    append("600", "599".to_owned(), vec![]).await.is(409);
    append("600", "99999999999".to_owned(), vec![]).await.is(413);
    let some = append("600", length.clone(), picture[600..700].to_vec()).await;
    assert_eq!((some.status, some.header("upload-offset")), (204, "700"));
    append("700", "5000".to_owned(), vec![]).await.is(409); // it is told once
    let head = gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.is(200);
    assert_eq!((head.header("upload-defer-length"), head.header("upload-length")), ("", length.as_str()));
    assert_eq!(gallery.append(&at, 700, Body::from(picture[700..].to_vec())).await.0, 204);
    let id = at.rsplit('/').next().unwrap();
    assert!(gallery.content(&ada(), &format!("/images/{id}/content")).await.1 == picture);
}
