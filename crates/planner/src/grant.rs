//! Permission rows: what a token may do, split into one set on one project each, and whether an account's grants cover it.
//! Knows nothing of how rows are sent or written.

use std::collections::BTreeSet;
use std::fmt;

use crate::adoption::AdoptPolicy;
use crate::desired::{Permission, ProjectReference, Projects};
use crate::identity::{Fingerprint, PermissionSet, ProjectId, WriteCategory};
use crate::observation::Project;

/// How many near names a message offers when a project is not found.
const NEAR_NAMES: usize = 5;

/// Where a row applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every project of the account. dbt's own form of it is an absent or null project id.
    All,
    /// One project.
    Project(ProjectId),
}

/// One permission set on one project (or on all), with the kinds of environments in which it may write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRow {
    /// dbt's identifier of the set.
    pub permission_set: PermissionSet,
    /// Where it applies.
    pub scope: Scope,
    /// Where it may write. Empty means nowhere, which is not the same as `all`.
    pub writable: BTreeSet<WriteCategory>,
}

impl fmt::Display for GrantRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::All => write!(formatter, "{} on all projects", self.permission_set)?,
            Scope::Project(id) => write!(formatter, "{} on project {id}", self.permission_set)?,
        }
        if !self.writable.is_empty() {
            let kinds: Vec<&str> = self.writable.iter().map(WriteCategory::as_str).collect();
            write!(formatter, " (writing in {})", kinds.join(", "))?;
        }
        Ok(())
    }
}

/// A multiset of rows, kept sorted, so that two of them are equal exactly if they grant the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRows(Vec<GrantRow>);

impl GrantRows {
    /// Sorts the rows; a row that stands twice stays twice, as dbt would report it.
    pub fn new(mut rows: Vec<GrantRow>) -> Self {
        rows.sort();
        Self(rows)
    }

    /// The rows in order.
    pub fn rows(&self) -> &[GrantRow] {
        &self.0
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows that the other does not have, in order.
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = other.0.clone();
        let mut only_here = Vec::new();
        for row in &self.0 {
            match rest.iter().position(|candidate| candidate == row) {
                Some(place) => {
                    rest.swap_remove(place);
                }
                None => only_here.push(row.clone()),
            }
        }
        Self(only_here)
    }

    /// A digest of 64 bits (FNV-1a), stable across versions. A collision could only let an attempt go on whose token is then
    /// condemned, since the rows that dbt lists are themselves compared with the wanted ones before anything is proved.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut digest: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in self.to_string().bytes() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Fingerprint::new(format!("{digest:016x}"))
    }
}

impl fmt::Display for GrantRows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("nothing");
        }
        for (place, row) in self.0.iter().enumerate() {
            if place > 0 {
                formatter.write_str("; ")?;
            }
            row.fmt(formatter)?;
        }
        Ok(())
    }
}

/// Why a project that was given by name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unresolved {
    /// No active project has this name, or this id.
    NotFound {
        /// The name (or id) as written.
        wanted: String,
        /// Up to five projects with similar names.
        near: Vec<Project>,
    },
    /// Several active projects have this name.
    Ambiguous {
        /// The name as written.
        name: String,
        /// Their ids, in order.
        ids: Vec<ProjectId>,
    },
}

/// Turns declared permissions into rows; `projects` are the account's active ones.
///
/// # Errors
/// A name that is not the name of exactly one active project, or an id that is none.
pub fn resolve(permissions: &[Permission], projects: &[Project]) -> Result<GrantRows, Unresolved> {
    let mut rows = Vec::new();
    for permission in permissions {
        for scope in scopes(&permission.projects, projects)? {
            rows.push(GrantRow {
                permission_set: permission.permission_set.clone(),
                scope,
                writable: permission.writable.clone(),
            });
        }
    }
    // A project that is named by id and by name at once would be granted twice.
    rows.sort();
    rows.dedup();
    Ok(GrantRows(rows))
}

/// Whether turning these permissions into rows takes a reading of the account's projects.
pub fn needs_projects(permissions: &[Permission]) -> bool {
    permissions.iter().any(|permission| match &permission.projects {
        Projects::All => false,
        Projects::Named(references) => references.iter().any(|reference| matches!(reference, ProjectReference::Name(_))),
    })
}

fn scopes(wanted: &Projects, projects: &[Project]) -> Result<Vec<Scope>, Unresolved> {
    match wanted {
        Projects::All => Ok(vec![Scope::All]),
        Projects::Named(references) => references.iter().map(|reference| scope(reference, projects)).collect(),
    }
}

fn scope(reference: &ProjectReference, projects: &[Project]) -> Result<Scope, Unresolved> {
    let name = match reference {
        ProjectReference::Id(id) => return Ok(Scope::Project(*id)),
        ProjectReference::Name(name) => name,
    };
    let mut ids: Vec<ProjectId> = projects.iter().filter(|project| project.name == *name).map(|project| project.id).collect();
    ids.sort_unstable();
    match ids.as_slice() {
        [id] => Ok(Scope::Project(*id)),
        [] => Err(Unresolved::NotFound { wanted: name.clone(), near: near(name, projects) }),
        _ => Err(Unresolved::Ambiguous { name: name.clone(), ids }),
    }
}

fn near(name: &str, projects: &[Project]) -> Vec<Project> {
    let mut ranked: Vec<(usize, &Project)> =
        projects.iter().map(|project| (distance(&name.to_lowercase(), &project.name.to_lowercase()), project)).collect();
    ranked.sort_by(|left, right| (left.0, &left.1.name, left.1.id).cmp(&(right.0, &right.1.name, right.1.id)));
    ranked.into_iter().take(NEAR_NAMES).map(|(_, project)| project.clone()).collect()
}

/// Levenshtein's distance, so that a typing error finds the name that was meant.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Which sets a grant of an account allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowedSets {
    /// Every set, `account_admin` included (written `"*"`).
    Any,
    /// These.
    Named(BTreeSet<PermissionSet>),
}

/// Which projects a grant of an account covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowedProjects {
    /// Every project, and rows on all projects.
    All,
    /// These; names that are not exactly one active project are left out.
    Named(BTreeSet<ProjectId>),
}

/// One grant of a `DbtAccount` that matches the namespace in question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountGrant {
    /// The sets that it allows.
    pub sets: AllowedSets,
    /// The projects that it covers.
    pub projects: AllowedProjects,
    /// The kinds of environments in which the sets may write.
    pub writable: BTreeSet<WriteCategory>,
    /// How many ServiceTokens one matching namespace may have; `None` is no limit.
    pub maximum_tokens: Option<u32>,
    /// Which existing tokens the namespace may take over.
    pub adopt: AdoptPolicy,
}

impl AccountGrant {
    fn covers(&self, row: &GrantRow) -> bool {
        let set = match &self.sets {
            AllowedSets::Any => true,
            AllowedSets::Named(sets) => sets.contains(&row.permission_set),
        };
        let project = match (&self.projects, row.scope) {
            (AllowedProjects::All, _) => true,
            (AllowedProjects::Named(_), Scope::All) => false,
            (AllowedProjects::Named(ids), Scope::Project(id)) => ids.contains(&id),
        };
        set && project && self.covers_writing(&row.writable)
    }

    fn covers_writing(&self, wanted: &BTreeSet<WriteCategory>) -> bool {
        let all = WriteCategory::new("all");
        self.writable.contains(&all) || wanted.iter().all(|kind| *kind != all && self.writable.contains(kind))
    }
}

/// The first row that none of the grants covers. Grants only add; account-level sets are rows on all projects, so they
/// need a grant on all projects by themselves.
pub fn uncovered<'rows>(rows: &'rows GrantRows, grants: &[AccountGrant]) -> Option<&'rows GrantRow> {
    rows.rows().iter().find(|row| !grants.iter().any(|grant| grant.covers(row)))
}

/// How many ServiceTokens a namespace may have: the largest of the matching grants, `None` for no limit.
pub fn maximum_tokens(grants: &[AccountGrant]) -> Option<u32> {
    grants.iter().map(|grant| grant.maximum_tokens).try_fold(0, |largest, limit| limit.map(|limit| largest.max(limit)))
}

#[cfg(test)]
mod tests;
