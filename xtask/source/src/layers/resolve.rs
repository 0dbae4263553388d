//! From the paths that code names to arrows among modules.
//!
//! A module depends on another if its code, or code below it, names an item that stands in the other or below it. Re-exports are
//! followed to where the item stands. Arrows are among siblings: an item of `a::b` that names one of `a::c` is an arrow from `b` to
//! `c`, and one that names an item of `d::e` an arrow from `a` to `d`. A parent and its children are one room: what stands in the
//! parent's own file may name its children, and they may name it.

use super::circles::{Arrows, Place};
use super::source::{ModulePath, Tree};

/// Re-exports that are followed at most, so that imports in a circle end.
const DEPTH: usize = 32;

/// Returns the arrows among siblings, by their full names.
pub(super) fn arrows(tree: &Tree) -> Arrows {
    let mut arrows = Arrows::new();
    for (path, module) in &tree.modules {
        for (named, line) in &module.named {
            let Some(target) = absolute(tree, path, named).and_then(|named| resolve(tree, &named, DEPTH)) else {
                continue;
            };
            let common = path.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if common == path.len() || common == target.len() {
                continue;
            }
            let name = |path: &ModulePath| path[..=common].join("::");
            let place = Place { file: module.file.clone(), line: *line };
            arrows.entry(name(path)).or_default().entry(name(&target)).or_default().push(place);
        }
    }
    arrows
}

/// Returns the path from the root of a path as the module writes it; none for another crate's.
fn absolute(tree: &Tree, module: &ModulePath, named: &[String]) -> Option<Vec<String>> {
    let mut base = module.clone();
    let mut rest = named;
    match named.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &named[1..];
        }
        "self" | "super" => {
            while let [first, after @ ..] = rest
                && (first == "self" || first == "super")
            {
                if first == "super" {
                    base.pop();
                }
                rest = after;
            }
        }
        first => {
            let found = &tree.modules[module];
            let is_child = tree.modules.contains_key(&child(module, first));
            if !is_child && !found.items.iter().any(|item| item == first) && !found.imports.contains_key(first) {
                return None;
            }
        }
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn child(module: &[String], name: &str) -> ModulePath {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// Returns the module in which the item of a path from the root stands; none where that is in another crate.
fn resolve(tree: &Tree, path: &[String], depth: usize) -> Option<ModulePath> {
    if depth == 0 {
        return None;
    }
    let mut at = ModulePath::new();
    for (index, word) in path.iter().enumerate() {
        let below = child(&at, word);
        if tree.modules.contains_key(&below) {
            at = below;
            continue;
        }
        let module = &tree.modules[&at];
        if module.items.contains(word) {
            return Some(at);
        }
        if let Some(import) = module.imports.get(word) {
            let mut whole = absolute(tree, &at, import)?;
            whole.extend_from_slice(&path[index + 1..]);
            return resolve(tree, &whole, depth - 1);
        }
        if at.is_empty()
            && let Some(declaring) = tree.exported.get(word)
        {
            return Some(declaring.clone());
        }
        for glob in &module.globs {
            let Some(source) = absolute(tree, &at, glob).and_then(|glob| resolve(tree, &glob, depth - 1)) else {
                continue;
            };
            if defines(tree, &source, word, depth - 1) {
                let whole: Vec<String> = source.into_iter().chain(path[index..].iter().cloned()).collect();
                return resolve(tree, &whole, depth - 1);
            }
        }
        return Some(at);
    }
    Some(at)
}

/// Whether a module has an item, an import or a child of a name, be it by importing all names of another module.
fn defines(tree: &Tree, module: &ModulePath, word: &str, depth: usize) -> bool {
    let found = &tree.modules[module];
    let by_glob = |glob: &Vec<String>| {
        let source = absolute(tree, module, glob).and_then(|glob| resolve(tree, &glob, depth - 1));
        source.is_some_and(|source| defines(tree, &source, word, depth - 1))
    };
    found.items.iter().any(|item| item == word)
        || found.imports.contains_key(word)
        || tree.modules.contains_key(&child(module, word))
        || (depth > 0 && found.globs.iter().any(by_glob))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<String> {
        let arrows = arrows(&Tree::of(text));
        let targets = |(from, to): (&String, &std::collections::BTreeMap<String, Vec<Place>>)| {
            to.iter().map(|(to, places)| format!("{from} -> {to} {}", places[0].line)).collect::<Vec<_>>()
        };
        arrows.iter().flat_map(targets).collect()
    }

    #[test]
    fn uses_and_inline_paths_are_arrows() {
        let text = "mod a { use crate::b::{self, B}; fn f() -> B { format!(\"{}\", crate::c::g::<u8>()) } }\n\
                    mod b {\n pub struct B; fn h() { use super::c; self::k(); super::d::m(); } }\nmod c {}\nmod d {}";
        assert_eq!(pairs(text), ["a -> b 1", "a -> c 1", "b -> c 3", "b -> d 3"]);
    }

    #[test]
    fn re_exports_are_followed_to_the_item() {
        let text = "mod a { use crate::B; use super::C; use crate::m; }\nmod b { pub struct B; }\n\
                    mod c { pub use self::inner::*; mod inner { pub struct C; use super::deep::D; } mod deep { pub struct D; } }\n\
                    mod e { #[macro_export] macro_rules! m { () => {} } }\npub use b::B;\npub use c::*;";
        assert_eq!(pairs(text), ["a -> b 1", "a -> c 1", "a -> e 1", "c::inner -> c::deep 3"]);
    }

    #[test]
    fn parents_and_children_are_one_room() {
        let text = "mod a { pub(crate) use self::b::B; fn f() { b::g() } pub struct A; mod b { use super::A; pub struct B; } }\n\
                    pub use a::A; use a::B; struct Root; mod c { use crate::Root; }";
        assert!(pairs(text).is_empty(), "{:?}", pairs(text));
    }

    #[test]
    fn code_for_tests_and_other_crates_is_left_out() {
        let text = "mod a { use std::b; use b::B; #[cfg(test)] mod tests { use crate::b; }\n#[cfg(all(test, unix))] use crate::b::C;\n\
                    impl A { #[cfg(test)] fn f() { crate::b::g() } } #[test] fn t() { crate::b::g() }\n\
                    #[cfg(any(test, feature = \"x\"))] fn x() { crate::c::g() } }\nmod b {}\nmod c {}";
        assert_eq!(pairs(text), ["a -> c 4"]);
    }
}
