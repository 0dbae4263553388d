//! Checks that dependencies go in one direction: among crates by floors, among the modules of a crate without a circle.

mod absences;
mod circles;
mod floors;
mod resolve;
mod source;

use std::collections::BTreeMap;

use crate::Outcome;
use circles::Circle;
use source::Tree;

/// Crates that are not free of circles yet, with the number of circles that remain. More fail.
const REMAINING: &[(&str, usize)] = &[];

/// Checks the arrows among crates, the circles among modules and the invariants of ARCHITECTURE.md that the source shows.
///
/// With names of packages, only the circles of these are printed, those that are allowed for now included.
///
/// # Errors
/// Names each arrow that does not run down, each circle that is not allowed, and each line that breaks an invariant.
pub fn run(arguments: &[String]) -> Outcome {
    let workspace = floors::workspace()?;
    let mut findings = Vec::new();
    if arguments.is_empty() {
        findings.extend(floors::findings(&workspace));
    }
    let mut trees = Vec::new();
    for package in &workspace {
        if !arguments.is_empty() && !arguments.contains(&package.name) {
            continue;
        }
        for root in &package.roots {
            trees.push((package.name.clone(), Tree::read(root)?));
        }
    }
    if trees.is_empty() {
        return Err("no package has this name".into());
    }
    let modules: usize = trees.iter().map(|(_, tree)| tree.modules.len()).sum();
    let mut circles: BTreeMap<&str, Vec<Circle>> = BTreeMap::new();
    for (package, tree) in &trees {
        circles.entry(package.as_str()).or_default().extend(circles::find(&resolve::arrows(tree)));
    }
    for (package, circles) in &circles {
        findings.extend(judge(package, circles, !arguments.is_empty()));
    }
    if arguments.is_empty() {
        findings.extend(absences::findings(&trees));
    }
    if !findings.is_empty() {
        return Err(format!("{}\n{} findings", findings.join("\n"), findings.len()).into());
    }
    println!("{} packages, {modules} modules, {} invariants: every arrow runs down", workspace.len(), absences::COUNT);
    Ok(())
}

/// Returns the findings of a package, and prints what is left of those that are allowed for now.
fn judge(package: &str, circles: &[Circle], all: bool) -> Vec<String> {
    let allowed = REMAINING.iter().find(|(name, _)| *name == package).map_or(0, |(_, count)| *count);
    if allowed > 0 {
        println!("{package}: {} circles among its modules, {allowed} allowed for now", circles.len());
    }
    if circles.len() > allowed || all {
        return circles.iter().map(|circle| format!("{package}: {circle}")).collect();
    }
    Vec::new()
}
