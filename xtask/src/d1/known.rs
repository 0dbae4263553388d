//! Known differences between D1 in workerd and the local database, with the reasons.

use serde_json::Value as Json;

/// Whether the databases are still the same after a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Same,
    Parted,
}

const ENDED: &str = "D1's runtime takes a statement that ends the transaction itself (OR ROLLBACK, RAISE(ROLLBACK)), and a commit that a deferred \
                     foreign key refuses, for a fault of its own, and starts the database anew; the local one has the constraint's error";

const BEGUN: &str =
    "D1's text on BEGIN and SAVEPOINT names an interface of Durable Objects; the local one names `batch`";

const ONCE: &str = "workerd keeps the first statement of a text of several as running, and refuses the text when it comes again at once";

/// Returns why two outcomes of a call differ, where that is known, and whether the databases go on alike.
pub(super) fn reason(theirs: &Json, ours: &Json) -> Option<(&'static str, After)> {
    if theirs["error"] == "D1_ERROR: A SQL prepared statement can only be executed once at a time." {
        return Some((ONCE, After::Same));
    }
    let text = |outcome: &'_ Json| outcome["error"].as_str().map(str::to_owned);
    let theirs = text(theirs)?;
    let ours = text(ours)?;
    if theirs.contains("internal error; reference") && ours.contains("SQLITE_CONSTRAINT") {
        return Some((ENDED, After::Parted));
    }
    let begins = "D1_ERROR: To execute a transaction, please use ";
    if theirs.starts_with(begins) && ours.starts_with(begins) {
        return Some((BEGUN, After::Same));
    }
    None
}
