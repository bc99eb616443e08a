//! `escapement import`.

mod crontab;
mod doubts;
mod ids;
mod report;
mod zone;

use clap::Subcommand;

use super::{Context, error::CliError};

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Make a schedule of each job of a crontab
    Crontab(crontab::CrontabArgs),
}

pub(super) async fn run(command: ImportCommand, context: &Context) -> Result<u8, CliError> {
    match command {
        ImportCommand::Crontab(args) => crontab::run(&args, context).await,
    }
}
