//! StorageObjectInUseProtection: claims, volumes and classes of volume attributes are made with a finalizer, which
//! a controller takes away once nothing uses them.

use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::json::array_at;

/// Group, plural, finalizer.
const HELD: [(&str, &str, &str); 3] = [
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

#[derive(Debug)]
pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        let held = HELD.iter().find(|(group, plural, _)| request.is(group, plural));
        if let Some((_, _, finalizer)) = held {
            let finalizers = array_at(object, &["metadata", "finalizers"]);
            if !finalizers.iter().any(|known| known == finalizer) {
                finalizers.push((*finalizer).into());
            }
        }
        Ok(())
    }
}
