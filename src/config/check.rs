//! From values as they were written to values that hold.

use std::{net::SocketAddr, time::Duration};

use escapement_engine::{
    leap::Mode,
    name::{Namespace, QueueName},
};

use super::{
    ClientConfig, Config, ConfigError, HandlerKind, KEYS, Key, Kind, Loaded, LogConfig, LogFormat, Origin, Raw,
    ServerConfig, Setting, StoreUrl, WorkerConfig, load::invalid,
};
use crate::edge::net;

/// Longest list that a key takes.
const LIST_ITEMS_MAX: usize = 1024;

impl Loaded {
    /// The value of a key, as it was written.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn setting(&self, key: &str) -> &Setting {
        self.settings.get(key).expect("every key of the table has a setting")
    }

    /// Every key with its value, in the order of [`KEYS`].
    pub fn all(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        KEYS.iter().map(|key| (key, self.setting(key.name)))
    }

    /// Sets what a command means by itself, unless somebody said otherwise.
    pub fn set_default(&mut self, key: &'static str, value: &str) {
        let setting = self.settings.get_mut(key).expect("every key of the table has a setting");
        if setting.origin == Origin::Default {
            setting.raw = Raw::Text(value.to_owned());
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first that breaks its rule: key, origin, value and limit.
    pub fn check(&self) -> Result<Config, ConfigError> {
        let client = ClientConfig {
            server: self.endpoint("client.server")?,
            namespace: self.parsed("client.namespace", |text| {
                Namespace::new(text).map_err(|error| format!("must be {}", error.rule))
            })?,
            timeout: Duration::from_millis(self.integer("client.timeout_ms")?),
        };
        let worker_server = if self.text("worker.server").is_empty() { "client.server" } else { "worker.server" };
        let worker = WorkerConfig {
            server: self.endpoint(worker_server)?,
            name: self.parsed("worker.name", |text| match text.len() {
                1..=128 => Ok(text.to_owned()),
                _ => Err("must have 1 to 128 bytes".to_owned()),
            })?,
            concurrency: self.integer_u32("worker.concurrency")?,
            queues: self.queues()?,
            exec: self.boolean("worker.exec")?,
            exec_allow: self.list("worker.exec_allow", LIST_ITEMS_MAX)?.to_vec(),
            http: self.boolean("worker.http")?,
        };
        let log = LogConfig {
            level: self.parsed("log.level", log_level)?,
            format: self.parsed("log.format", |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("must be text or json".to_owned()),
            })?,
        };
        Ok(Config { server: self.server()?, worker, client, log })
    }

    fn server(&self) -> Result<ServerConfig, ConfigError> {
        let data_dir = self.text("server.data_dir");
        if data_dir.is_empty() {
            let setting = self.setting("server.data_dir");
            return Err(invalid(self.key("server.data_dir"), &setting.origin, "", "must be a path"));
        }
        let store = self.parsed("server.store", |text| StoreUrl::parse(text, data_dir))?;
        let data_dir_origin = &self.setting("server.data_dir").origin;
        if self.text("server.store") != "embedded:"
            && *data_dir_origin != Origin::Default
            && store != StoreUrl::Embedded(data_dir.into())
        {
            return Err(ConfigError::Contradiction {
                first: "server.store",
                first_origin: self.setting("server.store").origin.clone(),
                second: "server.data_dir",
                second_origin: data_dir_origin.clone(),
                reason: format!("the store `{store}` does not use the directory `{data_dir}`; set one of the two"),
            });
        }
        let payload = self.integer("server.payload_bytes_max")?;
        Ok(ServerConfig {
            listen: self.parsed("server.listen", |text| {
                text.parse::<SocketAddr>()
                    .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:7250".to_owned())
            })?,
            store,
            shards: self.integer_u32("server.shards")?,
            shards_required: self.setting("server.shards").origin != Origin::Default,
            session_lease: Duration::from_millis(self.integer("server.session_lease_ms")?),
            payload_bytes_max: usize::try_from(payload).expect("its limit is below every platform's"),
            leap_mode: self.parsed("server.leap_mode", |text| match text {
                "pause" => Ok(Mode::Pause),
                "smear" => Ok(Mode::Smear),
                _ => Err("must be pause or smear".to_owned()),
            })?,
        })
    }

    fn queues(&self) -> Result<Vec<(QueueName, HandlerKind)>, ConfigError> {
        let items = self.list("worker.queues", escapement_engine::limits::SESSION_QUEUES_MAX)?;
        let read = |item: &String| -> Result<(QueueName, HandlerKind), String> {
            let (queue, handler) = item.split_once('=').unwrap_or((item, item));
            let handler = match handler {
                "exec" => HandlerKind::Exec,
                "http" => HandlerKind::Http,
                _ => {
                    return Err(format!(
                        "must say what runs the tasks of queue `{queue}`: {queue}=exec or {queue}=http"
                    ));
                }
            };
            let queue = QueueName::new(queue).map_err(|error| format!("a queue has {}", error.rule))?;
            Ok((queue, handler))
        };
        let refuse = |item: &String, reason: String| {
            invalid(self.key("worker.queues"), &self.setting("worker.queues").origin, item, reason)
        };
        items.iter().map(|item| read(item).map_err(|reason| refuse(item, reason))).collect()
    }

    fn key(&self, name: &'static str) -> &'static Key {
        Key::find(name).expect("asked only for keys of the table")
    }

    fn text(&self, key: &'static str) -> &str {
        match &self.setting(key).raw {
            Raw::Text(text) => text,
            Raw::List(_) => "",
        }
    }

    fn list(&self, key: &'static str, max: usize) -> Result<&[String], ConfigError> {
        let setting = self.setting(key);
        match &setting.raw {
            Raw::List(items) if items.len() <= max => Ok(items),
            Raw::List(items) => {
                let count = format!("{} items", items.len());
                Err(invalid(self.key(key), &setting.origin, &count, format!("must have at most {max} items")))
            }
            Raw::Text(_) => Ok(&[]),
        }
    }

    fn parsed<T>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let text = self.text(key);
        parse(text).map_err(|reason| invalid(self.key(key), &self.setting(key).origin, text, reason))
    }

    fn integer(&self, name: &'static str) -> Result<u64, ConfigError> {
        let key = self.key(name);
        let Kind::Integer(min, max) = key.kind else { unreachable!("{name} is an integer of the table") };
        self.parsed(name, |text| match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {min} to {max}")),
        })
    }

    fn integer_u32(&self, name: &'static str) -> Result<u32, ConfigError> {
        self.integer(name).map(|number| u32::try_from(number).expect("its limit is that of a u32"))
    }

    fn boolean(&self, key: &'static str) -> Result<bool, ConfigError> {
        self.parsed(key, |text| text.parse().map_err(|_| "must be true or false".to_owned()))
    }

    fn endpoint(&self, key: &'static str) -> Result<String, ConfigError> {
        self.parsed(key, |text| match net::check_endpoint(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(format!("must be an address such as http://127.0.0.1:7250: {}", error.reason)),
        })
    }
}

/// A bare word is a level: a filter would take any other for a module that logs nothing.
fn log_level(text: &str) -> Result<Option<String>, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |level: &str| LEVELS.contains(&level.trim().to_ascii_lowercase().as_str());
    let directives = || text.split(',').filter(|directive| !directive.trim().is_empty());
    if directives().all(|directive| known(directive.rsplit_once('=').map_or(directive, |(_, level)| level))) {
        Ok(Some(text.to_owned()).filter(|text| !text.trim().is_empty()))
    } else {
        Err("must be off, error, warn, info, debug or trace, or MODULE=LEVEL, separated by commas".to_owned())
    }
}
