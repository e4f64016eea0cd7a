//! Observations for the tables of this folder: an account at rest, to which each case makes one change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::observation::{
    AccountInfo, AccountObservation, AccountRecord, AccountSettings, AccountSlot, Answer, Credential, OwnCredential, OwnerClaim,
    ProjectReading, TokenList,
};
use crate::grant::{GrantRow, GrantRows, Scope};
use crate::identity::{AccountId, Fingerprint, Installation, OwnerUid, PermissionSet, Serial, TokenId, TokenUid};
use crate::ledger::{Entry, Ledger};
use crate::mark::{Mark, Origin};
use crate::observation::{Slot, SlotContent, Token};

/// The time of every case.
pub(crate) fn now() -> Timestamp {
    "2026-11-24T08:00:00Z".parse().expect("a time")
}

/// The id of the account's own credential in [`observation`].
pub(crate) const OWN: i64 = 9;

pub(crate) fn settings() -> AccountSettings {
    AccountSettings {
        account: AccountId(70),
        host: "ab123.us1.dbt.com".to_owned(),
        suspended: false,
        mints_per_hour: 200,
        maximum_tokens: None,
        interval: Duration::from_secs(600),
        aged_after: Duration::from_secs(365 * 86_400),
        unused_after: Duration::from_secs(90 * 86_400),
        revoke_strays_after: Duration::from_secs(86_400),
    }
}

pub(crate) fn info() -> AccountInfo {
    AccountInfo { account: Some(AccountId(70)), name: "Example".to_owned(), plan: "enterprise_2025".to_owned(), locked: None }
}

/// A bound account that was just read: its list holds nothing but its own credential.
pub(crate) fn observation() -> AccountObservation {
    AccountObservation {
        name: "analytics".to_owned(),
        generation: 3,
        deleted_at: None,
        finalizer: true,
        installation: Installation::new("ours"),
        confirm: None,
        settings: Ok(settings()),
        senior: None,
        users: Vec::new(),
        record: AccountRecord { installation: Some(Installation::new("ours")), ..AccountRecord::default() },
        credential: Credential::Present(OwnCredential::Uid(TokenUid::new("ownuid0"))),
        info: Answer::Known { value: info(), taken_at: now() },
        tokens: known(list([own()])),
        unbelieved_since: None,
        projects: ProjectReading::NotWanted,
        create_refused: None,
        fresh_after: Timestamp::MIN,
        owners: Vec::new(),
        living: BTreeSet::new(),
        lives: BTreeMap::new(),
        slots: Vec::new(),
        held: BTreeMap::new(),
        gone: BTreeMap::new(),
    }
}

pub(crate) fn known(list: TokenList) -> Answer<Arc<TokenList>> {
    Answer::Known { value: Arc::new(list), taken_at: now() }
}

pub(crate) fn list(tokens: impl IntoIterator<Item = Token>) -> TokenList {
    TokenList { tokens: tokens.into_iter().map(|token| (token.id, token)).collect() }
}

/// The account's own credential.
pub(crate) fn own() -> Token {
    let row = GrantRow { permission_set: PermissionSet::new("account_admin"), scope: Scope::All, writable: BTreeSet::new() };
    Token {
        uid: TokenUid::new("ownuid0"),
        rows: GrantRows::new(vec![row]),
        created_at: Some("2022-05-05T10:00:00Z".parse().expect("a time")),
        ..token(OWN, None)
    }
}

pub(crate) fn token(id: i64, mark: Option<Mark>) -> Token {
    Token {
        id: TokenId(id),
        uid: TokenUid::new(format!("uid{id:04}")),
        name: format!("token {id}"),
        mark,
        active: true,
        rows: GrantRows::default(),
        created_at: None,
        last_used: None,
        shows_links: false,
    }
}

/// A token with our mark.
pub(crate) fn marked(id: i64, owner: &str, serial: i64) -> Token {
    let mark = Mark {
        installation: Installation::new("ours"),
        owner: OwnerUid::new(owner),
        serial: Serial(serial),
        origin: Origin::Made,
    };
    token(id, Some(mark))
}

/// A ServiceToken whose ledger calls a token `current`.
pub(crate) fn owner(uid: &str, namespace: &str, current: Option<i64>) -> OwnerClaim {
    OwnerClaim {
        uid: OwnerUid::new(uid),
        namespace: namespace.to_owned(),
        name: format!("name-{uid}"),
        created_at: now(),
        deleting: false,
        ledger: Ledger {
            installation: Some(Installation::new("ours")),
            serial: 1,
            current: current.map(|id| Entry { serial: Serial(1), token: TokenId(id) }),
            ..Ledger::default()
        },
        changed_at: None,
    }
}

pub(crate) fn empty_slot(owner: &str, serial: i64) -> AccountSlot {
    AccountSlot {
        owner: OwnerUid::new(owner),
        owner_name: format!("finance/{owner}"),
        slot: Slot {
            serial: Serial(serial),
            content: SlotContent::Empty,
            committed: false,
            retained: false,
            condemned: None,
            created_at: now(),
            adopted: None,
        },
    }
}

pub(crate) fn filled_slot(owner: &str, serial: i64, token: i64) -> AccountSlot {
    let content = SlotContent::Filled {
        token: TokenId(token),
        uid: TokenUid::new(format!("uid{token:04}")),
        granted: Fingerprint::new(""),
    };
    let empty = empty_slot(owner, serial);
    AccountSlot { slot: Slot { content, ..empty.slot.clone() }, ..empty }
}

/// The record of a token that was let go on purpose.
pub(crate) fn record_of(owner: &str, serial: i64, token: i64) -> AccountSlot {
    let filled = filled_slot(owner, serial, token);
    AccountSlot { slot: Slot { retained: true, ..filled.slot.clone() }, ..filled }
}
