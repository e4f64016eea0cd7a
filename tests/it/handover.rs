//! From one operator process to the next: killed at every point, restarted, and replaced by another installation.

use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::operator::{Operator, OperatorOptions};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};
use dbt_cloud_emulator::{Fault, Rule};

pub fn cases() -> Vec<Case> {
    cases!(Own:
        an_operator_killed_after_any_effect_is_continued_by_the_next,
        an_operator_killed_amid_a_create_leaves_no_stray,
        another_installation_touches_nothing_until_a_person_says_so,
        an_http_address_needs_the_flag,
    )
}

/// More effects than this in the scenario would make the test too long; fewer than the floor would mean that it is hollow.
const EFFECTS: std::ops::RangeInclusive<usize> = 15..=30;

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

fn admin() -> Value {
    json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])
}

async fn an_operator_killed_after_any_effect_is_continued_by_the_next(scene: &Scene) {
    scene.connect(|_| {}).await;
    let operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    live_a_life(scene, "whole", &mut [].into_iter()).await;
    let effects = operator.effects("whole");
    assert!(EFFECTS.contains(&effects.len()), "{effects:?}");
    for effect in
        ["open", "claim_target", "reserve", "mint", "prove", "label_committed", "project", "retire", "close_slot", "forget"]
    {
        assert!(effects.iter().any(|word| word == effect), "the scenario has no {effect}: {effects:?}");
    }
    operator.stop();
    for kill in 1..=effects.len() {
        let dying = OperatorOptions { killed_after_effects: Some(kill), ..OperatorOptions::default() };
        let first = scene.stage.start_operator(&dying).await;
        // The second one starts only when the first is dead, so that it finds what that one left.
        let name = format!("killed-{kill}");
        live_a_life(scene, &name, &mut [first].into_iter()).await;
    }
}

/// Creates, edits and deletes an object. If there are operators, each is waited for to die, and the next one is started, at
/// the point where it does.
async fn live_a_life(scene: &Scene, name: &str, dying: &mut dyn Iterator<Item = Operator>) {
    let mut relay = Relay { scene, dying: dying.next(), heir: None };
    scene.apply(&scene.token(name, runner())).await;
    relay.published(name, None).await;
    let first = scene.string_of(name).await;
    assert_eq!(scene.live(), [scene.id_of(&first)]);
    scene.check().await;
    scene.permit(name, admin()).await;
    relay.published(name, Some(&first)).await;
    let second = scene.string_of(name).await;
    relay
        .until(&format!("only the new token of {name} lives"), async || {
            let (live, wanted) = (scene.live(), scene.id_of(&second));
            let settled = scene.status(name).await.retiring_tokens.is_empty();
            if live == [wanted] && settled { Ok(()) } else { Err(format!("{live:?}")) }
        })
        .await;
    scene.check().await;
    let uid = scene.tokens().get(name).await.expect("it is there").metadata.uid.expect("a uid");
    scene.delete(name).await;
    relay
        .until(&format!("{name} is gone"), async || match scene.tokens().get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("it is still there".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    assert_eq!(scene.live(), Vec::<i64>::new(), "{name} left tokens behind");
    assert!(scene.data(&format!("{name}-dbt")).await.is_none(), "{name} left its Secret behind");
    relay
        .until(&format!("no slot of {name} is left"), async || {
            let left = scene.slots_of(&uid).await.len();
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
    // A life that needed fewer effects than the kill waits for is not a test of it.
    if let Some(dying) = &relay.dying {
        until(LIMIT, &format!("the operator of {name} was killed"), async || {
            if dying.has_ended() { Ok(()) } else { Err(format!("it did only {:?}", dying.effects(name))) }
        })
        .await;
    }
}

/// Starts the heir the moment the dying operator is dead.
struct Relay<'scene> {
    scene: &'scene Scene,
    dying: Option<Operator>,
    heir: Option<Operator>,
}

impl Relay<'_> {
    async fn until(&mut self, what: &str, mut ask: impl AsyncFnMut() -> Result<(), String>) {
        until(LIMIT, what, async || {
            if self.heir.is_none() && self.dying.as_ref().is_some_and(Operator::has_ended) {
                self.heir = Some(self.scene.stage.start_operator(&OperatorOptions::default()).await);
            }
            ask().await
        })
        .await;
    }

    async fn published(&mut self, name: &str, before: Option<&String>) {
        let scene = self.scene;
        self.until(&format!("{name} is published"), async || {
            let token = scene.tokens().get(name).await.map_err(|error| error.to_string())?;
            let status = token.status.unwrap_or_default();
            let ready = status.conditions.iter().any(|condition| {
                condition.type_ == "Ready"
                    && condition.reason == "Published"
                    && condition.observed_generation == token.metadata.generation
            });
            let data = scene.data(&format!("{name}-dbt")).await.unwrap_or_default();
            let changed = data.get("token").is_some_and(|string| Some(string) != before);
            if ready && changed { Ok(()) } else { Err(crate::support::objects::told(&status.conditions)) }
        })
        .await;
    }
}

async fn an_operator_killed_amid_a_create_leaves_no_stray(scene: &Scene) {
    scene.connect(|_| {}).await;
    let hang = scene.dbt.add_fault(Rule::new(Fault::HangAfter { ms: None }).on("POST", "service-tokens/").nth(1));
    let first = scene.stage.start_operator(&OperatorOptions::default()).await;
    scene.apply(&scene.token("ci", runner())).await;
    assert!(scene.dbt.wait_until(LIMIT, |dbt| dbt.tokens().iter().any(|token| token.created_by.is_some())).await);
    first.kill();
    scene.dbt.remove_fault(hang);
    let _second = scene.stage.start_operator(&OperatorOptions::default()).await;
    let string = scene.published("ci").await;
    assert_eq!(scene.created(), 2, "the string of the first one was lost");
    scene.only_live(&[scene.id_of(&string)]).await;
}

async fn another_installation_touches_nothing_until_a_person_says_so(scene: &Scene) {
    scene.connect(|_| {}).await;
    let first = scene.stage.start_operator(&OperatorOptions::default()).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let old = scene.id_of(&string);
    first.kill();
    let copy = OperatorOptions { arguments: vec!["--installation-id".into(), "copy".into()], ..OperatorOptions::default() };
    let _second = scene.stage.start_operator(&copy).await;
    let stalled = scene.expect_account("Stalled", "True", "OtherInstallation").await;
    assert!(stalled.message.contains(&scene.stage.installation), "{}", stalled.message);
    scene.permit("ci", admin()).await;
    scene.expect("ci", "Ready", "False", "AccountNotReady").await;
    assert_eq!((scene.created(), scene.live()), (1, vec![old]));
    assert_eq!(scene.string_of("ci").await, string);
    let (_, value) = stalled.message.rsplit_once('=').expect("the condition names the value that confirms");
    scene.confirm(value).await;
    scene.expect_account("Ready", "True", "Connected").await;
    let second = scene.replaced("ci", &string).await;
    let new = scene.id_of(&second);
    assert_eq!(scene.live(), [old, new], "a token of another installation is never revoked");
}

async fn an_http_address_needs_the_flag(scene: &Scene) {
    let mut account = scene.account_manifest();
    let url = scene.dbt.http_url();
    account["spec"]["accessUrl"] = json!(url);
    account["spec"]["endpoints"] = json!({"discovery": format!("{url}/graphql"), "semanticLayer": format!("{url}/api/graphql")});
    scene.apply(&account).await;
    let careful = scene.stage.start_operator(&OperatorOptions::default()).await;
    scene.expect_account("Stalled", "True", "InsecureEndpoint").await;
    assert_eq!(scene.dbt.log().len(), 0, "nothing is sent");
    careful.kill();
    let daring = OperatorOptions { arguments: vec!["--allow-insecure-endpoints".into()], ..OperatorOptions::default() };
    let _daring = scene.stage.start_operator(&daring).await;
    scene.expect_account("Ready", "True", "Connected").await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.published("ci").await;
}
