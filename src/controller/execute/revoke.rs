//! The effects that end a token: what has to hold is looked at once more before dbt is asked to.

use dbt_token_planner::effect::{Need, Outcome, RevokedBecause};
use dbt_token_planner::identity::{Serial, TokenId};
use dbt_token_planner::observation::TroubleKind;
use dbt_token_planner::permission::Probe;
use jiff::Timestamp;

use super::{Done, Executor};
use crate::controller::failure::{self, dbt_failure};
use crate::controller::retry::Failure;

impl Executor<'_> {
    /// The successor proves itself from the target's own bytes before the old token goes.
    pub(super) async fn retire(&self, token: TokenId, successor: Serial, probes: &[Probe]) -> Result<Done, Failure> {
        let target = self.target()?;
        let held = self
            .context
            .targets
            .read(target)
            .await
            .map_err(|error| failure::target(&error, error.class(), &self.seen.token.spec.secret.name))?;
        let rendered = self.rendered(successor).await?;
        if !rendered.stands_in(&held) {
            return Err(failure::stale("the Secret does not hold the new token"));
        }
        drop((rendered, held));
        let string = self.read_slot(successor).await?;
        if let Some(why) = self.verify(probes, &string).await? {
            return Ok(Done::new(Outcome::Refused { why }, None));
        }
        drop(string);
        self.revoke(token).await
    }

    /// A token whose slot is gone was published perhaps, and nothing but its use tells of that: an old list does not know it.
    pub(super) async fn sweep(&self, token: TokenId, serial: Serial, because: RevokedBecause) -> Result<Done, Failure> {
        let is_stored = self.seen.observation.slot(serial).is_some_and(|slot| slot.token() == Some(token));
        if because == RevokedBecause::Stray && !is_stored {
            let before = self.last_use(token)?;
            self.account()?.ensure(Need::Token(token)).await.map_err(|error| failure::read_failure(&error))?;
            if self.last_use(token)? != before {
                return Err(failure::stale("the token was used"));
            }
        }
        self.revoke(token).await
    }

    /// When a token was used last, as far as the account knows now.
    fn last_use(&self, token: TokenId) -> Result<Option<Timestamp>, Failure> {
        let list = self.account()?.listed();
        Ok(list.and_then(|list| list.tokens.get(&token)?.last_used))
    }

    async fn revoke(&self, token: TokenId) -> Result<Done, Failure> {
        let account = self.account()?;
        if account.is_own_credential(token) {
            let message = format!("token {token} is the operator's own credential and is never revoked");
            return Err(Failure { kind: TroubleKind::Cluster, message, not_before: None, stale: false });
        }
        self.backend()?.revoke(token).await.map_err(|error| dbt_failure(&error))?;
        Ok(Done::new(Outcome::Done, None))
    }
}
