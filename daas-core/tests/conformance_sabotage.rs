//! Sabotaged backends: each breaks its contract in one way, and the suites must say so by exactly
//! the clauses that are meant, so that no clause is a test that cannot fail.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod conformance_benches;
mod conformance_saboteurs;

use std::sync::Arc;

use conformance_benches::{FakeGuestBench, FakeMachineBench};
use conformance_saboteurs::configurator::{BadConfigurator, ConfiguratorTrick};
use conformance_saboteurs::idle::{BadPolicy, PolicyTrick};
use conformance_saboteurs::keys::KeyTrick;
use conformance_saboteurs::provisioner::{BadProvisioner, ProvisionerTrick};
use conformance_saboteurs::second_factors::FactorTrick;
use conformance_saboteurs::sign_ins::SignInTrick;
use conformance_saboteurs::store::{BadStore, StoreTrick};
use daas_core::conformance::{
    Broken, broken, configurator_clauses, idle_clauses, provisioner_clauses, store_clauses,
};
use daas_core::fake::Timing;
use daas_core::idle::{IdlePolicy, TemplateRules};
use daas_core::layer::Layered;
use daas_core::store::SessionStore;
use daas_core::store::memory::MemoryStore;

/// Exactly the clauses `expected` are broken.
fn check(trick: impl std::fmt::Debug, broken: Vec<Broken>, expected: &[&str]) {
    let mut found: Vec<_> = broken.iter().map(|b| b.clause).collect();
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{trick:?}: {broken:#?}");
}

async fn store(trick: StoreTrick, expected: &[&str]) {
    let make = || async move {
        let bad = BadStore::new(Arc::new(MemoryStore::new()), trick);
        Arc::new(Layered(bad)) as Arc<dyn SessionStore>
    };
    check(trick, broken(&store_clauses(), make).await, expected);
}

async fn provisioner(trick: ProvisionerTrick, expected: &[&str]) {
    let make = || async move {
        FakeMachineBench::disguised(Timing::default(), |real, platform| {
            Arc::new(Layered(BadProvisioner { real, platform, trick }))
        })
    };
    check(trick, broken(&provisioner_clauses(), make).await, expected);
}

async fn configurator(trick: ConfiguratorTrick, expected: &[&str]) {
    let make = || async move {
        FakeGuestBench::disguised(|real, guests| {
            Arc::new(Layered(BadConfigurator { real, guests, trick }))
        })
    };
    check(trick, broken(&configurator_clauses(), make).await, expected);
}

async fn policy(trick: PolicyTrick, expected: &[&str]) {
    let make = || async move {
        Arc::new(BadPolicy::new(Arc::new(TemplateRules), trick)) as Arc<dyn IdlePolicy>
    };
    check(trick, broken(&idle_clauses(), make).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ignores_versions() {
    let expected = [
        "update_refuses_another_version",
        "update_that_is_refused_writes_nothing",
        "update_of_the_same_version_succeeds_once",
    ];
    store(StoreTrick::IgnoresVersion, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ignores_fences() {
    let expected = ["update_refuses_another_fence", "update_refuses_a_lease_given_back"];
    store(StoreTrick::IgnoresFence, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_claims_twice() {
    let expected = ["claim_gives_each_to_one"];
    store(StoreTrick::ClaimsTwice, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_loses_events() {
    let expected = [
        "update_writes_its_events",
        "events_come_in_order_after_a_cursor",
        "events_of_the_live_stay_whole",
        "prune_goes_on_portion_by_portion",
        "prune_removes_what_ended_long_ago",
    ];
    store(StoreTrick::LosesEvents, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ignores_idempotency_keys() {
    let expected = [
        "insert_with_a_used_key_answers_the_first_and_writes_nothing",
        "prune_of_a_session_frees_its_key",
        "prune_removes_old_keys_and_leaves_their_sessions",
    ];
    store(StoreTrick::IgnoresKeys, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ignores_quotas() {
    let expected = ["insert_refuses_what_passes_a_quota", "claim_refuses_what_passes_a_quota"];
    store(StoreTrick::IgnoresQuotas, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_wishes() {
    let expected = [
        "take_due_clears_the_due_time_but_not_a_later_wish",
        "hasten_sets_an_earlier_due_time_only",
    ];
    store(StoreTrick::ForgetsHaste, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_calls_every_lease_kept() {
    store(StoreTrick::CallsEveryLeaseKept, &["renew_of_a_lost_lease_is_not_answered"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_repeats_its_first_page() {
    let expected = ["list_tells_the_youngest_first_in_pages_without_gap_or_repeat"];
    store(StoreTrick::RepeatsPages, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_writes_the_record_with_the_activity() {
    let expected = ["activity_is_replaced_and_never_touches_the_record"];
    store(StoreTrick::TouchesTheRecord, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_tells_of_ended_holders() {
    store(StoreTrick::ReservedTellsAll, &["reserved_tells_live_holders_only"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_prunes_nothing() {
    let expected = [
        "prune_removes_what_ended_long_ago",
        "prune_keeps_the_id_alone_for_ever",
        "prune_goes_on_portion_by_portion",
        "prune_of_a_session_frees_its_key",
        "prune_removes_old_keys_and_leaves_their_sessions",
        "events_that_were_pruned_are_told_from_none",
    ];
    store(StoreTrick::PrunesNothing, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_prunes_the_live() {
    let expected =
        ["prune_never_touches_the_live", "prune_removes_old_keys_and_leaves_their_sessions"];
    store(StoreTrick::PrunesTheLive, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_prunes_the_young() {
    let expected = [
        "prune_removes_what_ended_long_ago",
        "prune_keeps_the_id_alone_for_ever",
        "prune_of_nothing_old_is_zeros",
        "prune_of_a_session_frees_its_key",
        "prune_removes_old_keys_and_leaves_their_sessions",
    ];
    store(StoreTrick::PrunesTheYoung, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_prunes_all_at_once() {
    store(StoreTrick::PrunesAllAtOnce, &["prune_goes_on_portion_by_portion"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_old_keys() {
    let expected = ["prune_removes_old_keys_and_leaves_their_sessions"];
    store(StoreTrick::KeepsKeys, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_the_ids_of_the_pruned() {
    store(StoreTrick::ForgetsIds, &["prune_keeps_the_id_alone_for_ever"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_skips_pruned_events_in_silence() {
    store(StoreTrick::SkipsInSilence, &["events_that_were_pruned_are_told_from_none"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_how_many_there_were() {
    store(StoreTrick::ForgetsCounts, &["tally_counts_what_was_pruned"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_opens_by_the_id_of_a_sign_in_or_lists_them_backwards() {
    let expected = ["sign_ins_are_found_by_hash_and_listed_by_owner"];
    store(StoreTrick::SignIns(SignInTrick::OpensById), &expected).await;
    let expected = [expected[0], "sign_ins_that_are_over_are_pruned"];
    store(StoreTrick::SignIns(SignInTrick::ListsBackwards), &expected).await;
    let expected = ["sign_ins_of_everybody_are_listed_newest_first"];
    store(StoreTrick::SignIns(SignInTrick::ListsEverybody), &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_two_sign_ins_for_one() {
    let expected = ["sign_ins_refuse_a_used_id_or_hash"];
    store(StoreTrick::SignIns(SignInTrick::TakesTwins), &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_sees_a_sign_in_earlier_than_before() {
    let expected = ["sign_ins_are_seen_and_never_earlier"];
    store(StoreTrick::SignIns(SignInTrick::ForgetsTheLater), &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ends_the_sign_ins_of_others() {
    let expected = ["sign_ins_are_ended_by_their_owner_alone"];
    store(StoreTrick::SignIns(SignInTrick::EndsOthers), &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_prunes_too_many_sign_ins_or_too_few() {
    let expected = ["sign_ins_that_are_over_are_pruned"];
    store(StoreTrick::SignIns(SignInTrick::PrunesAllAtOnce), &expected).await;
    store(StoreTrick::SignIns(SignInTrick::PrunesByAgeAlone), &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_keys_are_not_kept_as_they_should() {
    for (trick, expected) in [
        (KeyTrick::OpensByName, &["keys_are_found_by_hash_and_listed_by_name"][..]),
        (
            KeyTrick::TakesTwins,
            &["keys_refuse_a_used_name_or_hash", "keys_within_a_bound_are_no_more"],
        ),
        (KeyTrick::KeepsTheRevoked, &["keys_are_revoked_by_name"]),
        (
            KeyTrick::ListsEverybodys,
            &[
                "keys_are_listed_and_revoked_by_their_owner_alone",
                "keys_within_a_bound_are_no_more",
            ],
        ),
        (KeyTrick::RevokesOthers, &["keys_are_listed_and_revoked_by_their_owner_alone"]),
        (KeyTrick::IgnoresTheBound, &["keys_within_a_bound_are_no_more"]),
        (KeyTrick::NeverSees, &["keys_are_seen_and_never_earlier"]),
    ] {
        store(StoreTrick::Keys(trick), expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_second_factors_are_not_kept_as_they_should() {
    for (trick, expected) in [
        (FactorTrick::Replaces, "second_factors_are_one_for_each_owner"),
        (FactorTrick::UsesStepsAgain, "second_factors_use_each_step_once_and_none_earlier"),
        (FactorTrick::UsesCodesAgain, "second_factors_use_each_recovery_code_once"),
        (FactorTrick::KeepsTheOldCodes, "second_factors_take_other_recovery_codes"),
        (FactorTrick::KeepsTheRemoved, "second_factors_are_removed_whole"),
    ] {
        store(StoreTrick::Factors(trick), &[expected]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_creates_twice() {
    let expected = [
        "ensure_makes_one_marked_machine_under_the_reserved_id",
        "ensure_of_what_is_as_wished_changes_nothing",
        "ensure_takes_and_gives_power",
        "ensure_interrupted_goes_on_with_one_machine",
        "list_tells_ours_only",
    ];
    provisioner(ProvisionerTrick::CreatesTwice, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_reads_errors_as_absence() {
    let expected = [
        "observe_while_away_is_unknown",
        "destroy_while_away_is_unavailable",
        "list_while_away_is_an_error",
    ];
    provisioner(ProvisionerTrick::ReadsErrorsAsAbsence, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_forgets_the_mark() {
    let expected = [
        "ensure_makes_one_marked_machine_under_the_reserved_id",
        "observe_tells_present_and_absent",
        "list_tells_ours_only",
    ];
    provisioner(ProvisionerTrick::ForgetsTheMark, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_reuses_ids() {
    provisioner(ProvisionerTrick::ReusesIds, &["reserve_chooses_an_id_that_nobody_uses"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_makes_again_what_has_been() {
    let expected = ["ensure_never_makes_again_what_has_been"];
    provisioner(ProvisionerTrick::MakesAgain, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_ignores_the_uuid() {
    let expected = ["observe_of_another_uuid_is_absent", "destroy_leaves_another_uuid_alone"];
    provisioner(ProvisionerTrick::IgnoresTheUuid, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_takes_strangers_for_its_own() {
    let expected = [
        "ensure_leaves_a_stranger_alone",
        "observe_of_a_stranger_is_absent",
        "destroy_leaves_a_stranger_alone",
    ];
    provisioner(ProvisionerTrick::TakesStrangers, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioner_that_never_takes_power() {
    provisioner(ProvisionerTrick::NeverTakesPower, &["ensure_takes_and_gives_power"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_that_changes_again() {
    let expected = ["apply_again_changes_nothing", "apply_interrupted_completes"];
    configurator(ConfiguratorTrick::ChangesAgain, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_whose_retraction_lies() {
    let expected = [
        "retract_makes_it_gone",
        "retract_needs_no_guest",
        "retract_while_away_is_unavailable",
        "inventory_leaves_out_what_is_retracted",
    ];
    configurator(ConfiguratorTrick::RetractLies, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_that_causes_what_it_did_not_tell() {
    let expected = [
        "apply_causes_only_what_was_told",
        "effects_of_a_missing_profile_are_invalid",
        "retract_makes_it_gone",
        "retract_needs_no_guest",
        "inventory_tells_every_effect_with_its_session",
        "inventory_leaves_out_what_is_retracted",
    ];
    configurator(ConfiguratorTrick::TellsNothing, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_that_calls_silence_done() {
    let expected = ["apply_while_away_is_unavailable"];
    configurator(ConfiguratorTrick::CallsSilenceDone, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_that_needs_the_guest_to_retract() {
    configurator(ConfiguratorTrick::NeedsTheGuest, &["retract_needs_no_guest"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_whose_inventory_is_empty_while_it_is_away() {
    let expected = ["inventory_while_away_is_an_error"];
    configurator(ConfiguratorTrick::ListsNothingWhileAway, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_that_takes_strangers_for_its_own() {
    configurator(ConfiguratorTrick::ListsStrangers, &["inventory_leaves_out_strangers"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_that_lists_what_it_retracted() {
    let expected = ["inventory_leaves_out_what_is_retracted"];
    configurator(ConfiguratorTrick::ListsTheRetracted, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_configurator_that_lists_a_part_only() {
    let expected = ["inventory_tells_every_effect_with_its_session"];
    configurator(ConfiguratorTrick::ListsOnlyOne, &expected).await;
}

#[tokio::test]
async fn a_policy_that_takes_silence_for_idleness() {
    let expected = ["silence_alone_ends_nothing", "our_own_downtime_does_not_count"];
    policy(PolicyTrick::EndsSilence, &expected).await;
}

#[tokio::test]
async fn a_policy_that_destroys_personal_desktops() {
    policy(PolicyTrick::DestroysPersonal, &["a_personal_desktop_is_never_destroyed"]).await;
}

#[tokio::test]
async fn a_policy_that_changes_its_mind() {
    policy(PolicyTrick::ChangesItsMind, &["the_same_arguments_give_the_same_verdict"]).await;
}

#[tokio::test]
async fn a_policy_that_never_ends_anything() {
    policy(PolicyTrick::NeverEnds, &["what_nobody_uses_ends"]).await;
}

#[tokio::test]
async fn audit_logs_that_lie() {
    let order = "audit_keeps_entries_as_they_are_and_in_their_order";
    let follows = "audit_refuses_what_does_not_follow_and_all_that_came_with_it";
    let chains = "audit_tells_the_chains_and_who_vouches_for_them";
    let filters = "audit_filters_and_pages_in_both_directions";
    let signatures = "audit_keeps_signatures_in_their_order";
    let old = "audit_tells_what_is_old_and_never_beyond_what_is_young";
    let forgets = "audit_forgets_what_is_named_and_nothing_else";
    store(StoreTrick::AuditTakesAnything, &[follows]).await;
    store(StoreTrick::AuditLosesTheLast, &[order, follows, chains, filters, old, forgets]).await;
    store(StoreTrick::AuditIgnoresFilters, &[filters]).await;
    store(StoreTrick::AuditRepeatsPages, &[filters]).await;
    store(StoreTrick::AuditLosesSignatures, &[signatures, forgets]).await;
    store(StoreTrick::AuditForgetsAll, &[forgets]).await;
    store(StoreTrick::AuditForgetsNothing, &[forgets]).await;
    store(StoreTrick::AuditKnowsNoLinks, &[chains]).await;
    store(StoreTrick::AuditAgesEverything, &[old]).await;
}
