//! The project's own commands: `cargo xtask help`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

mod analytics;
mod analytics_clickhouse;
mod analytics_sql;
mod api;
mod assets;
mod bench;
mod bench_analytics;
mod bench_db;
mod bench_doors;
mod bench_sessions;
mod browser;
mod cache_tests;
mod checkers;
mod clients;
mod conformance;
mod d1;
mod differential;
mod docs;
mod doors;
mod drift;
mod endurance;
mod faults;
mod features;
mod http;
mod mcp;
mod npm;
mod postgres;
mod programs;
mod python;
mod random;
mod readers;
mod real_site;
mod schema;
mod sockets;
mod sqllogictest;
mod wasm;
mod worker;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const HELP: &str = "cargo xtask COMMAND

  features   check each feature of each crate alone
  api [--bless]  run rustdoc without a warning, and compare the public items of each crate with the committed lists (api/); with
             --bless, write them anew; needs Rust 1.95, whose rustdoc writes the JSON that is read
  docs       build the guide (docs/) as an mdBook; check every Markdown file's links and anchors, and that a doctest
             compiles its Rust blocks; needs Python 3 with venv
  wasm       check for wasm32-unknown-unknown everything but the local backends
  words      check how doc comments begin
  counts [--list [FOLDER]]  count docs, examples, long functions and the like; with --list, with the places
  layers [PACKAGE...]   check that dependencies go in one direction: among crates by floors, among modules without a circle
  worker build [FOLDER] build the platform's Worker and print its size, or that of a folder
  worker dry-run        deploy it by wrangler, up to the upload
  worker start-up       the same, and print how long it takes in workerd from the evaluation of its module to its first answer
  worker dev [--port N] run it in workerd on its bindings, migrations applied, static tree loaded
  conformance [--programs COUNT]  run every conformance kit on every backend: memory, local, the bindings of the real
                        workerd, S3 (miniflare, moto) and D1 over HTTP; print a table; then run random programs of session objects
                        (200, or COUNT) on local, memory and workerd, and compare all that they give
  conformance programs [COUNT [SEED [ADDRESS]]]  the random programs alone, from this seed on, with the Worker, or with a server at
                        this address that answers as it does; a program that ends differently is shrunk
  postgres [COMMAND...] start a PostgreSQL server on a socket in a temporary folder, run the kit of databases, D1's routes of the
                        REST door and the platform's API on it, and stop it; with a command, run that instead, with the server's
                        URL in ISOBAR_POSTGRES_URL; installs Debian's postgresql if it is missing
  differential          drive the platform natively and as a Worker, and compare every response
  d1 [--operations COUNT] [--seed SEED] [--case NUMBER]  run random schemas and statements (6,000, or COUNT) on D1 in workerd and
                        on the local database, and compare rows, types, meta and the texts of errors; a case alone is printed
  schema                test the API, natively and as a Worker, against its OpenAPI document, with schemathesis
  clients    test the platform, natively and as a Worker, with external clients: tus-js-client, oidc-provider, lighthouse
  doors      run clients that others wrote, unmodified, against the doors of `isobar serve`: wrangler, Cloudflare's SDKs for Node
             and Python, Drizzle's and Prisma's D1 drivers, boto3, awscli, s3cmd, minio-py, s3fs, rclone, object_store and OpenDAL;
             installs Debian's rclone if it is missing; needs Node 22, npm, and Python 3 with venv
  mcp        run MCP's public conformance suite on the MCP session object, for both protocol revisions
  assets     compare the responses recorded in the site's tests with the real asset Worker; --write records them
  analytics  read the Parquet segments of a dataset with DuckDB, chDB and pyarrow, compare 2,000 random queries with chDB,
             and write to chDB over HTTP and ask it
  analytics-sql [COUNT [SEED]]  compare random queries of Analytics Engine's SQL with ClickHouse (chDB); record writes ClickHouse's
             answers to the recorded queries anew; needs Python 3 with venv
  checkers   check the site's responses with REDbot and httplint
  cache-tests           run http-cache-tests on the cache in front of an application inside Workers; print the score
  sockets    a hostile user: 1,500 sockets, floods into rooms that nobody reads, 3,000 subscriptions; prints memory and latency
  endurance  hostile clients: 10,000 idle connections, byte-by-byte requests, aborted downloads; the server must answer others
  faults [NAME]         the running platform under a full disk, failing syncs, damaged and missing files, few descriptors and a
                        clock that jumps, with a ledger of what it acknowledged; needs Linux, root (or sudo), strace, faketime
  sqllogictest [FOLDER] run test files of sqllogictest through the trait on the local backend, the project's own or those of a
                        folder (SQLite's); prints the pass rate, and what D1's rules exclude
  bench analytics       compare local queries with DuckDB, over the same Parquet segments of ten million points, which it writes once;
                        needs Python 3 with venv
  bench db              compare the local database with rusqlite and sqlx, in the same statements
  bench s3              compare the door of S3 with s3s-fs and miniflare's R2, by object_store: puts and gets of 4 KiB and 8 MiB;
                        with --large [MIB], stream an object of 5 GiB through it and back, in under 128 MiB of memory
  bench rest            compare D1's query at the REST door with a Worker and D1's API in miniflare
  bench sessions        compare writes and reads of session objects over HTTP with the same object in workerd (miniflare)
  bench serve           compare the server with nginx, tower-http's ServeDir and static-web-server, on the same files;
                        --against PROGRAM adds another build of isobar
  drift [VERSION]       run conformance, differential, assets and cache-tests with the newest miniflare of npm, or this version;
                        weekly, not in the gate
  real-site  sync a real site from npm with the isobar command, serve it, and compare every file
  browser [explorer]    open the platform's pages, and the explorer of `isobar serve`, in headless Chromium; screenshots go to
                        target/screenshots; axe-core judges the explorer; needs npm

`worker`, `conformance`, `differential`, `drift`, `cache-tests` and `schema` need Node 22, npm, and Rust's nightly with rust-src for
wasm32 (panics that unwind); worker-build and miniflare are installed under the target folder; `conformance` and `schema` need Python 3
with venv, too, and `analytics` and `checkers` only that. `clients` needs Node 22, npm and the nightly, and `mcp` npm, too. `assets` and
`d1` need Node 22 and npm, `real-site` npm. `bench serve` installs Debian's nginx and wrk if they are missing; `bench s3`, `bench rest` and
`bench sessions`, which installs Debian's wrk, need Node 22 and npm. `browser` and
`clients` need Chromium and install Debian's package with apt-get if it is missing.";

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("features") => features::run(),
        Some("api") => api::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("wasm") => wasm::run(),
        Some("worker") => worker::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("conformance") => conformance::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("differential") => differential::run(),
        Some("d1") => d1::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("clients") => clients::run(),
        Some("postgres") => postgres::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("doors") => doors::run(),
        Some("mcp") => mcp::run(),
        Some("schema") => schema::run(),
        Some("real-site") => real_site::run(),
        Some("analytics-sql") => analytics_sql::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("assets") => assets::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("analytics") => analytics::run(),
        Some("checkers") => checkers::run(),
        Some("cache-tests") => cache_tests::run(),
        Some("sockets") => sockets::run(),
        Some("endurance") => endurance::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("drift") => drift::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("docs") => docs::run(),
        Some("sqllogictest") => sqllogictest::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("faults") => faults::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("bench") => {
            let arguments: Vec<String> = std::env::args().skip(2).collect();
            match arguments.split_first() {
                Some((what, rest)) if what == "analytics" => bench_analytics::run(rest),
                Some((what, rest)) if what == "db" => bench_db::run(rest),
                Some((what, rest)) if what == "s3" => bench_doors::s3(rest),
                Some((what, rest)) if what == "rest" => bench_doors::rest(rest),
                Some((what, rest)) if what == "sessions" => bench_sessions::run(rest),
                _ => bench::run(&arguments),
            }
        }
        Some("browser") => browser::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => {
            let arguments: Vec<String> = std::env::args().skip(2).collect();
            xtask_source::run(other, &arguments)
                .unwrap_or_else(|| Err(format!("unknown command {other}\n\n{HELP}").into()))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; the error names it.
fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// Returns the cargo that runs this task.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Returns the folder of build output.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}
