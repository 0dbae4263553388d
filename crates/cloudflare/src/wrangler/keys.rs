//! The keys of a configuration, and those that isobar supports.
//!
//! Three lists: the schema of wrangler (`keys.tsv`, made from its `config-schema.json`), by which unknown keys are found; [`SERVED`], of
//! which fields are made; [`UNSERVED`], the others that an application would miss. A key of the schema in neither of the two lists (`limits`,
//! `observability`) means nothing to a server and gives no warning.
//!
//! When wrangler gains a key, the file is made anew, and the key joins one of the lists or neither: whether an application would miss it
//! is a judgement that no test makes.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Error;
use super::document::{Lines, within};

/// The keys of each table, `PATH<tab>KEYS` a line, sorted: from `config-schema.json` of wrangler 4.164, but for tables whose keys
/// are the user's.
const SCHEMA: &str = include_str!("keys.tsv");

static KNOWN: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let lines = SCHEMA.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(path, keys)| (path, keys.split(' ').collect())).collect()
});

/// Top-level keys that are not in the schema: those of earlier versions of wrangler, and those that it writes to `.wrangler/deploy/config.json`.
const MORE_KEYS: [&str; 8] = [
    "configPath",
    "definedEnvironments",
    "legacy_env",
    "targetEnvironment",
    "topLevelName",
    "typescript",
    "userConfigPath",
    "userland_loader",
];

/// The keys that isobar supports, and whether an environment inherits them.
pub(super) const SERVED: [(&str, bool); 13] = [
    ("name", true),
    ("main", true),
    ("compatibility_date", true),
    ("compatibility_flags", true),
    ("migrations", true),
    ("triggers", true),
    ("assets", true),
    ("d1_databases", false),
    ("r2_buckets", false),
    ("durable_objects", false),
    ("analytics_engine_datasets", false),
    ("browser", false),
    ("vars", false),
];

/// Keys that wrangler supports and isobar does not, and that an environment does not inherit, with the consequence for the
/// application.
const UNSERVED: [(&str, &str); 35] = [
    ("agent_memory", BINDING),
    ("ai", BINDING),
    ("ai_search", BINDING),
    ("ai_search_namespaces", BINDING),
    // Natively datasets are asked without it.
    ("analytics", ""),
    ("artifacts", BINDING),
    ("connect", "isobar does not listen on the socket"),
    ("containers", "no container is started"),
    ("dispatch_namespaces", BINDING),
    ("flagship", BINDING),
    ("hyperdrive", BINDING),
    ("images", BINDING),
    ("k2", BINDING),
    ("kv_namespaces", BINDING),
    ("logfwdr", BINDING),
    ("media", BINDING),
    ("mtls_certificates", BINDING),
    ("pipelines", BINDING),
    ("queues", "nothing is sent to a queue, and no consumer is called"),
    ("ratelimits", BINDING),
    ("secrets_store_secrets", BINDING),
    // The application provides its own e-mail sender.
    ("send_email", ""),
    ("services", BINDING),
    ("site", "use \"assets\""),
    ("stream", BINDING),
    ("streaming_tail_consumers", "no trace is sent"),
    ("tail_consumers", "no trace is sent"),
    ("unsafe", BINDING),
    ("unsafe_hello_world", BINDING),
    ("vectorize", BINDING),
    ("version_metadata", BINDING),
    ("vpc_networks", BINDING),
    ("vpc_services", BINDING),
    ("worker_loaders", BINDING),
    ("workflows", BINDING),
];
const BINDING: &str = "the application has no such binding";

/// Warns about keys that are not in wrangler's schema, here and in nested tables, once for each key.
pub(super) fn warn_unknown(table: &Map<String, Value>, place: &str, lines: &Lines, warnings: &mut Vec<String>) {
    check(table, "", place, lines, warnings);
}

/// Checks a table; `path` is its path in the schema, `place` its path in the file. Tables whose keys are the user's (`vars`, `define`) are
/// not in the schema and end the descent.
fn check(table: &Map<String, Value>, path: &str, place: &str, lines: &Lines, warnings: &mut Vec<String>) {
    let Some(known) = KNOWN.get(path) else { return };
    for (key, value) in table {
        let here = within(place, key);
        let is_known = known.contains(&key.as_str()) || path.is_empty() && MORE_KEYS.contains(&key.as_str());
        if !is_known {
            let shown = without_indices(&here);
            warnings.push(format!("{}unexpected key \"{shown}\"", lines.shown(&here)));
            continue;
        }
        let path = within(path, key);
        match value {
            Value::Object(inner) => check(inner, &path, &here, lines, warnings),
            Value::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    if let Value::Object(inner) = entry {
                        check(inner, &path, &format!("{here}[{index}]"), lines, warnings);
                    }
                }
            }
            _ => {}
        }
    }
}

fn without_indices(path: &str) -> String {
    let parts = path.split('[');
    parts.map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

/// Keys of [`UNSERVED`] that an environment inherits.
const INHERITED: [&str; 1] = ["site"];

/// Whether an environment inherits a top-level key.
pub(super) fn is_inherited(key: &str) -> bool {
    let is_unserved = UNSERVED.iter().any(|(unserved, _)| *unserved == key);
    match SERVED.iter().find(|(served, _)| *served == key) {
        Some((_, inherited)) => *inherited,
        None => !is_unserved || INHERITED.contains(&key),
    }
}

/// Warns about keys that wrangler supports and isobar does not, once for each key.
pub(super) fn warn_unserved(table: &Map<String, Value>, line: impl Fn(&str) -> String, warnings: &mut Vec<String>) {
    for (key, what) in UNSERVED {
        let Some(value) = table.get(key).filter(|value| says_something(value) && !what.is_empty()) else { continue };
        let names = binding_names(key, value).join(", ");
        let names = if names.is_empty() { String::new() } else { format!(" ({names})") };
        warnings.push(format!("{}\"{key}\"{names} is not served: {what}", line(key)));
    }
}

/// Whether a value configures anything: an empty list, `false` and tables of such values do not, and give no warning.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(inner) => inner.values().any(says_something),
        _ => true,
    }
}

/// Returns the binding names of a key: `binding`, or else `name`, of each entry; the keys of `vars`.
fn binding_names<'v>(key: &str, value: &'v Value) -> Vec<&'v str> {
    let value = match key {
        "durable_objects" | "logfwdr" | "unsafe" => &value["bindings"],
        "queues" => &value["producers"],
        _ => value,
    };
    let name = |entry: &'v Value| entry["binding"].as_str().or_else(|| entry["name"].as_str());
    match value {
        Value::Array(entries) => entries.iter().filter_map(name).collect(),
        Value::Object(inner) if key == "vars" => inner.keys().map(String::as_str).collect(),
        Value::Object(_) => value["binding"].as_str().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Refuses a binding name that is used twice, as wrangler does: the application could reach only one of the bindings.
pub(super) fn refuse_duplicates(table: &Map<String, Value>, line: impl Fn(&str) -> Option<usize>) -> Result<(), Error> {
    // Neither of these is a binding of the application.
    let is_bound = |key: &&str| {
        !matches!(
            *key,
            "migrations"
                | "connect"
                | "containers"
                | "site"
                | "triggers"
                | "tail_consumers"
                | "streaming_tail_consumers"
        )
    };
    let keys = SERVED.iter().map(|(key, _)| *key).chain(UNSERVED.iter().map(|(key, _)| *key)).filter(is_bound);
    let mut names: HashMap<&str, &str> = HashMap::new();
    for key in keys {
        for name in table.get(key).map(|value| binding_names(key, value)).unwrap_or_default() {
            let Some(other) = names.insert(name, key) else { continue };
            let places = if other == key { format!("twice in {key}") } else { format!("in {other} and in {key}") };
            let message = format!("the binding name {name:?} is used {places}: binding names must be unique");
            return Err(Error::new(message).at(line(key)));
        }
    }
    Ok(())
}

/// Warns about names that Cloudflare refuses.
pub(super) fn warn_of_names(table: &Map<String, Value>, line: impl Fn(&str) -> String, warnings: &mut Vec<String>) {
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if let Some(name) = table.get("name").and_then(Value::as_str) {
        let is_fine = name.bytes().all(|byte| is_lower(byte) || b"-_".contains(&byte)) && !name.starts_with('-');
        if !is_fine {
            let message = "use lower-case letters, digits, - and _; Cloudflare refuses other names";
            warnings.push(format!("{}invalid Worker name {name:?}: {message}", line("name")));
        }
    }
    for (index, bucket) in table.get("r2_buckets").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let Some(name) = bucket["bucket_name"].as_str() else { continue };
        let bytes = name.as_bytes();
        let ends = [bytes.first(), bytes.last()].into_iter().flatten().all(|byte| is_lower(*byte));
        if !(3..=63).contains(&bytes.len()) || !ends || !bytes.iter().all(|byte| is_lower(*byte) || *byte == b'-') {
            let message = "use 3 to 63 lower-case letters, digits and -; Cloudflare refuses other names";
            let place = line(&format!("r2_buckets[{index}].bucket_name"));
            warnings.push(format!("{place}invalid bucket name {name:?}: {message}"));
        }
    }
}
