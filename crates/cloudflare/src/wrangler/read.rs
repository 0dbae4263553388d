//! From text to configuration.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Config, Error, FILE_NAMES};

/// The configuration's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `wrangler.toml`.
    Toml,
    /// `wrangler.json` and `wrangler.jsonc`: JSON with comments and trailing commas.
    Jsonc,
}

/// Keys that wrangler knows and isobar does not act on: no warning for them.
const OTHER_KEYS: &[&str] = &[
    "$schema",
    "account_id",
    "ai",
    "alias",
    "base_dir",
    "build",
    "cache",
    "cloudchamber",
    "compliance_region",
    "containers",
    "data_blobs",
    "define",
    "dependencies_instrumentation",
    "dev",
    "dispatch_namespaces",
    "env",
    "find_additional_modules",
    "first_party_worker",
    "hyperdrive",
    "images",
    "jsx_factory",
    "jsx_fragment",
    "keep_names",
    "keep_vars",
    "kv_namespaces",
    "legacy_env",
    "limits",
    "logfwdr",
    "logpush",
    "media",
    "minify",
    "mtls_certificates",
    "no_bundle",
    "observability",
    "pages_build_output_dir",
    "pipelines",
    "placement",
    "preserve_file_names",
    "preview_urls",
    "previews",
    "python_modules",
    "queues",
    "ratelimits",
    "route",
    "routes",
    "rules",
    "secrets",
    "secrets_store_secrets",
    "send_email",
    "send_metrics",
    "services",
    "site",
    "streaming_tail_consumers",
    "tail_consumers",
    "text_blobs",
    "triggers",
    "tsconfig",
    "typescript",
    "unsafe",
    "unsafe_hello_world",
    "upload_source_maps",
    "userland_loader",
    "vectorize",
    "version_metadata",
    "vpc_networks",
    "vpc_services",
    "wasm_modules",
    "worker_loaders",
    "workers_dev",
    "workflows",
];

/// The keys that isobar acts on, and whether an environment inherits them.
const KEYS: &[(&str, bool)] = &[
    ("name", true),
    ("main", true),
    ("compatibility_date", true),
    ("compatibility_flags", true),
    ("migrations", true),
    ("assets", true),
    ("d1_databases", false),
    ("r2_buckets", false),
    ("durable_objects", false),
    ("analytics_engine_datasets", false),
    ("browser", false),
    ("vars", false),
];

/// The keys of the tables within, for warnings.
const INNER_KEYS: &[(&str, &[&str])] = &[
    (
        "d1_databases",
        &[
            "binding",
            "database_name",
            "database_id",
            "preview_database_id",
            "migrations_dir",
            "migrations_pattern",
            "migrations_table",
            "remote",
            "jurisdiction",
        ],
    ),
    ("r2_buckets", &["binding", "bucket_name", "preview_bucket_name", "jurisdiction", "remote"]),
    ("analytics_engine_datasets", &["binding", "dataset", "remote"]),
    (
        "migrations",
        &["tag", "new_sqlite_classes", "new_classes", "renamed_classes", "deleted_classes", "transferred_classes"],
    ),
];

impl Config {
    /// Reads a file; `environment` chooses its `[env.NAME]`.
    ///
    /// # Errors
    /// When it cannot be read, is not of its language, a key has the wrong type, or there is no such environment; each
    /// with file and, where one is to blame, line.
    pub fn load(path: impl AsRef<Path>, environment: Option<&str>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        let format =
            if path.extension().is_some_and(|extension| extension == "toml") { Format::Toml } else { Format::Jsonc };
        let mut config = Self::parse(&text, format, environment).map_err(|error| error.of(path))?;
        config.path = Some(path.to_owned());
        Ok(config)
    }

    /// Reads the configuration of a folder, or of the nearest folder above that has one.
    ///
    /// # Errors
    /// As [`load`](Self::load); when there is none.
    pub fn find(folder: impl AsRef<Path>, environment: Option<&str>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let absolute = std::path::absolute(folder).map_err(|error| Error::io(folder, error))?;
        let found = absolute
            .ancestors()
            .flat_map(|folder| FILE_NAMES.map(|name| folder.join(name)))
            .find(|path| path.is_file());
        let missing =
            || Error::new(format!("there is none ({}) in this folder or above", FILE_NAMES.join(", "))).of(folder);
        Self::load(found.ok_or_else(missing)?, environment)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, format: Format, environment: Option<&str>) -> Result<Self, Error> {
        let value = match format {
            Format::Toml => parse_toml(text)?,
            Format::Jsonc => parse_jsonc(text)?,
        };
        let Value::Object(mut table) = value else {
            return Err(Error::new("the top level must be a table").at(Some(1)));
        };
        let mut warnings = Vec::new();
        warn_unknown(&table, "", text, &mut warnings);
        let environments = table.remove("env");
        if let Some(name) = environment {
            choose(&mut table, environments, name, text, &mut warnings)?;
        }
        let config = fields(&table, text)?;
        Ok(Self { warnings, ..config })
    }

    /// A path of the configuration, relative to its folder.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let folder = self.path.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or_else(|| path.as_ref().to_owned(), |folder| folder.join(path.as_ref()))
    }
}

/// Puts an environment's keys in place of the top level's, and removes the bindings that it does not name.
fn choose(
    table: &mut Map<String, Value>,
    environments: Option<Value>,
    name: &str,
    text: &str,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let Some(Value::Object(mut environments)) = environments else {
        return Err(Error::new(format!("there is no environment \"{name}\": the file has no [env]")));
    };
    let chosen = environments.remove(name);
    let known = environments.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(Value::Object(chosen)) = chosen else {
        return Err(Error::new(format!("there is no environment \"{name}\"; there are: {known}")));
    };
    warn_unknown(&chosen, &format!("env.{name}."), text, warnings);
    for (key, inherited) in KEYS {
        if *inherited {
            continue;
        }
        let filled = |value: &Value| value.as_array().is_none_or(|list| !list.is_empty());
        if table.remove(*key).as_ref().is_some_and(filled) && !chosen.contains_key(*key) {
            warnings
                .push(format!("\"{key}\" stands at the top level but not in env.{name}: bindings are not inherited"));
        }
    }
    if !chosen.contains_key("name")
        && let Some(Value::String(top)) = table.get_mut("name")
    {
        top.push_str(&format!("-{name}")); // as wrangler names an environment's Worker
    }
    table.extend(chosen);
    Ok(())
}

fn fields(table: &Map<String, Value>, text: &str) -> Result<Config, Error> {
    Ok(Config {
        name: field(table, "name", text)?,
        main: field(table, "main", text)?,
        compatibility_date: field(table, "compatibility_date", text)?,
        compatibility_flags: field(table, "compatibility_flags", text)?,
        d1_databases: field(table, "d1_databases", text)?,
        r2_buckets: field(table, "r2_buckets", text)?,
        durable_objects: field(table, "durable_objects", text)?,
        migrations: field(table, "migrations", text)?,
        analytics_engine_datasets: field(table, "analytics_engine_datasets", text)?,
        browser: field(table, "browser", text)?,
        vars: field(table, "vars", text)?,
        assets: field(table, "assets", text)?,
        path: None,
        warnings: Vec::new(),
    })
}

fn field<T: DeserializeOwned + Default>(table: &Map<String, Value>, key: &str, text: &str) -> Result<T, Error> {
    let Some(value) = table.get(key) else { return Ok(T::default()) };
    serde_json::from_value(value.clone())
        .map_err(|error| Error::new(format!("\"{key}\": {error}")).at(line_of(text, key)))
}

fn warn_unknown(table: &Map<String, Value>, place: &str, text: &str, warnings: &mut Vec<String>) {
    let line = |key: &str| line_of(text, key).map(|line| format!("line {line}: ")).unwrap_or_default();
    for (key, value) in table {
        let known = KEYS.iter().any(|(known, _)| known == key) || OTHER_KEYS.contains(&key.as_str());
        if !known {
            warnings.push(format!("{}unexpected key \"{place}{key}\"", line(key)));
        }
        let Some((_, inner)) = INNER_KEYS.iter().find(|(known, _)| known == key) else { continue };
        for entry in value.as_array().into_iter().flatten().filter_map(Value::as_object) {
            if entry.contains_key("migrations_table") {
                let what = "is not honoured: migrations are kept in d1_migrations";
                warnings.push(format!("{}\"{place}{key}.migrations_table\" {what}", line("migrations_table")));
            }
            for unknown in entry.keys().filter(|name| !inner.contains(&name.as_str())) {
                warnings.push(format!("{}unexpected key \"{place}{key}.{unknown}\"", line(unknown)));
            }
        }
    }
}

fn parse_toml(text: &str) -> Result<Value, Error> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        Error::new(error.message()).at(line)
    })
}

fn parse_jsonc(text: &str) -> Result<Value, Error> {
    let value = jsonc_parser::parse_to_serde_value::<Option<Value>>(text, &jsonc_parser::ParseOptions::default());
    let value = value.map_err(|error| Error::new(error.kind().to_string()).at(Some(error.line_display())))?;
    Ok(value.unwrap_or_default())
}

/// The first line that mentions the key as a key: in front of `=` or `:`, or as a table's name.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let is_key = |line: &str| {
        let line = line.trim();
        let name = line.trim_start_matches('[').trim_start_matches('"');
        name.strip_prefix(key)
            .is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with(['=', ':', ']', '.']))
            || line.trim_end_matches(']').ends_with(&format!(".{key}"))
    };
    text.lines().position(is_key).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::super::RunWorkerFirst;
    use super::*;

    const TOML: &str = r#"
name = "platform"
main = "build/index.js"
compatibility_date = "2026-11-01"
colour = "blue"
[vars]
GREETING = "hello"
[[r2_buckets]]
binding = "STORAGE"
bucket_name = "inneranimalmedia-assets"
[[d1_databases]]
binding = "DB"
database_name = "inneranimalmedia-business"
database_id = "1"
migration_dir = "typo"
[[durable_objects.bindings]]
name = "IAM_SESSION"
class_name = "IamSession"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["IamSession"]
[[analytics_engine_datasets]]
binding = "INNERANIMALMEDIA-ANALYTICENGINE"
dataset = "inneranimalmedia"
[browser]
binding = "BROWSER"
[assets]
directory = "./static"
run_worker_first = ["/api/*"]
[env.staging]
[[env.staging.r2_buckets]]
binding = "STORAGE"
bucket_name = "staging"
"#;

    #[test]
    fn every_binding_is_read_and_the_unknown_warned_about() {
        let config = Config::parse(TOML, Format::Toml, None).unwrap();
        assert_eq!(config.r2_buckets[0].bucket_name.as_deref(), Some("inneranimalmedia-assets"));
        assert_eq!(config.d1_databases[0].local_name(), "inneranimalmedia-business");
        assert_eq!(config.durable_objects.bindings[0].class_name, "IamSession");
        assert_eq!(config.migrations[0].new_sqlite_classes, ["IamSession"]);
        assert_eq!(config.analytics_engine_datasets[0].dataset.as_deref(), Some("inneranimalmedia"));
        assert_eq!(config.browser.unwrap().binding, "BROWSER");
        assert_eq!(config.vars["GREETING"], "hello");
        assert_eq!(config.assets.unwrap().run_worker_first, RunWorkerFirst::Globs(vec!["/api/*".into()]));
        assert_eq!(
            config.warnings,
            ["line 5: unexpected key \"colour\"", "line 15: unexpected key \"d1_databases.migration_dir\""]
        );
    }

    #[test]
    fn jsonc_says_the_same() {
        let jsonc = r#"{ // a comment
            "name": "platform", "r2_buckets": [{ "binding": "STORAGE", "bucket_name": "b", }],
        }"#;
        let config = Config::parse(jsonc, Format::Jsonc, None).unwrap();
        assert_eq!((config.name.as_deref(), config.r2_buckets[0].local_name()), (Some("platform"), "b"));
    }

    #[test]
    fn an_environment_inherits_no_bindings() {
        let config = Config::parse(TOML, Format::Toml, Some("staging")).unwrap();
        assert_eq!(config.name.as_deref(), Some("platform-staging"));
        assert_eq!(config.r2_buckets[0].local_name(), "staging");
        assert!(config.d1_databases.is_empty() && config.vars.is_empty());
        assert_eq!(config.compatibility_date.as_deref(), Some("2026-11-01"));
        assert!(config.warnings.iter().any(|warning| warning.contains("\"d1_databases\" stands at the top level")));
        let error = Config::parse(TOML, Format::Toml, Some("production")).unwrap_err().to_string();
        assert!(error.contains("no environment \"production\""), "{error}");
    }

    #[test]
    fn errors_name_the_line() {
        let broken = Config::parse("name = \"a\"\nmain = [", Format::Toml, None).unwrap_err();
        assert_eq!(broken.line(), Some(2), "{broken}");
        let wrong =
            Config::parse("name = \"a\"\n\n[[r2_buckets]]\nbucket_name = \"b\"\n", Format::Toml, None).unwrap_err();
        assert_eq!((wrong.line(), wrong.to_string().contains("missing field `binding`")), (Some(3), true), "{wrong}");
        let json = Config::parse("{\n  \"name\": 5\n}", Format::Jsonc, None).unwrap_err();
        assert_eq!(json.line(), Some(2), "{json}");
        let json = Config::parse("{\n  \"name\" 5\n}", Format::Jsonc, None).unwrap_err();
        assert_eq!(json.line(), Some(2), "{json}");
    }

    #[test]
    fn files_are_found_upwards_and_missing_ones_named() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(folder.path().join("wrangler.toml"), TOML).unwrap();
        let config = Config::find(&inner, None).unwrap();
        assert_eq!(config.resolve("./static"), folder.path().join("./static"));
        let error = Config::load(folder.path().join("none.toml"), None).unwrap_err().to_string();
        assert!(error.contains("none.toml: cannot be read"), "{error}");
    }
}
