//! From the three sources to checked values.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use escapement_engine::suggest::closest;

use super::{ConfigError, FILE_DEFAULT, FILE_VARIABLE, KEYS, Key, Kind, Origin};

/// Set by the exec worker for the programs that it runs, and no setting of ours.
const FOREIGN_VARIABLES: [&str; 4] = ["ESCAPEMENT_TASK_ID", "ESCAPEMENT_ATTEMPT", "ESCAPEMENT_TOKEN", "ESCAPEMENT_DUE"];

/// Bytes of a configuration file: more than all keys at their longest.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A value as it was written, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A string, a number, a truth value.
    Text(String),
    /// A list.
    List(Vec<String>),
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As it was written.
    pub raw: Raw,
    /// Who wrote it.
    pub origin: Origin,
}

impl Setting {
    /// The value on one line.
    pub fn text(&self) -> String {
        match &self.raw {
            Raw::Text(text) => text.clone(),
            Raw::List(items) => items.join(","),
        }
    }
}

/// What the configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that a flag names.
    pub file: Option<PathBuf>,
    /// The process's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Key, flag and value, for the flags that were given.
    pub flags: Vec<(&'static str, Raw)>,
}

/// Every key's value, from the source with the most weight.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(super) settings: BTreeMap<&'static str, Setting>,
    /// Things that are no error but should be told: variables that look like ours.
    pub warnings: Vec<String>,
}

impl Sources {
    /// With the environment of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(&'static str, Raw)>) -> Self {
        Self { file, environment: env::vars_os().collect(), flags }
    }

    /// Reads all sources.
    ///
    /// # Errors
    /// Names the first key or file that is refused.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let mut settings: BTreeMap<_, _> = KEYS
            .iter()
            .map(|key| (key.name, Setting { raw: split(key.kind, key.default), origin: Origin::Default }))
            .collect();
        self.read_file(&mut settings)?;
        let warnings = self.read_environment(&mut settings)?;
        for (name, raw) in self.flags {
            let key = Key::find(name).expect("flags stand in the table of keys");
            let origin = Origin::Flag(key.flag.expect("a key that a flag sets has one"));
            if key.name == "client.server" && settings.get("worker.server").is_some_and(|set| !set.text().is_empty()) {
                // The flag is the worker's, too: it outweighs the environment and the file.
                settings.insert("worker.server", Setting { raw: raw.clone(), origin: origin.clone() });
            }
            settings.insert(key.name, Setting { raw, origin });
        }
        Ok(Loaded { settings, warnings })
    }

    fn file(&self) -> Option<(PathBuf, &'static str)> {
        if let Some(path) = &self.file {
            return Some((path.clone(), "--config"));
        }
        let variable = self.environment.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        variable.map(|(_, value)| (PathBuf::from(value), FILE_VARIABLE))
    }

    fn read_file(&self, settings: &mut BTreeMap<&'static str, Setting>) -> Result<(), ConfigError> {
        let (path, named_by) = self.file().unwrap_or((FILE_DEFAULT.into(), ""));
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) if named_by.is_empty() && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                let named_by = if named_by.is_empty() { "nobody (it is the default)" } else { named_by };
                return Err(ConfigError::Unreadable { path, named_by: named_by.to_owned(), source });
            }
        };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.clone(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        let origin = Origin::File(path);
        let sections: Vec<&str> = KEYS.iter().filter_map(|key| Some(key.name.split_once('.')?.0)).collect();
        for (section, entries) in table {
            let toml::Value::Table(entries) = entries else {
                // A key without its section.
                let names = KEYS.iter().filter_map(|key| Some(key.name.split_once('.')?.1.to_owned()));
                let meant = closest(&section, names);
                let meant = KEYS.iter().find(|key| key.name.split_once('.').map(|(_, name)| name) == meant.as_deref());
                let suggestion = meant.map(|key| key.name.to_owned());
                return Err(ConfigError::UnknownKey { key: section, origin, suggestion });
            };
            if !sections.contains(&section.as_str()) {
                return Err(unknown_section(&section, origin, sections));
            }
            for (entry, value) in entries {
                let name = format!("{section}.{entry}");
                let Some(key) = Key::find(&name) else {
                    return Err(unknown(name, origin, KEYS.iter().map(|key| key.name)));
                };
                let raw = from_toml(key, value, &origin)?;
                settings.insert(key.name, Setting { raw, origin: origin.clone() });
            }
        }
        Ok(())
    }

    /// Returns what should be told.
    fn read_environment(&self, settings: &mut BTreeMap<&'static str, Setting>) -> Result<Vec<String>, ConfigError> {
        let mut warnings = Vec::new();
        let known: BTreeMap<String, &'static Key> = KEYS.iter().map(|key| (key.variable(), key)).collect();
        let mut variables: Vec<_> = self.environment.iter().collect();
        variables.sort();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with("ESCAPEMENT_")) else { continue };
            let origin = Origin::Environment(name.to_owned());
            let Some(key) = known.get(name) else {
                if name != FILE_VARIABLE && !FOREIGN_VARIABLES.contains(&name) {
                    let sections =
                        ["ESCAPEMENT_SERVER_", "ESCAPEMENT_WORKER_", "ESCAPEMENT_CLIENT_", "ESCAPEMENT_LOG_"];
                    if sections.iter().any(|section| name.starts_with(section)) {
                        return Err(unknown_variable(name, known.keys()));
                    }
                    warnings.push(format!("the variable {name} is no setting of Escapement, and has no effect"));
                }
                continue;
            };
            let Some(text) = value.to_str() else {
                let value = value.to_string_lossy().into_owned();
                return Err(invalid(key, &origin, &value, "must be UTF-8"));
            };
            settings.insert(key.name, Setting { raw: split(key.kind, text), origin });
        }
        Ok(warnings)
    }
}

/// Reads no more than needed to know that it is too much: devices have no end.
fn read_text(path: &Path) -> io::Result<String> {
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        let limit = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Lists outside the file are separated by commas.
fn split(kind: Kind, text: &str) -> Raw {
    match kind {
        Kind::List => Raw::List(text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()),
        Kind::Text | Kind::Integer(..) | Kind::Bool => Raw::Text(text.to_owned()),
    }
}

fn from_toml(key: &Key, value: toml::Value, origin: &Origin) -> Result<Raw, ConfigError> {
    let shown = value.to_string();
    let refuse = |what: &str| Err(invalid(key, origin, &shown, what));
    match (key.kind, value) {
        (Kind::Text, toml::Value::String(text)) => Ok(Raw::Text(text)),
        (Kind::Integer(..), toml::Value::Integer(number)) => Ok(Raw::Text(number.to_string())),
        (Kind::Bool, toml::Value::Boolean(value)) => Ok(Raw::Text(value.to_string())),
        (Kind::List, toml::Value::Array(items)) => {
            let texts = items.into_iter().map(|item| match item {
                toml::Value::String(text) => Some(text),
                _ => None,
            });
            match texts.collect::<Option<Vec<_>>>() {
                Some(texts) => Ok(Raw::List(texts)),
                None => refuse("must be an array of strings"),
            }
        }
        (Kind::Text, _) => refuse("must be a string"),
        (Kind::Integer(..), _) => refuse("must be a whole number"),
        (Kind::Bool, _) => refuse("must be true or false"),
        (Kind::List, _) => refuse("must be an array of strings"),
    }
}

fn unknown<'a>(key: String, origin: Origin, known: impl IntoIterator<Item = &'a str>) -> ConfigError {
    ConfigError::UnknownKey { suggestion: closest(&key, known.into_iter().map(str::to_owned)), key, origin }
}

/// `[srv]` is too short, and too far from `[server]`, for [`closest`]: one whose letters are
/// all in a section, in their order, stands for it.
fn unknown_section(section: &str, origin: Origin, known: Vec<&str>) -> ConfigError {
    let abbreviates = |known: &str| {
        let mut letters = known.chars();
        section.starts_with(&known[..1]) && section.chars().all(|letter| letters.any(|it| it == letter))
    };
    let suggestion = closest(section, known.iter().map(|&known| known.to_owned()))
        .or_else(|| known.iter().find(|known| abbreviates(known)).map(|&known| known.to_owned()))
        .map(|known| format!("[{known}]"));
    ConfigError::UnknownKey { key: format!("[{section}]"), origin, suggestion }
}

fn unknown_variable<'a>(name: &str, known: impl IntoIterator<Item = &'a String>) -> ConfigError {
    let suggestion = closest(name, known.into_iter().cloned());
    ConfigError::UnknownKey { key: name.to_owned(), origin: Origin::Environment(name.to_owned()), suggestion }
}

pub(super) fn invalid(key: &Key, origin: &Origin, value: &str, reason: impl Into<String>) -> ConfigError {
    let value = value.chars().take(64).collect();
    ConfigError::Invalid { key: key.name, origin: origin.clone(), value, reason: reason.into() }
}
