//! Range reads in pages.

use escapement::store::{RangeOptions, StoreError, StreamingMode};

use super::super::support::{Setup, all_pages, code};

const ROWS: usize = 300;
const MODES: [StreamingMode; 6] = [
    StreamingMode::WantAll,
    StreamingMode::Iterator,
    StreamingMode::Small,
    StreamingMode::Medium,
    StreamingMode::Large,
    StreamingMode::Serial,
];

fn name(row: usize) -> String {
    format!("row/{row:04}")
}

/// 300 rows of about 100 bytes.
async fn fill(it: &Setup) {
    it.run(|tx| (0..ROWS).try_for_each(|row| tx.set(it.key(name(row)), vec![b'v'; 80 + row % 40]))).await;
}

fn expected() -> Vec<String> {
    (0..ROWS).map(|row| format!("{}={}", name(row), "v".repeat(80 + row % 40))).collect()
}

pub(crate) async fn pages_to_the_end_equal_one_read_in_every_mode(it: &Setup) {
    fill(it).await;
    it.steadily(async || {
        let tx = it.begin();
        let mut reversed = expected();
        reversed.reverse();
        for mode in MODES {
            let range = RangeOptions { mode, ..it.everything() };
            assert_eq!(tx.rows(range.clone()).await?, expected(), "{mode:?}");
            assert_eq!(tx.rows(range.reverse()).await?, reversed, "{mode:?}, reversed");
        }
        let exact = it.everything().limit(ROWS + 1);
        assert_eq!(tx.rows(exact.clone()).await?, expected());
        assert_eq!(tx.rows(exact.reverse()).await?, reversed);
        Ok(())
    })
    .await;
}

pub(crate) async fn pages_run_through_own_writes_too(it: &Setup) {
    fill(it).await;
    it.steadily(async || {
        let tx = it.begin();
        let mut expected = expected();
        for row in (0..ROWS).step_by(7) {
            tx.set(&name(row), "own")?;
            expected[row] = format!("{}=own", name(row));
        }
        tx.clear_range(&name(101), &name(149))?;
        expected.drain(101..149);
        tx.clear(&name(3))?;
        expected.remove(3);
        tx.set("row/zz", "last")?;
        expected.push("row/zz=last".into());
        let mut reversed = expected.clone();
        reversed.reverse();
        for mode in MODES {
            let range = RangeOptions { mode, ..it.everything() };
            assert_eq!(tx.rows(range.clone()).await?, expected, "{mode:?}");
            assert_eq!(tx.rows(range.reverse()).await?, reversed, "{mode:?}, reversed");
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn a_limit_ends_a_read_at_as_many_rows(it: &Setup) {
    fill(it).await;
    it.steadily(async || {
        let tx = it.begin();
        for limit in [1, 2, 7, ROWS - 1, ROWS, ROWS + 1] {
            let read = tx.rows(it.everything().limit(limit)).await?;
            assert_eq!(read, expected()[..limit.min(ROWS)], "limit {limit}");
            for mode in MODES {
                let range = RangeOptions { mode, ..it.everything().limit(limit) };
                assert_eq!(tx.rows(range).await?, read, "limit {limit}, {mode:?}");
            }
            let mut back = tx.rows(it.everything().limit(limit).reverse()).await?;
            back.reverse();
            assert_eq!(back, expected()[ROWS - limit.min(ROWS)..], "limit {limit}, reversed");
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn a_page_says_that_there_is_more_unless_it_reached_the_end(it: &Setup) {
    fill(it).await;
    it.steadily(async || {
        let tx = it.begin();
        let first = tx.raw.get_range(it.everything().limit(10)).await?;
        assert!(first.more && first.rows.len() == 10);
        let all = tx.raw.get_range(it.everything().limit(ROWS + 1)).await?;
        assert!(!all.more && all.rows.len() == ROWS);
        let none = tx.raw.get_range(it.range("nothing", "nothing0")).await?;
        assert!(!none.more && none.rows.is_empty());
        Ok(())
    })
    .await;
}

pub(crate) async fn a_byte_target_ends_a_page_that_has_at_least_one_row(it: &Setup) {
    fill(it).await;
    it.steadily(async || {
        for reverse in [false, true] {
            // A page may end where an earlier one of the same transaction did.
            let page = async |target_bytes| {
                it.begin().raw.get_range(RangeOptions { target_bytes, reverse, ..it.everything() }).await
            };
            let tiny = page(1).await?;
            assert!(tiny.more && !tiny.rows.is_empty() && tiny.rows.len() < 10, "{} rows", tiny.rows.len());
            let some = page(2000).await?;
            assert!(some.more && some.rows.len() > 2 && some.rows.len() < 40, "{} rows", some.rows.len());
            let range = RangeOptions { target_bytes: 500, reverse, ..it.everything() };
            assert_eq!(all_pages(&it.begin().raw, range, false).await?.len(), ROWS);
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn small_modes_read_little_at_once(it: &Setup) {
    fill(it).await;
    it.steadily(async || {
        let mut before = 0;
        for mode in [StreamingMode::Small, StreamingMode::Medium, StreamingMode::Large] {
            let page = it.begin().raw.get_range(RangeOptions { mode, ..it.everything() }).await?;
            assert!(page.more && page.rows.len() > before, "{mode:?}: {} rows", page.rows.len());
            before = page.rows.len();
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn exact_mode_needs_a_limit(it: &Setup) {
    let tx = it.begin();
    let exact = RangeOptions { mode: StreamingMode::Exact, ..it.everything() };
    assert_eq!(code(tx.raw.get_range(exact.clone()).await), StoreError::EXACT_MODE_WITHOUT_LIMITS);
    fill(it).await;
    let read = async || it.begin().raw.get_range(RangeOptions { target_bytes: 300, ..exact.clone() }).await;
    let page = it.steadily(read).await;
    assert!(page.more && !page.rows.is_empty() && page.rows.len() < 10, "a byte target is a limit, too");
}

pub(crate) async fn snapshot_pages_are_of_the_same_version(it: &Setup) {
    fill(it).await;
    let tx = it.begin();
    let range = RangeOptions { mode: StreamingMode::Small, ..it.everything() };
    let first = tx.raw.get_range_snapshot(range.clone()).await.unwrap();
    assert!(first.more);
    it.run(|tx| tx.clear_range(it.key(name(50)), it.key(name(200)))).await;
    it.write(&[("row/9999", "late")]).await;
    assert_eq!(tx.rows_snapshot(range).await.unwrap(), expected());
}
