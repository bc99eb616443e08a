//! Any record of each kind that can be.

use std::{collections::BTreeMap, ops::Range};

use escapement_engine::{Epoch, ScheduleUid};
use proptest::{option, prelude::*, sample::select};

use super::*;
use crate::model::{RuleSpec, ScheduleSpec, ScheduleState};

/// Within what the format can hold: milliseconds of 64 bits, either sign.
pub(super) fn instant() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(i64::MIN), Just(-1), Just(0), Just(i64::MAX), any::<i64>()].prop_map(Timestamp::from_unix_ms)
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(1), Just(u64::MAX), 1..100_000u64].prop_map(Duration::from_millis)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), any::<String>()]
}

fn blob(length: Range<usize>) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), length).prop_map(Bytes::from)
}

fn namespace() -> impl Strategy<Value = Namespace> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|name| Namespace::new(&name).unwrap())
}

fn queue() -> impl Strategy<Value = QueueName> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,127}".prop_map(|name| QueueName::new(&name).unwrap())
}

fn schedule_id() -> impl Strategy<Value = ScheduleId> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,127}".prop_map(|name| ScheduleId::new(&name).unwrap())
}

fn any_session() -> impl Strategy<Value = SessionId> {
    any::<[u8; 16]>().prop_map(SessionId::from_bytes)
}

fn priority() -> impl Strategy<Value = Priority> {
    select(vec![Priority::High, Priority::Medium, Priority::Low])
}

fn payload() -> impl Strategy<Value = Payload> {
    (blob(0..50), text()).prop_map(|(data, content_type)| Payload { data, content_type, truncated: false })
}

fn meta() -> impl Strategy<Value = Option<PayloadMeta>> {
    option::of((any::<u64>(), text()).prop_map(|(bytes, content_type)| PayloadMeta {
        bytes,
        content_type,
        truncated: false,
    }))
}

fn occurrence() -> impl Strategy<Value = Option<Occurrence>> {
    let any = (schedule_id(), option::of(instant()), option::of(any::<[u8; 16]>().prop_map(ScheduleUid::from_bytes)));
    option::of(any.prop_map(|(schedule, nominal, uid)| Occurrence { schedule, nominal, uid }))
}

fn error() -> impl Strategy<Value = TaskError> {
    (text(), text(), any::<bool>(), payload(), any::<bool>()).prop_map(
        |(kind, message, non_retryable, details, truncated)| TaskError {
            kind,
            message,
            non_retryable,
            details: Payload { truncated, ..details },
        },
    )
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let other =
        (1..1000u32, 1..1000u64, 1000..100_000u32, 1000..9000u64, 0..1000u32, proptest::collection::vec(text(), 0..3));
    let other = other.prop_map(|(max_attempts, initial, multiplier_milli, max, jitter_milli, non_retryable_errors)| {
        RetryPolicy {
            max_attempts,
            initial_backoff: Duration::from_millis(initial),
            multiplier_milli,
            max_backoff: Duration::from_millis(max),
            jitter_milli,
            non_retryable_errors,
        }
    });
    prop_oneof![Just(RetryPolicy::default()), other]
}

fn template(payload: impl Strategy<Value = Payload>) -> impl Strategy<Value = Template> {
    let labels = proptest::collection::btree_map(text(), text(), 0..4);
    (queue(), payload, priority(), retry(), span(), labels).prop_map(
        |(queue, payload, priority, retry, attempt_timeout, labels): (_, _, _, _, _, BTreeMap<_, _>)| Template {
            queue,
            payload,
            priority,
            retry,
            attempt_timeout,
            labels,
        },
    )
}

pub(super) fn due() -> impl Strategy<Value = DueEntry> {
    let counts = (0..u32::MAX - 1, 1..1000u32, any::<u32>());
    (counts, span(), option::of(instant()), meta(), occurrence()).prop_map(
        |((attempts, more, tokens), attempt_timeout, deadline, payload, occurrence)| DueEntry {
            attempts,
            token: Token(u64::from(attempts) + u64::from(tokens)),
            max_attempts: attempts.saturating_add(more),
            attempt_timeout,
            deadline,
            payload,
            occurrence,
        },
    )
}

pub(super) fn leases() -> impl Strategy<Value = Lease> {
    let names = (any_session(), text(), namespace(), queue(), priority());
    (names, 1..1000u64, instant(), instant(), span(), due()).prop_map(
        |((session, worker_name, namespace, queue, priority), more, due, started, session_lease, entry)| Lease {
            session,
            worker_name,
            token: Token(entry.token.0 + more),
            attempt: entry.attempts + 1,
            namespace,
            queue,
            priority,
            due,
            started,
            session_lease,
            entry,
        },
    )
}

pub(super) fn attempts() -> impl Strategy<Value = Attempt> {
    use AttemptOutcome::{Cancelled, Failed, LeaseExpired, Succeeded, TimedOut};
    let outcome = select(vec![Succeeded, Failed, TimedOut, LeaseExpired, Cancelled]);
    (1..u32::MAX, 1..u64::MAX, any_session(), text(), (instant(), instant(), outcome), option::of(error())).prop_map(
        |(number, token, session, worker_name, (started, ended, outcome), error)| Attempt {
            number,
            token: Token(token),
            session,
            worker_name,
            started,
            ended: Some((ended, outcome)),
            error,
        },
    )
}

pub(super) fn tasks() -> impl Strategy<Value = StoredTask> {
    let times = (instant(), option::of(instant()), instant());
    (namespace(), template(Just(Payload::default())), meta(), times, text(), occurrence(), any::<u64>()).prop_map(
        |(namespace, template, payload, (due, deadline, submitted), idempotency_key, occurrence, content_hash)| {
            StoredTask {
                namespace,
                template,
                payload,
                due,
                deadline,
                idempotency_key,
                submitted,
                occurrence,
                content_hash,
            }
        },
    )
}

pub(super) fn heads() -> impl Strategy<Value = Head> {
    use TaskState::{Cancelled, DeadLettered, Failed, Scheduled, Succeeded};
    let state = (select(vec![Scheduled, Succeeded, Failed, Cancelled, DeadLettered]), instant(), meta());
    let state = (state, any::<bool>());
    (state, any::<u32>(), any::<u64>(), instant(), option::of(attempts()), text(), option::of(error())).prop_map(
        |(((state, ended, result), truncated), attempts, token, due, last, cancel_reason, ended_by)| Head {
            state,
            attempts,
            token: Token(token),
            due,
            finished: state.is_terminal().then_some(ended),
            last,
            result: result.filter(|_| state == Succeeded).map(|result| PayloadMeta { truncated, ..result }),
            cancel_reason,
            ended_by,
        },
    )
}

pub(super) fn idempotencies() -> impl Strategy<Value = IdempotencyRow> {
    (any::<[u8; 16]>(), any::<u64>(), instant()).prop_map(|(task, content_hash, expires)| IdempotencyRow {
        task: TaskId::from_bytes(task),
        content_hash,
        expires,
    })
}

pub(super) fn clusters() -> impl Strategy<Value = Cluster> {
    (1..u32::MAX, 1..u32::MAX).prop_map(|(format_version, shards)| Cluster { format_version, shards })
}

pub(super) fn members() -> impl Strategy<Value = Member> {
    (any::<u64>(), span(), text(), instant()).prop_map(|(beat, lease, address, started)| Member {
        beat,
        lease,
        address,
        started,
    })
}

pub(super) fn shard_leases() -> impl Strategy<Value = ShardLease> {
    (option::of(any_session()), any::<u64>()).prop_map(|(owner, epoch)| ShardLease { owner, epoch: Epoch(epoch) })
}

pub(super) fn schedules() -> impl Strategy<Value = ScheduleRow> {
    let interval = (span(), instant()).prop_map(|(every, anchor)| RuleSpec::Interval { every, anchor });
    let rule = prop_oneof![text().prop_map(RuleSpec::Cron), interval];
    let bounds = (option::of(span()), option::of(instant()), option::of(instant()), any::<u64>());
    let spec = (schedule_id(), namespace(), rule, text(), template(payload()), bounds).prop_map(
        |(id, namespace, rule, time_zone, template, (deadline_after, start, end, content_hash))| ScheduleSpec {
            id,
            namespace,
            rule,
            time_zone,
            template,
            deadline_after,
            start,
            end,
            content_hash,
        },
    );
    let states = select(vec![ScheduleState::Active, ScheduleState::Paused, ScheduleState::Finished]);
    (spec, any::<[u8; 16]>(), states, (instant(), instant(), option::of(instant())), any::<[u64; 2]>()).prop_map(
        |(spec, uid, state, (created, next, last), [occurrences, revision])| ScheduleRow {
            spec,
            uid: ScheduleUid::from_bytes(uid),
            state,
            created,
            next: (state == ScheduleState::Active).then_some(next),
            last,
            occurrences,
            revision,
        },
    )
}

pub(super) fn schedule_deletions() -> impl Strategy<Value = ScheduleDeletion> {
    (any::<[u8; 16]>(), 1..=u64::MAX)
        .prop_map(|(uid, deletions)| ScheduleDeletion { uid: ScheduleUid::from_bytes(uid), deletions })
}

pub(super) fn ticks() -> impl Strategy<Value = Tick> {
    (namespace(), schedule_id()).prop_map(|(namespace, id)| Tick { namespace, id })
}
