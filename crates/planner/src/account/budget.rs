//! Who may make a token now: the account's budget of mints, shared fairly among namespaces with a reserve for repairs, and
//! the limits on the number of ServiceTokens.
//!
//! The budget is counted from dbt's own list, so that it holds across restarts and replicas. What this process made since
//! the list was asked for is added; a token that stands in both is counted twice until the next list, on the safe side.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::observation::{OwnerClaim, TokenList};
use crate::grant::{AccountGrant, maximum_tokens};
use crate::identity::{Installation, OwnerUid, TokenId};
use crate::observation::{Allowance, Budget, TokenLimit};

/// The budget is counted over this time.
pub const BUDGET_WINDOW: Duration = Duration::from_secs(3600);

/// One part in so many is kept back for repairs, and of the rest for namespaces that made little lately.
const RESERVED_PART: u32 = 5;

/// So many namespaces shall find something in what is kept back for them.
const NEWCOMERS: u32 = 8;

/// A token that was made, for the budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Creation {
    /// When.
    pub at: Timestamp,
    /// For which namespace; `None` if its owner is not known any more.
    pub namespace: Option<String>,
}

/// What was made lately, in order of time, so that the question of one object costs little however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creations {
    all: Vec<Timestamp>,
    by_namespace: BTreeMap<String, Vec<Timestamp>>,
}

impl Creations {
    /// Adds one.
    pub fn add(&mut self, creation: &Creation) {
        insert(&mut self.all, creation.at);
        if let Some(namespace) = &creation.namespace {
            insert(self.by_namespace.entry(namespace.clone()).or_default(), creation.at);
        }
    }

    /// How many count at this time.
    pub fn counted(&self, now: Timestamp) -> usize {
        counting(&self.all, now).len()
    }

    fn of_namespace(&self, namespace: &str) -> &[Timestamp] {
        self.by_namespace.get(namespace).map_or(&[], Vec::as_slice)
    }
}

impl<'creation> FromIterator<&'creation Creation> for Creations {
    fn from_iter<I: IntoIterator<Item = &'creation Creation>>(creations: I) -> Self {
        let mut collected = Self::default();
        creations.into_iter().for_each(|creation| collected.add(creation));
        collected
    }
}

fn insert(sorted: &mut Vec<Timestamp>, at: Timestamp) {
    sorted.insert(sorted.partition_point(|earlier| *earlier <= at), at);
}

/// The part that still counts.
fn counting(sorted: &[Timestamp], now: Timestamp) -> &[Timestamp] {
    &sorted[sorted.partition_point(|at| leaves_at(*at) <= now)..]
}

/// The tokens under our mark that a list shows, deleted ones included: what was made counts, not what is left of it. Those
/// that `listed` holds from earlier lists are kept as long as they count, since dbt may not show a deleted token any more.
pub fn note_listed(
    listed: &mut BTreeMap<TokenId, Creation>,
    list: &TokenList,
    installation: &Installation,
    owners: &[OwnerClaim],
    now: Timestamp,
) {
    let namespaces: BTreeMap<&OwnerUid, &String> = owners.iter().map(|owner| (&owner.uid, &owner.namespace)).collect();
    for token in list.tokens.values() {
        let Some(mark) = token.mark.as_ref().filter(|mark| mark.installation == *installation) else { continue };
        let Some(at) = token.created_at else { continue };
        let namespace = namespaces.get(&mark.owner).map(|namespace| (*namespace).clone());
        // Whose it was is remembered when its owner is gone.
        let known = listed.entry(token.id).or_insert(Creation { at, namespace: None });
        known.namespace = namespace.or(known.namespace.take());
    }
    listed.retain(|_, creation| leaves_at(creation.at) > now);
}

/// Whether a namespace may make a token now. `creations` may hold older ones, which do not count; `rivals` is how many
/// other namespaces want a token at this time.
///
/// While several namespaces wait, none may go over its equal share of the ordinary part. Alone, it may use all of it but
/// what is kept back for others: whoever edits or rotates in a loop would otherwise leave nothing for those who come later.
pub fn budget(limit: u32, creations: &Creations, namespace: &str, rivals: usize, now: Timestamp) -> Budget {
    let all = counting(&creations.all, now);
    let own = counting(creations.of_namespace(namespace), now);
    let ordinary = limit.saturating_sub(reserve(limit));
    let kept = kept_for_newcomers(ordinary);
    let free_at = [
        free_at(all, ordinary),
        free_at(own, share(ordinary, rivals)),
        // Either there is more than what is kept back, or the namespace is one that it is kept back for.
        free_at(all, ordinary - kept).and_then(|all_at| free_at(own, newcomers_own(kept)).map(|own_at| own_at.min(all_at))),
    ];
    let free_at = free_at.into_iter().flatten().max();
    Budget { ordinary: allowance(limit, free_at), repair: allowance(limit, self::free_at(all, limit)) }
}

/// How much of the ordinary part is kept back for namespaces that made little lately; nothing of a small one, which would
/// be of no use to anybody.
fn kept_for_newcomers(ordinary: u32) -> u32 {
    ordinary / RESERVED_PART
}

/// How many tokens a namespace may have made lately and still use what is kept back.
fn newcomers_own(kept: u32) -> u32 {
    kept.div_ceil(NEWCOMERS)
}

/// How much is kept back for repairs; at least one token, unless that would leave nothing.
fn reserve(limit: u32) -> u32 {
    if limit > 1 { (limit / RESERVED_PART).max(1) } else { 0 }
}

/// The equal share of a namespace, rounded up so that no part is lost.
fn share(ordinary: u32, rivals: usize) -> u32 {
    ordinary.div_ceil(u32::try_from(rivals).unwrap_or(u32::MAX).saturating_add(1))
}

/// When fewer than `limit` of the sorted creations still count; `None` if that is so now.
fn free_at(sorted: &[Timestamp], limit: u32) -> Option<Timestamp> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
    let surplus = sorted.len().checked_sub(limit)?;
    sorted.get(surplus).map(|at| leaves_at(*at))
}

fn leaves_at(made_at: Timestamp) -> Timestamp {
    let window = SignedDuration::try_from(BUDGET_WINDOW).unwrap_or(SignedDuration::MAX);
    made_at.checked_add(window).unwrap_or(Timestamp::MAX)
}

fn allowance(limit: u32, free_at: Option<Timestamp>) -> Allowance {
    free_at.map_or(Allowance::Free, |free_at| Allowance::UsedUp { limit, free_at })
}

/// What decides about the place of an object among those of its account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its uid, which decides between two that are equally old.
    pub uid: OwnerUid,
    /// Its namespace.
    pub namespace: String,
}

/// The limit that leaves no place for an object, if there is one. The oldest objects keep their place.
///
/// A namespace that no grant matches has no limit of its own: its permissions are refused, and that is said instead.
pub fn crowded_out(account_limit: Option<u32>, peers: &[Peer], grants: &[AccountGrant], owner: &OwnerUid) -> Option<TokenLimit> {
    let place = peers.iter().find(|peer| peer.uid == *owner)?;
    let of_namespace = grants.first().and_then(|_| maximum_tokens(grants)).and_then(|limit| {
        let neighbours = peers.iter().filter(|peer| peer.namespace == place.namespace);
        over(neighbours, place, limit, || format!("namespace {}", place.namespace))
    });
    let of_account = || account_limit.and_then(|limit| over(peers.iter(), place, limit, || "the account".to_owned()));
    of_namespace.or_else(of_account)
}

fn over<'peers>(
    peers: impl Iterator<Item = &'peers Peer>,
    place: &Peer,
    limit: u32,
    scope: impl FnOnce() -> String,
) -> Option<TokenLimit> {
    let (mut count, mut before) = (0_u32, 0_u32);
    for peer in peers {
        count = count.saturating_add(1);
        before = before.saturating_add(u32::from(peer < place));
    }
    (before >= limit).then(|| TokenLimit { scope: scope(), count, limit })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::testing::{list, marked, now, owner};
    use super::*;
    use crate::grant::{AllowedProjects, AllowedSets};
    use crate::observation::Token;

    fn ago(seconds: i64) -> Timestamp {
        now() - SignedDuration::from_secs(seconds)
    }

    /// `made` are seconds ago and namespace, in any order; expected are the seconds until the ordinary part and the repairs are free.
    fn check(limit: u32, made: &[(i64, &str)], rivals: usize, expected: (Option<i64>, Option<i64>)) {
        let made: Vec<Creation> =
            made.iter().map(|(age, namespace)| Creation { at: ago(*age), namespace: Some((*namespace).to_owned()) }).collect();
        let budget = budget(limit, &made.iter().collect(), "mine", rivals, now());
        let seconds = |allowance| match allowance {
            Allowance::Free => None,
            Allowance::UsedUp { free_at, .. } => Some(free_at.duration_since(now()).as_secs()),
        };
        assert_eq!((seconds(budget.ordinary), seconds(budget.repair)), expected, "{made:?} of {limit}, {rivals} others wait");
    }

    #[test]
    fn a_fifth_is_kept_back_for_repairs() {
        let five = [(50, "mine"), (40, "mine"), (30, "mine"), (20, "mine"), (10, "mine")];
        check(5, &five[..3], 0, (None, None));
        check(5, &five[..4], 0, (Some(3550), None));
        check(5, &five, 0, (Some(3560), Some(3550)));
        check(2, &five[..1], 0, (Some(3550), None));
    }

    #[test]
    fn a_budget_of_one_has_no_reserve() {
        check(1, &[], 0, (None, None));
        check(1, &[(10, "mine")], 0, (Some(3590), Some(3590)));
    }

    #[test]
    fn what_is_older_than_an_hour_does_not_count() {
        check(2, &[(3600, "mine"), (4000, "mine")], 0, (None, None));
        check(2, &[(3599, "mine")], 0, (Some(1), None));
    }

    #[test]
    fn while_others_wait_no_namespace_takes_more_than_its_share() {
        let mine = [(40, "mine"), (30, "mine"), (20, "mine"), (10, "mine")];
        check(10, &mine, 0, (None, None));
        check(10, &mine, 1, (Some(3560), None));
        check(10, &mine[..3], 1, (None, None));
        check(10, &mine[..3], 2, (Some(3560), None));
        check(10, &[(40, "other"), (30, "other")], 2, (None, None));
        check(10, &[], 12, (None, None));
    }

    #[test]
    fn whoever_comes_late_finds_something_all_the_same() {
        let made = |count: i64, oldest: i64, by: &'static str| (0..count).map(move |number| (oldest - number, by));
        let alone = |count| made(count, 1000, "mine").collect::<Vec<_>>();
        let late = |own| made(39, 1000, "greedy").chain(made(own, 500, "mine")).collect::<Vec<_>>();
        let crowd = |others| made(39, 1000, "greedy").chain(made(others, 500, "others")).collect::<Vec<_>>();
        // Of 60 are 12 for repairs, and 9 of the other 48 for others, at most 2 for each.
        check(60, &alone(38), 0, (None, None));
        check(60, &alone(39), 0, (Some(2600), None));
        check(60, &late(0), 0, (None, None));
        check(60, &late(1), 0, (None, None));
        check(60, &late(2), 0, (Some(2602), None));
        check(60, &crowd(8), 0, (None, None));
        check(60, &crowd(9), 0, (Some(2600), None));
        // Its own may be the first to be too old to count.
        check(60, &[made(2, 3000, "mine").collect(), crowd(0)].concat(), 0, (Some(600), None));
        // A small budget is nobody's but the first one's.
        check(5, &alone(3), 0, (None, None));
    }

    #[test]
    fn tokens_under_our_mark_count_even_if_they_are_deleted_or_their_owner_is() {
        let owners = [owner("o1", "finance", None)];
        let at = |token: Token, seconds| Token { created_at: Some(ago(seconds)), ..token };
        let mut foreign = at(marked(4, "o1", 4), 10);
        if let Some(mark) = foreign.mark.as_mut() {
            mark.installation = Installation::new("other");
        }
        let tokens = [
            at(marked(1, "o1", 1), 10),
            Token { active: false, ..at(marked(2, "o9", 2), 20) },
            at(marked(3, "o1", 3), 3600),
            foreign,
            Token { created_at: None, ..marked(5, "o1", 5) },
        ];
        let ours = Installation::new("ours");
        let mut listed = BTreeMap::new();
        note_listed(&mut listed, &list(tokens), &ours, &owners, now());
        let finance = || Some("finance".to_owned());
        let expected = [Creation { at: ago(10), namespace: finance() }, Creation { at: ago(20), namespace: None }];
        assert!(listed.values().eq(&expected), "{listed:?}");
        // A list that shows them no more, and one from after their owner was deleted.
        note_listed(&mut listed, &list([]), &ours, &[], now());
        note_listed(&mut listed, &list([at(marked(1, "o1", 1), 10)]), &ours, &[], now());
        assert!(listed.values().eq(&expected), "{listed:?}");
        note_listed(&mut listed, &list([]), &ours, &[], now() + SignedDuration::from_secs(3585));
        assert!(listed.values().eq(&expected[..1]), "{listed:?}");
    }

    fn peer(uid: &str, namespace: &str, age: i64) -> Peer {
        Peer { created_at: ago(age), uid: OwnerUid::new(uid), namespace: namespace.to_owned() }
    }

    fn check_crowd(account: Option<u32>, namespace: Option<u32>, expected: [Option<&str>; 4]) {
        // Oldest first: b, c, then a before d, which are equally old.
        let peers = [peer("d", "finance", 10), peer("b", "finance", 30), peer("c", "airflow", 20), peer("a", "finance", 10)];
        let grant = AccountGrant {
            sets: AllowedSets::Any,
            projects: AllowedProjects::All,
            writable: BTreeSet::new(),
            maximum_tokens: namespace,
            adopt: crate::adoption::AdoptPolicy::Proven,
        };
        let found = ["b", "c", "a", "d"].map(|uid| {
            crowded_out(account, &peers, std::slice::from_ref(&grant), &OwnerUid::new(uid))
                .map(|limit| format!("{} {}/{}", limit.scope, limit.count, limit.limit))
        });
        assert_eq!(found.each_ref().map(Option::as_deref), expected, "{account:?} {namespace:?}");
    }

    #[test]
    fn the_oldest_objects_keep_their_place() {
        check_crowd(None, None, [None; 4]);
        check_crowd(Some(4), Some(3), [None; 4]);
        check_crowd(Some(2), None, [None, None, Some("the account 4/2"), Some("the account 4/2")]);
        check_crowd(None, Some(2), [None, None, None, Some("namespace finance 3/2")]);
        check_crowd(Some(3), Some(1), [None, None, Some("namespace finance 3/1"), Some("namespace finance 3/1")]);
    }

    #[test]
    fn an_object_that_no_grant_matches_is_not_counted_out_but_refused() {
        let peers = [peer("a", "finance", 10)];
        assert_eq!(crowded_out(Some(1), &peers, &[], &OwnerUid::new("a")), None);
        assert_eq!(crowded_out(Some(0), &peers, &[], &OwnerUid::new("unknown")), None);
    }

    proptest! {
        /// However namespaces ask, no more than the ordinary part is spent on ordinary tokens, and never more than the
        /// limit in all; and while another waits, nobody who has had less than its share is held back by its own mints.
        #[test]
        fn the_budget_is_never_overdrawn(
            limit in 1_u32..40,
            asks in proptest::collection::vec((0_usize..3, any::<bool>(), 0_i64..600), 1..120),
        ) {
            let names = ["mine", "yours", "theirs"];
            let mut made: Vec<Creation> = Vec::new();
            let mut kept = Creations::default();
            let mut time = now();
            for (who, repair, pause) in asks {
                time += SignedDuration::from_secs(pause);
                let budget = budget(limit, &kept, names[who], names.len() - 1, time);
                let wanted = if repair { budget.repair } else { budget.ordinary };
                match wanted {
                    Allowance::Free => {
                        made.push(Creation { at: time, namespace: Some(names[who].to_owned()) });
                        kept.add(&made[made.len() - 1]);
                    }
                    Allowance::UsedUp { free_at, .. } => prop_assert!(free_at > time),
                }
                let counted = made.iter().filter(|made| leaves_at(made.at) > time).count();
                prop_assert!(counted <= usize::try_from(limit).expect("small"));
                prop_assert_eq!(kept.counted(time), counted);
                if budget.ordinary == Allowance::Free {
                    prop_assert!(budget.repair == Allowance::Free);
                }
            }
        }
    }
}
