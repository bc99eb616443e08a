//! Every record reads back; bytes that are none are refused, never a panic.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{samples::*, *};

/// What happens to the bytes of a record: replaced, put in, taken out, cut off, repeated.
type Edits = Vec<(Index, u8, u8)>;

fn edits() -> impl Strategy<Value = Edits> {
    vec((any::<Index>(), any::<u8>(), 0..5u8), 1..4)
}

fn damaged(bytes: &Bytes, edits: &Edits) -> Bytes {
    let mut bytes = bytes.to_vec();
    for (index, byte, edit) in edits {
        // The format byte has a test of its own.
        let at = 1 + index.index(bytes.len());
        match edit {
            0 => bytes.insert(at, *byte),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_within(at.min(bytes.len())..),
            _ if at == bytes.len() => bytes.push(*byte),
            3 => bytes[at] = *byte,
            _ => drop(bytes.remove(at)),
        }
    }
    bytes.into()
}

/// What is taken is a record that can be: it reads back, and its bytes stay the same from then
/// on. (Fields of later versions are passed over, so the bytes that came in may be longer.)
fn taken_as_a_record<R: Record + PartialEq + std::fmt::Debug>(bytes: &Bytes) -> Result<(), TestCaseError> {
    if let Ok(record) = R::decode(bytes) {
        let again = record.encode();
        let read = R::decode(&again);
        prop_assert_eq!(read.as_ref(), Ok(&record));
        prop_assert_eq!(record.encode(), again);
    }
    Ok(())
}

fn reads_back_and_survives<R: Record + PartialEq + std::fmt::Debug>(
    record: &R,
    edits: &Edits,
) -> Result<(), TestCaseError> {
    let bytes = record.encode();
    let read = R::decode(&bytes);
    prop_assert_eq!(read.as_ref(), Ok(record));
    taken_as_a_record::<R>(&damaged(&bytes, edits))?;
    for format in (0..=u8::MAX).filter(|format| *format != FORMAT) {
        let mut other = bytes.to_vec();
        other[0] = format;
        prop_assert!(R::decode(&other.into()).is_err());
    }
    Ok(())
}

macro_rules! every_record {
    ($($name:ident: $record:ty = $any:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(record in $any, edits in edits()) {
                    reads_back_and_survives::<$record>(&record, &edits)?;
                }
            )*

            #[test]
            fn arbitrary_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..200), known in any::<bool>()) {
                if known && !bytes.is_empty() {
                    bytes[0] = FORMAT;
                }
                let bytes = Bytes::from(bytes);
                $(taken_as_a_record::<$record>(&bytes)?;)*
            }

            /// Bytes of one kind behind a key of another: refused, or a record all the same.
            #[test]
            fn records_of_other_kinds_never_panic(one in leases(), two in schedules(), three in heads()) {
                for bytes in [one.encode(), two.encode(), three.encode()] {
                    $(taken_as_a_record::<$record>(&bytes)?;)*
                }
            }
        }
    };
}

every_record! {
    cluster_records_read_back_and_damaged_ones_never_panic: Cluster = clusters();
    member_records_read_back_and_damaged_ones_never_panic: Member = members();
    shard_lease_records_read_back_and_damaged_ones_never_panic: ShardLease = shard_leases();
    task_records_read_back_and_damaged_ones_never_panic: StoredTask = tasks();
    head_records_read_back_and_damaged_ones_never_panic: Head = heads();
    attempt_records_read_back_and_damaged_ones_never_panic: Attempt = attempts();
    due_records_read_back_and_damaged_ones_never_panic: DueEntry = due();
    lease_records_read_back_and_damaged_ones_never_panic: Lease = leases();
    idempotency_records_read_back_and_damaged_ones_never_panic: IdempotencyRow = idempotencies();
    schedule_records_read_back_and_damaged_ones_never_panic: ScheduleRow = schedules();
    schedule_deletion_records_read_back_and_damaged_ones_never_panic: ScheduleDeletion = schedule_deletions();
    tick_records_read_back_and_damaged_ones_never_panic: Tick = ticks();
}
