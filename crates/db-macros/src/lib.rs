//! Lists the files of `isobar_db::migrations!` while a crate is compiled. Not for use by itself: `isobar-db` has the macro, its
//! documentation and its tests.
//!
//! A declarative macro cannot list a folder, and a function for build scripts would have every user's build script depend on
//! isobar-db. So it is a procedural macro, and as it takes one text and gives a list of texts, it parses and prints them
//! itself in place of depending on syn and quote.
//!
//! | file in the folder | |
//! |---|---|
//! | `0001_users.sql` | a migration |
//! | `0001_users.down.sql` | passed over: it undoes one |
//! | `.0001_users.sql`, `._0001_users.sql` | passed over: hidden |
//! | `notes.md`, a folder | passed over |
//! | a name that is not UTF-8 | an error of the compiler |
//! | no `.sql` file at all, no such folder | an error of the compiler |
//!
//! The path is taken below `CARGO_MANIFEST_DIR`, the package that is compiled, not below the file that the macro
//! stands in. Errors are `compile_error!` at the macro's place. Order is not its part:
//! `isobar_db::migrations::sort` brings the files into wrangler's.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use proc_macro::{TokenStream, TokenTree};

/// Expands to an array of the names and texts of the `.sql` files in a folder.
///
/// For a folder with two files the expansion is `[("1_a.sql", ::core::include_str!("/path/1_a.sql")), ("2_b.sql",
/// ::core::include_str!("/path/2_b.sql")),]`.
#[doc(hidden)]
#[proc_macro]
pub fn migration_files(folder: TokenStream) -> TokenStream {
    let listed = folder_of(folder).and_then(|folder| list(&folder));
    let code = listed.unwrap_or_else(|problem| format!("::core::compile_error!({problem:?})"));
    code.parse().expect("a list of string literals is Rust, and so is a call with one")
}

/// The folder that the literal names, below the package that is compiled.
///
/// A raw string, or one with an escape, is refused rather than read: its text would have to be unescaped here.
fn folder_of(tokens: TokenStream) -> Result<PathBuf, String> {
    let mut tokens = tokens.into_iter().collect::<Vec<_>>();
    // A literal that comes by way of a declarative macro is in a group without delimiters.
    while let [TokenTree::Group(group)] = tokens.as_slice() {
        tokens = group.stream().into_iter().collect();
    }
    let [TokenTree::Literal(literal)] = tokens.as_slice() else {
        return Err("migrations! takes the path of a folder: migrations!(\"migrations\")".to_owned());
    };
    let literal = literal.to_string();
    let path = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|path| !path.contains('\\'));
    let path =
        path.ok_or_else(|| format!("migrations! takes a plain string with `/` between folders, not {literal}"))?;
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .ok_or("migrations! finds its folder by CARGO_MANIFEST_DIR, which cargo sets: build by cargo")?;
    Ok(Path::new(&package).join(path))
}

/// The files as an array of pairs. `include_str!` makes each of them an input of the crate, so that cargo builds it anew when
/// one changes.
fn list(folder: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot read the migrations in {}: {error}", folder.display());
    let mut files = Vec::new();
    for file in std::fs::read_dir(folder).map_err(unreadable)? {
        let file = file.map_err(unreadable)?;
        let path = file.path();
        let utf8 = |text: Option<&str>| {
            text.map(str::to_owned).ok_or_else(|| format!("the name of {} is not UTF-8", path.display()))
        };
        let name = utf8(file.file_name().to_str())?;
        if !name.starts_with('.') && name.ends_with(".sql") && !name.ends_with(".down.sql") && path.is_file() {
            files.push((name, utf8(path.to_str())?));
        }
    }
    if files.is_empty() {
        return Err(format!("{} has no .sql file", folder.display()));
    }
    files.sort(); // so that builds are reproducible; the order in which they are applied is wrangler's
    let mut code = "[".to_owned();
    for (name, path) in files {
        write!(code, "({name:?}, ::core::include_str!({path:?})),").expect("a String takes all that is written");
    }
    Ok(code + "]")
}
