//! Clients of Cloudflare's REST API: wrangler, Cloudflare's SDKs for Node and Python, Drizzle's and Prisma's D1 drivers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::project::{Project, Result, place, script, succeeded};
use crate::{npm, python, target};

const PACKAGES: [&str; 5] =
    ["wrangler@4.164.0", "cloudflare@7.3.0", "drizzle-kit@0.31.11", "drizzle-orm@0.45.4", "@prisma/adapter-d1@7.10.0"];
const PYTHON: &str = "5.9.0";
const SDK: &str = include_str!("../../js/doors/sdk.mjs");
const PRISMA: &str = include_str!("../../js/doors/prisma.mjs");
const DRIZZLE: &str = include_str!("../../js/doors/drizzle.mjs");
const REDIRECT: &str = include_str!("../../js/doors/redirect.cjs");
const SDK_PYTHON: &str = include_str!("../../py/doors_sdk.py");
/// Name and id of the configuration's database.
const DATABASE: &str = "doors";
const DATABASE_ID: &str = "6f1c2b3a-0000-4000-8000-00000000d001";

pub(crate) fn run() -> Result<()> {
    let clients = std::path::absolute(target().join("doors-clients"))?;
    npm::install(&clients, &PACKAGES)?;
    let python = python::package("cloudflare", "", PYTHON)?;
    let project = Project::serve("rest")?;
    let key = project.key(&["--name", "doors", "--scope", "r2:read,r2:write,d1:write,sessions:read"])?;
    // A class of session objects that has none yet.
    fs::create_dir_all(project.folder.join(".isobar/sessions/Room"))?;
    let clients = Clients { project: &project, folder: clients, key };
    clients.printed()?;
    clients.wrangler()?;
    clients.sdk()?;
    let mut command = Command::new(python.join("python"));
    command.arg(place(&clients.folder, "doors_sdk.py", SDK_PYTHON)?);
    script("cloudflare 5.9.0 (Python)", clients.with_account(&mut command), 12)?;
    clients.drizzle()?;
    clients.prisma()?;
    clients.refused()
}

/// The clients, with a project and a key to it.
struct Clients<'a> {
    project: &'a Project,
    folder: PathBuf,
    key: Value,
}

impl Clients<'_> {
    fn secret(&self, name: &str) -> &str {
        self.key[name].as_str().unwrap_or_default()
    }

    /// Sets the environment by which clients find the account.
    fn with_account<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("CLOUDFLARE_API_BASE_URL", &self.project.rest)
            .env("CLOUDFLARE_ACCOUNT_ID", self.secret("account_id"))
            .env("CLOUDFLARE_API_TOKEN", self.secret("token"))
            .env("CLOUDFLARE_DATABASE_ID", DATABASE_ID)
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_HIDE_BANNER", "true")
            .env("CI", "1")
    }

    /// Runs wrangler in the project. Its output must have these words.
    fn wrangler_says(&self, arguments: &[&str], words: &[&str]) -> Result<String> {
        let mut command = Command::new("node");
        command.arg(self.folder.join("node_modules/wrangler/bin/wrangler.js")).args(arguments);
        let output = self.with_account(command.current_dir(&self.project.folder)).output()?;
        let operation = arguments.join(" ");
        let printed = succeeded("wrangler 4.164.0", &operation, &output)?;
        if let Some(missing) = words.iter().find(|word| !printed.contains(**word)) {
            return Err(format!("wrangler 4.164.0: {operation}: expected {missing:?} in its output:\n{printed}").into());
        }
        println!("wrangler 4.164.0: {operation}");
        Ok(printed)
    }

    fn wrangler(&self) -> Result<()> {
        let folder = &self.project.folder;
        place(folder, "up.txt", "hello, wrangler\n")?;
        self.wrangler_says(&["r2", "bucket", "create", "made-by-wrangler"], &["Created bucket 'made-by-wrangler'"])?;
        self.wrangler_says(&["r2", "bucket", "list"], &["made-by-wrangler", "doors-assets"])?;
        self.wrangler_rules()?;
        let object = "made-by-wrangler/a folder/up.txt";
        self.wrangler_says(&["r2", "object", "put", object, "--file", "up.txt", "--remote"], &["Upload complete"])?;
        self.wrangler_says(&["r2", "bucket", "info", "made-by-wrangler"], &["object_count:", "1", "bucket_size:"])?;
        self.wrangler_says(&["r2", "object", "get", object, "--file", "down.txt", "--remote"], &["Download complete"])?;
        if fs::read(folder.join("down.txt"))? != fs::read(folder.join("up.txt"))? {
            return Err("wrangler 4.164.0: r2 object get: expected the bytes that were put".into());
        }
        self.wrangler_says(&["r2", "object", "delete", object, "--remote"], &["Delete complete"])?;
        self.wrangler_features()?;
        self.wrangler_says(&["r2", "bucket", "delete", "made-by-wrangler"], &["Deleted bucket"])?;

        self.wrangler_says(&["d1", "create", "made-by-wrangler"], &["made-by-wrangler"])?;
        self.wrangler_says(&["d1", "list"], &[DATABASE_ID, "made-by-wrangler"])?;
        self.wrangler_says(&["d1", "info", "made-by-wrangler", "--json"], &["\"num_tables\": 0", "made-by-wrangler"])?;
        self.wrangler_says(
            &["d1", "delete", "made-by-wrangler", "--skip-confirmation"],
            &["Deleted 'made-by-wrangler'"],
        )?;
        fs::create_dir_all(folder.join("migrations"))?;
        let trigger = "CREATE TABLE log (name TEXT);\nCREATE TRIGGER logged AFTER INSERT ON users BEGIN\n  INSERT INTO log VALUES \
                       (new.name);\nEND;\n";
        place(folder, "migrations/0001_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE);\n")?;
        place(folder, "migrations/0002_log.sql", trigger)?;
        self.wrangler_says(&["d1", "migrations", "apply", DATABASE, "--remote"], &["0001_users.sql", "0002_log.sql"])?;
        self.wrangler_says(&["d1", "migrations", "list", DATABASE, "--remote"], &["No migrations to apply"])?;
        self.wrangler_says(
            &[
                "d1",
                "execute",
                DATABASE,
                "--remote",
                "--json",
                "--command",
                "INSERT INTO users (name) VALUES ('Ada'); SELECT name FROM log",
            ],
            &["\"name\": \"Ada\"", "\"changes\": 2"],
        )?;
        self.wrangler_files()?;
        self.wrangler_says(&["d1", "time-travel", "info", DATABASE], &["bookmark"])?;
        Ok(())
    }

    /// Rules of a bucket.
    fn wrangler_rules(&self) -> Result<()> {
        let bucket = "made-by-wrangler";
        let rules = r#"{"rules": [{"allowed": {"origins": ["https://*.example.com"], "methods": ["GET", "PUT"]}, "maxAgeSeconds": 60}]}"#;
        place(&self.project.folder, "cors.json", rules)?;
        let set = ["r2", "bucket", "cors", "set", bucket, "--file", "cors.json", "--force"];
        self.wrangler_says(&set, &["Set CORS configuration for bucket"])?;
        let list = ["r2", "bucket", "cors", "list", bucket];
        self.wrangler_says(&list, &["https://*.example.com", "GET, PUT", "60"])?;
        self.wrangler_says(&["r2", "bucket", "cors", "delete", bucket, "--force"], &["CORS configuration deleted"])?;
        self.wrangler_says(&list, &["There is no CORS configuration"])?;
        self.wrangler_lifecycle(bucket)
    }

    /// Lifecycle rules: R2's default, one that is added and removed, some from a file, and one that cannot be carried out.
    fn wrangler_lifecycle(&self, bucket: &str) -> Result<()> {
        let list = ["r2", "bucket", "lifecycle", "list", bucket];
        self.wrangler_says(&list, &["Default Multipart Abort Rule", "after 7 days"])?;
        let add = ["r2", "bucket", "lifecycle", "add", bucket, "logs", "logs/"];
        self.wrangler_says(&[&add[..], &["--expire-days", "30"]].concat(), &["Added lifecycle rule 'logs'"])?;
        self.wrangler_says(&list, &["Default Multipart Abort Rule", "logs/", "Expire objects after 30 days"])?;
        let remove = ["r2", "bucket", "lifecycle", "remove", bucket, "--name", "logs"];
        self.wrangler_says(&remove, &["Lifecycle rule 'logs' removed"])?;
        let rules = r#"{"rules": [{"id": "old", "enabled": true, "conditions": {"prefix": "2019/"},
            "deleteObjectsTransition": {"condition": {"type": "Date", "date": "2030-01-01T00:00:00.000Z"}}}]}"#;
        place(&self.project.folder, "lifecycle.json", rules)?;
        let set = ["r2", "bucket", "lifecycle", "set", bucket, "--file", "lifecycle.json", "--force"];
        self.wrangler_says(&set, &["Set lifecycle configuration for bucket"])?;
        self.wrangler_says(&list, &["old", "Expire objects on 2030-01-01"])?;
        match self.wrangler_says(&[&add[..], &["--ia-transition-days", "30"]].concat(), &[]) {
            Err(error) if error.to_string().contains("storage class") => {
                println!("wrangler 4.164.0: r2 bucket lifecycle add --ia-transition-days is refused");
                Ok(())
            }
            other => {
                Err(format!("wrangler 4.164.0: r2 bucket lifecycle add: expected a refusal, got {other:?}").into())
            }
        }
    }

    /// Features of R2's that buckets do not have here: wrangler says so.
    fn wrangler_features(&self) -> Result<()> {
        let bucket = "made-by-wrangler";
        let class = ["r2", "bucket", "update", "storage-class", bucket, "--storage-class", "Standard"];
        self.wrangler_says(&class, &["Standard"])?;
        for (words, expected) in [
            (["domain", "list"], "no custom domains"),
            (["dev-url", "get"], "disabled"),
            (["lock", "list"], "no lock rules"),
            (["notification", "list"], "notification"),
            (["sippy", "get"], "enabled"),
            (["local-uploads", "get"], "disabled"),
        ] {
            self.wrangler_says(&["r2", "bucket", words[0], words[1], bucket], &[expected])?;
        }
        Ok(())
    }

    /// A file that runs, one that fails half-way, and the database as a file.
    fn wrangler_files(&self) -> Result<()> {
        let folder = &self.project.folder;
        place(
            folder,
            "seed.sql",
            "INSERT INTO users (name) VALUES ('Grace');\nINSERT INTO users (name) VALUES ('it''s; ok');\n",
        )?;
        self.wrangler_says(
            &["d1", "execute", DATABASE, "--remote", "--yes", "--file", "seed.sql"],
            &["\"Total queries executed\": 2"],
        )?;
        place(
            folder,
            "bad.sql",
            "INSERT INTO users (name) VALUES ('half');\nINSERT INTO users (name) VALUES ('Ada');\n",
        )?;
        let failed = self.wrangler_says(&["d1", "execute", DATABASE, "--remote", "--yes", "--file", "bad.sql"], &[]);
        match failed {
            Err(error) if error.to_string().contains("UNIQUE constraint failed: users.name") => {
                println!("wrangler 4.164.0: d1 execute --file bad.sql is refused with SQLite's message");
            }
            other => {
                return Err(
                    format!("wrangler 4.164.0: d1 execute --file: expected SQLite's message, got {other:?}").into()
                );
            }
        }
        let count = ["d1", "execute", DATABASE, "--remote", "--json", "--command", "SELECT count(*) AS n FROM users"];
        self.wrangler_says(&count, &["\"n\": 3"])?;
        self.wrangler_says(&["d1", "export", DATABASE, "--remote", "--output", "dump.sql"], &["dump.sql"])?;
        let dump = fs::read_to_string(folder.join("dump.sql"))?;
        for words in ["CREATE TABLE users", "'it''s; ok'", "CREATE TRIGGER logged"] {
            if !dump.contains(words) {
                return Err(format!("wrangler 4.164.0: d1 export: expected {words:?} in the file:\n{dump}").into());
            }
        }
        Ok(())
    }

    fn sdk(&self) -> Result<()> {
        let mut command = Command::new("node");
        command.arg(place(&self.folder, "sdk.mjs", SDK)?);
        script("cloudflare 7.3.0 (Node)", self.with_account(&mut command), 12)
    }

    /// Runs a program of Node whose API host is fixed in its code: a preloaded module sends its requests here.
    fn redirected(&self) -> Result<Command> {
        let mut command = Command::new("node");
        command.arg("--require").arg(place(&self.folder, "redirect.cjs", REDIRECT)?).current_dir(&self.folder);
        self.with_account(&mut command);
        Ok(command)
    }

    fn drizzle(&self) -> Result<()> {
        place(&self.folder, "drizzle.config.js", DRIZZLE_CONFIG)?;
        place(&self.folder, "schema.js", DRIZZLE_SCHEMA)?;
        if self.folder.join("drizzle").exists() {
            fs::remove_dir_all(self.folder.join("drizzle"))?;
        }
        for (operation, words) in
            [("generate", "1 tables"), ("migrate", "applied successfully"), ("introspect", "views fetched")]
        {
            let mut command = self.redirected()?;
            command.args(["node_modules/drizzle-kit/bin.cjs", operation]);
            let printed = succeeded("drizzle-kit 0.31.11", operation, &command.output()?)?;
            if !printed.contains(words) {
                return Err(
                    format!("drizzle-kit 0.31.11: {operation}: expected {words:?} in its output:\n{printed}").into()
                );
            }
            println!("drizzle-kit 0.31.11 (d1-http): {operation}");
        }
        let mut command = Command::new("node");
        command.arg(place(&self.folder, "drizzle.mjs", DRIZZLE)?).current_dir(&self.folder);
        command.env("PRINTED_LINE", self.project.line("Drizzle", &[("TOKEN", self.secret("token"))])?);
        script("drizzle-orm 0.45.4 (sqlite-proxy)", &mut command, 6)
    }

    /// wrangler by the line that the server has printed, as it is.
    fn printed(&self) -> Result<()> {
        let line = self.project.line("wrangler", &[("TOKEN", self.secret("token"))])?;
        let commands = self.folder.join("node_modules/.bin");
        let path = format!("{}:{}", commands.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(&self.project.folder).env("PATH", path).env("CI", "1");
        let printed = succeeded("wrangler 4.164.0", "the printed line", &command.output()?)?;
        if !printed.contains(DATABASE_ID) {
            return Err(format!("wrangler 4.164.0: {line}: expected {DATABASE_ID} in its output:\n{printed}").into());
        }
        println!("wrangler 4.164.0: the line that isobar serve prints");
        Ok(())
    }

    fn prisma(&self) -> Result<()> {
        let mut command = self.redirected()?;
        command.arg(place(&self.folder, "prisma.mjs", PRISMA)?);
        script("@prisma/adapter-d1 7.10.0", &mut command, 4)
    }

    /// A revoked key, which works until then.
    fn refused(&self) -> Result<()> {
        let key = self.project.key(&["--name", "revoked", "--scope", "d1:read", "--database", "DB"])?;
        let revoked = Self { key, folder: self.folder.clone(), project: self.project };
        let list = ["d1", "list"];
        revoked.wrangler_says(&list, &[DATABASE_ID])?;
        let id = revoked.secret("access_key_id").to_owned();
        self.project.isobar(&["keys", "revoke", &id])?;
        std::thread::sleep(std::time::Duration::from_millis(1100));
        match revoked.wrangler_says(&list, &[]) {
            Err(error) if error.to_string().contains("code: 10000") => {
                println!("wrangler 4.164.0: d1 list is refused with a revoked key");
                Ok(())
            }
            other => {
                Err(format!("wrangler 4.164.0: d1 list with a revoked key: expected code 10000, got {other:?}").into())
            }
        }
    }
}

const DRIZZLE_CONFIG: &str = "export default {
  dialect: 'sqlite', driver: 'd1-http', schema: './schema.js', out: './drizzle',
  dbCredentials: { accountId: process.env.CLOUDFLARE_ACCOUNT_ID, databaseId: process.env.CLOUDFLARE_DATABASE_ID,
    token: process.env.CLOUDFLARE_API_TOKEN },
};
";
const DRIZZLE_SCHEMA: &str = "import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
export const posts = sqliteTable('posts', { id: integer('id').primaryKey(), title: text('title').notNull() });
";
