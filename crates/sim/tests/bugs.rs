//! The checks bite: managers that are broken on purpose are found, each by the invariant that is about it (reliability part 3, "mutation check
//! of the battery"). Names of tests begin with the row of reliability part 1 where there is one.

use evenkeel_sim::{Bug, World};

/// Seeds in which a bug must be found.
const SEEDS: std::ops::Range<u64> = 0..60;

fn is_found(bug: Bug) {
    let world = World::of(bug);
    let breaks = |v: &String| v.starts_with(bug.breaks());
    let finds = |seed: u64| world.run(seed, Some(bug)).0.violations.into_iter().find(breaks);
    // What happens in the same seed without the bug is not its doing.
    let alone = |seed: u64| !world.run(seed, None).0.violations.iter().any(breaks);
    // Every eighth world of collection has a server that is restored, and in one of about thirty of these somebody comes back who is remembered:
    // from 512 on that does not take long.
    let (first, each) = if bug == Bug::GoneForEver { (512, 8) } else { (0, 1) };
    let found = SEEDS.map(|seed| first + seed * each).find_map(|seed| finds(seed).filter(|_| alone(seed)).map(|v| (seed, v)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} (row {}): no {} in {SEEDS:?} of its seeds", bug.row(), bug.breaks()));
    println!("row {} {bug:?}: seed {seed}: {violation}", bug.row());
}

macro_rules! bugs {
    ($($test:ident: $bug:ident,)*) => {
        $(#[test]
        fn $test() {
            is_found(Bug::$bug);
        })*

        #[test]
        fn every_bug_has_its_test() {
            assert_eq!([$(Bug::$bug),*], *Bug::ALL);
        }
    };
}

bugs! {
    row_1_freshness_gate_off_breaks_rs_1: FreshnessGateOff,
    row_4_adoption_unchecked_breaks_d_3: AdoptionUnchecked,
    row_5_delete_by_name_breaks_rs_2: DeleteByName,
    row_5_deletes_one_too_many_breaks_rs_2: DeletesOneTooMany,
    row_9_surge_off_by_one_breaks_dp_1: SurgeOffByOne,
    row_9_old_sets_scaled_up_breaks_dp_1: OldSetsScaledUp,
    row_9_no_unavailability_bound_breaks_dp_2: NoUnavailabilityBound,
    row_10_split_wrong_breaks_dp_5: SplitWrong,
    row_11_healthy_victims_breaks_rs_3: HealthyVictims,
    row_12_deadline_never_told_breaks_dp_6: DeadlineNeverTold,
    row_16_no_slow_start_breaks_rs_5: NoSlowStart,
    row_40_status_never_written_breaks_lv_1: StatusNeverWritten,
    row_76_fence_off_breaks_le_1: FenceOff,
    revision_not_increased_breaks_dp_3: RevisionNotIncreased,
    recreate_does_not_wait_breaks_dp_4: RecreateDoesNotWait,
    gone_by_uid_alone_breaks_gc_1: GoneByUidAlone,
    unknown_is_gone_breaks_gc_1: UnknownIsGone,
    no_preconditions_breaks_gc_1: NoPreconditions,
    gone_for_ever_breaks_gc_1: GoneForEver,
    owners_go_unseen_breaks_gc_2: OwnersGoUnseen,
    never_looks_again_breaks_gc_2: NeverLooksAgain,
    waiting_ignored_breaks_gc_2: WaitingIgnored,
    released_too_early_breaks_gc_3: ReleasedTooEarly,
    orphans_keep_their_reference_breaks_gc_3: OrphansKeepTheirReference,
    out_of_scope_is_gone_breaks_gc_4: OutOfScopeIsGone,
    rings_hang_breaks_gc_4: RingsHang,
    waits_for_every_kind_breaks_gc_5: WaitsForEveryKind,
    asks_for_each_dependent_breaks_gc_6: AsksForEachDependent,
    deletes_twice_breaks_gc_6: DeletesTwice,
}
