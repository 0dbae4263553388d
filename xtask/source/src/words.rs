//! Checks how doc comments begin.

use std::fs;

use crate::{Outcome, tracked};

/// Words with which no line of a doc comment begins: a clause in place of a noun.
const BEGINNINGS: [&str; 5] = ["What", "Who", "Whose", "Whatever", "Whoever"];

/// Checks that no line of a doc comment begins with a clause in place of a noun.
///
/// # Errors
/// Names each line that does.
pub fn run() -> Outcome {
    let files = tracked("*.rs")?;
    let mut findings = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file)?;
        findings.extend(clauses(&text).map(|(line, comment)| format!("{file}:{line}: {comment}")));
    }
    if findings.is_empty() {
        println!("{} files: no doc comment begins with {}", files.len(), BEGINNINGS.join(", "));
        return Ok(());
    }
    let advice = "begin with a noun phrase or a verb: \"Size of a pack in bytes.\", \"Returns the object's metadata.\"";
    Err(format!("doc comments begin with {}:\n{}\n{advice}", BEGINNINGS.join(", "), findings.join("\n")).into())
}

/// Returns the lines of doc comments that begin with a clause, with their numbers.
pub(crate) fn clauses(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| {
        let comment = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
        comment.and_then(|comment| comment.split(' ').next()).is_some_and(|word| BEGINNINGS.contains(&word))
    })
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
}
