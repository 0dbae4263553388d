//! `isobar sessions` on objects that a server has written.

use std::fs;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
use serde_json::Value;

use crate::{ok, refused, run};

const CONFIG: &str = "name = \"test\"\n[[durable_objects.bindings]]\nname = \"ROOMS\"\nclass_name = \"Room\"\n";

/// A room that keeps the paths it is asked for.
struct Room(SessionContext);

impl SessionObject for Room {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, text TEXT)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.0.sql().exec("INSERT INTO messages (text) VALUES (?)", (request.uri().path(),))?;
        self.0.kv().put("last", &request.uri().path())?;
        self.0.set_alarm(Utc::now() + TimeDelta::hours(1))?;
        Ok(Response::default())
    }
}

fn open(folder: &Path) -> LocalHost<Room> {
    let options = HostOptions::default().with_threads(1);
    LocalHost::open(folder.join(".isobar/sessions/Room"), "Room", &options, || ()).unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn write(host: &LocalHost<Room>, names: &[&str]) {
    for name in names {
        host.get(&host.id(name), "/hello").await.unwrap();
    }
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(folder, arguments)).unwrap()
}

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrangler.toml"), CONFIG).unwrap();
    folder
}

#[test]
fn objects_are_listed_shown_read_changed_and_deleted() {
    let folder = project();
    let here = folder.path();
    assert_eq!(ok(here, &["sessions", "list"]).lines().count(), 1, "the headings alone");
    assert!(
        refused(here, &["sessions", "info", "ROOMS", "lobby"]).contains("there are no session objects of Room here")
    );
    assert_eq!(ok(here, &["sessions", "list", "--class", "ROOMS"]).lines().count(), 1, "it is configured");
    let checked = run(here, &["sessions", "list", "--check"]);
    assert!(checked.status.success() && String::from_utf8_lossy(&checked.stderr).contains("none was checked"));
    for misspelt in [&["sessions", "list", "--class", "Rom"][..], &["sessions", "alarms", "Rom"]] {
        assert!(refused(here, misspelt).contains("there are no session objects of Rom here"));
    }
    assert!(!here.join(".isobar").exists(), "looking makes nothing");
    let host = open(here);
    write(&host, &["lobby", "garden", "attic"]);
    let id = host.id("lobby").to_string();

    // While the server runs.
    let list = json(here, &["sessions", "list", "--json"]);
    let names: Vec<_> = list["objects"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.len() == 3 && names.contains(&"lobby") && list["cursor"].is_null(), "{list}");
    assert!(list["objects"][0]["bytes"].as_u64().unwrap() > 0 && list["objects"][0]["alarm"].is_string(), "{list}");
    let info = json(here, &["sessions", "info", "ROOMS", "lobby", "--json"]);
    assert_eq!((&info["id"], &info["keys"], &info["served"]), (&id.clone().into(), &1.into(), &true.into()));
    let select = ["sessions", "sql", "Room", &id, "--command", "SELECT id, text FROM messages"];
    assert!(ok(here, &select).contains("/hello"));
    let rows = json(here, &[&select[..], &["--json"]].concat());
    assert_eq!(rows["rows"], serde_json::json!([[1, "/hello"]]));
    let insert =
        ["sessions", "sql", "Room", "lobby", "--command", "INSERT INTO messages (text) VALUES (?)", "--param", "x"];
    assert!(refused(here, &insert).contains("--write"));
    let insert = [&insert[..], &["--write"]].concat();
    for arguments in [&insert[..], &["sessions", "delete", "Room", "lobby", "--yes"]] {
        let told = refused(here, arguments);
        assert!(told.contains("another process hosts") && told.contains("stop it first"), "{told}");
    }
    drop(host);

    assert_eq!(ok(here, &insert), "1 rows changed\n");
    assert!(ok(here, &select).contains("(2 rows)"));
    let page = json(here, &["sessions", "list", "--json", "--class", "ROOMS", "--limit", "2"]);
    let cursor = page["cursor"].as_str().unwrap();
    let rest = json(here, &["sessions", "list", "--json", "--cursor", cursor]);
    assert_eq!((page["objects"].as_array().unwrap().len(), rest["objects"].as_array().unwrap().len()), (2, 1));
    assert!(refused(here, &["sessions", "list", "--cursor", "Room/x"]).contains("is not a cursor"));
    assert!(ok(here, &["sessions", "info", "Room", "lobby"]).contains("messages"));

    assert!(refused(here, &["sessions", "delete", "Room", "lobby"]).contains("pass --yes"));
    assert!(
        refused(here, &["sessions", "delete", "Room", "nobody", "--yes"]).contains("there is no object \"nobody\"")
    );
    assert_eq!(ok(here, &["sessions", "delete", "Room", "lobby", "-y"]), "1 objects deleted\n");
    assert!(refused(here, &["sessions", "info", "Room", "lobby"]).contains("there is no object"));
    assert_eq!(ok(here, &["sessions", "delete", "Room", "--all", "-y"]), "2 objects deleted\n");
    assert_eq!(json(here, &["sessions", "list", "--json"])["objects"], serde_json::json!([]));
}

#[test]
fn alarms_of_all_classes_are_listed_by_their_time() {
    let folder = project();
    let here = folder.path();
    assert_eq!(json(here, &["sessions", "alarms", "--json"]), serde_json::json!({"alarms": []}));
    let host = open(here);
    let options = HostOptions::default().with_threads(1);
    let others = LocalHost::<Room>::open(here.join(".isobar/sessions/Annex"), "Annex", &options, || ()).unwrap();
    for (host, name) in [(&host, "lobby"), (&host, "garden"), (&others, "attic")] {
        write(host, &[name]);
        std::thread::sleep(std::time::Duration::from_millis(5)); // their alarms are of milliseconds
    }
    let of = |arguments: &[&str]| -> Vec<Value> {
        let list = json(here, &[&["sessions", "alarms", "--json"][..], arguments].concat());
        list["alarms"].as_array().unwrap().clone()
    };
    let names =
        |list: &[Value]| -> Vec<String> { list.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect() };
    let all = of(&[]);
    assert_eq!(names(&all), ["lobby", "garden", "attic"]);
    assert!(all[0]["alarm"]["due"].is_string() && all[0]["alarm"]["retries"] == 0 && all[0]["timers"] == 0, "{all:?}");
    assert_eq!((names(&of(&["ROOMS"])), names(&of(&["--limit", "1"]))), (names(&all[..2]), names(&all[..1])));
    assert!(of(&["--until", "2026-01-01T00:00:00Z"]).is_empty());
    let brief = of(&["Annex", "--brief"]);
    assert!(brief[0]["wakes"].is_string() && brief[0]["alarm"].is_null(), "{brief:?}");
    assert_eq!(ok(here, &["sessions", "alarms"]).lines().count(), 4);
    let lobby = json(here, &["sessions", "alarms", "ROOMS", "lobby", "--json"]);
    assert_eq!((&lobby["object"]["name"], &lobby["timers"]), (&"lobby".into(), &serde_json::json!([])));
    assert!(ok(here, &["sessions", "alarms", "Room", "lobby"]).starts_with("alarm due 20"));
    assert!(refused(here, &["sessions", "alarms", "Room", "nobody"]).contains("there is no object \"nobody\""));
}

#[test]
fn objects_go_out_and_come_back() {
    let folder = project();
    let here = folder.path();
    let host = open(here);
    write(&host, &["lobby", "garden"]);
    let lobby = host.id("lobby").to_string();
    drop(host);
    let report = json(here, &["sessions", "export", "Room", "--output", "rooms.tar", "--json"]);
    assert_eq!(report["objects"], 2);
    assert!(ok(here, &["sessions", "export", "ROOMS", "garden", "--output", "garden.tar"]).contains("1 objects"));
    assert!(
        refused(here, &["sessions", "export", "Room", "nobody", "--output", "x.tar"]).contains("there is no object")
    );
    assert!(!here.join("x.tar").exists());

    let elsewhere = ["--root", "elsewhere"];
    let import = |file: &'static str, more: &[&'static str]| {
        [&elsewhere[..], &["sessions", "import", "ROOMS", file], more].concat()
    };
    assert!(ok(here, &import("garden.tar", &[])).contains("1 objects"));
    assert!(refused(here, &import("rooms.tar", &[])).contains("is there already"));
    // The one that comes before the refused one by its id is in place already.
    let report = json(here, &import("rooms.tar", &["--skip-existing", "--json"]));
    let [objects, skipped] = ["objects", "skipped"].map(|count| report[count].as_u64().unwrap());
    assert!(objects + skipped == 2 && skipped >= 1, "{report}");
    assert_eq!(json(here, &import("rooms.tar", &["--replace", "--json"]))["objects"], 2);
    assert!(refused(here, &import("wrangler.toml", &[])).contains("not an export of session objects"));
    let sql = ["sessions", "sql", "Room", &lobby, "--command", "SELECT count(*) FROM messages", "--json"];
    assert_eq!(json(here, &[&elsewhere[..], &sql].concat())["rows"], serde_json::json!([[1]]));

    // A damaged object is named, and the other one is exported.
    let file = here.join(".isobar/sessions/Room/objects").join(&lobby[..2]).join(format!("{lobby}.db"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(&file, bytes).unwrap();
    let output = run(here, &["sessions", "export", "Room", "--output", "sound.tar"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("(lobby)") && here.join("sound.tar").exists(), "{told}");
    assert!(refused(here, &["sessions", "list", "--check"]).contains("1 of 2 objects are damaged"));
    assert!(ok(here, &["sessions", "list"]).contains("garden"));
}

#[test]
fn objects_are_backed_up_into_a_folder_and_a_bucket_and_come_back() {
    let folder = project();
    let here = folder.path();
    assert!(refused(here, &["sessions", "backup", "Room", "saved"]).contains("there are no session objects of Room"));
    let host = open(here);
    for (name, target) in [("lobby", "saved"), ("garden", "r2://backups/rooms")] {
        write(&host, &["attic", name]);
        std::thread::sleep(std::time::Duration::from_millis(150)); // files of this moment are not trusted
        let report = json(here, &["sessions", "backup", "ROOMS", target, "--json"]);
        assert!(report["objects"].as_u64() >= Some(2) && report["bytes"].as_u64() > Some(0), "{report}");
        let again = json(here, &["sessions", "backup", "ROOMS", target, "--json"]);
        assert_eq!((&again["run"], &again["read"]), (&report["run"], &0.into()), "{again}");
        let looked = json(here, &["sessions", "verify", "Room", target, "--json"]);
        assert_eq!((&looked["objects"], &looked["problems"]), (&report["objects"], &serde_json::json!([])));
        assert!(refused(here, &["sessions", "restore", "Room", target]).contains("is there already"));

        let root = format!("elsewhere-{name}");
        let restore = |more: &[&'static str]| {
            let arguments = ["--config", "wrangler.toml", "--root", &root, "sessions", "restore", "Room", "saved"];
            json(here, &[&arguments[..], more, &["--json"]].concat())
        };
        if target == "saved" {
            assert_eq!(restore(&["lobby"])["objects"], 1);
            let rest = restore(&["--skip-existing"]);
            assert_eq!((&rest["objects"], &rest["skipped"]), (&1.into(), &1.into()));
            assert_eq!(restore(&["--replace"])["objects"], 2);
        }
    }
    let told = refused(here, &["sessions", "verify", "Room", "nowhere"]);
    assert!(told.contains("nowhere: there is no complete backup of Room"), "{told}");
    assert!(refused(here, &["sessions", "backup", "Room", ""]).contains("the target is empty"));
    assert!(refused(here, &["sessions", "backup", "Room", "saved", "--remote"]).contains("--remote needs a bucket"));
    let blocks = here.join("saved/Room/blocks");
    fs::remove_dir_all(blocks).unwrap();
    assert!(refused(here, &["sessions", "verify", "Room", "saved"]).contains("is missing"));
}

#[test]
fn names_of_objects_do_not_command_the_terminal() {
    let folder = project();
    let here = folder.path();
    let host = open(here);
    write(&host, &["\u{1b}]0;owned\u{7}"]);
    let id = host.id("\u{1b}]0;owned\u{7}").to_string();
    for shown in [ok(here, &["sessions", "list"]), ok(here, &["sessions", "info", "Room", &id])] {
        assert!(shown.contains("\u{fffd}]0;owned\u{fffd}") && !shown.contains('\u{1b}'), "{shown:?}");
    }
}

#[test]
fn objects_go_back_in_time_while_their_server_is_stopped() {
    let folder = project();
    let here = folder.path();
    let travel = |command: &str, rest: &[&'static str]| {
        let words = ["sessions", "time-travel", command, "ROOMS"].map(str::to_owned);
        words.into_iter().chain(rest.iter().map(|word| (*word).to_owned())).collect::<Vec<_>>()
    };
    let call = |arguments: Vec<String>| ok(here, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let refuse = |arguments: Vec<String>| refused(here, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(refused(here, &["sessions", "time-travel", "enable", "Rom"]).contains("no session objects of Rom"));
    assert!(refuse(travel("restore", &["lobby", "--yes"])).contains("--timestamp"));
    let host = open(here);
    write(&host, &["lobby"]);
    assert!(refuse(travel("info", &["lobby"])).contains("time-travel enable ROOMS"));
    assert!(refuse(travel("enable", &[])).contains("stop it first"));
    drop(host);
    assert!(call(travel("enable", &["--days", "7"])).contains("7 days, in up to 64 MiB"));
    assert!(refuse(travel("info", &["lobby"])).contains("has not changed since"));

    let host = open(here);
    write(&host, &["lobby", "garden"]);
    drop(host);
    let info: Value = serde_json::from_str(&call(travel("info", &["lobby", "--json"]))).unwrap();
    let bookmark = info["bookmark"].as_str().unwrap().to_owned();
    assert!(info["history"]["bytes"].as_u64().unwrap() > 0 && info["served"] == false, "{info}");
    let host = open(here);
    write(&host, &["lobby"]);
    let to = [travel("restore", &["lobby", "--bookmark"]), vec![bookmark.clone()]].concat();
    let live = refuse([to.clone(), vec!["--yes".to_owned()]].concat());
    assert!(live.contains("stop it first") && live.contains("restore_on_next_start"), "{live}");
    drop(host);
    let count = || {
        let select = ["sessions", "sql", "Room", "lobby", "--command", "SELECT count(*) FROM messages", "--json"];
        json(here, &select)["rows"][0][0].as_i64().unwrap()
    };
    assert_eq!(count(), 3);
    assert!(refuse(to.clone()).contains("pass --yes"));
    let restored: Value = serde_json::from_str(&call([to, vec!["--json".to_owned()]].concat())).unwrap();
    assert_eq!(count(), 2);
    let previous = restored["previous_bookmark"].as_str().unwrap().to_owned();
    let undo = [travel("restore", &["lobby", "--yes", "--bookmark"]), vec![previous]].concat();
    assert!(call(undo).contains("to undo it: isobar sessions time-travel restore ROOMS"));
    assert_eq!(count(), 3);

    for (wrong, why) in [
        (travel("restore", &["lobby", "--yes", "--bookmark", "yesterday"]), "invalid bookmark"),
        ([travel("restore", &["garden", "--yes", "--bookmark"]), vec![bookmark]].concat(), "of another object"),
        (travel("restore", &["lobby", "--yes", "--timestamp", "2999-01-01T00:00:00Z"]), "in the future"),
        (travel("restore", &["lobby", "--yes", "--timestamp", "2001-01-01T00:00:00Z"]), "after that time"),
        (travel("info", &["lobby", "--timestamp", "2001-01-01T00:00:00Z"]), "after that time"),
        (travel("restore", &["nobody", "--yes", "--timestamp", "2001-01-01T00:00:00Z"]), "there is no object"),
    ] {
        let told = refuse(wrong);
        assert!(told.contains(why), "{told}");
    }
    assert!(refuse(travel("disable", &[])).contains("pass --yes"));
    assert!(call(travel("disable", &["--yes"])).contains("are deleted"));
    assert!(!here.join(".isobar/sessions/Room/history").exists());
}
