//! `isobar serve`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use isobar_http_serve::native::{Server, init_log, shutdown_signal};
use isobar_http_serve::{App, WranglerPlatform, signed_objects};
use isobar_site::{Site, SiteOptions};
use isobar_storage::ObjectStore;
use isobar_storage::local::LocalStore;

use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "The site is the configuration's [assets] directory; without one, what is under --prefix in the bucket.
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
        let directory = config.assets.as_ref().and_then(|assets| assets.directory.clone());
        let first = config.r2_buckets.first().map(|bucket| bucket.binding.clone());
        let platform = WranglerPlatform::new(config.clone()).local(&root).await?;
        let (store, prefix): (Arc<dyn ObjectStore>, String) = match directory {
            Some(directory) => {
                let store = LocalStore::open(root.join("assets")).await?;
                let summary = crate::sync::run(&config.resolve(directory), &store, "", true).await?;
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
        app = app.site(Site::new(store, SiteOptions::default().with_prefix(prefix)));
        if let Some(dataset) = config.analytics_engine_datasets.first() {
            app = app.observe(platform.dataset(&dataset.binding)?);
        }
        say!("serving on http://{} (Ctrl-C ends)", server.address());
        server.serve(app.into_router(), shutdown_signal()).await?;
        Ok(platform.close().await?)
    }
}
