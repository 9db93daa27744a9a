//! `kctl image`: images into, out of and on the nodes of the local cluster, without a registry.
//!
//! The node agent's program beside `kctl` does the work: it knows where each node's containerd is.

use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Subcommand};

use crate::error::{Error, Result, said};

/// Load, save and list images of the local cluster's nodes
#[derive(Args, Debug)]
pub struct ImageArgs {
    /// The local cluster's directory [default: ~/.trireme]
    #[arg(long, global = true, value_name = "DIR", env = "TRIREME_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Only this node
    #[arg(long, global = true, value_name = "NAME")]
    node: Option<String>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Load archives (docker save, OCI) into every node
    Load {
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Save an image to an archive
    Save {
        image: String,
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// List the images
    List,
}

/// Runs it.
pub fn run(args: &ImageArgs) -> Result {
    let folder = args.data_dir.clone().unwrap_or_else(default_dir);
    let nodes = nodes(&folder, args.node.as_deref())?;
    for (place, node) in nodes.iter().enumerate() {
        let node_dir = folder.join("nodes").join(node);
        let node_dir = if node_dir.exists() { node_dir } else { folder.join(node) };
        let mut command = Command::new(program()?);
        command.arg("image");
        match &args.what {
            What::Load { files } => {
                command.arg("load").arg("--data-dir").arg(&node_dir).args(files);
            }
            What::Save { image, output } => {
                command
                    .arg("save")
                    .arg("--data-dir")
                    .arg(&node_dir)
                    .arg("--output")
                    .arg(output)
                    .arg(image);
            }
            What::List => {
                if nodes.len() > 1 {
                    crate::outln!("{}{node}:", if place > 0 { "\n" } else { "" });
                }
                command.arg("list").arg("--data-dir").arg(&node_dir);
            }
        }
        let status =
            command.status().map_err(|error| said(format!("knode cannot be run: {error}")))?;
        if !status.success() {
            return Err(Error::Exit(status.code().unwrap_or(1)));
        }
        // An image that one node has is saved once.
        if matches!(args.what, What::Save { .. }) {
            break;
        }
    }
    Ok(())
}

fn default_dir() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    home.join(".trireme")
}

/// The nodes that run here: those with a pid file, or the one asked for.
fn nodes(folder: &std::path::Path, wanted: Option<&str>) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder.join("run")).map_err(|_| {
        said(format!(
            "there is no local cluster in {}: `kctl start` makes one, --data-dir names another",
            folder.display()
        ))
    })?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".pid").map(str::to_owned))
        .filter(|name| name.starts_with("node-") && wanted.is_none_or(|wanted| name == wanted))
        .collect();
    names.sort();
    if names.is_empty() {
        return Err(said(format!(
            "no node of {} runs here. `kctl start` starts them",
            folder.display()
        )));
    }
    Ok(names)
}

/// `knode` beside us, or on the path.
fn program() -> Result<PathBuf> {
    let me = std::env::current_exe().map_err(|error| said(error.to_string()))?;
    let beside = me.with_file_name("knode");
    Ok(if beside.exists() { beside } else { PathBuf::from("knode") })
}
