//! A whole server in this process, with the SDK's worker and client over the loopback.

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

mod catch_up;
mod clock;
mod crontab_year;
mod lifecycle;
mod oracle;
mod world;
