//! Circles in a graph: the shortest, without its weakest arrow the next, until none is left.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// A line of the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
}

/// From a module to those that it names, with the lines that do so.
pub(super) type Arrows = BTreeMap<String, BTreeMap<String, Vec<Place>>>;

/// Modules that name one another around.
#[derive(Debug)]
pub(super) struct Circle {
    /// Each arrow: who names, who is named, the first line, and the number of lines.
    arrows: Vec<(String, String, Place, usize)>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.arrows.iter().map(|(from, ..)| from.as_str()).collect();
        write!(f, "{} -> {}", names.join(" -> "), names[0])?;
        for (from, to, place, lines) in &self.arrows {
            write!(f, "\n    {}:{}: {from} -> {to} ({lines} in all)", place.file, place.line)?;
        }
        Ok(())
    }
}

/// Returns circles whose weakest arrows, taken out, leave none.
pub(super) fn find(arrows: &Arrows) -> Vec<Circle> {
    let mut arrows = arrows.clone();
    let mut circles = Vec::new();
    while let Some(path) = shortest(&arrows) {
        let next = |index: usize| &path[(index + 1) % path.len()];
        let pairs = path.iter().enumerate().map(|(index, from)| (from.clone(), next(index).clone()));
        let of = |(from, to): (String, String)| {
            let places = &arrows[&from][&to];
            (from, to, places[0].clone(), places.len())
        };
        let circle = Circle { arrows: pairs.map(of).collect() };
        if let Some((from, to, ..)) = circle.arrows.iter().min_by_key(|(.., lines)| *lines)
            && let Some(targets) = arrows.get_mut(from)
        {
            targets.remove(to);
        }
        circles.push(circle);
    }
    circles
}

/// Returns the nodes of a shortest circle.
fn shortest(arrows: &Arrows) -> Option<Vec<String>> {
    arrows.keys().filter_map(|start| back_to(arrows, start)).min_by_key(Vec::len)
}

/// Returns the nodes of a shortest path from a node back to it.
fn back_to(arrows: &Arrows, start: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for target in arrows.get(node).into_iter().flat_map(BTreeMap::keys) {
            if target == start {
                let mut path = vec![node.to_owned()];
                let mut at = node;
                while at != start {
                    at = before[at];
                    path.push(at.to_owned());
                }
                path.reverse();
                return Some(path);
            }
            if !before.contains_key(target.as_str()) {
                before.insert(target, node);
                queue.push_back(target);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(pairs: &[(&str, &str, usize)]) -> Arrows {
        let mut arrows = Arrows::new();
        for (from, to, lines) in pairs {
            let places = (0..*lines).map(|line| Place { file: format!("{from}.rs"), line: line + 1 }).collect();
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned(), places);
        }
        arrows
    }

    #[test]
    fn each_circle_is_found_once() {
        let circles =
            find(&graph(&[("a", "b", 2), ("b", "c", 1), ("c", "a", 3), ("c", "d", 1), ("d", "c", 2), ("d", "e", 1)]));
        let texts: Vec<String> = circles.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("c -> d -> c\n    c.rs:1: c -> d (1 in all)"), "{}", texts[0]);
        assert!(texts[1].starts_with("a -> b -> c -> a\n"), "{}", texts[1]);
    }

    #[test]
    fn a_graph_in_one_direction_has_no_circle() {
        assert!(find(&graph(&[("a", "b", 1), ("a", "c", 1), ("b", "c", 1)])).is_empty());
    }
}
