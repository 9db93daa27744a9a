//! The resolver settings of a pod: the cluster's, the machine's, or its own.
//!
//! Pure over the text of the machine's `resolv.conf`.

use k8s_openapi::api::core::v1::Pod;
use node_cri::v1::DnsConfig;

use crate::config::Config;
use crate::pod;

/// What a pod's `resolv.conf` will say.
pub(crate) fn dns_config(pod: &Pod, config: &Config, machine: &str) -> DnsConfig {
    let spec = pod::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let is_cluster = match policy {
        "ClusterFirst" => !pod::is_host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let host = parse(machine);
    let mut dns = match (policy, config.cluster_dns) {
        ("None", _) => DnsConfig::default(),
        (_, Some(server)) if is_cluster => {
            let domain = &config.cluster_domain;
            let namespace = pod::namespace(pod);
            let mut searches =
                vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(host.searches);
            let servers = vec![server.to_string()];
            DnsConfig { servers, searches, options: vec!["ndots:5".to_owned()] }
        }
        _ => host,
    };
    if let Some(own) = &spec.dns_config {
        append(&mut dns.servers, own.nameservers.iter().flatten());
        append(&mut dns.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    dns
}

fn append<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn parse(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: serde_json::Value, servers: &[&str], searches: &[&str], options: &[&str]) {
        let mut object = json!({"metadata": {"name": "p", "namespace": "team"}, "spec": spec});
        object["spec"]["containers"] = json!([]);
        let pod: Pod = serde_json::from_value(object).unwrap();
        let config = crate::tests::config("/nowhere");
        let machine = "search lan\nnameserver 192.0.2.1\noptions edns0\n";
        let dns = dns_config(&pod, &config, machine);
        assert_eq!(dns.servers, servers);
        assert_eq!(dns.searches, searches);
        assert_eq!(dns.options, options);
    }

    #[test]
    fn policy_decides_whose_resolver_a_pod_asks() {
        let cluster = ["team.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"];
        check(json!({}), &["10.96.0.10"], &cluster, &["ndots:5"]);
        check(json!({"hostNetwork": true}), &["192.0.2.1"], &["lan"], &["edns0"]);
        let with_host = json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"});
        check(with_host, &["10.96.0.10"], &cluster, &["ndots:5"]);
        check(json!({"dnsPolicy": "Default"}), &["192.0.2.1"], &["lan"], &["edns0"]);
        let own = json!({"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]});
        check(json!({"dnsPolicy": "None", "dnsConfig": own}), &["1.1.1.1"], &[], &["ndots:2"]);
        check(json!({"dnsConfig": own}), &["10.96.0.10", "1.1.1.1"], &cluster, &["ndots:2"]);
    }
}
