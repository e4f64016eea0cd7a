//! Who wrote which field of an object, as the API server keeps it in `metadata.managedFields`. Pure.
//!
//! The API server takes a field away from a manager as soon as somebody else changes its value or removes it. So a field
//! that still belongs to our `Apply` entry has the value that we applied last. Others may hold the same field *with the
//! same value* beside us; that is no change of it, and no write of ours could end it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use super::names::OPERATOR;

/// The fields of a Secret that we applied and that nobody has changed since.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Applied<'entry> {
    /// Keys of the data.
    pub data: BTreeSet<&'entry str>,
    /// Keys of labels.
    pub labels: BTreeSet<&'entry str>,
    /// Keys of annotations.
    pub annotations: BTreeSet<&'entry str>,
}

/// What our server-side apply still owns; `None` if there is no entry of it at all.
pub(super) fn applied(entries: &[ManagedFieldsEntry]) -> Option<Applied<'_>> {
    let ours = entries.iter().find(|entry| {
        entry.manager.as_deref() == Some(OPERATOR)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().is_none_or(str::is_empty)
    })?;
    let fields = &ours.fields_v1.as_ref()?.0;
    Some(Applied {
        data: keys(fields, &["f:data"]),
        labels: keys(fields, &["f:metadata", "f:labels"]),
        annotations: keys(fields, &["f:metadata", "f:annotations"]),
    })
}

/// The manager that wrote last, for messages; of several at the same time the first by name.
pub(super) fn last_writer(entries: &[ManagedFieldsEntry]) -> Option<String> {
    let named = entries.iter().filter_map(|entry| Some((entry.time.as_ref().map(|time| time.0), entry.manager.as_deref()?)));
    named.max_by(|left, right| left.0.cmp(&right.0).then(right.1.cmp(left.1))).map(|(_, manager)| manager.to_owned())
}

/// The keys of a map inside a set of fields. The entry `.` stands for the map itself.
fn keys<'fields>(fields: &'fields Value, path: &[&str]) -> BTreeSet<&'fields str> {
    let map = path.iter().try_fold(fields, |at, step| at.get(step)).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(name, _)| name.strip_prefix("f:")).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, Time};
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, time: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            time: Some(Time(time.parse().expect("a time"))),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    #[test]
    fn only_our_apply_entry_counts() {
        let fields = json!({"f:data": {".": {}, "f:ca.crt": {}, "f:token": {}}, "f:metadata": {"f:labels": {"f:a/b": {}}}});
        let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        let expected = Applied { data: set(&["ca.crt", "token"]), labels: set(&["a/b"]), annotations: set(&[]) };
        let theirs = entry("kubectl", "Apply", "2026-11-24T08:00:00Z", json!({"f:data": {"f:other": {}}}));
        let claim = entry(OPERATOR, "Update", "2026-11-24T08:00:00Z", json!({"f:type": {}}));
        let ours = entry(OPERATOR, "Apply", "2026-11-24T08:00:00Z", fields);
        assert_eq!(applied(&[theirs.clone(), claim.clone(), ours]), Some(expected));
        assert_eq!(applied(&[theirs, claim]), None);
        assert_eq!(applied(&[entry(OPERATOR, "Apply", "2026-11-24T08:00:00Z", json!(7))]), Some(Applied::default()));
    }

    #[test]
    fn the_last_writer_is_found_by_time() {
        let old = entry("helm", "Update", "2026-11-24T08:00:00Z", json!({}));
        let new = entry("kubectl", "Update", "2026-11-24T09:00:00Z", json!({}));
        let timeless = ManagedFieldsEntry { time: None, ..entry("argocd", "Update", "2026-11-24T09:00:00Z", json!({})) };
        let same = entry("flux", "Update", "2026-11-24T09:00:00Z", json!({}));
        for (entries, expected) in [
            (vec![new.clone(), old.clone()], Some("kubectl")),
            (vec![old, timeless.clone(), new.clone()], Some("kubectl")),
            (vec![new, same], Some("flux")),
            (vec![timeless], Some("argocd")),
            (vec![], None),
        ] {
            assert_eq!(last_writer(&entries).as_deref(), expected);
        }
    }
}
