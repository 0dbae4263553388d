//! The table of the outcomes of each case on each backend, and the known differences.

use std::collections::BTreeMap;

use isobar_testkit::{Outcome, Report};

/// Cases that cannot pass on a backend, with the reason. One that begins to pass is a failure, too, and must be removed from the
/// list, unless it is in [`MAY`].
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("workerd", "storage/metadata/storage_class_is_kept", "miniflare's R2 drops the storage class; R2 keeps it"),
    (
        "workerd",
        "sessions/sockets/broken_connection_reaches_the_handler",
        "a Worker can close a WebSocket, but cannot break its connection",
    ),
    ("s3", "storage/objects/every_write_has_its_version", "S3 tells no versions, and whole seconds only"),
    ("s3", "storage/objects/names_and_their_prefixes_coexist", "no URL can name a key with a segment . or .."),
    ("s3", "storage/objects/copy_heeds_conditions", "conditions on the destination of a copy are R2's own headers"),
    ("s3", "storage/metadata/names_of_custom_metadata_keep_their_case", "S3's headers are in lower case"),
    ("s3", "storage/metadata/a_plain_put_guesses_nothing", "S3 gives what has no content type one of its own"),
    ("s3 miniflare", "storage/metadata/custom_metadata_has_a_limit", "it counts what is encoded for a header"),
    ("s3 miniflare", "storage/metadata/storage_class_is_kept", "it does not implement STANDARD_IA"),
    ("s3", "storage/checksums/checksums_are_kept", "S3 keeps md5 alone, as the etag"),
    ("s3 moto", "storage/listing/start_after_comes_before_grouping", "it groups first, as AWS does"),
    ("s3", "storage/multipart/no_parts_make_an_empty_object", "S3 refuses an upload without parts"),
    (
        "s3 miniflare",
        "storage/multipart/parts_must_be_equal_but_for_the_last",
        "its S3 side answers NoSuchUpload for unequal parts",
    ),
    ("s3 moto", "storage/multipart/parts_must_be_equal_but_for_the_last", "AWS takes unequal parts"),
    (
        "s3",
        "storage/multipart/a_short_part_listed_last_is_judged_by_its_number",
        "S3 takes parts by their numbers alone",
    ),
    ("s3", "storage/multipart/an_unknown_upload_is_refused", "S3 tells no upload that never was from one that is over"),
    (
        "s3 moto",
        "storage/multipart/abort_is_idempotent_and_final",
        "it answers 500 to a part of an upload that is over",
    ),
    ("s3 moto", "storage/multipart/completion_is_final", "AWS lets an upload be completed again"),
    ("s3 miniflare", "storage/multipart/listed_parts_are_the_stored", "it does not implement ListParts"),
    ("d1 rest", "db/sessions/sessions_carry_bookmarks", "the REST API has no bookmarks"),
];

/// Differences that depend on timing.
const MAY: &[&str] = &["storage/objects/every_write_has_its_version"];

/// Returns the reason for which a case cannot pass on a backend, if known; `s3` means every S3 server.
fn known(backend: &str, name: &str) -> Option<&'static str> {
    let covers = |one: &str| one == backend || (one == "s3" && backend.starts_with("s3 "));
    DIFFERENT.iter().find(|(one, case, _)| covers(one) && *case == name).map(|(_, _, why)| *why)
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
    different: usize,
}

/// The outcomes by backend and group of cases.
#[derive(Default)]
pub(super) struct Table {
    backends: Vec<&'static str>,
    groups: BTreeMap<String, BTreeMap<&'static str, Count>>,
}

impl Table {
    /// Adds a kit's report on a backend.
    pub(super) fn take(&mut self, backend: &'static str, kit: &str, report: Report) {
        for (group, case, outcome) in report.outcomes {
            self.judge(backend, &format!("{kit}/{group}/{case}"), &outcome);
        }
    }

    /// Adds the outcome of one case: `kit/group/case`.
    pub(super) fn judge(&mut self, backend: &'static str, name: &str, outcome: &Outcome) {
        if !self.backends.contains(&backend) {
            self.backends.push(backend);
        }
        let group = name.rsplit_once('/').map_or(name, |(group, _)| group).to_owned();
        let count = self.groups.entry(group).or_default().entry(backend).or_default();
        match (outcome, known(backend, name)) {
            (Outcome::Passed, None) => count.passed += 1,
            (Outcome::Passed, Some(_)) if MAY.contains(&name) => count.passed += 1,
            (Outcome::Skipped(needs), None) => {
                count.skipped += 1;
                println!("skipped  {backend}: {name}: needs {needs}");
            }
            (Outcome::Failed(_), Some(why)) => {
                count.different += 1;
                println!("differs  {backend}: {name}: {why}");
            }
            (outcome, _) => {
                count.failed += 1;
                println!("FAILED   {backend}: {name}: {outcome:?}");
            }
        }
    }

    /// Prints a row for each group of cases and a column for each backend: the number of passed cases, `~` that of known
    /// differences, `-` that of cases skipped for a missing capability.
    pub(super) fn print(&self) {
        print!("\n{:22}", "passed ~differ -skipped");
        self.backends.iter().for_each(|backend| print!(" {backend:>12}"));
        println!();
        for (group, counts) in &self.groups {
            print!("{group:23}");
            for backend in &self.backends {
                print!(" {:>12}", counts.get(backend).map(ToString::to_string).unwrap_or_default());
            }
            println!();
        }
    }

    pub(super) fn verdict(&self) -> crate::Outcome {
        let sum =
            |of: fn(&Count) -> usize| self.groups.values().flat_map(|counts| counts.values()).map(of).sum::<usize>();
        match sum(|count| count.failed) {
            0 => {
                println!("{} cases pass on {} backends", sum(|count| count.passed), self.backends.len());
                Ok(())
            }
            failed => Err(format!("{failed} cases failed").into()),
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, failed, skipped, different } = self;
        let mut text = passed.to_string();
        for (sign, count) in [("~", different), ("-", skipped), ("!", failed)] {
            if *count > 0 {
                text.push_str(&format!(" {sign}{count}"));
            }
        }
        f.pad(&text)
    }
}
