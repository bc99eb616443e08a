//! The API edge of the server: requests come in, are validated and handed to a [`Backend`];
//! what it answers is put into messages again.
//!
//! Nothing here touches the store or keeps state. A request is either turned into the types
//! of [`crate::model`], in which every limit holds, or refused with *all* its faults at
//! once, each with field, value and limit; what is refused has changed nothing. So the
//! scheduler behind [`Backend`] never checks a limit of the API again.
//!
//! - [`validate`]: messages to model. - [`convert`]: model to messages. - [`page`]: page tokens.
//! - [`hash`]: recognises a repeated submission. - The services themselves: thin.

pub mod backend;
pub mod convert;
mod error;
pub mod hash;
pub mod page;
pub mod validate;

mod admin_service;
mod batch;
mod preview;
mod schedule_service;
mod task_service;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

pub use admin_service::AdminServiceImpl;
pub use backend::Backend;
use escapement_engine::limits::{PAYLOAD_BYTES_CEILING, PAYLOAD_BYTES_MAX};
pub use schedule_service::ScheduleServiceImpl;
pub use task_service::TaskServiceImpl;

use crate::{clock::SharedClock, rng::Rng};

/// Everything of a task but its payload, encoded: labels, error kinds, names, with room to spare.
const TASK_OVERHEAD_BYTES: usize = 64 << 10;
/// Least size of a request that is read: a thousand small tasks in a batch.
const REQUEST_BYTES_MIN: usize = 8 << 20;
/// Rows of a page stop here, so that a page stays below the 4 MiB that gRPC clients accept
/// unless told otherwise.
pub(crate) const PAGE_BYTES_MAX: usize = 2 << 20;

/// Limits that the operator may configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Bytes of a payload, at most `PAYLOAD_BYTES_CEILING` (8 MiB).
    pub payload_bytes_max: usize,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self { payload_bytes_max: PAYLOAD_BYTES_MAX }
    }
}

impl ApiLimits {
    /// Bytes of the largest request that is read. Well above the largest valid payload, so that
    /// one that is somewhat too large is told as a field that breaks its limit.
    pub const fn request_bytes_max(&self) -> usize {
        let twice = 2 * self.payload_bytes_max + TASK_OVERHEAD_BYTES;
        if twice > REQUEST_BYTES_MIN { twice } else { REQUEST_BYTES_MIN }
    }
}

/// What the services share.
#[derive(Debug)]
pub struct Api<B> {
    backend: Arc<B>,
    clock: SharedClock,
    rng: Rng,
    limits: ApiLimits,
}

// By hand: a derive would ask for `B: Clone`.
impl<B> Clone for Api<B> {
    fn clone(&self) -> Self {
        let Self { backend, clock, rng, limits } = self;
        Self { backend: backend.clone(), clock: clock.clone(), rng: rng.clone(), limits: *limits }
    }
}

impl<B: Backend> Api<B> {
    /// # Panics
    /// When `limits.payload_bytes_max` is above `PAYLOAD_BYTES_CEILING`: the configuration was
    /// to refuse it.
    pub fn new(backend: Arc<B>, clock: SharedClock, rng: Rng, limits: ApiLimits) -> Self {
        assert!(limits.payload_bytes_max <= PAYLOAD_BYTES_CEILING, "a payload must fit one transaction");
        Self { backend, clock, rng, limits }
    }

    /// The limits that requests are held to.
    pub fn limits(&self) -> ApiLimits {
        self.limits
    }

    /// Submit, read, cancel and watch tasks.
    pub fn task_service(&self) -> TaskServiceImpl<B> {
        TaskServiceImpl::new(self.clone())
    }

    /// Create, read and steer schedules.
    pub fn schedule_service(&self) -> ScheduleServiceImpl<B> {
        ScheduleServiceImpl::new(self.clone())
    }

    /// For operators.
    pub fn admin_service(&self) -> AdminServiceImpl<B> {
        AdminServiceImpl::new(self.clone())
    }
}
