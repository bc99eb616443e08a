//! The seam to chance. Ids, jitter and tie-breaks draw from an [`Rng`], so that a seed can
//! decide them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use escapement_engine::{Timestamp, id};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// A source of random bits that many parts share. Not for secrets.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

impl Rng {
    /// Seeded by the operating system (by the simulator's seed, in simulation).
    #[expect(clippy::disallowed_methods, reason = "this is the source")]
    pub fn from_entropy() -> Self {
        Self::from_seed(rand::rng().next_u64())
    }

    /// The same seed gives the same bits.
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// 32 random bits.
    pub fn u32(&self) -> u32 {
        self.with(rand::Rng::next_u32)
    }

    /// 64 random bits.
    pub fn u64(&self) -> u64 {
        self.with(rand::Rng::next_u64)
    }

    /// 128 random bits.
    pub fn u128(&self) -> u128 {
        self.with(|rng| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
    }

    /// A new task id of this instant.
    pub fn task_id(&self, now: Timestamp) -> id::TaskId {
        id::TaskId::from_parts(now, self.u128())
    }

    /// A new session id of this instant.
    pub fn session_id(&self, now: Timestamp) -> id::SessionId {
        id::SessionId::from_parts(now, self.u128())
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
