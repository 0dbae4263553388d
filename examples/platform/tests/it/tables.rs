//! Tests of the declared resources and of the databases' migrations.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Platform;

#[test]
fn every_declared_table_takes_rows_and_secrets_stay_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let platform = Platform::start_with(folder.path(), log.into()).with_owner();
    let document = platform.json("/api/openapi.json");
    let mut made = BTreeMap::new();
    let mut waiting: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, item)| item["post"]["operationId"].as_str().is_some_and(|id| id.starts_with("create_")))
        .map(|(path, _)| path.trim_start_matches('/').to_owned())
        .collect();
    assert_eq!(waiting.len(), 14);
    // A row that refers to another is created after it.
    waiting.sort_by_key(|name| match name.as_str() {
        "deployments" | "external_connections" => 1,
        _ => 0,
    });
    for name in &waiting {
        let body = row_of(name, &made);
        let (status, row) = platform.post(&format!("/api/{name}"), &body);
        assert_eq!(status, 201, "{name}: {row}");
        let id = row["id"].as_str().unwrap().to_owned();
        assert_eq!(platform.json(&format!("/api/{name}/{id}")), row, "{name}");
        assert_eq!(platform.json(&format!("/api/{name}"))["items"].as_array().unwrap().len(), 1);
        made.insert(name.clone(), id);
    }
    for name in ["prompts", "knowledge_articles"] {
        assert_eq!(platform.json(&format!("/api/{name}?q=panda"))["items"].as_array().unwrap().len(), 1);
        assert_eq!(platform.json(&format!("/api/{name}?q=bears"))["items"], json!([]));
    }
    assert_eq!(platform.json("/api/tenants")["items"][0]["slug"], "ada");
    assert_eq!(platform.json("/api/memberships")["items"][0]["role"], "owner");
    // A key is shown once; wrong passwords and keys are not logged either.
    let (_, made_key) = platform.post("/api/auth/keys", &json!({"name": "CI"}));
    let api_key = made_key["key"].as_str().unwrap().splitn(3, '_').nth(2).unwrap().to_owned();
    let wrong = json!({"email": "ada@example.com", "password": "a wrong password of somebody"});
    platform.post("/api/auth/login", &wrong);
    platform.ask("GET", "/api/prompts", "Authorization: Bearer iso_0_not-a-key-of-anybody\r\n", b"");
    assert!(std::fs::metadata(folder.path().join("log")).unwrap().len() > 1000, "there is a log");
    // All files: databases, their logs, the events, the server's log.
    let keyring = std::fs::read_to_string(folder.path().join("keyring")).unwrap();
    let key = keyring.trim().split_once(':').unwrap().1;
    let cookie = platform.cookie.as_ref().unwrap().split_once('=').unwrap().1;
    let secrets = [
        "plain-credential",
        "correct horse battery",
        "a wrong password of somebody",
        "not-a-key-of-anybody",
        &api_key,
        cookie,
        key,
    ];
    let files = assert_absent(folder.path(), &secrets);
    assert!(files > 5);
}

/// Returns a valid row of a resource. `made` has the ids of the rows before it.
fn row_of(name: &str, made: &BTreeMap<String, String>) -> Value {
    match name {
        "credentials" => json!({"name": "SMTP", "secret": "plain-credential"}),
        "external_connections" => json!({"name": "Mail", "kind": "api", "credential_id": made["credentials"]}),
        "workflows" => json!({"name": "Nightly"}),
        "workers" | "tools" => json!({"name": "edge"}),
        "agent_commands" => json!({"name": "sum-up", "template": "Sum up: {text}"}),
        "deployments" => json!({"worker_id": made["workers"], "version": "1.0.0"}),
        "themes" => json!({"slug": "forest", "name": "Forest", "tokens": {"accent": "#2b6"}}),
        "configurations" => json!({"key": "locale", "value": "en"}),
        "prompts" | "knowledge_articles" => json!({"title": "Pandas", "body": "What pandas eat"}),
        "chat_messages" => json!({"room": "lobby", "text": "hello"}),
        "support_tickets" => json!({"subject": "Help"}),
        "customer_feedback" => json!({"text": "Lovely", "rating": 5}),
        other => panic!("{other} is new: say what a row of it is"),
    }
}

/// Checks that no file below a folder contains a secret, but for the keyring. Returns the number of files.
fn assert_absent(folder: &Path, secrets: &[&str]) -> usize {
    let mut folders = vec![folder.to_owned()];
    let mut files = 0;
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("keyring") {
                let bytes = std::fs::read(&path).unwrap();
                files += 1;
                for secret in secrets {
                    let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "{secret} stands in {}", path.display());
                }
            }
        }
    }
    files
}

#[test]
fn migrations_have_the_tables_of_the_crates() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/business"));
    for (name, schema) in [
        ("0001_accounts.sql", isobar_api::auth::MIGRATIONS[0]),
        ("0002_vault.sql", isobar_db::vault::SCHEMA),
        ("0003_api.sql", isobar_api::MIGRATIONS[0]),
        ("0004_oauth.sql", isobar_api::auth::OAUTH_SCHEMA),
        ("0010_images.sql", isobar_api::media::MIGRATIONS[0]),
        ("0011_accounts.sql", isobar_api::auth::MIGRATIONS[1]),
        ("0012_quotas.sql", isobar_api::MIGRATIONS[1]),
        ("0013_media.sql", isobar_api::media::MIGRATIONS[1]),
        ("0014_uploads.sql", isobar_api::media::MIGRATIONS[2]),
        ("0015_disabled_accounts.sql", isobar_api::auth::MIGRATIONS[2]),
    ] {
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), schema, "{name}");
    }
}

#[tokio::test]
async fn the_legacy_database_is_copied_by_its_map() {
    use isobar_db::{Database, QueryableExt, SqliteDatabase, migrations, transfer};
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"));
    let old = SqliteDatabase::memory().await.unwrap();
    let new = SqliteDatabase::memory().await.unwrap();
    for (database, name) in [(&old, "meauxos"), (&new, "business")] {
        migrations::apply(database, &migrations::from_folder(folder.join(name)).unwrap()).await.unwrap();
    }
    old.exec(
        "INSERT INTO tenants (id, short_name, display_name) VALUES (1, 'Inner Animal', 'Inner Animal Media')
         INSERT INTO users (id, tenant, mail, full_name, is_admin) VALUES (1, 1, 'Ada@Example.com', 'Ada', 1), (2, 1, 'bob@example.com', NULL, 0)
         INSERT INTO chat (tenant, user, channel, body, sent) VALUES (1, 1, 'lobby', 'hello', 1700000000), (1, 2, 'lobby', NULL, 1700000001)",
    )
    .await
    .unwrap();
    let map: transfer::Map = toml::from_str(&std::fs::read_to_string(folder.join("legacy.toml")).unwrap()).unwrap();
    for (dry_run, copied) in [(true, [1, 2, 2, 1]), (false, [1, 2, 2, 1]), (false, [0, 0, 0, 0])] {
        let report = transfer::transfer(&old, "meauxos", &new, &map, dry_run, |_| ()).await.unwrap();
        assert_eq!(report.tables.iter().map(|table| table.copied).collect::<Vec<_>>(), copied, "{report:?}");
        let skipped = &report.tables[3].skipped;
        assert!(skipped.len() == 1 && skipped[0].reason.contains("chat_messages.text"), "{skipped:?}");
    }
    let sql = "SELECT u.email, t.slug, m.role, c.text FROM chat_messages c JOIN users u ON u.id = c.user_id \
               JOIN tenants t ON t.id = c.tenant_id JOIN memberships m ON m.user_id = u.id";
    let row: Vec<String> = new.prepare(sql).one().await.unwrap();
    assert_eq!(row, ["ada@example.com", "inner-animal", "admin", "hello"]);
}
