//! The life of a cluster: started, joined, looked at, stopped.
//!
//! A local cluster (`kctl start`) is made of the same steps as one over many machines
//! (`kctl cluster init`, `kctl cluster join`); it only gives each of them a folder under one roof.

mod access;
mod install;
mod layout;
mod pinned;
mod place;
mod process;
mod progress;
mod start;
mod status;
mod stop;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub use start::StartArgs;
pub use status::StatusArgs;
pub use stop::StopArgs;

/// `kctl cluster …`: one machine's part in a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Make this machine the first master of a new cluster.
    Init(InitArgs),
    /// Let this machine join a cluster, as a master or as a node.
    Join(JoinArgs),
    /// Print a token that lets a machine join.
    Token(TokenArgs),
    /// List the masters.
    Members(status::MembersArgs),
    /// Take a master out of the cluster for good.
    Remove(RemoveArgs),
}

/// What every command on one machine's data needs.
#[derive(Args, Clone, Debug)]
pub struct Home {
    /// Where data, keys and logs lie.
    #[arg(long, value_name = "DIR", env = "TRIREME_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct InitArgs {
    #[command(flatten)]
    pub home: Home,
    /// This master's name.
    #[arg(long, default_value = "master-1")]
    pub name: String,
    /// The address at which nodes and other masters reach this machine.
    #[arg(long, value_name = "IP")]
    pub address: IpAddr,
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    #[arg(long, default_value_t = 6543)]
    pub peer_port: u16,
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cidr: String,
    #[arg(long, default_value = "10.244.0.0/16")]
    pub pod_cidr: String,
}

#[derive(Args, Debug)]
pub struct JoinArgs {
    #[command(flatten)]
    pub home: Home,
    /// What `kctl cluster token` printed.
    #[arg(long)]
    pub token: String,
    /// What this machine becomes.
    #[arg(long = "as", value_enum)]
    pub part: PartArg,
    /// This machine's name in the cluster.
    #[arg(long)]
    pub name: String,
    /// The address at which the other machines reach this one.
    #[arg(long, value_name = "IP")]
    pub address: IpAddr,
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    #[arg(long, default_value_t = 6543)]
    pub peer_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PartArg {
    Master,
    Node,
}

#[derive(Args, Debug)]
pub struct TokenArgs {
    #[command(flatten)]
    pub home: Home,
    /// What the bearer may become.
    #[arg(long = "as", value_enum)]
    pub part: PartArg,
}

#[derive(Args, Debug)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub home: Home,
    /// The master to remove.
    pub name: String,
}

/// Runs `kctl start`.
pub async fn start(args: StartArgs) -> anyhow::Result<()> {
    start::run(args).await
}

/// Runs `kctl stop`.
pub async fn stop(args: StopArgs) -> anyhow::Result<()> {
    stop::run(args).await
}

/// Runs `kctl status`.
pub async fn status(args: StatusArgs) -> anyhow::Result<()> {
    status::run(args).await
}

/// Runs `kctl cluster …`.
pub async fn run(command: ClusterCommand) -> anyhow::Result<()> {
    match command {
        ClusterCommand::Init(args) => install::init(args).await,
        ClusterCommand::Join(args) => install::join(args).await,
        ClusterCommand::Token(args) => install::token(args).await,
        ClusterCommand::Members(args) => status::print_members(args).await,
        ClusterCommand::Remove(args) => install::remove(args).await,
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)
}
