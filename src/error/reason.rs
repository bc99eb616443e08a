//! The list of everything that can go wrong, as a caller sees it.

use std::{fmt, str::FromStr};

use tonic::Code;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $grpc:ident, $exit:ident, $advice:literal;)*) => {
        /// Why a call failed: a stable code that programs may match on. `docs/ERRORS.md` lists
        /// them all.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of `docs/ERRORS.md`.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable code, as in `google.rpc.ErrorInfo.reason`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The gRPC status that goes with it.
            pub const fn grpc_code(self) -> Code {
                match self { $(Self::$name => Code::$grpc,)* }
            }

            /// What the program exits with.
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$name => exit::$exit,)* }
            }

            /// What the caller is to do about it: one sentence or two, for people.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

/// Exit codes of the program. They tell a script what kind of thing to do, not what went wrong.
pub mod exit {
    /// An error of Escapement itself.
    pub const INTERNAL: u8 = 1;
    /// The call was wrong; repeating it is useless.
    pub const USAGE: u8 = 2;
    /// What was named is not there.
    pub const NOT_FOUND: u8 = 3;
    /// What is there forbids it.
    pub const CONFLICT: u8 = 4;
    /// The same call may succeed later.
    pub const TRY_AGAIN: u8 = 5;
    /// The storage has no room.
    pub const STORAGE: u8 = 6;
    /// The server could not start.
    pub const START: u8 = 7;
}

reasons! {
    /// One or more fields of the request break their limits.
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, USAGE,
        "Correct the fields that the error names. Nothing was changed.";
    /// The page token is damaged, or was made for other filters.
    InvalidPageToken = "INVALID_PAGE_TOKEN", InvalidArgument, USAGE,
        "Start again from the first page, and keep the filters the same from page to page.";
    /// The request is larger than the server reads.
    RequestTooLarge = "REQUEST_TOO_LARGE", OutOfRange, USAGE,
        "Send fewer tasks in one batch, or keep large payloads elsewhere and pass a reference.";
    /// No such task in this namespace.
    TaskNotFound = "TASK_NOT_FOUND", NotFound, NOT_FOUND,
        "Check the id and the namespace; `escapement task list` shows what is there.";
    /// No such schedule in this namespace.
    ScheduleNotFound = "SCHEDULE_NOT_FOUND", NotFound, NOT_FOUND,
        "Check the id and the namespace; `escapement schedule list` shows what is there.";
    /// Another task with this id exists, with other content.
    TaskExists = "TASK_EXISTS", AlreadyExists, CONFLICT,
        "Use a new id for a different task; repeat a submission only with the same content.";
    /// The idempotency key was used for a task with other content.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT", AlreadyExists, CONFLICT,
        "Use a new idempotency key for a different task; repeat a submission only with the same content.";
    /// Another schedule with this id exists, with other content.
    ScheduleExists = "SCHEDULE_EXISTS", AlreadyExists, CONFLICT,
        "Choose another id, or delete the schedule first.";
    /// The task has ended; terminal states are for ever.
    TaskAlreadyEnded = "TASK_ALREADY_ENDED", FailedPrecondition, CONFLICT,
        "Nothing is left to cancel. Submit a new task if the work is to be done again.";
    /// The schedule's rule has no further occurrence.
    ScheduleFinished = "SCHEDULE_FINISHED", FailedPrecondition, CONFLICT,
        "Create a new schedule; one that has finished neither pauses nor resumes.";
    /// The server cannot reach its store.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable, TRY_AGAIN,
        "Try again after the time that the error names, or else after 5 s; if it lasts for a minute, look at the store's health.";
    /// It is not known whether the change was made.
    OutcomeUnknown = "OUTCOME_UNKNOWN", DeadlineExceeded, TRY_AGAIN,
        "Repeat the call with the same task id or idempotency key: what was done is then not done twice.";
    /// The storage has no room for the change.
    StorageFull = "STORAGE_FULL", ResourceExhausted, STORAGE,
        "Free disk space, or give the server a larger disk. Nothing that was acknowledged is lost.";
    /// The server has more to do than it can.
    Overloaded = "OVERLOADED", ResourceExhausted, TRY_AGAIN,
        "Try again after the time that the error names, and more slowly.";
    /// The server is about to stop.
    ShuttingDown = "SHUTTING_DOWN", Unavailable, TRY_AGAIN,
        "Try again: another server, or the same one after its restart, will answer.";
    /// Another server owns the shard, and could not be reached.
    NotOwner = "NOT_OWNER", Unavailable, TRY_AGAIN,
        "Try again: ownership has moved, or is moving.";
    /// The server's clock is too far off, or too unsure, to act by.
    ClockRejected = "CLOCK_REJECTED", Unavailable, TRY_AGAIN,
        "Try again, or another server; look at the clock of this one: its time daemon, and `escapement status`.";
    /// The client could not reach the server.
    ServerUnreachable = "SERVER_UNREACHABLE", Unavailable, TRY_AGAIN,
        "Check that the server runs and that the address is right.";
    /// The caller's own deadline passed before the answer came.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, TRY_AGAIN,
        "Repeat the call with the same task id or idempotency key, and with a longer deadline.";
    /// The call was cancelled by the caller.
    CallCancelled = "CALL_CANCELLED", Cancelled, TRY_AGAIN,
        "Repeat the call with the same task id or idempotency key.";
    /// The server does not know this call.
    Unimplemented = "UNIMPLEMENTED", Unimplemented, USAGE,
        "The server is older than the client, or is no Escapement server: check the address and the versions.";
    /// A key of the configuration is unknown, or its value breaks a limit.
    ConfigInvalid = "CONFIG_INVALID", FailedPrecondition, USAGE,
        "Correct the key that the error names in the file, the environment or the flags.";
    /// The address to listen on is in use.
    AddressInUse = "ADDRESS_IN_USE", FailedPrecondition, START,
        "Stop the process that listens there, or choose another address; port 0 takes any free port.";
    /// The address to listen on is not this machine's, or not allowed.
    AddressUnusable = "ADDRESS_UNUSABLE", FailedPrecondition, START,
        "Choose an address of this machine, and a port above 1023 unless the process may use lower ones.";
    /// Another process has the data directory open.
    DataDirLocked = "DATA_DIR_LOCKED", FailedPrecondition, START,
        "Stop the process that uses the data directory, or choose another directory.";
    /// The data directory was written by a newer version.
    DataFormatNewer = "DATA_FORMAT_NEWER", FailedPrecondition, START,
        "Run the version that wrote the data, or a newer one. The data was not touched.";
    /// The data directory is damaged or cannot be read.
    DataDirUnusable = "DATA_DIR_UNUSABLE", FailedPrecondition, START,
        "Check the path and its permissions, or name another with --data-dir. Damaged data is restored from a backup.";
    /// FoundationDB's cluster file is missing or malformed.
    ClusterFileUnusable = "CLUSTER_FILE_UNUSABLE", FailedPrecondition, START,
        "Copy the cluster file from a machine of the FoundationDB cluster, usually /etc/foundationdb/fdb.cluster.";
    /// FoundationDB's client library is not installed, or too old.
    ClientLibraryMissing = "CLIENT_LIBRARY_MISSING", FailedPrecondition, START,
        "Install the package foundationdb-clients, version 7.3 or newer; docs/foundationdb.md says how.";
    /// The FoundationDB cluster does not answer.
    ClusterUnreachable = "CLUSTER_UNREACHABLE", FailedPrecondition, START,
        "Run `fdbcli --exec 'status details'` on this machine: it says whether the cluster is up and reachable.";
    /// No `escapement store` answers at the address of the remote store.
    StoreUnreachable = "STORE_UNREACHABLE", FailedPrecondition, START,
        "Correct the address in server.store, or start `escapement store` of this version there.";
    /// The FoundationDB database is locked.
    DatabaseLocked = "DATABASE_LOCKED", FailedPrecondition, START,
        "A restore runs, or an operator locked the database: start again when it is over, or unlock it with `fdbcli`.";
    /// The key prefix is not this deployment's own.
    PrefixInUse = "PREFIX_IN_USE", FailedPrecondition, START,
        "Choose another prefix for this deployment, such as ?prefix=escapement/. Nothing was changed.";
    /// Another server serves the store.
    StoreInUse = "STORE_IN_USE", FailedPrecondition, START,
        "Stop the server that uses the store, or choose another store. One that has crashed is succeeded by itself.";
    /// An error of the server itself.
    Internal = "INTERNAL", Internal, INTERNAL,
        "This is a bug in Escapement: please report it, with the server's log of that moment.";
    /// The error is of a kind that this program does not know.
    Unknown = "UNKNOWN", Unknown, INTERNAL,
        "The server may be newer than the client: update the client, or look into the server's log.";
}

impl Reason {
    /// The reason that a bare gRPC status stands for: from a server that sent no details, from
    /// the transport, or from a newer server whose reason is not known here.
    pub const fn of_grpc_code(code: Code) -> Self {
        match code {
            Code::InvalidArgument => Self::InvalidArgument,
            Code::OutOfRange => Self::RequestTooLarge,
            Code::Unavailable => Self::ServerUnreachable,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::Cancelled => Self::CallCancelled,
            Code::Unimplemented => Self::Unimplemented,
            Code::ResourceExhausted => Self::Overloaded,
            Code::Internal | Code::DataLoss => Self::Internal,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The text is no code of a [`Reason`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{code}` is no reason that this version knows")]
pub struct UnknownReason {
    /// What was given.
    pub code: String,
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(code: &str) -> Result<Self, UnknownReason> {
        let found = Self::ALL.iter().copied().find(|reason| reason.code() == code);
        found.ok_or_else(|| UnknownReason { code: code.to_owned() })
    }
}
