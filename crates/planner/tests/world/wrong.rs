//! Which configuration shows that a wrong planner is wrong, and by which promise. Each is the smallest that does.

use super::Left;
use super::census;
use super::configuration::{Configuration, May};
use super::configurations as with;
use super::mutation::Mutation;

/// A wrong planner, the world in which it is caught, and a promise that it breaks there.
pub struct Wrong {
    pub mutation: Mutation,
    pub configuration: Configuration,
    pub breaks: &'static str,
}

fn wrong(mutation: Mutation, configuration: Configuration, breaks: &'static str) -> Wrong {
    let configuration = Configuration { mutation: Some(mutation), witnesses: Vec::new(), ..configuration };
    Wrong { mutation, configuration, breaks }
}

fn alone(may: &[May], left: Left) -> Configuration {
    Configuration { may: may.to_vec(), left, tokens: 4, ..with::quiet("one replica") }
}

pub fn all() -> Vec<Wrong> {
    let edit = Left { edits: 1, ticks: 2, ..Left::default() };
    let damage = |outside| Left { outside, ..edit };
    vec![
        wrong(Mutation::SweepAboveSerial, with::old_ledger(), census::EARLY),
        wrong(Mutation::CloseFilledFirst, with::renamed(), census::SETTLES),
        wrong(Mutation::NoBindingCheck, with::late_create(), census::SETTLES),
        wrong(Mutation::LedgerWithoutCompare, with::first_token(), census::UNCOMMITTED),
        wrong(Mutation::ProjectWithoutCompare, with::many_edits(), census::HARMLESS),
        wrong(Mutation::ProjectWithoutLedger, with::old_cluster(), census::HARMLESS),
        wrong(Mutation::ProjectWithoutReport, alone(&[May::Edit, May::DeleteTarget], damage(1)), census::HARMLESS),
        wrong(Mutation::FillWithoutCompare, with::late_create(), census::HARMLESS),
        wrong(Mutation::CloseWithoutPrecondition, with::renamed_in_a_race(), census::SETTLES),
        wrong(Mutation::LabelWithoutPrecondition, with::wipe_twice(), census::EARLY),
        wrong(Mutation::NoRebuild, alone(&[May::Wipe], damage(1)), census::UNCOMMITTED),
        wrong(Mutation::RebuildByTarget, alone(&[May::Wipe, May::Edit], Left { edits: 2, ..damage(1) }), census::SETTLES),
        wrong(
            Mutation::RebuildWithoutLabel,
            alone(&[May::Wipe, May::Edit, May::GrantOdd], Left { faults: 1, ..damage(1) }),
            census::DEAD_TARGET,
        ),
        wrong(Mutation::RebuildByList, with::wipe_with_short_list(), census::UNCOMMITTED),
        wrong(Mutation::RebuildFromCache, with::wipe_with_old_slots(), census::UNCOMMITTED),
        wrong(Mutation::TrustAbsence, with::deletion_with_short_list(), census::UNCOMMITTED),
        wrong(Mutation::SweepUsed, alone(&[May::Wipe, May::DeleteSlot, May::Edit], damage(2)), census::HARMLESS),
        wrong(Mutation::NoWayOut, alone(&[May::Kill, May::Edit], damage(1)), census::SETTLES),
        wrong(Mutation::CreateTargetWithContent, with::target_deleted(), census::DEAD_TARGET),
        wrong(Mutation::RetireBeforePublish, alone(&[May::Edit], edit), census::HARMLESS),
        wrong(Mutation::NoOverlap, alone(&[May::Edit], edit), census::HARMLESS),
        wrong(Mutation::SkipCondemnation, with::wipe_twice(), census::HARMLESS),
        wrong(Mutation::ProjectUnlabelled, alone(&[May::Edit, May::Wipe], damage(1)), census::UNCOMMITTED),
        wrong(Mutation::MintBlind, alone(&[May::Edit, May::Crash], Left { faults: 1, ..edit }), census::ONCE),
        wrong(Mutation::OldListsCount, with::lost_answer(), census::ONCE),
        wrong(Mutation::IgnoreSetBack, with::set_back_in_time(), census::ELSEWHERE),
        wrong(Mutation::ActOnOtherInstallation, with::copied_cluster(), census::FOREIGN),
        wrong(Mutation::PublishDead, alone(&[May::Kill], damage(1)), census::SETTLES),
        wrong(Mutation::BringBack, with::ledger_set_back_without_dbt(), census::DEAD_TARGET),
        wrong(Mutation::ProveWithoutLinks, alone(&[May::Edit], edit), census::LINKED),
        wrong(Mutation::AdoptByUid, with::adoption_with_a_rival(), census::PROVEN),
        wrong(Mutation::NoSecondTry, with::adoption_with_a_rival(), census::DEAD_TARGET),
        wrong(
            Mutation::NoCondemnation,
            Configuration { may: vec![May::Edit, May::EmptySource, May::MoveReaders], ..with::adoption_alone() },
            census::CONDEMNED,
        ),
        wrong(Mutation::IgnoreUse, with::adoption_alone(), census::ELSEWHERE),
        wrong(Mutation::IgnoreUse, with::adoption_with_a_deadline(), census::ELSEWHERE),
        wrong(Mutation::SweepAdopted, with::adoption_with_lost_slots(), census::CONDEMNED),
        wrong(Mutation::RevokeClaimed, with::adoption_with_a_wipe(), census::ELSEWHERE),
        wrong(Mutation::LetGoFirst, alone(&[May::Delete], edit), census::CLEAN_END),
        wrong(Mutation::IgnorePods, with::pods(), census::HARMLESS),
        wrong(Mutation::EarlyLooksCount, with::pods(), census::HARMLESS),
        wrong(Mutation::NoQuietPeriod, with::remote(), census::HARMLESS),
        wrong(Mutation::OldUsesCount, with::remote(), census::HARMLESS),
        wrong(Mutation::DeadlineAtOnce, with::deadline_deletes(), census::HARMLESS),
        wrong(Mutation::HoldDeletes, with::deadline_holds(), census::HARMLESS),
        wrong(Mutation::CompromisedBeforePublish, alone(&[May::CallCompromised], edit), census::HARMLESS),
        wrong(Mutation::ForgetCompromised, alone(&[May::CallCompromised], edit), census::SETTLES),
    ]
}
