//! The decisions of Escapement, and nothing else: time goes in, plans come out.
//!
//! Nothing here awaits, reads a clock, draws a random number or touches a file. Callers
//! pass `now` and, where chance is wanted, the random bits. So the same calls give the
//! same answers on a server, in the simulator and in a property test.

pub mod calendar;
pub mod cluster;
pub mod cluster_time;
pub mod dispatch;
pub mod id;
pub mod leap;
pub mod limits;
pub mod name;
pub mod parted;
pub mod planted;
pub mod retry;
pub mod suggest;
pub mod text;
pub mod time;
pub mod wheel;

pub use id::{Epoch, ScheduleUid, SessionId, ShardId, TaskId, Token};
pub use time::{Monotonic, Timestamp};
