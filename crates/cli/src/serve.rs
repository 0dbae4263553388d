//! The command `isobar serve`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::HeaderName;
use isobar_http_serve::native::{
    EventOptions, Server, ServerError, ServerOptions, TrustedProxies, init_log, shutdown_signal,
};
use isobar_http_serve::{App, Metrics, Telemetry, WranglerPlatform, signed_objects, site_options, worker_first};
use isobar_site::{CacheOptions, Fingerprints, Site, SiteOptions};
use isobar_storage::{ListOptions, ObjectStore};

use crate::copy::Copied;
use crate::deploy::warn_of;
use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(after_help = "The site is the configuration's [assets] directory; without one, what was last deployed \
(`isobar deploy`) or else is under --prefix in the bucket. html_handling, not_found_handling and run_worker_first are as with wrangler, and so are \
the files _headers, _redirects and .assetsignore of the site. Edits, new and deleted files of that directory are served at once, \
and _headers and _redirects are read again: while one has an invalid line, its earlier rules stay in force. State and secrets in it are never served; links that stay inside are followed, and \
a link that leads out is refused by name unless --follow-links is given.
With OTEL_EXPORTER_OTLP_ENDPOINT in the environment each request is a span for that collector of OpenTelemetry (OTLP over HTTP).
Signed URLs (`isobar r2 presign`) are honoured under /r2/BUCKET/. Session objects need the application that has their class: run that instead, see examples/platform.

Examples:
  isobar serve
  isobar serve --port 3000 --bucket STORAGE --prefix static/
  isobar serve --port 443 --tls-certificate fullchain.pem --tls-key privkey.pem")]
pub(crate) struct Serve {
    /// Port to listen on; 0 selects a free one
    #[arg(long, short, default_value_t = 8787)]
    port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// Listen on a Unix domain socket instead of a port
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["port", "ip", "tls_certificate"])]
    unix: Option<PathBuf>,
    /// Serve over TLS with this certificate chain (PEM), which is reloaded when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Size of the site's cache in MiB; 0 disables it
    #[arg(long, default_value_t = 256, value_name = "MIB")]
    cache: u64,
    /// List folders without an index, as a page or as JSON
    #[arg(long)]
    listing: bool,
    /// Send Server-Timing with the rule, the state of the cache and the binding of each response
    #[arg(long)]
    server_timing: bool,
    /// Serve Prometheus metrics under /metrics on this address, which should not be public
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Sample one request in N for events; each event has the number of requests it stands for
    #[arg(long, default_value_t = 1, value_name = "N")]
    sample: u32,
    /// Request header with the client's country, as set by a proxy in front, for example cf-ipcountry
    #[arg(long, value_name = "NAME")]
    country_header: Option<HeaderName>,
    /// Address or range (CIDR) of a proxy whose headers are trusted: Forwarded, X-Forwarded-For, X-Forwarded-Proto,
    /// X-Forwarded-Host, CF-Connecting-IP; may be given several times
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<TrustedProxies>,
    /// Expect a PROXY protocol header (version 1 or 2) at the start of every connection; with --trusted-proxy, only from
    /// those addresses
    #[arg(long)]
    proxy_protocol: bool,
    /// Send Strict-Transport-Security over TLS, with this number of seconds
    #[arg(long, value_name = "SECONDS")]
    hsts: Option<u64>,
    /// Most concurrent connections; further ones get 503
    #[arg(long, value_name = "N", default_value_t = 25_000)]
    connections: usize,
    /// Most concurrent connections from one address, or from one /64 of IPv6; by default half of --connections. Trusted
    /// proxies are exempt
    #[arg(long, value_name = "N")]
    connections_per_address: Option<usize>,
    /// Days for which events are kept; 0 keeps them forever
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    events_days: u64,
    /// Size limit of each dataset of events in MiB; 0 for no limit
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    events_size: u64,
    /// Events per second above which requests are sampled, with a weight in each event; 0 writes all
    #[arg(long, value_name = "N", default_value_t = 200)]
    events_rate: u32,
    /// Number of connection threads; by default one for each processor
    #[arg(long)]
    threads: Option<usize>,
    /// Follow links that lead out of the site's directory
    #[arg(long)]
    follow_links: bool,
    /// Serve the site's directory as it was at the start, ignoring later changes
    #[arg(long)]
    no_watch: bool,
    /// Binding of the site's bucket; by default the first one of the configuration
    #[arg(long)]
    bucket: Option<String>,
    /// Files that never change under their name, instead of those with a hash in it (app-3f9a1c2b.js): they are cached for a
    /// year. A glob without a slash matches names in every folder
    #[arg(long, value_name = "GLOB", conflicts_with = "no_immutable")]
    immutable: Vec<String>,
    /// Treat every file as one that may change, also with a hash in its name
    #[arg(long)]
    no_immutable: bool,
    /// Prefix of the site's keys
    #[arg(long, default_value = "static/")]
    prefix: String,
}

impl Serve {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        let telemetry = match Telemetry::is_wanted() {
            true => Some(Telemetry::init()?),
            false => {
                init_log();
                None
            }
        };
        let mut config =
            place.config()?.ok_or("no wrangler configuration in this folder or its parents; name one with --config")?;
        // The warnings are printed already.
        config.warnings.clear();
        for binding in std::mem::take(&mut config.durable_objects.bindings) {
            eprintln!(
                "warning: ignoring the session binding {}: `isobar serve` has no class {}",
                binding.name, binding.class_name
            );
        }
        // Bind before opening or syncing anything, so that a port in use changes nothing.
        let server = self.bind().await?;
        let metrics_server = match self.metrics {
            Some(address) => Some(Server::bind(address).await?),
            None => None,
        };
        let root = place.make_root(Some(&config))?;
        let assets = config.assets.clone().unwrap_or_default();
        let options = site_options(&assets)?;
        let first_served = worker_first(&assets)?;
        let directory = assets.directory.clone();
        let first = config.r2_buckets.first().map(|bucket| bucket.binding.clone());
        let platform = WranglerPlatform::new(config.clone()).events(self.event_options()).local(&root).await?;
        let is_folder = directory.is_some();
        // Keeps the folder of the copy locked.
        let mut kept = None;
        let (store, prefix, binding): (Arc<dyn ObjectStore>, String, String) = match directory {
            Some(directory) => {
                let walk = place.walk_options(self.follow_links)?;
                let copied = Copied::make(&root, config.resolve(directory), walk).await?;
                let store = copied.store();
                kept = Some(copied);
                (store, String::new(), "ASSETS".to_owned())
            }
            None => {
                let binding =
                    self.bucket.or(first).ok_or("the configuration has neither [assets] nor a bucket to serve")?;
                let store = platform.bucket(&binding)?;
                if store.list(ListOptions::default().with_prefix(&*self.prefix).with_limit(1)).await?.objects.is_empty()
                {
                    let prefix = &self.prefix;
                    eprintln!(
                        "warning: the bucket of {binding} has nothing under {prefix:?}, so every page is missing; \
                         `isobar deploy FOLDER {binding}/{prefix}` puts a site there"
                    );
                }
                (store, self.prefix, binding)
            }
        };
        let base = server.address().map_or_else(|| "http://localhost".to_owned(), |_| server.url());
        let mut app = App::new();
        for bucket in &config.r2_buckets {
            let store = platform.bucket(&bucket.binding)?;
            let name = bucket.local_name();
            let signer = place.signer(name, &base).await?;
            app = app.nest(format!("/r2/{name}"), signed_objects(store, signer));
        }
        // A bucket without [assets] is served with the default options of a site.
        let options = if config.assets.is_some() { options } else { SiteOptions::default() };
        let mut options = options.with_prefix(prefix).with_rules_of(&*store).await?;
        options = options.with_deploys(!is_folder).with_listing(self.listing);
        if self.no_immutable {
            options = options.with_fingerprints(Fingerprints::none());
        } else if !self.immutable.is_empty() {
            options = options.with_fingerprints(Fingerprints::globs(&self.immutable)?);
        }
        if self.server_timing {
            options = options.with_server_timing(binding);
        }
        warn_of("_headers", options.headers.warnings());
        warn_of("_redirects", options.redirects.warnings());
        let site = Site::new(store, options);
        app = app.site(site.clone()).worker_first(first_served);
        if self.cache > 0 {
            app = app.cache(CacheOptions::default().with_max_bytes(self.cache * 1024 * 1024));
        }
        if let Some(dataset) = config.analytics_engine_datasets.first() {
            app = app.observe(platform.dataset(&dataset.binding)?);
        }
        if let Some(seconds) = self.hsts {
            app = app.hsts(Duration::from_secs(seconds));
        }
        app = app.event_rate(self.events_rate).ready_with(&platform);
        if let Some(header) = self.country_header {
            app = app.country_header(header);
        }
        if let Some(server) = metrics_server {
            let metrics = Metrics::new();
            say!("Prometheus metrics on {}/metrics", server.url());
            let router = metrics.router();
            tokio::spawn(async move {
                if let Err(error) = server.serve(router, std::future::pending()).await {
                    eprintln!("error: Prometheus metrics are no longer served: {error}");
                }
            });
            app = app.metrics(metrics);
        }
        say!("serving on {} (Ctrl-C ends)", server.url());
        let serving = server.serve(app.sample_rate(self.sample).into_service(), shutdown_signal());
        let served = match kept {
            Some(copied) if !self.no_watch => tokio::select! {
                served = serving => served,
                never = Box::pin(copied.follow(site)) => match never {},
            },
            kept => {
                let served = serving.await;
                drop(kept);
                served
            }
        };
        if let Some(telemetry) = telemetry {
            telemetry.close().await;
        }
        served?;
        Ok(platform.close().await?)
    }

    fn event_options(&self) -> EventOptions {
        let age = Duration::from_secs(self.events_days.saturating_mul(24 * 60 * 60));
        EventOptions::default()
            .with_retain_for((self.events_days > 0).then_some(age))
            .with_retain_bytes((self.events_size > 0).then_some(self.events_size.saturating_mul(1024 * 1024)))
    }

    async fn bind(&self) -> Result<Server, ServerError> {
        let proxies = self.trusted_proxy.iter().cloned().fold(TrustedProxies::default(), TrustedProxies::and);
        let mut options = ServerOptions::default()
            .with_connections(self.connections)
            .with_trusted_proxies(proxies)
            .with_proxy_protocol(self.proxy_protocol);
        if let Some(connections) = self.connections_per_address {
            options = options.with_connections_per_address(connections);
        }
        if let Some(threads) = self.threads {
            options = options.with_threads(threads);
        }
        if let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) {
            options = options.with_tls(certificate, key);
        }
        #[cfg(unix)]
        if let Some(path) = &self.unix {
            return Server::bind_unix(path, options).await;
        }
        Server::bind_with(SocketAddr::new(self.ip, self.port), options).await
    }
}
