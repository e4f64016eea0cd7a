//! What the status says beside the ledger, read back for the next look. Pure.

use dbt_token_planner::identity::TokenId;
use dbt_token_planner::ledger::Cause;
use dbt_token_planner::observation::Record;
use dbt_token_planner::report::{Condition, ConditionStatus, ConditionType, Published, Replacement, RetiringRecord};

use crate::api::v1alpha1::{HistoryEntry, ServiceTokenStatus};

/// The generation of a status that nobody has written yet; also the schema's default.
const NEVER: i64 = -1;

/// Reads the record. Entries of another version that cannot be read, such as an unknown cause, are left out: no decision
/// to make or destroy a token rests on them.
pub fn record(status: &ServiceTokenStatus) -> Record {
    let published = status.token.as_ref().and_then(|token| {
        let at = token.publication_time.as_ref()?.0;
        Some(Published { token: TokenId(token.id?), at })
    });
    let retiring = status.retiring_tokens.iter().filter_map(|token| {
        let replaced_at = token.replacement_time.as_ref()?.0;
        Some(RetiringRecord { token: TokenId(token.id), replaced_at })
    });
    let conditions = status.conditions.iter().filter_map(|condition| {
        Some(Condition {
            kind: ConditionType::from_word(&condition.type_)?,
            status: ConditionStatus::from_word(&condition.status),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        })
    });
    Record {
        observed_generation: status.observed_generation.unwrap_or(NEVER),
        published,
        retiring: retiring.collect(),
        history: status.history.iter().filter_map(replacement).collect(),
        last_rotation: status.last_rotation_time.as_ref().map(|time| time.0),
        next_rotation: status.next_rotation_time.as_ref().map(|time| time.0),
        conditions: conditions.collect(),
    }
}

fn replacement(entry: &HistoryEntry) -> Option<Replacement> {
    Some(Replacement {
        cause: Cause::from_word(entry.cause.as_deref()?)?,
        token: TokenId(entry.token_id?),
        previous: entry.previous_token_id.map(TokenId),
        published_at: entry.publication_time.as_ref().map(|time| time.0),
        retired_at: entry.retirement_time.as_ref().map(|time| time.0),
    })
}
