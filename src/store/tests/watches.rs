//! Watches begin with the commit, live on after it, and fail with it.

use super::*;

fn is_pending(watch: &mut BoxFuture<'static, Result<(), StoreError>>) -> bool {
    watch.now_or_never().is_none()
}

#[test]
fn a_watch_fires_after_a_later_change_and_outlives_its_transaction() {
    let it = setup(&[("a", "1")]);
    let tx = it.db.begin();
    let mut watch = tx.raw().watch("a".into());
    assert!(is_pending(&mut watch));
    commit(&tx).unwrap();
    drop(tx);
    it.write("a", "1");
    it.write("b", "1");
    assert!(is_pending(&mut watch), "the value is the same");
    it.write("a", "2");
    now(watch).unwrap();
}

#[test]
fn a_watch_of_a_transaction_that_writes_compares_with_what_it_wrote() {
    let it = setup(&[("a", "1")]);
    let tx = it.db.begin();
    tx.set("a", "2").unwrap();
    mutate(&tx, MutationKind::AppendIfFits, "n", b"x").unwrap();
    let mut on_set = tx.raw().watch("a".into());
    let mut on_stack = tx.raw().watch("n".into());
    commit(&tx).unwrap();
    assert!(is_pending(&mut on_set) && is_pending(&mut on_stack));
    it.write("n", "xy");
    now(on_stack).unwrap();
    assert!(is_pending(&mut on_set));
}

#[test]
fn a_change_between_the_read_and_the_commit_fires_at_once() {
    let it = setup(&[("a", "1")]);
    let tx = it.db.begin();
    let watch = tx.raw().watch("a".into());
    now(tx.raw().read_version()).unwrap();
    it.write("a", "2");
    commit(&tx).unwrap();
    now(watch).unwrap();
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
