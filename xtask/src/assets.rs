//! Compares the recorded responses of Workers Static Assets in the site's tests with the real asset Worker.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use serde_json::{Value, json};

use crate::worker::workerd;
use crate::{Outcome, npm, run as execute, target};

const SCRIPT: &str = include_str!("../js/assets.mjs");
/// The recorded responses with which the tests of `isobar-site` compare.
const FIXTURE: &str = "crates/site/tests/it/assets.json";
/// The content types of the asset Worker by extension: the table of `isobar_storage::content_type`.
const TYPES: &str = "crates/storage/src/content_types.tsv";
/// The library whose extensions are tried: the one in wrangler and miniflare.
const MIME: &str = "mime@4.0.7";

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

/// Typical rules, and rules with characters that are special to a matcher.
const SHAPES_HEADERS: &str = "\u{feff}# a comment\r\n/foo\r\n  X-Rule-Twice: first\r\n  X-Rule-Gone: 1\r\n/*\r\n  X-Rule-Twice: all\r\n  Content-Length: 5\r\n\
    Transfer-Encoding: chunked\r\n  Connection: close\r\n  Keep-Alive: timeout=1\r\n  Upgrade: h2c\r\n  Trailer: X\r\n/foo\r\n  X-Rule-Twice: last\r\n\
    /a^b\n  X-Rule-Path: caret\n/a{b}\n  X-Rule-Path: brace\n/a|b\n  X-Rule-Path: bar\n/(x)+.$\n  X-Rule-Path: signs\n/[foo\n  X-Rule-Path: bracket\n\
    /a b\n  X-Rule-Path: space\n/\u{e9}\n  X-Rule-Path: letter\n/x?y\n  X-Rule-Path: query\n/x#y\n  X-Rule-Path: fragment\n/%66oo\n  X-Rule-Path: encoded\n\
    /w/:a/:ab\n  X-Rule-Prefix: :a\n/w/:ab/:a\n  X-Rule-Prefixed: :ab :a\nhttps://example.com//bar/\n  X-Rule-Host: slashes\nhttps://*.com/bar/\n\
    X-Rule-Star: :splat\nhttps://:a.com/:a\n  X-Rule-Never: 1\nhttps://example.com:80/foo\n  X-Rule-Never: 2\nhttp://example.com/*\n  X-Rule-Never: 3\n\
    /docs/*\n\u{a0}X-Rule-Space: 1\u{a0}\nX-Rule-Bare:1\nX-Rule-Wide : 2\nLink:<https://x/y>;rel=preload\nX-Rule-Skipped: 1\n\
    /app.js\n  X-Rule-A: 1\n  ! X-Rule-A\n! X-Rule-Twice\n  X-Rule-A: 2\n";
const SHAPES_REDIRECTS: &str = "\u{feff}/first /foo\r\n/s1 //host.example/path\n/s2 ///host.example/path\n/s3 /\\host.example/path\n/s4 /a//b//c\n\
    /s5 /a?u=https://x//y#f//g\n/s6 /a? 301\n/s7 /a# 301\n/s8 https://h.example//p//q\n/s9 https://H.Example:443/p\n/s10 https://H.Example\n\
    /s11 https:////h.example/x\n/s12 //host.example/foo 200\n/s13 http://h.example/x\n/s14 /a/../b/./c\n/s15 /a%2Fb/%2e%2e/c\n/s16 /\u{e9}?\u{e9}=\u{e9}#\u{e9}\n\
    /s17 /x|y^z{1}[2]\"'`<>\n/s18 /x?q=|^{}[]\"'`<>\\\n/s19 /x 301.0\n/s20 /x 0x12d\n/s21 /x 301!\n/s22 //user:pw@host.example:81/x\n/s23 mailto:x@y\n\
    s24 /x\n/s25#f /x\n/s26 /x #c\n/s27 /x#c\n/s28^a /x\n/s29%5Ea /x\n/s30{a} /x\n/s31|a /x\n/s32[a] /x\n/s33'a /x\n/s34\\a /x\n/s35//b /x\n//s36 /x\n\
    /s37/./x/../y /x\n/s38$ /x$1\n/s39(a)+.a /x\n/s40;a=b,c&d /x\n/s41\u{85}x /x\n/s42\u{feff}/x\n/s43\u{a0}/x\n/s44 /x 3e2\n\
    /d1/* //host.example/:splat\n/d2/* ///host.example/:splat\n/d3/* /\\host.example/:splat\n/d4/:a/:b /x?u=https://:a//:b#:a//\n\
    /d5/* https://h.example//p/:splat\n/d6/:a/:ab /x/:a/:ab\n/d7/:ab/:a /x/:a/:ab\n/d8/*/*/x /x\n/d9/:splat/* /x\n/d10/:splatter/* /x/:splat\n/d11^:a /x/:a\n\
    /d12(:a)+ /x/:a\n/d13/:1a/* /x/:1a\n/d14/:a_b1 /x/:a_b1x\n/d15/:a-:b.html /x/:a/:b\n/d16/* /x?x=:splat\n/d17/* /foo/:splat 200\n/d18/*.html /x/:splat\n\
    /d19/:a:b /x/:a/:b\n/d20/x /late\n/d21/* //:splat\n/d22/:a /x//:a?x=//y\n/d23/* ftp://x/:splat\n/d24/* /:splat\n/d25/* :splat\n";
const SHAPES: [&str; 83] = [
    "/foo",
    "/a%5Eb",
    "/a^b",
    "/a%7Bb%7D",
    "/a|b",
    "/(x)+.$",
    "/[foo",
    "/a%20b",
    "/%C3%A9",
    "/x",
    "/x?y",
    "/%66oo",
    "/w/1/2",
    "/bar/",
    "/docs/guide",
    "/app.js",
    "/first",
    "/s1",
    "/s1?a=b",
    "/s2",
    "/s3",
    "/s4",
    "/s4?x=//y",
    "/s5",
    "/s6?q",
    "/s7?q",
    "/s8",
    "/s9",
    "/s10?a",
    "/s11",
    "/s12",
    "/s13",
    "/s14",
    "/s15",
    "/s16",
    "/s17",
    "/s18",
    "/s19",
    "/s20",
    "/s21",
    "/s22",
    "/s23",
    "/s24",
    "/s25",
    "/s26",
    "/s27",
    "/s28^a",
    "/s28%5Ea",
    "/s29^a",
    "/s30{a}",
    "/s31|a",
    "/s31%7Ca",
    "/s32[a]",
    "/s33'a",
    "/s35//b",
    "/s36",
    "//s36",
    "/s37/y",
    "/s38$",
    "/s39(a)+.a",
    "/s40;a=b,c&d",
    "/s41%C2%85x",
    "/s42",
    "/s43",
    "/s44",
    "/d1/x//y",
    "/d2/x",
    "/d3/x",
    "/d4/1/2?z",
    "/d5/x//y",
    "/d6/1/2",
    "/d7/1/2",
    "/d8/a/b/x",
    "/d9/a/b",
    "/d10/a/b",
    "/d11^z",
    "/d12(z)+",
    "/d13/:1a/x",
    "/d14/v",
    "/d15/x-y-z.html",
    "/d16/a//b",
    "/d17/none",
    "/d18/a/b.html",
];
const MORE_SHAPES: [&str; 6] =
    ["/d19/xyz", "/d20/x", "/d21/host.example/x", "/d22/v", "/d23/v", "/d24//host.example/a//b"];
/// Rules in ISO 8859-1, as saved by an older editor.
const LATIN1_HEADERS: &str = "# caf\u{e9}\n/foo\n  X-Rule-A: 1\n/caf\u{e9}\n  X-Rule-A: 2\n/*\n  X-Rule-B: 2\n";
const LATIN1_REDIRECTS: &str = "# caf\u{e9}\n/old /foo\n/caf\u{e9} /foo\n/new /foo\n";

/// Sites with rules of these kinds.
fn shapes() -> Vec<Value> {
    let requests =
        |paths: &mut dyn Iterator<Item = String>| paths.map(|path| json!({ "path": path })).collect::<Vec<_>>();
    let site = |name: &str, headers: &str, redirects: &str, paths: &mut dyn Iterator<Item = String>| {
        json!({
            "name": name, "html_handling": MODES[0], "not_found_handling": "none", "headers": headers, "redirects": redirects,
            "requests": requests(paths),
        })
    };
    let own = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>().into_iter();
    let shaped = site("rules, shapes", SHAPES_HEADERS, SHAPES_REDIRECTS, &mut own(&SHAPES).chain(own(&MORE_SHAPES)));
    let mut latin1 =
        site("rules, ISO 8859-1", LATIN1_HEADERS, LATIN1_REDIRECTS, &mut own(&["/foo", "/old", "/new", "/caf%C3%A9"]));
    latin1["latin1"] = json!(true);
    let returns = site(
        "rules, carriage returns",
        "/foo\r X-Rule-A: 1\r",
        "/old /foo\r/new /foo\r",
        &mut own(&["/foo", "/old", "/new"]),
    );
    let long = |count: usize| "y".repeat(count);
    let headers = format!("/foo\n  X-Rule-A: {}\n  X-Rule-B: {}\n  X-Rule-C: 1\n", long(1990), long(1991));
    let redirects = format!("/{} /foo\n/{} /foo\n", long(1994), long(1995));
    let paths = [long(1994), long(1995)].map(|name| format!("/{name}"));
    let lines = site("rules, long lines", &headers, &redirects, &mut own(&["/foo"]).chain(paths));
    let headers: String = (0..104).map(|number| format!("/many{number}\n  X-Rule-A: {number}\n")).collect();
    let exact: String = (0..2002).map(|number| format!("/s{number} /foo\n")).collect();
    let dynamic: String = (0..102).map(|number| format!("/d{number}/* /foo\n")).collect();
    let paths =
        ["many99", "many100", "many101", "many102", "s1999", "s2000", "d99/x", "d100/x"].map(|name| format!("/{name}"));
    let many = site("rules, limits", &headers, &format!("{exact}{dynamic}"), &mut paths.into_iter());
    vec![shaped, latin1, returns, lines, many]
}

fn spec(mime: &Path) -> Value {
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
    sites.extend(shapes());
    let files: serde_json::Map<String, Value> =
        FILES.iter().map(|(path, text)| ((*path).to_owned(), json!(text))).collect();
    json!({ "files": files, "sites": sites, "mime": mime })
}

/// Compares the asset Worker's content types by extension with ours, or writes them.
fn compare_types(told: &Value, write: bool) -> Outcome {
    let types = told.as_object().ok_or("the asset Worker was not asked for types")?;
    let types: BTreeMap<&String, &str> =
        types.iter().filter_map(|(extension, told)| Some((extension, told.as_str()?))).collect();
    let table: String = types.iter().map(|(extension, told)| format!("{extension}\t{told}\n")).collect();
    if write {
        fs::write(TYPES, &table)?;
    }
    if fs::read_to_string(TYPES)? != table {
        return Err(format!("the asset Worker has other types than {TYPES} says: run `cargo xtask assets --write` and look at the difference").into());
    }
    println!("{} extensions have the types that {TYPES} says", types.len());
    Ok(())
}

/// Compares the responses with the recorded ones, or records them.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let node = workerd::node()?;
    let spec_file = node.join("assets-spec.json");
    let answers = node.join("assets.json");
    fs::write(node.join("assets.mjs"), SCRIPT)?;
    let mime = std::path::absolute(target().join("mime"))?;
    npm::install(&mime, &[MIME])?;
    fs::write(&spec_file, serde_json::to_vec(&spec(&mime))?)?;
    let log = fs::File::create(target().join("assets.log"))?;
    execute(Command::new("node").arg(node.join("assets.mjs")).arg(&spec_file).arg(&answers).stdout(log))?;
    let mut told: Value = serde_json::from_str(&fs::read_to_string(&answers)?)?;
    let write = arguments.iter().any(|argument| argument == "--write");
    let types = told.as_object_mut().and_then(|told| told.remove("types")).unwrap_or_default();
    compare_types(&types, write)?;
    if write {
        let mut text = Vec::new();
        let one_space = serde_json::ser::PrettyFormatter::with_indent(b" ");
        told.serialize(&mut serde_json::Serializer::with_formatter(&mut text, one_space))?;
        text.push(b'\n');
        fs::write(FIXTURE, text)?;
    }
    let fixture = fs::read_to_string(Path::new(FIXTURE))?;
    let fixture: Value = serde_json::from_str(&fixture)?;
    if told != fixture {
        return Err(format!("the asset Worker answers otherwise than {FIXTURE} says: run `cargo xtask assets --write` and look at the difference").into());
    }
    let exchanges = told["sites"].as_array().into_iter().flatten().filter_map(|site| site["exchanges"].as_array());
    println!("{} exchanges with the asset Worker are as {FIXTURE} says", exchanges.map(Vec::len).sum::<usize>());
    Ok(())
}
