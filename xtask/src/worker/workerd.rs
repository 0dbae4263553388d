//! Runs workerd through miniflare in Node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use isobar_cloudflare::wrangler::Config;
use isobar_storage::content_type;
use serde_json::{Map, Value, json};

use crate::http::Server;
use crate::{Outcome, npm, target};

/// The miniflare that the gate runs; every 5.x is a beta so far. `cargo xtask drift` tests newer ones.
pub(crate) const MINIFLARE: &str = "miniflare@5.20261117.0-beta";
/// The environment variable that selects another miniflare, as `name@version`.
pub(crate) const MINIFLARE_VARIABLE: &str = "ISOBAR_MINIFLARE";
const SCRIPT: &str = include_str!("../../js/workerd.mjs");
const COMPATIBILITY_DATE: &str = "2026-11-01";

/// Options of a Worker in workerd.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) build: PathBuf,
    pub(crate) port: u16,
    /// Folder of the state; `None` keeps it in memory.
    pub(crate) persist: Option<PathBuf>,
    pub(crate) buckets: Vec<(String, String)>,
    /// Id and secret of the key for access to the buckets over S3.
    pub(crate) s3_key: Option<(String, String)>,
    pub(crate) databases: Vec<(String, String)>,
    pub(crate) classes: Vec<(String, String)>,
    pub(crate) datasets: Vec<String>,
    /// The compatibility date. Default: [`COMPATIBILITY_DATE`].
    pub(crate) compatibility_date: Option<String>,
    pub(crate) compatibility_flags: Vec<String>,
    pub(crate) vars: Map<String, Value>,
    /// The binding of browsers, and the path of chromium.
    pub(crate) browser: Option<(String, PathBuf)>,
    /// Name of a `send_email` binding. The files of sent messages are printed.
    pub(crate) mail: Option<String>,
    pub(crate) evicts: Option<String>,
    pub(crate) migrate: Vec<(String, PathBuf)>,
    /// Folders to load at the start: bucket, key prefix, folder.
    pub(crate) load: Vec<(String, String, PathBuf)>,
}

impl Options {
    /// Reads the bindings of a wrangler.toml. The folder `static` beside it is loaded into the first bucket.
    pub(crate) fn from_wrangler(path: &str, build: PathBuf, port: u16) -> Result<Self, Box<dyn std::error::Error>> {
        let config = Config::load(path, None)?;
        let databases = &config.d1_databases;
        let folder = |database: &isobar_cloudflare::wrangler::D1Database| {
            config.resolve(database.migrations_dir.as_deref().unwrap_or("migrations"))
        };
        let id = |database: &isobar_cloudflare::wrangler::D1Database| {
            database.database_id.clone().unwrap_or_else(|| database.local_name().to_owned())
        };
        let datasets: Vec<String> = config.analytics_engine_datasets.iter().map(|one| one.binding.clone()).collect();
        let mut vars: Map<String, Value> = config.vars.clone().into_iter().collect();
        // Another Worker replaces the datasets, so their names are passed as a variable.
        vars.insert("ISOBAR_DATASETS".to_owned(), datasets.join(",").into());
        Ok(Self {
            name: config.name.clone().unwrap_or_else(|| "worker".to_owned()),
            build,
            port,
            buckets: config.r2_buckets.iter().map(|one| (one.binding.clone(), one.local_name().to_owned())).collect(),
            databases: databases.iter().map(|one| (one.binding.clone(), id(one))).collect(),
            classes: config
                .durable_objects
                .bindings
                .iter()
                .map(|one| (one.name.clone(), one.class_name.clone()))
                .collect(),
            datasets,
            vars,
            browser: None,
            compatibility_date: config.compatibility_date.clone(),
            compatibility_flags: config.compatibility_flags.clone(),
            migrate: databases.iter().map(|one| (one.binding.clone(), folder(one))).collect(),
            load: config
                .r2_buckets
                .first()
                .map(|bucket| (bucket.binding.clone(), "static/".to_owned(), config.resolve("static")))
                .into_iter()
                .collect(),
            ..Self::default()
        })
    }

    fn to_json(&self) -> Result<Value, Box<dyn std::error::Error>> {
        let Self {
            name,
            build,
            port,
            persist,
            buckets,
            s3_key,
            databases,
            classes,
            datasets,
            vars,
            browser,
            mail,
            evicts,
            migrate,
            load,
            compatibility_date,
            compatibility_flags,
        } = self;
        let map = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>();
        let bucket = |name: &str| match s3_key {
            Some((id, secret)) => {
                json!({"id": name, "s3Credentials": {"accessKeyId": id, "secretAccessKey": secret}})
            }
            None => json!(name),
        };
        let buckets: Map<String, Value> =
            buckets.iter().map(|(binding, name)| (binding.clone(), bucket(name))).collect();
        let classes: Map<String, Value> = classes
            .iter()
            .map(|(binding, class)| (binding.clone(), json!({"className": class, "useSQLite": true})))
            .collect();
        let migrate: Vec<Value> =
            migrate.iter().map(|(database, folder)| json!({"database": database, "folder": folder})).collect();
        let load =
            load.iter().map(|(bucket, prefix, folder)| Ok(json!({"bucket": bucket, "files": files(folder, prefix)?})));
        Ok(json!({
            "name": name, "build": build, "port": port, "persist": persist, "compatibilityDate": compatibility_date.as_deref().unwrap_or(COMPATIBILITY_DATE), "compatibilityFlags": compatibility_flags,
            "r2Buckets": buckets, "d1Databases": map(databases), "durableObjects": classes, "bindings": vars,
            "email": mail.as_ref().map(|name| json!({ "send_email": [{ "name": name }] })),
            "browserRendering": browser.as_ref().map(|(binding, _)| json!({ "binding": binding })), "eventsFrom": datasets, "evicts": evicts, "migrate": migrate,
            "load": load.collect::<std::io::Result<Vec<_>>>()?,
        }))
    }
}

/// Lists all files of a folder, with their keys and content types.
fn files(folder: &Path, prefix: &str) -> std::io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let key = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path(), &format!("{key}/"))?);
        } else {
            let content_type = content_type::from_key(&key);
            found.push(json!({"key": key, "path": std::path::absolute(entry.path())?, "contentType": content_type}));
        }
    }
    Ok(found)
}

/// Returns by how much later a Worker's first answer comes than an empty Worker's: the median of several starts.
pub(crate) fn start_up(options: &Options, path: &str, runs: u32) -> Result<Duration, Box<dyn std::error::Error>> {
    let node = node()?;
    fs::write(node.join("workerd.mjs"), SCRIPT)?;
    let file = node.join(format!("{}-start-up.json", options.name));
    let mut options = options.to_json()?;
    options["measure"] = json!({"runs": runs, "path": path});
    fs::write(&file, serde_json::to_vec_pretty(&options)?)?;
    let output = Command::new("node").arg(node.join("workerd.mjs")).arg(&file).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let millis: i64 = last.parse().map_err(|_| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Duration::from_millis(millis.max(0).unsigned_abs()))
}

/// A running workerd, which ends when this is dropped.
pub(crate) struct Workerd {
    server: Server,
    pub(crate) address: String,
    /// Address that returns the written data points.
    pub(crate) events: String,
    /// Time from the start of Node until requests can be sent.
    pub(crate) started_in: Duration,
}

impl Workerd {
    pub(crate) fn start(options: &Options) -> Result<Self, Box<dyn std::error::Error>> {
        let node = node()?;
        // Beside node_modules, where Node looks for what it imports.
        fs::write(node.join("workerd.mjs"), SCRIPT)?;
        let file = node.join(format!("{}.json", options.name));
        fs::write(&file, serde_json::to_vec_pretty(&options.to_json()?)?)?;
        let start = Instant::now();
        let mut command = Command::new("node");
        if let Some((_, chromium)) = &options.browser {
            command.env("XDG_CACHE_HOME", chromium_cache(&node, chromium)?);
        }
        // Deliberate panics write their stacks to the log.
        let log = node.join(format!("{}.log", options.name));
        command.arg(node.join("workerd.mjs")).arg(&file).stderr(fs::File::create(&log)?);
        let mut server = Server::start(&mut command)
            .map_err(|error| format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default()))?;
        server.watches_input = true;
        let events = server.said("events on http://").ok_or("it does not say where the events are")?;
        Ok(Self { address: server.address.clone(), events, server, started_in: start.elapsed() })
    }

    /// Returns the process id of Node, whose child workerd is.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Returns the lines that it has printed.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.server.printed()
    }

    /// Waits until it ends, for example by Ctrl-C.
    pub(crate) fn wait(self) -> Outcome {
        self.server.wait()
    }
}

/// Links the installed browser into the cache where miniflare searches for its own, which it would download otherwise.
fn chromium_cache(node: &Path, chromium: &Path) -> std::io::Result<PathBuf> {
    let cache = node.join("cache");
    let folder = cache.join(".wrangler/chrome/linux-126.0.6478.182/chrome-linux64");
    fs::create_dir_all(&folder)?;
    let program = folder.join("chrome");
    // The sandbox does not work for root, under which the gate runs.
    fs::write(&program, format!("#!/bin/sh\nexec {} --no-sandbox \"$@\"\n", chromium.display()))?;
    #[cfg(unix)]
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(cache)
}

/// Returns the folder in which miniflare is installed: one for the pinned version, and one for any other.
pub(crate) fn node() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let other = std::env::var(MINIFLARE_VARIABLE).ok().filter(|other| other != MINIFLARE);
    let node = std::path::absolute(target().join(if other.is_some() { "node-drift" } else { "node" }))?;
    npm::install(&node, &[other.as_deref().unwrap_or(MINIFLARE)])?;
    Ok(node)
}
