//! Observations at random: any at all, however little sense its parts make together. Small pools of serials, tokens and
//! times make the parts meet; their ends make the arithmetic sweat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dbt_token_planner::adoption::{AdoptPermissions, AdoptPolicy, Adoption, Finding, Fit, Holder, Look, Source};
use dbt_token_planner::desired::{
    Deadline, DeletionPolicy, Desired, OnDeadline, Permission, ProjectReference, Projects, Refusal, Retirement, WorkloadKind,
};
use dbt_token_planner::grant::{self, AccountGrant, AllowedProjects, AllowedSets, GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{
    AccountId, EnvironmentId, Fingerprint, Installation, OwnerUid, PermissionSet, ProjectId, RenderRule, Serial, TokenId,
    TokenUid, WriteCategory,
};
use dbt_token_planner::ledger::{Attempt, Cause, Entry, Ledger, MAXIMUM_RETIRING};
use dbt_token_planner::mark::{Mark, Origin};
use dbt_token_planner::observation::{
    Account, Allowance, Budget, Condemnation, CondemnedReason, Consumer, Consumers, Observation, OpenAccount, Owner, Pace,
    Progress, Project, Reading, Record, Slot, SlotContent, Target, TargetState, Token, TokenLimit, Trouble, TroubleKind,
    Unreadable, Way, Workload, WorkloadReference, Workloads,
};
use dbt_token_planner::report::{Condition, ConditionStatus, ConditionType, Published, Replacement, RetiringRecord};
use dbt_token_planner::rotation::{LegacyPolicy, RotationPolicy};
use dbt_token_planner::schedule::Schedule;
use dbt_token_planner::window::{Window, Zone};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::{self, weighted};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

/// 2026-11-24T07:40:00Z.
pub const NOW_SECONDS: i64 = 1_795_506_000;

/// The moment at which most properties look.
pub fn now() -> Timestamp {
    Timestamp::from_second(NOW_SECONDS).expect("a time in range")
}

/// Any time: near now as a rule, at the ends of time now and then.
pub fn time() -> impl Strategy<Value = Timestamp> {
    let near = select(vec![-90_000_i64, -3600, -600, -60, -1, 0, 1, 59, 600, 3600, 90_000]);
    prop_oneof![
        9 => near.prop_map(|seconds| Timestamp::from_second(NOW_SECONDS + seconds).expect("a time in range")),
        1 => select(vec![Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH]),
    ]
}

/// No serial is above it, but for the odd ones: a mark above the ledger's would stop everything else.
const HIGHEST_AS_A_RULE: i64 = 9;

fn serial() -> impl Strategy<Value = Serial> {
    let odd = vec![0, -1, i64::MIN, i64::MAX, NOW_SECONDS, NOW_SECONDS + 1, 400_000_000_000];
    prop_oneof![12 => 1_i64..7, 1 => select(odd)].prop_map(Serial)
}

fn token_id() -> impl Strategy<Value = TokenId> {
    prop_oneof![20 => 1_i64..7, 1 => select(vec![0, -1, i64::MIN, i64::MAX])].prop_map(TokenId)
}

fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn installation() -> impl Strategy<Value = Installation> {
    prop_oneof![9 => Just("here"), 1 => Just("there")].prop_map(Installation::new)
}

fn set() -> impl Strategy<Value = PermissionSet> {
    select(vec!["job_admin", "job_admin", "metadata_only", "brand_new"]).prop_map(PermissionSet::new)
}

fn kinds() -> impl Strategy<Value = BTreeSet<WriteCategory>> {
    prop_oneof![
        4 => Just(BTreeSet::new()),
        1 => btree_set(select(vec!["all", "staging"]).prop_map(WriteCategory::new), 0..3),
    ]
}

fn row() -> impl Strategy<Value = GrantRow> {
    let scope = prop_oneof![Just(Scope::All), select(vec![700, 701]).prop_map(|id| Scope::Project(ProjectId(id)))];
    (set(), scope, kinds()).prop_map(|(permission_set, scope, writable)| GrantRow { permission_set, scope, writable })
}

/// Often exactly what the simplest declaration asks for.
fn rows() -> impl Strategy<Value = GrantRows> {
    prop_oneof![2 => Just(simple_rows()), 1 => vec(row(), 0..3).prop_map(GrantRows::new)]
}

fn simple_rows() -> GrantRows {
    grant::resolve(&simple(), &[]).expect("no names")
}

fn simple() -> Vec<Permission> {
    vec![Permission { permission_set: PermissionSet::new("job_admin"), projects: Projects::All, writable: BTreeSet::new() }]
}

fn permission() -> impl Strategy<Value = Permission> {
    let reference = prop_oneof![
        select(vec![700, 701]).prop_map(|id| ProjectReference::Id(ProjectId(id))),
        text(&["Finance", "Shop", "Nowhere"]).prop_map(ProjectReference::Name),
    ];
    let projects = prop_oneof![Just(Projects::All), vec(reference, 1..3).prop_map(Projects::Named)];
    (set(), projects, kinds()).prop_map(|(permission_set, projects, writable)| Permission { permission_set, projects, writable })
}

fn policy() -> impl Strategy<Value = DeletionPolicy> {
    select(vec![DeletionPolicy::Revoke, DeletionPolicy::Retain])
}

fn length() -> impl Strategy<Value = Duration> {
    select(vec![
        Duration::ZERO,
        Duration::from_secs(600),
        Duration::from_secs(600),
        Duration::from_secs(7_776_000),
        Duration::MAX,
    ])
}

fn retirement() -> impl Strategy<Value = Retirement> {
    let then = select(vec![OnDeadline::Hold, OnDeadline::Delete]);
    let deadline = weighted(0.3, (length(), then).prop_map(|(after, then)| Deadline { after, then }));
    let quiet_period = prop_oneof![1 => Just(Duration::ZERO), 1 => length()];
    let restart = prop_oneof![2 => Just(BTreeSet::new()), 1 => btree_set(workload_kind(), 1..3)];
    (length(), length(), quiet_period, restart, deadline).prop_map(|(after, volume_sync, quiet_period, restart, deadline)| {
        Retirement { after, volume_sync, quiet_period, restart, deadline }
    })
}

fn workload_kind() -> impl Strategy<Value = WorkloadKind> {
    select(vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet])
}

fn workloads() -> impl Strategy<Value = Workloads> {
    let pace = select(vec![Pace::Rolling, Pace::Rolling, Pace::Paused, Pace::OnDelete, Pace::Partition(1)]);
    let progress = (any::<bool>(), 0_u32..2, 0_u32..2).prop_map(|(is_observed, outdated, unavailable)| Progress {
        is_observed,
        outdated,
        unavailable,
    });
    let reference = (workload_kind(), text(&["a", "b", "c"])).prop_map(|(kind, name)| {
        let version = format!("{}-{name}", kind.word());
        WorkloadReference { kind, name, version }
    });
    let workload = (reference, time(), option::of(time()), pace, progress).prop_map(
        |(reference, created_at, restarted_at, pace, progress)| Workload { reference, created_at, restarted_at, pace, progress },
    );
    let seen = (btree_set(workload_kind(), 1..4), vec(workload, 0..3)).prop_map(|(kinds, mut workloads)| {
        // One namespace has no two of one name.
        workloads.sort();
        workloads.dedup_by(|one, other| one.reference == other.reference);
        Workloads::Seen { kinds, workloads }
    });
    let unreadable = (workload_kind(), select(vec![Unreadable::Forbidden, Unreadable::Failed]))
        .prop_map(|(kind, why)| Workloads::Unreadable { kind, why });
    prop_oneof![3 => seen, 1 => unreadable]
}

fn consumers() -> impl Strategy<Value = Consumers> {
    let way = select(vec![Way::Environment, Way::SubPath, Way::Volume]);
    let consumer = (text(&["a", "b", "c"]), time(), way, option::of(time()))
        .prop_map(|(pod, created_at, way, running_since)| Consumer { pod, created_at, way, running_since });
    let unreadable = select(vec![Unreadable::Forbidden, Unreadable::Failed]);
    prop_oneof![3 => vec(consumer, 0..3).prop_map(Consumers::Seen), 1 => unreadable.prop_map(Consumers::Unreadable)]
}

/// Windows that are open now, later, always, or hardly ever.
fn window() -> impl Strategy<Value = Window> {
    let schedules = vec!["0 7 * * *", "0 2 * * SAT", "*/15 * * * *", "30 2 * 3,10 SUN", "0 0 29 2 *"];
    let zones = vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe"];
    (select(schedules), select(vec![15, 240, 10_080]), select(zones)).prop_map(|(schedule, minutes, zone)| Window {
        schedule: Schedule::parse(schedule).expect("a schedule"),
        length: Duration::from_secs(minutes * 60),
        zone: Zone::named(zone).expect("a zone"),
    })
}

/// Ages around that of the tokens, and the longest one that there is.
fn rotation() -> impl Strategy<Value = RotationPolicy> {
    let ages =
        select(vec![Duration::from_secs(3600), Duration::from_secs(90_000), Duration::from_secs(7_776_000), Duration::MAX]);
    let windows = prop_oneof![2 => Just(Vec::new()), 1 => vec(window(), 1..3)];
    (select(vec![LegacyPolicy::Rotate, LegacyPolicy::Report]), weighted(0.4, ages), windows)
        .prop_map(|(legacy, maximum_age, windows)| RotationPolicy { legacy, maximum_age, windows })
}

/// Any declaration that can be worked with.
pub fn desired() -> impl Strategy<Value = Desired> {
    let permissions = prop_oneof![2 => Just(simple()), 1 => vec(permission(), 1..3)];
    let environment = option::of(Just(EnvironmentId(9)));
    let when = (rotation(), retirement());
    let held = (weighted(0.05, Just(())), weighted(0.15, Just(())));
    (permissions, environment, any::<bool>(), when, policy(), held).prop_map(
        |(
            permissions,
            verification_environment,
            allow_unproven,
            (rotation, retirement),
            deletion_policy,
            (suspended, dry_run),
        )| Desired {
            account: "analytics".into(),
            token_name: "finance/dagster".into(),
            permissions,
            secret_name: "dagster-dbt".into(),
            secret_keys: vec!["token".into()],
            verification_environment,
            allow_unproven,
            rotation,
            retirement,
            deletion_policy,
            suspended: suspended.is_some(),
            dry_run: dry_run.is_some(),
            adopt: None,
        },
    )
}

/// Declared is, now and then, that a token is to be taken over.
fn adoption() -> impl Strategy<Value = Option<Adoption>> {
    let permissions = select(vec![AdoptPermissions::Match, AdoptPermissions::Replace]);
    let adoption = (source(), weighted(0.3, token_id()), permissions);
    weighted(0.4, adoption.prop_map(|(source, token, permissions)| Adoption { source, token, permissions }))
}

fn source() -> impl Strategy<Value = Source> {
    text(&["old", "old", "dagster-dbt"]).prop_map(|secret| Source { secret, key: "token".into() })
}

fn look() -> impl Strategy<Value = Option<Look>> {
    let holder = select(vec![Holder::Nobody, Holder::Nobody, Holder::Account, Holder::Object("a/b".into()), Holder::GoneObject]);
    let fit = (token_id(), holder).prop_map(|(token, holder)| Fit { token, holder });
    let finding = prop_oneof![
        4 => vec(fit, 0..3).prop_map(Finding::Fits),
        1 => token_id().prop_map(Finding::StillHeld),
        1 => select(vec![
            Finding::Missing,
            Finding::Unannounced,
            Finding::Controlled { controller: "SealedSecret old".into() },
            Finding::Unusable { why: "holds nothing".into() },
            Finding::Refused { detail: "HTTP 401".into() },
            Finding::Claimed { token: TokenId(3), by: "a/b".into() },
        ]),
    ];
    weighted(0.5, (finding, time()).prop_map(|(finding, taken_at)| Look { finding, taken_at }))
}

fn declaration() -> impl Strategy<Value = Result<Desired, Refusal>> {
    let refused = Refusal::InvalidSpec { field: "secret.name".into(), why: "odd".into(), remedy: "change it".into() };
    prop_oneof![
        20 => (desired(), adoption()).prop_map(|(desired, adopt)| Ok(Desired { adopt, ..desired })),
        1 => Just(Err(refused)),
        1 => Just(Err(Refusal::NotImplemented { field: "spec.adopt".into() })),
    ]
}

fn cause() -> impl Strategy<Value = Cause> {
    use Cause::{
        Compromised, First, Legacy, MaxAge, PermissionsChanged, ProjectMoved, Requested, SlotLost, TokenLost, TokenUnusable,
    };
    select(vec![
        Compromised,
        First,
        Legacy,
        MaxAge,
        PermissionsChanged,
        ProjectMoved,
        Requested,
        SlotLost,
        TokenLost,
        TokenUnusable,
    ])
}

fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    prop_oneof![3 => Just(simple_rows().fingerprint()), 1 => rows().prop_map(|rows| rows.fingerprint())]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let failures = select(vec![0, 0, 0, 1, 2, 6, u32::MAX]);
    (serial(), fingerprint(), failures, cause()).prop_map(|(serial, fingerprint, failures, cause)| Attempt {
        serial,
        fingerprint,
        failures,
        cause,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (serial(), token_id()).prop_map(|(serial, token)| Entry { serial, token })
}

fn annotation() -> impl Strategy<Value = Option<String>> {
    weighted(0.2, text(&["morning", "noon"]))
}

/// Any ledger that could have been written: it is trusted, so no serial and no token stands in it twice. The highest serial
/// is as a rule not below what the ledger names.
fn ledger() -> impl Strategy<Value = Ledger> {
    let retiring = prop_oneof![3 => vec(entry(), 0..2), 1 => vec(entry(), 0..5)];
    let names = (option::of(attempt()), weighted(0.8, entry()), retiring);
    let rest = (weighted(0.9, installation()), serial(), weighted(0.8, Just(())), weighted(0.1, policy()));
    let facts = (weighted(0.05, serial()), weighted(0.2, serial()), weighted(0.4, serial()));
    (names, rest, facts, annotation(), weighted(0.1, Just(()))).prop_map(
        |(
            (next, current, retiring),
            (installation, serial, sound, deletion),
            (set_back, compromised, restarted),
            handled_rotate_at,
            blank,
        )| {
            if blank.is_some() {
                return Ledger { installation, deletion, ..Ledger::default() };
            }
            let (mut serials, mut tokens) = (BTreeSet::new(), BTreeSet::new());
            let mut is_new = |entry: &Entry| serials.insert(entry.serial) && tokens.insert(entry.token);
            let current = current.filter(&mut is_new);
            let retiring: Vec<Entry> = retiring.into_iter().filter(&mut is_new).take(MAXIMUM_RETIRING).collect();
            let next = next.filter(|attempt| !serials.contains(&attempt.serial));
            let named =
                next.iter().map(|attempt| attempt.serial).chain(current.iter().chain(&retiring).map(|entry| entry.serial));
            let highest = named.map(|serial| serial.0).max().filter(|_| sound.is_some()).unwrap_or(serial.0);
            let serial = serial.0.max(highest);
            Ledger {
                installation,
                serial,
                next,
                current,
                retiring,
                deletion,
                set_back,
                compromised,
                restarted,
                handled_rotate_at,
            }
        },
    )
}

fn slot() -> impl Strategy<Value = Slot> {
    let filled = (token_id(), fingerprint()).prop_map(|(token, granted)| SlotContent::Filled {
        token,
        uid: TokenUid::new("abcdefg"),
        granted,
    });
    let content = prop_oneof![1 => Just(SlotContent::Empty), 3 => filled];
    use CondemnedReason::{GrantsDiffer, Replaced, Superseded, VerificationRefused};
    let reason = select(vec![GrantsDiffer, VerificationRefused, Superseded, Replaced]);
    let condemned = weighted(0.2, reason.prop_map(|reason| Condemnation { reason, detail: "HTTP 401".into() }));
    (serial(), content, any::<bool>(), weighted(0.1, Just(())), condemned, time(), weighted(0.3, source())).prop_map(
        |(serial, content, committed, retained, condemned, created_at, adopted)| Slot {
            serial,
            // A claim is never empty.
            adopted: adopted.filter(|_| content != SlotContent::Empty),
            content,
            committed,
            retained: retained.is_some(),
            condemned,
            created_at,
        },
    )
}

fn mark() -> impl Strategy<Value = Mark> {
    let owner = prop_oneof![9 => Just("uid-1"), 1 => Just("uid-2")].prop_map(OwnerUid::new);
    let origin = select(vec![Origin::Made, Origin::Made, Origin::Adopted]);
    (installation(), owner, serial(), origin).prop_map(|(installation, owner, serial, origin)| Mark {
        installation,
        owner,
        serial,
        origin,
    })
}

fn token() -> impl Strategy<Value = Token> {
    let active = prop_oneof![3 => Just(true), 1 => Just(false)];
    (token_id(), weighted(0.9, mark()), active, rows(), option::of(time()), weighted(0.3, time())).prop_map(
        |(id, mark, active, rows, created_at, last_used)| Token {
            id,
            uid: TokenUid::new("abcdefg"),
            name: "finance/dagster".into(),
            mark,
            active,
            rows,
            created_at,
            last_used,
            shows_links: false,
        },
    )
}

/// Something that was read at any time, or was not.
fn reading<T: Clone + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Reading<T>> {
    (value, time(), weighted(0.85, Just(()))).prop_map(|(value, taken_at, known)| match known {
        Some(()) => Reading::Known { value, taken_at },
        None => Reading::Unknown,
    })
}

fn account_grant() -> impl Strategy<Value = AccountGrant> {
    let sets = prop_oneof![
        2 => Just(AllowedSets::Any),
        1 => btree_set(set(), 0..3).prop_map(AllowedSets::Named),
    ];
    let projects = prop_oneof![
        2 => Just(AllowedProjects::All),
        1 => btree_set(select(vec![700, 701]).prop_map(ProjectId), 0..3).prop_map(AllowedProjects::Named),
    ];
    let adopt = select(vec![AdoptPolicy::Never, AdoptPolicy::Proven, AdoptPolicy::Proven, AdoptPolicy::Unproven]);
    (sets, projects, kinds(), option::of(0_u32..4), adopt).prop_map(|(sets, projects, writable, maximum_tokens, adopt)| {
        AccountGrant { sets, projects, writable, maximum_tokens, adopt }
    })
}

fn allowance() -> impl Strategy<Value = Allowance> {
    prop_oneof![
        4 => Just(Allowance::Free),
        1 => time().prop_map(|free_at| Allowance::UsedUp { limit: 200, free_at }),
    ]
}

fn project() -> impl Strategy<Value = Project> {
    (select(vec![700, 701]), text(&["Finance", "Shop"])).prop_map(|(id, name)| Project { id: ProjectId(id), name })
}

fn open_account() -> impl Strategy<Value = OpenAccount> {
    let tokens = vec(token(), 0..6).prop_map(|all| all.into_iter().map(|token| (token.id, token)).collect::<BTreeMap<_, _>>());
    let environments = btree_map(select(vec![700, 701]).prop_map(ProjectId), Just(EnvironmentId(9)), 0..2).prop_map(Arc::new);
    let projects = vec(project(), 0..3).prop_map(Arc::new);
    let read = (reading(tokens), btree_map(token_id(), time(), 0..3), reading(projects), reading(environments));
    let limit = TokenLimit { scope: "namespace finance".into(), count: 3, limit: 3 };
    let allowed = (vec(account_grant(), 0..4), allowance(), allowance(), weighted(0.05, Just(limit)));
    (read, allowed, weighted(0.05, Just(())), weighted(0.1, serial())).prop_map(
        |((tokens, gone, projects, environments), (grants, ordinary, repair, crowded_out), suspended, set_back_confirmed)| {
            OpenAccount {
                id: AccountId(42),
                plan: "enterprise".into(),
                suspended: suspended.is_some(),
                tokens,
                gone,
                projects,
                environments,
                grants,
                budget: Budget { ordinary, repair },
                crowded_out,
                set_back_confirmed,
            }
        },
    )
}

fn account() -> impl Strategy<Value = Account> {
    prop_oneof![
        18 => open_account().prop_map(|account| Account::Ready(Box::new(account))),
        1 => Just(Account::NotReady { reason: "Unreachable".into(), message: "time-out".into() }),
        1 => Just(Account::Missing),
    ]
}

fn rule() -> impl Strategy<Value = Option<RenderRule>> {
    weighted(0.95, prop_oneof![9 => Just("rule-1"), 1 => Just("rule-2")].prop_map(RenderRule::new))
}

fn target() -> impl Strategy<Value = Target> {
    let ours = (weighted(0.9, token_id()), rule(), weighted(0.9, Just(())), weighted(0.2, Just(()))).prop_map(
        |(token, rule, intact, taken_over)| {
            Target::Ours(TargetState { token, rule, intact: intact.is_some(), taken_over: taken_over.is_some() })
        },
    );
    prop_oneof![
        3 => Just(Target::Missing),
        16 => ours,
        1 => Just(Target::Foreign { manager: "helm".into() }),
        1 => Just(Target::OtherOwner { name: "ci".into() }),
    ]
}

/// A condition that could have been written.
fn condition() -> impl Strategy<Value = Condition> {
    use ConditionStatus::{False, True, Unknown};
    use ConditionType::{Ready, Reconciling, Rotating, Stalled, TokenUsable};
    select(vec![
        (Ready, True, "Published"),
        (Ready, True, "Published"),
        (Ready, True, "PolicyViolation"),
        (Ready, True, "PublishedUnproven"),
        (Ready, Unknown, "Progressing"),
        (Ready, False, "VerificationRefused"),
        (TokenUsable, True, "VerificationPassed"),
        (TokenUsable, False, "TokenLost"),
        (TokenUsable, Unknown, "Unprobeable"),
        (TokenUsable, Unknown, "NoToken"),
        (Rotating, False, "UpToDate"),
        (Reconciling, True, "Progressing"),
        (Stalled, True, "VerificationRefused"),
        (Stalled, True, "PolicyRefused"),
    ])
    .prop_map(|(kind, status, reason)| Condition { kind, status, reason: reason.into(), message: "as before".into() })
}

fn record() -> impl Strategy<Value = Record> {
    let published = weighted(0.8, (token_id(), time()).prop_map(|(token, at)| Published { token, at }));
    let retiring = vec((token_id(), time()).prop_map(|(token, replaced_at)| RetiringRecord { token, replaced_at }), 0..3);
    let replacement = (cause(), token_id(), option::of(token_id()), option::of(time()), option::of(time())).prop_map(
        |(cause, token, previous, published_at, retired_at)| Replacement { cause, token, previous, published_at, retired_at },
    );
    let conditions = vec(condition(), 0..4).prop_map(|all| {
        let mut kinds = BTreeSet::new();
        all.into_iter().filter(|condition| kinds.insert(condition.kind)).collect::<Vec<_>>()
    });
    let times = (option::of(time()), option::of(time()));
    (0_i64..3, published, retiring, vec(replacement, 0..7), times, conditions).prop_map(
        |(observed_generation, published, retiring, history, (last_rotation, next_rotation), conditions)| Record {
            observed_generation,
            published,
            retiring,
            history,
            last_rotation,
            next_rotation,
            conditions,
        },
    )
}

fn trouble() -> impl Strategy<Value = Option<Trouble>> {
    use TroubleKind::{Cluster, DbtUnavailable, SecretRefused, VerificationInconclusive};
    let kind = select(vec![Cluster, DbtUnavailable, SecretRefused, VerificationInconclusive]);
    let trouble =
        (kind, time(), time()).prop_map(|(kind, since, retry_at)| Trouble { kind, message: "it failed".into(), since, retry_at });
    weighted(0.2, trouble)
}

/// Parts that were put together blindly.
fn blind() -> impl Strategy<Value = Observation> {
    let slots = vec(slot(), 0..5).prop_map(|mut slots| {
        // A slot is named after its serial, so there are no two of one; a mere record may lie beside it.
        slots.sort_by_key(|slot| (slot.serial, slot.retained));
        slots.dedup_by_key(|slot| (slot.serial, slot.retained));
        slots
    });
    // Boxed: the shrinking trees of all of it together do not fit on the stack of a test's thread.
    // Often the same, since only then they count.
    let annotations = (annotation(), annotation(), any::<bool>())
        .prop_map(|(asked, other, same)| (asked.clone(), if same { asked } else { other }));
    let object = (1_i64..3, time(), weighted(0.95, Just(())), annotations, declaration().boxed(), policy()).boxed();
    let state = (ledger().boxed(), record().boxed(), account().boxed(), slots.boxed(), target().boxed(), rule().boxed()).boxed();
    let senior = weighted(0.03, Just("airflow".to_owned()));
    let looks = (reading(consumers()).boxed(), reading(workloads()).boxed()).boxed();
    let rest = (senior, time(), trouble().boxed(), looks, look().boxed()).boxed();
    (object, state, rest).prop_map(|(object, state, (senior, fresh_after, trouble, (consumers, workloads), look))| {
        let (generation, created_at, finalizer, (rotate_at, compromised), desired, deletion_policy) = object;
        let (ledger, record, account, slots, target, rule) = state;
        Observation {
            owner: Owner { uid: OwnerUid::new("uid-1"), namespace: "finance".into(), name: "dagster".into() },
            installation: Installation::new("here"),
            generation,
            created_at,
            deleted_at: None,
            finalizer: finalizer.is_some(),
            rotate_at,
            compromised,
            desired,
            deletion_policy,
            ledger,
            record,
            account,
            slots,
            target,
            rule,
            consumers,
            workloads,
            senior,
            look,
            fresh_after,
            trouble,
        }
    })
}

/// Any observation at all, of an object that is not deleted: some put together blindly, some with an attempt or a token in
/// good order among the rest, so that the later stages are reached as well.
pub fn living() -> impl Strategy<Value = Observation> {
    prop_oneof![3 => blind().boxed(), 1 => published().boxed(), 2 => attempting().boxed(), 2 => taking_over().boxed(), 1 => replaced().boxed(), 1 => restarting().boxed()]
}

/// A published object that replaced an adopted token, which may be condemned, used, or lack its slot.
fn replaced() -> impl Strategy<Value = Observation> {
    let old = (1_i64..7, weighted(0.9, any::<bool>()), weighted(0.3, time()), weighted(0.5, Just(())));
    (blind().boxed(), open_account().boxed(), desired().boxed(), old).prop_map(
        |(mut it, mut account, desired, (serial, slot, last_used, told))| {
            let (serial, token) = (Serial(serial), TokenId(8));
            let (installation, owner) = (it.installation.clone(), it.owner.uid.clone());
            let mark = Mark { installation, owner, serial, origin: Origin::Adopted };
            if let Reading::Known { value, .. } = &mut account.tokens {
                value.clear();
                value.insert(token, Token { last_used, ..listed_token(token, mark, simple_rows()) });
            }
            (it.slots, it.ledger.retiring, it.ledger.set_back) = (Vec::new(), Vec::new(), None);
            if let Some(condemned) = slot {
                let content = SlotContent::Filled { token, uid: TokenUid::new("abcdefg"), granted: simple_rows().fingerprint() };
                let adopted = Some(Source { secret: "old".into(), key: "token".into() });
                let condemned = condemned.then(Condemnation::replaced);
                it.slots.push(Slot { serial, content, committed: true, retained: false, condemned, created_at: now(), adopted });
            }
            let mut it = publish(it, 7, account);
            it.ledger.retiring = vec![Entry { serial, token }];
            it.ledger.next = None;
            (it.record.retiring, it.senior, it.trouble) = (Vec::new(), None, None);
            if told.is_some() {
                it.record.retiring.push(RetiringRecord { token, replaced_at: now() - SignedDuration::from_hours(1) });
            }
            let retirement = Retirement { after: Duration::ZERO, ..desired.retirement };
            it.desired = Ok(Desired { permissions: simple(), suspended: false, retirement, ..desired });
            it
        },
    )
}

/// A published object whose readers are owed a restart, as a rule with a new look at the workloads.
fn restarting() -> impl Strategy<Value = Observation> {
    let looked = weighted(0.8, workloads());
    (at_rest().boxed(), btree_set(workload_kind(), 1..3), looked).prop_map(|(mut it, kinds, looked)| {
        if let Ok(desired) = &mut it.desired {
            desired.retirement.restart = kinds;
        }
        it.ledger.restarted = it.ledger.current.map(|current| Serial(current.serial.0 - 1));
        (it.ledger.retiring, it.ledger.set_back) = (Vec::new(), None);
        if let Some(value) = looked {
            it.workloads = Reading::Known { value, taken_at: now() };
        }
        it
    })
}

/// An object that has no token yet and shall take one over, with an attempt or a claim as a rule.
fn taking_over() -> impl Strategy<Value = Observation> {
    let claim = weighted(0.4, any::<bool>());
    let adoption = adoption().prop_map(|adoption| {
        let source = Source { secret: "old".into(), key: "token".into() };
        adoption.unwrap_or(Adoption { source, token: None, permissions: AdoptPermissions::Match })
    });
    let how = (claim, weighted(0.8, Just(())), any::<bool>(), adoption, 1_i64..4);
    let looked = (look().boxed(), weighted(0.6, Just(())), weighted(0.7, Just(())), weighted(0.7, any::<bool>()));
    (blind().boxed(), how, open_account().boxed(), desired().boxed(), rows(), looked).prop_map(
        |(mut it, (claim, attempt, fresh, adoption, id), mut account, desired, rows, (look, found, allowed, claimed))| {
            let (serial, token) = (Serial(HIGHEST_AS_A_RULE), TokenId(id));
            let fits = Finding::Fits(vec![Fit { token, holder: Holder::Nobody }]);
            let look = found.map_or(look, |()| Some(Look { finding: fits, taken_at: now() }));
            // As a rule nothing but the adoption itself is in the way.
            if allowed.is_some() {
                let (sets, projects) = (AllowedSets::Any, AllowedProjects::All);
                let writable = BTreeSet::from([WriteCategory::new("all")]);
                account.grants =
                    vec![AccountGrant { sets, projects, writable, maximum_tokens: None, adopt: AdoptPolicy::Proven }];
                (account.crowded_out, account.suspended) = (None, false);
                (it.senior, it.trouble, it.ledger.set_back) = (None, None, None);
            }
            if let Some(empty) = claimed {
                let state = TargetState { token: None, rule: None, intact: true, taken_over: false };
                it.target = if empty { Target::Ours(state) } else { Target::Missing };
            }
            let claim = claim.map(|committed| committed && attempt.is_none());
            if let Reading::Known { value, .. } = &mut account.tokens {
                let mark =
                    Mark { installation: it.installation.clone(), owner: it.owner.uid.clone(), serial, origin: Origin::Made };
                value.insert(token, Token { mark: None, ..listed_token(token, mark, rows) });
            }
            if fresh {
                it.fresh_after = Timestamp::MIN;
            }
            it.slots.clear();
            if let Some(committed) = claim {
                let content = SlotContent::Filled { token, uid: TokenUid::new("abcdefg"), granted: simple_rows().fingerprint() };
                let adopted = Some(adoption.source.clone());
                it.slots.push(Slot { serial, content, committed, retained: false, condemned: None, created_at: now(), adopted });
            }
            let current = claim.is_some_and(|_| attempt.is_none()).then_some(Entry { serial, token });
            let fingerprint = simple_rows().fingerprint();
            let next = attempt.map(|()| Attempt { serial, fingerprint, failures: 0, cause: Cause::First });
            let installation = Some(it.installation.clone());
            it.ledger = Ledger { installation, serial: serial.0, next, current, ..Ledger::default() };
            it.record.published = None;
            it.look = look;
            it.desired = Ok(Desired { permissions: simple(), adopt: Some(adoption), ..desired });
            it.account = Account::Ready(Box::new(account));
            it
        },
    )
}

/// An attempt whose slot is empty, or holds a token, as a rule one that dbt lists.
fn attempting() -> impl Strategy<Value = Observation> {
    let granted = prop_oneof![1 => Just(GrantRows::default()), 1 => rows()];
    let filled = weighted(0.8, (weighted(0.9, granted), fingerprint()));
    let token = (3_i64..9, filled, any::<bool>());
    (blind().boxed(), token, open_account().boxed(), desired().boxed(), target().boxed()).prop_map(
        |(mut it, (serial, filled, fresh), mut account, desired, target)| {
            let (listed, granted) = filled.map_or((None, None), |(listed, granted)| (listed, Some(granted)));
            let (serial, id) = (Serial(serial), TokenId(serial));
            let mark = Mark { installation: it.installation.clone(), owner: it.owner.uid.clone(), serial, origin: Origin::Made };
            if let (Some(rows), Reading::Known { value, .. }) = (listed, &mut account.tokens) {
                value.insert(id, listed_token(id, mark, rows));
            }
            if fresh {
                it.fresh_after = Timestamp::MIN;
            }
            let uid = TokenUid::new("abcdefg");
            let content = granted.map_or(SlotContent::Empty, |granted| SlotContent::Filled { token: id, uid, granted });
            let slot =
                Slot { serial, content, committed: false, retained: false, condemned: None, created_at: now(), adopted: None };
            it.slots.retain(|slot| slot.serial != serial);
            it.slots.push(slot);
            it.slots.sort_by_key(|slot| slot.serial);
            it.ledger.current = it.ledger.current.filter(|entry| entry.serial != serial);
            it.ledger.retiring.retain(|entry| entry.serial != serial);
            let fingerprint = simple_rows().fingerprint();
            it.ledger.installation = Some(it.installation.clone());
            it.ledger.serial = it.ledger.serial.max(HIGHEST_AS_A_RULE);
            it.ledger.next = Some(Attempt { serial, fingerprint, failures: 0, cause: Cause::Requested });
            it.desired = Ok(Desired { permissions: simple(), ..desired });
            it.account = Account::Ready(Box::new(account));
            it.target = target;
            it
        },
    )
}

fn listed_token(id: TokenId, mark: Mark, rows: GrantRows) -> Token {
    let name = mark.name("finance/dagster");
    let uid = TokenUid::new("abcdefg");
    Token { id, uid, name, mark: Some(mark), active: true, rows, created_at: None, last_used: None, shows_links: false }
}

/// Any observation at all.
pub fn observation() -> impl Strategy<Value = Observation> {
    (living().boxed(), weighted(0.25, (time(), any::<bool>()))).prop_map(|(mut it, deletion)| {
        if let Some((time, begun)) = deletion {
            it.deleted_at = Some(time);
            it.ledger.deletion = if begun { Some(it.deletion_policy) } else { it.ledger.deletion };
        }
        it
    })
}

/// An object that has been published and works, among anything else that may lie around.
pub fn published() -> impl Strategy<Value = Observation> {
    (blind().boxed(), 1_i64..7, open_account().boxed())
        .prop_map(|(observation, serial, account)| publish(observation, serial, account))
}

fn publish(observation: Observation, serial: i64, mut account: OpenAccount) -> Observation {
    let mut it = observation;
    let (current, rows) = (Entry { serial: Serial(serial), token: TokenId(serial) }, simple_rows());
    let mark =
        Mark { installation: it.installation.clone(), owner: it.owner.uid.clone(), serial: current.serial, origin: Origin::Made };
    let mut tokens = account.tokens.value().cloned().unwrap_or_default();
    // Some are legacy, some are as old as the object, of some dbt does not say it.
    let created_at = match serial % 3 {
        0 => Timestamp::from_second(1_651_744_800).ok(),
        1 => Some(it.created_at),
        _ => None,
    };
    let listed = Token { created_at, ..listed_token(current.token, mark, rows.clone()) };
    tokens.insert(current.token, listed);
    account.tokens = Reading::Known { value: tokens, taken_at: now() };
    let slot = Slot {
        serial: current.serial,
        content: SlotContent::Filled { token: current.token, uid: TokenUid::new("abcdefg"), granted: rows.fingerprint() },
        committed: true,
        retained: false,
        condemned: None,
        created_at: now(),
        adopted: None,
    };
    it.slots.retain(|slot| slot.serial != current.serial && slot.token() != Some(current.token));
    it.slots.push(slot);
    it.slots.sort_by_key(|slot| slot.serial);
    it.rule = Some(RenderRule::new("rule-1"));
    it.target = Target::Ours(TargetState { token: Some(current.token), rule: it.rule.clone(), intact: true, taken_over: false });
    it.ledger.installation = Some(it.installation.clone());
    it.ledger.serial = it.ledger.serial.max(HIGHEST_AS_A_RULE);
    it.ledger.current = Some(current);
    it.ledger.retiring.retain(|entry| entry.serial != current.serial && entry.token != current.token);
    it.ledger.next = it.ledger.next.filter(|attempt| attempt.serial != current.serial);
    let day = SignedDuration::from_hours(24);
    it.record.published = Some(Published { token: current.token, at: now() - day });
    it.fresh_after = it.fresh_after.min(now());
    it.account = Account::Ready(Box::new(account));
    it
}

/// A published object that declares what its token may do, and that nobody asked for anything.
pub fn at_rest() -> impl Strategy<Value = Observation> {
    (published().boxed(), desired().boxed()).prop_map(|(published, desired)| {
        let mut it = published;
        it.desired = Ok(Desired { permissions: simple(), suspended: false, ..desired });
        it.ledger.next = None;
        it.ledger.handled_rotate_at = it.rotate_at.clone();
        it.trouble = None;
        it.senior = None;
        it
    })
}
