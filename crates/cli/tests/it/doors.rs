//! Tests of `isobar serve --rest` and `--s3`.

#[cfg(unix)]
use serde_json::Value;

#[cfg(unix)]
use crate::keys::created;
#[cfg(unix)]
use crate::ok;
#[cfg(unix)]
use crate::site::{Served, ask};
use crate::{folder, refused};

/// The status of a check of this token.
#[cfg(unix)]
fn verified(server: &Served, token: &str) -> u16 {
    let line = server.said.iter().find_map(|line| line.strip_prefix("REST API on http://")).unwrap();
    let address = line.split('/').next().unwrap();
    let head = format!("GET /client/v4/user/tokens/verify HTTP/1.1\r\nAuthorization: Bearer {token}");
    ask(address, &head, "")[9..12].parse().unwrap()
}

#[test]
#[cfg(unix)]
fn uses_are_written_at_the_end_and_revoked_keys_refused_at_once() {
    let folder = folder();
    let here = folder.path();
    let key = created(here, &["--scope", "d1:read"]);
    let token = key["token"].as_str().unwrap();
    let server = Served::start(here, &["--rest", "127.0.0.1:0"], &[]);
    assert_eq!(verified(&server, token), 200);
    ok(here, &["keys", "revoke", key["access_key_id"].as_str().unwrap()]);
    assert_eq!(verified(&server, token), 401);
    server.terminate();
    let listed: Value = serde_json::from_str(&ok(here, &["keys", "list", "--json"])).unwrap();
    assert_eq!(listed[0]["uses"], 1);
}

#[test]
fn options_of_the_doors_need_a_door() {
    let folder = folder();
    for option in ["--keyring", "--audit"] {
        let told = refused(folder.path(), &["serve", "--port", "0", option, "x"]);
        assert!(told.contains(option) && told.contains("it needs --rest, --s3 or --explorer"), "{told}");
    }
}
