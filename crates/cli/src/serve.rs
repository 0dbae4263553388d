//! `isobar serve`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use futures_util::TryStreamExt;
use isobar_http_serve::native::{Server, init_log, shutdown_signal};
use isobar_http_serve::{App, WranglerPlatform, signed_objects, site_options, worker_first};
use isobar_site::{Site, SiteOptions};
use isobar_storage::local::LocalStore;
use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};

use crate::ignored::Ignored;
use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "The site is the configuration's [assets] directory; without one, what is under --prefix in the bucket. html_handling,
not_found_handling and run_worker_first are as with wrangler, and so are the files _headers, _redirects and .assetsignore of the site.
Signed URLs (`isobar r2 presign`) are honoured under /r2/BUCKET/. Session objects need the application that has their class: run that instead, see examples/platform.

Examples:
  isobar serve
  isobar serve --port 3000 --bucket STORAGE --prefix static/"
)]
pub(crate) struct Serve {
    /// Port; 0 takes a free one
    #[arg(long, short, default_value_t = 8787)]
    port: u16,
    /// Address
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// The binding of the bucket that has the site; the configuration's first when not given
    #[arg(long)]
    bucket: Option<String>,
    /// What the site's keys start with
    #[arg(long, default_value = "static/")]
    prefix: String,
}

impl Serve {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        init_log();
        let mut config =
            place.config()?.ok_or("there is no wrangler configuration here or above; name one with --config")?;
        let root = place.root(Some(&config));
        for binding in std::mem::take(&mut config.durable_objects.bindings) {
            eprintln!(
                "warning: the session binding {} is left out: `isobar serve` has no class {}",
                binding.name, binding.class_name
            );
        }
        // Before anything is opened or synced: a taken port changes nothing.
        let server = Server::bind(SocketAddr::new(self.ip, self.port)).await?;
        let assets = config.assets.clone().unwrap_or_default();
        let (options, first_served) = (site_options(&assets)?, worker_first(&assets)?);
        let directory = assets.directory.clone();
        let first = config.r2_buckets.first().map(|bucket| bucket.binding.clone());
        let platform = WranglerPlatform::new(config.clone()).local(&root).await?;
        let (store, prefix): (Arc<dyn ObjectStore>, String) = match directory {
            Some(directory) => {
                let store = LocalStore::open(root.join("assets")).await?;
                let directory = config.resolve(directory);
                let ignored = Ignored::of(&directory)?;
                let summary = crate::sync::run(&directory, &store, "", true, &|name| ignored.take(name)).await?;
                // What is named only now may have been served until now.
                let stored: Vec<Key> =
                    store.list_all(ListOptions::default()).map_ok(|meta| meta.key).try_collect().await?;
                let gone: Vec<Key> = stored.into_iter().filter(|key| !ignored.take(key.as_str())).collect();
                store.delete_all(&gone).await?;
                say!("site: {summary}");
                (Arc::new(store), String::new())
            }
            None => {
                let binding =
                    self.bucket.or(first).ok_or("the configuration has neither [assets] nor a bucket to serve")?;
                (platform.bucket(&binding)?, self.prefix)
            }
        };
        let mut app = App::new();
        for bucket in &config.r2_buckets {
            let (store, name) = (platform.bucket(&bucket.binding)?, bucket.local_name());
            let signer = place.signer(name, &format!("http://{}", server.address())).await?;
            app = app.nest(format!("/r2/{name}"), signed_objects(store, signer));
        }
        // A bucket without [assets] is served as a site is unless told otherwise.
        let options = if config.assets.is_some() { options } else { SiteOptions::default() };
        let options = options.with_prefix(prefix).with_rules_of(&*store).await?;
        let warnings = options.headers.warnings().iter().map(|warning| ("_headers", warning));
        for (file, warning) in
            warnings.chain(options.redirects.warnings().iter().map(|warning| ("_redirects", warning)))
        {
            eprintln!("warning: {file}, {warning}");
        }
        app = app.site(Site::new(store, options)).worker_first(first_served);
        if let Some(dataset) = config.analytics_engine_datasets.first() {
            app = app.observe(platform.dataset(&dataset.binding)?);
        }
        say!("serving on http://{} (Ctrl-C ends)", server.address());
        server.serve(app.into_router(), shutdown_signal()).await?;
        Ok(platform.close().await?)
    }
}
