//! Comparing transcripts: where two differ, and which differences are known.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// A known difference of a native host from workerd.
struct Known {
    reason: &'static str,
    covers: fn(&Json, &Json) -> bool,
}

const KNOWN: [Known; 4] = [
    Known {
        reason: "JavaScript has one type of numbers: an integral REAL reads as an integer inside Workers",
        covers: |native, workerd| number(native).is_some_and(|ours| Some(ours) == workerd.as_f64()),
    },
    Known {
        reason: "natively no message of a turn leaves when the turn is undone; workerd lets those before its first write go",
        covers: |native, workerd| match (native.as_array().map(Vec::as_slice), workerd.as_array()) {
            (Some([end]), Some(others)) => end == THE_END && others.last() == Some(end),
            _ => false,
        },
    },
    Known {
        reason: "natively the host's table of keys is there before the first key",
        covers: |native, workerd| {
            native[0] == "NotAuthorized"
                && workerd[1].as_str().is_some_and(|text| text.starts_with("no such table: _cf_KV"))
        },
    },
    Known {
        reason: "natively sqlite_sequence outlives the deletion of everything, empty",
        covers: |native, workerd| {
            let text = workerd["error"][1].as_str().or(workerd[1].as_str());
            let is_empty = native["ok"]["rows"].as_array().is_none_or(Vec::is_empty);
            is_empty && text.is_some_and(|text| text.starts_with("no such table: sqlite_sequence"))
        },
    },
];
/// The text that stands for the end of a socket's connection.
const THE_END: &str = "the end";

/// The value of a REAL or of a number of JSON.
fn number(json: &Json) -> Option<f64> {
    json["real"].as_str().map_or_else(|| json.as_f64(), |text| text.parse().ok())
}

/// A place where two transcripts differ.
#[derive(Debug)]
pub(super) struct Difference {
    path: String,
    ours: Json,
    theirs: Json,
}

impl Difference {
    fn new(path: String, ours: &Json, theirs: &Json) -> Self {
        Self { path, ours: ours.clone(), theirs: theirs.clone() }
    }

    /// Returns the reason, if the difference is known.
    pub(super) fn reason(&self) -> Option<&'static str> {
        KNOWN.iter().find(|known| (known.covers)(&self.ours, &self.theirs)).map(|known| known.reason)
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, ours, theirs } = self;
        write!(f, "at {path}:\n      native:  {ours}\n      workerd: {theirs}")
    }
}

/// Returns the places where two transcripts differ.
pub(super) fn differences(ours: &[Json], theirs: &[Json]) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", &Json::from(ours), &Json::from(theirs), &mut found);
    found
}

fn walk(path: &str, ours: &Json, theirs: &Json, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Json::Array(one), Json::Array(other)) if one.len() == other.len() => {
            for (index, (ours, theirs)) in one.iter().zip(other).enumerate() {
                walk(&format!("{path}/{index}"), ours, theirs, found);
            }
        }
        (Json::Object(one), Json::Object(other)) if one.keys().eq(other.keys()) => {
            for ((name, ours), theirs) in one.iter().zip(other.values()) {
                match name.as_str() {
                    // Kind and text of an error belong together.
                    "error" if ours != theirs => found.push(Difference::new(format!("{path}/{name}"), ours, theirs)),
                    _ => walk(&format!("{path}/{name}"), ours, theirs, found),
                }
            }
        }
        _ if ours == theirs => {}
        _ => found.push(Difference::new(path.to_owned(), ours, theirs)),
    }
}

/// Numbers of known differences, by their reasons.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    /// Counts the known differences, and returns the others.
    pub(super) fn take(&mut self, differences: Vec<Difference>) -> Vec<Difference> {
        let mut others = Vec::new();
        for difference in differences {
            match difference.reason() {
                Some(reason) => *self.0.entry(reason).or_default() += 1,
                None => others.push(difference),
            }
        }
        others
    }

    pub(super) fn print(&self) {
        self.0.iter().for_each(|(reason, count)| println!("differs  {count} values: {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_have_their_places() {
        let found = differences(&[json!({"ok": [1, {"a": 2}]})], &[json!({"ok": [1, {"a": 3}]})]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "/0/ok/1/a");
        assert!(found[0].reason().is_none());
    }

    #[test]
    fn an_integral_real_is_known_and_another_number_is_not() {
        let of = |ours: Json, theirs: Json| differences(&[ours], &[theirs]).iter().all(|one| one.reason().is_some());
        assert!(of(json!({"real": "1.0"}), json!(1)) && of(json!(1.0), json!(1)));
        assert!(!of(json!({"real": "1.5"}), json!(1)) && !of(json!({"real": "1.0"}), json!("1")));
    }
}
