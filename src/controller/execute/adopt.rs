//! The effects of an adoption. The string that a Secret holds lives in them only, from the look to the claim; what is
//! remembered of a look is what the planner made words for.

use std::collections::BTreeMap;

use dbt_token_planner::adoption::{self, Finding, Fit, Look, Source};
use dbt_token_planner::effect::Outcome;
use dbt_token_planner::identity::{OwnerUid, Serial, TokenId};
use dbt_token_planner::observation::Condemnation;
use dbt_token_planner::permission::Probe;

use super::{Done, Executor};
use crate::backend::ErrorClass;
use crate::backend::dbt::{HeldString, find_string, holds};
use crate::cluster::adopt_source::{Place, SourceReading};
use crate::cluster::slot::{Claim, Claiming};
use crate::cluster::target::TargetReference;
use crate::controller::expect::Expect;
use crate::controller::failure::{self, dbt_failure};
use crate::controller::observe::owner_of;
use crate::controller::retry::Failure;
use crate::token::TokenString;

impl Executor<'_> {
    pub(super) async fn inspect_source(&self, source: &Source) -> Result<Done, Failure> {
        let finding = match self.look_into(source).await? {
            Err(finding) => finding,
            Ok(text) => match self.fits(&text)? {
                Err(finding) => finding,
                Ok((_, fits)) => Finding::Fits(fits),
            },
        };
        Ok(self.found(finding))
    }

    /// The very bytes that are tried are the ones that are stored.
    pub(super) async fn claim_adoption(
        &self,
        serial: Serial,
        token: TokenId,
        source: &Source,
        probes: &[Probe],
    ) -> Result<Done, Failure> {
        let text = match self.look_into(source).await? {
            Err(finding) => return Ok(self.found(finding)),
            Ok(text) => text,
        };
        let (string, fits) = match self.fits(&text)? {
            Err(finding) => return Ok(self.found(finding)),
            Ok(held) => held,
        };
        drop(text);
        let declared = self.seen.observation.desired.as_ref().ok().and_then(|desired| desired.adopt.as_ref());
        let meant = declared.and_then(|declared| adoption::choose(declared, &fits).ok());
        // Something changed since the look: what the planner says to it comes first.
        if meant.is_none_or(|fit| fit.token != token || fit.holder != adoption::Holder::Nobody) {
            return Ok(self.found(Finding::Fits(fits)));
        }
        if let Some(Condemnation { detail, .. }) = self.verify(probes, &string).await? {
            return Ok(self.found(Finding::Refused { detail }));
        }
        let (uid, granted) = self.account()?.identity(token).ok_or_else(|| failure::stale("the token is listed no more"))?;
        let belonging = self.seen.belonging(self.context, self.account_id()?);
        let claiming = Claiming { belonging: &belonging, serial, token, uid: &uid, granted: &granted, source };
        let claim = self.context.slots.claim(claiming, &string).await;
        match claim.map_err(|error| failure::cluster(&error, error.class()))? {
            Claim::Made => Ok(Done::new(Outcome::Done, Some(self.expect_slot(serial, None)))),
            Claim::Held(owner) if owner.uid == belonging.owner.uid => Err(failure::stale("the claim is there already")),
            Claim::Held(owner) => {
                let by = format!("{}/{}", owner.namespace, owner.name);
                Ok(self.found(Finding::Claimed { token, by }))
            }
        }
    }

    pub(super) async fn take_over_target(&self, serial: Serial, source: &Source) -> Result<Done, Failure> {
        let string = self.read_slot(serial).await?;
        let (text, secret) = match self.read_source(source).await? {
            Err(finding) => return Ok(self.found(finding)),
            Ok(held) => held,
        };
        if !holds(&text, &string) {
            return Ok(self.found(Finding::Refused { detail: "it is another string than the one that was taken over".into() }));
        }
        drop((text, string));
        let owner = &self.seen.observation.owner;
        let taken = self.context.targets.take_over(&secret, &owner.name).await;
        taken.map_err(|error| failure::target(&error, error.class(), &self.seen.token.spec.secret.name))?;
        Ok(Done::new(Outcome::Done, Some(Expect::target(&owner.namespace, &source.secret, None))))
    }

    pub(super) async fn rename(&self, token: TokenId, name: &str) -> Result<Done, Failure> {
        match self.backend()?.rename(token, name).await {
            Ok(()) => Ok(Done::new(Outcome::Done, None)),
            // The slot binds the token all the same.
            Err(error) => match error.class {
                ErrorClass::Rejected { message } => Ok(Done::new(Outcome::Rejected { message }, None)),
                ErrorClass::Denied => Ok(Done::new(Outcome::Rejected { message: error.detail }, None)),
                _ => Err(dbt_failure(&error)),
            },
        }
    }

    pub(super) async fn condemn_adopted(
        &self,
        serial: Serial,
        token: TokenId,
        unless_held_in: Option<&Source>,
    ) -> Result<Done, Failure> {
        if let Some(source) = unless_held_in
            && self.is_held_in(source, serial).await?
        {
            return Ok(self.found(Finding::StillHeld(token)));
        }
        let slot = self.slot(serial)?;
        self.context.slots.condemn_adopted(slot).await.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(Done::new(Outcome::Done, Some(self.expect_slot(serial, Some(slot)))))
    }

    /// Whether a Secret holds the string of a slot.
    async fn is_held_in(&self, source: &Source, serial: Serial) -> Result<bool, Failure> {
        let string = self.read_slot(serial).await?;
        let namespace = &self.seen.observation.owner.namespace;
        let read = self.context.targets.read_source(namespace, source, Place::Other).await;
        let read = read.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(matches!(&read, SourceReading::Text { text, .. } if holds(text, &string)))
    }

    pub(super) async fn strip_target(&self) -> Result<Done, Failure> {
        let target = self.target()?;
        self.still_there().await?;
        let stripped = self.context.targets.strip(target).await;
        stripped.map_err(|error| failure::target(&error, error.class(), &self.seen.token.spec.secret.name))?;
        Ok(Done::new(Outcome::Done, Some(Expect::target(&target.namespace, &target.name, Some(target)))))
    }

    /// Remembers what was found, for the planner's next look.
    pub(super) fn found(&self, finding: Finding) -> Done {
        let look = Look { finding: finding.clone(), taken_at: self.context.clock.now() };
        let observation = &self.seen.observation;
        self.context.memories.note_look(&observation.owner.uid, look, observation.generation);
        Done::new(Outcome::Found(finding), None)
    }

    async fn look_into(&self, source: &Source) -> Result<Result<TokenString, Finding>, Failure> {
        Ok(self.read_source(source).await?.map(|(text, _)| text))
    }

    async fn read_source(&self, source: &Source) -> Result<Result<(TokenString, TargetReference), Finding>, Failure> {
        let owner = &self.seen.observation.owner;
        let place = if source.secret == self.seen.token.spec.secret.name { Place::Same(&owner.name) } else { Place::Other };
        let read = self.context.targets.read_source(&owner.namespace, source, place).await;
        let read = read.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(match read {
            SourceReading::Missing => Err(Finding::Missing),
            SourceReading::Unannounced => Err(Finding::Unannounced),
            SourceReading::Controlled { controller } => Err(Finding::Controlled { controller }),
            SourceReading::NoText => Err(Finding::Unusable { why: "holds no text, or too much of it".to_owned() }),
            SourceReading::Text { text, secret } => Ok((text, secret)),
        })
    }

    /// The string in a text, and the tokens that it fits.
    fn fits(&self, text: &TokenString) -> Result<Result<(TokenString, Vec<Fit>), Finding>, Failure> {
        let string = match find_string(text) {
            HeldString::One(string) => string,
            HeldString::None => return Ok(Err(Finding::Unusable { why: "holds no string of a token".to_owned() })),
            HeldString::Several(count) => {
                return Ok(Err(Finding::Unusable { why: format!("holds {count} strings of today's form") }));
            }
        };
        let owner = &self.seen.observation.owner.uid;
        let fits = self.context.accounts.fits(self.account()?, &string, owner, &self.living());
        fits.map(|fits| Ok((string, fits))).ok_or_else(|| failure::stale("the account's tokens are not known"))
    }

    /// All objects that the watch shows, by uid.
    fn living(&self) -> BTreeMap<OwnerUid, String> {
        let all = self.context.caches.tokens.state();
        let named = all.iter().filter_map(|token| owner_of(token));
        named.map(|owner| (owner.uid, format!("{}/{}", owner.namespace, owner.name))).collect()
    }

    /// The claim proved nothing after all.
    pub(super) fn note_refused(&self, serial: Serial, why: &Condemnation) {
        if self.seen.observation.slot(serial).is_some_and(|slot| slot.adopted.is_some() && !slot.committed) {
            let _done = self.found(Finding::Refused { detail: why.detail.clone() });
        }
    }
}
