//! The files of a volume that is made from API objects.
//!
//! Pure: objects in, files out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use super::atomic::{File, Payload};
use crate::error::{Error, Result};
use crate::field::{self, Facts};
use crate::pod;

/// Which keys go where, and with which mode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection<'a> {
    pub(crate) items: Option<&'a Vec<KeyToPath>>,
    pub(crate) default_mode: u32,
    pub(crate) is_optional: bool,
}

/// A mode as the API carries it.
pub(crate) fn mode(mode: Option<i32>, otherwise: u32) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(otherwise)
}

pub(crate) fn config_map(
    name: &str,
    found: Option<&ConfigMap>,
    selection: Selection<'_>,
) -> Result<Payload> {
    let Some(found) = found else { return missing("configmap", name, selection) };
    let text = found.data.iter().flatten().map(|(key, value)| (key, value.as_bytes().to_vec()));
    let binary = found.binary_data.iter().flatten().map(|(key, value)| (key, value.0.clone()));
    select(name, text.chain(binary).map(|(key, value)| (key.clone(), value)).collect(), selection)
}

pub(crate) fn secret(
    name: &str,
    found: Option<&Secret>,
    selection: Selection<'_>,
) -> Result<Payload> {
    let Some(found) = found else { return missing("secret", name, selection) };
    let data = found.data.iter().flatten();
    select(name, data.map(|(key, value)| (key.clone(), value.0.clone())).collect(), selection)
}

fn missing(kind: &str, name: &str, selection: Selection<'_>) -> Result<Payload> {
    match selection.is_optional {
        true => Ok(Payload::new()),
        false => Err(Error::Volume(format!("{kind} \"{name}\" not found"))),
    }
}

fn select(
    name: &str,
    data: BTreeMap<String, Vec<u8>>,
    selection: Selection<'_>,
) -> Result<Payload> {
    let Some(items) = selection.items.filter(|items| !items.is_empty()) else {
        let file = |content| File { content, mode: selection.default_mode };
        return Ok(data.into_iter().map(|(key, content)| (key, file(content))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(content) => {
                let mode = mode(item.mode, selection.default_mode);
                payload.insert(item.path.clone(), File { content: content.clone(), mode });
            }
            None if selection.is_optional => {}
            None => {
                let message = format!("references non-existent key {} in {name:?}", item.key);
                return Err(Error::Volume(message));
            }
        }
    }
    Ok(payload)
}

pub(crate) fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
    facts: &Facts,
) -> Result<Payload> {
    let mut payload = Payload::new();
    for item in items {
        let value = if let Some(reference) = &item.field_ref {
            field::field(pod, &reference.field_path, facts)
        } else if let Some(reference) = &item.resource_field_ref {
            field::resource(pod, None, reference, facts)
        } else {
            None
        };
        let unknown = || {
            let key = pod::key(pod);
            Error::Volume(format!("downward API file {} of {key}: unsupported source", item.path))
        };
        let content = value.ok_or_else(unknown)?.into_bytes();
        payload.insert(item.path.clone(), File { content, mode: mode(item.mode, default_mode) });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_selected_renamed_and_given_modes() {
        let map: ConfigMap = serde_json::from_value(json!({"data": {"a": "1", "b": "2"}})).unwrap();
        let items: Vec<KeyToPath> =
            serde_json::from_value(json!([{"key": "b", "path": "x/y", "mode": 0o400}])).unwrap();
        let all = Selection { items: None, default_mode: 0o644, is_optional: false };
        let files = config_map("cm", Some(&map), all).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a", "b"]);
        let files = config_map("cm", Some(&map), Selection { items: Some(&items), ..all }).unwrap();
        assert_eq!(files["x/y"], File { content: b"2".to_vec(), mode: 0o400 });
        assert!(config_map("cm", None, all).is_err());
        let optional = Selection { is_optional: true, ..all };
        assert!(config_map("cm", None, optional).unwrap().is_empty());
    }
}
