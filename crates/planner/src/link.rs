//! Links of Semantic Layer credentials to tokens: which of them a new token takes over. Makes none itself.
//!
//! dbt answers a real query of the Semantic Layer only to a token that such a credential is linked to in the project [DOC].
//! A new token has no link, so without this a rotation would cut off whoever queries with it.

use std::collections::BTreeSet;

use crate::grant::{GrantRows, Scope};
use crate::identity::{CredentialId, ProjectId, TokenId};
use crate::ledger::Entry;
use crate::observation::{Life, Observation, Token};
use crate::permission;

/// A Semantic Layer credential that is linked to a token. A token has one at most in each project [DOC].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The project of the credential.
    pub project: ProjectId,
    /// The credential.
    pub credential: CredentialId,
    /// The token.
    pub token: TokenId,
}

/// From which tokens, and where, a new token takes over links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inheritance {
    /// The tokens, the strongest first: where two of them are linked to different credentials of one project, the first
    /// counts. Empty if no link can be lost; then nothing has to be asked.
    pub from: Vec<TokenId>,
    /// Where the new token can use a link at all.
    pub scopes: BTreeSet<Scope>,
}

impl Inheritance {
    /// Whether no link can be lost.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// The links that the heir does not have yet, in order of their projects. Where it is linked already it stays as it
    /// is, by whomever that was done.
    pub fn missing(&self, links: &[Link], heir: TokenId) -> Vec<Link> {
        let mut settled: BTreeSet<ProjectId> = of(links, heir).map(|link| link.project).collect();
        let mut missing = Vec::new();
        for link in self.from.iter().flat_map(|token| of(links, *token)) {
            if self.covers(link.project) && settled.insert(link.project) {
                missing.push(Link { token: heir, ..*link });
            }
        }
        missing.sort_unstable();
        missing
    }

    fn covers(&self, project: ProjectId) -> bool {
        self.scopes.contains(&Scope::All) || self.scopes.contains(&Scope::Project(project))
    }
}

fn of(links: &[Link], token: TokenId) -> impl Iterator<Item = &Link> {
    links.iter().filter(move |link| link.token == token)
}

/// What a token with these rows takes over from those that it replaces: from `current`, then from the retiring ones, the
/// newest first. One that dbt no longer has gives nothing: its links went with it [ASSUMED], and a replacement that mends
/// an outage must not wait for them.
pub fn inheritance(observation: &Observation, rows: &GrantRows) -> Inheritance {
    let mut scopes = linkable(rows);
    let ledger = &observation.ledger;
    let mut from = Vec::new();
    for entry in ledger.current.iter().chain(ledger.retiring.iter().rev()) {
        let listed = observation.known_tokens().find(|token| token.id == entry.token);
        if listed.is_some_and(|token| token.shows_links) {
            scopes.extend(rows.rows().iter().map(|row| row.scope));
        }
        if may_have_links(observation, *entry, listed) {
            from.push(entry.token);
        }
    }
    if scopes.is_empty() { Inheritance::default() } else { Inheritance { from, scopes } }
}

/// What the list shows counts at once; what it does not show proves nothing, since it was never seen to show links.
fn may_have_links(observation: &Observation, entry: Entry, listed: Option<&Token>) -> bool {
    let can = listed.is_none_or(|token| token.shows_links || !linkable(&token.rows).is_empty());
    can && observation.life(entry.token) != Life::Inactive
}

fn linkable(rows: &GrantRows) -> BTreeSet<Scope> {
    let rows = rows.rows().iter().filter(|row| permission::may_be_linked(&row.permission_set));
    rows.map(|row| row.scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{object, rows};

    const LAYER: (&str, i64) = ("semantic_layer_only", 700);

    /// 2202 is published, 2190 and 2183 retire.
    fn replaced(current: &[(&str, i64)], newer: &[(&str, i64)], older: &[(&str, i64)]) -> Observation {
        let three = object().published(5, 2202).retiring(3, 2183, 9).retiring(4, 2190, 9);
        let granted = [(2202, rows(current)), (2190, rows(newer)), (2183, rows(older))];
        granted.into_iter().fold(three, |it, (token, rows)| it.token(token, |token| token.rows = rows))
    }

    fn check(observation: &Observation, wanted: &[(&str, i64)], from: &[i64], scopes: &[i64]) {
        let found = inheritance(observation, &rows(wanted));
        let scope = |scope: &Scope| match scope {
            Scope::All => 0,
            Scope::Project(id) => id.0,
        };
        let found = (found.from.iter().map(|token| token.0).collect(), found.scopes.iter().map(scope).collect());
        assert_eq!(found, (from.to_vec(), scopes.to_vec()), "{wanted:?}");
    }

    #[test]
    fn links_are_taken_over_from_every_live_token_that_may_have_some() {
        let all = || replaced(&[LAYER], &[LAYER], &[LAYER]);
        check(&all(), &[LAYER], &[2202, 2190, 2183], &[700]);
        check(&all().inactive(2202), &[LAYER], &[2190, 2183], &[700]);
        check(&all().gone(2190), &[LAYER], &[2202, 2183], &[700]);
        check(&all().unlisted(2190), &[LAYER], &[2202, 2190, 2183], &[700]);
        check(&all().with(|it| it.ledger.current = None), &[LAYER], &[2190, 2183], &[700]);
        check(&object(), &[LAYER], &[], &[700]);
        let jobs = ("job_runner", 700);
        check(&replaced(&[jobs], &[LAYER, jobs], &[jobs]), &[LAYER], &[2190], &[700]);
        check(&replaced(&[jobs], &[("brand_new", 0)], &[jobs]), &[LAYER], &[2190], &[700]);
        check(&replaced(&[jobs], &[jobs], &[jobs]), &[LAYER], &[], &[700]);
    }

    #[test]
    fn an_adopted_token_hands_its_links_on_as_any_other() {
        let adopted = || object().published(5, 17).by_adoption(5).token(17, |token| token.rows = rows(&[LAYER]));
        check(&adopted(), &[LAYER], &[17], &[700]);
        // dbt did not rename it.
        check(&adopted().token(17, |token| token.mark = None), &[LAYER], &[17], &[700]);
        let retiring = adopted().with(|it| {
            it.ledger.retiring = it.ledger.current.take().into_iter().collect();
        });
        check(&retiring, &[LAYER], &[17], &[700]);
    }

    #[test]
    fn nothing_is_asked_for_a_token_that_can_use_no_link() {
        let all = || replaced(&[LAYER], &[LAYER], &[LAYER]);
        check(&all(), &[("job_runner", 700), ("metadata_only", 0)], &[], &[]);
        check(&all(), &[("semantic_layer_only", 0)], &[2202, 2190, 2183], &[0]);
        check(&all(), &[("brand_new", 701), ("job_runner", 700)], &[2202, 2190, 2183], &[701]);
        let jobs = [("job_runner", 700)];
        let shown = replaced(&jobs, &jobs, &jobs).token(2190, |token| token.shows_links = true);
        check(&shown, &[("job_admin", 701)], &[2190], &[701]);
    }

    fn link((project, credential, token): (i64, i64, i64)) -> Link {
        Link { project: ProjectId(project), credential: CredentialId(credential), token: TokenId(token) }
    }

    #[test]
    fn what_the_heir_lacks_is_linked() {
        let heir = |scopes: &[Scope], links: &[(i64, i64, i64)], expected: &[(i64, i64)]| {
            let inheritance = Inheritance { from: vec![TokenId(2), TokenId(1)], scopes: scopes.iter().copied().collect() };
            let links: Vec<Link> = links.iter().copied().map(link).collect();
            let found = inheritance.missing(&links, TokenId(3));
            assert!(found.iter().all(|link| link.token == TokenId(3)));
            let found: Vec<_> = found.iter().map(|link| (link.project.0, link.credential.0)).collect();
            assert_eq!(found, expected, "{links:?}");
        };
        let (all, seven) = ([Scope::All], [Scope::Project(ProjectId(7))]);
        heir(&all, &[], &[]);
        heir(&all, &[(8, 80, 2), (7, 70, 1)], &[(7, 70), (8, 80)]);
        heir(&seven, &[(8, 80, 2), (7, 70, 1)], &[(7, 70)]);
        heir(&[], &[(7, 70, 1)], &[]);
        // The stronger of two wins, and what is there stays.
        heir(&all, &[(7, 71, 1), (7, 72, 2)], &[(7, 72)]);
        heir(&all, &[(7, 71, 1), (7, 72, 2), (7, 73, 3)], &[]);
        heir(&all, &[(7, 70, 2), (7, 70, 3), (8, 80, 2)], &[(8, 80)]);
        // Nobody else's.
        heir(&all, &[(7, 70, 4)], &[]);
    }
}
