//! Checks the documentation, and compares the public API of each crate with the list of it that is committed (`api/PACKAGE.txt`).
//!
//! The lists are made by `public-api` out of rustdoc's JSON, whose format changes with Rust's releases: [`FORMAT`] is read, and another
//! one is an error. One run of rustdoc does both, as its lints are the same for JSON and for HTML. Items for wasm32 alone are in no list.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use public_api::Builder;
use serde::Deserialize;
use serde_json::Value;

use crate::{Outcome, cargo};

/// Format of rustdoc's JSON that this version of `public-api` reads.
const FORMAT: u64 = 57;
/// A version of Rust whose rustdoc writes [`FORMAT`]; `.ci/run` names it, too.
const RUST: &str = "1.95.0";

/// Traits that the compiler implements by itself. Of `Send` and `Sync` the exceptions are listed, of the others nothing.
const AUTO_TRAITS: [&str; 7] = [
    "core::marker::Send",
    "core::marker::Sync",
    "core::marker::Freeze",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// A published library: its package, and its crate's name.
#[derive(Debug)]
struct Library {
    package: String,
    name: String,
}

/// The version of a file of rustdoc's JSON.
#[derive(Debug, Deserialize)]
struct Version {
    format_version: u64,
}

/// Fails on a warning of rustdoc's; compares each list, and prints the lines that go and come; with `--bless`, writes the lists anew.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let is_blessing = match arguments {
        [] => false,
        [flag] if flag == "--bless" => true,
        _ => return Err("usage: cargo xtask api [--bless]".into()),
    };
    let metadata = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
    let folder =
        |name: &str| metadata[name].as_str().map(PathBuf::from).ok_or_else(|| format!("cargo names no {name}"));
    let target = folder("target_directory")?;
    let lists = folder("workspace_root")?.join("api");
    let libraries = libraries(&metadata);
    document(&target)?;

    let mut items = 0;
    let mut changed = Vec::new();
    for library in &libraries {
        let api = list(&target.join("doc").join(format!("{}.json", library.name)))?;
        items += api.lines().count();
        let path = lists.join(format!("{}.txt", library.package));
        if is_blessing {
            fs::create_dir_all(&lists)?;
            fs::write(&path, &api)?;
        } else if let Some(lines) = difference(&committed(&path)?, &api) {
            println!("{}\n{}", library.package, lines.join("\n"));
            changed.push(library.package.as_str());
        }
    }
    let strangers = strangers(&lists, &libraries)?;
    if !strangers.is_empty() {
        return Err(format!("of no published crate: {}", strangers.join(", ")).into());
    }
    if !changed.is_empty() {
        let changed = changed.join(", ");
        let next =
            "if that is meant, say so in CHANGELOG.md and run `cargo xtask api --bless`; a line with - breaks users";
        return Err(format!("the public API of {changed} has changed: {next}").into());
    }
    println!("{} crates, {items} public items: as in api/", libraries.len());
    Ok(())
}

/// Returns the published libraries of the workspace.
fn libraries(metadata: &Value) -> Vec<Library> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let published = packages.filter(|package| package["publish"].is_null());
    let library = |package: &Value| {
        let targets = package["targets"].as_array()?;
        let is_library = |target: &&Value| matches!(target["kind"][0].as_str(), Some("lib" | "proc-macro"));
        let name = targets.iter().find(is_library)?["name"].as_str()?.replace('-', "_");
        Some(Library { package: package["name"].as_str()?.to_owned(), name })
    };
    published.filter_map(library).collect()
}

/// Has rustdoc describe the workspace in JSON, in `doc` of the target folder. Its warnings, broken links for example, are errors.
///
/// JSON is for rustdoc of nightly, or for one with `RUSTC_BOOTSTRAP`. The variable is set for rustdoc alone, by a script: build scripts
/// look at it, and what depends on them would be compiled again.
fn document(target: &Path) -> Outcome {
    fs::create_dir_all(target)?;
    let rustdoc = target.join("rustdoc-json.sh");
    fs::write(&rustdoc, "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n")?;
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755))?;
    let mut doc = cargo();
    doc.args(["doc", "--quiet", "--workspace", "--all-features", "--no-deps"]);
    crate::run(doc.env("RUSTDOC", &rustdoc).env("RUSTDOCFLAGS", "-Dwarnings -Z unstable-options --output-format json"))
}

/// Returns the public items that a file of rustdoc's JSON describes, a line each.
fn list(json: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let text = fs::read(json).map_err(|error| format!("{}: {error}", json.display()))?;
    let Version { format_version } = serde_json::from_slice(&text)?;
    if format_version != FORMAT {
        let next = format!("format {FORMAT} is read: run `cargo +{RUST} xtask api`");
        return Err(format!("this rustdoc writes format {format_version} of JSON, and {next}").into());
    }
    let api = Builder::from_rustdoc_json(json).omit_blanket_impls(true).build();
    let api = api.map_err(|error| format!("{}: {error}", json.display()))?;
    let mut lines: Vec<String> = api.items().map(ToString::to_string).filter(|line| is_listed(line)).collect();
    lines.dedup();
    Ok(lines.join("\n") + "\n")
}

/// Whether a line is kept: all but those of the compiler's own implementations that say nothing.
fn is_listed(line: &str) -> bool {
    let is_of = |name: &str| line.contains(&format!(" {name} for ")) || line.contains(&format!(" !{name} for "));
    match AUTO_TRAITS.iter().position(|name| line.starts_with("impl") && is_of(name)) {
        None => true,
        // A type that is not `Send`, or is so on a condition.
        Some(0 | 1) => line.contains(" !") || line.contains(" where "),
        Some(_) => false,
    }
}

fn committed(path: &Path) -> Result<String, Box<dyn std::error::Error>> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{} does not exist: run `cargo xtask api --bless`", path.display()).into(),
        _ => format!("{}: {error}", path.display()).into(),
    })
}

/// Returns the lines of `old` that are not in `new`, after a `-`, and those of `new` that are not in `old`, after a `+`; `None` for equal
/// texts. A different order alone is one line.
fn difference(old: &str, new: &str) -> Option<Vec<String>> {
    if old == new {
        return None;
    }
    let without = |text: &str, other: &str, mark: &str| -> Vec<String> {
        let others: BTreeSet<&str> = other.lines().collect();
        text.lines().filter(|line| !others.contains(line)).map(|line| format!("{mark} {line}")).collect()
    };
    let mut lines = without(old, new, "-");
    lines.extend(without(new, old, "+"));
    if lines.is_empty() {
        lines.push("the order of lines differs".to_owned());
    }
    Some(lines)
}

/// Returns the names of lists that are of no published library.
fn strangers(lists: &Path, libraries: &[Library]) -> io::Result<Vec<String>> {
    let mut strangers = Vec::new();
    for entry in fs::read_dir(lists)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !libraries.iter().any(|library| name.strip_suffix(".txt") == Some(library.package.as_str())) {
            strangers.push(name);
        }
    }
    Ok(strangers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_go_and_come_are_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "b\nc\n"), Some(vec!["- a".to_owned(), "+ c".to_owned()]));
        assert_eq!(difference("a\nb\n", "b\na\n"), Some(vec!["the order of lines differs".to_owned()]));
    }

    #[test]
    fn automatic_implementations_are_listed_where_they_say_something() {
        for (line, expected) in [
            ("pub fn isobar_base::run()", true),
            ("impl core::clone::Clone for a::B", true),
            ("impl core::marker::Send for a::B", false),
            ("impl !core::marker::Sync for a::B", true),
            ("impl<S> core::marker::Send for a::C<S> where S: core::marker::Send", true),
            ("impl !core::marker::Freeze for a::B", false),
            (
                "impl<S> core::panic::unwind_safe::UnwindSafe for a::C<S> where S: core::panic::unwind_safe::UnwindSafe",
                false,
            ),
        ] {
            assert_eq!(is_listed(line), expected, "{line}");
        }
    }

    #[test]
    fn published_libraries_are_found() {
        let metadata = serde_json::json!({"packages": [
            {"name": "isobar-a", "publish": null, "targets": [{"kind": ["lib"], "name": "isobar_a"}]},
            {"name": "isobar-b-macros", "publish": null, "targets": [{"kind": ["proc-macro"], "name": "isobar_b_macros"}]},
            {"name": "isobar-cli", "publish": null, "targets": [{"kind": ["bin"], "name": "isobar"}]},
            {"name": "xtask", "publish": [], "targets": [{"kind": ["lib"], "name": "xtask"}]},
        ]});
        let found: Vec<String> = libraries(&metadata).into_iter().map(|library| library.name).collect();
        assert_eq!(found, ["isobar_a", "isobar_b_macros"]);
    }
}
