//! Backups: what there is, runs and checks; and the histories of databases.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::Method;
use isobar_cloudflare::client::Account;
use isobar_db::cloudflare::D1RestDatabase;
use isobar_db::{HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
use isobar_gateway::catalog::{
    BackupCatalog, BackupInfo, BackupReport, BackupSource, BackupState, CatalogError, CatalogErrorKind,
};
use isobar_gateway::explorer::ExplorerDoor;
use isobar_gateway::keys::{KeyScope, Permission};
use isobar_gateway::rest::RestDoor;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use crate::door::{Answer, Door};
use crate::setting::{Access, ask, explorer, own};

const BACKUPS: &str = "/explorer/v1/backups";
const ORDERS: &str = "/explorer/v1/backups/databases/orders";
const ROOMS: &str = "/explorer/v1/backups/sessions/Room";

/// Backups of the database `orders` and of the class `Room`, which fail for the latter. An operation waits for a permit.
#[derive(Debug)]
struct Gated {
    permits: Semaphore,
    begun: Mutex<Vec<&'static str>>,
}

impl Gated {
    async fn perform(&self, action: &'static str, source: &BackupSource) -> Result<BackupReport, CatalogError> {
        self.begun.lock().unwrap().push(action);
        self.permits.acquire().await.unwrap().forget();
        if matches!(source, BackupSource::Sessions(_)) {
            let error = CatalogError::new(CatalogErrorKind::Unavailable, "the target cannot be read");
            return Err(error.with_source("/srv/backup: permission denied"));
        }
        let mut report = BackupReport::default();
        report.state = Some("newest".to_owned());
        report.objects = 3;
        Ok(report)
    }
}

#[async_trait]
impl BackupCatalog for Gated {
    async fn sources(&self) -> Result<Vec<BackupSource>, CatalogError> {
        let database = |name: &str| BackupSource::Database(name.to_owned());
        Ok(vec![database("gone"), database("orders"), BackupSource::Sessions("Room".to_owned())])
    }

    async fn describe(&self, source: &BackupSource) -> Result<BackupInfo, CatalogError> {
        let mut state = BackupState::new("newest", 3, format!("isobar d1 restore {} /mnt/backup", source.name()));
        state.time = Some(chrono::DateTime::UNIX_EPOCH);
        Ok(BackupInfo::new("/mnt/backup", vec![state]))
    }

    async fn run(&self, source: &BackupSource) -> Result<BackupReport, CatalogError> {
        self.perform("run", source).await
    }

    async fn verify(&self, source: &BackupSource) -> Result<BackupReport, CatalogError> {
        self.perform("verify", source).await
    }
}

async fn door(access: Access) -> (Door, Arc<Gated>) {
    let door = Door::new().await;
    for name in ["orders", "other"] {
        door.database(name).await;
    }
    let backups = Arc::new(Gated { permits: Semaphore::new(0), begun: Mutex::default() });
    let rest = RestDoor::new(door.keys.clone()).with_databases(door.catalog.clone());
    let explorer = ExplorerDoor::new(rest).with_backups(backups.clone());
    let explorer = if access == Access::Write { explorer.with_writes() } else { explorer };
    (Door { router: explorer.into_router(), ..door }, backups)
}

async fn post(door: &Door, path: String) -> Answer {
    own(door, Method::POST, &path, "").await
}

/// The status of a backup, once nothing is in flight.
async fn ended(door: &Door, path: &str) -> Json {
    loop {
        let status = own(door, Method::GET, path, "").await.result()["status"].take();
        if status["in_flight"].is_null() {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn backups_are_listed_and_described() {
    let (door, _) = door(Access::Read).await;
    assert_eq!(own(&door, Method::GET, "/explorer/v1/session", "").await.result()["has_backups"], true);
    let listed = own(&door, Method::GET, BACKUPS, "").await.result();
    let shown: Vec<_> = listed.as_array().unwrap().iter().map(|one| (&one["kind"], &one["name"])).collect();
    assert_eq!(shown, [(&json!("database"), &json!("orders")), (&json!("sessions"), &json!("Room"))]);
    assert_eq!(listed[0]["status"], json!({"in_flight": null, "run": null, "verify": null}));
    let id = listed[0]["id"].as_str().unwrap();
    for path in [ORDERS.to_owned(), format!("{BACKUPS}/databases/{id}")] {
        let orders = own(&door, Method::GET, &path, "").await.result();
        assert_eq!((&orders["id"], &orders["target"]), (&json!(id), &json!("/mnt/backup")));
        assert_eq!(orders["states"][0]["restore"], "isobar d1 restore orders /mnt/backup");
    }
    for (path, code) in [("databases/nothing", 7404), ("databases/other", 10007), ("sessions/Other", 10007)] {
        for (method, path) in [(Method::GET, path.to_owned()), (Method::POST, format!("{path}/verify"))] {
            let answer = own(&door, method, &format!("{BACKUPS}/{path}"), "").await;
            assert_eq!(answer.error(), (404, code), "{path}");
        }
    }
    let bare = explorer(Access::Write).await;
    let run = format!("{ORDERS}/run");
    for (method, path) in [(Method::GET, BACKUPS), (Method::GET, ORDERS), (Method::POST, &run)] {
        assert_eq!(own(&bare, method, path, "").await.error(), (400, 7400), "{path}");
    }
}

#[tokio::test]
async fn run_and_check_go_on_beside_their_request_one_at_a_time() {
    let (door, backups) = door(Access::Write).await;
    let begun = post(&door, format!("{ORDERS}/run")).await.result();
    assert_eq!(begun["status"]["in_flight"], "run");
    for path in [format!("{ORDERS}/run"), format!("{ORDERS}/verify"), format!("{ROOMS}/run")] {
        assert_eq!(post(&door, path).await.error(), (409, 7400));
    }
    assert!(own(&door, Method::GET, ROOMS, "").await.result()["status"]["in_flight"].is_null());
    backups.permits.add_permits(1);
    let status = ended(&door, ORDERS).await;
    assert_eq!((&status["run"]["report"]["objects"], &status["run"]["error"]), (&json!(3), &json!(null)));
    assert!(status["verify"].is_null());
    backups.permits.add_permits(2);
    post(&door, format!("{ORDERS}/verify")).await.result();
    assert_eq!(ended(&door, ORDERS).await["verify"]["report"]["state"], "newest");
    // Clients learn that it has failed, and no file of the server.
    post(&door, format!("{ROOMS}/run")).await.result();
    let failed = ended(&door, ROOMS).await["run"].take();
    assert_eq!((&failed["error"], &failed["report"]), (&json!("the target cannot be read"), &json!(null)));
    assert_eq!(*backups.begun.lock().unwrap(), ["run", "verify", "run"]);
}

#[tokio::test]
async fn read_only_explorer_verifies_and_runs_nothing() {
    let (door, backups) = door(Access::Read).await;
    backups.permits.add_permits(2);
    for path in [ORDERS, ROOMS] {
        let answer = post(&door, format!("{path}/run")).await;
        assert_eq!(answer.error(), (403, 10000));
        assert!(answer.json()["errors"][0]["message"].as_str().unwrap().contains("read-only here"), "{answer:?}");
        post(&door, format!("{path}/verify")).await.result();
        ended(&door, path).await;
    }
    assert_eq!(*backups.begun.lock().unwrap(), ["verify", "verify"]);
}

#[tokio::test]
async fn backups_need_the_permission_of_their_source() {
    let (door, backups) = door(Access::Write).await;
    let none = door.issue(KeyScope::new([Permission::R2Write, Permission::AnalyticsRead])).await;
    let reader = door.issue(KeyScope::new([Permission::D1Read])).await;
    let rooms = door.issue(KeyScope::new([Permission::SessionsRead])).await;
    let bound = door.issue(KeyScope::new([Permission::D1Write]).with_database("other")).await;
    let paths = [
        (Method::GET, ORDERS.to_owned()),
        (Method::POST, format!("{ORDERS}/run")),
        (Method::POST, format!("{ORDERS}/verify")),
    ];
    for (method, path) in &paths {
        assert_eq!(ask(&door, None, method.clone(), path, "").await.status, 401, "{path}");
        for token in [&none, &rooms, &bound] {
            assert_eq!(ask(&door, Some(token), method.clone(), path, "").await.error(), (403, 10000), "{path}");
        }
        let path = path.replace(ORDERS, ROOMS);
        for token in [&none, &reader, &bound] {
            assert_eq!(ask(&door, Some(token), method.clone(), &path, "").await.error(), (403, 10000), "{path}");
        }
    }
    assert_eq!(ask(&door, Some(&reader), Method::POST, &paths[1].1, "").await.error(), (403, 10000));
    assert!(backups.begun.lock().unwrap().is_empty());
    assert_eq!(ask(&door, Some(&none), Method::GET, BACKUPS, "").await.error(), (403, 10000));
    for (token, names) in [(&reader, json!(["orders"])), (&rooms, json!(["Room"])), (&bound, json!([]))] {
        let listed = ask(&door, Some(token), Method::GET, BACKUPS, "").await.result();
        assert_eq!(listed.as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Json>(), names);
    }
}

#[tokio::test]
async fn history_is_described_and_null_without_one() {
    let (door, _) = door(Access::Read).await;
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_history(HistoryOptions::default());
    let kept = SqliteDatabase::open_with(folder.path().join("kept.sqlite"), options).await.unwrap();
    kept.run_script("CREATE TABLE t (a)").await.unwrap();
    door.catalog.insert_database("kept", Arc::new(kept));
    let history =
        async |name: &str| own(&door, Method::GET, &format!("/explorer/v1/databases/{name}/history"), "").await;
    let kept = history("kept").await.result();
    assert!(kept["newest"]["bookmark"].is_string() && kept["oldest"]["time"].is_string(), "{kept}");
    assert_eq!((&kept["gaps"], &kept["failure"]), (&json!([]), &json!(null)));
    assert_eq!(history("orders").await.result(), json!(null));
    assert_eq!(history("nothing").await.error(), (404, 7404));
    let token = door.issue(KeyScope::new([Permission::R2Read, Permission::SessionsRead])).await;
    let refused = ask(&door, Some(&token), Method::GET, "/explorer/v1/databases/kept/history", "").await;
    assert_eq!(refused.error(), (403, 10000));
}

/// D1's API has bookmarks of times, and not the extent of a history. Nothing is sent: the client knows that.
#[tokio::test]
async fn history_whose_extent_is_not_reported_has_no_fields() {
    let (door, _) = door(Access::Read).await;
    let account = Account::new("account", "token").unwrap().with_base_url("http://127.0.0.1:9");
    door.catalog.insert_database("remote", Arc::new(D1RestDatabase::new(account, "d1").unwrap()));
    let history = own(&door, Method::GET, "/explorer/v1/databases/remote/history", "").await;
    assert_eq!(history.result(), json!({}));
}
