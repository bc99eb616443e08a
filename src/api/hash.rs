//! Content hashes: do two requests say the same?
//!
//! A submission that is repeated under the same id or idempotency key is answered as before; a
//! different one is refused. The store keeps 64 bits of hash to tell them apart.
//!
//! - What is hashed is what the caller *wrote*, not what the server made of it: a delay stays a
//!   delay (the instant it comes to differs from try to try), and a field left to its default
//!   stays absent, so that a repetition is recognised by a server whose defaults have changed.
//! - Left out are the id (a repetition under an idempotency key may have another) and the
//!   idempotency window (it says how long to remember, not what to do).
//! - An empty namespace or time zone is the same name as its default, for ever.
//! - The encoding is prost's: fields in the order of their numbers, maps sorted, absent fields
//!   not at all. A field that is added later and not set changes no hash.
//! - The hash is XXH3 (64 bits; its output is frozen since xxHash 0.8.0). It need not resist an
//!   attacker: who makes two requests of his own collide only deceives himself.

use escapement_proto::v1;
use prost::Message;
use xxhash_rust::xxh3::Xxh3;

/// Hash of a task's content.
pub fn of_task(spec: &v1::TaskSpec) -> u64 {
    let payload = spec.payload.clone();
    // Cheap: the payload is shared, and taken out before encoding, so it is never copied.
    let content = v1::TaskSpec {
        id: String::new(),
        namespace: or_default(&spec.namespace, "default"),
        payload: None,
        idempotency_window: None,
        ..spec.clone()
    };
    of(b"task", &content, payload.as_ref())
}

/// Hash of a schedule's content.
pub fn of_schedule(spec: &v1::ScheduleSpec) -> u64 {
    let mut content = v1::ScheduleSpec {
        id: String::new(),
        namespace: or_default(&spec.namespace, "default"),
        time_zone: or_default(&spec.time_zone, "UTC"),
        ..spec.clone()
    };
    let payload = content.task.as_mut().and_then(|task| task.payload.take());
    of(b"schedule", &content, payload.as_ref())
}

/// Hash of a message that has no payload, such as the filters of a list. `kind` keeps messages of
/// different kinds apart.
pub fn of_message(kind: &[u8], message: &impl Message) -> u64 {
    of(kind, message, None)
}

fn of(kind: &[u8], message: &impl Message, payload: Option<&v1::Payload>) -> u64 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        // With its length in front, no part runs into the next.
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(kind);
    part(&message.encode_to_vec());
    if let Some(payload) = payload {
        part(payload.content_type.as_bytes());
        part(&payload.data);
    }
    hash.digest()
}

fn or_default(name: &str, default: &str) -> String {
    if name.is_empty() { default } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use escapement_proto::v1::task_spec::When;
    use prost_types::Duration;

    use super::*;

    fn spec() -> v1::TaskSpec {
        v1::TaskSpec {
            queue: "mail".into(),
            payload: Some(v1::Payload {
                data: Bytes::from_static(b"hello"),
                content_type: "text/plain".into(),
                ..Default::default()
            }),
            when: Some(When::Delay(Duration { seconds: 5, nanos: 0 })),
            ..v1::TaskSpec::default()
        }
    }

    #[test]
    fn equal_content_has_one_hash_whatever_its_id_and_window() {
        let same = v1::TaskSpec {
            id: "018bcfe5-6800-7000-8000-000000000001".into(),
            namespace: "default".into(),
            idempotency_window: Some(Duration { seconds: 9, nanos: 0 }),
            ..spec()
        };
        assert_eq!(of_task(&same), of_task(&spec()));
    }

    #[test]
    fn hashes_are_stored_so_they_never_change() {
        assert_eq!(of_task(&spec()), 15_092_428_648_565_122_725);
        let schedule = v1::ScheduleSpec { id: "daily".into(), ..v1::ScheduleSpec::default() };
        assert_eq!(of_schedule(&schedule), 13_894_620_572_981_706_958);
    }

    #[test]
    fn every_other_field_counts() {
        let check = |change: fn(&mut v1::TaskSpec)| {
            let mut other = spec();
            change(&mut other);
            assert_ne!(of_task(&other), of_task(&spec()), "{other:?}");
        };
        check(|s| s.namespace = "other".into());
        check(|s| s.queue = "sms".into());
        check(|s| s.payload = None);
        check(|s| s.payload.get_or_insert_default().data = Bytes::from_static(b"hellO"));
        check(|s| s.payload.get_or_insert_default().content_type = "text/plai".into());
        check(|s| s.when = None);
        check(|s| s.when = Some(When::Delay(Duration { seconds: 6, nanos: 0 })));
        check(|s| s.priority = 1);
        check(|s| s.retry = Some(v1::RetryPolicy::default()));
        check(|s| s.attempt_timeout = Some(Duration::default()));
        check(|s| s.deadline = Some(prost_types::Timestamp::default()));
        check(|s| s.idempotency_key = "k".into());
        check(|s| {
            s.labels.insert("a".into(), "b".into());
        });
    }
}
