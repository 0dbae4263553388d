//! Functions, types, `let`s and assignments of a file.

use std::collections::BTreeMap;
use std::error::Error;

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Pat, ReceiverKind, ReturnType, Type, Visibility};

/// Items of a file that are counted.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) functions: Vec<Function>,
    /// Lines of the `let`s of a tuple and the assignments to one, and whether each gives several names as many values.
    pub(super) tuples: Vec<(usize, bool)>,
    types: BTreeMap<String, Declared>,
    /// Types with a method by which they are set or built.
    builders: Vec<String>,
    /// Types that are session objects.
    objects: Vec<String>,
    /// Types one of whose functions has an example.
    shown: Vec<String>,
    /// Type whose `impl` is being read.
    current: String,
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    /// Lines from its signature to its end; 0 without a body.
    pub(super) lines: usize,
    pub(super) is_public: bool,
    pub(super) is_fallible: bool,
    pub(super) doc: String,
}

/// A public type or trait.
#[derive(Debug)]
struct Declared {
    line: usize,
    is_trait: bool,
    has_example: bool,
}

/// A trait, builder or session object that users need to be shown.
#[derive(Debug)]
pub(super) struct Lesson<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    pub(super) line: usize,
    pub(super) has_example: bool,
}

impl Items {
    /// Reads the items of a file's text.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, Box<dyn Error>> {
        let parsed = syn::parse_file(text).map_err(|error| format!("{file}:{}: {error}", error.span().start().line))?;
        let mut items = Self::default();
        items.visit_file(&parsed);
        Ok(items)
    }

    /// Returns the public traits, builders and session objects in the order of their names.
    pub(super) fn lessons(&self) -> impl Iterator<Item = Lesson<'_>> {
        self.types.iter().filter_map(|(name, declared)| {
            let kind = if declared.is_trait {
                "trait"
            } else if self.objects.contains(name) {
                "object"
            } else if self.builders.contains(name) {
                "builder"
            } else {
                return None;
            };
            let has_example = declared.has_example || self.shown.contains(name);
            Some(Lesson { kind, name, line: declared.line, has_example })
        })
    }

    fn add_type(&mut self, visibility: &Visibility, attributes: &[Attribute], name: &syn::Ident, is_trait: bool) {
        if matches!(visibility, Visibility::Public(_)) {
            let line = name.span().start().line;
            let has_example = doc(attributes).contains("```");
            self.types.insert(name.to_string(), Declared { line, is_trait, has_example });
        }
    }

    fn add_function(
        &mut self,
        attributes: &[Attribute],
        is_public: bool,
        signature: &syn::Signature,
        body: Option<&syn::Block>,
    ) {
        let line = signature.span().start().line;
        let returned = match &signature.output {
            ReturnType::Default => String::new(),
            ReturnType::Type(_, returned) => returned.to_token_stream().to_string(),
        };
        self.functions.push(Function {
            name: signature.ident.to_string(),
            line,
            lines: body.map_or(0, |body| body.span().end().line + 1 - line),
            is_public,
            is_fallible: returned.contains("Result <"),
            doc: doc(attributes),
        });
    }
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add_function(&item.attrs, matches!(item.vis, Visibility::Public(_)), &item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let is_public = matches!(item.vis, Visibility::Public(_));
        self.add_function(&item.attrs, is_public, &item.sig, Some(&item.block));
        let name = item.sig.ident.to_string();
        let takes_self = matches!(item.sig.receiver(), Some(receiver) if matches!(receiver.kind, ReceiverKind::Value));
        if is_public && takes_self && (name.starts_with("with_") || name == "build") {
            self.builders.push(self.current.clone());
        }
        if is_public && doc(&item.attrs).contains("```") {
            self.shown.push(self.current.clone());
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.add_function(&item.attrs, false, &item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add_type(&item.vis, &item.attrs, &item.ident, false);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add_type(&item.vis, &item.attrs, &item.ident, true);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.current = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
            _ => String::new(),
        };
        let implemented = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        if implemented.is_some_and(|last| last.ident == "SessionObject") {
            self.objects.push(self.current.clone());
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_local(&mut self, item: &'ast syn::Local) {
        if let (Pat::Tuple(pattern), Some(init)) = (&item.pat, &item.init) {
            let is_parallel =
                init.diverge.is_none() && matches!(&*init.expr, Expr::Tuple(values) if values.elems.len() > 1);
            self.tuples.push((pattern.span().start().line, is_parallel));
        }
        visit::visit_local(self, item);
    }

    fn visit_expr_assign(&mut self, item: &'ast syn::ExprAssign) {
        if let Expr::Tuple(left) = &*item.left {
            let is_parallel = matches!(&*item.right, Expr::Tuple(values) if values.elems.len() > 1);
            self.tuples.push((left.span().start().line, is_parallel));
        }
        visit::visit_expr_assign(self, item);
    }
}

/// Returns the text of an item's doc comments.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    lines.map(|line| line.meta.to_token_stream().to_string() + "\n").collect()
}
