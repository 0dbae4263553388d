//! Local secrets: `.dev.vars` and `.env`, with wrangler's rules.
//!
//! | files, beside the user's configuration | used where | references |
//! |---|---|---|
//! | `.dev.vars.ENVIRONMENT` | it exists and an environment is chosen | not resolved |
//! | `.dev.vars` | the one above does not exist | not resolved |
//! | `.env`, `.env.local`, `.env.ENVIRONMENT`, `.env.ENVIRONMENT.local` | neither exists; later files override earlier ones | resolved |
//!
//! Source: wrangler's documentation, "Environment variables", and the `dotenv` that wrangler bundles for the syntax of lines.

use std::path::Path;

use super::expand::expand;
use super::read::text_of;
use super::{Config, Error};

impl Config {
    /// Returns a project's secrets for local runs, by name; they override `vars`. They are read from the environment's
    /// `.dev.vars.NAME`, or else `.dev.vars`; if there is neither, from `.env`, `.env.local`, `.env.NAME` and `.env.NAME.local`,
    /// of which later files override earlier ones, unless `CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV` is `false`. The files are
    /// beside the user's configuration. A line without an assignment is ignored, as in `dotenv`.
    ///
    /// In the `.env` files `$NAME` and `${NAME:-default}` stand for the values of names that are assigned before, and `\$` is a dollar
    /// sign. In `.dev.vars` files a dollar sign is one, as with wrangler. The process's environment takes no part.
    ///
    /// ```
    /// use isobar_cloudflare::wrangler::Config;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    /// write("wrangler.toml", "")?;
    /// write(".env", "HOST=localhost # of this machine\nURL=http://${HOST}:${PORT:-8080}/\n")?;
    /// let config = Config::load(folder.path().join("wrangler.toml"), Some(""))?;
    /// assert_eq!(config.secrets()?[1], ("URL".to_owned(), "http://localhost:8080/".to_owned()));
    /// // A `.dev.vars` replaces all of the `.env` files, and a dollar sign in it is one.
    /// write(".dev.vars", "URL=$HOST\n")?;
    /// assert_eq!(config.secrets()?, [("URL".to_owned(), "$HOST".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails where a file exists and cannot be read, and where a value in `.env` refers to others without end.
    pub fn secrets(&self) -> Result<Vec<(String, String)>, Error> {
        let named = |base: &str| self.environment.as_ref().map(|name| format!("{base}.{name}"));
        for name in named(".dev.vars").into_iter().chain([".dev.vars".to_owned()]) {
            if let Some(secrets) = of_file(&self.resolve_in_project(name))? {
                return Ok(secrets);
            }
        }
        if std::env::var("CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV").is_ok_and(|value| value.eq_ignore_ascii_case("false"))
        {
            return Ok(Vec::new());
        }
        let named_local = named(".env").map(|name| format!("{name}.local"));
        let files = [Some(".env".to_owned()), Some(".env.local".to_owned()), named(".env"), named_local];
        let mut all: Vec<(String, String)> = Vec::new();
        for file in files.into_iter().flatten() {
            for (name, value) in of_file(&self.resolve_in_project(file))?.unwrap_or_default() {
                assign(&mut all, name, value);
            }
        }
        let endless = |name: String| {
            Error::new(format!("the value of {name} refers to other values without end"))
                .of(&self.resolve_in_project(".env"))
        };
        expand(&mut all).map_err(endless)?;
        Ok(all)
    }
}

/// Assigns a value. A name keeps its first place, as the keys of an object in JavaScript do: references are resolved in this order.
fn assign(all: &mut Vec<(String, String)>, name: String, value: String) {
    match all.iter_mut().find(|(other, _)| *other == name) {
        Some(earlier) => earlier.1 = value,
        None => all.push((name, value)),
    }
}

/// Returns the assignments in a file; `None` where the file does not exist.
fn of_file(path: &Path) -> Result<Option<Vec<(String, String)>>, Error> {
    match path.is_file() {
        true => Ok(Some(assignments(&text_of(path)?.0))),
        false => Ok(None),
    }
}

/// Parses `NAME=value` lines: with an optional `export`, three kinds of quotes, quoted values over several lines, and comments.
///
/// | form | value |
/// |---|---|
/// | `A=x y # z`, `A: x y` | `x y`: trimmed, without the comment; a `:` needs a space after it |
/// | `A='x#y'`, or with `"` or a backquote | `x#y`, also over several lines |
/// | `A="x\ny"` | `\n` and `\r` are line ends, in double quotes alone |
/// | `A="x` without an end | `"x` |
/// | a name twice | the later value, at the place of the first |
fn assignments(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut found: Vec<(String, String)> = Vec::new();
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let Some((name, value)) = named(line) else {
            rest = after;
            continue;
        };
        let start = line.len() - value.len();
        let quoted = value.trim_start();
        let (value, end) = match quoted.chars().next().filter(|quote| "\"'`".contains(*quote)) {
            Some(quote) => {
                let start = start + value.len() - quoted.len() + 1;
                match closing(&rest[start..], quote) {
                    Some(length) => (unescaped(&rest[start..start + length], quote), start + length + 1),
                    None => (bare(value), line.len()),
                }
            }
            None => (bare(value), line.len()),
        };
        assign(&mut found, name.to_owned(), value);
        // The rest of the line is a comment.
        rest = rest[end..].split_once('\n').map_or("", |(_, after)| after);
    }
    found
}

/// Splits a line into the assigned name and the text after the sign.
fn named(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(['=', ':'])?;
    let is_colon = line.as_bytes()[name.len()] == b':';
    if is_colon && !value.starts_with(char::is_whitespace) {
        return None;
    }
    let name = name.trim();
    let name = name.strip_prefix("export").filter(|rest| rest.starts_with(char::is_whitespace)).map_or(name, str::trim);
    let is_name = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, value))
}

/// Returns the end of a quoted value; a quote after a backslash does not end it.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, char)| {
        let ends = char == quote && !is_escaped;
        is_escaped = char == '\\';
        ends.then_some(at)
    })
}

/// Returns a value without quotes: trimmed, up to a comment.
fn bare(value: &str) -> String {
    value.split('#').next().unwrap_or_default().trim().to_owned()
}

/// Resolves the escapes of a quoted value: line ends in double quotes, nothing in the others.
fn unescaped(value: &str, quote: char) -> String {
    match quote {
        '"' => value.replace("\\n", "\n").replace("\\r", "\r"),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_dotenv_reads_them() {
        let text = "\u{feff}# a comment\nA=1\n  export B = two words # c\nC=\"x\\ny\" # c\nD='a#b'\nE=\"over\nlines\"\nF=\nG: yaml\nH=`\"'`\r\n\
                    nothing\n=x\nbad name=1\nA=again\nI=\"open\nJ=a=b\nK=x\\ny";
        let got = assignments(text);
        let want = [
            ("A", "again"),
            ("B", "two words"),
            ("C", "x\ny"),
            ("D", "a#b"),
            ("E", "over\nlines"),
            ("F", ""),
            ("G", "yaml"),
            ("H", "\"'"),
            ("I", "\"open"),
            ("J", "a=b"),
            ("K", "x\\ny"),
        ];
        assert_eq!(got.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), want);
    }

    #[test]
    fn the_environments_own_file_comes_first_and_dot_env_last() {
        let folder = tempfile::tempdir().expect("the folder is created");
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("the file is written");
        let secrets = |environment: Option<&str>| {
            let config =
                Config::load(folder.path().join("wrangler.toml"), environment).expect("the configuration is valid");
            let mut secrets = config.secrets().expect("the secrets are read");
            secrets.sort();
            secrets.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
        };
        write("wrangler.toml", "[env.staging]");
        assert_eq!(secrets(Some("")), "");
        write(".env", "A=env\nB=env");
        write(".env.staging", "A=staging");
        write(".env.local", "A=local");
        assert_eq!((secrets(Some("")), secrets(Some("staging"))), ("A=local,B=env".into(), "A=staging,B=env".into()));
        write(".env.staging.local", "A=both");
        assert_eq!(secrets(Some("staging")), "A=both,B=env");
        // References are resolved over all of these files, and in `.dev.vars` not at all.
        write(".env.staging.local", "A=both $B\nC='pa\\$word'\nD=$A!");
        assert_eq!(secrets(Some("staging")), "A=both ,B=env,C=pa$word,D=both !");
        write(".env", "B=env\nA=env");
        assert_eq!(secrets(Some("staging")), "A=both env,B=env,C=pa$word,D=both env!");
        write(".dev.vars", "A=dev\nB=$A ${A}");
        assert_eq!(secrets(Some("")), "A=dev,B=$A ${A}");
        write(".dev.vars", "A=dev");
        assert_eq!((secrets(Some("")), secrets(Some("staging"))), ("A=dev".into(), "A=dev".into()));
        write(".dev.vars.staging", "C=dev");
        assert_eq!((secrets(Some("")), secrets(Some("staging"))), ("A=dev".into(), "C=dev".into()));
    }
}
