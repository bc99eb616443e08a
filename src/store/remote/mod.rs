//! The remote store: any engine, served to several processes over gRPC.
//!
//! [`StoreServer`] serves an [`Engine`](super::engine::Engine), [`RemoteEngine`] is an engine
//! that asks such a server. It has no authentication: it is for development and tests on one
//! machine, and for the simulator, which serves its own engine with the same code. Production
//! clusters use FoundationDB.
//!
//! # The stream
//!
//! Everything of a client goes over one bidirectional stream, multiplexed by request ids. A
//! lone request goes at once; while the stream is busy, requests gather into one message, and
//! so do answers. Every queue has a bound: `Welcome` tells the client how many requests and
//! bytes may be under way, the server reserves the room of a read's answer before it reads,
//! and a client that breaks the bounds, says nothing or does not read is cut off.
//!
//! Neither side trusts the transport to notice a dead peer: the client pings five times in
//! [`RemoteOptions::silence_max`], and a stream on which nothing came for so long is given up
//! and replaced, with growing, jittered pauses. The server likewise forgets a client of which
//! it hears nothing for [`ServerOptions::silence_max`]. Ends are said aloud (`Goodbye`).
//!
//! # When a stream breaks
//!
//! Reads and requests for a read version change nothing, so they are sent again on the next
//! stream, as FoundationDB's client does; the transaction's own timeout bounds them. Watches
//! are set again with the value that they wait to see changed, so a change meanwhile fires
//! them at once. Commits that had not been handed to the stream are sent on the next one.
//!
//! A commit that was handed to the stream and not answered ends with 1021
//! `commit_unknown_result`. That code promises two things to the retry loop: it may have been
//! committed, and **it is not in flight any more**. The second is why it cannot be raised when
//! the stream breaks: what was sent may still lie in a socket's buffer, or in the queue of a
//! network that was cut and will heal, and be committed after the retry has looked for its
//! marker and found none. So:
//!
//! 1. Each stream begins with `Hello`: the client's incarnation (16 random bytes) and a number
//!    greater than those of all its streams before. A client sends commits only after
//!    `Welcome`, and gives up a stream for ever before it opens the next.
//! 2. On `Hello` the server *fences*: it notes the number as the client's newest. A commit is
//!    begun under the same lock only if its stream is the newest, so from here on nothing that
//!    arrives on an older stream begins, however late it arrives.
//! 3. The server waits until all commits that older streams had begun have ended.
//! 4. Only then it says `Welcome`. Now each commit of an older stream has either ended or will
//!    never begin, and the client ends those without an answer with 1021.
//!
//! Until a `Welcome` comes, such commits wait; their transactions' timeouts bound that (1031,
//! after which nobody retries blindly).
//!
//! *The server forgets a client* when no stream and no commit of it is left. A `Hello` that
//! then arrives late finds no fence, but no commits follow it: its client has given it up.
//!
//! *The server was restarted in between.* Its streams died with the old process, so nothing can
//! arrive on them, and the new one answers only when the engine beneath is open. An exclusive
//! engine (embedded) can be opened only once the old process is gone, and recovery has then
//! decided for each commit of it whether it is in the log or is not: none is in flight. An
//! engine that outlives its server's process must itself see to it that what a dead server
//! had begun has ended before a new one serves. (FoundationDB's recovery does that: the new
//! generation of the log locks out the old.)
//!
//! # What to read
//! `wire` (conversion), `server` (registry of fences, one session), `engine` (the client as an
//! engine), `book` (its requests), `link` (its stream).

mod book;
mod engine;
mod link;
mod server;
mod wire;

pub use self::{
    engine::{ConnectError, RemoteEngine, RemoteOptions},
    server::{ServerOptions, StoreServer},
};

use std::time::Duration;

use crate::store::limits::TRANSACTION_BYTES_MAX;

/// Of the messages on the stream. Both sides must have the same.
const PROTOCOL_VERSION: u32 = 1;

/// Bytes of a message above which nothing more is gathered into it.
const GATHER_BYTES: usize = 256 << 10;

/// Bytes of a message that either side accepts: what had been gathered, and a transaction of
/// the largest kind.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Beats without a sign of life that are tolerated; with one more, the silence has lasted.
const BEATS_IN_SILENCE: u32 = 4;

/// A transaction encodes to less than twice what it counts for against its limit.
const _: () = assert!(MESSAGE_BYTES_MAX > GATHER_BYTES + 2 * TRANSACTION_BYTES_MAX);

/// Bytes of the ids by which clients and servers know each other's incarnations.
const INCARNATION_BYTES: usize = 16;

/// One incarnation of a client or server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Incarnation([u8; INCARNATION_BYTES]);

impl Incarnation {
    fn draw(rng: &crate::rng::Rng) -> Self {
        Self(rng.u128().to_be_bytes())
    }

    fn from_wire(bytes: &[u8], field: &'static str) -> Result<Self, wire::WireError> {
        let fixed = bytes.try_into().map(Self);
        fixed.map_err(|_| wire::WireError::new(field, format!("{} bytes", bytes.len()), "16 bytes"))
    }

    fn to_wire(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&self.0)
    }
}

impl std::fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// How often a side that tolerates this silence looks whether there was one. The last message
/// may have come just before a beat or just after, so silences of four fifths of it and more
/// are found.
fn beat(silence_max: Duration) -> Duration {
    (silence_max / (BEATS_IN_SILENCE + 1)).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests;
