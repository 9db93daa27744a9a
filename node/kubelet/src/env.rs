//! The environment of a container: its own variables, those of sources, those of services.
//!
//! Pure: whoever calls has fetched the config maps and secrets that [`references`] names.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};

use crate::error::{Error, Result};
use crate::field::{self, Facts};
use crate::pod;

/// Config maps and secrets by name; `None` for those that do not exist.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, Option<ConfigMap>>,
    pub(crate) secrets: BTreeMap<String, Option<Secret>>,
}

/// Names of the config maps and secrets that a container's environment refers to.
pub(crate) fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.as_ref().map(|found| found.name.clone()));
        secrets.extend(from.secret_ref.as_ref().map(|found| found.name.clone()));
    }
    for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(from.config_map_key_ref.as_ref().map(|found| found.name.clone()));
        secrets.extend(from.secret_key_ref.as_ref().map(|found| found.name.clone()));
    }
    (config_maps, secrets)
}

/// The environment, in an order in which later entries win.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    services: &[impl AsRef<Service>],
    facts: &Facts,
) -> Result<Vec<(String, String)>> {
    let mut values: BTreeMap<String, String> = service_variables(pod, services);
    from_sources(container, sources, &mut values)?;
    let mut own = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(_)) => one(pod, container, variable, sources, facts)?,
            (Some(value), None) => {
                let look = |name: &str| own.get(name).or_else(|| values.get(name)).cloned();
                Some(expand(value, look))
            }
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            own.insert(variable.name.clone(), value);
        }
    }
    values.extend(own);
    Ok(values.into_iter().collect())
}

fn from_sources(
    container: &Container,
    sources: &Sources,
    values: &mut BTreeMap<String, String>,
) -> Result<()> {
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            let is_optional = reference.optional.unwrap_or(false);
            let found = present(&sources.config_maps, "configmap", &reference.name, is_optional)?;
            let data = found.and_then(|found| found.data.as_ref());
            values.extend(
                data.into_iter()
                    .flatten()
                    .map(|(key, value)| (format!("{prefix}{key}"), value.clone())),
            );
        }
        if let Some(reference) = &from.secret_ref {
            let is_optional = reference.optional.unwrap_or(false);
            let found = present(&sources.secrets, "secret", &reference.name, is_optional)?;
            let data = found.and_then(|found| found.data.as_ref());
            values.extend(
                data.into_iter()
                    .flatten()
                    .map(|(key, value)| (format!("{prefix}{key}"), text(value))),
            );
        }
    }
    Ok(())
}

fn present<'a, K>(
    all: &'a BTreeMap<String, Option<K>>,
    kind: &str,
    name: &str,
    is_optional: bool,
) -> Result<Option<&'a K>> {
    match all.get(name).and_then(Option::as_ref) {
        None if !is_optional => Err(Error::ContainerConfig(format!("{kind} \"{name}\" not found"))),
        found => Ok(found),
    }
}

fn text(value: &ByteString) -> String {
    String::from_utf8_lossy(&value.0).into_owned()
}

fn one(
    pod: &Pod,
    container: &Container,
    variable: &k8s_openapi::api::core::v1::EnvVar,
    sources: &Sources,
    facts: &Facts,
) -> Result<Option<String>> {
    let Some(from) = &variable.value_from else { return Ok(None) };
    let missing_key = |key: &str, kind: &str, name: &str| {
        let namespace = pod::namespace(pod);
        Error::ContainerConfig(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
    };
    if let Some(reference) = &from.config_map_key_ref {
        let is_optional = reference.optional.unwrap_or(false);
        let found = present(&sources.config_maps, "configmap", &reference.name, is_optional)?;
        let data = found.and_then(|found| found.data.as_ref());
        return match data.and_then(|data| data.get(&reference.key)) {
            None if !is_optional => Err(missing_key(&reference.key, "ConfigMap", &reference.name)),
            value => Ok(value.cloned()),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let is_optional = reference.optional.unwrap_or(false);
        let found = present(&sources.secrets, "secret", &reference.name, is_optional)?;
        let data = found.and_then(|found| found.data.as_ref());
        return match data.and_then(|data| data.get(&reference.key)) {
            None if !is_optional => Err(missing_key(&reference.key, "Secret", &reference.name)),
            value => Ok(value.map(text)),
        };
    }
    let value = if let Some(reference) = &from.field_ref {
        field::field(pod, &reference.field_path, facts)
    } else if let Some(reference) = &from.resource_field_ref {
        field::resource(pod, Some(container), reference, facts)
    } else {
        None
    };
    let unknown = || Error::ContainerConfig(format!("unsupported source of {}", variable.name));
    value.map(Some).ok_or_else(unknown)
}

/// `$(NAME)` becomes the value, `$$` a dollar; unknown names stay as they are.
pub(crate) fn expand(input: &str, look: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|found| found.split_once(')'))
        {
            out.push_str(&look(name).unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// What the pod's environment says of services: those of its namespace when it wants links, and the API
/// server's always.
fn service_variables(pod: &Pod, services: &[impl AsRef<Service>]) -> BTreeMap<String, String> {
    let wants_links = pod::spec(pod).enable_service_links.unwrap_or(true);
    let mut values = BTreeMap::new();
    for service in services.iter().map(AsRef::as_ref) {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let is_master = namespace == "default" && name == "kubernetes";
        if is_master || (wants_links && namespace == pod::namespace(pod)) {
            one_service(name, service, &mut values);
        }
    }
    values
}

fn one_service(name: &str, service: &Service, values: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let Some(first) = spec.ports.iter().flatten().next() else { return };
    if ip.is_empty() || ip == "None" {
        return;
    }
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = upper(name);
    let protocol = |port: &k8s_openapi::api::core::v1::ServicePort| {
        port.protocol.clone().unwrap_or("TCP".into())
    };
    values.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    values.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    let url = |port: &k8s_openapi::api::core::v1::ServicePort| {
        format!("{}://{ip}:{}", protocol(port).to_lowercase(), port.port)
    };
    values.insert(format!("{prefix}_PORT"), url(first));
    for port in spec.ports.iter().flatten() {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            values.insert(format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.port.to_string());
        }
        let stem = format!("{prefix}_PORT_{}_{}", port.port, protocol(port).to_uppercase());
        values.insert(format!("{stem}_PROTO"), protocol(port).to_lowercase());
        values.insert(format!("{stem}_PORT"), port.port.to_string());
        values.insert(format!("{stem}_ADDR"), ip.to_owned());
        values.insert(stem, url(port));
    }
}

#[cfg(test)]
mod tests;
