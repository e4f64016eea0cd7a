//! What is left of objects that are gone.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use dbt_token_planner::identity::{AccountId, Fingerprint, Installation, OwnerUid, Serial, TokenId, TokenUid};
use dbt_token_planner::observation::{Slot, SlotContent, Token};
use serde_json::json;

use super::dbt::{marked, own_string, owner};
use super::world::World;
use crate::account::lock;
use crate::cluster::account_access::LiveOwners;
use crate::cluster::slot::{Belonging, ObservedSlot, SlotReference};

/// The slot of `o1`, filled with token 1.
pub(super) fn slot(world: &World) -> ObservedSlot {
    let name = "slot-o1-1".to_owned();
    ObservedSlot {
        reference: SlotReference { name, uid: "slot-uid".to_owned(), resource_version: "1".to_owned() },
        slot: Slot {
            serial: Serial(1),
            content: SlotContent::Filled { token: TokenId(1), uid: TokenUid::new("uid0001"), granted: Fingerprint::new("x") },
            committed: true,
            retained: false,
            condemned: None,
            created_at: world.now(),
            adopted: None,
        },
        belonging: Belonging {
            installation: Installation::new("ours"),
            owner: owner("o1"),
            account: "analytics".to_owned(),
            account_id: AccountId(70),
        },
    }
}

#[tokio::test]
async fn what_a_deletion_left_behind_is_revoked_and_then_its_slot_is_closed() {
    let world = World::new();
    world.dbt.put(marked(1, "o1", 1));
    world.cluster.put_token("o1", Some(1));
    lock(&world.cluster.slots).push(slot(&world));
    lock(&world.cluster.held).push((TokenId(1), "finance/dbt".to_owned()));
    world.cluster.put_account(json!({}));
    world.cluster.put_credential(&own_string(), "1");
    world.settle().await;
    let strays = |world: &World| world.cluster.status().tokens.and_then(|counts| counts.strays);
    assert_eq!(strays(&world), Some(0));
    world.cluster.remove_token("o1");
    *lock(&world.cluster.live) = Some(LiveOwners::NotAll);
    world.pass(5000);
    world.settle().await;
    assert_eq!(strays(&world), Some(1), "reported at once");
    *lock(&world.cluster.live) = Some(LiveOwners::All(BTreeSet::new()));
    world.pass(600);
    world.settle().await;
    world.pass(600);
    world.settle().await;
    assert!(lock(&world.dbt.tokens)[&TokenId(1)].active, "a Secret still holds it");
    lock(&world.cluster.held).clear();
    world.forget_calls();
    world.settle().await;
    assert_eq!(world.dbt.calls(), "revoke 1, get 1");
    assert_eq!(world.cluster.calls(), "close slot-o1-1, status");
    assert_eq!(strays(&world), Some(0));
}

#[tokio::test]
async fn a_young_stray_is_left_alone_and_an_old_one_goes() {
    let world = World::new();
    world.dbt.put(Token { created_at: Some(world.now()), ..marked(1, "gone", 1) });
    world.cluster.put_account(json!({}));
    world.cluster.put_credential(&own_string(), "1");
    *lock(&world.cluster.live) = Some(LiveOwners::All([OwnerUid::new("other")].into()));
    world.settle().await;
    assert_eq!(world.cluster.calls().matches("live owners").count(), 0, "nobody asks before it is time");
    world.pass(86_400);
    world.forget_calls();
    world.settle().await;
    assert_eq!((world.dbt.calls().as_str(), world.cluster.calls().as_str()), ("list, revoke 1, get 1", "live owners, status"));
}

#[tokio::test]
async fn a_revoked_token_that_dbt_shows_no_more_is_not_revoked_again_before_the_next_list() {
    let world = World::new();
    world.dbt.hides_deleted.store(true, Ordering::SeqCst);
    let old = |id| Token { created_at: Some(world.now()), ..marked(id, "gone", id) };
    world.dbt.put(old(1));
    world.dbt.put(old(2));
    lock(&world.cluster.slots)
        .push(ObservedSlot { belonging: Belonging { owner: owner("gone"), ..slot(&world).belonging }, ..slot(&world) });
    world.cluster.put_account(json!({}));
    world.cluster.put_credential(&own_string(), "1");
    *lock(&world.cluster.live) = Some(LiveOwners::All([OwnerUid::new("other")].into()));
    world.settle().await;
    world.pass(86_400);
    world.forget_calls();
    world.settle().await;
    assert_eq!(world.dbt.calls(), "list, revoke 1, get 1, revoke 2, get 2");
    assert_eq!(world.cluster.calls(), "close slot-o1-1");
}
