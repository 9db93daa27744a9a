//! The `/etc/hosts` of a pod.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// The file's content. `machine` is that of the node, which pods in its network share.
pub(crate) fn render(pod: &Pod, ips: &[IpAddr], cluster_domain: &str, machine: &str) -> String {
    let mut out = String::new();
    if pod::is_host_network(pod) {
        out.push_str("# Kubernetes-managed hosts file (host network).\n");
        out.push_str(machine);
    } else {
        out.push_str("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n");
        out.push_str("::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n");
        out.push_str("fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let hostname = pod::hostname(pod);
        let names = match pod::fqdn(pod, cluster_domain) {
            Some(fqdn) => format!("{fqdn}\t{hostname}"),
            None => hostname,
        };
        for ip in ips {
            writeln!(out, "{ip}\t{names}").expect("a string takes it");
        }
    }
    let aliases = pod::spec(pod).host_aliases.iter().flatten();
    for (index, alias) in aliases.enumerate() {
        if index == 0 {
            out.push_str("\n# Entries added by HostAliases.\n");
        }
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        writeln!(out, "{}\t{names}", alias.ip).expect("a string takes it");
    }
    out
}
