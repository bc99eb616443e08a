//! The `escapement` program. `docs/CLI.md` tells what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    escapement::cli::main()
}
