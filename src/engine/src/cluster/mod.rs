//! The cluster's own decisions: who lives, and who owns which shard.

mod assign;
mod members;

pub use self::{
    assign::{LOAD_SLACK, ShardNow, assign, moved},
    members::{FLAP_MEMORY, FLAP_WAIT, FLAP_WAIT_MAX, Members, Seen},
};
