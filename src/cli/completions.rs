//! `escapement completions`.

use std::io::{self, Write as _};

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "escapement", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::internal(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(0),
    }
}
