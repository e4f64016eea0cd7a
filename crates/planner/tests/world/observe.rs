//! What a replica sees, and the `Observation` that the shell would build of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dbt_token_planner::adoption::{AdoptPermissions, AdoptPolicy, Adoption, Finding, Fit, Holder, Look, Source};
use dbt_token_planner::desired::{DeletionPolicy, Desired, Permission, Projects};
use dbt_token_planner::grant::{AccountGrant, AllowedProjects, AllowedSets, GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{
    AccountId, EnvironmentId, Fingerprint, Installation, OwnerUid, PermissionSet, ProjectId, RenderRule, Serial, TokenId,
    TokenUid, WriteCategory,
};
use dbt_token_planner::ledger::Ledger;
use dbt_token_planner::mark::{Mark, Origin};
use dbt_token_planner::observation as seen;
use dbt_token_planner::report::{Published, RetiringRecord};
use dbt_token_planner::rotation::RotationPolicy;
use jiff::Timestamp;

use super::mutation::Mutation;
use super::shared::Shared;
use super::{BASE, List, Marked, NO_ROWS, Object, Pod, Ser, Slot, TICK, Target, Tok, Token, Toks, World, bit};

/// Everything that one look of one replica shows. Equal views give equal plans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub tick: u8,
    pub object: Object,
    pub slots: Vec<Slot>,
    pub target: Target,
    pub list: Option<List>,
    pub listed_at: u8,
    pub consumers: Option<(Option<Pod>, u8)>,
    pub fresh: bool,
    pub absent: Toks,
    pub account_ready: bool,
    pub confirmed: bool,
    pub look: Option<(super::Seen, u8)>,
}

impl View {
    /// What the replica sees now: its caches where they lag, the truth elsewhere.
    pub fn of(world: &World, replica: usize, shared: &Shared) -> Self {
        let replica = &world.replicas[replica];
        let object = replica.object.as_ref().map_or_else(|| world.object.clone(), |cached| cached.value.clone());
        // A ledger is rebuilt from slots that were read live.
        let rebuilds = shared.ledger(object.ledger).is_blank() && !shared.is(Mutation::RebuildFromCache);
        let slots = replica.slots.as_ref().filter(|_| !rebuilds).unwrap_or(&world.slots).clone();
        Self {
            tick: world.tick,
            object,
            slots,
            target: replica.target.as_ref().map_or(world.target, |cached| cached.value),
            list: if replica.list_lags { replica.list.clone() } else { Some(world.list(shared.hides)) },
            listed_at: if replica.list_lags { replica.listed_at } else { world.tick },
            consumers: replica.consumers,
            fresh: !replica.list_lags || replica.fresh,
            absent: replica.absent,
            account_ready: world.account_ready,
            confirmed: world.confirmed,
            look: replica.look,
        }
    }
}

pub fn time(tick: u8) -> Timestamp {
    Timestamp::from_second(BASE + i64::from(tick) * TICK).expect("a time of this century")
}

pub fn tick_of(time: Timestamp) -> u8 {
    u8::try_from((time.as_second() - BASE) / TICK).expect("a time of this history")
}

pub fn token_id(token: Tok) -> TokenId {
    TokenId(i64::from(token) + 1)
}

pub fn tok(token: TokenId) -> Tok {
    Tok::try_from(token.0 - 1).expect("a token of this history")
}

pub fn serial(serial: Ser) -> Serial {
    Serial(BASE - 1 + i64::from(serial))
}

pub fn ser(serial: Serial) -> Ser {
    Ser::try_from(serial.0 - BASE + 1).expect("a serial of this history")
}

pub fn installation() -> Installation {
    Installation::new("here")
}

pub fn other_installation() -> Installation {
    Installation::new("elsewhere")
}

pub fn owner() -> seen::Owner {
    seen::Owner { uid: OwnerUid::new("owner"), namespace: "finance".into(), name: "token".into() }
}

pub fn rule() -> RenderRule {
    RenderRule::new("rule")
}

/// Beside what tells the rows apart, every token may query the Semantic Layer, so that its links have to be carried over.
fn permission_sets(rows: u8) -> [PermissionSet; 2] {
    ["semantic_layer_only", ["", "job_viewer", "job_admin", "account_admin"][usize::from(rows)]].map(PermissionSet::new)
}

pub fn rows(rows: u8) -> GrantRows {
    if rows == NO_ROWS {
        return GrantRows::default();
    }
    let row = |permission_set| GrantRow { permission_set, scope: Scope::All, writable: BTreeSet::new() };
    GrantRows::new(permission_sets(rows).map(row).to_vec())
}

pub fn fingerprint(number: u8) -> Fingerprint {
    rows(number).fingerprint()
}

pub fn rows_number(granted: &GrantRows) -> u8 {
    (0..4).find(|number| rows(*number) == *granted).expect("rows of this history")
}

/// Where the string of an adoption is.
pub fn source() -> Source {
    Source { secret: "old".into(), key: "token".into() }
}

fn look(seen: super::Seen, tick: u8) -> Look {
    let fit = |token, holder| Finding::Fits(vec![Fit { token: token_id(token), holder }]);
    let finding = match seen {
        super::Seen::Missing => Finding::Missing,
        super::Seen::Fits(token) => fit(token, Holder::Nobody),
        super::Seen::FitsRival(token) => fit(token, Holder::Object("finance/rival".into())),
        super::Seen::Unknown => Finding::Fits(Vec::new()),
        super::Seen::Refused => Finding::Refused { detail: "401".into() },
        super::Seen::Claimed(token) => Finding::Claimed { token: token_id(token), by: "finance/rival".into() },
        super::Seen::StillHeld(token) => Finding::StillHeld(token_id(token)),
    };
    Look { finding, taken_at: time(tick) }
}

fn desired(object: &Object, shared: &Shared) -> Desired {
    let permission = |permission_set| Permission { permission_set, projects: Projects::All, writable: BTreeSet::new() };
    Desired {
        account: "main".into(),
        token_name: "token".into(),
        permissions: permission_sets(object.rows).map(permission).to_vec(),
        secret_name: "token".into(),
        secret_keys: vec!["token".into()],
        verification_environment: None,
        allow_unproven: false,
        rotation: RotationPolicy::default(),
        retirement: shared.retirement.clone(),
        deletion_policy: policy(object),
        suspended: false,
        dry_run: false,
        adopt: shared.adopts.then(|| Adoption { source: source(), token: None, permissions: AdoptPermissions::Match }),
    }
}

/// The value of both annotations; only an emergency is ever asked for here.
fn asked(object: &Object) -> Option<String> {
    (object.asked > 0).then(|| object.asked.to_string())
}

fn policy(object: &Object) -> DeletionPolicy {
    if object.retain { DeletionPolicy::Retain } else { DeletionPolicy::Revoke }
}

fn record(object: &Object) -> seen::Record {
    let published = object.record.published.map(|(token, at)| Published { token: token_id(token), at: time(at) });
    let retiring = object.record.retiring.iter();
    let retiring = retiring.map(|(token, at)| RetiringRecord { token: token_id(*token), replaced_at: time(*at) }).collect();
    seen::Record { published, retiring, ..seen::Record::default() }
}

/// 5 May 2022.
const LEGACY: i64 = 1_651_744_800;

fn token(index: Tok, token: &Token) -> seen::Token {
    let origin = if token.made_outside { Origin::Adopted } else { Origin::Made };
    let mark = |installation| Mark { installation, owner: owner().uid, serial: serial(token.serial), origin };
    seen::Token {
        id: token_id(index),
        uid: TokenUid::new(format!("uid{index}")),
        name: "token".into(),
        mark: match token.mark {
            Marked::Ours => Some(mark(installation())),
            Marked::OtherInstallation => Some(mark(other_installation())),
            Marked::Nothing => None,
        },
        active: token.active,
        rows: rows(token.rows),
        created_at: if token.legacy { Timestamp::from_second(LEGACY).ok() } else { None },
        last_used: token.used.then(|| time(token.used_at)),
        shows_links: false,
    }
}

fn slot(slot: &Slot) -> seen::Slot {
    seen::Slot {
        serial: serial(slot.serial),
        content: match slot.token {
            None => seen::SlotContent::Empty,
            Some(token) => seen::SlotContent::Filled {
                token: token_id(token),
                uid: TokenUid::new(format!("uid{token}")),
                granted: fingerprint(slot.granted),
            },
        },
        committed: slot.committed,
        retained: slot.retained,
        condemned: slot.condemned.then(seen::Condemnation::superseded),
        created_at: time(0),
        adopted: slot.adopted.then(source),
    }
}

fn target(target: Target) -> seen::Target {
    match target {
        // Only Secrets with our label are watched.
        Target::Missing | Target::Released(_) => seen::Target::Missing,
        Target::Foreign => seen::Target::Foreign { manager: "kubectl".into() },
        Target::Ours { token, intact } => seen::Target::Ours(seen::TargetState {
            token: token.map(token_id),
            rule: token.is_some().then(rule),
            intact,
            taken_over: false,
        }),
    }
}

/// When the list was read, and since when lists count. Where last uses do not count, only whether one is new is told.
fn freshness(view: &View, shared: &Shared) -> (Timestamp, Timestamp) {
    let now = time(view.tick);
    if !shared.last_uses_count() {
        return (if view.fresh { now } else { earlier(now) }, now);
    }
    let read_at = time(view.listed_at);
    (if view.fresh { read_at } else { earlier(read_at) }, read_at)
}

fn consumers(view: &View, shared: &Shared) -> seen::Reading<seen::Consumers> {
    if !shared.pods {
        return seen::Reading::Known { value: seen::Consumers::Seen(Vec::new()), taken_at: time(view.tick) };
    }
    let Some((pod, tick)) = view.consumers else { return seen::Reading::Unknown };
    let consumer = |pod: Pod| seen::Consumer {
        pod: "pod".into(),
        created_at: time(pod.created),
        way: seen::Way::Environment,
        running_since: Some(time(pod.since)),
    };
    seen::Reading::Known { value: seen::Consumers::Seen(pod.map(consumer).into_iter().collect()), taken_at: time(tick) }
}

fn account(view: &View, now: Timestamp, shared: &Shared) -> seen::Account {
    if !view.account_ready {
        return seen::Account::NotReady { reason: "Unreachable".into(), message: "no answer".into() };
    }
    let (taken_at, _) = freshness(view, shared);
    let tokens = match &view.list {
        None => seen::Reading::Unknown,
        Some(list) => {
            let value: BTreeMap<_, _> = list.iter().map(|(index, listed)| (token_id(*index), token(*index, listed))).collect();
            seen::Reading::Known { value, taken_at }
        }
    };
    let absent = (0..16).filter(|index| view.absent & bit(*index) != 0);
    seen::Account::Ready(Box::new(seen::OpenAccount {
        id: AccountId(1),
        plan: "enterprise".into(),
        suspended: false,
        tokens,
        gone: absent.map(|index| (token_id(index), now)).collect(),
        projects: seen::Reading::Known { value: Arc::default(), taken_at: now },
        environments: seen::Reading::Known { value: BTreeMap::from([(ProjectId(1), EnvironmentId(1))]).into(), taken_at: now },
        grants: vec![AccountGrant {
            sets: AllowedSets::Any,
            projects: AllowedProjects::All,
            writable: BTreeSet::from([WriteCategory::new("all")]),
            maximum_tokens: None,
            adopt: AdoptPolicy::Proven,
        }],
        budget: seen::Budget { ordinary: seen::Allowance::Free, repair: seen::Allowance::Free },
        crowded_out: None,
        set_back_confirmed: view.confirmed.then_some(Serial(i64::MAX)),
    }))
}

fn earlier(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second() - 1).expect("a time of this century")
}

/// What the shell would hand to the planner.
pub fn observation(view: &View, shared: &Shared) -> seen::Observation {
    let now = time(view.tick);
    seen::Observation {
        owner: owner(),
        installation: installation(),
        generation: 1,
        created_at: time(0),
        deleted_at: view.object.deleted.map(time),
        finalizer: view.object.finalizer,
        rotate_at: asked(&view.object),
        compromised: asked(&view.object),
        desired: Ok(desired(&view.object, shared)),
        deletion_policy: policy(&view.object),
        ledger: shared.ledger(view.object.ledger).as_ref().clone(),
        record: record(&view.object),
        account: account(view, now, shared),
        slots: view.slots.iter().map(slot).collect(),
        target: target(view.target),
        rule: Some(rule()),
        consumers: consumers(view, shared),
        workloads: seen::Reading::Unknown,
        senior: None,
        look: view.look.map(|(seen, tick)| look(seen, tick)),
        fresh_after: freshness(view, shared).1,
        trouble: None,
    }
}

/// A ledger as it comes with a copy of another installation's cluster.
pub fn copied(ledger: &Ledger) -> Ledger {
    Ledger { installation: Some(other_installation()), ..ledger.clone() }
}
