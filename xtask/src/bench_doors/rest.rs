//! D1's `query` over HTTP: the REST door beside a Worker that runs the same query in miniflare, and beside miniflare's own API of D1,
//! which has `raw` alone.

use std::path::Path;

use serde_json::json;

use super::{Contender, DATABASE, Measured, Peer, Result, SECONDS};
use super::{compare, in_folder, isobar, miniflare, print_head, print_memory, text};
use crate::Outcome;
use crate::http::ask;

const WORKER: &str = "miniflare, Worker";
const API: &str = "miniflare, D1 API";
const TABLE: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, score REAL)";
/// 1,000 rows, as the client expects them.
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
                    INSERT INTO users SELECT i, 'name ' || i || '.', i % 90, 0.5 FROM n";
/// The client puts a number in place of `{}`. Parameters are texts in the API's schema, and miniflare takes no others.
const SELECT: &str = r#"{"sql": "SELECT id, name, age, score FROM users WHERE id = ?1", "params": ["{}"]}"#;
const UPDATE: &str = r#"{"sql": "UPDATE users SET age = age + 1 WHERE id = ?1", "params": ["{}"]}"#;
const SELECTED: &str = "name {}.";
const UPDATED: &str = r#""success":true"#;

/// An address that takes `{"sql": .., "params": [..]}`.
struct Api {
    contender: Contender,
    address: String,
    path: String,
    token: String,
}

pub(super) fn run(rounds: usize) -> Outcome {
    in_folder("bench-rest", 1 << 30, |folder| run_in(folder, rounds))
}

fn run_in(folder: &Path, rounds: usize) -> Outcome {
    let peer = Peer::build()?;
    let (project, key) = isobar(folder)?;
    let workerd = miniflare(folder)?;
    let rest = project.rest.trim_start_matches("http://");
    let (address, base) = rest.split_once('/').ok_or("the REST API has no path")?;
    let path = format!("/{base}/accounts/{}/d1/database/{DATABASE}/query", text(&key, "account_id")?);
    let api = |name, pid, address: &str, path: String, token: String| Api {
        contender: Contender { name, pid },
        address: address.to_owned(),
        path,
        token,
    };
    let explorer = format!("/cdn-cgi/local/explorer/api/d1/database/{DATABASE}/raw");
    let apis = [
        api("isobar", project.pid(), address, path, text(&key, "token")?),
        api(WORKER, workerd.pid(), &workerd.address, "/".to_owned(), String::new()),
        api(API, workerd.pid(), &workerd.address, explorer, String::new()),
    ];
    // Both of miniflare have one database.
    for api in &apis[..2] {
        api.post(TABLE)?;
        api.post(FILL)?;
    }
    let contenders = apis.each_ref().map(|api| api.contender);
    let bars: &[(&str, f64)] = &[(WORKER, 5.0), (API, 5.0)];
    let no_bars: &[(&str, f64)] = &[];
    print_head();
    let rows = [
        ("select a row, 1 at once", SELECT, SELECTED, "1", bars),
        ("select a row, 32 at once", SELECT, SELECTED, "32", bars),
        ("update a row, 1 at once", UPDATE, UPDATED, "1", no_bars),
        ("update a row, 32 at once", UPDATE, UPDATED, "32", no_bars),
    ];
    for (what, body, expected, at_once, bars) in rows {
        compare(what, &contenders, bars, rounds, |index, _| -> Result<Measured> {
            let Api { contender, address, path, token } = &apis[index];
            let url = format!("http://{address}{path}");
            peer.measure(contender.pid, &[], &["query", &url, token, body, expected, at_once, SECONDS])
        })?;
    }
    print_memory(&contenders[..2])?;
    println!("{} rows, medians of {rounds} rounds", rows.len());
    Ok(())
}

impl Api {
    /// Runs a statement.
    fn post(&self, sql: &str) -> Outcome {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let body = json!({"sql": sql, "params": []}).to_string();
        let answer = ask(&self.address, "POST", &self.path, &headers, body.as_bytes())?;
        match answer.status {
            200 => Ok(()),
            status => Err(format!("{}: {sql}: {status}: {}", self.contender.name, answer.text()).into()),
        }
    }
}
