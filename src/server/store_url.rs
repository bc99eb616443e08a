//! Where the server keeps its state.

use std::{fmt, path::PathBuf};

/// A store, as `server.store` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// On local disk, in this directory.
    Embedded(PathBuf),
    /// In memory: gone when the process ends.
    Memory,
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

impl StoreUrl {
    /// Reads `embedded:PATH`, `embedded:` (in `data_dir`) or `memory:`.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn parse(text: &str, data_dir: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded", "")) => Ok(Self::Embedded(data_dir.into())),
            Some(("embedded", path)) => Ok(Self::Embedded(path.into())),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err("nothing follows `memory:`".to_owned()),
            Some(("foundationdb" | "fdb", _)) => {
                Err("this build has no FoundationDB client; the stores are `embedded:PATH` and `memory:`".to_owned())
            }
            Some((scheme, _)) => Err(format!("`{scheme}:` is no store; the stores are `embedded:PATH` and `memory:`")),
            None => Err("must be `embedded:PATH` or `memory:`".to_owned()),
        }
    }
}
