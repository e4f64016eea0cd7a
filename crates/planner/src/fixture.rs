//! Observations for tables: a healthy account and one object, changed a word at a time. Holds no judgement.

mod adopting;
pub(crate) mod restarting;
mod rotating;
mod words;

pub(crate) use self::words::{effect, ledger, planned, turn};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::adoption::AdoptPolicy;
use crate::desired::{DeletionPolicy, Desired, Permission, ProjectReference, Projects, Retirement};
use crate::effect::{Effect, Need};
use crate::grant::{AccountGrant, AllowedProjects, AllowedSets, GrantRow, GrantRows, Scope};
use crate::identity::{
    AccountId, EnvironmentId, Installation, OwnerUid, PermissionSet, ProjectId, RenderRule, Serial, TokenId, TokenUid,
    WriteCategory,
};
use crate::ledger::{Attempt, Cause, Entry, Ledger};
use crate::mark::{Mark, Origin};
use crate::observation::{
    Account, Allowance, Budget, Condemnation, CondemnedReason, Consumers, Observation, OpenAccount, Owner, Project, Reading,
    Record, Slot, SlotContent, Target, TargetState, Token, TokenLimit, Trouble, TroubleKind,
};
use crate::plan::{self, Block, Plan, Step, Turn, Wait};
use crate::report::{Condition, ConditionStatus, ConditionType, Published, RetiringRecord};
use crate::rotation::RotationPolicy;
use crate::schedule::Schedule;
use crate::window::{Window, Zone};

/// 2026-11-24T07:40:00Z, the moment at which tables look.
const NOW_SECONDS: i64 = 1_795_506_000;

/// So many seconds after the moment at which tables look.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW_SECONDS + seconds).expect("tables stay near their own time")
}

/// The moment at which tables look.
pub(crate) fn now() -> Timestamp {
    at(0)
}

/// One row without write environments; project 0 stands for all projects.
pub(crate) fn row(set: &str, project: i64) -> GrantRow {
    let scope = if project == 0 { Scope::All } else { Scope::Project(ProjectId(project)) };
    GrantRow { permission_set: PermissionSet::new(set), scope, writable: BTreeSet::new() }
}

/// Several of them.
pub(crate) fn rows(rows: &[(&str, i64)]) -> GrantRows {
    GrantRows::new(rows.iter().map(|(set, project)| row(set, *project)).collect())
}

/// A declared permission; no project stands for all of them, a number for an id, anything else for a name.
pub(crate) fn permission(set: &str, projects: &[&str]) -> Permission {
    let reference = |text: &&str| {
        text.parse().map_or_else(|_| ProjectReference::Name((*text).into()), |id| ProjectReference::Id(ProjectId(id)))
    };
    let projects = if projects.is_empty() { Projects::All } else { Projects::Named(projects.iter().map(reference).collect()) };
    Permission { permission_set: PermissionSet::new(set), projects, writable: BTreeSet::new() }
}

/// Kinds of environments.
pub(crate) fn kinds(kinds: &[&str]) -> BTreeSet<WriteCategory> {
    kinds.iter().copied().map(WriteCategory::new).collect()
}

/// A grant of an account; no set stands for every set, no project for all of them.
pub(crate) fn grant(sets: &[&str], projects: &[i64], writable: &[&str]) -> AccountGrant {
    let any = sets.is_empty();
    AccountGrant {
        sets: if any { AllowedSets::Any } else { AllowedSets::Named(sets.iter().copied().map(PermissionSet::new).collect()) },
        projects: match projects {
            [] => AllowedProjects::All,
            ids => AllowedProjects::Named(ids.iter().copied().map(ProjectId).collect()),
        },
        writable: kinds(writable),
        maximum_tokens: None,
        adopt: AdoptPolicy::Proven,
    }
}

/// What went wrong a minute ago, and is tried again so many seconds from now.
pub(crate) fn trouble(kind: TroubleKind, retry: i64) -> Trouble {
    Trouble { kind, message: "it failed".into(), since: at(-60), retry_at: at(retry) }
}

/// A new object with a healthy account: `job_admin` on all projects, an empty list read a moment ago, nothing made yet.
pub(crate) fn object() -> Observation {
    Observation {
        owner: Owner { uid: OwnerUid::new("uid-1"), namespace: "finance".into(), name: "dagster".into() },
        installation: Installation::new("here"),
        generation: 1,
        created_at: at(-90_000),
        deleted_at: None,
        finalizer: true,
        rotate_at: None,
        compromised: None,
        desired: Ok(Desired {
            account: "analytics".into(),
            token_name: "finance/dagster".into(),
            permissions: vec![permission("job_admin", &[])],
            secret_name: "dagster-dbt".into(),
            secret_keys: vec!["token".into()],
            verification_environment: None,
            allow_unproven: false,
            rotation: RotationPolicy::default(),
            retirement: Retirement {
                after: Duration::from_secs(600),
                volume_sync: Duration::from_secs(180),
                quiet_period: Duration::ZERO,
                restart: BTreeSet::new(),
                deadline: None,
            },
            deletion_policy: DeletionPolicy::Revoke,
            suspended: false,
            dry_run: false,
            adopt: None,
        }),
        deletion_policy: DeletionPolicy::Revoke,
        ledger: Ledger::default(),
        record: Record { observed_generation: 1, ..Record::default() },
        account: Account::Ready(Box::new(account())),
        slots: Vec::new(),
        target: Target::Missing,
        rule: Some(RenderRule::new("rule-1")),
        workloads: Reading::Unknown,
        consumers: Reading::Known { value: Consumers::Seen(Vec::new()), taken_at: at(0) },
        senior: None,
        look: None,
        fresh_after: at(-30),
        trouble: None,
    }
}

fn account() -> OpenAccount {
    let project = |id, name: &str| Project { id: ProjectId(id), name: name.into() };
    OpenAccount {
        id: AccountId(42),
        plan: "enterprise".into(),
        suspended: false,
        tokens: Reading::Known { value: BTreeMap::new(), taken_at: at(-10) },
        gone: BTreeMap::new(),
        projects: Reading::Known {
            value: vec![project(700, "Finance"), project(701, "Marketing"), project(702, "Shop"), project(703, "Shop")].into(),
            taken_at: at(-10),
        },
        environments: Reading::Known { value: BTreeMap::from([(ProjectId(700), EnvironmentId(9))]).into(), taken_at: at(-10) },
        grants: vec![grant(&[], &[], &["all"])],
        budget: Budget { ordinary: Allowance::Free, repair: Allowance::Free },
        crowded_out: None,
        set_back_confirmed: None,
    }
}

/// Changes, one word each, that tables put together.
impl Observation {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn with_account(mut self, change: impl FnOnce(&mut OpenAccount)) -> Self {
        match &mut self.account {
            Account::Ready(account) => change(account),
            _ => panic!("the account of this fixture was replaced"),
        }
        self
    }

    pub(crate) fn with_desired(mut self, change: impl FnOnce(&mut Desired)) -> Self {
        change(self.desired.as_mut().expect("the spec of this fixture was replaced"));
        self
    }

    fn with_tokens(self, change: impl FnOnce(&mut BTreeMap<TokenId, Token>)) -> Self {
        self.with_account(|account| match &mut account.tokens {
            Reading::Known { value, .. } => change(value),
            Reading::Unknown => panic!("the list of this fixture was replaced"),
        })
    }

    /// What the fixture declares, as rows.
    fn declared(&self) -> GrantRows {
        let projects = self.account.open().and_then(|account| account.projects.value().cloned()).unwrap_or_default();
        let desired = self.desired.as_ref().expect("the spec of this fixture was replaced");
        crate::grant::resolve(&desired.permissions, &projects).unwrap_or_default()
    }

    /// A token in dbt's list, with our mark and the declared permissions.
    pub(crate) fn listed(self, serial: i64, token: i64) -> Self {
        let mark = Mark {
            installation: self.installation.clone(),
            owner: self.owner.uid.clone(),
            serial: Serial(serial),
            origin: Origin::Made,
        };
        let rows = self.declared();
        let token = Token {
            id: TokenId(token),
            uid: TokenUid::new(format!("uid{token}")),
            name: mark.name("finance/dagster"),
            mark: Some(mark),
            active: true,
            rows,
            created_at: Some(at(-80_000)),
            last_used: None,
            shows_links: false,
        };
        self.with_tokens(|tokens| {
            tokens.insert(token.id, token);
        })
    }

    pub(crate) fn token(self, token: i64, change: impl FnOnce(&mut Token)) -> Self {
        self.with_tokens(|tokens| change(tokens.get_mut(&TokenId(token)).expect("the token is not listed")))
    }

    /// dbt lists the token as deleted.
    pub(crate) fn inactive(self, token: i64) -> Self {
        self.token(token, |token| token.active = false)
    }

    /// dbt's list does not show the token.
    pub(crate) fn unlisted(self, token: i64) -> Self {
        self.with_tokens(|tokens| {
            tokens.remove(&TokenId(token));
        })
    }

    /// A read of this very token answered that it is not there.
    pub(crate) fn gone(self, token: i64) -> Self {
        self.unlisted(token).with_account(|account| {
            account.gone.insert(TokenId(token), at(-5));
        })
    }

    /// The list is older than what this process did last.
    pub(crate) fn stale(self) -> Self {
        self.with(|observation| observation.fresh_after = at(-1))
    }

    /// There is no list.
    pub(crate) fn listless(self) -> Self {
        self.with_account(|account| account.tokens = Reading::Unknown)
    }

    pub(crate) fn with_slot(mut self, serial: i64, token: Option<i64>, change: impl FnOnce(&mut Slot)) -> Self {
        let granted = self.declared().fingerprint();
        let content = token.map_or(SlotContent::Empty, |token| SlotContent::Filled {
            token: TokenId(token),
            uid: TokenUid::new(format!("uid{token}")),
            granted,
        });
        let mut slot = Slot {
            serial: Serial(serial),
            content,
            committed: false,
            retained: false,
            condemned: None,
            created_at: at(-3600),
            adopted: None,
        };
        change(&mut slot);
        self.slots.push(slot);
        self.slots.sort_by_key(|slot| slot.serial);
        self
    }

    pub(crate) fn empty_slot(self, serial: i64) -> Self {
        self.with_slot(serial, None, |_| {})
    }

    pub(crate) fn filled_slot(self, serial: i64, token: i64) -> Self {
        self.with_slot(serial, Some(token), |_| {})
    }

    pub(crate) fn committed_slot(self, serial: i64, token: i64) -> Self {
        self.with_slot(serial, Some(token), |slot| slot.committed = true)
    }

    pub(crate) fn condemned_slot(self, serial: i64, token: i64, reason: CondemnedReason) -> Self {
        let condemned = Some(Condemnation { reason, detail: "HTTP 401".into() });
        self.with_slot(serial, Some(token), |slot| slot.condemned = condemned)
    }

    pub(crate) fn retained_record(self, serial: i64, token: i64) -> Self {
        self.with_slot(serial, Some(token), |slot| slot.retained = true)
    }

    /// The copy of the string is gone.
    pub(crate) fn slot_lost(mut self, serial: i64) -> Self {
        self.slots.retain(|slot| slot.serial != Serial(serial));
        self
    }

    pub(crate) fn slot_changed(mut self, serial: i64, change: impl FnOnce(&mut Slot)) -> Self {
        change(self.slots.iter_mut().find(|slot| slot.serial == Serial(serial)).expect("there is no such slot"));
        self
    }

    fn opened_up_to(mut self, serial: i64) -> Self {
        self.ledger.installation = Some(self.installation.clone());
        self.ledger.serial = self.ledger.serial.max(serial);
        self
    }

    /// Published for a day: ledger, slot, list, target, status and the condition Ready all say so.
    pub(crate) fn published(self, serial: i64, token: i64) -> Self {
        self.opened_up_to(serial).committed_slot(serial, token).listed(serial, token).holding(token).with(|observation| {
            observation.ledger.current = Some(Entry { serial: Serial(serial), token: TokenId(token) });
            observation.record.published = Some(Published { token: TokenId(token), at: at(-86_400) });
            observation.record.conditions = vec![Condition {
                kind: ConditionType::Ready,
                status: ConditionStatus::True,
                reason: "Published".into(),
                message: format!("Secret dagster-dbt holds token {token}, which dbt accepted with the declared permissions"),
            }];
        })
    }

    /// A replaced token that left the target so many seconds ago.
    pub(crate) fn retiring(self, serial: i64, token: i64, seconds_ago: i64) -> Self {
        self.opened_up_to(serial).committed_slot(serial, token).listed(serial, token).with(|observation| {
            observation.ledger.retiring.push(Entry { serial: Serial(serial), token: TokenId(token) });
            observation.record.retiring.push(RetiringRecord { token: TokenId(token), replaced_at: at(-seconds_ago) });
        })
    }

    /// An attempt for what is declared is under way.
    pub(crate) fn attempt(self, serial: i64, cause: Cause, failures: u32) -> Self {
        let fingerprint = self.declared().fingerprint();
        self.opened_up_to(serial).with(|observation| {
            observation.ledger.next = Some(Attempt { serial: Serial(serial), fingerprint, failures, cause });
        })
    }

    /// The target is ours, untouched, and holds this token.
    pub(crate) fn holding(mut self, token: i64) -> Self {
        self.target = Target::Ours(TargetState {
            token: Some(TokenId(token)),
            rule: Some(RenderRule::new("rule-1")),
            intact: true,
            taken_over: false,
        });
        self
    }

    /// The target is ours and still empty.
    pub(crate) fn claimed(mut self) -> Self {
        self.target = Target::Ours(TargetState { token: None, rule: None, intact: true, taken_over: false });
        self
    }

    /// A user changed the permissions.
    pub(crate) fn edited(self, permissions: Vec<Permission>) -> Self {
        self.with(|observation| observation.generation += 1).with_desired(|desired| desired.permissions = permissions)
    }

    pub(crate) fn deleted(mut self, seconds_ago: i64, policy: DeletionPolicy) -> Self {
        self.deleted_at = Some(at(-seconds_ago));
        self.deletion_policy = policy;
        self
    }

    pub(crate) fn not_ready(mut self) -> Self {
        self.account = Account::NotReady { reason: "Unreachable".into(), message: "ab123.us1.dbt.com: time-out".into() };
        self
    }

    pub(crate) fn budget_used_up(self) -> Self {
        let used_up = Allowance::UsedUp { limit: 200, free_at: at(900) };
        self.with_account(|account| account.budget = Budget { ordinary: used_up, repair: used_up })
    }

    pub(crate) fn crowded_out(self) -> Self {
        let limit = TokenLimit { scope: "namespace finance".into(), count: 20, limit: 20 };
        self.with_account(|account| account.crowded_out = Some(limit))
    }

    pub(crate) fn troubled(mut self, kind: TroubleKind, retry: i64) -> Self {
        self.trouble = Some(trouble(kind, retry));
        self
    }

    pub(crate) fn plan(&self) -> Plan {
        plan::plan(self, now())
    }
}
