//! Tests with typical configurations.

use super::{Config, Format, RunWorkerFirst};

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
fn jsonc_parses_to_the_same_configuration() {
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
    assert!(config.warnings.iter().any(|warning| warning.contains("\"d1_databases\" is at the top level")));
    let error = Config::parse(TOML, Format::Toml, Some("production")).unwrap_err().to_string();
    assert!(error.contains("no environment \"production\""), "{error}");
}

#[test]
fn errors_name_the_line() {
    let broken = Config::parse("name = \"a\"\nmain = [", Format::Toml, None).unwrap_err();
    assert_eq!(broken.line(), Some(2), "{broken}");
    let wrong = Config::parse("name = \"a\"\n\n[[r2_buckets]]\nbucket_name = \"b\"\n", Format::Toml, None).unwrap_err();
    assert_eq!((wrong.line(), wrong.to_string().contains("missing field `binding`")), (Some(3), true), "{wrong}");
    let json = Config::parse("{\n  \"name\": 5\n}", Format::Jsonc, None).unwrap_err();
    assert_eq!(json.line(), Some(2), "{json}");
    let json = Config::parse("{\n  \"name\" 5\n}", Format::Jsonc, None).unwrap_err();
    assert_eq!(json.line(), Some(2), "{json}");
}

fn warned(text: &str) -> Vec<String> {
    Config::parse(text, Format::Jsonc, None).unwrap().warnings
}

#[test]
fn keys_that_wrangler_knows_are_not_unexpected_and_typos_within_tables_are() {
    let known = r#"{"exports": {"A": {"type": "durable-object"}}, "$schema": "x", "limits": {"cpu_ms": 5},
            "r2_buckets": [{"binding": "B", "local_dev": {"experimental_s3_credentials": null}}],
            "d1_databases": [{"binding": "D", "migrations_pattern": "m/*.sql", "migrations_table": "t"}],
            "assets": {"directory": "x", "base_path": "/"}, "observability": {"logs": {"enabled": true}}}"#;
    assert_eq!(warned(known), Vec::<String>::new());
    let typos = "{\n\"assets\": {\"dir\": \"x\"},\n\"durable_objects\": {\"bindings\": [\n{\"name\": \"A\", \"class_name\": \"A\", \"class\": \"A\"}]},\n\
                 \"observability\": {\"logs\": {\"enable\": true}},\n\"env\": {}}";
    assert_eq!(
        warned(typos),
        [
            "line 2: unexpected key \"assets.dir\"",
            "line 4: unexpected key \"durable_objects.bindings.class\"",
            "line 5: unexpected key \"observability.logs.enable\"",
        ]
    );
}

#[test]
fn cron_triggers_are_read_and_an_environment_inherits_them() {
    let text = "[triggers]\ncrons = [\"*/5 * * * *\", \"0 3 * * MON\"]\n[env.a]\n[env.b]\ntriggers = { crons = [] }";
    let crons = |env| Config::parse(text, Format::Toml, env).unwrap().triggers.crons;
    assert_eq!(crons(None), ["*/5 * * * *", "0 3 * * MON"]);
    assert_eq!(crons(Some("a")), ["*/5 * * * *", "0 3 * * MON"]);
    assert_eq!(crons(Some("b")), Vec::<String>::new());
    assert!(Config::parse("[triggers]\ncrons = \"* * * * *\"", Format::Toml, None).is_err());
}

#[test]
fn unsupported_bindings_are_warned_about_once() {
    let text = r#"{"kv_namespaces": [{"binding": "CACHE", "id": "1"}, {"binding": "MORE", "id": "2"}],
            "queues": {"producers": [{"binding": "JOBS", "queue": "jobs"}]}, "triggers": {"crons": ["* * * * *"]},
            "ratelimits": [{"name": "LIMIT", "namespace_id": "1", "simple": {"limit": 1, "period": 10}}],
            "services": [], "workflows": [], "tail_consumers": []}"#;
    let warnings = warned(text);
    let named = ["\"kv_namespaces\" (CACHE, MORE) is not served", "\"queues\" (JOBS)", "\"ratelimits\" (LIMIT)"];
    assert_eq!(warnings.len(), named.len(), "{warnings:?}");
    assert!(warnings.iter().zip(named).all(|(warning, named)| warning.contains(named)), "{warnings:?}");
}

#[test]
fn duplicate_binding_name_is_refused() {
    for (text, place) in [
        ("[vars]\nDB = 1\n[[d1_databases]]\nbinding = \"DB\"", "in d1_databases and in vars"),
        ("[[r2_buckets]]\nbinding = \"A\"\n[[r2_buckets]]\nbinding = \"A\"", "twice in r2_buckets"),
        ("[[kv_namespaces]]\nbinding = \"A\"\n[assets]\nbinding = \"A\"", "in assets and in kv_namespaces"),
    ] {
        let error = Config::parse(text, Format::Toml, None).unwrap_err();
        assert!(error.to_string().contains(place) && error.line().is_some(), "{error}");
    }
}

#[test]
fn an_environment_of_a_file_without_any_is_the_top_level_with_a_warning() {
    let config = Config::parse("[[r2_buckets]]\nbinding = \"A\"", Format::Toml, Some("staging")).unwrap();
    assert_eq!((config.r2_buckets.len(), config.environment.as_deref()), (1, Some("staging")));
    assert!(config.warnings[0].contains("no environment \"staging\""), "{:?}", config.warnings);
    assert_eq!(Config::parse(TOML, Format::Toml, Some("")).unwrap().name.as_deref(), Some("platform"));
}

#[test]
fn dates_in_vars_are_texts_as_wrangler_has_them() {
    let text = "[vars]\na = 1979-05-27T07:32:00Z\nb = 1979-05-27\nc = 07:32:00.5\nd = 1979-05-27T07:32:00\n\
                e = 1979-05-27T00:32:00-07:00\nf = [1979-05-27]\ng = 1.5";
    let vars = Config::parse(text, Format::Toml, None).unwrap().vars;
    let texts: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| vars[*name].as_str().unwrap()).collect();
    let want = [
        "1979-05-27T07:32:00.000Z",
        "1979-05-27",
        "07:32:00.500",
        "1979-05-27T07:32:00.000",
        "1979-05-27T00:32:00.000-07:00",
    ];
    assert_eq!(texts, want);
    assert_eq!(vars["f"][0], "1979-05-27");
    assert_eq!(vars["g"], 1.5);
}

#[test]
fn jsonc_is_json_with_comments_and_trailing_commas_and_no_more() {
    let parse = |text: &str| Config::parse(text, Format::Jsonc, None);
    for fine in
        ["{/* a */ \"name\": \"a\", // b\n}", "\u{feff}{\"name\": \"a\"}", "{\"compatibility_flags\": [\"a\",],}"]
    {
        assert!(parse(fine).is_ok(), "{fine}: {:?}", parse(fine).err());
    }
    for refused in [
        "{name: \"a\"}",
        "{'name': 'a'}",
        "{\"name\": \"a\" \"main\": \"b\"}",
        "{\"x\": +1}",
        "{\"x\": 0x1}",
        "{\"x\": .5}",
        "{\"x\": NaN}",
        "{\n\"name\": \"a\tb\"}",
        "{\"name\": \"a\n\"}",
        "",
        "{} {}",
    ] {
        let error = parse(refused).expect_err(refused);
        assert!(error.line().is_some(), "{refused}: {error}");
    }
    assert!(Config::parse("\u{feff}name = \"a\"", Format::Toml, None).is_ok());
}

#[test]
fn errors_name_the_entry_and_its_line() {
    let toml = "[[d1_databases]]\nbinding = \"A\"\n\n[[d1_databases]]\nbinding = 5\n";
    let error = Config::parse(toml, Format::Toml, None).unwrap_err();
    assert_eq!((error.line(), error.to_string().contains("\"d1_databases[1]\"")), (Some(4), true), "{error}");
    let json = "{\n\"env\": {\"a\": {\n\"r2_buckets\": [\n{\"binding\": \"A\"},\n{}]}},\n\"r2_buckets\": []}";
    let error = Config::parse(json, Format::Jsonc, Some("a")).unwrap_err();
    assert_eq!((error.line(), error.to_string().contains("\"env.a.r2_buckets[1]\"")), (Some(5), true), "{error}");
}

#[test]
fn names_that_cloudflare_refuses_give_warnings() {
    let warnings = warned(r#"{"name": "My Worker", "r2_buckets": [{"binding": "A", "bucket_name": "Bad_Name"}]}"#);
    assert!(warnings.len() == 2 && warnings.iter().all(|warning| warning.contains("invalid")), "{warnings:?}");
}

#[test]
fn configuration_of_a_build_tool_replaces_the_users_own() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("wrangler.toml", "name = \"own\"");
    write(".wrangler/deploy/config.json", r#"{"configPath": "../../dist/wrangler.json"}"#);
    let error = Config::find(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
    write(
        "dist/wrangler.json",
        r#"{"name": "built", "targetEnvironment": "staging", "assets": {"directory": "client"}}"#,
    );
    let config = Config::find(folder.path(), None).unwrap();
    assert_eq!((config.name.as_deref(), config.environment.as_deref()), (Some("built"), Some("staging")));
    assert_eq!(config.resolve("client"), folder.path().join("dist/client"));
    assert_eq!(config.resolve_in_project(".isobar"), folder.path().join(".isobar"));
    assert!(Config::find(folder.path(), Some("production")).unwrap_err().to_string().contains("build again"));
    write("dist/wrangler.json", r#"{"env": {"a": {}}}"#);
    assert!(Config::find(folder.path(), None).unwrap_err().to_string().contains("cannot have environments"));
    write("sub/wrangler.toml", "");
    let error = Config::find(folder.path().join("sub"), None).unwrap_err().to_string();
    assert!(error.contains("not beside"), "{error}");
}

#[test]
fn pages_output_folder_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrangler.toml");
    std::fs::write(&path, "pages_build_output_dir = \"dist\"").unwrap();
    let assets = Config::load(&path, None).unwrap().assets.unwrap();
    assert_eq!(
        (assets.directory.as_deref(), assets.not_found_handling.as_deref()),
        (Some("dist"), Some("single-page-application"))
    );
    std::fs::create_dir(folder.path().join("dist")).unwrap();
    std::fs::write(folder.path().join("dist/404.html"), "").unwrap();
    assert_eq!(Config::load(&path, None).unwrap().assets.unwrap().not_found_handling.as_deref(), Some("404-page"));
}

#[test]
fn a_file_that_is_not_utf8_is_read_with_a_warning_and_utf16_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrangler.toml");
    std::fs::write(&path, b"# caf\xe9\nname = \"a\"").unwrap();
    let config = Config::load(&path, None).unwrap();
    assert_eq!((config.name.as_deref(), config.warnings.len()), (Some("a"), 1));
    std::fs::write(&path, b"\xff\xfen\0").unwrap();
    assert!(Config::load(&path, None).unwrap_err().to_string().contains("UTF-16"));
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
