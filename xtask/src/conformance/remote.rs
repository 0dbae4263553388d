//! Runs the HTTP backends against external servers: miniflare's S3 interface of R2, moto, miniflare's explorer of D1.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use isobar_cloudflare::client::{Account, Body, Client, HttpTransport, Retry, Transport, TransportError};
use isobar_db::cloudflare::D1RestDatabase;
use isobar_storage::cloudflare::{S3Bucket, S3Config};
use isobar_storage::{Key, ObjectStore, ObjectStoreExt, PresignMethod, PresignOptions};

use super::table::Table;
use super::{REMOTE_BUCKET, REMOTE_DATABASE, S3_KEY};
use crate::http::{Ended, ask, free_port, listens};
use crate::{Outcome, python};

/// Version of moto.
const MOTO: &str = "5.2.5";

pub(super) async fn run(workerd: &str, table: &mut Table) -> Outcome {
    let endpoint = format!("http://{workerd}/cdn-cgi/local/r2/s3");
    let config = S3Config::new(endpoint, REMOTE_BUCKET, S3_KEY.0, S3_KEY.1).with_region("auto");
    storage("s3 miniflare", config, table).await?;

    let moto = Moto::start()?;
    ask(&moto.address, "PUT", &format!("/{REMOTE_BUCKET}"), &[], b"")?;
    let config = S3Config::new(format!("http://{}", moto.address), REMOTE_BUCKET, S3_KEY.0, S3_KEY.1);
    storage("s3 moto", config, table).await?;

    let transport = Explorer { inner: HttpTransport::new()?, authority: workerd.to_owned() };
    let client = Client::new(transport).with_retry(Retry::never());
    let account = Account::new("local", "token")?.with_client(client);
    let db = Arc::new(D1RestDatabase::new(account, REMOTE_DATABASE)?);
    table.take("d1 rest", "db", isobar_db::conformance::run(async || db.clone() as _).await);
    Ok(())
}

async fn storage(backend: &'static str, config: S3Config, table: &mut Table) -> Outcome {
    let store = Arc::new(S3Bucket::new(config.clone())?);
    store.check().await?;
    table.take(backend, "storage", isobar_storage::conformance::run(async || store.clone() as _).await);
    table.take(backend, "site", isobar_site::conformance::run(async || store.clone() as _).await);
    presigned(&*store).await?;
    let mut wrong = config;
    wrong.secret_access_key = "wrong".to_owned();
    let wrong = S3Bucket::new(wrong)?;
    // moto does not check signatures.
    match wrong.check().await {
        Err(error) if error.kind() == isobar_storage::ErrorKind::PermissionDenied => {
            println!("a wrong secret is refused by {backend}: {error}");
        }
        other if backend != "s3 moto" => return Err(format!("a wrong secret at {backend}: {other:?}").into()),
        _ => {}
    }
    Ok(())
}

/// Checks that presigned URLs work without credentials, and only for the request that was signed.
async fn presigned(store: &dyn ObjectStore) -> Outcome {
    let key = Key::new("presigned/with space & ünicode.txt")?;
    let url = async |method| {
        let options = PresignOptions::new(key.clone(), method, Duration::from_secs(60));
        let url = store.presign(options).await?;
        let rest = url.strip_prefix("http://").ok_or("no http")?;
        let (address, path) = rest.split_once('/').ok_or("no path")?;
        Ok::<_, Box<dyn std::error::Error>>((address.to_owned(), format!("/{path}")))
    };
    let (address, path) = url(PresignMethod::Put).await?;
    let put = ask(&address, "PUT", &path, &[], b"by a stranger")?;
    if put.status != 200 {
        return Err(format!("a presigned PUT is answered by {}: {}", put.status, put.text()).into());
    }
    let (address, path) = url(PresignMethod::Get).await?;
    let got = ask(&address, "GET", &path, &[], b"")?;
    if got.body != b"by a stranger" || store.read(&key).await?.is_none() {
        return Err(format!("a presigned GET is answered by {}: {}", got.status, got.text()).into());
    }
    Ok(())
}

/// Rewrites REST API requests for miniflare's explorer, which has no accounts.
#[derive(Debug)]
struct Explorer {
    inner: HttpTransport,
    authority: String,
}

#[async_trait]
impl Transport for Explorer {
    async fn send(&self, mut request: http::Request<Body>) -> Result<http::Response<Body>, TransportError> {
        let path = request.uri().path();
        let path = path.strip_prefix("/client/v4/accounts/local").unwrap_or(path);
        let uri = format!("http://{}/cdn-cgi/local/explorer/api{path}", self.authority);
        *request.uri_mut() = uri.parse().expect("an address of ours");
        self.inner.send(request).await
    }
}

/// moto's server in its own Python environment.
struct Moto {
    address: String,
    _process: Ended,
}

impl Moto {
    fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let bin = python::package("moto", "[server]", MOTO)?;
        let port = free_port()?;
        let mut command = Command::new(bin.join("moto_server"));
        let log = std::fs::File::create(bin.join("moto.log"))?;
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(log.try_clone()?).stderr(log);
        let moto = Self { address: format!("127.0.0.1:{port}"), _process: Ended(command.spawn()?) };
        match listens(&moto.address) {
            true => Ok(moto),
            false => Err(format!("moto does not start; see {}", bin.join("moto.log").display()).into()),
        }
    }
}
