//! Workers Static Assets, asked again: whether what the site's tests take for its answers is still so.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::worker::workerd;
use crate::{Outcome, run as execute, target};

const SCRIPT: &str = include_str!("../js/assets.mjs");
/// What the tests of `isobar-site` hold it to.
const FIXTURE: &str = "crates/site/tests/it/assets.json";

const MODES: [&str; 4] = ["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"];
const NOT_FOUND: [&str; 3] = ["none", "404-page", "single-page-application"];

const FILES: [(&str, &str); 17] = [
    ("/index.html", "the home page"),
    ("/404.html", "not here"),
    ("/foo.html", "foo"),
    ("/bar/index.html", "bar"),
    ("/both.html", "both as a page"),
    ("/both/index.html", "both as a folder"),
    ("/same.html", "the same"),
    ("/same/index.html", "the same"),
    ("/plain", "no extension"),
    ("/plain.html", "beside one without extension"),
    ("/file/index", "a file called index"),
    ("/docs/404.html", "not in docs"),
    ("/docs/guide.html", "a guide"),
    ("/a b/[c].html", "odd characters"),
    ("/\u{e9}t\u{e9}.txt", "summer"),
    ("/app.js", "a script"),
    ("/style.css", "a style"),
];

const PATHS: [&str; 59] = [
    "/",
    "/?a=b",
    "//",
    "/index",
    "/index/",
    "/index.html",
    "/index.html?a=b",
    "/foo",
    "/foo/",
    "/foo.html",
    "/foo/index",
    "/foo/index.html",
    "/foo.html/",
    "/bar",
    "/bar/",
    "/bar.html",
    "/bar/index",
    "/bar/index.html",
    "//bar",
    "/both",
    "/both/",
    "/both.html",
    "/both/index",
    "/both/index.html",
    "/same",
    "/same/",
    "/same.html",
    "/same/index",
    "/same/index.html",
    "/plain",
    "/plain/",
    "/plain.html",
    "/file/index",
    "/file",
    "/file/",
    "/docs",
    "/docs/",
    "/docs/guide",
    "/docs/guide?q",
    "/docs/none",
    "/docs/deep/none",
    "/docs/404",
    "/docs/404.html",
    "/404",
    "/404.html",
    "/none",
    "/none.html",
    "/none.js",
    "/none/",
    "/a%20b/[c]",
    "/a%20b/%5Bc%5D",
    "/a%20b/%5bc%5d.html",
    "/%C3%A9t%C3%A9.txt",
    "/%c3%a9t%c3%a9.txt",
    "/%66oo",
    "/app.js",
    "/app.js/",
    "/[c]",
    "/docs/[none]",
];

const HEADERS: &str = "/*\n  X-Rule-All: 1\n  X-Rule-Site: :splat\n/docs/*\n  X-Rule-All: 2\n  ! Cache-Control\n/:name\n  X-Rule-Name: <:name>\n\
    https://example.com/foo\n  X-Rule-Host: yes\nhttps://:sub.com/foo\n  X-Rule-Sub: :sub\nhttps://other.example/*\n  X-Rule-Host: no\n\
    /app.js\n  Content-Type: text/x-own\n/*/*\n  X-Rule-Never: 1\n/gone\n  X-Rule-Gone: 1\n/none\n  X-Rule-None: 1\n";
const REDIRECTS: &str = "/gone /foo 301\n/gone-too /foo?x=1#y\n/away https://example.org/z 308\n/seen /foo 200\n/file/* /docs/:splat 303\n\
    /u/:id/:what /foo?id=:id&what=:what 307\n/rewritten/* /docs/guide 200\n/hidden/* /none-there 200\n/late /foo 301\n/open/* /:splat\n\
    /loop/* /index.html\n/bar/ /foo\n/query?x=1 /foo\n/b\u{e9} /foo\n";
const RULED: [&str; 24] = [
    "/",
    "/foo",
    "/docs/guide",
    "/docs/none",
    "/app.js",
    "/gone",
    "/gone?a=b",
    "/gone-too",
    "/gone-too?a=b",
    "/away",
    "/away?a=b",
    "/seen",
    "/file/x/y",
    "/u/7/name",
    "/u/7",
    "/rewritten/any",
    "/hidden/any",
    "/late",
    "/open/foo",
    "/open//example.org",
    "/loop/x",
    "/bar/",
    "/query",
    "/b%C3%A9",
];

fn spec() -> Value {
    let requests = |paths: &[&str]| paths.iter().map(|path| json!({ "path": path })).collect::<Vec<_>>();
    let mut sites = Vec::new();
    for html in MODES {
        for not_found in NOT_FOUND {
            let mut requests = requests(&PATHS);
            requests.extend(["/foo", "/none", "/foo.html"].map(|path| json!({ "method": "POST", "path": path })));
            requests.push(json!({ "method": "HEAD", "path": "/foo" }));
            requests.push(json!({ "path": "/foo", "headers": { "authorization": "x" } }));
            for destination in ["document", "script", "empty"] {
                let headers = json!({ "sec-fetch-dest": destination, "sec-fetch-mode": "navigate" });
                requests.push(json!({ "path": "/none.v1", "headers": headers }));
            }
            let name = format!("{html}, {not_found}");
            sites.push(
                json!({ "name": name, "html_handling": html, "not_found_handling": not_found, "requests": requests }),
            );
        }
    }
    for html in ["auto-trailing-slash", "none"] {
        sites.push(json!({
            "name": format!("rules, {html}"), "html_handling": html, "not_found_handling": "404-page",
            "headers": HEADERS, "redirects": REDIRECTS, "requests": requests(&RULED),
        }));
    }
    let first = [json!(false), json!(true), json!(["/foo", "/b*", "!/both", "/none/*"])];
    for (run_worker_first, not_found) in first.iter().flat_map(|first| NOT_FOUND.map(|not_found| (first, not_found))) {
        let paths = [
            "/",
            "/foo",
            "/foo.html",
            "/bar/",
            "/both",
            "/docs/none",
            "/none",
            "/none/x",
            "/app.js",
            "/api/a%2Fb",
            "/api/%5Cx",
        ];
        let mut requests = requests(&paths);
        requests.push(json!({ "method": "POST", "path": "/app.js" }));
        requests.push(json!({ "method": "POST", "path": "/none" }));
        let navigates = json!({ "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" });
        requests.push(json!({ "path": "/nowhere", "headers": navigates }));
        sites.push(json!({
            "name": format!("worker first {run_worker_first}, {not_found}"), "html_handling": MODES[0],
            "not_found_handling": not_found, "run_worker_first": run_worker_first, "requests": requests,
        }));
    }
    let files: serde_json::Map<String, Value> =
        FILES.iter().map(|(path, text)| ((*path).to_owned(), json!(text))).collect();
    json!({ "files": files, "sites": sites })
}

/// Compares with the fixture, or writes it.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let node = workerd::node()?;
    let (spec_file, answers) = (node.join("assets-spec.json"), node.join("assets.json"));
    fs::write(node.join("assets.mjs"), SCRIPT)?;
    fs::write(&spec_file, serde_json::to_vec(&spec())?)?;
    let log = fs::File::create(target().join("assets.log"))?;
    execute(Command::new("node").arg(node.join("assets.mjs")).arg(&spec_file).arg(&answers).stdout(log))?;
    let told = fs::read_to_string(&answers)?;
    if arguments.iter().any(|argument| argument == "--write") {
        fs::write(FIXTURE, &told)?;
    }
    let fixture = fs::read_to_string(Path::new(FIXTURE))?;
    let [told, fixture]: [Value; 2] = [serde_json::from_str(&told)?, serde_json::from_str(&fixture)?];
    if told != fixture {
        return Err(format!("the asset Worker answers otherwise than {FIXTURE} says: run `cargo xtask assets --write` and look at the difference").into());
    }
    let exchanges = told["sites"].as_array().into_iter().flatten().filter_map(|site| site["exchanges"].as_array());
    println!("{} exchanges with the asset Worker are as {FIXTURE} says", exchanges.map(Vec::len).sum::<usize>());
    Ok(())
}
