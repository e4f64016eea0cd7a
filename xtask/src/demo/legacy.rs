//! The act of the legacy token: made by hand long ago, in use by a Deployment; taken over, replaced, and revoked when nobody
//! holds it any more, without one refused call.

use std::time::Duration;

use serde_json::{Value, json};

use super::Error;
use super::acts::{LIMIT, Play};
use crate::consumers::{Consumers, Options};
use crate::story::Story;
use crate::{repository, site};

/// The example, the object in it, and what it says of the Secret.
const FILE: &str = "adopt.yaml";
const NAME: &str = "reporting";
const NAMESPACE: &str = "dbt-tools";
const SECRET: &str = "reporting-dbt";
const KEY: &str = "token";

/// When the token was made: long before the day from which on dbt asks for no replacement.
const CREATED: &str = "2022-03-04";

/// Shorter than anybody would declare, for those who watch.
const OVERLAP: &str = "3s";

/// On a cluster with real nodes this image exists everywhere, and does nothing.
const IMAGE: &str = "registry.k8s.io/pause:3.10";

impl Play<'_> {
    pub(super) fn replace_legacy(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("A legacy token that a Deployment uses: taken over, replaced, and revoked when nobody holds it");
        let dbt = &self.stage.emulator;
        dbt.set_modes(&json!({"tracks_last_used": false}))?;
        story.say("the emulator shows no last uses in this act: where dbt shows one, an adopted token stays 15 minutes longer");
        let (old_id, old) = self.make_by_hand()?;
        let consumers = self.start_deployment(story)?;
        story.say(&format!(
            "token {old_id} was made by hand on {CREATED}; Deployment {NAME} takes it from Secret {SECRET} by env"
        ));
        self.adopt(story)?;
        let new_id = story.wait("the legacy token to be replaced", LIMIT, |_| {
            let replaced = self.reporting()?["status"]["history"][0].clone();
            Ok((replaced["previousTokenId"] == old_id).then(|| replaced["tokenId"].as_i64().unwrap_or_default()))
        })?;
        let effects = self.stage.operator.effects(NAMESPACE, NAME)?;
        let words: Vec<_> = effects.iter().map(|effect| effect.effect.as_str()).collect();
        story.say(&format!("taken over, then replaced by token {new_id} ({})", words.join(", ")));
        self.await_the_pod(story, &old)?;
        self.kubectl.run(&["rollout", "restart", &format!("deployment/{NAME}"), "-n", NAMESPACE])?;
        story.say(&format!("kubectl rollout restart deployment/{NAME} -n {NAMESPACE}"));
        story.wait("the legacy token to be revoked", LIMIT, |_| {
            let status = self.reporting()?["status"].clone();
            Ok((status["history"][0]["retirementTime"].is_string() && status["retiringTokens"].is_null()).then_some(()))
        })?;
        self.expect(&old, 401, "the legacy token is refused once it is retired")?;
        story.say(&format!("no pod holds token {old_id} any more: it was revoked (401)"));
        dbt.set_modes(&json!({"tracks_last_used": true}))?;
        conclude(story, consumers)
    }

    /// The token, and the Secret with it, as they were before there was an operator.
    fn make_by_hand(&self) -> Result<(i64, String), Error> {
        let grants = json!([{"permission_set": "job_viewer", "project_id": 700}]);
        let seed = json!({"name": "Reporting", "created_at": CREATED, "grants": grants});
        let (id, string) = self.stage.emulator.add_token(&seed)?;
        let annotations = json!({"tokens.dbt-operator.dev/adopt-by": NAME});
        let metadata = json!({"name": SECRET, "namespace": NAMESPACE, "annotations": annotations});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {KEY: string}});
        self.kubectl.apply(&secret.to_string())?;
        Ok((id, string))
    }

    fn start_deployment(&self, story: &mut Story) -> Result<Consumers, Error> {
        let source = json!({"secretKeyRef": {"name": SECRET, "key": KEY}});
        let container = json!({"name": "main", "image": IMAGE, "env": [{"name": "DBT_TOKEN", "valueFrom": source}]});
        let labels = json!({"app": NAME});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        });
        self.kubectl.apply(&deployment.to_string())?;
        let emulator = &self.stage.emulator;
        let consumers = Consumers::start(&Options {
            kubectl: self.kubectl.program.clone(),
            kubeconfig: self.kubectl.kubeconfig.clone(),
            cache: self.kubectl.cache.clone(),
            namespace: NAMESPACE.to_owned(),
            key: KEY,
            volume_lag: Duration::ZERO,
            dbt: emulator.https_url.clone(),
            dbt_authority: site::read(&emulator.ca)?,
            path: format!("/api/v2/accounts/{}/jobs/?limit=1", emulator.account_id),
        })?;
        story.wait("the Deployment to run", LIMIT, |_| Ok(consumers.holders().contains_key("environment").then_some(())))?;
        Ok(consumers)
    }

    fn adopt(&self, story: &mut Story) -> Result<(), Error> {
        let path = repository().join("examples").join(FILE);
        let mut token: Value = serde_yaml::from_str(&site::read(&path)?)
            .map_err(|error| site::Error::Content { path, message: error.to_string() })?;
        token["spec"]["rotation"] = json!({"retire": {"after": OVERLAP, "quietPeriod": "0s"}});
        self.kubectl.apply(&token.to_string())?;
        story.say(&format!("{FILE}, with an overlap of {OVERLAP}, is applied; the owner of the Secret has annotated it"));
        Ok(())
    }

    /// The old token lives as long as the pod that was started with it.
    fn await_the_pod(&self, story: &mut Story, old: &str) -> Result<(), Error> {
        let message = story.wait("the overlap to pass, and the pod that holds the legacy token to be named", LIMIT, |_| {
            // The first rule that does not hold; the overlap comes before the pods.
            let first = self.reporting()?["status"]["retiringTokens"][0]["waitingFor"][0].clone();
            Ok((first["rule"] == "Pods").then(|| first["message"].as_str().unwrap_or_default().to_owned()))
        })?;
        self.expect(old, 200, "the legacy token is accepted for as long as a pod holds it")?;
        story.say(&format!("both tokens work; status.retiringTokens says: {message}"));
        Ok(())
    }

    fn reporting(&self) -> Result<Value, Error> {
        Ok(self.kubectl.json(&["get", "servicetoken", NAME, "-n", NAMESPACE])?)
    }
}

fn conclude(story: &mut Story, consumers: Consumers) -> Result<(), Error> {
    let report = consumers.stop();
    let outdated: u64 = report.outdated.values().sum();
    if !report.refused.is_empty() {
        let refused: Vec<_> = report.refused.iter().map(ToString::to_string).collect();
        return Err(Error::NotTrue(format!("no call of a consumer is refused: {}", refused.join("; "))));
    }
    if outdated == 0 {
        return Err(Error::NotTrue("the pod went on using the legacy token after it was replaced".to_owned()));
    }
    story.say(&format!(
        "every 0.2 s the pod, and readers of each Secret there, called dbt: {} calls, {outdated} of them with the replaced token, none refused",
        report.total()
    ));
    Ok(())
}
