//! The command `isobar serve`.
//!
//! It is the place of a program for whoever has only a site: the same `App` as in an application, put
//! together from options. There is no Worker code in it; `wrangler dev` runs that, and an application
//! of isobar is a program of its own (`examples/platform`). Session bindings and cron triggers of the
//! configuration are therefore left out, with a warning for each.
//!
//! # Order
//!
//! 1. The log, or telemetry where its endpoint is in the environment.
//! 2. The configuration. There has to be one: it says what is served.
//! 3. All listeners, the metrics' and the doors' too. A port in use ends the command here, before it
//!    has created or changed anything.
//! 4. The root, the bindings of the configuration, the site's files: its bucket, or a copy of its
//!    folder (see `copy`).
//! 5. The doors, and last of all the line `serving on ...`: a script may wait for it. Connections that
//!    came before it were accepted by the kernel and are answered now.
//! 6. After SIGINT or SIGTERM, or an error of the server: telemetry, doors, stores, in this order, so
//!    that everything that requests have counted is written. The lock of the copy is given back when
//!    the last request has ended.
//!
//! The exit code is 0 after a signal, and 1 if the server or the closing has failed. Requests in flight
//! have 30 s to finish; a second signal is ignored meanwhile. SIGKILL loses what was not durable yet:
//! events of the last moments, and uses of keys.
//!
//! # Tests
//!
//! `tests/it/site.rs` runs the command and asks it over HTTP; `tests/it/doors.rs` does so for the
//! doors.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::HeaderName;
use isobar_cloudflare::wrangler::Config;
use isobar_db::slow_queries::SlowQueryOptions;
use isobar_http_serve::native::{
    EventOptions, Server, ServerError, ServerOptions, TrustedProxies, init_log, shutdown_signal,
};
use isobar_http_serve::{
    App, Metrics, Platform, Telemetry, WranglerPlatform, signed_objects, site_options, worker_first,
};
use isobar_site::{CacheOptions, Fingerprints, Site, SiteOptions};
use isobar_storage::{ListOptions, ObjectStore};

use crate::archive::{Archives, EventArchive};
use crate::copy::Copied;
use crate::deploy::warn_of;
use crate::doors::{Doors, OpenDoors, SiteDeploys};
use crate::duration::duration;
use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "The site is the [assets] directory of the configuration. Without one it is the current deploy in the bucket \
(see `isobar deploy`), or else the files under --prefix in it. html_handling, not_found_handling and run_worker_first work as in \
wrangler, and so do the files _headers, _redirects and .assetsignore of the site.

Changes in the directory are served at once, those of _headers and _redirects too. While one of these has an invalid line, its \
earlier rules stay in force. State and secrets in the directory are never served. Links that stay inside the directory are followed; \
a link that leads out is an error, unless --follow-links is given.

Signed URLs of `isobar r2 presign` work under /r2/BUCKET/. Session objects need the application that has their class: see \
examples/platform. With OTEL_EXPORTER_OTLP_ENDPOINT in the environment, a span for each request is sent to that OpenTelemetry \
collector (OTLP over HTTP).

--rest opens Cloudflare's REST API v4 on a listener of its own, over every bucket, database and dataset of this place: wrangler with \
CLOUDFLARE_API_BASE_URL, Cloudflare's SDKs and Drizzle use it with a key of `isobar keys`. --s3 opens R2's S3 API likewise, over every \
bucket of this place. --explorer opens a page over all of it, for a browser, and over what session objects have \
stored.

Examples:
  isobar serve
  isobar serve --rest 127.0.0.1:8788 --s3 127.0.0.1:9000
  isobar serve --explorer 127.0.0.1:8789
  isobar serve --port 3000 --bucket STORAGE --prefix static/
  isobar serve --port 443 --tls-certificate fullchain.pem --tls-key privkey.pem"
)]
pub(crate) struct Serve {
    /// Port to listen on; 0 selects a free one
    ///
    /// The line `serving on` names the one that was selected.
    #[arg(long, short, default_value_t = 8787)]
    port: u16,
    /// Address to listen on
    ///
    /// 0.0.0.0 is every address by IPv4, :: every address by IPv6 and, where the system maps it, IPv4.
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// Listen on a Unix domain socket instead of a port
    ///
    /// For a proxy on the same machine, such as nginx: proxy_pass http://unix:PATH. TLS is the proxy's
    /// then.
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["port", "ip", "tls_certificate"])]
    unix: Option<PathBuf>,
    /// Serve over TLS with this certificate chain (PEM), which is reloaded when it changes
    ///
    /// The server's certificate comes first, those of its issuers after it, as certbot writes them into
    /// fullchain.pem. Connections by HTTP without TLS are not accepted on the same port.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Size of the site's cache in MiB; 0 disables it
    ///
    /// It is memory of this process, beside that of the system for files. Objects that do not fit in
    /// are served from the store.
    #[arg(long, default_value_t = 256, value_name = "MIB")]
    cache: u64,
    /// List folders without an index, as a page or as JSON
    ///
    /// JSON is for requests whose Accept prefers it. Files that are never served are not listed; the names
    /// of all others become public.
    #[arg(long)]
    listing: bool,
    /// Send Server-Timing with the rule, the state of the cache and the binding of each response
    ///
    /// For looking into a site's rules by a browser's developer tools; it shows visitors how the site
    /// is configured.
    #[arg(long)]
    server_timing: bool,
    /// Log SQL statements of databases that take this long (100ms, 2s, 1m), with their plan
    ///
    /// By default the duration in ISOBAR_SLOW_QUERIES, and no statement without it; 0ms logs all. Values that were bound are
    /// not logged; those that are written into the SQL are.
    #[arg(long, value_name = "DURATION", value_parser = threshold)]
    slow_queries: Option<Duration>,
    /// Serve Prometheus metrics under /metrics on this address, which should not be public
    ///
    /// It is a listener of its own, without TLS and without a key: use 127.0.0.1, or an address of a
    /// private network.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Sample one request in N for events; each event has the number of requests it stands for
    ///
    /// The number is double4: use sum(double4) in place of count() to count requests. --events-rate
    /// samples by load besides.
    #[arg(long, default_value_t = 1, value_name = "N")]
    sample: u32,
    /// Request header with the client's country, as set by a proxy in front, for example cf-ipcountry
    ///
    /// Only with such a proxy: clients can send any header, and events would have any country.
    #[arg(long, value_name = "NAME")]
    country_header: Option<HeaderName>,
    /// Address or range (CIDR) of a proxy whose headers are trusted: Forwarded, X-Forwarded-For,
    /// X-Forwarded-Proto, X-Forwarded-Host, CF-Connecting-IP; may be given several times
    ///
    /// For example --trusted-proxy 127.0.0.1 or --trusted-proxy 173.245.48.0/20. The client's address
    /// is the last one in the header that is not such a proxy's. By default no header is trusted.
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<TrustedProxies>,
    /// Expect a PROXY protocol header (version 1 or 2) at the start of every connection; with
    /// --trusted-proxy, only from those addresses
    ///
    /// A connection without the header is closed. Load balancers that forward TCP send it, such as
    /// HAProxy by send-proxy-v2.
    #[arg(long)]
    proxy_protocol: bool,
    /// Send Strict-Transport-Security over TLS, with this number of seconds
    ///
    /// 31536000 is a year. Browsers then refuse the site without TLS for as long, whatever happens to
    /// the certificate: begin with a small number.
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
    ///
    /// It is for the datasets of the configuration. Whole segments are removed, once their newest point
    /// is older.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    events_days: u64,
    /// Size limit of each dataset of events in MiB; 0 for no limit
    ///
    /// The oldest segments are removed first.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    events_size: u64,
    #[command(flatten)]
    archive: EventArchive,
    /// Events per second above which requests are sampled, with a weight in each event; 0 writes all
    ///
    /// Sums that are weighted by double4 stay right on average.
    #[arg(long, value_name = "N", default_value_t = 200)]
    events_rate: u32,
    /// Number of connection threads; by default one for each processor
    ///
    /// More than the machine has processors gain nothing.
    #[arg(long)]
    threads: Option<usize>,
    /// Follow links that lead out of the site's directory
    ///
    /// Files that they lead to become public. Links that stay inside are followed anyway.
    #[arg(long)]
    follow_links: bool,
    /// Serve the site's directory as it was at the start, ignoring later changes
    ///
    /// For a site that changes by deploying and restarting: it saves the scans of the directory, a few
    /// each second.
    #[arg(long)]
    no_watch: bool,
    /// Binding of the site's bucket; by default the first one of the configuration
    ///
    /// It is for a configuration without an assets directory, which is the site otherwise.
    #[arg(long)]
    bucket: Option<String>,
    /// Files to cache for a year because they never change, in place of those with a hash in the name
    /// (app-3f9a1c2b.js). A glob without a slash matches names in every folder
    ///
    /// For example `--immutable 'assets/**' --immutable '*.woff2'`. A file that does change under its
    /// name stays old in browsers for a year.
    #[arg(long, value_name = "GLOB", conflicts_with = "no_immutable")]
    immutable: Vec<String>,
    /// Cache no file for a year, also with a hash in its name
    #[arg(long)]
    no_immutable: bool,
    /// Prefix of the site's keys
    ///
    /// It is for a bucket; a directory is served whole.
    #[arg(long, default_value = "static/")]
    prefix: String,
    #[command(flatten)]
    doors: Doors,
}

/// The files of the site.
///
/// Rules of precedence: `[assets]` with a directory, then `--bucket`, then the first bucket of the
/// configuration. A bucket of which nothing is below the prefix is served all the same, with a warning:
/// the first deploy may come while the server runs.
struct Source {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    binding: String,
    /// The copy of a folder, which stays locked while it is kept.
    copied: Option<Copied>,
}

impl Source {
    /// The deploys of the site, where it is not a folder's.
    ///
    /// A folder's copy has no deploys: it follows the folder.
    fn deploys(&self, config: &Config) -> Option<SiteDeploys> {
        let bucket = config.r2_buckets.iter().find(|bucket| bucket.binding == self.binding)?;
        let is_bucket = self.copied.is_none();
        is_bucket.then(|| SiteDeploys::new(bucket.local_name(), Arc::clone(&self.store), &self.prefix))
    }
}

impl Serve {
    /// Serves until a signal, in the order of the module's documentation.
    ///
    /// # Errors
    /// Arguments and configuration that contradict each other, a listener that cannot be bound, a store
    /// that cannot be opened, a folder that cannot be copied; later, a server that fails, and stores
    /// that cannot be closed.
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        let telemetry = match Telemetry::is_wanted() {
            true => Some(Telemetry::init()?),
            false => {
                init_log();
                None
            }
        };
        let config = configuration(place)?;
        // Bind before opening or syncing anything, so that a port in use changes nothing.
        let server = self.bind().await?;
        let metrics_server = match self.metrics {
            Some(address) => Some(Server::bind(address).await?),
            None => None,
        };
        let doors = self.doors.bind(self.server_options()).await?;
        let root = place.make_root(Some(&config))?;
        let assets = config.assets.clone().unwrap_or_default();
        let options = site_options(&assets)?;
        let first_served = worker_first(&assets)?;
        let archives = self.archive.open(place, &root, &config).await?;
        let platform = self.platform(&config, &archives)?.local(&root).await?;
        let source = self.source(place, &config, &root, &platform).await?;
        let base = server.address().map_or_else(|| "http://localhost".to_owned(), |_| server.url());
        let mut app = with_signed_urls(App::new(), place, &config, &platform, &base).await?;
        // A bucket without [assets] is served with the default options of a site.
        let options = if config.assets.is_some() { options } else { SiteOptions::default() };
        let options = self.options_of(&source, options).await?;
        let deploys = source.deploys(&config);
        let site = Site::new(source.store, options);
        app = app.site(site.clone()).worker_first(first_served);
        app = self.configure(app, &config, &platform)?;
        if let Some(server) = metrics_server {
            app = with_metrics(app, server)?;
        }
        let doors = Box::pin(doors.open(place, &config, &platform, deploys, archives)).await?;
        say!("serving on {} (Ctrl-C ends)", server.url());
        let serving = server.serve(app.into_service(), shutdown_signal());
        let served = match source.copied {
            Some(copied) if !self.no_watch => tokio::select! {
                served = serving => served,
                never = Box::pin(copied.follow(site)) => match never {},
            },
            copied => {
                let served = serving.await;
                drop(copied);
                served
            }
        };
        if let Some(telemetry) = telemetry {
            telemetry.close().await;
        }
        let closed = closed(doors, &platform).await;
        served?;
        closed
    }

    /// Opens the site's bucket, or a copy of its folder.
    async fn source(
        &self,
        place: &Place,
        config: &Config,
        root: &Path,
        platform: &Platform,
    ) -> Result<Source, Box<dyn Error>> {
        if let Some(directory) = config.assets.as_ref().and_then(|assets| assets.directory.clone()) {
            if let Some(bucket) = &self.bucket {
                eprintln!(
                    "warning: ignoring --bucket {bucket}: the site is the [assets] directory of the configuration"
                );
            }
            let walk = place.walk_options(self.follow_links)?;
            let copied = Copied::make(root, config.resolve(directory), walk).await?;
            let store = copied.store();
            return Ok(Source { store, prefix: String::new(), binding: "ASSETS".to_owned(), copied: Some(copied) });
        }
        let first = config.r2_buckets.first().map(|bucket| bucket.binding.clone());
        let binding = self.bucket.clone().or(first);
        let binding = binding.ok_or("the configuration has neither [assets] nor a bucket to serve")?;
        let store = platform.bucket(&binding)?;
        let prefix = &self.prefix;
        if store.list(ListOptions::default().with_prefix(&**prefix).with_limit(1)).await?.objects.is_empty() {
            eprintln!(
                "warning: the bucket of {binding} has nothing under {prefix:?}, so every page is not found; \
                 `isobar deploy FOLDER {binding}/{prefix}` puts a site there"
            );
        }
        Ok(Source { store, prefix: prefix.clone(), binding, copied: None })
    }

    /// Returns the options of the site, with the rules of its files.
    ///
    /// Rules are read once here, and again by the site as its files change. Lines that are ignored are
    /// printed here, as nobody looks into the log of a server that has just been started.
    async fn options_of(&self, source: &Source, options: SiteOptions) -> Result<SiteOptions, Box<dyn Error>> {
        let mut options = options.with_prefix(&*source.prefix).with_rules_of(&*source.store).await?;
        options = options.with_deploys(source.copied.is_none()).with_listing(self.listing);
        if self.no_immutable {
            options = options.with_fingerprints(Fingerprints::none());
        } else if !self.immutable.is_empty() {
            options = options.with_fingerprints(Fingerprints::globs(&self.immutable)?);
        }
        if self.server_timing {
            options = options.with_server_timing(&*source.binding);
        }
        warn_of("_headers", options.headers.warnings());
        warn_of("_redirects", options.redirects.warnings());
        Ok(options)
    }

    /// Sets the options of the application.
    ///
    /// The first dataset of the configuration gets the requests' events. Without one there are none.
    fn configure(&self, mut app: App, config: &Config, platform: &Platform) -> Result<App, Box<dyn Error>> {
        if self.cache > 0 {
            app = app.cache(CacheOptions::default().with_max_bytes(self.cache.saturating_mul(1024 * 1024)));
        }
        if let Some(dataset) = config.analytics_engine_datasets.first() {
            app = app.observe(platform.dataset(&dataset.binding)?);
        }
        if let Some(seconds) = self.hsts {
            app = app.hsts(Duration::from_secs(seconds));
        }
        if let Some(header) = self.country_header.clone() {
            app = app.country_header(header);
        }
        Ok(app.event_rate(self.events_rate).ready_with(platform).sample_rate(self.sample))
    }

    /// Returns the platform that is to be opened.
    fn platform(&self, config: &Config, archives: &Archives) -> Result<WranglerPlatform, String> {
        let mut slow = self.slow_queries;
        let text = std::env::var_os("ISOBAR_SLOW_QUERIES").filter(|text| slow.is_none() && !text.is_empty());
        if let Some(text) = text {
            let read = threshold(&text.to_string_lossy());
            slow = Some(read.map_err(|error| format!("ISOBAR_SLOW_QUERIES: {error}"))?);
        }
        let slow = slow.map(|threshold| SlowQueryOptions::default().with_threshold(threshold));
        let platform = WranglerPlatform::new(config.clone()).events(self.event_options()).slow_queries(slow);
        Ok(config.analytics_engine_datasets.iter().fold(platform, |platform, dataset| {
            let archive = archives.get(dataset.local_name());
            platform.events_of(dataset.local_name(), self.archive.configure(self.event_options(), archive))
        }))
    }

    /// Returns how long events are kept. 0 is no limit, in both options; a limit of 0 would keep
    /// nothing, which is what leaving the dataset out of the configuration does.
    fn event_options(&self) -> EventOptions {
        let age = Duration::from_secs(self.events_days.saturating_mul(24 * 60 * 60));
        EventOptions::default()
            .with_retain_for((self.events_days > 0).then_some(age))
            .with_retain_bytes((self.events_size > 0).then_some(self.events_size.saturating_mul(1024 * 1024)))
    }

    /// Returns the options of the listeners, of the doors' too.
    fn server_options(&self) -> ServerOptions {
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
        options
    }

    async fn bind(&self) -> Result<Server, ServerError> {
        let options = self.server_options();
        #[cfg(unix)]
        if let Some(path) = &self.unix {
            return Server::bind_unix(path, options).await;
        }
        Server::bind_with(SocketAddr::new(self.ip, self.port), options).await
    }
}

/// Reads the duration from which a statement is slow: a number followed by ms, s or m.
fn threshold(text: &str) -> Result<Duration, String> {
    duration(text, &["ms", "s", "m"]).ok_or_else(|| format!("invalid duration {text:?}: use 100ms, 2s or 1m"))
}

/// Closes what has something to write, however the serving has ended: the doors, and the stores.
///
/// The doors first: their requests use the stores. Both are closed whatever the first one says, and the
/// first error is returned.
async fn closed(doors: Option<OpenDoors>, platform: &Platform) -> Outcome {
    let closed = match doors {
        Some(doors) => doors.close().await,
        None => Ok(()),
    };
    let written = platform.close().await;
    closed?;
    Ok(written?)
}

/// Returns the configuration, and warns of bindings that this command cannot serve.
fn configuration(place: &Place) -> Result<Config, Box<dyn Error>> {
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
    for cron in std::mem::take(&mut config.triggers.crons) {
        eprintln!("warning: ignoring the cron trigger {cron:?}: `isobar serve` has no handler for it");
    }
    Ok(config)
}

/// Serves the signed URLs of each bucket.
///
/// The secret of each bucket is made here if it has none yet, so that `isobar r2 presign` on another
/// terminal and this server agree.
async fn with_signed_urls(
    mut app: App,
    place: &Place,
    config: &Config,
    platform: &Platform,
    base: &str,
) -> Result<App, Box<dyn Error>> {
    for bucket in &config.r2_buckets {
        let store = platform.bucket(&bucket.binding)?;
        let name = bucket.local_name();
        let signer = place.signer(name, base).await?;
        app = app.nest(format!("/r2/{name}"), signed_objects(store, signer));
    }
    Ok(app)
}

/// Serves the metrics of the application on a server of their own.
///
/// It ends with the process. Its failure is printed and does not end the site: a scrape that is missing
/// is an alarm of its own.
fn with_metrics(app: App, server: Server) -> Result<App, Box<dyn Error>> {
    let metrics = Metrics::new();
    say!("Prometheus metrics on {}/metrics", server.url());
    let router = metrics.router();
    tokio::spawn(async move {
        if let Err(error) = server.serve(router, std::future::pending()).await {
            eprintln!("error: Prometheus metrics are no longer served: {error}");
        }
    });
    Ok(app.metrics(metrics))
}
