//! Reads each Secret of the examples as its consumer does, and calls dbt with what stands there.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use crate::http::{Answer, Client};
use crate::site::kubectl::Kubectl;

/// Prints each key and value of a Secret on a line of its own.
const DATA: &str = "go-template={{range $key, $value := .data}}{{$key}}{{\"\\t\"}}{{$value | base64decode}}{{\"\\n\"}}{{end}}";

/// A consumer: where its Secret is, and under which keys it looks for what.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) namespace: &'static str,
    /// The name of the ServiceToken.
    pub(super) name: &'static str,
    pub(super) secret: &'static str,
    form: Form,
}

/// How the token stands in the Secret.
#[derive(Debug)]
enum Form {
    /// By itself; the address beside it if there is one.
    Keys { token: &'static str, address: Option<&'static str> },
    /// `dbt-cloud://ACCOUNT:TOKEN@HOST`, with the token percent-encoded.
    Uri(&'static str),
}

/// Every example.
pub(super) const READERS: [Reader; 8] = [
    reader("airflow", "airflow", "airflow-dbt", Form::Uri("AIRFLOW_CONN_DBT_CLOUD_DEFAULT")),
    reader("dagster", "dagster", "dagster-dbt", keys("DBT_CLOUD_TOKEN", Some("DBT_CLOUD_ACCESS_URL"))),
    reader("dbt-tools", "dbt-jobs-as-code", "dbt-jobs-as-code", keys("DBT_API_KEY", Some("DBT_BASE_URL"))),
    reader("dbt-tools", "dbt-mcp", "dbt-mcp", keys("DBT_TOKEN", Some("DBT_HOST"))),
    reader("dbt-tools", "dbtc", "dbtc", keys("DBT_CLOUD_SERVICE_TOKEN", Some("DBT_CLOUD_HOST"))),
    reader("web-shop", "shop", "shop-dbt", keys("token", None)),
    reader("prefect", "prefect", "prefect-dbt", keys("DBT_CLOUD_API_KEY", Some("DBT_CLOUD_DOMAIN"))),
    reader("terraform", "terraform", "terraform-dbt", keys("DBT_CLOUD_TOKEN", Some("DBT_CLOUD_HOST_URL"))),
];

const fn reader(namespace: &'static str, name: &'static str, secret: &'static str, form: Form) -> Reader {
    Reader { namespace, name, secret, form }
}

const fn keys(token: &'static str, address: Option<&'static str>) -> Form {
    Form::Keys { token, address }
}

/// What a consumer takes out of its Secret. It is not printable, since it holds a token.
pub(super) struct Found {
    pub(super) token: String,
    /// Where the Secret says that dbt is, as a URL.
    pub(super) address: Option<String>,
}

/// Whom the consumers call.
#[derive(Debug)]
pub(super) struct Dbt<'a> {
    pub(super) client: &'a Client,
    pub(super) url: &'a str,
    pub(super) account_id: i64,
}

impl Dbt<'_> {
    /// Lists the jobs of the account with a token: what every example may do, each in its projects.
    pub(super) fn jobs(&self, token: &str) -> Result<Answer, Error> {
        let url = format!("{}/api/v2/accounts/{}/jobs/", self.url, self.account_id);
        Ok(self.client.get(&url, Some(token)).map_err(crate::site::Error::from)?)
    }

    /// The projects whose jobs a token sees.
    pub(super) fn projects(&self, token: &str) -> Result<BTreeSet<i64>, Error> {
        let answer = self.jobs(token)?.json();
        let jobs = answer["data"].as_array().cloned().unwrap_or_default();
        Ok(jobs.iter().filter_map(|job| job["project_id"].as_i64()).collect())
    }
}

impl Reader {
    /// What the Secret holds now; nothing if it or its keys are not there.
    pub(super) fn read(&self, kubectl: &Kubectl) -> Result<Option<Found>, Error> {
        Ok(self.form.find(&self.data(kubectl)?))
    }

    /// The names of the keys of the Secret.
    pub(super) fn keys(&self, kubectl: &Kubectl) -> Result<Vec<String>, Error> {
        Ok(self.data(kubectl)?.into_keys().collect())
    }

    fn data(&self, kubectl: &Kubectl) -> Result<BTreeMap<String, String>, Error> {
        let text = kubectl
            .run(&["get", "secret", self.secret, "-n", self.namespace, "--ignore-not-found", "-o", DATA])
            .map_err(crate::site::Error::from)?;
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

impl Form {
    fn find(&self, data: &BTreeMap<String, String>) -> Option<Found> {
        match self {
            Self::Keys { token, address } => {
                let address = match address {
                    Some(key) => Some(as_url(data.get(*key)?)),
                    None => None,
                };
                Some(Found { token: data.get(*token)?.clone(), address })
            }
            Self::Uri(key) => {
                let rest = data.get(*key)?.strip_prefix("dbt-cloud://")?;
                let (user, host) = rest.rsplit_once('@')?;
                let (_, token) = user.split_once(':')?;
                Some(Found { token: percent_decoded(token)?, address: Some(as_url(host)) })
            }
        }
    }
}

/// Consumers write an address with or without its scheme, and Terraform with `/api` at its end.
fn as_url(address: &str) -> String {
    let address = address.strip_suffix("/api").unwrap_or(address);
    if address.contains("://") { address.to_owned() } else { format!("https://{address}") }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_every_form() {
        let data = BTreeMap::from([
            ("U".to_owned(), "dbt-cloud://7:a%2Fb-c@localhost:1".to_owned()),
            ("T".to_owned(), "a/b-c".to_owned()),
            ("H".to_owned(), "https://localhost:1/api".to_owned()),
        ]);
        for form in [Form::Uri("U"), keys("T", Some("H"))] {
            let found = form.find(&data).expect("it is there");
            assert_eq!((found.token.as_str(), found.address.as_deref()), ("a/b-c", Some("https://localhost:1")));
        }
        assert!(keys("X", None).find(&data).is_none());
        assert!(keys("T", None).find(&data).expect("it is there").address.is_none());
    }

    #[test]
    fn every_example_has_a_reader() {
        let folder = crate::repository().join("examples");
        let files = std::fs::read_dir(folder).expect("a folder").count();
        // One of the files is the account, and one has an act of its own.
        assert_eq!(files, READERS.len() + 2);
    }
}
