//! Parsing a configuration.
//!
//! The way of a text: `document` gives values and the line of each key; unknown keys are warned about, in the whole file, environments
//! included; the chosen environment's keys go over the top level's ([`Source::choose`]); names are checked; and at last serde makes the
//! types, key by key and entry by entry, so that an error has a path, which the lines turn into a line of the file.
//!
//! A configuration that a build tool has written (`.wrangler/deploy/config.json`) is read by the same way, but its environment is fixed, and
//! paths of the project (state, secrets) stay relative to the user's own file.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::document::{self, Document, Format, Lines, within};
use super::{Assets, Config, DEPLOY_CONFIG, Error, FILE_NAMES, keys};

impl Config {
    /// Reads a file. `environment`, or else `CLOUDFLARE_ENV`, selects its `[env.NAME]`; an empty name selects the top level.
    ///
    /// The extension `toml` is read as TOML, any other as JSON with comments. Bytes that are not UTF-8 are read as U+FFFD, with a warning; UTF-16
    /// is an error.
    ///
    /// ```
    /// use isobar_cloudflare::wrangler::Config;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("wrangler.toml");
    /// std::fs::write(&path, "name = \"shop\"\n[assets]\ndirectory = \"dist\"\n[env.staging]\n")?;
    /// let config = Config::load(&path, Some("staging"))?;
    /// assert_eq!(config.name.as_deref(), Some("shop-staging"));
    /// let assets = config.assets.as_ref().and_then(|assets| assets.directory.as_deref());
    /// assert_eq!(config.resolve(assets.expect("the environment inherits it")), folder.path().join("dist"));
    ///
    /// let error = Config::load(&path, Some("production")).unwrap_err();
    /// assert!(error.to_string().ends_with("there is no environment \"production\"; there are: staging"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails where the file cannot be read or parsed, a key has the wrong type, two bindings have the same name, or the file has
    /// environments but not this one. The error names the file and, if it concerns one, the line.
    pub fn load(path: impl AsRef<Path>, environment: Option<&str>) -> Result<Self, Error> {
        let path = path.as_ref();
        let (text, is_utf8) = text_of(path)?;
        let format =
            if path.extension().is_some_and(|extension| extension == "toml") { Format::Toml } else { Format::Jsonc };
        let environment = chosen(environment);
        let mut config = Self::parse(&text, format, environment.as_deref()).map_err(|error| error.of(path))?;
        if !is_utf8 {
            config.warnings.push("the file is not UTF-8: save it as UTF-8; such bytes are read as U+FFFD".to_owned());
        }
        config.path = Some(path.to_owned());
        config.serve_pages();
        Ok(config)
    }

    /// Reads the configuration of a folder, or of the nearest folder above that has one: `wrangler.json` before
    /// `wrangler.jsonc` before `wrangler.toml`. If
    /// `.wrangler/deploy/config.json` beside it names one written by a build tool, reads that one.
    ///
    /// A `wrangler.json` in a folder above goes before a `wrangler.toml` in this one, as with wrangler.
    ///
    /// ```
    /// use isobar_cloudflare::wrangler::Config;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("wrangler.jsonc"), "{ \"name\": \"shop\" /* its name */ }")?;
    /// std::fs::create_dir_all(folder.path().join("src/pages"))?;
    /// let config = Config::find(folder.path().join("src/pages"), Some(""))?;
    /// assert_eq!(config.name.as_deref(), Some("shop"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load). Also fails where there is no configuration, and where the one written by a build tool does not
    /// exist, is for another environment or has environments, or is not beside the user's own.
    pub fn find(folder: impl AsRef<Path>, environment: Option<&str>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let absolute = std::path::absolute(folder).map_err(|error| Error::io(folder, error))?;
        let above = |name: &str| absolute.ancestors().map(|folder| folder.join(name)).find(|path| path.is_file());
        let own = FILE_NAMES.iter().find_map(|name| above(name));
        if let Some(redirect) = above(DEPLOY_CONFIG) {
            return Self::redirected(&redirect, own, environment);
        }
        let missing = || {
            Error::new(format!("no configuration ({}) in this folder or its parents", FILE_NAMES.join(", "))).of(folder)
        };
        Self::load(own.ok_or_else(missing)?, environment)
    }

    /// Reads the configuration written by a build tool, which `configPath` of this file names, relative to the file's folder.
    ///
    /// A leftover of an earlier build must not be served unnoticed: the file must stand beside the user's own configuration, the target must
    /// exist, be without environments, and be for the environment that is wanted now.
    fn redirected(redirect: &Path, own: Option<PathBuf>, environment: Option<&str>) -> Result<Self, Error> {
        let (text, _) = text_of(redirect)?;
        let Document { table, .. } = document::read(&text, Format::Jsonc).map_err(|error| error.of(redirect))?;
        let target = table.get("configPath").and_then(Value::as_str);
        let target = target.ok_or_else(|| Error::new("\"configPath\" is missing").of(redirect))?;
        let folder = redirect.parent().unwrap_or(Path::new(""));
        let path = normalized(&folder.join(target));
        if !path.is_file() {
            return Err(
                Error::new(format!("\"configPath\" leads to {}, which does not exist", path.display())).of(redirect)
            );
        }
        if let Some(own) = own
            .as_deref()
            .filter(|own| own.parent().map(|folder| folder.join(DEPLOY_CONFIG)).as_deref() != Some(redirect))
        {
            let message = format!(
                "it is not beside {}, so it is unclear which of them applies: delete it if it is left over from a build",
                own.display()
            );
            return Err(Error::new(message).of(redirect));
        }
        let (text, _) = text_of(&path)?;
        let Document { table, .. } = document::read(&text, Format::Jsonc).map_err(|error| error.of(&path))?;
        if table.get("env").and_then(Value::as_object).is_some_and(|environments| !environments.is_empty()) {
            return Err(Error::new("a configuration that a build tool has written cannot have environments").of(&path));
        }
        let built = table.get("targetEnvironment").and_then(Value::as_str).filter(|name| !name.is_empty());
        if let (Some(built), Some(wanted)) = (built, chosen(environment))
            && built != wanted
        {
            return Err(Error::new(format!("it was built for the environment {built:?}, not {wanted:?}: build again"))
                .of(&path));
        }
        let mut config = Self::load(&path, Some(""))?;
        config.environment = built.map(str::to_owned);
        config.user_path = own.or_else(|| Some(folder.parent()?.parent()?.join(FILE_NAMES[0])));
        Ok(config)
    }

    /// Parses a text. Without an `environment` it uses the top level and ignores `CLOUDFLARE_ENV`.
    ///
    /// Reads no file and no variable of the environment, and leaves [`path`](Config::path) unset: paths then stay as they are.
    ///
    /// ```
    /// use isobar_cloudflare::wrangler::{Config, Format};
    ///
    /// let error = Config::parse("name = \"shop\"\n\n[[r2_buckets]]\nbucket_name = \"b\"\n", Format::Toml, None).unwrap_err();
    /// assert_eq!(error.line(), Some(3));
    /// assert!(error.to_string().contains("missing field `binding`"));
    /// # Ok::<(), isobar_cloudflare::wrangler::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, format: Format, environment: Option<&str>) -> Result<Self, Error> {
        let Document { mut table, lines } = document::read(text, format)?;
        let mut warnings = Vec::new();
        keys::warn_unknown(&table, "", &lines, &mut warnings);
        let environments = table.remove("env");
        let environment = environment.filter(|name| !name.is_empty());
        let mut source = Source { lines, chosen: Vec::new(), place: String::new() };
        if let Some(name) = environment {
            source.choose(&mut table, environments, name, &mut warnings)?;
        }
        keys::refuse_duplicates(&table, |key| source.line(key))?;
        keys::warn_of_names(&table, |key| source.shown(key), &mut warnings);
        keys::warn_unserved(&table, |key| source.shown(key), &mut warnings);
        let config = source.config(&table)?;
        Ok(Self { warnings, environment: environment.map(str::to_owned), ..config })
    }

    /// Resolves a path of the configuration, which is relative to its folder.
    ///
    /// An absolute path stays as it is; so does every path of a configuration without a file.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        beside(self.path.as_deref(), path.as_ref())
    }

    /// Resolves a path relative to the folder of the user's own configuration, also where a build tool has written this one. There
    /// wrangler keeps state and looks for secrets.
    ///
    /// ```
    /// use isobar_cloudflare::wrangler::Config;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    /// std::fs::create_dir_all(folder.path().join(".wrangler/deploy"))?;
    /// std::fs::create_dir_all(folder.path().join("dist"))?;
    /// write("wrangler.toml", "name = \"shop\"")?;
    /// write("dist/wrangler.json", "{ \"name\": \"shop\" }")?;
    /// write(".wrangler/deploy/config.json", "{ \"configPath\": \"../../dist/wrangler.json\" }")?;
    /// let config = Config::find(folder.path(), Some(""))?;
    /// assert!(config.resolve("index.js").ends_with("dist/index.js"));
    /// assert_eq!(config.resolve_in_project(".dev.vars"), folder.path().join(".dev.vars"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn resolve_in_project(&self, path: impl AsRef<Path>) -> PathBuf {
        beside(self.user_path.as_deref().or(self.path.as_deref()), path.as_ref())
    }

    /// Sets the assets of a Pages project to behave as in Pages: the nearest `404.html`, or the home page if there is none.
    fn serve_pages(&mut self) {
        let Some(directory) = self.pages_build_output_dir.clone().filter(|_| self.assets.is_none()) else { return };
        let has_page = self.resolve(&directory).join("404.html").is_file();
        let not_found = if has_page { "404-page" } else { "single-page-application" };
        let not_found_handling = Some(not_found.to_owned());
        self.assets = Some(Assets { directory: Some(directory), not_found_handling, ..Assets::default() });
    }
}

fn beside(file: Option<&Path>, path: &Path) -> PathBuf {
    let folder = file.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

/// Removes `.` and `..` from a path lexically.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normalized.pop()),
            Component::CurDir => {}
            part => normalized.push(part),
        }
    }
    normalized
}

/// Returns the given environment, or else that of `CLOUDFLARE_ENV`.
fn chosen(environment: Option<&str>) -> Option<String> {
    let name = environment.map(str::to_owned).or_else(|| std::env::var("CLOUDFLARE_ENV").ok());
    name.filter(|name| !name.is_empty())
}

/// Reads a file's text, and whether it is UTF-8.
pub(super) fn text_of(path: &Path) -> Result<(String, bool), Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::new("it is UTF-16: save it as UTF-8").at(Some(1)).of(path));
    }
    let text = String::from_utf8_lossy(&bytes);
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    Ok((text.into_owned(), is_utf8))
}

/// The source of the keys of a table: which of them come from the environment, so that messages show the path that the file has.
struct Source {
    lines: Lines,
    /// The keys that the selected environment has, and its path.
    chosen: Vec<String>,
    place: String,
}

impl Source {
    /// Returns the path in the file of a key, or of a value within it.
    fn path(&self, path: &str) -> String {
        let key = path.split(['.', '[']).next().unwrap_or(path);
        if self.chosen.iter().any(|chosen| chosen == key) { within(&self.place, path) } else { path.to_owned() }
    }

    fn line(&self, path: &str) -> Option<usize> {
        self.lines.of(&self.path(path))
    }

    fn shown(&self, path: &str) -> String {
        self.lines.shown(&self.path(path))
    }

    /// Replaces top-level keys by those of an environment, and removes bindings that it does not have.
    ///
    /// A file without `[env]` serves its top level under every name, with a warning, as wrangler does; a file with environments refuses a name
    /// that it does not have. The Worker's name gets the environment's behind a `-` unless the environment has its own.
    fn choose(
        &mut self,
        table: &mut Map<String, Value>,
        environments: Option<Value>,
        name: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Some(Value::Object(mut environments)) = environments else {
            // As in wrangler: a file without environments uses its top level for every name.
            warnings.push(format!("there is no environment {name:?}, the file has no [env]: using the top level"));
            return Ok(());
        };
        let known = environments.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some(Value::Object(chosen)) = environments.remove(name) else {
            return Err(Error::new(format!("there is no environment \"{name}\"; there are: {known}")));
        };
        self.place = format!("env.{name}");
        self.chosen = chosen.keys().cloned().collect();
        keys::warn_unknown(&chosen, &self.place, &self.lines, warnings);
        let filled = |value: &Value| value.as_array().is_none_or(|list| !list.is_empty());
        let missing: Vec<String> = table.keys().filter(|key| !keys::is_inherited(key)).cloned().collect();
        for key in missing {
            if table.remove(&key).as_ref().is_some_and(filled) && !chosen.contains_key(&key) {
                warnings
                    .push(format!("\"{key}\" is at the top level but not in env.{name}: bindings are not inherited"));
            }
        }
        if !chosen.contains_key("name")
            && let Some(Value::String(top)) = table.get_mut("name")
        {
            top.push_str(&format!("-{name}")); // as wrangler names an environment's Worker
        }
        table.extend(chosen);
        Ok(())
    }

    fn config(&self, table: &Map<String, Value>) -> Result<Config, Error> {
        Ok(Config {
            name: self.field(table, "name")?,
            main: self.field(table, "main")?,
            compatibility_date: self.field(table, "compatibility_date")?,
            compatibility_flags: self.field(table, "compatibility_flags")?,
            d1_databases: self.list(table, "d1_databases")?,
            r2_buckets: self.list(table, "r2_buckets")?,
            durable_objects: self.field(table, "durable_objects")?,
            migrations: self.list(table, "migrations")?,
            triggers: self.field(table, "triggers")?,
            analytics_engine_datasets: self.list(table, "analytics_engine_datasets")?,
            browser: self.field(table, "browser")?,
            vars: self.field(table, "vars")?,
            assets: self.field(table, "assets")?,
            pages_build_output_dir: self.field(table, "pages_build_output_dir")?,
            ..Config::default()
        })
    }

    fn field<T: DeserializeOwned + Default>(&self, table: &Map<String, Value>, key: &str) -> Result<T, Error> {
        let Some(value) = table.get(key) else { return Ok(T::default()) };
        self.value(value, key)
    }

    /// Parses the entries of a list one by one, so that an error names its entry.
    fn list<T: DeserializeOwned>(&self, table: &Map<String, Value>, key: &str) -> Result<Vec<T>, Error> {
        match table.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(entries)) => {
                entries.iter().enumerate().map(|(index, entry)| self.value(entry, &format!("{key}[{index}]"))).collect()
            }
            Some(_) => Err(Error::new(format!("\"{key}\" must be a list")).at(self.line(key))),
        }
    }

    fn value<T: DeserializeOwned>(&self, value: &Value, path: &str) -> Result<T, Error> {
        let read = serde_json::from_value(value.clone());
        read.map_err(|error| Error::new(format!("\"{}\": {error}", self.path(path))).at(self.line(path)))
    }
}
