//! What an effect's outcome leads to, at once and in the same pass, where the outcome itself is a fact that must not be
//! lost: a refusal by dbt becomes an entry of the ledger, or a mark on the slot.

use jiff::Timestamp;

use crate::effect::{Effect, LedgerEntry, Outcome};
use crate::gate;
use crate::ledger::{Cause, Opening};
use crate::observation::Observation;
use crate::plan::Step;
use crate::report::{self, Report};
use crate::stage::mint;

/// An effect that follows from an outcome, and what the status shall say with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The effect.
    pub effect: Effect,
    /// The report that is written with it, if it writes one.
    pub report: Report,
}

/// What follows from the outcome of an effect; `None` where it is enough to look again.
pub fn conclude(observation: &Observation, effect: &Effect, outcome: &Outcome, now: Timestamp) -> Option<Conclusion> {
    let observation = observation.of_this_installation();
    let observation = observation.as_ref();
    match (effect, outcome) {
        (Effect::Mint { .. } | Effect::Grant { .. }, Outcome::Rejected { message }) => {
            let effect = mint::after_rejection(observation, now)?;
            let report = report::rejected(observation, &Step::Act(effect.clone()), message, now);
            Some(Conclusion { effect, report })
        }
        // A ledger that was set back may try a token anew that was published once: its slot cannot be condemned any more, and
        // the token goes the way of one that was in use.
        (Effect::Prove { serial, .. }, Outcome::Refused { .. })
            if observation.slot(*serial).is_some_and(|slot| slot.committed) =>
        {
            Some(plain(observation, mint::after_rejection(observation, now)?, now))
        }
        // A claim that proved nothing is given back; the token is not the operator's to condemn.
        (Effect::Prove { serial, .. }, Outcome::Refused { .. })
            if observation.slot(*serial).is_some_and(|slot| slot.adopted.is_some()) =>
        {
            Some(abandon(observation, now))
        }
        (Effect::TakeOverTarget { .. }, Outcome::Found(_)) => Some(abandon(observation, now)),
        // Whether dbt renamed the token or not: from here on its slot says that it is ours, and nobody tries again.
        (Effect::Rename { serial, .. }, Outcome::Done | Outcome::Rejected { .. }) => {
            Some(plain(observation, Effect::LabelCommitted(*serial), now))
        }
        (Effect::Prove { serial, .. }, Outcome::Refused { why }) => {
            Some(plain(observation, Effect::Condemn { serial: *serial, why: why.clone() }, now))
        }
        (Effect::Retire { .. }, Outcome::Refused { .. }) => replace_unusable(observation, now),
        _ => None,
    }
}

fn abandon(observation: &Observation, now: Timestamp) -> Conclusion {
    let ledger = Box::new(observation.ledger.abandoned());
    plain(observation, Effect::WriteLedger { entry: LedgerEntry::Abandon, ledger }, now)
}

fn plain(observation: &Observation, effect: Effect, now: Timestamp) -> Conclusion {
    let report = report::report(observation, &Step::Act(effect.clone()), now);
    Conclusion { effect, report }
}

/// dbt refuses the published token although the account's own credential works: it is replaced without waiting. That is
/// written down even where a gate holds the new token back, since the retirement would be tried again and again otherwise;
/// the stage that mints asks the gates.
fn replace_unusable(observation: &Observation, now: Timestamp) -> Option<Conclusion> {
    let attempt = observation.ledger.next.as_ref();
    if attempt.is_some_and(|attempt| attempt.cause == Cause::TokenUnusable) {
        return None;
    }
    let (account, desired) = (observation.account.open()?, observation.desired.as_ref().ok()?);
    let current = observation.ledger.current?;
    // Where the declaration cannot be resolved now, a new token is compared with it later.
    let fingerprint = match gate::wanted(account, desired) {
        Ok(wanted) => wanted.fingerprint(),
        Err(_) => account.tokens.value()?.get(&current.token)?.rows.fingerprint(),
    };
    let failures = attempt.map_or(0, |attempt| attempt.failures);
    let opening = Opening { fingerprint, cause: Cause::TokenUnusable, failures };
    let ledger = observation.ledger.opened(&observation.installation, opening, observation.highest_serial(), now);
    Some(plain(observation, Effect::WriteLedger { entry: LedgerEntry::Open, ledger: Box::new(ledger) }, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adoption::{AdoptPermissions, Finding, Source};
    use crate::fixture::{self, now, object, permission};
    use crate::identity::{RenderRule, Serial, TokenId};
    use crate::observation::Condemnation;

    fn check(observation: &Observation, effect: &Effect, outcome: &Outcome, expected: &str) {
        let found = conclude(observation, effect, outcome, now());
        assert_eq!(found.map_or_else(|| "nothing".into(), |it| fixture::effect(&it.effect)), expected);
    }

    /// What the plan of this observation asks for.
    fn planned(observation: &Observation) -> Effect {
        match observation.plan().step {
            Step::Act(effect) => effect,
            other => panic!("nothing is done: {other:?}"),
        }
    }

    fn minting() -> Observation {
        object().claimed().attempt(6, Cause::First, 0).empty_slot(6)
    }

    fn proving() -> Observation {
        object().published(5, 2202).attempt(6, Cause::Requested, 0).filled_slot(6, 2206).listed(6, 2206)
    }

    fn retiring() -> Observation {
        object().published(5, 2202).retiring(4, 2190, 3600)
    }

    fn refused() -> Outcome {
        Outcome::Refused { why: Condemnation::refused("HTTP 401") }
    }

    #[test]
    fn a_refusal_is_written_down_at_once() {
        let rejected = Outcome::Rejected { message: "no such set".into() };
        check(&minting(), &planned(&minting()), &rejected, "give_up; serial now+0, next now+0 First x1");
        check(&object(), &planned(&minting()), &rejected, "nothing");
        check(&proving(), &planned(&proving()), &refused(), "condemn 6 VerificationRefused");
        check(
            &retiring(),
            &planned(&retiring()),
            &refused(),
            "open; serial now+0, next now+0 TokenUnusable x0, current 5:2202, retiring 4:2190",
        );
    }

    #[test]
    fn a_claim_that_proves_nothing_is_given_back_and_a_rename_is_tried_once() {
        let adopting = || object().adopting(None, AdoptPermissions::Match).unmarked(17).claimed().attempt(6, Cause::First, 0);
        let claimed = || adopting().adopted_slot(6, 17, |_| {});
        check(&claimed(), &planned(&claimed()), &refused(), "abandon; serial 6");
        let taken = Effect::TakeOverTarget { serial: Serial(6), source: Source { secret: "old".into(), key: "token".into() } };
        check(&claimed(), &taken, &Outcome::Found(Finding::Missing), "abandon; serial 6");
        check(&claimed(), &taken, &Outcome::Done, "nothing");
        let committed = || {
            claimed().with(|it| {
                it.ledger.next = None;
                it.ledger.current = Some(crate::ledger::Entry { serial: Serial(6), token: TokenId(17) });
            })
        };
        assert_eq!(fixture::effect(&planned(&committed())), "rename 6:17");
        let rejected = Outcome::Rejected { message: "cannot be renamed".into() };
        for outcome in [Outcome::Done, rejected] {
            check(&committed(), &planned(&committed()), &outcome, "label_committed 6");
        }
        check(&adopting(), &planned(&adopting()), &Outcome::Found(Finding::Missing), "nothing");
    }

    #[test]
    fn anything_else_is_looked_at_again() {
        for outcome in
            [Outcome::Done, Outcome::Created(TokenId(2206)), Outcome::Conflict, Outcome::TargetForeign { manager: "helm".into() }]
        {
            for observation in [minting(), proving(), retiring(), object()] {
                check(&observation, &planned(&observation), &outcome, "nothing");
            }
        }
        check(&minting(), &Effect::Reserve(Serial(6)), &refused(), "nothing");
    }

    /// After a refused proof of the published token the same retirement must not be tried again at once, whatever stands in
    /// the way of a new token: that would go on for ever.
    #[test]
    fn a_published_token_that_is_refused_is_replaced_before_anything_is_retired() {
        let after = |observation: Observation, expected: &str| {
            let refusal = conclude(&observation, &planned(&observation), &refused(), now());
            let Some(Conclusion { effect: Effect::WriteLedger { ledger, .. }, .. }) = refusal else { panic!("nothing follows") };
            let after = observation.with(|it| it.ledger = *ledger);
            assert_eq!(fixture::planned(&after.plan()), expected);
            let retire = Effect::Retire {
                token: TokenId(2190),
                serial: Serial(4),
                successor: Serial(5),
                probes: Vec::new(),
                rule: RenderRule::new("rule-1"),
            };
            assert_eq!(conclude(&after, &retire, &refused(), now()), None);
        };
        after(retiring(), "reserve 1795506000");
        after(retiring().budget_used_up(), "wait Budget until +900");
        after(retiring().with_account(|account| account.grants.clear()), "blocked PolicyRefused job_admin on all projects");
        after(retiring().edited(vec![permission("job_admin", &["Nowhere"])]), "blocked Project");
        after(retiring().retiring(3, 2183, 9).retiring(2, 2182, 9), "reserve 1795506000");
        after(retiring().attempt(6, Cause::Requested, 0).budget_used_up(), "wait Budget until +900");
        after(retiring().attempt(6, Cause::Requested, 3).filled_slot(6, 2206).listed(6, 2206), "condemn 6 Superseded");
    }

    #[test]
    fn a_refused_token_does_not_take_a_place_among_the_retiring_ones() {
        let full = object()
            .published(5, 2202)
            .retiring(4, 2184, 9)
            .retiring(3, 2183, 9)
            .retiring(2, 2182, 9)
            .attempt(6, Cause::TokenUnusable, 0)
            .filled_slot(6, 2206)
            .listed(6, 2206);
        let expected = "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 4:2184 3:2183 2:2182";
        assert_eq!(fixture::planned(&full.plan()), expected);
    }
}
