//! A project with something in each section of the explorer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{Request, Response, SessionContext, SessionNamespaceExt, SessionObject};
use serde_json::Value;

use super::tab::Result;
use super::{ATTACK, PICTURE};
use crate::programs::program;
use crate::target;

const CONFIG: &str = r#"name = "explorer"
compatibility_date = "2026-11-01"

[[r2_buckets]]
binding = "STORAGE"
bucket_name = "shop-assets"

[[d1_databases]]
binding = "DB"
database_name = "shop"
database_id = "6f1c2b3a-0000-4000-8000-00000000e001"

[[analytics_engine_datasets]]
binding = "EVENTS"
dataset = "shop_events"
"#;
const SCHEMA: &str = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, mail TEXT UNIQUE);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE, total REAL NOT NULL, note TEXT);
CREATE INDEX orders_by_customer ON orders (customer);
CREATE VIEW large_orders AS SELECT * FROM orders WHERE total > 90;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 130)
  INSERT INTO customers SELECT i, 'Customer ' || i, 'c' || i || '@example.com' FROM n;
INSERT INTO orders SELECT id, id, id * 0.75, NULL FROM customers;
INSERT INTO orders VALUES (9007199254740993, 1, 1, NULL)";
/// A project with something in each section.
pub(super) struct Shop {
    pub(super) folder: PathBuf,
    pub(super) isobar: PathBuf,
}

impl Shop {
    pub(super) fn build() -> Result<Self> {
        let isobar = program("isobar")?;
        let folder = std::path::absolute(target().join("browser-explorer"))?;
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(folder.join("site"))?;
        let shop = Self { isobar, folder };
        fs::write(shop.folder.join("wrangler.toml"), CONFIG)?;
        let hostile = format!("photos/{ATTACK}.txt").replace('/', "∕").replacen('∕', "/", 1);
        let objects: [(&str, Vec<u8>); 5] = [
            ("photos/mark.png", base64::engine::general_purpose::STANDARD.decode(PICTURE)?),
            ("photos/page.html", format!("<!doctype html><title>x</title>{ATTACK}").into_bytes()),
            (&hostile, b"the key is hostile".to_vec()),
            ("notes/readme.txt", "A long text. ".repeat(10_000).into_bytes()),
            ("notes/bytes.bin", (0..=255).collect()),
        ];
        for (key, content) in objects {
            fs::write(shop.folder.join("content"), content)?;
            shop.isobar(&["r2", "object", "put", &format!("shop-assets/{key}"), "--file", "content"])?;
        }
        for number in 1..=60 {
            let key = format!("shop-assets/many/file-{number:03}.txt");
            shop.isobar(&["r2", "object", "put", &key, "--file", "content"])?;
        }
        shop.isobar(&["d1", "execute", "DB", "--command", SCHEMA])?;
        shop.isobar(&["d1", "time-travel", "enable", "DB"])?;
        let note = format!("UPDATE orders SET note = '{}' WHERE id = 3", ATTACK.replace('\'', "''"));
        shop.isobar(&["d1", "execute", "DB", "--command", &note])?;
        for version in ["first", "second"] {
            fs::write(shop.folder.join("site/index.html"), format!("<h1>The {version} site</h1>"))?;
            shop.isobar(&["deploy", "site", "STORAGE/static", "--message", &format!("The {version} one")])?;
        }
        tokio::runtime::Runtime::new()?.block_on(rooms(&shop.folder.join(".isobar/sessions/Room")))?;
        shop.isobar(&["sessions", "backup", "Room", "backup/sessions"])?;
        Ok(shop)
    }

    fn isobar(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.isobar).args(arguments).current_dir(&self.folder).output()?;
        if !output.status.success() {
            return Err(format!("isobar {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(super) fn token(&self, scope: &str) -> Result<String> {
        let key: Value =
            serde_json::from_str(&self.isobar(&["keys", "create", "--scope", scope, "--name", "browser", "--json"])?)?;
        Ok(key["token"].as_str().ok_or("the key has no token")?.to_owned())
    }
}

/// A session object that keeps the paths it is asked for.
struct Room(SessionContext);

impl SessionObject for Room {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> isobar_sessions::Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, text TEXT)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> isobar_sessions::Result<Response> {
        self.0.sql().exec("INSERT INTO messages (text) VALUES (?)", (request.uri().path(),))?;
        self.0.kv().put("last", &request.uri().path())?;
        self.0.set_alarm(chrono::Utc::now() + chrono::TimeDelta::hours(1))?;
        Ok(Response::default())
    }
}

/// Makes two rooms, one of which has a hostile name.
async fn rooms(folder: &Path) -> isobar_sessions::Result<()> {
    let host = LocalHost::<Room>::open(folder, "Room", &HostOptions::default().with_threads(1), || ())?;
    for name in ["lobby", ATTACK] {
        host.get(&host.id(name), "/hello").await?;
    }
    Ok(())
}
