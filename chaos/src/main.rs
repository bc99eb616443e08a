//! `escapement-chaos`: judges histories; in the simulation build (`cargo chaos`) it makes them,
//! too. docs/TESTING.md tells how to use it.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
