//! The kinds of keys, the shape of each, and what stands behind it.
//!
//! A stored format is for ever: a kind keeps its code, its parts and their order. New kinds
//! take new codes; a code that has been given up is never used again.

/// One part of a key after its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An unsigned integer of 32 bits; what it counts.
    Number(&'static str),
    /// Milliseconds of Unix time; of what.
    Instant(&'static str),
    /// A UUID; of what.
    Id(&'static str),
    /// UTF-8 text; what it names.
    Text(&'static str),
}

impl Part {
    /// What the part is, as `docs/KEYSPACE.md` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number(name) | Self::Instant(name) | Self::Id(name) | Self::Text(name) => name,
        }
    }
}

/// What stands behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The format byte and a message of this name.
    Record(&'static str),
    /// Bytes as they are; of what.
    Raw(&'static str),
}

impl Value {
    /// What it is, as `docs/KEYSPACE.md` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record(name) | Self::Raw(name) => name,
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal $name:literal [$($part:ident $what:literal),*] $value:ident $stored:literal;)*) => {
        /// First part of every key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Kind {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The kind of a stored code.
            pub const fn of(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name in errors.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The parts of its keys after the kind.
            pub const fn parts(self) -> &'static [Part] {
                match self { $(Self::$variant => &[$(Part::$part($what)),*],)* }
            }

            /// What stands behind its keys.
            pub const fn value(self) -> Value {
                match self { $(Self::$variant => Value::$value($stored),)* }
            }
        }
    };
}

kinds! {
    /// The cluster's own record.
    Cluster = 1 "cluster" [] Record "ClusterRecord";
    /// A live scheduler process.
    Member = 2 "member" [Id "session"] Record "MemberRecord";
    /// Who owns a shard.
    ShardLease = 3 "shard lease" [Number "shard"] Record "ShardLeaseRecord";
    /// What was submitted.
    Task = 4 "task" [Number "shard", Id "task"] Record "TaskRecord";
    /// Where a task stands.
    Head = 5 "head" [Number "shard", Id "task"] Record "HeadRecord";
    /// A chunk of a payload.
    Payload = 6 "payload" [Number "shard", Id "task", Number "chunk"] Raw "payload bytes";
    /// A chunk of a result.
    Result = 7 "result" [Number "shard", Id "task", Number "chunk"] Raw "result bytes";
    /// An ended attempt that was not the last.
    History = 8 "history" [Number "shard", Id "task", Number "attempt"] Record "AttemptRecord";
    /// An entry of the due index.
    Due = 9 "due" [
        Number "shard", Text "namespace", Text "queue", Number "priority", Instant "due", Id "task"
    ] Record "DueRecord";
    /// The right of a session to run an attempt.
    Lease = 10 "lease" [Number "shard", Id "task"] Record "LeaseRecord";
    /// An idempotency key.
    Idempotency = 11 "idempotency" [Text "namespace", Text "idempotency key"] Record "IdempotencyRecord";
    /// A schedule.
    Schedule = 12 "schedule" [Text "namespace", Text "schedule id"] Record "ScheduleRecord";
    /// The next instant of a schedule.
    Tick = 13 "tick" [Number "shard", Instant "next instant", Id "schedule uid"] Record "TickRecord";
    /// The last schedule deleted under an id.
    ScheduleDeletion = 14 "schedule deletion" [Text "namespace", Text "schedule id"] Record "ScheduleDeletionRecord";
}

impl Kind {
    /// The code that keys begin with.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// Its keys as a tuple of names, such as `(4, shard, task)`.
    pub fn shape(self) -> String {
        let mut shape = format!("({}", self.code());
        for part in self.parts() {
            shape.push_str(", ");
            shape.push_str(part.name());
        }
        shape.push(')');
        shape
    }
}
