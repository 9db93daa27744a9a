//! `kctl autoscale`: as many replicas as the load needs.

use clap::Args;
use serde_json::json;

use crate::error::{Result, said};
use crate::flags::{Change, Global};
use crate::object;

/// Make a horizontal pod autoscaler for a workload
#[derive(Args, Debug)]
pub struct AutoscaleArgs {
    /// deployment/NAME, or TYPE NAME
    #[arg(value_name = "TYPE[/NAME]", required = true)]
    words: Vec<String>,
    #[arg(long)]
    max: u32,
    #[arg(long, default_value_t = 1)]
    min: u32,
    /// Percent of the requested CPU
    #[arg(long, default_value_t = 80)]
    cpu_percent: u32,
    /// The autoscaler's name [default: the workload's]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Runs it.
pub async fn run(args: &AutoscaleArgs, flags: &Global) -> Result {
    if args.min > args.max {
        return Err(said("--max must be larger or equal to --min"));
    }
    let api = flags.api()?;
    let found = api.find_one(&args.words).await?;
    let name = args.name.clone().unwrap_or_else(|| found.name().to_owned());
    let scaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": name },
        "spec": {
            "minReplicas": args.min,
            "maxReplicas": args.max,
            "scaleTargetRef": { "apiVersion": found.resource.api_version(), "kind": found.resource.kind, "name": found.name() },
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu",
                "target": { "type": "Utilization", "averageUtilization": args.cpu_percent } } }],
        },
    });
    object::create_made(&api, flags, &args.change, scaler).await
}
