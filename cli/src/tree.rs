//! The tree of commands: the one list that parser, help and completion come from.

use clap::{Parser, Subcommand};

use crate::cluster;
use crate::error::{Error, Result, said};
use crate::flags::Global;
use crate::verb;

/// kctl runs Kubernetes clusters whose masters survive each other, and looks after what runs on them.
#[derive(Debug, Parser)]
#[command(
    name = "kctl",
    version,
    max_term_width = 120,
    after_help = "\
Examples:
  kctl start --masters 3 --nodes 2         # a cluster on this machine
  kctl status                              # who leads, who is ready
  kctl run hello --image=hello:v1 --port=8080
  kctl get pods -w"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done, in the order of a day's work.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster on this machine, or what is down of it
    Start(cluster::StartArgs),
    /// Stop the cluster on this machine
    Stop(cluster::StopArgs),
    /// Show who leads, who follows and who is ready
    Status(cluster::StatusArgs),
    /// Clusters over several machines: init, join, members
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    Get(verb::get::GetArgs),
    Describe(verb::describe::DescribeArgs),
    Events(verb::events::EventsArgs),
    Explain(verb::explain::ExplainArgs),
    Create(verb::create::CreateArgs),
    Apply(verb::apply::ApplyArgs),
    Replace(verb::replace::ReplaceArgs),
    Diff(verb::diff::DiffArgs),
    Delete(verb::delete::DeleteArgs),
    Edit(verb::edit::EditArgs),
    Patch(verb::patch::PatchArgs),
    Label(verb::label::LabelArgs),
    /// Update the annotations of a resource
    Annotate(verb::label::LabelArgs),
    Run(verb::run::RunArgs),
    Expose(verb::expose::ExposeArgs),
    Service(verb::service::ServiceArgs),
    Scale(verb::scale::ScaleArgs),
    Autoscale(verb::autoscale::AutoscaleArgs),
    Set(verb::set::SetArgs),
    Rollout(verb::rollout::RolloutArgs),
    RollingUpdate(verb::rolling_update::RollingUpdateArgs),
    Logs(verb::logs::LogsArgs),
    Exec(verb::exec::ExecArgs),
    Attach(verb::attach::AttachArgs),
    PortForward(verb::port_forward::PortForwardArgs),
    Cp(verb::cp::CpArgs),
    Wait(verb::wait::WaitArgs),
    Top(verb::top::TopArgs),
    /// Keep new pods off nodes
    Cordon(verb::node::CordonArgs),
    /// Let new pods onto nodes again
    Uncordon(verb::node::CordonArgs),
    Drain(verb::node::DrainArgs),
    Taint(verb::node::TaintArgs),
    Auth(verb::auth::AuthArgs),
    Config(verb::config::ConfigArgs),
    ClusterInfo(verb::info::ClusterInfoArgs),
    ApiResources(verb::info::ApiResourcesArgs),
    /// List the API versions that the cluster serves
    ApiVersions,
    Image(verb::image::ImageArgs),
    Version(verb::info::VersionArgs),
    Completion(verb::completion::CompletionArgs),
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> Result {
        let flags = &self.global;
        match self.command {
            Command::Start(args) => cluster::start(args).await.map_err(whole),
            Command::Stop(args) => cluster::stop(args).await.map_err(whole),
            Command::Status(args) => cluster::status(args).await.map_err(whole),
            Command::Cluster(command) => cluster::run(command).await.map_err(whole),
            Command::Get(args) => verb::get::run(&args, flags).await,
            Command::Describe(args) => verb::describe::run(&args, flags).await,
            Command::Events(args) => verb::events::run(&args, flags).await,
            Command::Explain(args) => verb::explain::run(&args, flags).await,
            Command::Create(args) => verb::create::run(&args, flags).await,
            Command::Apply(args) => verb::apply::run(&args, flags).await,
            Command::Replace(args) => verb::replace::run(&args, flags).await,
            Command::Diff(args) => verb::diff::run(&args, flags).await,
            Command::Delete(args) => verb::delete::run(&args, flags).await,
            Command::Edit(args) => verb::edit::run(&args, flags).await,
            Command::Patch(args) => verb::patch::run(&args, flags).await,
            Command::Label(args) => verb::label::run(&args, flags, verb::label::What::Labels).await,
            Command::Annotate(args) => {
                verb::label::run(&args, flags, verb::label::What::Annotations).await
            }
            Command::Run(args) => verb::run::run(&args, flags).await,
            Command::Expose(args) => verb::expose::run(&args, flags).await,
            Command::Service(args) => verb::service::run(&args, flags).await,
            Command::Scale(args) => verb::scale::run(&args, flags).await,
            Command::Autoscale(args) => verb::autoscale::run(&args, flags).await,
            Command::Set(args) => verb::set::run(&args, flags).await,
            Command::Rollout(args) => verb::rollout::run(&args, flags).await,
            Command::RollingUpdate(args) => verb::rolling_update::run(&args, flags).await,
            Command::Logs(args) => verb::logs::run(&args, flags).await,
            Command::Exec(args) => verb::exec::run(&args, flags).await,
            Command::Attach(args) => verb::attach::run(&args, flags).await,
            Command::PortForward(args) => verb::port_forward::run(&args, flags).await,
            Command::Cp(args) => verb::cp::run(&args, flags).await,
            Command::Wait(args) => verb::wait::run(&args, flags).await,
            Command::Top(args) => verb::top::run(&args, flags).await,
            Command::Cordon(args) => verb::node::cordon(&args, flags, true).await,
            Command::Uncordon(args) => verb::node::cordon(&args, flags, false).await,
            Command::Drain(args) => verb::node::drain(&args, flags).await,
            Command::Taint(args) => verb::node::taint(&args, flags).await,
            Command::Auth(args) => verb::auth::run(&args, flags).await,
            Command::Config(args) => verb::config::run(&args, flags),
            Command::ClusterInfo(args) => verb::info::cluster_info(&args, flags).await,
            Command::ApiResources(args) => verb::info::api_resources(&args, flags).await,
            Command::ApiVersions => verb::info::api_versions(flags).await,
            Command::Image(args) => verb::image::run(&args),
            Command::Version(args) => verb::info::version(&args, flags).await,
            Command::Completion(args) => verb::completion::run(&args),
        }
    }
}

/// An error with its causes.
fn whole(error: anyhow::Error) -> Error {
    said(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_what_kubectl_s_users_look_for() {
        let help = Cli::command().render_help().to_string();
        let verbs = "start stop status cluster get describe events explain create apply replace diff delete edit patch label annotate run expose \
                     service scale autoscale set rollout rolling-update logs exec attach port-forward cp wait top cordon \
                     uncordon drain taint auth config cluster-info api-resources api-versions image version completion help";
        for verb in verbs.split_whitespace() {
            assert!(
                help.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))),
                "{verb}\n{help}"
            );
        }
    }

    #[test]
    fn command_lines_of_kubectl_are_understood() {
        let lines = [
            "get pods -o wide -A",
            "get po,svc -l app=x -w --no-headers",
            "-n ns get pod x -o jsonpath={.a}",
            "get pod -v=6 -n x",
            "describe deployment web",
            "delete service,deployment web --grace-period=0 --force",
            "delete pod x --wait=false",
            "delete ns x --cascade=foreground --timeout=1m",
            "scale deployments/web --replicas=4",
            "set image deployment/web web=i:v2",
            "set resources deployment/web -c=web --limits=cpu=500m,memory=128Mi",
            "set env deploy/web A=b C-",
            "rollout status deployment/web --timeout=30s",
            "rollout history deployment/web --revision=2",
            "rollout undo deployment/web --to-revision=1",
            "run web --image=i --port=80",
            "run -it --rm sh --image=busybox --restart=Never -- sh -c x",
            "expose deployment web --type=LoadBalancer --port=80",
            "service web --url",
            "logs -f --since=10m web",
            "logs web -c c -p --tail=5",
            "exec -it web -c c -- sh -c 'a b'",
            "exec web -- ls -la",
            "port-forward web 9090:8080",
            "cp web:/a ./b -c c",
            "label pods web a=b c- --overwrite",
            "annotate pod web a=b",
            "create -f x.yaml --dry-run=client -o yaml",
            "create deployment web --image=i -- sh -c x",
            "create secret generic s --from-literal=a=b -n x",
            "create clusterrolebinding b --clusterrole=c --user=u",
            "create token sa --duration=1h",
            "create ns x --dry-run=server",
            "apply -f - --server-side",
            "patch pod x --type=json -p []",
            "taint nodes n a=b:NoSchedule",
            "drain n --ignore-daemonsets --delete-emptydir-data",
            "cordon n",
            "auth can-i get pods --as=x",
            "auth can-i --list",
            "auth whoami",
            "config view --minify --raw",
            "config use-context x",
            "config set-context --current -n x",
            "wait --for=condition=Ready pod/x --timeout=60s",
            "wait pod/x --for=delete --timeout=-1s",
            "explain pods.spec --recursive",
            "api-resources -o wide --namespaced=false",
            "version --client",
            "completion bash",
            "rolling-update a b --image=i:v2",
            "rolling-update a b --rollback",
            "top pods -A",
            "events --for pod/x",
            "diff -f x",
            "replace --force -f x",
            "edit deploy/web",
            "autoscale deploy web --max=3",
            "image load a.tar b.tar",
            "attach -it web",
            "cluster-info",
        ];
        for line in lines {
            let words = std::iter::once("kctl").chain(line.split_whitespace());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}\n{error}");
            }
        }
    }
}
