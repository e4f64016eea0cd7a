//! What a hostile user of one namespace gets: nothing. He has all rights that a tenant usually has, every attempt is his own, and
//! beside each stands a victim to whom nothing may happen.

mod exhaustion;
mod forgery;
mod reach;
mod theft;

use dbt_cloud_emulator::{Grant, IssuedToken, SeedToken, TokenId};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::support::case::Case;
use crate::support::scene::Scene;
use crate::support::tenant::Tenant;

pub fn cases() -> Vec<Case> {
    [exhaustion::cases(), forgery::cases(), reach::cases(), theft::cases()].into_iter().flatten().collect()
}

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

/// A token that somebody made by hand, with the permissions of [`runner`].
fn by_hand(scene: &Scene) -> IssuedToken {
    scene.dbt.add_token(SeedToken::new("made by hand", &[Grant::new("job_runner").in_project(700)]))
}

/// Connects the account, with the usual grant for the victim's namespace and for those of the tenants.
async fn connect(scene: &Scene, tenants: &[&Tenant]) {
    let mut namespaces: Vec<&str> = tenants.iter().map(|tenant| tenant.namespace.as_str()).collect();
    namespaces.push(&scene.namespace);
    scene.connect(|spec| spec["grants"][0]["namespaces"] = json!(namespaces)).await;
}

/// A token of somebody else, and everything about it that must stay as it is.
struct Victim {
    name: &'static str,
    string: String,
    id: i64,
    name_in_dbt: String,
    secret: Secret,
    writes: usize,
}

impl Victim {
    /// Publishes a token in the scene's own namespace.
    async fn publish(scene: &Scene, name: &'static str) -> Self {
        scene.apply(&scene.token(name, runner())).await;
        scene.published(name).await;
        Self::published(scene, name).await
    }

    /// One that is published there already.
    async fn published(scene: &Scene, name: &'static str) -> Self {
        let string = scene.string_of(name).await;
        let id = scene.id_of(&string);
        let secret = scene.secrets().get(&format!("{name}-dbt")).await.expect("the Secret is there");
        Self { name, string, id, name_in_dbt: name_in_dbt(scene, id), secret, writes: writes_to(scene, id) }
    }

    /// Nothing of it was changed: the string works, dbt was asked for no change of the token, and not a byte of the Secret was
    /// written.
    async fn unharmed(&self, scene: &Scene) {
        let Self { name, id, .. } = self;
        assert_eq!(scene.dbt.authenticates(&self.string), Some(TokenId(*id)), "{name}: its token lives");
        assert_eq!(name_in_dbt(scene, *id), self.name_in_dbt, "{name}");
        assert_eq!(writes_to(scene, *id), self.writes, "{name}: dbt was asked to change token {id}");
        let secret = scene.secrets().get(&format!("{name}-dbt")).await.expect("the Secret is there");
        assert_eq!(secret, self.secret, "{name}");
        let token = scene.status(name).await.token.expect("the status names a token");
        assert_eq!(token.id, Some(*id), "{name}");
    }
}

fn name_in_dbt(scene: &Scene, id: i64) -> String {
    scene.dbt.tokens().into_iter().find(|token| token.id.0 == id).expect("dbt has it").name
}

/// How often dbt was asked to change a token, or anything of it.
fn writes_to(scene: &Scene, id: i64) -> usize {
    let part = format!("/service-tokens/{id}/");
    scene.dbt.log().iter().filter(|entry| entry.method != "GET" && entry.path.contains(&part)).count()
}
