//! Media: how they come, who sees them, how they go, and what is left when something breaks off.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use isobar_api::media::ContentServer;
use isobar_api::{Api, Media, MediaOptions, Principal, Role};
use isobar_db::vault::{self, Keyring, Vault};
use isobar_db::{QueryableExt, SqliteDatabase};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Error, ErrorKind, Key, ListOptions, ObjectStore, ObjectStoreExt};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::world::Answer;

pub(crate) const PART: usize = 5 * 1024 * 1024;
pub(crate) const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
pub(crate) const OFFSET_STREAM: (&str, &str) = ("content-type", "application/offset+octet-stream");

/// Whole objects, and nothing of HTTP's rules: those are `isobar-site`'s.
#[derive(Debug)]
struct Whole(MockStore);

#[async_trait]
impl ContentServer for Whole {
    async fn serve(&self, key: &Key, _: Parts) -> Response {
        self.0.read(key).await.unwrap().map(|(_, bytes)| bytes).into_response_or_404()
    }
}

trait OrNotFound {
    fn into_response_or_404(self) -> Response;
}

impl OrNotFound for Option<bytes::Bytes> {
    fn into_response_or_404(self) -> Response {
        self.map_or_else(|| http::StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
    }
}

pub(crate) struct Gallery {
    pub(crate) database: Arc<SqliteDatabase>,
    pub(crate) store: MockStore,
    pub(crate) media: Media,
    pub(crate) router: Router,
}

pub(crate) async fn gallery() -> Gallery {
    gallery_with(MediaOptions::default().with_max_bytes(20_000_000)).await
}

pub(crate) async fn gallery_with(options: MediaOptions) -> Gallery {
    let database = Arc::new(SqliteDatabase::memory().await.unwrap());
    let schema = [isobar_api::SCHEMA, vault::SCHEMA, isobar_api::auth::SCHEMA, isobar_api::media::SCHEMA].join(";");
    database.run_script(&schema).await.unwrap();
    for (tenant, user) in [("a", "ada"), ("a", "bob"), ("b", "eve")] {
        let sql = "INSERT OR IGNORE INTO tenants (id, slug, name, created_at, updated_at) VALUES (?1, ?1, ?1, '', '')";
        database.prepare(sql).bind(tenant).run().await.unwrap();
        let sql = "INSERT INTO users (id, email, name, created_at, updated_at) VALUES (?1, ?1, ?1, '', '')";
        database.prepare(sql).bind(user).run().await.unwrap();
    }
    let keyring = Keyring::generate("test").unwrap().expose_text().unwrap().parse().unwrap();
    let vault = Vault::new(database.clone(), "test", keyring);
    let store = MockStore::new(MemoryStore::new());
    let content = Arc::new(Whole(store.clone()));
    let media = Media::new(database.clone(), Arc::new(store.clone()), vault.clone(), content, options);
    let router = media.mount(Api::new(database.clone()).vault(vault)).into_router();
    Gallery { database, store, media, router }
}

pub(crate) fn ada() -> Principal {
    Principal::member("ada", "a", Role::Member)
}

pub(crate) fn eve() -> Principal {
    Principal::member("eve", "b", Role::Owner)
}

pub(crate) fn png(width: u32, height: u32, rest: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend(width.to_be_bytes());
    png.extend(height.to_be_bytes());
    png.extend((0..rest).map(|at| (at % 251) as u8));
    png
}

impl Gallery {
    pub(crate) async fn send(
        &self,
        principal: &Principal,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> (u16, HeaderMap, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(principal.clone());
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    pub(crate) async fn ask(
        &self,
        principal: &Principal,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let (status, headers, body) = self.send(principal, method, path, headers, Body::from(body.to_vec())).await;
        Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() }
    }

    /// An upload of this name; its row.
    pub(crate) async fn upload(&self, name: &str, body: &[u8]) -> Json {
        self.ask(&ada(), "POST", &format!("/images?name={name}"), &[], body).await.is(201).json()
    }

    pub(crate) async fn content(&self, principal: &Principal, path: &str) -> (u16, Vec<u8>) {
        let (status, _, body) = self.send(principal, "GET", path, &[], Body::empty()).await;
        (status, body)
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.database.prepare(format!("SELECT count(*) FROM {table}")).one().await.unwrap()
    }

    pub(crate) async fn objects(&self) -> usize {
        self.store.list(ListOptions::default()).await.unwrap().objects.len()
    }

    /// Time passes, for the uploads.
    pub(crate) async fn age(&self) {
        self.database.prepare("UPDATE uploads SET expires_at = '2000', locked_until = ''").run().await.unwrap();
    }

    /// A tus upload of this length; where it is.
    pub(crate) async fn begin(&self, length: usize, name: &str) -> String {
        use base64::Engine;
        let metadata = format!("filename {}", base64::engine::general_purpose::STANDARD.encode(name));
        let headers = [TUS, ("upload-length", &length.to_string()), ("upload-metadata", &metadata)];
        let created = self.ask(&ada(), "POST", "/uploads", &headers, b"").await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.header("location").strip_prefix("/api").unwrap().to_owned()
    }

    pub(crate) async fn append(&self, at: &str, offset: usize, body: Body) -> (u16, HeaderMap) {
        let headers = [TUS, OFFSET_STREAM, ("upload-offset", &offset.to_string())];
        let (status, headers, _) = self.send(&ada(), "PATCH", at, &headers, body).await;
        (status, headers)
    }
}

#[tokio::test]
async fn raw_uploads_become_rows_and_objects() {
    let gallery = gallery().await;
    let picture = png(640, 480, 1000);
    let image = gallery.upload("Cat.png", &picture).await;
    assert_eq!(
        (&image["name"], &image["kind"], &image["content_type"]),
        (&json!("Cat.png"), &json!("image"), &json!("image/png"))
    );
    assert_eq!((&image["width"], &image["height"], &image["size"]), (&json!(640), &json!(480), &json!(picture.len())));
    assert_eq!(image["sha256"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&picture)));
    assert_eq!((image["visibility"].as_str(), image.get("key")), (Some("private"), None));
    let id = image["id"].as_str().unwrap();
    let (meta, bytes) = gallery.store.read(&Key::new(format!("images/{id}.png")).unwrap()).await.unwrap().unwrap();
    assert_eq!((meta.http.content_type.as_deref(), &bytes[..]), (Some("image/png"), &picture[..]));
    assert_eq!(gallery.content(&ada(), &format!("/images/{id}/content")).await, (200, picture.clone()));
    // By PUT, and into the folder of its kind.
    let model = gallery.ask(&ada(), "PUT", "/images?name=chair.glb", &[], b"glTF\x02\0\0\0").await.is(201).json();
    assert_eq!(model["content_type"], "model/gltf-binary");
    let key = Key::new(format!("media/{}.glb", model["id"].as_str().unwrap())).unwrap();
    assert!(gallery.store.head(&key).await.unwrap().is_some());
    assert_eq!((gallery.count("images").await, gallery.count("uploads").await), (2, 0));
    // As a resource: listed, renamed, and never made by hand.
    let page = gallery.ask(&ada(), "GET", "/images?kind=image", &[], b"").await.is(200).json();
    assert_eq!(page["items"], json!([image]));
    let patch = [("if-match", "\"1\""), ("content-type", "application/json")];
    let one = format!("/images/{id}");
    gallery.ask(&ada(), "PATCH", &one, &patch, br#"{"name": "Dog.png"}"#).await.is(200);
    gallery.ask(&ada(), "PATCH", &one, &[("if-match", "*"), patch[1]], br#"{"size": 1}"#).await.is(400);
}

#[tokio::test]
async fn what_is_no_medium_is_refused_and_leaves_nothing() {
    let gallery = gallery().await;
    let huge = png(60_000, 60_000, 10);
    let cases: [(&str, &[u8], u16); 8] = [
        ("/images", b"x", 400),
        ("/images?name=a/b.png", b"x", 400),
        ("/images?name=page.html", b"<script>", 415),
        ("/images?name=archive.zip", b"PK\x03\x04", 415),
        ("/images?name=lie.png", b"<html><script>alert(1)</script>", 415),
        ("/images?name=empty.png", b"", 415),
        ("/images?name=bomb.png", &huge, 422),
        ("/images?name=note.txt", b"hello", 415),
    ];
    for (path, body, status) in cases {
        gallery.ask(&ada(), "POST", path, &[], body).await.is(status);
    }
    let gzip = [("content-encoding", "gzip")];
    gallery.ask(&ada(), "POST", "/images?name=a.png", &gzip, &png(1, 1, 0)).await.is(415);
    let long = [("content-length", "99999999999")];
    gallery.ask(&ada(), "POST", "/images?name=a.png", &long, b"").await.is(413);
    let more = Body::from(png(1, 1, 21_000_000));
    assert_eq!(gallery.send(&ada(), "POST", "/images?name=a.png", &[], more).await.0, 413);
    gallery.ask(&Principal::anonymous(), "POST", "/images?name=a.png", &[], b"x").await.is(401);
    gallery.ask(&Principal::member("v", "a", Role::Viewer), "POST", "/images?name=a.png", &[], b"x").await.is(403);
    assert_eq!((gallery.count("images").await, gallery.count("uploads").await, gallery.objects().await), (0, 0, 0));
}

#[tokio::test]
async fn a_form_brings_several_files_at_once() {
    let gallery = gallery().await;
    let mut form = Vec::new();
    for (name, bytes) in [("a.png", png(2, 3, 5)), ("b.gif", b"GIF89a\x04\0\x05\0\0\0\0;".to_vec())] {
        form.extend(
            format!("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n").bytes(),
        );
        form.extend(bytes);
        form.extend(b"\r\n");
    }
    form.extend(b"--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--x--\r\n");
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let items = gallery.ask(&ada(), "POST", "/images", &kind, &form).await.is(201).json();
    let sizes: Vec<_> =
        items["items"].as_array().unwrap().iter().map(|it| (it["width"].clone(), it["height"].clone())).collect();
    assert_eq!(sizes, [(json!(2), json!(3)), (json!(4), json!(5))]);
    gallery.ask(&ada(), "POST", "/images", &kind, b"--x--\r\n").await.is(400);
    gallery.ask(&ada(), "POST", "/images", &kind, b"nonsense").await.is(400);
}

#[tokio::test]
async fn private_until_public_or_linked() {
    let gallery = gallery().await;
    let image = gallery.upload("a.png", &png(1, 1, 9)).await;
    let one = format!("/images/{}", image["id"].as_str().unwrap());
    let nobody = Principal::anonymous();
    let content = format!("{one}/content");
    for stranger in [&nobody, &eve(), &ada().with_scopes(["tickets:read".to_owned()])] {
        assert_eq!(gallery.content(stranger, &content).await.0, 404);
    }
    let json_kind = [("content-type", "application/json")];
    gallery.ask(&eve(), "POST", &format!("{one}/link"), &json_kind, br#"{"seconds": 60}"#).await.is(404);
    gallery.ask(&ada(), "POST", &format!("{one}/link"), &json_kind, br#"{"seconds": 0}"#).await.is(400);
    let link =
        gallery.ask(&ada(), "POST", &format!("{one}/link"), &json_kind, br#"{"seconds": 60}"#).await.is(200).json();
    let url = link["url"].as_str().unwrap().strip_prefix("/api").unwrap();
    assert_eq!(gallery.content(&nobody, url).await.0, 200);
    // Of another image, for longer, or a bit another: it shows nothing.
    let other = gallery.upload("b.png", &png(1, 1, 9)).await;
    let moved = url.replace(image["id"].as_str().unwrap(), other["id"].as_str().unwrap());
    assert_eq!(gallery.content(&nobody, &moved).await.0, 404);
    let expires = url.split(['=', '&']).nth(1).unwrap();
    let longer = url.replace(expires, &(expires.parse::<i64>().unwrap() + 1).to_string());
    assert_eq!(gallery.content(&nobody, &longer).await.0, 404);
    let tampered = format!("{}0", &url[..url.len() - 1]);
    assert!(tampered == url || gallery.content(&nobody, &tampered).await.0 == 404);
    assert_eq!(gallery.content(&nobody, &format!("{content}?expires=1&signature=00")).await.0, 404);

    let patch = [("if-match", "*"), json_kind[0]];
    gallery.ask(&ada(), "PATCH", &one, &patch, br#"{"visibility": "public"}"#).await.is(200);
    let (status, headers, _) = gallery.send(&nobody, "GET", &content, &[], Body::empty()).await;
    assert_eq!((status, headers["cache-control"].to_str().unwrap()), (200, "public, max-age=60"));
    assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
    // Seen is not changed: strangers may do nothing else.
    gallery.ask(&nobody, "DELETE", &one, &[], b"").await.is(401);
    gallery.ask(&eve(), "DELETE", &one, &[], b"").await.is(404);
    gallery.ask(&ada(), "DELETE", &one, &[], b"").await;
    assert_eq!(
        (gallery.content(&ada(), &content).await.0, gallery.count("images").await, gallery.objects().await),
        (404, 1, 1)
    );
    gallery.ask(&ada(), "DELETE", &one, &[], b"").await.is(404);
}

#[tokio::test]
async fn resumable_uploads_go_on_where_they_broke_off() {
    let gallery = gallery().await;
    let film: Vec<u8> =
        b"\0\0\0\x18ftypmp42".iter().copied().chain((0..2 * PART + 77).map(|at| (at % 251) as u8)).collect();
    let at = gallery.begin(film.len(), "film.mp4").await;
    // The connection breaks in the middle of a part: what has come is kept.
    let cut = PART + 1000;
    let broken = futures_util::stream::iter([
        Ok(bytes::Bytes::copy_from_slice(&film[..cut])),
        Err(std::io::Error::other("the cable was pulled")),
    ]);
    let (status, headers) = gallery.append(&at, 0, Body::from_stream(broken)).await;
    assert_eq!((status, headers["upload-offset"].to_str().unwrap()), (204, cut.to_string().as_str()));
    let head = gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.is(200);
    assert_eq!(
        (head.header("upload-offset"), head.header("upload-length")),
        (cut.to_string().as_str(), film.len().to_string().as_str())
    );
    assert_eq!((head.header("cache-control"), head.header("upload-expires").len()), ("no-store", 29));

    // Not from elsewhere, not by others, not of another kind, not while another writes.
    assert_eq!(gallery.append(&at, 0, Body::from("x")).await.0, 409);
    let headers = [TUS, OFFSET_STREAM, ("upload-offset", &cut.to_string())];
    gallery.ask(&eve(), "PATCH", &at, &headers, b"x").await.is(404);
    gallery.ask(&Principal::member("bob", "a", Role::Owner), "PATCH", &at, &headers, b"x").await.is(404);
    gallery.ask(&ada(), "PATCH", &at, &headers[..1], b"x").await.is(415);
    gallery.ask(&ada(), "PATCH", &at, &headers[1..], b"x").await.is(412);
    gallery.database.prepare("UPDATE uploads SET locked_until = '9999'").run().await.unwrap();
    gallery.ask(&ada(), "PATCH", &at, &headers, b"x").await.is(423);
    gallery.database.prepare("UPDATE uploads SET locked_until = ''").run().await.unwrap();

    // In small pieces to the end.
    let mut offset = cut;
    for piece in film[cut..].chunks(3_000_000) {
        let (status, headers) = gallery.append(&at, offset, Body::from(piece.to_vec())).await;
        offset += piece.len();
        assert_eq!((status, headers["upload-offset"].to_str().unwrap()), (204, offset.to_string().as_str()));
    }
    let id = at.rsplit('/').next().unwrap();
    let image = gallery.ask(&ada(), "GET", &format!("/images/{id}"), &[], b"").await.is(200).json();
    assert_eq!((&image["kind"], &image["size"]), (&json!("video"), &json!(film.len())));
    assert_eq!(image["sha256"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&film)));
    assert!(gallery.content(&ada(), &format!("/images/{id}/content")).await.1 == film, "the film is as it was");
    // Who has missed the last answer learns that it is whole.
    assert_eq!(gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.header("upload-offset"), film.len().to_string());
    assert_eq!((gallery.count("uploads").await, gallery.objects().await), (0, 1));
}

#[tokio::test]
async fn who_has_lost_the_lock_takes_nothing_from_who_has_it() {
    let film: Vec<u8> =
        b"\0\0\0\x18ftypmp42".iter().copied().chain((0..3 * PART + 77).map(|at| (at % 251) as u8)).collect();
    // Where the slow request stands when it loses the lock: before its first part, and after it.
    for stands in [1000, PART + 1000] {
        let gallery = Arc::new(gallery().await);
        let at = gallery.begin(film.len(), "film.mp4").await;
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Result<bytes::Bytes, std::io::Error>>();
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let chunk = receiver.recv().await?;
            Some((chunk, receiver))
        });
        let slow = {
            let gallery = Arc::clone(&gallery);
            let at = at.clone();
            tokio::spawn(async move { gallery.append(&at, 0, Body::from_stream(chunks)).await.0 })
        };
        sender.send(Ok(bytes::Bytes::copy_from_slice(&film[..stands]))).unwrap();
        let durable = stands / PART * PART;
        let has_come = async {
            let sql = "SELECT received FROM uploads WHERE lock <> '' AND locked_until > ''";
            while gallery.database.prepare(sql).first::<i64>().await.unwrap() != Some(durable as i64) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), has_come).await.expect("it is under way");
        gallery.database.prepare("UPDATE uploads SET locked_until = ''").run().await.unwrap();
        // Another request goes on, and leaves a part, a tail or the whole film.
        let cut = film.len() - 500;
        assert_eq!(gallery.append(&at, durable, Body::from(film[durable..cut].to_vec())).await.0, 204);
        sender.send(Ok(bytes::Bytes::from(vec![0; film.len() - stands]))).unwrap();
        drop(sender);
        assert_eq!(slow.await.unwrap(), 409);
        let head = gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.is(200);
        assert_eq!(head.header("upload-offset"), cut.to_string());
        assert_eq!(gallery.append(&at, cut, Body::from(film[cut..].to_vec())).await.0, 204);
        let id = at.rsplit('/').next().unwrap();
        assert!(gallery.content(&ada(), &format!("/images/{id}/content")).await.1 == film, "the film is as it was");
        assert_eq!((gallery.count("uploads").await, gallery.objects().await), (0, 1));
    }
}

#[tokio::test]
async fn a_part_that_fails_is_not_in_the_checksum() {
    let film: Vec<u8> =
        b"\0\0\0\x18ftypmp42".iter().copied().chain((0..3 * PART + 77).map(|at| (at % 251) as u8)).collect();
    for failing in 0..4 {
        let gallery = gallery().await;
        let at = gallery.begin(film.len(), "film.mp4").await;
        // The first parts are stored by a request of their own.
        let durable = failing * PART;
        if durable > 0 {
            assert_eq!(gallery.append(&at, 0, Body::from(film[..durable].to_vec())).await.0, 204);
        }
        gallery.store.script().fail_next("uploadPart", Error::new(ErrorKind::Unavailable, "the disk is on fire"));
        assert_eq!(gallery.append(&at, durable, Body::from(film[durable..].to_vec())).await.0, 503);
        let head = gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.is(200);
        let offset: usize = head.header("upload-offset").parse().unwrap();
        assert_eq!(gallery.append(&at, offset, Body::from(film[offset..].to_vec())).await.0, 204);
        let id = at.rsplit('/').next().unwrap();
        let image = gallery.ask(&ada(), "GET", &format!("/images/{id}"), &[], b"").await.is(200).json();
        assert_eq!(image["sha256"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&film)), "after part {failing}");
        assert!(gallery.content(&ada(), &format!("/images/{id}/content")).await.1 == film);
    }
}

#[tokio::test]
async fn tus_in_one_request_empty_overlong_and_ended() {
    let gallery = gallery().await;
    let metadata = "filename YS5wbmc="; // a.png
    let picture = png(3, 4, 100);
    let length = picture.len().to_string();
    let with_data = [TUS, OFFSET_STREAM, ("upload-length", &length), ("upload-metadata", metadata)];
    let created = gallery.ask(&ada(), "POST", "/uploads", &with_data, &picture).await.is(201);
    assert_eq!(created.header("upload-offset"), length);
    assert!(created.header("content-location").starts_with("/api/images/"));
    assert_eq!(gallery.count("images").await, 1);

    let options = gallery.ask(&ada(), "OPTIONS", "/uploads", &[], b"").await.is(204);
    assert_eq!((options.header("tus-version"), options.header("tus-max-size")), ("1.0.0", "20000000"));
    gallery.ask(&ada(), "POST", "/uploads", &[TUS, ("upload-metadata", metadata)], b"").await.is(400);
    gallery.ask(&ada(), "POST", "/uploads", &[TUS, ("upload-length", "5")], b"").await.is(400);
    gallery
        .ask(&ada(), "POST", "/uploads", &[TUS, ("upload-length", "99999999999"), ("upload-metadata", metadata)], b"")
        .await
        .is(413);
    // Longer than it said, and not what it said: over.
    let at = gallery.begin(10, "a.png").await;
    assert_eq!(gallery.append(&at, 0, Body::from(vec![0; 11])).await.0, 413);
    let at = gallery.begin(1000, "a.png").await;
    assert_eq!(gallery.append(&at, 0, Body::from(vec![0; 1000])).await.0, 415);
    gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await;
    assert_eq!(gallery.append(&at, 0, Body::empty()).await.0, 404);
    // Ended by its user, by the method or by its stand-in.
    for (method, headers) in [("DELETE", vec![TUS]), ("POST", vec![TUS, ("x-http-method-override", "DELETE")])] {
        let at = gallery.begin(1000, "a.png").await;
        assert_eq!(gallery.append(&at, 0, Body::from(png(1, 1, 100))).await.0, 204);
        assert_eq!(gallery.objects().await, 2);
        gallery.ask(&ada(), method, &at, &headers, b"").await.is(204);
        assert_eq!(gallery.objects().await, 1);
        assert_eq!(gallery.ask(&ada(), "HEAD", &at, &[TUS], b"").await.status, 404);
    }
}

#[tokio::test]
async fn a_sweep_ends_what_was_interrupted() {
    let gallery = gallery().await;
    let at = gallery.begin(3 * PART, "film.mp4").await;
    let mut film = b"\0\0\0\x18ftypmp42".to_vec();
    film.resize(PART + 500, 7);
    assert_eq!(gallery.append(&at, 0, Body::from(film)).await.0, 204);
    assert_eq!(gallery.media.sweep().await.unwrap(), Default::default());
    // Nobody goes on with it: it is over, its parts and its tail are gone.
    gallery.age().await;
    let swept = gallery.media.sweep().await.unwrap();
    assert_eq!((swept.abandoned, swept.finished, gallery.objects().await), (1, 0, 0));
    assert_eq!(gallery.append(&at, PART + 500, Body::empty()).await.0, 404);
    gallery.age().await;
    assert_eq!((gallery.media.sweep().await.unwrap().finished, gallery.count("uploads").await), (1, 0));

    // A crash between the object and its row, and one between the row and its object.
    let image = gallery.upload("a.png", &png(1, 1, 1)).await;
    let id = image["id"].as_str().unwrap();
    gallery.store.write(&Key::new("images/lost.png").unwrap(), "x").await.unwrap();
    let sql = "INSERT INTO uploads (id, tenant_id, user_id, key, name, state, expires_at, created_at) VALUES \
               ('lost', 'a', 'ada', 'images/lost.png', 'lost.png', 'coming', '2000', '')";
    gallery.database.prepare(sql).run().await.unwrap();
    let sql = "INSERT INTO uploads (id, tenant_id, user_id, key, name, state, expires_at, created_at) \
               SELECT id, tenant_id, user_id, key, name, 'going', '2000', '' FROM images";
    gallery.database.prepare(sql).run().await.unwrap();
    gallery.database.prepare("DELETE FROM images WHERE id = ?").bind(id).run().await.unwrap();
    let swept = gallery.media.sweep().await.unwrap();
    assert_eq!((swept.abandoned, swept.finished, gallery.objects().await), (1, 1, 0));
    // An upload that the sweep has given up does not become a row.
    let at = gallery.begin(200, "a.png").await;
    let waiting = async_stream_of(gallery.database.clone(), png(1, 1, 176));
    assert_eq!(gallery.append(&at, 0, waiting).await.0, 409);
    assert_eq!((gallery.count("images").await, gallery.objects().await), (0, 0));
}

/// A body during which the upload is taken away.
fn async_stream_of(database: Arc<SqliteDatabase>, bytes: Vec<u8>) -> Body {
    let stream = futures_util::stream::once(async move {
        database.prepare("UPDATE uploads SET state = 'going' WHERE state = 'coming'").run().await.unwrap();
        Ok::<_, std::io::Error>(bytes::Bytes::from(bytes))
    });
    Body::from_stream(stream)
}
