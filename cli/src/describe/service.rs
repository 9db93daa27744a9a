//! A service: its addresses, ports and what is behind them.

use master_api::jsonpath::shown;
use serde_json::Value;

use super::{Page, head, labels};
use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::Result;
use crate::object::{items, selector_query, text};

/// Endpoints that are named before the rest is only counted.
const ENDPOINTS_SHOWN: usize = 3;

pub(super) async fn describe(api: &Api, page: &mut Page, found: &Found) -> Result {
    let object = &found.object;
    let spec = &object["spec"];
    head(page, object);
    labels(page, object);
    let selector = selector_query(&spec["selector"]);
    page.line(0, "Selector", if selector.is_empty() { "<none>" } else { &selector });
    page.line(0, "Type", text(&spec["type"]));
    for (key, field) in [("IP Family Policy", "ipFamilyPolicy")] {
        if let Some(value) = spec[field].as_str() {
            page.line(0, key, value);
        }
    }
    let joined = |value: &Value| items(value).iter().map(text).collect::<Vec<_>>().join(",");
    if !items(&spec["ipFamilies"]).is_empty() {
        page.line(0, "IP Families", joined(&spec["ipFamilies"]));
    }
    page.line(0, "IP", text(&spec["clusterIP"]));
    if !items(&spec["clusterIPs"]).is_empty() {
        page.line(0, "IPs", joined(&spec["clusterIPs"]));
    }
    if !items(&spec["externalIPs"]).is_empty() {
        page.line(0, "External IPs", joined(&spec["externalIPs"]));
    }
    if let Some(name) = spec["externalName"].as_str() {
        page.line(0, "External Name", name);
    }
    let ingress: Vec<_> = items(&object["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|one| one["ip"].as_str().or(one["hostname"].as_str()).unwrap_or_default().to_owned())
        .collect();
    if !ingress.is_empty() {
        page.line(0, "LoadBalancer Ingress", ingress.join(", "));
    }
    let slices = slices(api, found).await?;
    for port in items(&spec["ports"]) {
        let name = match text(&port["name"]) {
            "" => "<unset>",
            name => name,
        };
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        page.raw(0, format!("Port:\t{name}\t{}/{protocol}", shown(&port["port"])));
        page.line(0, "TargetPort", format!("{}/{protocol}", shown(&port["targetPort"])));
        if let Some(node_port) = port["nodePort"].as_u64().filter(|&port| port > 0) {
            page.raw(0, format!("NodePort:\t{name}\t{node_port}/{protocol}"));
        }
        page.line(0, "Endpoints", endpoints(&slices, text(&port["name"])));
    }
    page.line(0, "Session Affinity", text(&spec["sessionAffinity"]));
    for (key, field) in [
        ("External Traffic Policy", "externalTrafficPolicy"),
        ("Internal Traffic Policy", "internalTrafficPolicy"),
    ] {
        if let Some(value) = spec[field].as_str() {
            page.line(0, key, value);
        }
    }
    Ok(())
}

async fn slices(api: &Api, found: &Found) -> Result<Vec<Value>> {
    let resource = api.resource("endpointslices.discovery.k8s.io").await?;
    let query = [("labelSelector", format!("kubernetes.io/service-name={}", found.name()))];
    let list = api.get(&with_query(&resource.collection(Some(found.namespace())), &query)).await?;
    Ok(items(&list["items"]).to_vec())
}

/// The ready addresses behind a port.
fn endpoints(slices: &[Value], port_name: &str) -> String {
    let mut all = Vec::new();
    for slice in slices {
        let port = items(&slice["ports"]).iter().find(|port| text(&port["name"]) == port_name);
        let Some(number) = port.map(|port| shown(&port["port"])) else { continue };
        for endpoint in
            items(&slice["endpoints"]).iter().filter(|one| one["conditions"]["ready"] != false)
        {
            for address in items(&endpoint["addresses"]) {
                let host = text(address);
                all.push(if host.contains(':') {
                    format!("[{host}]:{number}")
                } else {
                    format!("{host}:{number}")
                });
            }
        }
    }
    let more = all.len().saturating_sub(ENDPOINTS_SHOWN);
    all.truncate(ENDPOINTS_SHOWN);
    match (all.is_empty(), more) {
        (true, _) => String::new(),
        (_, 0) => all.join(","),
        (_, more) => format!("{} + {more} more...", all.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_endpoints_are_named_and_the_rest_counted() {
        let endpoint =
            |ip: &str, ready: bool| json!({"addresses": [ip], "conditions": {"ready": ready}});
        let slice = json!({"ports": [{"name": "", "port": 8080}], "endpoints": [
            endpoint("10.0.0.1", true), endpoint("10.0.0.2", false), endpoint("10.0.0.3", true),
            endpoint("10.0.0.4", true), endpoint("10.0.0.5", true)]});
        assert_eq!(
            endpoints(&[slice], ""),
            "10.0.0.1:8080,10.0.0.3:8080,10.0.0.4:8080 + 1 more..."
        );
        assert_eq!(endpoints(&[], ""), "");
    }
}
