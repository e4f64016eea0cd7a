//! What happens in the demo: one function an act, each of which proves what it tells.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::reader::{Dbt, READERS, Reader};
use super::{Error, NAMESPACES, Stage, namespaces, order};
use crate::leaks::Needles;
use crate::repository;
use crate::site;
use crate::site::kubectl::Kubectl;
use crate::site::leaks::Emitted;
use crate::story::Story;

/// Far above the second or two that it takes on an idle machine.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// How long the old token of the edit stays valid: long enough to be seen, short enough to be waited for.
const OVERLAP: &str = "5s";

/// The ServiceToken that is edited, and the one that is deleted, by their names.
const EDITED: &str = "dagster";
const DELETED: &str = "prefect";

/// Plays every act in order.
pub(super) fn perform(story: &mut Story, stage: &Stage) -> Result<(), Error> {
    let play = Play {
        kubectl: &stage.site.kubectl,
        dbt: Dbt { client: stage.emulator.client(), url: &stage.emulator.https_url, account_id: stage.emulator.account_id },
        stage,
    };
    play.declare(story)?;
    play.await_tokens(story)?;
    play.consume(story)?;
    play.edit(story)?;
    play.replace_legacy(story)?;
    play.delete(story)?;
    play.search_for_leaks(story)?;
    play.conclude(story)
}

pub(super) struct Play<'a> {
    pub(super) kubectl: &'a Kubectl,
    pub(super) stage: &'a Stage,
    dbt: Dbt<'a>,
}

impl Play<'_> {
    fn declare(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("A platform engineer applies examples/");
        self.kubectl.apply(&namespaces())?;
        story.say(&format!("namespaces: {}", NAMESPACES.map(|(name, _)| name).join(", ")));
        let folder = repository().join("examples");
        self.kubectl.apply(&self.account(&folder.join("00-account.yaml"))?.to_string())?;
        story.say("00-account.yaml, with the address of the emulator, its endpoints, and the authority to trust");
        for reader in &READERS {
            let file = folder.join(file_of(reader));
            let told = self.kubectl.run(&["apply", "-f", &file.display().to_string()])?;
            story.say(&format!("{}, as it is: {}", file_of(reader), told.trim()));
        }
        Ok(())
    }

    /// The example of an account, led to the emulator.
    fn account(&self, path: &std::path::Path) -> Result<Value, Error> {
        let mut account: Value = serde_yaml::from_str(&site::read(path)?)
            .map_err(|error| site::Error::Content { path: path.to_path_buf(), message: error.to_string() })?;
        let url = self.dbt.url;
        let spec = &mut account["spec"];
        spec["accessUrl"] = json!(url);
        spec["endpoints"] = json!({"discovery": format!("{url}/graphql"), "semanticLayer": format!("{url}/api/graphql")});
        spec["caBundleSecretRef"] = json!({"name": site::install::CA});
        Ok(account)
    }

    fn await_tokens(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("The operator makes the tokens, tries each, and publishes it");
        let mut done = BTreeSet::new();
        story.wait("every ServiceToken to be Ready", LIMIT, |story| {
            let objects = self.kubectl.json(&["get", "servicetokens", "-A"])?;
            for object in objects["items"].as_array().into_iter().flatten().filter(|object| is_ready(object)) {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if done.insert(name.to_owned()) {
                    story.say(&format!("{name}: {}", ready(object)["message"].as_str().unwrap_or_default()));
                }
            }
            Ok((done.len() == READERS.len()).then_some(()))
        })
    }

    fn consume(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("Each consumer reads its Secret and calls dbt over HTTPS");
        for reader in &READERS {
            let found = reader.read(self.kubectl)?.ok_or_else(|| not_true("Secret", reader, "has what its consumer reads"))?;
            if let Some(address) = &found.address
                && address != self.dbt.url
            {
                return Err(Error::NotTrue(format!("Secret {} leads to {}; it says {address}", reader.secret, self.dbt.url)));
            }
            let status = self.dbt.jobs(&found.token)?.status;
            if status != 200 {
                return Err(not_true("the token in", reader, &format!("is accepted; dbt answered {status}")));
            }
            let keys = reader.keys(self.kubectl)?.join(", ");
            story.say(&format!("{}/{}: 200 OK; keys of its Secret: {keys}", reader.namespace, reader.secret));
        }
        Ok(())
    }

    fn edit(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("An edit of permissions: the token is replaced, and the Secret never holds one that does not work");
        let reader = named(EDITED);
        let old = self.token(reader)?;
        let old_id = self.published(reader)?;
        let sequence = self.stage.emulator.log_since(0)?.len();
        let patch = json!({"spec": {
            "permissions": [
                {"permissionSet": "job_admin", "projects": [{"name": "Finance"}]},
                {"permissionSet": "metadata_only", "projects": [{"name": "Finance"}]},
            ],
            "rotation": {"retire": {"after": OVERLAP, "quietPeriod": "0s"}},
        }});
        let target = ["servicetoken", reader.name, "-n", reader.namespace];
        self.kubectl.run(&[&["patch"], &target[..], &["--type=merge", "-p", &patch.to_string()]].concat())?;
        story.say(&format!("{EDITED} gives up project Marketing; its old token {old_id} shall stay valid for {OVERLAP}"));

        let mut calls = 0;
        let new = story.wait("the Secret to hold another token", LIMIT, |_| {
            let token = self.token(reader)?;
            self.expect(&token, 200, "the token that the Secret holds during the swap is accepted")?;
            calls += 1;
            Ok((token != old).then_some(token))
        })?;
        self.expect(&old, 200, "the old token is still accepted when the new one is published")?;
        let new_id = story.wait("the status to name the new token", LIMIT, |_| {
            let id = self.published(reader)?;
            Ok((id != old_id).then_some(id))
        })?;
        story.say(&format!("the Secret holds token {new_id}; {calls} calls were made with what it held meanwhile, all accepted"));

        let requests = self.stage.emulator.log_since(u64::try_from(sequence).unwrap_or(u64::MAX))?;
        let effects = self.stage.operator.effects(reader.namespace, reader.name)?;
        let effects = order::check(&requests, &effects, new_id)?;
        let words: Vec<_> = effects.iter().map(|effect| effect.effect.as_str()).collect();
        story.say(&format!("the logs of both sides agree: created, then tried, then published ({})", words.join(", ")));
        let (before, after) = (self.dbt.projects(&old)?, self.dbt.projects(&new)?);
        if (before.len(), after.len()) != (2, 1) || !after.is_subset(&before) {
            return Err(Error::NotTrue(format!("the new token sees fewer projects; it sees {after:?} instead of {before:?}")));
        }
        story.say(&format!("the old token, still valid, sees the jobs of projects {before:?}, the new one of {after:?}"));
        self.await_retirement(story, reader, &old, old_id)
    }

    fn await_retirement(&self, story: &mut Story, reader: &Reader, old: &str, old_id: i64) -> Result<(), Error> {
        story.wait(&format!("the overlap of {OVERLAP} to pass, and token {old_id} to be revoked"), LIMIT, |_| {
            let retiring = self.object(reader)?["status"]["retiringTokens"].as_array().map_or(0, Vec::len);
            Ok((retiring == 0).then_some(()))
        })?;
        self.expect(old, 401, "the old token is refused once it is retired")?;
        self.expect(&self.token(reader)?, 200, "the new token is accepted afterwards")?;
        story.say(&format!("token {old_id} was revoked after its overlap: 401; the one in the Secret: 200 OK"));
        Ok(())
    }

    fn delete(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("A ServiceToken is deleted: its token is revoked, and its Secret is gone");
        let reader = named(DELETED);
        let token = self.token(reader)?;
        self.kubectl.run(&["delete", "servicetoken", reader.name, "-n", reader.namespace, "--wait=false"])?;
        story.wait("the ServiceToken to be gone", LIMIT, |_| {
            let query = ["get", "servicetoken", reader.name, "-n", reader.namespace, "--ignore-not-found", "-o", "name"];
            Ok(self.kubectl.run(&query)?.is_empty().then_some(()))
        })?;
        if reader.read(self.kubectl)?.is_some() {
            return Err(not_true("Secret", reader, "is gone"));
        }
        self.expect(&token, 401, "the token of a deleted ServiceToken is refused")?;
        story.say(&format!("{DELETED}: Secret {} is gone, and its token is refused: 401", reader.secret));
        Ok(())
    }

    fn search_for_leaks(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("Everything that was emitted is searched for every token that was ever issued");
        let tokens = self.stage.emulator.issued_tokens()?;
        let needles = Needles::of(&tokens);
        let secrets = self.kubectl.run(&["get", "secrets", "-A", "-l", "tokens.dbt-operator.dev/managed=true", "-o", "json"])?;
        if !Emitted::new("Secrets", secrets).holds_any(&needles) {
            return Err(Error::NotTrue("the search finds tokens where they are: in Secrets".to_owned()));
        }
        let emitted = self.emitted(story)?;
        let searched: usize = emitted.iter().map(Emitted::length).sum();
        let leaking: Vec<_> =
            emitted.iter().filter(|emitted| emitted.holds_any(&needles)).map(|emitted| emitted.place.as_str()).collect();
        if !leaking.is_empty() {
            return Err(Error::NotTrue(format!("no token was emitted; there is one in: {}", leaking.join(", "))));
        }
        let places: Vec<_> = emitted.iter().map(|emitted| emitted.place.as_str()).collect();
        story.say(&format!("{} tokens, {} KiB in {}: none found", tokens.len(), searched / 1024, places.join(", ")));
        Ok(())
    }

    fn emitted(&self, story: &Story) -> Result<Vec<Emitted>, Error> {
        let mut emitted = vec![
            Emitted::new("this output", story.told().to_owned()),
            Emitted::file(&self.stage.operator.log),
            Emitted::new("metrics", self.stage.operator.metrics()?),
            Emitted::file(&self.stage.emulator.log),
            Emitted::new("the emulator's request log", json!(self.stage.emulator.log_since(0)?).to_string()),
        ];
        for kinds in ["dbtaccounts,servicetokens", "events", "events.events.k8s.io", "leases"] {
            emitted.push(Emitted::new(kinds, self.kubectl.run(&["get", kinds, "-A", "-o", "json", "--show-managed-fields"])?));
        }
        if let Some(plane) = &self.stage.site.plane {
            emitted.push(Emitted::file(plane.audit_log()));
            emitted.extend(plane.process_ids().keys().map(|name| Emitted::file(&plane.directory().join(format!("{name}.log")))));
        }
        Ok(emitted)
    }

    fn conclude(&self, story: &mut Story) -> Result<(), Error> {
        story.chapter("kubectl get dacct,dst -A");
        story.show(&self.kubectl.run(&["get", "dacct,dst", "-A"])?);
        let reader = named(EDITED);
        story.chapter(&format!(
            "kubectl get secret {} -n {}: its keys, and a call with its token",
            reader.secret, reader.namespace
        ));
        story.show(&reader.keys(self.kubectl)?.join("\n"));
        let token = self.token(reader)?;
        self.expect(&token, 200, "the published token authenticates")?;
        story.show(&format!("GET {}/api/v2/accounts/{}/jobs/ with it: 200 OK", self.dbt.url, self.dbt.account_id));
        Ok(())
    }

    fn token(&self, reader: &Reader) -> Result<String, Error> {
        let found = reader.read(self.kubectl)?;
        found.map(|found| found.token).ok_or_else(|| not_true("Secret", reader, "holds a token"))
    }

    fn object(&self, reader: &Reader) -> Result<Value, Error> {
        Ok(self.kubectl.json(&["get", "servicetoken", reader.name, "-n", reader.namespace])?)
    }

    /// The id of the token that the status names as published.
    fn published(&self, reader: &Reader) -> Result<i64, Error> {
        Ok(self.object(reader)?["status"]["token"]["id"].as_i64().unwrap_or_default())
    }

    pub(super) fn expect(&self, token: &str, status: u16, claim: &str) -> Result<(), Error> {
        match self.dbt.jobs(token)?.status {
            found if found == status => Ok(()),
            found => Err(Error::NotTrue(format!("{claim}; dbt answered {found}"))),
        }
    }
}

fn named(name: &str) -> &'static Reader {
    READERS.iter().find(|reader| reader.name == name).expect("the table has every example")
}

fn file_of(reader: &Reader) -> String {
    let stem = if reader.name == "shop" { "plain-env" } else { reader.name };
    format!("{stem}.yaml")
}

fn not_true(what: &str, reader: &Reader, claim: &str) -> Error {
    Error::NotTrue(format!("{what} {}/{} {claim}", reader.namespace, reader.secret).trim_start().to_owned())
}

/// Whether the present generation is applied.
fn is_ready(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"] && ready(object)["status"] == "True"
}

fn ready(object: &Value) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default()
}
