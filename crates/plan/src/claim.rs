//! Which objects belong to an owner, which are adopted, which released (workloads 1.6).

use std::sync::Arc;

use evenkeel_api::{Kind, Meta, Object, OwnerReference, Selector};
use serde_json::json;

use crate::{PatchForm, Target, Write};

/// What the claim algorithm says about a list of candidates.
#[derive(Debug, PartialEq, Eq)]
pub struct Claims<T> {
    /// Controlled by the owner and matching (rule 2).
    pub claimed: Vec<Arc<T>>,
    /// Without controller, matching and alive, while the owner is alive: to be adopted (rule 8).
    pub adopt: Vec<Arc<T>>,
    /// Controlled by the owner but no longer matching, while the owner is alive: to be released (rule 4).
    pub release: Vec<Arc<T>>,
}

/// Sorts candidates by the table of workloads 1.6. Order is kept.
pub fn claim<T: Object>(owner: &Meta, selector: &Selector, candidates: impl IntoIterator<Item = Arc<T>>) -> Claims<T> {
    let mut claims = Claims { claimed: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for candidate in candidates {
        let meta = candidate.meta();
        let matches = selector.matches(&meta.labels);
        match meta.controller() {
            Some(controller) if controller.uid != owner.uid => {}
            Some(_) if matches => claims.claimed.push(candidate),
            Some(_) if owner.deleting.is_some() => {}
            Some(_) => claims.release.push(candidate),
            None if owner.deleting.is_some() || !matches || meta.deleting.is_some() || meta.namespace != owner.namespace => {}
            None => claims.adopt.push(candidate),
        }
    }
    claims
}

impl<T: Object> Claims<T> {
    /// The writes that make it so, in one step, so that one that fails keeps none of the others from being tried (workloads 1.6.4). Where
    /// something is to be adopted, a live read has to find the owner alive first: one read however many there are.
    pub fn steps(&self, kind: Kind, owner: &Meta) -> Vec<Vec<Write>> {
        let releases = self.release.iter().map(|o| release(T::resource(), o.meta(), owner));
        let adoptions = self.adopt.iter().map(|o| adopt(T::resource(), o.meta(), kind, owner));
        let confirm = (!self.adopt.is_empty()).then(|| vec![Write::ConfirmOwner { target: Target::alive(kind, owner) }]);
        let claims: Vec<Write> = releases.chain(adoptions).collect();
        confirm.into_iter().chain((!claims.is_empty()).then_some(claims)).collect()
    }
}

/// The patch that makes `owner` the controller; the uid in it guards the identity of the adopted object.
fn adopt(kind: Kind, object: &Meta, owner_kind: Kind, owner: &Meta) -> Write {
    Write::Patch {
        target: Target::alive(kind, object),
        subresource: None,
        form: PatchForm::Strategic,
        body: json!({"metadata": {
            "uid": object.uid.to_string(),
            "ownerReferences": [OwnerReference::controller_of(owner_kind, &owner.name, &owner.uid)],
        }}),
    }
}

/// The patch that removes the reference to `owner`.
fn release(kind: Kind, object: &Meta, owner: &Meta) -> Write {
    Write::Patch {
        target: Target::alive(kind, object),
        subresource: None,
        form: PatchForm::Strategic,
        body: json!({"metadata": {
            "uid": object.uid.to_string(),
            "ownerReferences": [{"$patch": "delete", "uid": owner.uid.to_string()}],
        }}),
    }
}
