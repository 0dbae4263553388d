//! The invariants of ARCHITECTURE.md ("Invariants, as absences"), as far as the source shows them.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::circles::Arrows;
use super::resolve;
use super::source::{Module, Tree};

/// An invariant that says where words may stand.
struct Absence {
    name: &'static str,
    words: &'static [&'static str],
    /// Beginnings of the files that are looked at.
    within: &'static [&'static str],
    /// Beginnings of the files that may have the words.
    rooms: &'static [&'static str],
}

const ABSENCES: [Absence; 7] = [
    Absence {
        name: "no `unsafe` but for SQLite's statements, functions and memory, and in storage's disk",
        words: &["unsafe"],
        within: &["crates/"],
        rooms: &[
            "crates/sqlite/src/changes.rs",
            "crates/sqlite/src/math.rs",
            "crates/sqlite/src/memory.rs",
            "crates/sqlite/src/prepared",
            "crates/storage/src/local/disk.rs",
        ],
    },
    Absence {
        name: "nothing but cloudflare's http_transport.rs knows reqwest",
        words: &["reqwest"],
        within: &["crates/"],
        rooms: &["crates/cloudflare/src/client/http_transport.rs"],
    },
    Absence {
        name: "no type of rmcp's but in the MCP object and http-serve's mcp.rs",
        words: &["rmcp"],
        within: &["crates/"],
        rooms: &["crates/objects/src/mcp/", "crates/http-serve/src/mcp"],
    },
    Absence {
        name: "no type of object_store's but in storage/src/object_store.rs",
        words: &["object_store"],
        within: &["crates/"],
        rooms: &["crates/storage/src/object_store"],
    },
    Absence {
        name: "no type of JavaScript's but in the bindings and the Workers' entries",
        words: &["js_sys", "wasm_bindgen", "wasm_bindgen_futures", "web_sys"],
        within: &["crates/"],
        rooms: &[
            "crates/analytics/src/cloudflare/binding",
            "crates/cloudflare/src/binding/",
            "crates/db/src/cloudflare/binding",
            "crates/http-serve/src/workers/",
            "crates/objects/src/browser/binding",
            "crates/sessions/src/cloudflare/",
            "crates/storage/src/cloudflare/binding",
        ],
    },
    Absence {
        name: "nothing below http-serve but api, gateway, objects and the scheduler of sessions knows a route",
        words: &["axum", "tower", "tower_http"],
        within: &["crates/"],
        rooms: &["crates/api/", "crates/cli/", "crates/gateway/", "crates/http-serve/", "crates/server/"],
    },
    Absence {
        name: "no folder of the user's is walked but by storage/src/walk",
        words: &["read_dir", "walkdir"],
        within: &["crates/storage/"],
        rooms: &["crates/storage/src/local/", "crates/storage/src/walk/"],
    },
];
/// Crates whose types stand in no public signature but in `crates/sqlite`.
const HIDDEN: [&str; 2] = ["rusqlite", "tokio"];
/// Modules of `storage` that are backends.
const BACKENDS: [&str; 6] = ["cloudflare", "directory", "local", "memory", "mock", "object_store"];
/// Number of invariants that are checked: those of words, of signatures and of layers.
pub(super) const COUNT: usize = ABSENCES.len() + 2;

/// Returns the lines that break an invariant.
pub(super) fn findings(trees: &[(String, Tree)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (package, tree) in trees {
        for module in tree.modules.values() {
            words(module, &mut findings);
            if package.starts_with("isobar-") && package != "isobar-sqlite" {
                signatures(module, &mut findings);
            }
        }
        if package == "isobar-storage" {
            layers(&resolve::arrows(tree), &mut findings);
        }
    }
    findings
}

/// Adds the words of a module that stand where they may not.
fn words(module: &Module, findings: &mut Vec<String>) {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| module.file.starts_with(beginning));
    for absence in ABSENCES.iter().filter(|absence| begins(absence.within) && !begins(absence.rooms)) {
        for tokens in &module.tokens {
            each_word(tokens.clone(), &mut |word| {
                if absence.words.iter().any(|absent| word == absent) {
                    let line = word.span().start().line;
                    findings.push(format!("{}:{line}: {word}: {}", module.file, absence.name));
                }
            });
        }
    }
}

fn each_word(tokens: TokenStream, look: &mut dyn FnMut(&proc_macro2::Ident)) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => look(&word),
            TokenTree::Group(group) => each_word(group.stream(), look),
            _ => {}
        }
    }
}

/// Adds the public signatures of a module that have a type of a hidden crate.
fn signatures(module: &Module, findings: &mut Vec<String>) {
    for tokens in &module.tokens {
        for signature in public(tokens.clone()) {
            each_word(signature, &mut |word| {
                let name = word.to_string();
                let from = module.imports.get(&name).and_then(|path| path.first()).unwrap_or(&name);
                if HIDDEN.contains(&from.as_str()) {
                    let line = word.span().start().line;
                    findings
                        .push(format!("{}:{line}: {name}: no public signature has a type of {from}'s", module.file));
                }
            });
        }
    }
}

/// Returns the tokens of what is declared `pub`, without the bodies of functions.
fn public(tokens: TokenStream) -> Vec<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => found.extend(public(group.stream())),
            TokenTree::Ident(word) if word == "pub" => found.extend(declaration(&tokens[index + 1..])),
            _ => {}
        }
    }
    found
}

/// Returns the tokens of the declaration that begins here; none if it is public in the crate alone.
fn declaration(tokens: &[TokenTree]) -> Option<TokenStream> {
    let is_word = |token: &TokenTree, expected: &str| matches!(token, TokenTree::Ident(word) if word == expected);
    let first = tokens.first()?;
    if matches!(first, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis) || is_word(first, "use")
    {
        return None;
    }
    // A trait's functions have no `pub` of their own; a struct's fields are looked at where they have one.
    let has_body = !is_word(first, "trait");
    let has_fields = is_word(first, "struct");
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => match group.delimiter() {
            Delimiter::Brace => has_body,
            Delimiter::Parenthesis => has_fields,
            _ => false,
        },
        TokenTree::Punct(punct) => punct.as_char() == ';' || punct.as_char() == ',',
        _ => false,
    };
    Some(tokens.iter().take_while(|token| !is_end(token)).cloned().collect())
}

/// Adds the arrows from a layer of storage to another one, and to a backend.
fn layers(arrows: &Arrows, findings: &mut Vec<String>) {
    for (from, targets) in arrows {
        for (to, places) in targets {
            let is_sibling = from.starts_with("layers::") && to.starts_with("layers::");
            if is_sibling || (from == "layers" && BACKENDS.contains(&to.as_str())) {
                let place = &places[0];
                findings.push(format!(
                    "{}:{}: {from} -> {to}: no layer knows another, or a backend",
                    place.file, place.line
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(package: &str, file: &str, text: &str) -> Vec<String> {
        let mut tree = Tree::of(text);
        for module in tree.modules.values_mut() {
            module.file = file.to_owned();
        }
        findings(&[(package.to_owned(), tree)])
    }

    #[test]
    fn words_are_found_outside_their_rooms() {
        let text = "use reqwest::Client;\nfn f() { g!(unsafe { h() }) }\n#[cfg(test)] mod tests { use rmcp::A; }";
        let found = of("isobar-api", "crates/api/src/a.rs", text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/api/src/a.rs:2: unsafe:"), "{found:?}");
        assert!(found[1].starts_with("crates/api/src/a.rs:1: reqwest:"), "{found:?}");
        assert!(
            of("isobar-cloudflare", "crates/cloudflare/src/client/http_transport.rs", "use reqwest::Client;")
                .is_empty()
        );
    }

    #[test]
    fn hidden_types_are_found_in_public_signatures_alone() {
        let text = "use rusqlite::Connection;\npub fn a(c: &Connection) {}\npub(crate) fn b(c: &Connection) {}\n\
                    pub struct S {\n pub c: tokio::sync::Mutex<u8>,\n d: Connection }\nimpl S { pub fn e() { Connection::open() } }\n\
                    pub trait T {\n fn f() -> Connection; }\npub struct U(Connection);\npub struct V(\npub Connection);";
        let found = of("isobar-db", "crates/db/src/a.rs", text);
        let lines: Vec<&str> = found.iter().filter_map(|finding| finding.split(':').nth(1)).collect();
        assert_eq!(lines, ["2", "5", "9", "12"], "{found:?}");
        assert!(of("isobar-sqlite", "crates/sqlite/src/a.rs", text).is_empty());
    }

    #[test]
    fn layers_know_neither_layers_nor_backends() {
        let text = "pub mod layers { mod a { use super::b; use crate::store; } mod b { use crate::memory; } }\nmod memory {}\nmod store {}";
        let found = of("isobar-storage", "crates/storage/src/lib.rs", text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("layers -> memory"), "{found:?}");
        assert!(found[1].contains("layers::a -> layers::b"), "{found:?}");
    }
}
