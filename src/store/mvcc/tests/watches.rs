//! How watches end, and the room that they take.

use futures_util::FutureExt as _;

use super::{TestClock, bytes};
use crate::store::{
    StoreError,
    memory::MemoryBase,
    mvcc::{Core, Versions, Window, watches::Watches},
};

#[test]
fn however_a_watch_ends_its_room_is_given_back_once() {
    let watches = Watches::new(2);
    let key = bytes("k");
    let register = || watches.register(key.clone(), None);
    let is_full = || register().is_err_and(|error| error.code == StoreError::TOO_MANY_WATCHES);
    for round in 0..3 {
        let (fired, dropped) = (register().unwrap(), register().unwrap());
        assert!(is_full(), "round {round}");
        watches.changed(&key, None);
        assert!(is_full(), "the value is what they have seen, round {round}");
        drop(dropped);
        watches.changed(&key, Some(&bytes("v")));
        assert!(watches.is_empty(), "round {round}");
        assert_eq!(fired.wait().now_or_never(), Some(Ok(())));
        let [_one, _other] = [register().unwrap(), register().unwrap()];
        assert!(is_full(), "a fired one gave its room back twice, round {round}");
    }
}

#[test]
fn watches_end_with_1101_when_the_store_closes() {
    let core = Core::new(MemoryBase::default(), Versions::new(TestClock::new(), 1), Window::default(), 1 << 60, 2);
    let waiting = core.watch(bytes("a"), None).unwrap();
    let kept = core.watch(bytes("b"), None).unwrap();
    core.end_watches();
    let code = waiting.wait().now_or_never().map(|end| end.unwrap_err().code);
    assert_eq!(code, Some(StoreError::OPERATION_CANCELLED));
    // Letting go of one that has ended gives back nothing.
    drop(kept);
    let _room = [core.watch(bytes("a"), None).unwrap(), core.watch(bytes("a"), None).unwrap()];
    assert!(core.watch(bytes("a"), None).is_err_and(|error| error.code == StoreError::TOO_MANY_WATCHES));
}
