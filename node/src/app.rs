//! A node, put together and run until it is told to stop.
//!
//! Stopping the agent stops no container: containerd, the pods, the rules of the proxy stay.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use master_client::masters;
use nix::sched::{CloneFlags, setns};
use node_cri::{CriClient, SharedRuntime};
use store_env::clock::{SharedClock, SystemClock};
use store_env::task::Group;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::containerd::{Containerd, Layout};
use crate::error::{Error, Result};
use crate::image::Loader;
use crate::known;

const STOP_GRACE: Duration = Duration::from_secs(10);
/// The flags of the last run, for those who clean up.
pub(crate) const RECORD: &str = "node.json";

/// Moves this process into a named network namespace. To be called before any thread is started.
pub fn enter_netns(name: &str) -> Result<()> {
    let path = Path::new("/run/netns").join(name);
    let file = File::open(&path).map_err(Error::io(&path))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        .map_err(|source| Error::Kernel { what: format!("enter {}", path.display()), source })
}

/// Runs the node until `stop`.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let clock = SystemClock::shared();
    let args = &config.args;
    std::fs::create_dir_all(&args.data_dir).map_err(Error::io(&args.data_dir))?;
    let record = args.data_dir.join(RECORD);
    let flags = serde_json::to_vec_pretty(args).expect("flags are plain data");
    std::fs::write(&record, flags).map_err(Error::io(&record))?;
    let mut group = Group::under(&stop);
    let runtime = runtime(&config, &clock, &mut group).await?;
    let api = match config.masters.clone() {
        None => None,
        Some(known) => Some(
            masters::connect_with_handle(known)
                .map_err(|error| Error::Masters(error.to_string()))?,
        ),
    };
    if let Some((client, _)) = &api {
        start_network(&config, client, &mut group);
    }
    let kubelet = config.kubelet.clone();
    let parts = node_kubelet::Parts { config: kubelet, clock, runtime, api };
    node_kubelet::start(parts, &mut group)?;
    tracing::info!(node = args.name, "running");
    group.run(STOP_GRACE).await?;
    Ok(())
}

/// The runtime at the given socket, or a containerd of the node's own with its images.
async fn runtime(config: &Config, clock: &SharedClock, group: &mut Group) -> Result<SharedRuntime> {
    let args = &config.args;
    if let Some(socket) = &args.cri_socket {
        return Ok(Arc::new(CriClient::new(socket)));
    }
    let layout = Layout::under(&args.data_dir, &args.pause_image);
    let containerd = Containerd::ensure(layout.clone(), clock.clone()).await?;
    if let Some(directory) = &args.images {
        let record = layout.loaded_images_file();
        let loader = Loader::new(directory.clone(), layout.socket(), record);
        loader.load_new().await?;
        group.spawn("images", move |stop| loader.run(stop));
    }
    group.spawn("containerd", move |stop| containerd.run(stop));
    Ok(Arc::new(CriClient::new(&layout.socket())))
}

fn start_network(config: &Config, client: &kube::Client, group: &mut Group) {
    let args = &config.args;
    let (known_client, data_dir) = (client.clone(), args.data_dir.clone());
    group.spawn("masters", move |stop| known::keep(known_client, data_dir, stop));
    let net = node_net::Config {
        cluster_id: args.cluster_id.clone(),
        node_name: args.name.clone(),
        node_ip: args.node_ip,
        pod_cidr_cluster: args.pod_cidr_cluster.clone(),
        cni_conf_dir: args.data_dir.join("cni/net.d"),
        ipam_dir: args.data_dir.join("cni/ipam"),
    };
    node_net::start(client, net, group);
    let proxy = node_proxy::state::Config {
        cluster_id: args.cluster_id.clone(),
        node_name: args.name.clone(),
        node_ip: args.node_ip,
        pod_cidr: args.pod_cidr_cluster.clone(),
        service_cidr: args.service_cidr.clone(),
        cluster_dns: args.cluster_dns,
    };
    node_proxy::start(client, proxy, group);
    let dns = node_dns::Config { address: args.cluster_dns, domain: args.cluster_domain.clone() };
    node_dns::start(client, dns, group);
}
