//! The embedded store in a process of its own, which is killed with -9 again and again while it
//! opens, writes and flushes. No acknowledged commit is ever missing, none is there in part.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: a failed step is a failed test"
)]

mod check;
mod loops;
mod plan;
mod process;
mod writer;

use std::{path::Path, sync::Arc};

use escapement::{
    edge::SystemClock,
    rng::Rng,
    store::{Database, EmbeddedEngine, EmbeddedOptions, embedded::OpenError},
};

/// How the store is set up: so that much happens in little time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// As users have it.
    Usual,
    /// Short window, small segments: the flusher and the log's rotation have much to do.
    Hasty,
    /// A small window: commits wait for the flusher, which never rests.
    Narrow,
}

impl Setup {
    pub(crate) const ALL: [Self; 3] = [Self::Usual, Self::Hasty, Self::Narrow];

    fn options(self) -> EmbeddedOptions {
        let hasty = EmbeddedOptions {
            window_ms: 300,
            window_ms_min: 100,
            segment_bytes: 128 << 10,
            disk_free_bytes_min: 0,
            ..EmbeddedOptions::default()
        };
        match self {
            Self::Usual => EmbeddedOptions::default(),
            Self::Hasty => hasty,
            Self::Narrow => EmbeddedOptions { window_bytes_max: 512 << 10, ..hasty },
        }
    }
}

fn open(dir: &Path, setup: Setup) -> Result<(EmbeddedEngine, Database), OpenError> {
    let clock = Arc::new(SystemClock::new());
    let engine = EmbeddedEngine::open(dir, setup.options(), clock.clone())?;
    let database = Database::over(Arc::new(engine.clone()), clock, Rng::from_seed(0));
    Ok((engine, database))
}
