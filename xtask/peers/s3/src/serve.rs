//! `s3s-fs` as it is published, with each put made durable.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::{GetObjectInput, GetObjectOutput, PutObjectInput, PutObjectOutput};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

/// The bucket that is made at the start.
const BUCKET: &str = "bench";

/// `s3s-fs`, which syncs nothing: a put is answered once its file and the file's folder are synced. The two files beside it, with
/// its attributes and checksums, are not synced, which spares it two syncs more.
struct Synced {
    files: FileSystem,
    root: PathBuf,
}

#[async_trait::async_trait]
impl S3 for Synced {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let path = self.root.join(&request.input.bucket).join(&request.input.key);
        let answer = self.files.put_object(request).await?;
        let synced = tokio::task::spawn_blocking(move || sync(&path)).await;
        synced.expect("a sync does not panic").map_err(s3s::S3Error::internal_error)?;
        Ok(answer)
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(request).await
    }
}

/// Syncs a file, and its name in its folder.
fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

pub(crate) async fn run(folder: &str, port: u16, id: &str, secret: &str) {
    let root = PathBuf::from(folder);
    std::fs::create_dir_all(root.join(BUCKET)).expect("the folder is made");
    let files = FileSystem::new(&root).expect("the folder is there");
    let mut builder = S3ServiceBuilder::new(Synced { files, root });
    builder.set_auth(SimpleAuth::from_single(id, secret));
    let service = builder.build();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
    println!("serving on http://{}", listener.local_addr().expect("the listener has an address"));
    loop {
        let (socket, _) = listener.accept().await.expect("a connection is accepted");
        socket.set_nodelay(true).expect("the socket takes options");
        let service = service.clone();
        tokio::spawn(async move {
            // A client that has gone is no error.
            drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
        });
    }
}
