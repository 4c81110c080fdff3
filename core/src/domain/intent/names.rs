//! The names that a spec gives to others: checked as the API server checks them, which would refuse what is made of them only after a
//! token was issued.

use std::collections::BTreeMap;

use crate::domain::name::{
    LABEL_VALUES, NAMES, NAMESPACES, QUALIFIED_NAMES, is_annotation_name, is_label_name, is_label_value, is_namespace,
    is_object_name,
};
use crate::domain::problem::Problem;
use crate::domain::quote;

use super::invalid;
use super::key::AppKey;

/// Bytes of `spec.secret.annotations`: of the 256 KiB that all annotations of an object may have together
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/>), the operator's own take the rest.
pub(super) const MOST_ANNOTATIONS: usize = 248 * 1024;

pub(super) fn object(field: &str, text: &str) -> Result<(), Problem> {
    let wrong = || invalid(format!("{field}: '{}' is no name: {NAMES}", quote(text)));
    is_object_name(text).then_some(()).ok_or_else(wrong)
}

/// The object's own name; or how that begins, where the API server is to make it (`generateName`): then it may end as no name does.
pub(super) fn own(text: &str) -> Result<(), Problem> {
    let begins_one = is_object_name(&format!("{text}0"));
    if begins_one {
        Ok(())
    } else {
        object("metadata.name", text)
    }
}

pub(super) fn namespace(field: &str, text: &str) -> Result<(), Problem> {
    let wrong = || invalid(format!("{field}: '{}' is no namespace: {NAMESPACES}", quote(text)));
    is_namespace(text).then_some(()).ok_or_else(wrong)
}

pub(super) fn app(key: &AppKey) -> Result<(), Problem> {
    let AppKey::Object { namespace: place, name } = key else {
        return Ok(());
    };
    object("spec.appRef.name", name)?;
    place
        .as_ref()
        .map_or(Ok(()), |place| namespace("spec.appRef.namespace", place))
}

pub(super) fn labels(all: &BTreeMap<String, String>) -> Result<(), Problem> {
    let field = "spec.secret.labels";
    for (name, value) in all {
        let shown = quote(name);
        if !is_label_name(name) {
            return Err(invalid(format!(
                "{field}: '{shown}' is no label's name: {QUALIFIED_NAMES}"
            )));
        }
        if !is_label_value(value) {
            let value = quote(value);
            return Err(invalid(format!(
                "{field}: {shown}: '{value}' is no label's value: {LABEL_VALUES}"
            )));
        }
    }
    Ok(())
}

pub(super) fn annotations(all: &BTreeMap<String, String>) -> Result<(), Problem> {
    let field = "spec.secret.annotations";
    if let Some(name) = all.keys().find(|name| !is_annotation_name(name)) {
        let name = quote(name);
        return Err(invalid(format!(
            "{field}: '{name}' is no annotation's name: {QUALIFIED_NAMES}"
        )));
    }
    let length: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
    if length > MOST_ANNOTATIONS {
        return Err(invalid(format!(
            "{field}: {length} bytes, but a Secret has room for {MOST_ANNOTATIONS} beside the operator's own: shorten them"
        )));
    }
    Ok(())
}
