//! A local cluster, seen through `kctl` and the files it leaves.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::Client;
use master_client::masters::{self, ClientIdentity, MastersConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::process::Command;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the cluster is and which `kctl` to ask.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub kctl: PathBuf,
    pub data_dir: PathBuf,
}

/// What `kctl status -o json` prints, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub leader: Option<String>,
    pub masters: Vec<Master>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Master {
    pub name: String,
    pub role: String,
    pub address: String,
    pub pid: Option<i32>,
}

impl Cluster {
    async fn kctl(&self, args: &[&str]) -> anyhow::Result<Vec<u8>> {
        let output = Command::new(&self.kctl)
            .args(args)
            .env("TRIREME_DATA_DIR", &self.data_dir)
            .output()
            .await
            .with_context(|| self.kctl.display().to_string())?;
        if !output.status.success() {
            bail!("kctl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }

    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        Ok(serde_json::from_slice(&self.kctl(&["status", "-o", "json"]).await?)?)
    }

    /// Starts what is down.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        self.kctl(&["start"]).await.map(|_| ())
    }

    /// Kills the leading master, without a word; its name.
    pub(crate) async fn kill_leader(&self) -> anyhow::Result<String> {
        let status = self.status().await?;
        let leader = status.leader.context("nobody leads")?;
        let master = status.masters.iter().find(|it| it.name == leader);
        let pid = master.and_then(|it| it.pid).context("the leader has no pid")?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        Ok(leader)
    }

    /// Waits until a master leads and all others follow.
    pub(crate) async fn whole(&self, within: Duration) -> anyhow::Result<Status> {
        let all = async {
            loop {
                if let Ok(status) = self.status().await
                    && status.leader.is_some()
                    && status.masters.iter().all(|it| matches!(&*it.role, "leader" | "follower"))
                {
                    return status;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(within, all).await.context("the cluster did not become whole")
    }

    /// A client that knows these masters only.
    pub(crate) fn client(&self, servers: &[String]) -> anyhow::Result<Client> {
        let mut config =
            MastersConfig::new(servers.iter().filter_map(|it| it.parse().ok()).collect());
        config.ca_pem = Some(std::fs::read(self.data_dir.join("pki/ca.crt"))?);
        config.identity = Some(ClientIdentity {
            cert_pem: std::fs::read(self.data_dir.join("pki/admin.crt"))?,
            key_pem: std::fs::read(self.data_dir.join("pki/admin.key"))?,
        });
        config.refresh = false;
        Ok(masters::connect(config)?)
    }
}
