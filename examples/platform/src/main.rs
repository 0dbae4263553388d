//! The platform as a native binary: local bindings, migrations, the static tree, the server.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use isobar_analytics::local::LocalOptions;
use isobar_api::mail::{FolderMailSender, MailSender, SmtpMailSender};
use isobar_db::migrations::{self, Migrator};
use isobar_db::vault::Keyring;
use isobar_db::{Database, HistoryOptions, PostgresDatabase, PostgresOptions, SqliteDatabase};
use isobar_http_serve::native::{Server, ServerOptions, TrustedProxies, init_log, shutdown_signal};
use isobar_http_serve::{Platform, Secret, WranglerPlatform, make_root, schedule, walk_options};
use isobar_objects::browser::BrowserEngine;
use isobar_objects::browser::chromium::Chromium;
use isobar_storage::sync::{ApplyOptions, apply, everything, plan_with};
use platform::bindings::{
    DB, DB_NAME, EMAIL, IAM_SESSION, KEYRING, MAIL_FROM, MAIL_URL, OAUTH_PROVIDERS, PUBLIC_URL, SETUP_TOKEN, STORAGE,
    TURN_SECRET,
};
use platform::{IamEnv, IamSession, KEEPER, app, auth, check_keyring, unused_setup_token};

/// Interval at which complete segments of the datasets' logs become columnar ones.
const COMPACT_EVENTS_EVERY: std::time::Duration = std::time::Duration::from_secs(10 * 60);

/// Runs the whole platform in one process: creates its bindings, applies its migrations, loads its static tree, and serves.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  platform
  platform --port 3000 --root /var/lib/platform
  platform --database 'postgres:///platform?host=/run/postgresql&user=app'

Environment:
  ISOBAR_KEYRING       Keyring of sealed values [default: ROOT/keyring, created by the first start]
  SETUP_TOKEN          Set-up token of the operator, in place of the printed link; at least 16 characters
  MAIL_URL             SMTP server for e-mail, smtps://USER:PASSWORD@HOST, or off for none [default: files in ROOT/mail]
  MAIL_FROM            Sender address of e-mail [default: noreply@localhost.localdomain]
  PUBLIC_URL           Base URL of links in e-mail [default: http://localhost:PORT]
  OAUTH_PROVIDERS      OAuth and OpenID Connect providers, as JSON; see wrangler.toml
  OAUTH_<NAME>_SECRET  Secret of a provider
  TURN_SECRET          Secret that the TURN servers of calls share with the platform
  CHROMIUM             Path of the chromium that renders pages [default: an installed one]
  RUST_LOG             Filter of the log [default: warn,isobar_gateway::lifecycle=info,isobar_http_serve=info,isobar_server=info,s3s=off]"
)]
struct Cli {
    /// The wrangler configuration
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/wrangler.toml"), hide_default_value = true)]
    config: PathBuf,
    /// The folder of all data
    #[arg(long, default_value = ".isobar")]
    root: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// Port to listen on; 0 selects a free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Address or range (CIDR) of a proxy whose headers are trusted; may be given several times
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<TrustedProxies>,
    /// Expect a PROXY protocol header (version 1 or 2) at the start of every connection
    #[arg(long)]
    proxy_protocol: bool,
    /// Postgres server that has the databases, each in a schema of its name, in place of files below the root; a URL
    /// postgres://USER:PASSWORD@HOST/DATABASE. The processes of the machine see it: leave the password out, and let the server trust
    /// the user or the socket
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Days for which every commit of the databases is kept, in up to 1 GiB each, for `isobar d1 time-travel` and `isobar d1
    /// backup`; 0 leaves it as it is. Costs a copy of each page that is written, compressed, and a sync for each 500. A Postgres server
    /// keeps a history of its own: not with --database
    #[arg(long, value_name = "DAYS", default_value_t = 30, conflicts_with = "database")]
    history_days: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    init_log();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let configured = Platform::from_wrangler(&cli.config)?;
    // Bind before opening anything, so that a port in use changes nothing.
    let proxies = cli.trusted_proxy.iter().cloned().fold(TrustedProxies::default(), TrustedProxies::and);
    let options = ServerOptions::default().with_trusted_proxies(proxies).with_proxy_protocol(cli.proxy_protocol);
    let listener = Server::bind_with(SocketAddr::new(cli.ip, cli.port), options).await?;
    let config = configured.config().clone();
    make_root(&config.resolve("."), &cli.root)?;
    let databases = Databases { url: cli.database.clone(), root: cli.root.clone() };
    let configured = secrets(configured, &databases).await?;
    let port = listener.address().map_or(cli.port, |address| address.port());
    let configured = mail(configured, &cli.root, port)?;
    let browsers = Chromium::find().map(|browsers| Arc::new(browsers) as Arc<dyn BrowserEngine>);
    let events = LocalOptions::default().with_compact_every(Some(COMPACT_EVENTS_EVERY));
    let configured =
        configured.events(events).browsers(browsers).session_class::<IamSession>("IamSession", IamEnv::new);
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let history = HistoryOptions::default().with_max_age(day * cli.history_days);
    let keeps_history = cli.history_days > 0 && cli.database.is_none();
    let configured = configured.history(keeps_history.then_some(history)).postgres(cli.database);
    let platform = configured.local(&cli.root).await?;
    for database in &config.d1_databases {
        let (folder, pattern) =
            migrations::location(database.migrations_dir.as_deref(), database.migrations_pattern.as_deref())?;
        let opened = platform.database(&database.binding)?;
        let files = migrations::from_pattern_for(config.resolve(&folder), &pattern, opened.dialect())?;
        let migrator = Migrator::default();
        let migrator = database.migrations_table.iter().fold(migrator, |migrator, table| migrator.with_table(table));
        let applied = migrator.apply(&*opened, &files).await;
        for name in applied.map_err(|error| databases.named(database.local_name(), &error))? {
            println!("applied {name} to {}", database.local_name());
        }
    }
    let bucket = platform.bucket(STORAGE)?;
    let walk = walk_options(&config.resolve("."), &cli.root);
    let plan = plan_with(config.resolve("static"), &*bucket, "static/", &everything, &walk).await?;
    // Deletes nothing: other files in the bucket are kept.
    apply(&plan, &*bucket, &ApplyOptions::default(), |_| {}).await?;
    println!("static tree: {} files uploaded, {} unchanged", plan.uploads.len(), plan.unchanged);

    offer_set_up(&platform, &databases, port).await?;
    if let Err(error) = schedule(&*platform.sessions(IAM_SESSION)?, KEEPER).await {
        // A damaged file stops only its own function, not the platform.
        eprintln!("scheduled tasks do not run until the next start: {error}");
    }
    deliver(auth(&platform)?);
    println!("serving on {} (Ctrl-C ends)", listener.url());
    let app = app(&platform)?;
    listener.serve(app.into_service(), shutdown_signal()).await?;
    Ok(platform.close().await?)
}

/// Prints where the first owner signs up, while there is none.
async fn offer_set_up(platform: &Platform, databases: &Databases, port: u16) -> Result<(), Box<dyn Error>> {
    let token = auth(platform)?.setup_token().await;
    let token = token.map_err(|error| databases.named(DB_NAME, &error))?;
    match unused_setup_token(platform) {
        Some(error) if token.is_some() => return Err(format!("{SETUP_TOKEN}: {error}").into()),
        // Set up long ago, by another token.
        Some(error) => eprintln!("warning: {SETUP_TOKEN} is not used: {error}"),
        None => {}
    }
    if let Some(token) = token {
        // In the fragment, so that it is in no server log.
        println!("the first owner signs up at http://localhost:{port}/dashboard/setup#{token}");
    }
    Ok(())
}

/// The place of the databases.
struct Databases {
    /// Of the Postgres server; `None` for files.
    url: Option<String>,
    root: PathBuf,
}

impl Databases {
    fn file(&self, name: &str) -> PathBuf {
        self.root.join("d1").join(format!("{name}.sqlite"))
    }

    /// Adds the place of a database to its error, so that a damaged one can be restored.
    fn named(&self, name: &str, error: &dyn std::fmt::Display) -> String {
        match self.url {
            Some(_) => format!("the database {name}: {error}"),
            None => format!("the database {}: {error}", self.file(name).display()),
        }
    }

    /// Compares the keyring with the database that is there.
    async fn compare(&self, keyring: Option<Secret>) -> Result<(), Box<dyn Error>> {
        let builder = if let Some(url) = &self.url {
            let options = PostgresOptions::default().with_schema(DB_NAME);
            let opened = PostgresDatabase::connect_with(url, options).await;
            Platform::builder().with_database(DB, opened.map_err(|error| self.named(DB_NAME, &error))?)
        } else {
            let file = self.file(DB_NAME);
            if !file.exists() {
                return Ok(());
            }
            Platform::builder().with_database(DB, SqliteDatabase::open(file).await?)
        };
        let builder = keyring.into_iter().fold(builder, |builder, keyring| builder.with_secret(KEYRING, keyring));
        let checked = check_keyring(&builder.build()).await;
        match checked.map_err(|error| self.named(DB_NAME, &error))? {
            Some(problem) => Err(problem.into()),
            None => Ok(()),
        }
    }
}

/// Every minute closes connections of users whose access has ended other than by a request.
fn deliver(auth: isobar_api::Auth) {
    drop(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(std::time::Duration::from_secs(60));
        loop {
            ticks.tick().await;
            if let Err(problem) = auth.deliver_revocations().await {
                eprintln!("connections of revoked access could not be closed and will be tried again: {problem:?}");
            }
        }
    }));
}

/// Sets the sender of e-mail and the base of its links. A folder of messages is for development: its readers can use the links.
fn mail(configured: WranglerPlatform, root: &Path, port: u16) -> Result<WranglerPlatform, Box<dyn Error>> {
    let of_environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let var = |name: &str| configured.config().vars.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let from = of_environment(MAIL_FROM).or_else(|| var(MAIL_FROM));
    let has_url = var(PUBLIC_URL).is_some();
    let sender: Arc<dyn MailSender> = match of_environment(MAIL_URL).as_deref() {
        Some("off") => return Ok(configured),
        Some(url) => {
            let from = from.ok_or("set MAIL_FROM to the sender address of e-mail")?;
            Arc::new(SmtpMailSender::new(url, &from)?)
        }
        None => {
            let from = from.unwrap_or_else(|| "noreply@localhost.localdomain".to_owned());
            let folder = root.join("mail");
            println!("e-mail is written to {} and not sent: set {MAIL_URL} to send it", folder.display());
            Arc::new(FolderMailSender::new(folder, &from)?)
        }
    };
    let configured = configured.mail(EMAIL, sender);
    let url = of_environment(PUBLIC_URL).unwrap_or_else(|| format!("http://localhost:{port}"));
    Ok(if has_url { configured } else { configured.secret(PUBLIC_URL, Secret::new(url)) })
}

/// Returns the secrets: those of the environment, and the keyring in the root's file, which the first start creates. A keyring
/// that is missing, or not the one with which the database was sealed, is refused before anything else is opened.
async fn secrets(mut configured: WranglerPlatform, databases: &Databases) -> Result<WranglerPlatform, Box<dyn Error>> {
    let root = &databases.root;
    let is_secret = |name: &str| {
        [KEYRING, SETUP_TOKEN, TURN_SECRET, OAUTH_PROVIDERS].contains(&name)
            || name.starts_with("OAUTH_") && name.ends_with("_SECRET")
    };
    // A variable that is not UTF-8 is ignored.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    for (name, value) in variables.filter(|(name, _)| is_secret(name)) {
        configured = configured.secret(name, Secret::new(value));
    }
    if let Some(keyring) = std::env::var_os(KEYRING) {
        // A keyring that is not UTF-8 is refused with the configuration.
        databases.compare(Some(Secret::new(keyring.to_string_lossy()))).await?;
    } else {
        let path = root.join("keyring");
        if !path.exists() {
            databases.compare(None).await.map_err(|error| format!("{} does not exist: {error}", path.display()))?;
            std::fs::create_dir_all(root)?;
            Keyring::generate("first")?.write_new(&path)?;
            println!("created {}: back it up, sealed values cannot be read without it", path.display());
        }
        Keyring::from_file(&path)?; // says what is wrong with it, before anything is served
        let keyring = Secret::new(std::fs::read_to_string(&path)?);
        databases.compare(Some(keyring.clone())).await.map_err(|error| format!("{}: {error}", path.display()))?;
        configured = configured.secret(KEYRING, keyring);
    }
    Ok(configured)
}
