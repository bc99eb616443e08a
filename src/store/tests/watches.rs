//! Watches begin with the commit, live on after it, and fail with it.

use super::*;

fn is_pending(watch: &mut BoxFuture<'static, Result<(), StoreError>>) -> bool {
    watch.now_or_never().is_none()
}

#[test]
fn a_later_write_of_the_transaction_itself_fires_unless_it_changes_nothing() {
    let it = setup(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]);
    let tx = it.db.begin();
    tx.set("c", "5").unwrap();
    let [a, mut b, c, mut d, e] = ["a", "b", "c", "d", "e"].map(|key| tx.raw().watch(key.into()));
    tx.set("a", "2").unwrap();
    tx.set("b", "1").unwrap();
    tx.clear_range("c", "d").unwrap();
    tx.set("cc", "").unwrap();
    mutate(&tx, MutationKind::Add, "e", b"").unwrap();
    now(c).unwrap();
    now(e).unwrap();
    commit(&tx).unwrap();
    now(a).unwrap();
    assert!(is_pending(&mut b) && is_pending(&mut d));
}

#[test]
fn a_watch_fails_with_its_transaction() {
    let it = setup(&[]);
    let tx = it.db.begin();
    let watch = tx.raw().watch("a".into());
    tx.set("b", "").unwrap();
    it.engine.inner().commit_faults.push_back(reference::CommitFault::Fails(1020));
    assert_eq!(code(commit(&tx)), 1020);
    assert_eq!(code(now(watch)), 1020);

    let [reset, retried, dropped] = [(); 3].map(|()| it.db.begin());
    let watches = [&reset, &retried, &dropped].map(|tx| tx.raw().watch("a".into()));
    reset.raw().reset();
    now(retried.raw().on_error(StoreError::new(1020))).unwrap();
    drop(dropped);
    for watch in watches {
        assert_eq!(code(now(watch)), StoreError::TRANSACTION_CANCELLED);
    }
}

#[test]
fn a_watch_whose_value_cannot_be_read_fails_alone() {
    let it = setup(&[]);
    let tx = it.db.begin();
    let watch = tx.raw().watch("a".into());
    tx.set("b", "").unwrap();
    now(tx.raw().read_version()).unwrap();
    it.engine.inner().read_faults.push_back(1037);
    commit(&tx).unwrap();
    assert_eq!(code(now(watch)), 1037);
}

#[test]
fn a_watch_conflicts_on_its_key() {
    let it = setup(&[("a", "1")]);
    let tx = it.db.begin();
    let _watch = tx.raw().watch("a".into());
    tx.set("b", "").unwrap();
    commit(&tx).unwrap();
    assert_eq!(it.read_conflicts(), ["a..a\\x00"]);
}
