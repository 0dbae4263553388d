//! A crate's modules, what each defines and imports, and the paths that its code names. Code for tests alone is left out.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree};

/// Names of a module from the root of its crate; the root has none.
pub(super) type ModulePath = Vec<String>;

/// The modules of a crate.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) modules: BTreeMap<ModulePath, Module>,
    /// Macros that `#[macro_export]` puts at the root, with the module of each.
    pub(super) exported: BTreeMap<String, ModulePath>,
}

/// A module.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Its file, from the folder of the workspace.
    pub(super) file: String,
    /// Names of items that stand in it.
    pub(super) items: Vec<String>,
    /// Names that it imports, and the path of each as it is written.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// Modules all of whose names it imports.
    pub(super) globs: Vec<Vec<String>>,
    /// Paths that it names, with the line of each.
    pub(super) named: Vec<(Vec<String>, usize)>,
    /// Tokens of its items, those for tests left out.
    pub(super) tokens: Vec<TokenStream>,
}

/// A path of a `use`, with the name under which it is imported: none for all names.
struct Import {
    path: Vec<String>,
    name: Option<String>,
    line: usize,
}

impl Tree {
    /// Reads a crate from its root file.
    pub(super) fn read(root: &Path) -> Result<Self, Box<dyn Error>> {
        let mut tree = Self::default();
        let folder = root.parent().ok_or("a root file has a folder")?;
        tree.read_file(root, folder, Vec::new())?;
        Ok(tree)
    }

    /// Makes a crate of the text of its modules.
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        let mut tree = Self::default();
        let items = syn::parse_file(text).expect("the text is Rust").items;
        tree.read_items("lib.rs", Path::new("."), &ModulePath::new(), items).expect("no other file is named");
        tree
    }

    fn read_file(&mut self, file: &Path, folder: &Path, path: ModulePath) -> Result<(), Box<dyn Error>> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed = syn::parse_file(&text)
            .map_err(|error| format!("{}:{}: {error}", file.display(), error.span().start().line))?;
        if is_for_tests(&parsed.attrs) {
            return Ok(());
        }
        let shown = std::env::current_dir().ok().and_then(|here| file.strip_prefix(here).ok().map(Path::to_owned));
        self.read_items(&shown.unwrap_or_else(|| file.to_owned()).display().to_string(), folder, &path, parsed.items)
    }

    /// Reads items of the module `path`, whose children have their files in `folder`.
    fn read_items(
        &mut self,
        file: &str,
        folder: &Path,
        path: &ModulePath,
        items: Vec<Item>,
    ) -> Result<(), Box<dyn Error>> {
        self.modules.entry(path.clone()).or_default().file = file.to_owned();
        for item in items {
            if is_for_tests(attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(child) => self.read_module(file, folder, path, child)?,
                Item::Use(import) => {
                    let mut imports = Vec::new();
                    flatten(&import.tree, &mut Vec::new(), &mut imports);
                    let module = self.module(path);
                    module.import(imports);
                    module.tokens.push(import.to_token_stream());
                }
                item => self.read_item(path, &item),
            }
        }
        Ok(())
    }

    fn read_module(
        &mut self,
        file: &str,
        folder: &Path,
        path: &ModulePath,
        child: syn::ItemMod,
    ) -> Result<(), Box<dyn Error>> {
        let name = child.ident.to_string();
        let mut child_path = path.clone();
        child_path.push(name.clone());
        let below = folder.join(&name);
        if let Some((_, items)) = child.content {
            return self.read_items(file, &below, &child_path, items);
        }
        let beside = folder.join(format!("{name}.rs"));
        let child_file = match named_file(&child.attrs) {
            // Relative to the folder of the file that names it. No module within braces has such files.
            Some(named) => Path::new(file).parent().unwrap_or(folder).join(named),
            None if beside.exists() => beside,
            None => below.join("mod.rs"),
        };
        self.read_file(&child_file, &below, child_path)
    }

    fn read_item(&mut self, path: &ModulePath, item: &Item) {
        if let Some(name) = name(item) {
            if let Item::Macro(declared) = item
                && declared.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"))
            {
                self.exported.insert(name.clone(), path.clone());
            }
            self.module(path).items.push(name);
        }
        let mut tokens = Vec::new();
        keep(item.to_token_stream(), &mut tokens);
        let module = self.module(path);
        module.scan(&tokens);
        module.tokens.push(tokens.into_iter().collect());
    }

    fn module(&mut self, path: &ModulePath) -> &mut Module {
        self.modules.entry(path.clone()).or_default()
    }
}

impl Module {
    fn import(&mut self, imports: Vec<Import>) {
        for import in imports {
            match import.name {
                Some(name) if import.path == [name.as_str()] => {}
                Some(name) => drop(self.imports.insert(name, import.path.clone())),
                None => self.globs.push(import.path.clone()),
            }
            self.named.push((import.path, import.line));
        }
    }

    /// Adds the paths that tokens name from the root, from this module or from the one above.
    fn scan(&mut self, tokens: &[TokenTree]) {
        let mut index = 0;
        while index < tokens.len() {
            match &tokens[index] {
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.scan(&inner);
                }
                TokenTree::Ident(word)
                    if word == "use" && !tokens.get(index + 1).is_some_and(|next| is_punct(next, '<')) =>
                {
                    let rest = tokens[index..].iter();
                    let text = rest.take_while(|token| !is_punct(token, ';')).skip(1).cloned().collect();
                    if let Ok(tree) = syn::parse2::<UseTree>(text) {
                        let mut imports = Vec::new();
                        flatten(&tree, &mut Vec::new(), &mut imports);
                        self.named.extend(imports.into_iter().map(|import| (import.path, import.line)));
                    }
                    index += tokens[index..].iter().take_while(|token| !is_punct(token, ';')).count();
                }
                TokenTree::Ident(word) if starts_path(tokens, index) => {
                    let path = path_at(&tokens[index..]);
                    index += 3 * (path.len() - 1);
                    self.named.push((path, word.span().start().line));
                }
                _ => {}
            }
            index += 1;
        }
    }
}

fn is_punct(token: &TokenTree, expected: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == expected)
}

/// Whether two colons stand at an index.
fn is_separator(tokens: &[TokenTree], index: usize) -> bool {
    tokens.get(index..index + 2).is_some_and(|pair| pair.iter().all(|token| is_punct(token, ':')))
}

/// Whether a path with a keyword at its start begins here.
fn starts_path(tokens: &[TokenTree], index: usize) -> bool {
    let is_keyword =
        matches!(&tokens[index], TokenTree::Ident(word) if word == "crate" || word == "self" || word == "super");
    let is_first = index < 2 || !is_separator(tokens, index - 2);
    is_keyword && is_first && is_separator(tokens, index + 1)
}

/// Returns the words of the path that begins with the first token.
fn path_at(tokens: &[TokenTree]) -> Vec<String> {
    let mut path = Vec::new();
    let mut index = 0;
    while let Some(TokenTree::Ident(word)) = tokens.get(index) {
        path.push(word.to_string());
        if !is_separator(tokens, index + 1) {
            break;
        }
        index += 3;
    }
    path
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, imports: &mut Vec<Import>) {
    let with = |word: &syn::Ident| if word == "self" && !before.is_empty() { None } else { Some(word.to_string()) };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, imports);
            before.pop();
        }
        UseTree::Name(name) => {
            let path: Vec<String> = before.iter().cloned().chain(with(&name.ident)).collect();
            let name_of = path.last().cloned();
            imports.push(Import { path, name: name_of, line: name.ident.span().start().line });
        }
        UseTree::Rename(rename) => {
            let path = before.iter().cloned().chain(with(&rename.ident)).collect();
            let name = Some(rename.rename.to_string());
            imports.push(Import { path, name, line: rename.ident.span().start().line });
        }
        UseTree::Glob(glob) => {
            let line = glob.star_token.spans[0].start().line;
            imports.push(Import { path: before.clone(), name: None, line });
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, imports);
            }
        }
    }
}

/// Copies tokens without what is compiled for tests alone, and without attributes.
fn keep(tokens: TokenStream, kept: &mut Vec<TokenTree>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if !is_punct(&token, '#') {
            kept.push(match token {
                TokenTree::Group(group) => {
                    let mut inner = Vec::new();
                    keep(group.stream(), &mut inner);
                    let mut copy = proc_macro2::Group::new(group.delimiter(), inner.into_iter().collect());
                    copy.set_span(group.span());
                    TokenTree::Group(copy)
                }
                other => other,
            });
            continue;
        }
        tokens.next_if(|token| is_punct(token, '!'));
        let attribute = tokens.next_if(|token| is_group(token, Delimiter::Bracket));
        let Some(TokenTree::Group(attribute)) = attribute else { continue };
        if !needs_test(attribute.stream()) {
            continue;
        }
        for token in tokens.by_ref() {
            if is_group(&token, Delimiter::Brace) || is_punct(&token, ';') || is_punct(&token, ',') {
                break;
            }
        }
    }
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

/// Whether an attribute's tokens are `cfg(..)` with a predicate that only tests meet, or `test`.
fn needs_test(attribute: TokenStream) -> bool {
    let mut tokens = attribute.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(word)), None) => word == "test",
        (Some(TokenTree::Ident(word)), Some(TokenTree::Group(group))) => {
            word == "cfg" && predicates(group.stream()).iter().any(|predicate| predicate_needs_test(predicate))
        }
        _ => false,
    }
}

fn predicate_needs_test(predicate: &[TokenTree]) -> bool {
    match predicate {
        [TokenTree::Ident(word)] => word == "test" || word == "doctest",
        [TokenTree::Ident(word), TokenTree::Group(group)] if word == "all" => {
            predicates(group.stream()).iter().any(|predicate| predicate_needs_test(predicate))
        }
        [TokenTree::Ident(word), TokenTree::Group(group)] if word == "any" => {
            predicates(group.stream()).iter().all(|predicate| predicate_needs_test(predicate))
        }
        _ => false,
    }
}

/// Splits a list of predicates at its commas.
fn predicates(list: TokenStream) -> Vec<Vec<TokenTree>> {
    let tokens: Vec<TokenTree> = list.into_iter().collect();
    let parts = tokens.split(|token| is_punct(token, ','));
    parts.filter(|part| !part.is_empty()).map(<[TokenTree]>::to_vec).collect()
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| needs_test(attribute.meta.to_token_stream()))
}

/// Returns the file that `#[path]` names.
fn named_file(attributes: &[Attribute]) -> Option<PathBuf> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("path")).find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let text = pair.value.to_token_stream().to_string();
        Some(PathBuf::from(text.trim_matches('"')))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
