//! Every case with the promise that it holds, and the macro that makes tests of them.
//!
//! Long because it is the one list of all cases: names, promises and tests come from it.

/// Cases that belong to one trait or one capability.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its name in the macro's list.
    pub name: &'static str,
    /// Where it belongs: `A` transport, `B` settlement, `C` unit of work, `D` outbox, `E` inbox, `F` events, `H` dead
    /// letters, `I` bad data, `J` resources.
    pub letter: char,
    /// What it is about.
    pub about: &'static str,
    /// Its cases.
    pub cases: &'static [Case],
}

/// One case: a test of each backend that names its group.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The test's name.
    pub name: &'static str,
    /// What it holds.
    pub promise: &'static str,
}

/// Makes the tests of a backend: `conformance!(name, factory, [group, …])` in a file of its `tests` folder. The tests are
/// called `name::group::case`; `factory` is an expression that makes a [`Backend`](crate::Backend), anew for each case.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $factory:expr, $groups:tt) => {
        mod $name {
            #[allow(unused_imports, reason = "what the factory is made of")]
            use super::*;
            $crate::__each!($factory, $groups, $groups);
        }
    };
}

/// The tests of each group. Hidden.
#[doc(hidden)]
#[macro_export]
macro_rules! __each {
    ($factory:expr, [$($group:ident),+ $(,)?], $groups:tt) => {
        $($crate::__group!($group, $factory, $groups);)+
    };
}

macro_rules! table {
    ($d:tt $($group:ident $letter:literal $about:literal { $($case:ident $promise:literal)+ })+) => {
        /// Every group, in the order of the promise sheet.
        pub const GROUPS: &[Group] = &[$(Group {
            name: stringify!($group),
            letter: $letter,
            about: $about,
            cases: &[$(Case { name: stringify!($case), promise: $promise }),+],
        }),+];

        /// The tests of one group. Hidden: `conformance!` calls it.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __group {
            $(($group, $d factory:expr, $d groups:tt) => {
                mod $group {
                    #[allow(unused_imports, reason = "what the factory is made of")]
                    use super::*;
                    $(#[test]
                    fn $case() {
                        let name = concat!(module_path!(), "::", stringify!($case));
                        $d crate::__private::run(name, $d factory, $d crate::cases::$group::$case);
                    })+
                    $d crate::__agree!($group, $d factory, $d groups);
                }
            };)+
        }
    };
}

/// One more test where there is a transport: the groups are those of its capabilities. Hidden.
#[doc(hidden)]
#[macro_export]
macro_rules! __agree {
    (transport, $factory:expr, [$($group:ident),+ $(,)?]) => {
        #[test]
        fn groups_are_those_of_the_capabilities() {
            let name = concat!(module_path!(), "::groups_are_those_of_the_capabilities");
            $crate::__private::run(name, $factory, |backend| {
                $crate::cases::transport::groups_are_those_of_the_capabilities(backend, &[$(stringify!($group)),+])
            });
        }
    };
    ($other:ident, $factory:expr, $groups:tt) => {};
}

table! { $
    transport 'A' "messages reach their consumers" {
        every_message_arrives_once_byte_for_byte
            "every message arrives once, byte for byte, with key and headers"
        many_publishers_lose_and_double_nothing
            "many publishers at once lose and double nothing"
        twenty_subjects_keep_to_themselves
            "a consumer gets the messages of its subjects alone"
        each_consumer_gets_everything
            "each consumer of a subject gets every message"
        nothing_is_lost_over_subscriptions_that_end_midway
            "subscriptions that end midway lose nothing"
        subscriptions_opened_and_closed_at_once_lose_nothing
            "subscriptions opened and closed at once lose nothing"
        what_a_dropped_subscription_had_comes_again
            "what a dropped subscription had comes again"
        what_a_panicking_receiver_had_comes_again
            "what a panicking receiver had comes again"
        a_dropped_next_batch_keeps_what_it_read
            "a dropped `next_batch` keeps what it read for the next"
        a_publish_that_is_dropped_can_be_repeated
            "a publish that was dropped can be repeated, and loses nothing"
        a_consumer_finds_what_came_since_it_was_registered
            "a consumer finds what was published since it was registered, running or not"
        registering_again_keeps_the_place
            "registering again keeps a consumer's place"
        who_is_not_registered_is_not_found
            "a consumer that is not registered is `NotFound`, by name"
        what_nobody_is_registered_for_is_kept_for_nobody
            "what nobody is registered for is kept for nobody"
        a_parcel_for_one_consumer_reaches_that_one_alone
            "a parcel for one consumer reaches that one alone"
        the_largest_frame_passes_and_a_larger_one_is_refused_alone
            "the largest frame passes; a larger one is refused alone, with both sizes"
        no_payload_and_the_largest_headers_pass
            "an empty payload and 64 KiB of headers pass"
        a_batch_is_never_larger_than_asked_for
            "a batch is never larger than asked for"
        no_parcels_are_no_work
            "an empty publish is no work, and nothing waits for nobody"
    }
    settlement 'B' "what is not settled comes again" {
        what_is_done_does_not_come_again
            "what is done does not come again"
        what_is_asked_for_again_comes_after_its_pause
            "what is asked for again comes after its pause"
        tries_that_count_are_counted_and_others_are_not
            "tries that count are counted over subscriptions, others are not"
        rounds_of_failures_end_and_lose_nothing
            "many rounds of failures lose nothing"
        what_waits_to_come_again_holds_nobody_up
            "what waits to come again holds nobody up"
        what_is_buried_does_not_come_again
            "what is buried does not come again"
        settling_twice_changes_nothing
            "settling twice changes nothing"
        a_late_done_is_accepted
            "a late `Done` is accepted"
        one_settles_while_next_batch_waits
            "one can settle while `next_batch` waits"
        one_call_settles_each_in_its_own_way
            "one call settles each delivery in its own way"
    }
    order_stream 'A' "messages come in order" {
        messages_come_as_they_were_published
            "messages come as they were published"
    }
    order_key 'A' "each key keeps its order" {
        a_key_keeps_its_order_whatever_fails
            "a key keeps its order whatever fails"
        a_later_message_of_a_key_waits_for_the_first
            "a later message of a key waits until the first is settled"
        a_head_that_waits_keeps_back_its_key_alone
            "a message that waits keeps back its key alone"
        a_buried_head_lets_its_key_pass
            "a buried message lets its key pass, unless it parks"
        what_a_dropped_subscription_had_comes_first
            "what a dropped subscription had comes before the later ones of its key"
        messages_without_a_key_wait_for_nobody
            "messages without a key wait for nobody"
    }
    no_order_key 'A' "no order by key" {
        parking_is_refused_as_unsupported
            "parking is refused as unsupported"
    }
    dedupe 'A' "one id is kept once" {
        one_id_is_kept_once
            "one id is kept once, and the second told `Duplicate`"
    }
    no_dedupe 'A' "ids are not compared" {
        one_id_published_twice_comes_twice_and_is_called_stored
            "one id published twice comes twice, and is never called a duplicate"
    }
    atomic_batch 'A' "a batch is whole" {
        a_dropped_publish_keeps_its_batch_whole_or_not_at_all
            "a dropped publish keeps its batch whole and in order, or not at all"
    }
    delay 'A' "messages can be due later" {
        a_message_does_not_come_before_it_is_due
            "a message does not come before it is due"
        a_time_that_has_passed_is_now
            "a time that has passed is now"
        what_is_due_later_holds_nobody_up
            "what is due later holds nobody up"
        messages_come_in_the_order_of_their_times
            "messages come in the order of their times"
        a_dropped_subscription_forgets_no_time
            "a dropped subscription forgets no time"
    }
    no_delay 'A' "messages cannot be due later" {
        a_due_message_is_refused_as_unsupported
            "a due message is refused as unsupported, and no other with it"
    }
    groups 'A' "members share a consumer's work" {
        members_share_the_work
            "members share the work, each message once"
        what_a_member_leaves_goes_to_the_others
            "what a member leaves goes to the others"
    }
    no_groups 'A' "one subscription for each consumer" {
        a_second_subscription_is_busy_until_the_first_ends
            "a second subscription is `Busy` until the first one ends"
    }
    fenced_settle 'B' "stale answers are refused" {
        a_stale_answer_is_refused_and_changes_nothing
            "a stale answer is refused and changes nothing"
    }
    no_fenced_settle 'B' "stale answers are not refused" {
        a_stale_answer_loses_nothing
            "a stale answer loses nothing"
    }
    unit 'C' "one transaction commits together" {
        rows_marks_and_messages_commit_together
            "rows, marks, answers and messages commit together, and nothing shows before"
        a_dropped_transaction_leaves_nothing
            "a dropped transaction leaves nothing"
        an_undone_savepoint_takes_its_rows_and_messages_along
            "an undone savepoint takes its rows, marks and messages along"
        an_undone_savepoint_takes_those_inside_it_along
            "an undone savepoint takes those inside it along, also those left open"
        one_failed_delivery_of_a_batch_is_undone_alone
            "one failed delivery of a batch is undone alone"
        a_refused_call_keeps_its_mark_and_answer_alone
            "a refused call keeps its mark and its answer, and nothing else"
        a_mark_is_found_with_its_answer_whatever_that_is
            "a mark is found with its answer, whatever bytes those are"
        two_consumers_never_share_a_mark
            "two consumers never share a mark"
        of_many_transactions_one_finds_a_key_new
            "of many transactions one finds a key new"
        concurrent_transactions_see_nothing_of_those_that_fail
            "concurrent transactions keep nothing of those that fail"
        a_dropped_begin_gives_its_turn_to_the_next
            "a dropped `begin` gives its turn to the next"
        a_dropped_commit_goes_on
            "a dropped commit goes on"
        a_transaction_of_another_store_is_refused
            "a transaction of another store is refused, and commits in neither"
        a_message_larger_than_kept_is_refused_by_name
            "a message that is too large is refused, naming its subject and both sizes"
        a_store_is_attached_as_often_as_one_likes
            "a process attaches to a store as often as it likes"
    }
    unit_queue 'C' "settlements commit with their transaction" {
        a_settlement_commits_with_its_transaction
            "a settlement commits with its transaction"
        a_dropped_transaction_settles_nothing
            "a dropped transaction settles nothing and counts no try"
        a_letter_commits_with_its_transaction
            "a dead letter commits with its transaction"
    }
    breaks 'C' "a transaction that ended by itself" {
        a_transaction_that_ended_by_itself_commits_nothing
            "a transaction that ended by itself commits nothing, whatever its handler says"
    }
    effects 'C' "an application's effects happen once" {
        every_order_has_its_effects_once
            "every request that was answered has its effects once; one that failed has none"
        what_fails_comes_again_and_leaves_one_effect
            "what fails comes again and leaves one effect"
        a_panic_leaves_no_effect_and_comes_again
            "a panic leaves no effect and comes again"
        a_message_handed_over_twice_has_one_effect
            "a message handed over twice has one effect for each consumer"
        what_fails_for_good_is_buried_without_effects
            "what fails for good is buried without effects, and replayed to its consumer alone"
    }
    outbox 'D' "committed messages leave" {
        rows_are_as_they_were_put_in_commit_order
            "rows are as they were put, in commit order"
        what_was_sent_does_not_come_again
            "what was sent does not come again"
        no_more_rows_come_than_asked_for
            "no more rows come than asked for"
        what_failed_keeps_back_its_partition_alone
            "what failed keeps back its partition alone, for its pause, and is counted"
        what_is_due_later_holds_nobody_up
            "what is due later holds nobody up and does not come before its time"
        it_rings_for_what_was_committed_since_it_was_read
            "it rings for what was committed since it was read"
        a_reader_skips_no_row_that_commits_late
            "a reader skips no row that commits late"
        leases_cover_every_partition_once
            "a lease covers every partition that nobody else has"
    }
    inbox 'E' "what was done is remembered" {
        of_many_who_claim_a_key_one_gets_it
            "of many who claim a key one gets it"
        a_finished_key_answers_what_was_answered
            "a finished key answers what was answered, whatever bytes those are"
        what_failed_is_not_recorded_as_done
            "what failed is not recorded as done"
        busy_says_when_to_come_back
            "`Busy` says when to come back"
        a_dropped_claim_ends_with_its_lease_at_the_latest
            "a dropped claim ends with its lease at the latest"
        a_lease_that_ran_out_fences_its_owner_off
            "a lease that ran out fences its owner off"
        who_finishes_too_late_changes_no_answer
            "who finishes too late changes no answer"
        two_consumers_never_share_a_key
            "two consumers never share a key"
    }
    inbox_in_tx 'E' "claims and transactions share marks" {
        marks_of_transactions_and_claims_are_the_same
            "marks of transactions and of claims are the same"
        a_mark_that_was_undone_can_be_claimed
            "a mark that was undone can be claimed"
    }
    events 'F' "streams of events" {
        events_are_read_as_they_were_appended
            "events are read as they were appended, versions from 1 without gaps"
        another_version_than_expected_is_a_conflict
            "another version than expected is a `Conflict` that names both, and appends nothing"
        an_append_is_repeated_safely
            "an append is repeated safely, whatever is expected"
        some_known_ids_among_new_ones_are_a_conflict
            "some known ids among new ones are a `Conflict`"
        no_events_answer_the_version
            "no events answer the stream's version"
        a_stream_has_a_name_of_1_to_255_bytes
            "a stream's name has 1 to 255 bytes"
        of_many_appends_under_one_version_one_wins
            "of many appends under one version one wins"
        a_reader_of_all_streams_skips_nothing
            "a reader of all streams skips nothing and sees nothing twice, while others append"
        a_wait_ends_with_the_append_or_with_its_time
            "a wait ends with the append, or with its time"
        what_is_no_frame_is_kept_byte_for_byte
            "bytes that are no frame are kept as they are"
    }
    checkpoints 'F' "how far readers have come" {
        a_reader_goes_on_where_it_saved
            "a reader goes on where it saved"
        who_was_taken_over_saves_nothing
            "a reader that was taken over saves nothing"
    }
    events_in_tx 'F' "events commit with their transaction" {
        appends_are_visible_with_their_commit
            "appends are visible with their commit, and to later ones of their transaction"
        what_is_undone_was_never_appended
            "what is undone was never appended"
        a_conflict_leaves_the_transaction_usable
            "a conflict leaves the transaction usable"
        a_position_is_saved_with_its_commit
            "a position is saved with its commit, fenced"
    }
    letters 'H' "dead letters" {
        letters_are_listed_as_they_were_buried
            "letters are listed as they were buried, in order"
        a_letter_is_removed_once
            "a letter is removed once, and its id never comes again"
    }
    replay 'H' "dead letters come back" {
        a_replay_reaches_its_consumer_alone
            "a replay reaches its consumer alone, once, with a fresh count of tries"
        a_replay_wakes_who_waits
            "a replay wakes who waits"
        the_mark_is_taken_away_with_a_replay
            "a replay takes its consumer's mark away, and no other one's"
        a_letter_of_a_consumer_that_is_gone_stays
            "a letter of a consumer that is gone stays"
        bytes_that_nobody_can_read_are_replayed_as_they_are
            "bytes that nobody can read are replayed as they are"
    }
    park 'H' "a key waits for its buried message" {
        later_messages_of_a_buried_key_wait_for_its_replay
            "later messages of a buried key wait for its replay and follow it in order"
        a_removed_letter_lets_those_behind_it_go
            "a removed letter lets those behind it go"
        a_key_stays_parked_over_subscriptions
            "a key stays parked over subscriptions"
        a_replay_that_fails_again_parks_again
            "a replay that fails again parks its key again"
    }
    bad_data 'I' "bytes that are no message" {
        what_is_no_frame_comes_with_its_bytes_and_why
            "bytes that are no frame come as they are, with the reason, and can be buried"
        what_is_no_frame_holds_nobody_up
            "bytes that are no frame hold nobody up"
        a_message_of_an_unknown_contract_passes_through
            "a message of an unknown name, codec and version passes through"
    }
    resource 'J' "bounds" {
        a_slow_consumer_loses_nothing
            "a slow consumer loses nothing"
        no_more_is_out_than_was_asked_for
            "no more is out than was asked for"
        messages_that_went_leave_no_memory_behind
            "messages that went leave no memory behind"
    }
    durable 'A' "messages outlive the process" {
        messages_and_consumers_outlive_the_process
            "messages and consumers outlive the process"
        counted_tries_outlive_the_process
            "counted tries outlive the process"
    }
    durable_unit 'C' "commits outlive the process" {
        commits_outlive_the_process_and_others_do_not
            "rows, marks, answers and messages outlive the process where they were committed"
    }
    durable_inbox 'E' "marks outlive the process" {
        marks_outlive_the_process_and_claims_end_with_it
            "marks outlive the process, claims end with their leases"
    }
    durable_letters 'H' "letters outlive the process" {
        letters_outlive_the_process
            "letters outlive the process"
    }
    durable_events 'F' "events outlive the process" {
        events_and_positions_outlive_the_process
            "events, positions and fences outlive the process"
    }
    model_inbox 'E' "an inbox against its model" {
        an_inbox_is_its_model
            "500 random sequences of operations answer as the model does"
    }
    model_unit 'D' "marks and outbox against their model" {
        a_unit_of_work_is_its_model
            "500 random sequences of operations answer as the model does"
    }
    model_queue 'B' "a queue against its model" {
        a_queue_is_its_model
            "500 random sequences of operations answer as the model does"
    }
    model_events 'F' "an event store against its model" {
        an_event_store_is_its_model
            "500 random sequences of operations answer as the model does"
    }
    model_checkpoints 'F' "checkpoints against their model" {
        checkpoints_are_their_model
            "500 random sequences of operations answer as the model does"
    }
    model_letters 'H' "dead letters against their model" {
        dead_letters_are_their_model
            "500 random sequences of operations answer as the model does"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_group_and_no_case_of_a_group_is_there_twice() {
        let groups: BTreeSet<_> = GROUPS.iter().map(|group| group.name).collect();
        assert_eq!(groups.len(), GROUPS.len());
        for group in GROUPS {
            let cases: BTreeSet<_> = group.cases.iter().map(|case| case.name).collect();
            assert_eq!(cases.len(), group.cases.len(), "{}", group.name);
        }
    }

    #[test]
    fn a_backend_that_declares_everything_meets_many_cases() {
        let all = GROUPS.iter().filter(|group| !group.name.starts_with("no_"));
        assert!(all.map(|group| group.cases.len()).sum::<usize>() >= 45);
    }
}
