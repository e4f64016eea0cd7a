//! One object in good order, in front of which a stranger puts a status: what dbt lists and which slots there are does not
//! change. No part of what is shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dbt_token_planner::adoption::AdoptPolicy;
use dbt_token_planner::desired::{DeletionPolicy, Desired, Permission, Projects, Retirement};
use dbt_token_planner::effect::Effect;
use dbt_token_planner::grant::{AccountGrant, AllowedProjects, AllowedSets, GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{AccountId, Installation, OwnerUid, PermissionSet, RenderRule, Serial, TokenId, TokenUid};
use dbt_token_planner::interlock;
use dbt_token_planner::ledger::Ledger;
use dbt_token_planner::mark::{Mark, Origin};
use dbt_token_planner::observation::{
    Account, Allowance, Budget, Consumers, Observation, OpenAccount, Owner, Reading, Record, Slot, SlotContent, Target,
    TargetState, Token,
};
use dbt_token_planner::plan::{Step, plan};
use dbt_token_planner::rotation::RotationPolicy;
use jiff::Timestamp;
use serde_json::Value;

use crate::api::v1alpha1::ServiceTokenStatus;
use crate::cluster::status::{self, Wanted};

/// What the schema takes as the message of a condition.
const LONGEST_MESSAGE: usize = 4096;

/// The tokens that the object may have revoked: those that carry its mark, and the one that its slot holds. What else is
/// listed belongs to others.
const OURS: [i64; 4] = [1, 2, 3, 4];

fn now() -> Timestamp {
    Timestamp::from_second(1_795_506_000).expect("a time in range")
}

/// Plans with this status, and judges what is planned.
pub(super) fn play(ledger: Ledger, record: Record, written: &ServiceTokenStatus) {
    for observation in stages(ledger, record) {
        let first = plan(&observation, now());
        assert_eq!(plan(&observation, now()), first, "another plan for the same observation");
        assert!(first.wake_at.is_none_or(|time| time > now()), "{:?}", first.wake_at);
        let wanted = Wanted { report: &first.report, ledger: &observation.ledger, effective: None, projects: &[] };
        if let Some(patch) = status::patch(written, wanted, now()) {
            let conditions = patch["conditions"].as_array().cloned().unwrap_or_default();
            let fits = |it: &Value| it["message"].as_str().is_some_and(|text| text.chars().count() <= LONGEST_MESSAGE);
            assert!(conditions.iter().all(fits), "{conditions:?}");
        }
        // A serial cannot be followed by one at the end of all numbers.
        let Step::Act(effect) = first.step else { continue };
        if observation.highest_serial().0 == i64::MAX {
            continue;
        }
        assert_eq!(interlock::check(&observation, &effect), Ok(()), "{effect:?}");
        if let Some(token) = harmed(&observation, &effect) {
            assert!(OURS.contains(&token.0), "{effect:?}");
        }
    }
}

/// The words of the effects that are planned.
#[cfg(test)]
pub(super) fn words(ledger: Ledger, record: Record) -> impl Iterator<Item = &'static str> {
    let words = stages(ledger, record).map(|observation| match plan(&observation, now()).step {
        Step::Act(effect) => Some(effect.word()),
        _ => None,
    });
    words.into_iter().flatten()
}

/// The token that loses its life, its name, or the only copy of its string.
fn harmed(observation: &Observation, effect: &Effect) -> Option<TokenId> {
    match effect {
        Effect::Retire { token, .. }
        | Effect::Revoke { token, .. }
        | Effect::Grant { token, .. }
        | Effect::Rename { token, .. }
        | Effect::CondemnAdopted { token, .. } => Some(*token),
        Effect::CloseSlot(serial) => observation.slot(*serial).and_then(Slot::token),
        _ => None,
    }
}

/// The object among leftovers, without them, with a Secret that somebody emptied, and under deletion.
fn stages(ledger: Ledger, record: Record) -> [Observation; 4] {
    let cluttered = observation(ledger, record);
    let dying = Observation { deleted_at: Some(now()), ..cluttered.clone() };
    let tidy = Observation { slots: vec![slot(4, 2, true), slot(5, 1, true)], ..cluttered.clone() };
    let nothing = TargetState { token: None, rule: None, intact: true, taken_over: false };
    let emptied = Observation { target: Target::Ours(nothing), ..tidy.clone() };
    [cluttered, tidy, emptied, dying]
}

fn rows() -> GrantRows {
    let row = GrantRow { permission_set: PermissionSet::new("job_admin"), scope: Scope::All, writable: BTreeSet::new() };
    GrantRows::new(vec![row])
}

fn mark(installation: &str, owner: &str, serial: i64) -> Option<Mark> {
    let (installation, owner) = (Installation::new(installation), OwnerUid::new(owner));
    Some(Mark { installation, owner, serial: Serial(serial), origin: Origin::Made })
}

/// What dbt lists: four tokens of the object, one without its mark; others of another object, another installation and of
/// nobody.
fn tokens() -> BTreeMap<TokenId, Token> {
    let token = |id: i64, mark: Option<Mark>, active: bool| {
        let (id, uid) = (TokenId(id), TokenUid::new(format!("uid000{id}")));
        let token = Token {
            id,
            uid,
            name: "a token".to_owned(),
            mark,
            active,
            rows: rows(),
            created_at: Some(now()),
            last_used: None,
            shows_links: false,
        };
        (id, token)
    };
    BTreeMap::from([
        token(1, mark("here", "uid-1", 5), true),
        token(2, mark("here", "uid-1", 4), true),
        token(3, mark("here", "uid-1", 3), false),
        token(4, None, true),
        token(5, mark("here", "uid-2", 5), true),
        token(6, mark("there", "uid-1", 6), true),
        token(7, None, true),
    ])
}

fn slot(serial: i64, token: i64, committed: bool) -> Slot {
    Slot {
        serial: Serial(serial),
        content: SlotContent::Filled {
            token: TokenId(token),
            uid: TokenUid::new(format!("uid000{token}")),
            granted: rows().fingerprint(),
        },
        committed,
        retained: false,
        condemned: None,
        created_at: now(),
        adopted: None,
    }
}

fn desired() -> Desired {
    let permission =
        Permission { permission_set: PermissionSet::new("job_admin"), projects: Projects::All, writable: BTreeSet::new() };
    let retirement = Retirement {
        after: Duration::from_secs(60),
        volume_sync: Duration::ZERO,
        quiet_period: Duration::ZERO,
        restart: BTreeSet::new(),
        deadline: None,
    };
    Desired {
        account: "analytics".to_owned(),
        token_name: "finance/dagster".to_owned(),
        permissions: vec![permission],
        secret_name: "dagster-dbt".to_owned(),
        secret_keys: vec!["token".to_owned()],
        verification_environment: None,
        allow_unproven: false,
        rotation: RotationPolicy::default(),
        retirement,
        deletion_policy: DeletionPolicy::Revoke,
        suspended: false,
        dry_run: false,
        adopt: None,
    }
}

fn account() -> OpenAccount {
    let grant = AccountGrant {
        sets: AllowedSets::Any,
        projects: AllowedProjects::All,
        writable: BTreeSet::new(),
        maximum_tokens: None,
        adopt: AdoptPolicy::Never,
    };
    OpenAccount {
        id: AccountId(42),
        plan: "enterprise".to_owned(),
        suspended: false,
        tokens: Reading::Known { value: tokens(), taken_at: now() },
        gone: BTreeMap::new(),
        projects: Reading::Known { value: Arc::default(), taken_at: now() },
        environments: Reading::Unknown,
        grants: vec![grant],
        budget: Budget { ordinary: Allowance::Free, repair: Allowance::Free },
        crowded_out: None,
        set_back_confirmed: None,
    }
}

fn observation(ledger: Ledger, record: Record) -> Observation {
    let rule = Some(RenderRule::new("rule-1"));
    let state = TargetState { token: Some(TokenId(1)), rule: rule.clone(), intact: true, taken_over: false };
    Observation {
        owner: Owner { uid: OwnerUid::new("uid-1"), namespace: "finance".to_owned(), name: "dagster".to_owned() },
        installation: Installation::new("here"),
        generation: 3,
        created_at: Timestamp::from_second(1_795_000_000).expect("a time in range"),
        deleted_at: None,
        finalizer: true,
        rotate_at: None,
        compromised: None,
        desired: Ok(desired()),
        deletion_policy: DeletionPolicy::Revoke,
        ledger,
        record,
        account: Account::Ready(Box::new(account())),
        slots: vec![slot(2, 4, false), slot(3, 3, true), slot(4, 2, true), slot(5, 1, true)],
        target: Target::Ours(state),
        rule,
        consumers: Reading::Known { value: Consumers::Seen(Vec::new()), taken_at: now() },
        workloads: Reading::Unknown,
        senior: None,
        look: None,
        fresh_after: now(),
        trouble: None,
    }
}

/// The metadata of a slot as the operator writes it.
#[cfg(test)]
pub(super) fn slot_metadata() -> Value {
    use crate::cluster::names;
    use crate::cluster::slot::{Belonging, slot_name};

    let belonging = Belonging {
        installation: Installation::new("prod-eu"),
        owner: Owner { uid: OwnerUid::new("uid-1"), namespace: "finance".to_owned(), name: "dagster".to_owned() },
        account: "analytics".to_owned(),
        account_id: AccountId(42),
    };
    serde_json::json!({
        "name": slot_name(&belonging, Serial(7)), "namespace": "operator", "uid": "slot-uid", "resourceVersion": "41",
        "creationTimestamp": "2026-11-24T08:00:00Z",
        "labels": {names::SLOT: "true", names::OWNER_UID: "uid-1", names::SERIAL: "7", names::INSTALLATION: "prod-eu"},
        "annotations": {
            names::OWNER_NAMESPACE: "finance", names::OWNER_NAME: "dagster", names::ACCOUNT: "analytics",
            names::ACCOUNT_ID: "42", names::TOKEN_ID: "2202", names::TOKEN_UID: "k0PqL-2", names::GRANTED: "00ff",
        },
    })
}
