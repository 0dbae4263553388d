//! Certificates, read again when their files are others.
//!
//! The files' times are looked at with a new connection, at most every 5 seconds, so that a renewed certificate needs no signal
//! and no restart. One that cannot be read (the key is written after the certificate, say) leaves the old one in use, and is
//! tried again.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use isobar_base::sync::IgnorePoison;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::ServerError;
use crate::options::TlsOptions;

/// How long a new certificate may go unnoticed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes TLS connections with the certificate that is in the files now.
#[derive(Debug)]
pub(crate) struct Tls {
    options: TlsOptions,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    written: [Option<SystemTime>; 2],
    looked: Instant,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new(options: TlsOptions) -> Result<Self, ServerError> {
        let written = written(&options);
        let acceptor = read(&options).map_err(ServerError::Tls)?;
        Ok(Self { options, current: Mutex::new(Current { acceptor, written, looked: Instant::now() }) })
    }

    /// The acceptor for a new connection, with the certificate that is in the files, or was within the last 5 s. Connections that are open keep
    /// the certificate that they began with. The lock is held while the files are read: other new connections wait for that, once.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        // Changed as a whole.
        let mut current = self.current.lock().ignore_poison();
        if current.looked.elapsed() >= PATIENCE {
            current.looked = Instant::now();
            let written = written(&self.options);
            if written != current.written {
                match read(&self.options) {
                    Ok(acceptor) => {
                        current.acceptor = acceptor;
                        current.written = written;
                        tracing::info!("the certificate was read again");
                    }
                    // Of two files one may be new already and the other not yet: it is tried again.
                    Err(error) => tracing::error!(error, "the new certificate cannot be used; the old one stays"),
                }
            }
        }
        current.acceptor.clone()
    }
}

fn written(options: &TlsOptions) -> [Option<SystemTime>; 2] {
    let written = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    [written(&options.certificate), written(&options.key)]
}

fn read(options: &TlsOptions) -> Result<TlsAcceptor, String> {
    let TlsOptions { certificate, key } = options;
    let of = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| of(certificate, &error))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| of(certificate, &error))?;
    if chain.is_empty() {
        return Err(of(certificate, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config = config.map_err(|error| of(certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
