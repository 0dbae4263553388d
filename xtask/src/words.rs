//! Checks how doc comments begin, and counts what tells about the project's prose and style.

use std::fs;
use std::process::Command;

use crate::Outcome;

/// Words with which no line of a doc comment begins: a clause in place of a noun.
const BEGINNINGS: [&str; 5] = ["What", "Who", "Whose", "Whatever", "Whoever"];
/// Folders with the project's Rust files.
const FOLDERS: [&str; 4] = ["crates", "xtask", "examples", "conformance"];
/// Length in lines above which a function counts as long.
const LONG: usize = 60;
/// Length in characters above which a commit's subject counts as long.
const SUBJECT: usize = 72;

/// Counts over all files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    lines: usize,
    doc_lines: usize,
    comment_lines: usize,
    doc_comments: usize,
    public: Share,
    fallible: Share,
    long: Share,
    parallel_lets: usize,
    /// Lines of the largest file, and its path.
    largest: (usize, String),
}

/// A number of items with a property, and the number of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Share {
    with: usize,
    all: usize,
}

impl Share {
    fn add(&mut self, has: bool) {
        self.all += 1;
        self.with += usize::from(has);
    }
}

/// Fails and names each doc line that begins with a clause in place of a noun; prints the counts.
pub(crate) fn run() -> Outcome {
    let mut counts = Counts::default();
    let mut findings = Vec::new();
    for file in tracked("*.rs")? {
        let text = fs::read_to_string(&file)?;
        counts.add(&file, &text);
        findings.extend(clauses(&text).map(|(line, comment)| format!("{file}:{line}: {comment}")));
    }
    println!("{:<44} {} of {}", "doc comments that begin with a clause", findings.len(), counts.doc_comments);
    counts.print();
    println!("{:<44} {}", "code blocks in the crates' READMEs", code_blocks()?);
    let subjects = subjects()?;
    println!("{:<44} {} of {}", format!("commit subjects over {SUBJECT} characters"), subjects.with, subjects.all);
    if findings.is_empty() {
        return Ok(());
    }
    let advice = "begin with a noun phrase or a verb: \"Size of a pack in bytes.\", \"Returns the object's metadata.\"";
    Err(format!("doc comments begin with {}:\n{}\n{advice}", BEGINNINGS.join(", "), findings.join("\n")).into())
}

/// Returns the lines of doc comments that begin with a clause, with their numbers.
fn clauses(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| {
        let comment = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
        comment.and_then(|comment| comment.split(' ').next()).is_some_and(|word| BEGINNINGS.contains(&word))
    })
}

impl Counts {
    /// Adds the counts of a file.
    fn add(&mut self, file: &str, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > self.largest.0 {
            self.largest = (lines.len(), file.to_owned());
        }
        self.lines += lines.len();
        let is_library = file.starts_with("crates/") && file.contains("/src/");
        let mut doc: Vec<&str> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            if trimmed.starts_with("///") || trimmed.starts_with("//!") {
                self.doc_lines += 1;
                self.doc_comments += usize::from(doc.is_empty());
                doc.push(trimmed);
                continue;
            }
            self.comment_lines += usize::from(trimmed.starts_with("//"));
            if trimmed.starts_with("#[") || trimmed.starts_with("//") {
                continue;
            }
            self.parallel_lets += usize::from(is_parallel(trimmed));
            if is_function(trimmed) {
                self.long.add(length(&lines[index..]) > LONG);
                if is_library && trimmed.starts_with("pub ") {
                    self.public.add(doc.iter().any(|line| line.contains("```")));
                    if is_fallible(&lines[index..]) {
                        self.fallible.add(doc.iter().any(|line| line.ends_with("# Errors")));
                    }
                }
            }
            doc.clear();
        }
    }

    fn print(&self) {
        let share = |lines: usize| lines as f64 * 100.0 / self.lines.max(1) as f64;
        let of = |share: Share| format!("{} of {}", share.with, share.all);
        let lines = format!("{:.1} %, {:.1} %", share(self.doc_lines), share(self.comment_lines));
        println!("{:<44} {lines}", "doc lines, comment lines");
        println!("{:<44} {}", "public functions with an example", of(self.public));
        println!("{:<44} {}", "`# Errors` on public functions that fail", of(self.fallible));
        println!("{:<44} {}", "parallel `let (a, b) = (x, y)`", self.parallel_lets);
        println!("{:<44} {}", format!("functions over {LONG} lines"), of(self.long));
        println!("{:<44} {} lines, {}", "largest file", self.largest.0, self.largest.1);
    }
}

/// Whether a line binds several names to as many values.
fn is_parallel(line: &str) -> bool {
    line.starts_with("let (") && line.contains(") = (") && !line.ends_with("else {")
}

/// Whether a line begins a function.
fn is_function(line: &str) -> bool {
    let modifiers = ["pub(crate) ", "pub(super) ", "pub(in crate) ", "pub ", "const ", "async ", "unsafe "];
    let mut rest = line;
    while let Some(shorter) = modifiers.iter().find_map(|modifier| rest.strip_prefix(modifier)) {
        rest = shorter;
    }
    rest.starts_with("fn ")
}

/// Returns the length in lines of the function that begins here, as rustfmt formats it; 0 without a body.
fn length(lines: &[&str]) -> usize {
    let Some(first) = lines.first() else { return 0 };
    if first.ends_with('}') || signature(lines).ends_with(';') {
        return 0;
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    lines.iter().position(|line| line.strip_prefix(indent) == Some("}")).map_or(0, |end| end + 1)
}

/// Returns the text of a function's signature.
fn signature(lines: &[&str]) -> String {
    let is_last = |line: &&str| line.ends_with('{') || line.ends_with(';') || line.ends_with('}');
    let count = lines.iter().position(is_last).map_or(lines.len(), |end| end + 1);
    lines[..count].join("\n")
}

/// Whether the function that begins here returns a `Result`.
fn is_fallible(lines: &[&str]) -> bool {
    signature(lines).rsplit_once("->").is_some_and(|(_, returned)| returned.contains("Result<"))
}

/// Lists the tracked files that match a pattern, in the project's folders.
fn tracked(pattern: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let patterns = FOLDERS.iter().map(|folder| format!(":(glob){folder}/**/{pattern}"));
    // New files count before they are committed, too.
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--"])
        .args(patterns)
        .output()?;
    let files: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    let files: Vec<String> = files.into_iter().filter(|file| fs::exists(file).unwrap_or(false)).collect();
    if files.is_empty() { Err(format!("git lists no {pattern}").into()) } else { Ok(files) }
}

/// Counts the code blocks in the crates' READMEs.
fn code_blocks() -> Result<usize, Box<dyn std::error::Error>> {
    let mut fences = 0;
    for file in tracked("README.md")?.iter().filter(|file| file.starts_with("crates/")) {
        fences += fs::read_to_string(file)?.lines().filter(|line| line.trim_start().starts_with("```")).count();
    }
    Ok(fences / 2)
}

/// Counts the subjects of all commits, and those that are too long.
fn subjects() -> Result<Share, Box<dyn std::error::Error>> {
    let output = Command::new("git").args(["log", "--format=%s"]).output()?;
    let mut share = Share::default();
    for subject in String::from_utf8_lossy(&output.stdout).lines() {
        share.add(subject.chars().count() > SUBJECT);
    }
    Ok(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_found_in_doc_comments_only() {
        let text = "//! What it is.\nfn a() {} // What\n    /// Whoever calls.\n/// Whole.\n// Who\n/// The one.\n/// Whose turn.\n";
        let lines: Vec<usize> = clauses(text).map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3, 7]);
    }

    #[test]
    fn functions_and_their_docs_are_counted() {
        let long = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(LONG));
        let text = format!(
            "/// Reads.\n///\n/// # Errors\n/// Never.\n#[must_use]\npub fn read(\n    a: u8,\n) -> Result<u8, E> {{\n    ok(a)\n}}\n\n\
             /// Writes.\n/// ```\n/// ```\npub async fn write() -> io::Result<()> {{\n    let (a, b) = (1, 2);\n}}\n\n// A note.\n{long}"
        );
        let mut counts = Counts::default();
        counts.add("crates/a/src/lib.rs", &text);
        assert_eq!(counts.public, Share { with: 1, all: 2 });
        assert_eq!(counts.fallible, Share { with: 1, all: 2 });
        assert_eq!(counts.long, Share { with: 1, all: 3 });
        assert_eq!((counts.doc_comments, counts.doc_lines, counts.comment_lines), (2, 7, 1));
        assert_eq!((counts.parallel_lets, counts.largest.0), (1, text.lines().count()));
    }

    #[test]
    fn a_declaration_has_no_length_and_a_bound_is_not_a_result() {
        assert_eq!(length(&["    fn declared(&self) -> u8;", "}"]), 0);
        assert_eq!(length(&["fn a() {", "    b();", "}"]), 3);
        assert!(!is_fallible(&["pub fn a(f: impl Fn() -> Result<(), E>) -> u8 {"]));
    }
}
