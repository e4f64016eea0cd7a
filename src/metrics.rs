//! Every metric family of the operator, in one struct. Labels are words of closed lists and names of accounts: never the
//! name of an object of a tenant, a message, or a part of a token.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What stands before every name.
const PREFIX: &str = "dbt_token_operator";

/// The format of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a quick write to the API server to a call that ran into its time-out.
const BUCKETS_SECONDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The states by which the tokens of an account are counted; the words of `DbtAccount.status.tokens`.
pub const TOKEN_STATES: [&str; 8] =
    ["active", "managed", "legacy", "aged", "unused", "strays", "other_installations", "unmanaged"];

type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

/// The metrics of this process. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    reconcile_duration: Histograms<Kind>,
    effects: Family<EffectOutcome, Counter>,
    effect_duration: Histograms<EffectName>,
    dbt_calls: Family<Call, Counter>,
    dbt_call_duration: Histograms<Operation>,
    throttled: Family<Account, Counter>,
    budget_left: Family<Account, Gauge>,
    last_list: Family<Account, Gauge>,
    tokens: Family<TokenState, Gauge>,
    objects: Family<Kind, Gauge>,
    queue: Family<Kind, Gauge>,
    malformed_slots: Gauge,
    retirements_blocked: Family<Account, Gauge>,
    events_lost: Counter,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EffectName {
    effect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EffectOutcome {
    effect: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Account {
    account: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenState {
    account: String,
    state: &'static str,
}

fn histograms<Labels: Clone + Eq + std::hash::Hash>() -> Histograms<Labels> {
    Family::new_with_constructor(|| Histogram::new(BUCKETS_SECONDS))
}

impl Default for Families {
    fn default() -> Self {
        let mut families = Self {
            registry: Registry::with_prefix(PREFIX),
            reconciles: Family::default(),
            reconcile_duration: histograms(),
            effects: Family::default(),
            effect_duration: histograms(),
            dbt_calls: Family::default(),
            dbt_call_duration: histograms(),
            throttled: Family::default(),
            budget_left: Family::default(),
            last_list: Family::default(),
            tokens: Family::default(),
            objects: Family::default(),
            queue: Family::default(),
            malformed_slots: Gauge::default(),
            retirements_blocked: Family::default(),
            events_lost: Counter::default(),
            leader: Gauge::default(),
        };
        families.register_work();
        families.register_dbt();
        families.register_state();
        families
    }
}

impl Families {
    fn register_work(&mut self) {
        let registry = &mut self.registry;
        registry.register("reconciles", "Looks at one object, by kind and what came of it", self.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time from the first read of a look to its last effect",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register("effects", "Effects that were run, by what came of them", self.effects.clone());
        registry.register_with_unit("effect_duration", "Time of one effect", Unit::Seconds, self.effect_duration.clone());
        registry.register("events_lost", "Events that could not be written", self.events_lost.clone());
    }

    fn register_dbt(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "dbt_calls",
            "Calls of dbt, by operation and class of answer (ok, or of the error)",
            self.dbt_calls.clone(),
        );
        registry.register_with_unit(
            "dbt_call_duration",
            "Time of one call of dbt, its retries included",
            Unit::Seconds,
            self.dbt_call_duration.clone(),
        );
        registry.register("dbt_throttled", "Answers of dbt that told us to slow down", self.throttled.clone());
        registry.register("mint_budget_left", "Tokens that the account may still make within the hour", self.budget_left.clone());
        registry.register_with_unit(
            "last_list_timestamp",
            "When the last list of the account's tokens that was believed was asked for",
            Unit::Seconds,
            self.last_list.clone(),
        );
    }

    fn register_state(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "tokens",
            "Active tokens of the account, by what is known of them; one can count in several states",
            self.tokens.clone(),
        );
        registry.register("objects", "Objects that are watched", self.objects.clone());
        registry.register("queued_objects", "Objects that wait for their turn", self.queue.clone());
        registry.register("malformed_slots", "Secrets with the label of a slot that are none", self.malformed_slots.clone());
        registry.register(
            "retirements_blocked",
            "ServiceTokens with a replaced token that is still in use and kept beyond its deadline",
            self.retirements_blocked.clone(),
        );
        registry.register("leader", "1 if this process runs effects, 0 if it stands by", self.leader.clone());
    }
}

impl Metrics {
    /// One look at an object ended. `result` is a word for the planner's step, or the class of the failure.
    pub fn reconciled(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.0.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.0.reconcile_duration.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// One effect ended. `outcome` is a word for it, or the class of the failure.
    pub fn effect(&self, effect: &'static str, outcome: &'static str, took: Duration) {
        self.0.effects.get_or_create(&EffectOutcome { effect, outcome }).inc();
        self.0.effect_duration.get_or_create(&EffectName { effect }).observe(took.as_secs_f64());
    }

    /// One call of dbt ended. `class` is `ok` or the class of the error.
    pub fn dbt_call(&self, operation: &'static str, class: &'static str, took: Duration) {
        self.0.dbt_calls.get_or_create(&Call { operation, class }).inc();
        self.0.dbt_call_duration.get_or_create(&Operation { operation }).observe(took.as_secs_f64());
    }

    /// dbt told us to slow down.
    pub fn throttled(&self, account: &str) {
        self.0.throttled.get_or_create(&named(account)).inc();
    }

    /// How many tokens the account may still make within the hour.
    pub fn budget_left(&self, account: &str, tokens: u32) {
        self.0.budget_left.get_or_create(&named(account)).set(tokens.into());
    }

    /// A list of the account's tokens was believed; the request for it began at `at`.
    pub fn listed(&self, account: &str, at: Timestamp) {
        self.0.last_list.get_or_create(&named(account)).set(at.as_second());
    }

    /// How many active tokens of the account are in a state; one of [`TOKEN_STATES`].
    pub fn tokens(&self, account: &str, state: &'static str, count: usize) {
        self.0.tokens.get_or_create(&TokenState { account: account.to_owned(), state }).set(signed(count));
    }

    /// How many objects of a kind are watched.
    pub fn objects(&self, kind: &'static str, count: usize) {
        self.0.objects.get_or_create(&Kind { kind }).set(signed(count));
    }

    /// How many objects of a kind wait for their turn.
    pub fn queued(&self, kind: &'static str, count: usize) {
        self.0.queue.get_or_create(&Kind { kind }).set(signed(count));
    }

    /// How many Secrets carry the label of a slot and are none.
    pub fn malformed_slots(&self, count: usize) {
        self.0.malformed_slots.set(signed(count));
    }

    /// A token of an object of this account begins to be kept beyond its deadline.
    pub fn retirement_blocked(&self, account: &str) {
        self.0.retirements_blocked.get_or_create(&named(account)).inc();
    }

    /// It is not kept beyond its deadline any more.
    pub fn retirement_released(&self, account: &str) {
        self.0.retirements_blocked.get_or_create(&named(account)).dec();
    }

    /// Events could not be written.
    pub fn event_lost(&self, count: u64) {
        self.0.events_lost.inc_by(count);
    }

    /// Whether this process runs effects.
    pub fn is_leader(&self, leads: bool) {
        self.0.leader.set(leads.into());
    }

    /// The account is gone: what is said about its present ends. What was counted stays.
    pub fn forget_account(&self, account: &str) {
        self.0.budget_left.remove(&named(account));
        self.0.last_list.remove(&named(account));
        for state in TOKEN_STATES {
            self.0.tokens.remove(&TokenState { account: account.to_owned(), state });
        }
    }

    /// All of it, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("writing to a string cannot fail");
        text
    }
}

fn named(account: &str) -> Account {
    Account { account: account.to_owned() }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Metrics {
        let metrics = Metrics::default();
        let took = Duration::from_millis(30);
        metrics.reconciled("ServiceToken", "settled", took);
        metrics.effect("mint", "created", took);
        metrics.dbt_call("list", "ok", took);
        metrics.throttled("analytics");
        metrics.budget_left("analytics", 160);
        metrics.listed("analytics", Timestamp::from_second(1_790_000_000).expect("a time"));
        metrics.tokens("analytics", "managed", 11);
        metrics.objects("ServiceToken", 12);
        metrics.queued("ServiceToken", 3);
        metrics.malformed_slots(1);
        metrics.retirement_blocked("analytics");
        metrics.retirement_blocked("analytics");
        metrics.retirement_released("analytics");
        metrics.event_lost(2);
        metrics.is_leader(true);
        metrics
    }

    #[test]
    fn every_family_is_shown_under_its_name() {
        let text = full().encode();
        for line in [
            r#"reconciles_total{kind="ServiceToken",result="settled"} 1"#,
            r#"reconcile_duration_seconds_count{kind="ServiceToken"} 1"#,
            r#"effects_total{effect="mint",outcome="created"} 1"#,
            r#"effect_duration_seconds_bucket{le="0.05",effect="mint"} 1"#,
            r#"dbt_calls_total{operation="list",class="ok"} 1"#,
            r#"dbt_call_duration_seconds_sum{operation="list"} 0.03"#,
            r#"dbt_throttled_total{account="analytics"} 1"#,
            r#"mint_budget_left{account="analytics"} 160"#,
            r#"last_list_timestamp_seconds{account="analytics"} 1790000000"#,
            r#"tokens{account="analytics",state="managed"} 11"#,
            r#"objects{kind="ServiceToken"} 12"#,
            r#"queued_objects{kind="ServiceToken"} 3"#,
            "malformed_slots 1",
            r#"retirements_blocked{account="analytics"} 1"#,
            "events_lost_total 2",
            "leader 1",
        ] {
            assert!(text.lines().any(|found| found == format!("{PREFIX}_{line}")), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn an_account_that_is_gone_is_not_shown_as_it_was() {
        let metrics = full();
        metrics.forget_account("analytics");
        let text = metrics.encode();
        for family in ["mint_budget_left", "last_list_timestamp_seconds", "tokens"] {
            let line = format!("{PREFIX}_{family}{{");
            assert!(!text.lines().any(|found| found.starts_with(&line)), "{family} is still in\n{text}");
        }
        assert!(text.contains("dbt_calls_total{"));
    }
}
