//! `isobar analytics` on a dataset that a server has written.

use std::fs;
use std::path::Path;

use isobar_analytics::local::LocalSink;
use isobar_analytics::{DataPoint, EventSink};

use crate::{ok, refused};

const CONFIG: &str = "name = \"test\"\n[[analytics_engine_datasets]]\nbinding = \"EVENTS\"\ndataset = \"visits\"\n";

#[tokio::main(flavor = "current_thread")]
async fn write(folder: &Path, numbers: std::ops::Range<u32>) {
    let sink = LocalSink::open(folder.join(".isobar/analytics/visits")).unwrap();
    for number in numbers {
        let index = if number % 2 == 0 { "even" } else { "odd" };
        sink.write(DataPoint::new().with_index(index).with_blob("a \"b\", c").with_double(number.into()));
    }
    sink.close().await.unwrap();
}

fn an_export_of_later_points_has_only_its_head(here: &Path) {
    let from = ["--from", "2100-01-01T00:00:00Z"];
    let export = ["analytics", "export", "EVENTS", "--format", "csv", "--output", "none.csv"];
    assert_eq!(ok(here, &[&export[..], &from[..]].concat()), "exported 0 points to none.csv\n");
    assert_eq!(fs::read_to_string(here.join("none.csv")).unwrap().lines().count(), 1);
}

#[test]
fn dataset_is_compacted_exported_imported_erased_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("wrangler.toml"), CONFIG).unwrap();
    let error = refused(here, &["analytics", "compact", "EVENTS"]);
    assert!(
        error.contains("dataset EVENTS not found in ")
            && error.contains("visits; existing datasets: there are none yet"),
        "{error}"
    );
    write(here, 0..10);
    let error = refused(here, &["analytics", "compact", "other"]);
    assert!(error.contains("existing datasets: visits"), "{error}");
    assert!(refused(here, &["analytics", "compact", "../x"]).contains("invalid dataset name"));

    // By binding and by name.
    assert!(ok(here, &["analytics", "compact", "EVENTS"]).starts_with("compacted 10 points: 1 log segment ("));
    write(here, 10..12);
    let report: serde_json::Value =
        serde_json::from_str(&ok(here, &["analytics", "compact", "visits", "--json"])).unwrap();
    assert_eq!((&report["points"], &report["columnar_segments"]), (&2.into(), &1.into()));
    write(here, 12..13);

    let export =
        |format: &str, file: &str| ok(here, &["analytics", "export", "EVENTS", "--format", format, "--output", file]);
    assert_eq!(export("csv", "all.csv"), "exported 13 points to all.csv\n");
    let csv = fs::read_to_string(here.join("all.csv")).unwrap();
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines[0].starts_with("timestamp,_sample_interval,index1,blob1,blob2,") && lines[0].ends_with(",double20"));
    assert!(lines.len() == 14 && lines[1].contains(",1,even,\"a \"\"b\"\", c\",,"), "{}", lines[1]);
    assert_eq!(export("parquet", "all.parquet"), "exported 13 points to all.parquet\n");
    assert!(fs::read(here.join("all.parquet")).unwrap().starts_with(b"PAR1"));
    export("arrow", "all.arrow");
    assert!(fs::read(here.join("all.arrow")).unwrap().starts_with(b"ARROW1"));
    let exists = refused(here, &["analytics", "export", "EVENTS", "--format", "csv", "--output", "all.csv"]);
    assert!(exists.contains("all.csv") && fs::read_to_string(here.join("all.csv")).unwrap() == csv, "{exists}");
    let unknown = refused(here, &["analytics", "export", "EVENTS", "--format", "xml", "--output", "all.xml"]);
    assert!(unknown.contains("use parquet, csv or arrow"), "{unknown}");
    an_export_of_later_points_has_only_its_head(here);

    assert!(refused(here, &["analytics", "erase", "EVENTS", "odd"]).contains("pass --yes"));
    assert!(ok(here, &["analytics", "erase", "EVENTS", "odd", "--yes"]).starts_with("erased 6 points; rewrote "));
    assert_eq!(ok(here, &["analytics", "import", "EVENTS", "all.parquet"]), "imported 13 points\n");
    assert!(refused(here, &["analytics", "import", "EVENTS", "all.csv"]).contains("all.csv"));
    let tail = ok(here, &["analytics", "tail", "EVENTS", "--since", "600", "-n", "20"]);
    let lines: Vec<serde_json::Value> = tail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines.iter().filter(|line| line["index1"] == "odd").count()), (20, 6));
    assert_eq!(lines[0]["blob1"], "a \"b\", c");

    let told = refused(here, &["analytics", "retention", "EVENTS"]);
    assert!(told.contains("--max-age") && told.contains("--max-bytes"), "{told}");
    assert_eq!(ok(here, &["analytics", "retention", "EVENTS", "--max-age", "1d"]), "removed 0 bytes\n");
    assert_ne!(ok(here, &["analytics", "retention", "EVENTS", "--max-bytes", "1kB"]), "removed 0 bytes\n");
    assert_eq!(export("csv", "rest.csv"), "exported 0 points to rest.csv\n");
}

#[test]
fn dataset_of_the_configuration_is_imported_into_a_new_place() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("wrangler.toml"), CONFIG).unwrap();
    write(here, 0..3);
    let export = ["analytics", "export", "EVENTS", "--format", "parquet", "--output", "all.parquet"];
    ok(here, &export);
    assert!(refused(here, &[&export[..], &["--from", "yesterday"]].concat()).contains("RFC 3339"));
    let reversed = ["--from", "2026-12-01T00:00:00Z", "--until", "2026-11-01T00:00:00Z"];
    assert!(refused(here, &[&export[..], &reversed].concat()).contains("--from is not before --until"));

    let import = ["--root", "new", "analytics", "import"];
    let told = refused(here, &[&import[..], &["EVENTS", "none.parquet"]].concat());
    assert!(told.contains("cannot read none.parquet"), "{told}");
    assert!(!here.join("new").exists());
    let told = refused(here, &[&import[..], &["EVENT", "all.parquet"]].concat());
    assert!(told.contains("dataset EVENT not found"), "{told}");
    assert_eq!(ok(here, &[&import[..], &["EVENTS", "all.parquet"]].concat()), "imported 3 points\n");
    let query = ["--root", "new", "analytics", "query", "SELECT count() FROM visits", "--format", "TabSeparated"];
    assert_eq!(ok(here, &query).trim(), "3");
}

#[test]
fn archived_points_are_listed_queried_and_erased_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("wrangler.toml"), CONFIG).unwrap();
    let archive = ["analytics", "archive", "EVENTS", "--older-than", "0s"];
    for more in [&["--json"][..], &["--to", "r2://old/events"]] {
        let refusal = refused(here, &[&archive[..], more].concat());
        assert!(refusal.contains("dataset EVENTS not found in "), "{refusal}");
    }
    assert!(!here.join(".isobar/r2/old").exists());
    write(here, 0..10);
    ok(here, &["analytics", "compact", "EVENTS"]);
    assert!(refused(here, &archive).contains("the dataset visits has no archive yet: name one with --to"));
    let into = |target: &'static str| [&archive[..], &["--to", target]].concat();
    let moved = ok(here, &into("r2://old/events"));
    assert!(
        moved.starts_with("moved 1 Parquet segment (10 points, ") && moved.ends_with(") to r2://old/events/visits\n"),
        "{moved}"
    );
    let count = ["analytics", "query", "SELECT count() AS n FROM visits", "--format", "TabSeparated"];
    assert_eq!(ok(here, &count), "10\n");
    let tables = ok(here, &["analytics", "tables"]);
    assert!(tables.lines().last().unwrap().ends_with("  r2://old/events/visits"), "{tables}");
    assert_eq!(ok(here, &archive), "moved 0 Parquet segments (0 points, 0 bytes) to r2://old/events/visits\n");
    let refusal = refused(here, &into("large"));
    assert!(refusal.contains("the dataset has segments in the archive r2://old/events/visits"), "{refusal}");
    let serve = ["serve", "--port", "0", "--events-archive", "r2://other"];
    let bucket = here.join(".isobar/r2/old");
    for is_away in [false, true] {
        if is_away {
            fs::rename(&bucket, here.join("away")).unwrap();
        }
        let refusal = refused(here, &serve);
        assert!(refusal.contains("the dataset visits has segments in r2://old/events/visits"), "{refusal}");
    }
    fs::rename(here.join("away"), &bucket).unwrap();
    let export = ["analytics", "export", "EVENTS", "--format", "csv", "--output", "all.csv"];
    assert_eq!(ok(here, &export), "exported 10 points to all.csv\n");

    let erased = ok(here, &["analytics", "erase", "EVENTS", "odd", "--yes"]);
    assert_eq!(erased, "erased 5 points; rewrote 1 Parquet segment\n");
    assert_eq!(ok(here, &count), "5\n");
    // Nothing is in the bucket any more, so that another place may be named.
    let moved: serde_json::Value =
        serde_json::from_str(&ok(here, &[&into("large")[..], &["--json"]].concat())).unwrap();
    assert_eq!((&moved["segments"], &moved["points"]), (&1.into(), &5.into()));
    assert_eq!(fs::read_dir(here.join("large/visits")).unwrap().count(), 1);
    assert_eq!(ok(here, &count), "5\n");
    assert!(refused(here, &[&into("large")[..], &["--remote"]].concat()).contains("--remote needs a bucket"));
}
