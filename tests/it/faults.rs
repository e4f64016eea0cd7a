//! dbt at its worst: answers that are lost, late, wrong or missing.

use dbt_cloud_emulator::{DeletedGet, Fault, Grant, GrantChange, IssuedToken, ListPaging, Lost, Rule, SeedToken, TokenId};
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(Shared:
        a_create_that_hangs_is_swept,
        a_create_that_lands_late_is_swept,
        a_lost_answer_to_create_is_swept,
        a_create_that_answers_an_error_after_its_effect_is_swept,
        a_rate_limit_is_waited_out,
        a_token_that_works_only_after_a_while_is_waited_for,
        a_refused_token_is_revoked_and_the_old_one_stays,
        grants_that_differ_are_revoked_and_reported,
        a_create_that_names_another_token_harms_neither,
        a_create_that_names_the_published_token_harms_neither,
        a_create_that_names_a_token_which_is_not_there_is_swept,
        a_create_with_the_uid_of_another_token_is_swept,
        a_lying_dbt_that_hides_deleted_tokens_does_not_make_tokens_in_a_loop,
        an_older_dbt_gets_the_second_call,
        a_list_that_ignores_paging_is_understood,
        deleted_tokens_may_be_hidden_everywhere,
        a_revoked_credential_leaves_published_tokens_ready,
        a_gateway_that_answers_html_is_waited_out,
        a_request_that_dbt_refuses_is_reported_in_its_words,
    )
}

const CREATE: &str = "service-tokens/";

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

/// The first create meets a fault; in the end one token is published and alive, and no other one.
async fn first_create_meets(scene: &Scene, fault: Fault, made: usize) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    scene.dbt.add_fault(Rule::new(fault).on("POST", CREATE).nth(1));
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    until(LIMIT, &format!("{made} tokens were made"), async || {
        let created = scene.created();
        if created == made { Ok(()) } else { Err(created.to_string()) }
    })
    .await;
    scene.only_live(&[scene.id_of(&string)]).await;
    scene.published("ci").await;
}

async fn a_create_that_hangs_is_swept(scene: &Scene) {
    first_create_meets(scene, Fault::HangAfter { ms: None }, 2).await;
}

async fn a_create_that_lands_late_is_swept(scene: &Scene) {
    first_create_meets(scene, Fault::LateEffect { after_ms: Some(6000), lost: Lost::Drop }, 2).await;
}

async fn a_lost_answer_to_create_is_swept(scene: &Scene) {
    first_create_meets(scene, Fault::DropAfter, 2).await;
    scene.event("ci", "StrayRevoked").await;
}

async fn a_create_that_answers_an_error_after_its_effect_is_swept(scene: &Scene) {
    first_create_meets(scene, Fault::ErrorAfter { status: 500 }, 2).await;
}

async fn a_rate_limit_is_waited_out(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.expect_account("Ready", "True", "Connected").await;
    scene.dbt.add_fault(Rule::new(Fault::TooManyRequests { retry_after_seconds: Some(3) }).on("POST", CREATE).times(1));
    scene.apply(&scene.token("ci", runner())).await;
    scene.published("ci").await;
    assert_eq!(scene.created(), 1);
    let log = scene.dbt.log();
    let refused = log.iter().position(|entry| entry.status == Some(429)).expect("one call was refused");
    let waited = log[refused + 1].time.duration_since(log[refused].time);
    assert!(waited.as_secs_f64() >= 2.9, "nothing was asked for 3 s, but after {waited:?}");
}

async fn a_token_that_works_only_after_a_while_is_waited_for(scene: &Scene) {
    scene.dbt.set_modes(|modes| modes.new_token_delay_ms = 5000);
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    assert_eq!((scene.created(), scene.live()), (1, vec![scene.id_of(&string)]));
}

async fn a_refused_token_is_revoked_and_the_old_one_stays(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let first = scene.published("ci").await;
    let rule = Rule::new(Fault::ErrorBefore { status: 404 }).on("GET", "/api/**").by(TokenId(scene.id_of(&first) + 1));
    scene.dbt.add_fault(rule);
    scene.permit("ci", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    let stalled = scene.expect("ci", "Stalled", "True", "VerificationRefused").await;
    assert!(stalled.message.contains("stays published"), "{}", stalled.message);
    scene.check().await;
    assert_eq!(scene.string_of("ci").await, first);
    scene.only_live(&[scene.id_of(&first)]).await;
    // The next attempt comes by itself.
    let second = scene.replaced("ci", &first).await;
    scene.only_live(&[scene.id_of(&second)]).await;
}

async fn grants_that_differ_are_revoked_and_reported(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.dbt.set_modes(|modes| modes.create_alters_grants = Some(GrantChange::WidenProjects));
    scene.apply(&scene.token("ci", runner())).await;
    let stalled = scene.expect("ci", "Stalled", "True", "GrantsDiffer").await;
    assert!(stalled.message.contains("job_runner on all projects"), "{}", stalled.message);
    scene.only_live(&[]).await;
    assert!(scene.data("ci-dbt").await.is_none_or(|data| data.is_empty()), "nothing is published");
    scene.dbt.set_modes(|modes| modes.create_alters_grants = None);
    let string = scene.published("ci").await;
    scene.only_live(&[scene.id_of(&string)]).await;
}

/// A token of somebody else, as dbt knows it.
fn somebody_elses(scene: &Scene) -> IssuedToken {
    scene.dbt.add_token(SeedToken::new("somebody else's", &[Grant::new("job_viewer")]))
}

fn is_active(scene: &Scene, id: TokenId) -> bool {
    scene.dbt.tokens().iter().any(|token| token.id == id && token.is_active())
}

async fn a_create_that_names_another_token_harms_neither(scene: &Scene) {
    let other = somebody_elses(scene);
    first_create_meets(scene, Fault::OtherToken { id: other.id.0, uid: None }, 2).await;
    assert!(is_active(scene, other.id), "a token of somebody else was revoked");
    scene.event("ci", "StrayRevoked").await;
    scene.delete("ci").await;
    scene.gone("ci").await;
    assert!(is_active(scene, other.id), "a token of somebody else was revoked");
    assert_eq!(scene.live(), Vec::<i64>::new());
}

async fn a_create_that_names_the_published_token_harms_neither(scene: &Scene) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    scene.apply(&scene.token("ci", runner())).await;
    let first = scene.published("ci").await;
    let id = scene.id_of(&first);
    scene.dbt.add_fault(Rule::new(Fault::OtherToken { id, uid: None }).on("POST", CREATE).times(1));
    // With the same grants as before, so that nothing but the id tells the two apart.
    scene.annotate_token("ci", "rotate-at", "now").await;
    let second = scene.replaced("ci", &first).await;
    scene.only_live(&[scene.id_of(&second)]).await;
    assert_eq!(scene.created(), 3);
}

async fn a_create_that_names_a_token_which_is_not_there_is_swept(scene: &Scene) {
    first_create_meets(scene, Fault::OtherToken { id: 999_999_999, uid: None }, 2).await;
}

async fn a_create_with_the_uid_of_another_token_is_swept(scene: &Scene) {
    let other = somebody_elses(scene);
    first_create_meets(scene, Fault::OtherToken { id: other.id.0, uid: Some(other.uid) }, 2).await;
    assert!(is_active(scene, other.id), "a token of somebody else was revoked");
}

async fn a_lying_dbt_that_hides_deleted_tokens_does_not_make_tokens_in_a_loop(scene: &Scene) {
    scene.dbt.set_modes(|modes| {
        modes.list_includes_deleted = false;
        modes.deleted_get = DeletedGet::NotFound;
        modes.create_alters_grants = Some(GrantChange::ReplaceSet("job_viewer".to_owned()));
    });
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.expect("ci", "Stalled", "True", "GrantsDiffer").await;
    let waits = until(LIMIT, "two attempts were given up", async || {
        let failures = scene.status("ci").await.ledger.and_then(|ledger| ledger.next).and_then(|next| next.failures);
        if failures >= Some(2) { Ok(()) } else { Err(format!("{failures:?}")) }
    });
    waits.await;
    // The first is repeated after ten seconds, the second after a minute.
    assert_eq!(scene.created(), 2);
    scene.only_live(&[]).await;
}

async fn an_older_dbt_gets_the_second_call(scene: &Scene) {
    scene.dbt.set_modes(|modes| modes.create_ignores_grants = true);
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    assert_eq!(scene.live(), [scene.id_of(&string)]);
    let posts: Vec<String> =
        scene.dbt.log().into_iter().filter(|entry| entry.method == "POST").map(|entry| entry.template).collect();
    assert_eq!(posts.len(), 2, "{posts:?}");
    assert!(posts[1].ends_with("permissions/"), "{posts:?}");
}

async fn a_list_that_ignores_paging_is_understood(scene: &Scene) {
    scene.dbt.set_modes(|modes| modes.list_paging = ListPaging::Everything);
    for number in 0..150 {
        scene.dbt.add_token(SeedToken::new(&format!("other {number}"), &[Grant::new("job_viewer")]));
    }
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    assert_eq!(scene.live(), [scene.id_of(&string)]);
    // The same with honest pages.
    scene.dbt.set_modes(|modes| modes.list_paging = ListPaging::Honoured);
    scene.permit("ci", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    let second = scene.replaced("ci", &string).await;
    scene.only_live(&[scene.id_of(&second)]).await;
}

async fn deleted_tokens_may_be_hidden_everywhere(scene: &Scene) {
    scene.dbt.set_modes(|modes| {
        modes.list_includes_deleted = false;
        modes.deleted_get = DeletedGet::NotFound;
    });
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let first = scene.published("ci").await;
    scene.permit("ci", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    let second = scene.replaced("ci", &first).await;
    scene.only_live(&[scene.id_of(&second)]).await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    scene.delete("ci").await;
    scene.gone("ci").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
}

async fn a_revoked_credential_leaves_published_tokens_ready(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.published("ci").await;
    let admin = scene.dbt.authenticates(scene.dbt.admin_token()).expect("the credential works");
    assert!(scene.dbt.delete_token(admin));
    // A new object makes the operator call dbt.
    scene.apply(&scene.token("later", runner())).await;
    scene.expect_account("Stalled", "True", "CredentialRefused").await;
    scene.expect("ci", "Ready", "True", "Published").await;
    scene.expect("later", "Ready", "False", "AccountNotReady").await;
    let fresh = scene.dbt.add_token(SeedToken::new("operator, again", &[Grant::new("account_admin")]));
    scene.set_credential(&fresh.string).await;
    scene.expect_account("Ready", "True", "Connected").await;
    scene.published("later").await;
    scene.published("ci").await;
    assert_eq!(scene.created(), 2);
}

async fn a_gateway_that_answers_html_is_waited_out(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.published("ci").await;
    let down = scene.dbt.add_fault(Rule::new(Fault::Html { status: 502 }));
    scene.apply(&scene.token("later", runner())).await;
    until(LIMIT, "the new object waits", async || {
        let conditions = scene.status("later").await.conditions;
        let waits = |it: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            it.type_ == "Ready" && it.status == "False" && ["DbtUnavailable", "AccountNotReady"].contains(&it.reason.as_str())
        };
        conditions.iter().find(waits).map(|_| ()).ok_or_else(|| crate::support::objects::told(&conditions))
    })
    .await;
    scene.expect("ci", "Ready", "True", "Published").await;
    scene.dbt.remove_fault(down);
    scene.published("later").await;
    scene.expect_account("Ready", "True", "Connected").await;
}

async fn a_request_that_dbt_refuses_is_reported_in_its_words(scene: &Scene) {
    scene.connect(|spec| spec["grants"][0]["permissionSets"] = json!(["*"])).await;
    let mut token = scene.token("ci", json!([{"permissionSet": "brand_new_set", "allProjects": true}]));
    token["spec"]["verification"] = json!({"allowUnproven": true});
    scene.apply(&token).await;
    let stalled = scene.expect("ci", "Stalled", "True", "DbtRejected").await;
    assert!(stalled.message.contains("brand_new_set") || stalled.message.contains("permission"), "{}", stalled.message);
    assert!(scene.event("ci", "UnknownPermissionSet").await.contains("brand_new_set"));
    assert_eq!(scene.live(), Vec::<i64>::new());
}
