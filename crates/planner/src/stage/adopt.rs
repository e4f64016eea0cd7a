//! Taking over a token that exists: looked for in the Secret, claimed by a slot that is named after it and is created
//! already filled with the bytes that authenticated, tried again from there, committed, and then marked in dbt.
//!
//! The claim comes before the second try: whoever revoked the token after the first one held the claim then, and has
//! closed it since, so that a token which still works afterwards is nobody else's.

use std::time::Duration;

use jiff::Timestamp;

use crate::adoption::{self, AdoptPermissions, AdoptPolicy, AdoptRefusal, Adoption, Finding, Fit, Holder, Look, Source};
use crate::desired::Desired;
use crate::effect::{Effect, LedgerEntry, Need};
use crate::gate;
use crate::grant::GrantRows;
use crate::identity::{Serial, TokenId};
use crate::ledger::{Attempt, Cause, Entry, Opening};
use crate::link::Inheritance;
use crate::mark::{Mark, Origin};
use crate::observation::{Life, Observation, OpenAccount, Reading, Slot, Target, Token};
use crate::permission::Probe;
use crate::plan::{Block, Step, Turn, Wait};
use crate::stage::mint::PATIENCE_FOR_MISSING;
use crate::stage::retire::later;
use crate::stage::write;

/// The oldest list in which a held string is looked for. An object that waits for a person asks for one as often.
const OLDEST_LIST: Duration = Duration::from_secs(5 * 60);

/// Serials are whole seconds.
const WITHIN_THE_SECOND: Duration = Duration::from_secs(1);

/// What the stage needs to know.
struct Facts<'a> {
    observation: &'a Observation,
    account: &'a OpenAccount,
    desired: &'a Desired,
    adoption: &'a Adoption,
    wanted: GrantRows,
    now: Timestamp,
}

/// Looks, claims, takes the Secret over and proves, one a pass. Passes once the object had its first token.
pub fn adopt(observation: &Observation, now: Timestamp) -> Turn {
    if let Some(turn) = called_off(observation) {
        return turn;
    }
    match facts(observation, now) {
        None => Turn::Pass(None),
        Some(facts) => facts.and_then(|facts| step(&facts)).unwrap_or_else(|turn| turn),
    }
}

/// The attempt holds a claim that is not declared any more. Its slot is swept; the token stays as it is.
fn called_off(observation: &Observation) -> Option<Turn> {
    let attempt = observation.ledger.next.as_ref()?;
    let slot = observation.slot(attempt.serial)?;
    let declared = observation.desired.as_ref().ok()?.adopt.as_ref().filter(|_| !had_a_token(observation));
    let fits = match (&slot.adopted, declared) {
        (Some(source), Some(adoption)) => *source == adoption.source && adoption.token.is_none_or(|id| slot.token() == Some(id)),
        // What was begun before adoption was declared is given up for it.
        (None, declared) => declared.is_none(),
        (Some(_), None) => false,
    };
    let usable = slot.condemned.is_none() && slot.token().is_none_or(|token| observation.life(token) != Life::Inactive);
    let keeps = fits && (slot.adopted.is_none() || usable);
    (!keeps).then(|| write(observation, LedgerEntry::Abandon, observation.ledger.abandoned()))
}

/// Adoption is read only before the first token.
fn had_a_token(observation: &Observation) -> bool {
    let ledger = &observation.ledger;
    let told = observation.record.published.is_some();
    let committed = observation.slots.iter().any(|slot| slot.committed);
    let held = matches!(&observation.target, Target::Ours(state) if state.token.is_some());
    ledger.current.is_some() || !ledger.retiring.is_empty() || told || committed || held
}

/// `None` if nothing is to be adopted, or the account cannot be worked with: what follows says so.
fn facts(observation: &Observation, now: Timestamp) -> Option<Result<Facts<'_>, Turn>> {
    let desired = observation.desired.as_ref().ok()?;
    let adoption = desired.adopt.as_ref().filter(|_| !had_a_token(observation))?;
    let account = observation.account.open()?;
    let wanted = match gate::wanted(account, desired) {
        Ok(wanted) => wanted,
        Err(turn) => return Some(Err(turn)),
    };
    Some(Ok(Facts { observation, account, desired, adoption, wanted, now }))
}

fn step(facts: &Facts<'_>) -> Result<Turn, Turn> {
    let observation = facts.observation;
    if observation.fresh_tokens().is_none() {
        return Err(Turn::read(Need::Tokens(observation.fresh_after)));
    }
    gate::policy(facts.account, &facts.wanted, false)?;
    gate::provable(observation, facts.desired, &facts.wanted)?;
    if adoption::policy(&facts.account.grants) == AdoptPolicy::Never {
        return Err(refused(AdoptRefusal::NotAllowed { needed: AdoptPolicy::Proven, untried: Vec::new() }, None));
    }
    let Some(attempt) = &observation.ledger.next else { return Ok(open(facts)) };
    if !observation.finalizer {
        return Ok(Turn::act(Effect::AddFinalizer));
    }
    match observation.slot(attempt.serial).and_then(|slot| Some((slot, slot.token()?))) {
        Some((slot, token)) => claimed(facts, slot, token),
        None => claim(facts, attempt),
    }
}

fn refused(refusal: AdoptRefusal, until: Option<Timestamp>) -> Turn {
    Turn::Take(Step::Blocked(Block::Adopt(refusal)), until)
}

fn open(facts: &Facts<'_>) -> Turn {
    let observation = facts.observation;
    let opening = Opening { fingerprint: facts.wanted.fingerprint(), cause: Cause::First, failures: 0 };
    let ledger = observation.ledger.opened(&observation.installation, opening, observation.highest_serial(), facts.now);
    write(observation, LedgerEntry::Open, ledger)
}

/// Whether the Secret that holds the string is the one that the object shall manage.
fn is_in_place(desired: &Desired, source: &Source) -> bool {
    source.secret == desired.secret_name
}

/// Nothing is claimed yet: what the Secret holds is looked for, judged and claimed.
fn claim(facts: &Facts<'_>, attempt: &Attempt) -> Result<Turn, Turn> {
    let observation = facts.observation;
    if observation.target == Target::Missing && !is_in_place(facts.desired, &facts.adoption.source) {
        return Ok(Turn::act(Effect::ClaimTarget));
    }
    let Some(look) = observation.look.as_ref().filter(|look| look.is_believed(facts.now) && !is_outdated(facts, look)) else {
        return Ok(inspect(facts, attempt));
    };
    let until = look.until();
    let fits = match found(facts, attempt, &look.finding) {
        Ok(fits) => fits,
        Err(turn) => return Err(wake(turn, until)),
    };
    if lacks_the_token(facts.adoption, fits) {
        list_is_younger(facts, attempt)?;
    }
    let fit = adoption::choose(facts.adoption, fits).map_err(|refusal| refused(refusal, Some(until)))?;
    let token = observation.fresh_tokens().and_then(|tokens| tokens.get(&fit.token)).filter(|token| token.active);
    // It has gone since the look.
    let Some(token) = token else { return Ok(inspect(facts, attempt)) };
    is_free(facts, &fit, token).map_err(|refusal| refused(refusal, Some(until)))?;
    may_do(facts, token).map_err(|refusal| refused(refusal, Some(until)))?;
    let probes = probes(facts, token).map_err(|turn| wake(turn, until))?;
    let source = facts.adoption.source.clone();
    Ok(Turn::act(Effect::ClaimAdoption { serial: attempt.serial, token: token.id, source, probes }))
}

/// Looks into the Secret, once the list is young enough to know the token: somebody may have made it a moment ago.
fn inspect(facts: &Facts<'_>, attempt: &Attempt) -> Turn {
    let opened = Timestamp::from_second(attempt.serial.0).unwrap_or(Timestamp::MIN).min(facts.now);
    let since = opened.max(facts.now.checked_sub(OLDEST_LIST).unwrap_or(Timestamp::MIN));
    if facts.account.tokens.since(since).is_none() {
        return Turn::read(Need::Tokens(since.max(facts.observation.fresh_after)));
    }
    Turn::act(Effect::InspectSource(facts.adoption.source.clone()))
}

/// Whether no token was found, and dbt was asked for its tokens since.
fn is_outdated(facts: &Facts<'_>, look: &Look) -> bool {
    let found_none = matches!(&look.finding, Finding::Fits(fits) if lacks_the_token(facts.adoption, fits));
    found_none && matches!(&facts.account.tokens, Reading::Known { taken_at, .. } if *taken_at > look.taken_at)
}

fn lacks_the_token(adoption: &Adoption, fits: &[Fit]) -> bool {
    adoption.token.map_or(fits.is_empty(), |wanted| fits.iter().all(|fit| fit.token != wanted))
}

/// A string is called nobody's only by a list from after the second in which the attempt was opened: a list of that second
/// may have come before the token.
fn list_is_younger(facts: &Facts<'_>, attempt: &Attempt) -> Result<(), Turn> {
    let over = Timestamp::from_second(attempt.serial.0.saturating_add(1)).unwrap_or(Timestamp::MIN);
    // Serials may be ahead of the clock; then the usual age has to do.
    if over > later(facts.now, WITHIN_THE_SECOND) || facts.account.tokens.since(over).is_some() {
        return Ok(());
    }
    Err(match facts.now < over {
        true => Turn::Take(Step::Wait(Wait::AdoptSource), Some(over)),
        false => Turn::read(Need::Tokens(over.max(facts.observation.fresh_after))),
    })
}

fn wake(turn: Turn, until: Timestamp) -> Turn {
    match turn {
        Turn::Take(step @ (Step::Blocked(_) | Step::Wait(_)), time) => {
            Turn::Take(step, Some(time.map_or(until, |time| time.min(until))))
        }
        turn => turn,
    }
}

/// The tokens that the string fits, or why there is none to speak of.
fn found<'a>(facts: &Facts<'_>, attempt: &Attempt, finding: &'a Finding) -> Result<&'a [Fit], Turn> {
    let Source { secret, key } = &facts.adoption.source;
    let name = &facts.observation.owner.name;
    let refusal = match finding {
        Finding::Fits(fits) => return Ok(fits),
        Finding::Missing => {
            let patience = later(facts.observation.created_at, PATIENCE_FOR_MISSING);
            if facts.now < patience {
                return Err(Turn::Take(Step::Wait(Wait::AdoptSource), Some(patience)));
            }
            AdoptRefusal::SourceNotFound
        }
        Finding::Unannounced => AdoptRefusal::refused(
            format!("the annotation adopt-by is missing on Secret {secret}, or names another ServiceToken"),
            format!("let its owner annotate it with tokens.dbt-operator.dev/adopt-by={name}"),
        ),
        Finding::Controlled { controller } => AdoptRefusal::refused(
            format!("{controller} owns Secret {secret} and would write over it"),
            "choose another secret.name, and adopt from there",
        ),
        Finding::Unusable { why } => AdoptRefusal::refused(
            format!("{secret}/{key} {why}"),
            "write the bare string there, or a text with exactly one string of today's form",
        ),
        Finding::Refused { detail } => AdoptRefusal::refused(
            format!("{secret}/{key} does not authenticate ({detail})"),
            "put the string of a living token of this account there",
        ),
        Finding::Claimed { token, by } => AdoptRefusal::Conflict { token: *token, holder: format!("ServiceToken {by}") },
        // It speaks of an earlier token of this very object.
        Finding::StillHeld(_) => return Err(inspect(facts, attempt)),
    };
    Err(refused(refusal, None))
}

/// Whether the token is somebody else's. A mark of another installation weighs more than anything that is held here.
fn is_free(facts: &Facts<'_>, fit: &Fit, token: &Token) -> Result<(), AdoptRefusal> {
    let conflict = |holder: String| Err(AdoptRefusal::Conflict { token: token.id, holder });
    let observation = facts.observation;
    match (&token.mark, &fit.holder) {
        (Some(mark), _) if mark.installation != observation.installation => conflict("another installation".into()),
        (_, Holder::Account) => Err(AdoptRefusal::refused(
            format!("token {} is the credential of a DbtAccount, which is never adopted", token.id),
            "give the operator and its consumers tokens of their own",
        )),
        (_, Holder::Object(name)) => conflict(format!("ServiceToken {name}")),
        (_, Holder::GoneObject) => conflict("a ServiceToken that is gone".into()),
        (_, Holder::Nobody) => Ok(()),
    }
}

fn may_do(facts: &Facts<'_>, token: &Token) -> Result<(), AdoptRefusal> {
    if token.rows == facts.wanted || facts.adoption.permissions == AdoptPermissions::Replace {
        return Ok(());
    }
    let (only_there, only_here) = (token.rows.without(&facts.wanted), facts.wanted.without(&token.rows));
    Err(AdoptRefusal::PermissionsDiffer { token: token.id, only_there, only_here })
}

/// The calls that prove possession. One is enough for that; a token that none can try needs a grant that says so.
fn probes(facts: &Facts<'_>, token: &Token) -> Result<Vec<Probe>, Turn> {
    let (probes, untried) = gate::probes(facts.observation, &token.rows)?;
    if probes.is_empty() && adoption::policy(&facts.account.grants) != AdoptPolicy::Unproven {
        return Err(refused(AdoptRefusal::NotAllowed { needed: AdoptPolicy::Unproven, untried }, None));
    }
    Ok(probes)
}

/// The claim holds: the Secret is taken over if it is that very one, and the string is tried again from the slot.
fn claimed(facts: &Facts<'_>, slot: &Slot, token: TokenId) -> Result<Turn, Turn> {
    let observation = facts.observation;
    if observation.life(token) == Life::Unlisted {
        return Err(Turn::read(Need::Token(token)));
    }
    let listed = observation.fresh_tokens().and_then(|tokens| tokens.get(&token));
    let Some(listed) = listed else { return Err(Turn::read(Need::Tokens(observation.fresh_after))) };
    // Somebody else marked it in between, or the declaration was edited: the claim is given back before that is told.
    if !observation.is_ours(token) || may_do(facts, listed).is_err() {
        return Ok(write(observation, LedgerEntry::Abandon, observation.ledger.abandoned()));
    }
    let probes = probes(facts, listed)?;
    if observation.target == Target::Missing {
        return Ok(Turn::act(match is_in_place(facts.desired, &facts.adoption.source) {
            true => Effect::TakeOverTarget { serial: slot.serial, source: facts.adoption.source.clone() },
            false => Effect::ClaimTarget,
        }));
    }
    let committed = Box::new(observation.ledger.committed(token, false, observation.rotate_at.clone()));
    Ok(Turn::act(Effect::Prove { serial: slot.serial, token, probes, inheritance: Inheritance::default(), committed }))
}

/// The mark of an adopted token: written once, between the commit and the label on the slot. Where dbt does not rename it,
/// the slot alone binds it. `None` if there is nothing to do about it.
pub(crate) fn mark(observation: &Observation, current: Entry, slot: &Slot) -> Option<Turn> {
    slot.adopted.as_ref()?;
    let mark = mark_of(observation, slot.serial);
    let known = observation.known_tokens().find(|token| token.id == current.token);
    if known.is_some_and(|token| token.mark.as_ref() == Some(&mark)) {
        return None;
    }
    // Publishing waits: afterwards nobody would come back to it.
    let (Some(_), Ok(desired)) = (observation.account.open(), &observation.desired) else { return Some(Turn::Pass(None)) };
    Some(match observation.life(current.token) {
        Life::Active if observation.fresh_tokens().is_some() && observation.is_ours(current.token) => {
            let name = mark.name(&desired.token_name);
            Turn::act(Effect::Rename { serial: slot.serial, token: current.token, name })
        }
        // It became somebody else's in between: nothing of it is changed.
        Life::Active if observation.fresh_tokens().is_some() => return None,
        Life::Unlisted => Turn::read(Need::Token(current.token)),
        _ => Turn::read(Need::Tokens(observation.fresh_after)),
    })
}

fn mark_of(observation: &Observation, serial: Serial) -> Mark {
    let (installation, owner) = (observation.installation.clone(), observation.owner.uid.clone());
    Mark { installation, owner, serial, origin: Origin::Adopted }
}

#[cfg(test)]
mod tests;
