//! `escapement-chaos`: judges histories; in the simulation build (`cargo chaos`) it makes them,
//! too. docs/TESTING.md tells how to use it.

use std::process::ExitCode;

mod cli;

// A run takes and gives back a great many small pieces.
#[cfg(madsim)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
