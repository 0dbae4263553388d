//! Counts that tell about the project's prose and style.

mod items;

use std::error::Error;
use std::fs;
use std::process::Command;

use crate::{Outcome, tracked, words};
use items::Items;

/// Length in lines above which a function counts as long.
const LONG_FUNCTION: usize = 60;
/// Length in lines above which a file counts as long.
const LONG_FILE: usize = 560;
/// Length in characters above which a commit's subject counts as long.
const SUBJECT: usize = 72;
/// Width of the column of names.
const WIDTH: usize = 62;

/// A number of items with a property, and the places of those without, or of those that should not have it.
#[derive(Debug, Default)]
struct Count {
    name: &'static str,
    with: usize,
    all: usize,
    places: Vec<String>,
}

impl Count {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Counts an item that should have the property, and keeps its place if it has not.
    fn want(&mut self, has: bool, place: impl FnOnce() -> String) {
        self.all += 1;
        if has {
            self.with += 1;
        } else {
            self.places.push(place());
        }
    }

    /// Counts an item that should not have the property, and keeps its place if it has.
    fn avoid(&mut self, has: bool, place: impl FnOnce() -> String) {
        self.all += 1;
        if has {
            self.with += 1;
            self.places.push(place());
        }
    }
}

/// Lines of files.
#[derive(Debug, Default, Clone, Copy)]
struct Lines {
    all: usize,
    docs: usize,
    comments: usize,
}

impl Lines {
    fn print(self, name: &str) {
        let share = |lines: usize| lines as f64 * 100.0 / self.all.max(1) as f64;
        println!("{name:<WIDTH$} {:.1} %, {:.1} %", share(self.docs), share(self.comments));
    }
}

/// Counts over all files.
#[derive(Debug)]
struct Counts {
    all: Lines,
    /// Lines of the crates' own source, without tests and commands.
    library: Lines,
    clauses: Count,
    examples: Count,
    taught: Count,
    errors: Count,
    parallel: Count,
    long_functions: Count,
    long_files: Count,
    /// Lines of the largest file, and its path.
    largest: (usize, String),
}

/// Prints the counts; with `--list`, the places too, those of a folder alone if one is named.
///
/// # Errors
/// A file that cannot be read or is not Rust, and arguments that are not understood.
pub fn run(arguments: &[String]) -> Outcome {
    let (list, folder) = match arguments {
        [] => (false, ""),
        [flag] if flag == "--list" => (true, ""),
        [flag, folder] if flag == "--list" => (true, folder.as_str()),
        _ => return Err("usage: cargo xtask counts [--list [FOLDER]]".into()),
    };
    let mut counts = Counts::new();
    for file in tracked("*.rs")?.iter().filter(|file| file.starts_with(folder)) {
        counts.add(file, &fs::read_to_string(file)?)?;
    }
    counts.print(list);
    println!("{:<WIDTH$} {}", "code blocks in the crates' READMEs", code_blocks(folder)?);
    let subjects = subjects()?;
    println!("{:<WIDTH$} {} of {}", subjects.name, subjects.with, subjects.all);
    Ok(())
}

impl Counts {
    fn new() -> Self {
        Self {
            all: Lines::default(),
            library: Lines::default(),
            clauses: Count::new("doc comments that begin with a clause"),
            examples: Count::new("public functions with an example"),
            taught: Count::new("public traits, builders, session objects with an example"),
            errors: Count::new("`# Errors` on public functions that fail"),
            parallel: Count::new("parallel `let (a, b) = (x, y)` and `(a, b) = (x, y)`"),
            long_functions: Count::new("functions over 60 lines"),
            long_files: Count::new("files over 560 lines"),
            largest: (0, String::new()),
        }
    }

    /// Adds the counts of a file.
    fn add(&mut self, file: &str, text: &str) -> Result<(), Box<dyn Error>> {
        let is_library = file.starts_with("crates/") && file.contains("/src/");
        self.add_lines(file, text, is_library);
        let items = Items::read(file, text)?;
        for function in &items.functions {
            let place = || format!("{file}:{} {}", function.line, function.name);
            self.long_functions
                .avoid(function.lines > LONG_FUNCTION, || format!("{} ({} lines)", place(), function.lines));
            if is_library && function.is_public {
                self.examples.want(function.doc.contains("```"), place);
                if function.is_fallible {
                    self.errors.want(function.doc.contains("# Errors"), place);
                }
            }
        }
        if is_library {
            for lesson in items.lessons() {
                self.taught
                    .want(lesson.has_example, || format!("{file}:{} {} {}", lesson.line, lesson.kind, lesson.name));
            }
        }
        for &(line, is_parallel) in &items.tuples {
            self.parallel.avoid(is_parallel, || format!("{file}:{line}"));
        }
        Ok(())
    }

    fn add_lines(&mut self, file: &str, text: &str, is_library: bool) {
        let mut in_doc = false;
        let mut lines = Lines::default();
        for line in text.lines().map(str::trim_start) {
            let is_doc = line.starts_with("///") || line.starts_with("//!");
            lines.all += 1;
            lines.docs += usize::from(is_doc);
            lines.comments += usize::from(!is_doc && line.starts_with("//"));
            self.clauses.all += usize::from(is_doc && !in_doc);
            in_doc = is_doc;
        }
        for (line, comment) in words::clauses(text) {
            self.clauses.with += 1;
            self.clauses.places.push(format!("{file}:{line}: {comment}"));
        }
        for total in [Some(&mut self.all), is_library.then_some(&mut self.library)].into_iter().flatten() {
            total.all += lines.all;
            total.docs += lines.docs;
            total.comments += lines.comments;
        }
        self.long_files.avoid(lines.all > LONG_FILE, || format!("{file} ({} lines)", lines.all));
        if lines.all > self.largest.0 {
            self.largest = (lines.all, file.to_owned());
        }
    }

    fn print(&self, list: bool) {
        self.all.print("doc lines, comment lines");
        self.library.print("doc lines, comment lines of the crates' source");
        let counts = [
            &self.clauses,
            &self.examples,
            &self.taught,
            &self.errors,
            &self.parallel,
            &self.long_functions,
            &self.long_files,
        ];
        for count in counts {
            println!("{:<WIDTH$} {} of {}", count.name, count.with, count.all);
            // Of functions without an example there are hundreds: not each needs one.
            if list && count.name != self.examples.name {
                count.places.iter().for_each(|place| println!("    {place}"));
            }
        }
        println!("{:<WIDTH$} {} lines, {}", "largest file", self.largest.0, self.largest.1);
    }
}

/// Counts the code blocks in the crates' READMEs.
fn code_blocks(folder: &str) -> Result<usize, Box<dyn Error>> {
    let mut fences = 0;
    for file in tracked("README.md")?.iter().filter(|file| file.starts_with("crates/") && file.starts_with(folder)) {
        fences += fs::read_to_string(file)?.lines().filter(|line| line.trim_start().starts_with("```")).count();
    }
    Ok(fences / 2)
}

/// Counts the subjects of all commits, and those that are too long.
fn subjects() -> Result<Count, Box<dyn Error>> {
    let output = Command::new("git").args(["log", "--format=%s"]).output()?;
    let mut count = Count::new("commit subjects over 72 characters");
    for subject in String::from_utf8_lossy(&output.stdout).lines() {
        count.avoid(subject.chars().count() > SUBJECT, || subject.to_owned());
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_their_docs_are_counted() {
        let long = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(LONG_FUNCTION));
        let text = format!(
            "/// Reads.\n///\n/// # Errors\n/// Never.\n#[must_use]\npub fn read(\n    a: u8,\n) -> Result<u8, E> {{\n    ok(a)\n}}\n\n\
             /// Writes.\n/// ```\n/// ```\npub async fn write() -> io::Result<()> {{\n    let (a, b) = (1, 2);\n    let (c, d) = pair();\n    (a, b) = (c, d);\n    (c, d) = pair();\n}}\n\n\
             // A note.\n{long}pub(crate) fn inner() -> Result<(), E> {{}}\n\
             trait T {{\n    fn bodiless(&self) -> Result<(), E>;\n}}\npub fn a(f: impl Fn() -> Result<(), E>) -> u8 {{ 0 }}\n"
        );
        let mut counts = Counts::new();
        counts.add("crates/a/src/lib.rs", &text).expect("the text is Rust");
        let of = |count: &Count| (count.with, count.all);
        assert_eq!(of(&counts.examples), (1, 3));
        assert_eq!(
            (of(&counts.errors), counts.errors.places.as_slice()),
            ((1, 2), &["crates/a/src/lib.rs:15 write".to_owned()][..])
        );
        assert_eq!(of(&counts.long_functions), (1, 6));
        assert_eq!(
            (of(&counts.parallel), counts.parallel.places.as_slice()),
            ((2, 4), &["crates/a/src/lib.rs:16".to_owned(), "crates/a/src/lib.rs:18".to_owned()][..])
        );
        assert_eq!((counts.clauses.all, counts.all.docs, counts.library.comments), (2, 7, 1));
        assert_eq!(counts.largest.0, text.lines().count());
    }

    #[test]
    fn traits_builders_and_session_objects_need_an_example() {
        let text = "/// Stores.\npub trait Store { fn get(&self); }\n/// Sinks.\n/// ```\n/// ```\npub trait Sink {}\n\
                    pub struct Options;\nimpl Options { /// Sets.\n pub fn with_size(mut self, size: u8) -> Self { self } }\n\
                    pub struct Builder;\nimpl Builder { /// Builds.\n/// ```\n/// ```\n pub fn build(self) -> u8 { 0 } }\n\
                    pub struct Room;\nimpl SessionObject for Room {}\npub struct Plain;\npub(crate) trait Inner {}\n";
        let mut counts = Counts::new();
        counts.add("crates/a/src/lib.rs", text).expect("the text is Rust");
        let file = "crates/a/src/lib.rs";
        assert_eq!((counts.taught.with, counts.taught.all), (2, 5));
        let expected =
            [format!("{file}:7 builder Options"), format!("{file}:15 object Room"), format!("{file}:2 trait Store")];
        assert_eq!(counts.taught.places, expected);
    }
}
