//! The `escapement` program. `docs/CLI.md` tells what it does.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    escapement::cli::main()
}
