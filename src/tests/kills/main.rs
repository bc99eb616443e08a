//! Real processes, really killed. The claims of S1, S3 and D1 (see the design) against the
//! program as users run it; and histories of such runs, judged by the simulation's checkers.

#![allow(
    clippy::await_holding_lock,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "tests: a failed step is a failed test, and they poll for conditions"
)]

use escapement_chaos::history;

#[path = "../child/mod.rs"]
mod child;
mod data_dir;
mod disk_full;
mod judge;
mod judged;
mod process;
mod record;
#[allow(dead_code, reason = "shared with the simulation, which has a log of commits, too")]
#[path = "../../../chaos/src/run/rows.rs"]
mod rows;
mod server_killed;
mod sink;
mod store_killed;
mod worker_killed;
