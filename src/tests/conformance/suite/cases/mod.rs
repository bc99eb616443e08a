//! The cases, named as claims. Each is registered once, in [`for_each_case`]; whoever forgets
//! that is told so by the compiler, as nothing calls the case then.

mod atomics;
mod conflicts;
mod isolation;
mod lifecycle;
mod limits;
mod own_writes;
mod paging;
mod selectors;
mod versionstamps;
mod watches;

use futures_util::future::LocalBoxFuture;

use super::Setup;

/// One case. Not `Send`: closures that borrow it, as the cases have them, defeat the compiler.
pub(crate) type Case = for<'a> fn(&'a Setup) -> LocalBoxFuture<'a, ()>;

/// Hands the names of all cases, by module, to a macro of the caller's.
macro_rules! for_each_case {
    ($with:ident) => {
        $with! {
            atomics {
                addition_is_little_endian_wraps_and_has_the_operands_length,
                bitwise_operations_pad_with_zeros_and_cut_to_the_operand,
                max_and_min_compare_little_endian_numbers_of_the_operands_length,
                byte_max_and_byte_min_compare_strings,
                append_and_compare_and_clear_do_what_they_say,
                append_leaves_a_value_as_it_is_that_would_grow_beyond_the_limit,
                several_compare_and_clears_of_one_key_are_all_of_them_compared,
                operations_on_one_key_are_applied_one_after_the_other,
            }
            conflicts {
                a_point_read_conflicts_on_its_key_alone,
                a_range_read_conflicts_between_its_ends_alone,
                a_limited_range_read_conflicts_up_to_its_last_row,
                a_selector_conflicts_on_the_keys_it_walked_over_alone,
                snapshot_reads_do_not_conflict,
                an_explicit_read_conflict_range_counts_as_a_read,
                an_explicit_write_conflict_range_counts_as_a_write_and_changes_nothing,
                the_next_write_alone_can_be_without_conflict,
                a_write_that_is_refused_was_the_next_one,
                blind_writes_and_atomic_operations_never_conflict,
                reads_of_own_writes_conflict_only_where_the_database_was_needed,
                a_versionstamped_key_conflicts_with_who_read_its_range,
                a_watch_conflicts_on_its_key,
                a_watch_conflicts_where_own_writes_did_not_tell_the_value,
                a_transaction_that_only_reads_always_commits_and_has_no_version,
                conflicts_of_a_page_end_with_its_last_row,
                a_page_conflicts_on_a_selector_beyond_its_end_only_if_that_walked_backwards,
            }
            isolation {
                lost_updates_are_refused,
                write_skew_is_refused,
                phantoms_are_refused,
                phantoms_in_front_of_a_selected_key_are_refused,
                blind_writes_of_one_transaction_stay_together,
                writes_that_are_not_committed_are_seen_by_nobody,
                only_the_last_value_of_a_transaction_is_ever_seen,
                two_transactions_never_both_read_what_the_other_overwrites,
                all_reads_of_a_transaction_are_of_one_version,
                readers_see_invariants_hold_while_writers_move_on,
                a_transaction_sees_every_commit_that_was_acknowledged_before_it_began,
                a_read_at_an_older_version_sees_what_was_then,
                concurrent_increments_that_read_are_never_lost,
            }
            lifecycle {
                on_error_retries_just_the_codes_that_foundationdb_retries,
                a_refused_transaction_commits_when_it_is_tried_again,
                a_retry_sees_its_writes_again_where_that_was_switched_off,
                a_retrys_next_write_has_its_conflict_again,
                backoff_grows_and_is_bounded,
                the_retry_limit_survives_retries_and_ends_the_transaction,
                a_timeout_ends_everything_and_a_retry_does_not_prolong_it,
                a_timeout_ends_a_transaction_that_does_nothing,
                a_cancel_ends_all_that_comes_until_a_reset,
                every_call_after_the_commit_is_refused_until_a_reset,
                a_call_while_the_commit_is_under_way_is_refused,
                only_a_commit_that_wrote_has_a_version,
                the_version_of_a_commit_outlives_all_but_the_next_commit,
                the_read_version_can_be_asked_for_after_the_commit,
                a_read_version_of_after_a_commit_ends_with_a_cancel,
                a_version_of_the_future_is_refused,
                a_transaction_that_lasts_too_long_can_neither_read_nor_commit,
            }
            limits {
                keys_and_values_are_refused_just_above_their_limits,
                a_key_longer_than_any_is_never_found_and_need_not_be_cleared,
                keys_from_ff_on_are_outside_the_legal_range,
                inverted_ranges_are_refused_and_empty_ones_do_nothing,
                a_transaction_too_large_is_refused_at_its_commit,
                a_transaction_just_below_the_limit_is_committed,
                the_size_limit_can_be_lowered_and_counts_conflict_ranges,
                the_size_limit_does_not_survive_a_retry,
                the_size_estimate_grows_with_reads_and_writes,
                sizes_are_counted_to_the_byte_as_foundationdb_counts_them,
                options_out_of_range_are_refused_with_their_codes,
            }
            own_writes {
                every_atomic_operation_reads_back_as_the_commit_makes_it,
                sets_and_clears_read_back_in_every_kind_of_read,
                an_empty_value_is_not_a_missing_one,
                a_set_and_clear_of_the_same_key_leave_what_came_last,
                a_cleared_range_has_its_first_key_and_not_its_end,
                own_writes_are_not_seen_where_that_is_switched_off,
                own_writes_can_be_switched_off_only_before_the_first_use,
                what_touches_nothing_is_no_first_use,
                a_read_that_own_writes_answer_fixes_no_read_version,
                snapshot_reads_alone_can_be_without_own_writes,
                own_writes_count_in_a_limit,
                many_keys_are_read_at_once_in_their_order,
                a_stamped_value_cannot_be_read_before_its_commit,
                where_a_stamped_key_may_come_to_lie_nothing_can_be_read,
                a_read_that_failed_makes_the_commit_fail,
                a_range_cleared_before_a_stamped_key_spares_it,
                a_range_cleared_after_stamped_writes_clears_them,
                a_range_cleared_again_clears_a_stamped_value_that_came_in_between,
                a_range_cleared_again_clears_a_stamped_key_that_came_in_between,
                a_clear_among_the_keys_that_a_stamped_key_may_become_can_be_read,
                a_transaction_that_is_begun_anew_has_forgotten_its_writes,
            }
            paging {
                pages_to_the_end_equal_one_read_in_every_mode,
                pages_run_through_own_writes_too,
                a_limit_ends_a_read_at_as_many_rows,
                a_page_says_that_there_is_more_unless_it_reached_the_end,
                a_byte_target_ends_a_page_that_has_at_least_one_row,
                small_modes_read_little_at_once,
                exact_mode_needs_a_limit,
                snapshot_pages_are_of_the_same_version,
            }
            selectors {
                the_four_named_selectors_find_their_keys,
                offsets_walk_key_by_key_in_both_directions,
                offsets_walk_over_own_writes_and_clears,
                before_the_first_key_is_the_empty_key,
                beyond_the_last_key_is_the_end_of_the_key_space,
                selectors_beyond_the_end_of_the_key_space_are_refused,
                ranges_end_where_their_selectors_resolve_to,
                selectors_of_a_range_see_own_writes_though_snapshots_do_not,
                keys_are_ordered_by_their_bytes,
            }
            versionstamps {
                a_transaction_is_told_the_stamp_that_is_in_its_keys_and_values,
                stamps_rise_from_commit_to_commit,
                stamps_of_concurrent_commits_differ_and_order_them,
                the_greatest_stamp_is_the_last_write,
                stamps_within_one_transaction_are_equal,
                a_stamp_is_put_where_the_offset_says,
                offsets_that_point_outside_are_refused,
                a_stamp_that_never_came_to_be_fails_with_its_transaction,
                keys_stamped_before_the_read_version_stay_readable,
            }
            watches {
                a_watch_fires_after_a_change_and_not_before,
                a_watch_outlives_its_committed_transaction_whatever_becomes_of_that,
                every_kind_of_change_fires_a_watch,
                a_watch_on_a_missing_key_fires_when_it_comes_to_be,
                a_watch_compares_with_what_its_transaction_wrote,
                a_change_between_the_read_and_the_commit_fires_at_once,
                a_later_write_of_the_transaction_itself_fires_its_watch,
                a_watch_of_a_transaction_that_is_not_committed_is_cancelled,
                a_watch_fails_with_its_commit,
                more_watches_than_the_database_allows_are_refused_until_others_end,
                watches_that_fired_make_room_for_others,
            }
        }
    };
}
pub(crate) use for_each_case;

macro_rules! list {
    ($($module:ident { $($case:ident,)* })*) => {
        /// Every case by its name, which is unique.
        pub(crate) fn all() -> Vec<(&'static str, Case)> {
            vec![$($((stringify!($case), (|setup| Box::pin($module::$case(setup))) as Case),)*)*]
        }
    };
}
for_each_case!(list);

/// The case of this name.
pub(crate) fn named(name: &str) -> Case {
    let found = all().into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("there is no case {name}")).1
}
