//! `knode network up|down`: several nodes on one machine, each in a network namespace of its own.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use node_net::lab::Lab;

use crate::error::{Error, Result};

/// Makes or removes the local network.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make the bridge and the nodes' namespaces, as far as they are missing
    Up(NetworkArgs),
    /// Remove them
    Down(NetworkArgs),
}

/// A local cluster's network.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// Name of the bridge; at most 12 characters
    #[arg(long)]
    pub bridge: String,
    /// Address of the bridge with its prefix length: 10.88.0.1/24
    #[arg(long)]
    pub address: String,
    /// A node's namespace and address: NETNS=IP
    #[arg(long = "node", value_name = "NETNS=IP")]
    pub nodes: Vec<String>,
}

impl NetworkArgs {
    fn lab(self) -> Result<Lab> {
        let nodes = self.nodes.iter().map(|node| {
            let problem = || format!("{node:?} is not NETNS=IP");
            let parsed = node
                .split_once('=')
                .and_then(|(netns, ip)| Some((netns.to_owned(), ip.parse::<Ipv4Addr>().ok()?)));
            parsed.ok_or_else(|| Error::Config { flag: "--node", problem: problem() })
        });
        let nodes = nodes.collect::<Result<_>>()?;
        Ok(Lab { bridge: self.bridge, address: self.address, nodes })
    }
}

/// Carries out `knode network …`.
pub async fn run(command: NetworkCommand) -> anyhow::Result<()> {
    match command {
        NetworkCommand::Up(args) => args.lab()?.up().await?,
        NetworkCommand::Down(args) => args.lab()?.down().await?,
    }
    Ok(())
}
