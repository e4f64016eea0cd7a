//! What all states of one run share: the things that the planner made, each kept once and named by a number, and the
//! answers that were worked out before. Speeds the search up and changes no result.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

use ahash::RandomState;
use dbt_token_planner::desired::Retirement;
use dbt_token_planner::invariant::Violation;
use dbt_token_planner::ledger::Ledger;

use super::census::Facts;
use super::mutation::Mutation;
use super::observe::View;
use super::replica::{Job, Planned};
use super::settle::Course;

/// Equal values get equal numbers.
pub struct Interner<T> {
    inner: RwLock<Numbered<T>>,
}

type Numbered<T> = (HashMap<Arc<T>, u32, RandomState>, Vec<Arc<T>>);

impl<T: Eq + Hash> Interner<T> {
    pub fn new() -> Self {
        Self { inner: RwLock::new((HashMap::default(), Vec::new())) }
    }

    pub fn number(&self, value: T) -> u32 {
        if let Some(number) = self.inner.read().expect("no panic while locked").0.get(&value) {
            return *number;
        }
        let mut inner = self.inner.write().expect("no panic while locked");
        let (numbers, values) = &mut *inner;
        let value = Arc::new(value);
        *numbers.entry(Arc::clone(&value)).or_insert_with(|| {
            values.push(value);
            u32::try_from(values.len() - 1).expect("few values")
        })
    }

    pub fn value(&self, number: u32) -> Arc<T> {
        Arc::clone(&self.inner.read().expect("no panic while locked").1[number as usize])
    }
}

/// Remembers the answer to a question.
pub struct Memo<K, V> {
    inner: RwLock<HashMap<K, V, RandomState>>,
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    pub fn new() -> Self {
        Self { inner: RwLock::new(HashMap::default()) }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        self.inner.read().expect("no panic while locked").get(key).cloned()
    }

    pub fn put(&self, key: K, value: V) {
        self.inner.write().expect("no panic while locked").insert(key, value);
    }
}

/// Shared by all states of a run.
pub struct Shared {
    pub ledgers: Interner<Ledger>,
    pub jobs: Interner<Job>,
    pub plans: Memo<View, Arc<Planned>>,
    pub courses: Memo<u64, Course>,
    pub violations: Memo<Facts, Vec<Violation>>,
    pub mutation: Option<Mutation>,
    /// Lists leave out deleted tokens.
    pub hides: bool,
    /// What is declared about the end of a replaced token.
    pub retirement: Retirement,
    /// There may be a pod; otherwise nobody has to look for one.
    pub pods: bool,
    /// A token that exists shall be taken over.
    pub adopts: bool,
}

impl Shared {
    /// Whether it matters when a token was used last: always for one that somebody else made.
    pub fn last_uses_count(&self) -> bool {
        self.adopts || !self.retirement.quiet_period.is_zero()
    }

    pub fn new(mutation: Option<Mutation>, hides: bool, retirement: Retirement) -> Self {
        Self {
            ledgers: Interner::new(),
            jobs: Interner::new(),
            plans: Memo::new(),
            courses: Memo::new(),
            violations: Memo::new(),
            mutation,
            hides,
            retirement,
            pods: false,
            adopts: false,
        }
    }

    pub fn ledger(&self, number: u32) -> Arc<Ledger> {
        self.ledgers.value(number)
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}
