//! `escapement config`.

use clap::Args;
use serde::Serialize;

use super::{
    args::Flag,
    error::CliError,
    output::{Ui, table},
    serve::ServerFlags,
};
use crate::config::Loaded;

/// Takes the flags of `serve`, so that it shows what they would do.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    server: ServerFlags,
}

impl ConfigArgs {
    pub(super) fn flags(&self) -> Vec<Flag> {
        self.server.flags()
    }
}

#[derive(Serialize)]
struct Row {
    key: &'static str,
    value: String,
    origin: String,
}

pub(super) fn run(loaded: &Loaded, ui: Ui) -> Result<u8, CliError> {
    let rows = loaded.all().map(|(key, setting)| Row {
        key: key.name,
        value: setting.text(),
        origin: setting.origin.to_string(),
    });
    if ui.is_json() {
        ui.print_json(&rows.collect::<Vec<_>>());
    } else {
        let rows = rows.map(|row| [row.key.to_owned(), row.value, row.origin]);
        ui.print(table(Some(["KEY", "VALUE", "FROM"]), rows));
    }
    Ok(0)
}
