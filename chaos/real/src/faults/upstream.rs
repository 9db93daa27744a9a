//! Kubernetes' own control plane on a machine, as kubeadm stacks it: a member of etcd, and a kube-apiserver, a
//! kube-controller-manager and a kube-scheduler that go to those of their own machine. Whoever of them ends is
//! started again a second later, as a kubelet or an init system would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chaos::world;
use master_client::masters::ClientIdentity;
use master_pki::{Authority, Credential, Profile, Usage, files};

use super::machine::Machine;

const ETCD: &str = "etcd";
const API: &str = "kube-apiserver";
const CONTROLLERS: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";

/// Where services would be, if nodes had any.
const SERVICES: &str = "10.96.0.0/16";
const LIFETIME: Duration = Duration::from_secs(86_400);

/// Each of the arguments is a command that runs for ever.
const SUPERVISE: &str = r#"
for command; do
    while :; do eval "$command"; echo "kchaos: ended with $?: ${command%% *}"; sleep 1; done &
done
wait
"#;

/// Where the programs are, and the certificates of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) programs: PathBuf,
    papers: PathBuf,
}

impl Upstream {
    /// The programs of this folder; what they need to know one another is to be in that one.
    pub(crate) fn of(programs: &Path, papers: PathBuf) -> anyhow::Result<Self> {
        for program in [ETCD, API, CONTROLLERS, SCHEDULER] {
            let program = programs.join(program);
            program
                .metadata()
                .with_context(|| format!("{}: no such program", program.display()))?;
        }
        Ok(Self { programs: programs.canonicalize()?, papers })
    }

    /// Makes an authority, and what it certifies; returns it, and its administrator.
    pub(crate) fn certify(
        &self,
        machines: &[Machine],
    ) -> anyhow::Result<(Authority, ClientIdentity)> {
        std::fs::create_dir_all(&self.papers)?;
        let authority = Authority::generate("kchaos", world::unix_ms())?;
        self.keep("ca", authority.credential())?;
        let certify = |name: &str, group: Option<&str>, alt_names: Vec<String>, usage| {
            let (common_name, organization) = (name.to_owned(), group.map(str::to_owned));
            let profile =
                Profile { common_name, organization, alt_names, usage, lifetime: LIFETIME };
            authority.issue(&profile, world::unix_ms()).map_err(anyhow::Error::from)
        };
        for machine in machines {
            let name = format!("{API}-{}", machine.name());
            let address = machine.address();
            self.keep(&name, &certify(API, None, vec![address], Usage::Server)?)?;
            for user in [CONTROLLERS, SCHEDULER] {
                let config = self.kubeconfig(user, &machine.api());
                std::fs::write(self.config(user, machine), config)?;
            }
        }
        for user in [CONTROLLERS, SCHEDULER] {
            self.keep(user, &certify(&format!("system:{user}"), None, Vec::new(), Usage::Client)?)?;
        }
        // Its key signs tokens, which its certificate verifies.
        self.keep("tokens", &certify("tokens", None, Vec::new(), Usage::Client)?)?;
        let administrator =
            certify("administrator", Some("system:masters"), Vec::new(), Usage::Client)?;
        let administrator = ClientIdentity {
            cert_pem: administrator.certificate_pem.into_bytes(),
            key_pem: administrator.key_pem.into_bytes(),
        };
        Ok((authority, administrator))
    }

    /// What runs on a machine whose member of etcd has these flags: a shell's script, and its arguments.
    pub(crate) fn commands(&self, machine: &Machine, etcd: &[String]) -> Vec<String> {
        let programs = self.programs.display();
        let own = |name: &str| machine.folder().join(name).display().to_string();
        let paper = |name: &str| self.papers.join(name).display().to_string();
        let (address, name) = (machine.address(), machine.name());
        let api = [
            format!("--etcd-servers={}", machine.endpoint()),
            format!("--bind-address={address} --advertise-address={address} --secure-port=6443"),
            format!("--service-cluster-ip-range={SERVICES} --client-ca-file={}", paper("ca.crt")),
            format!("--tls-cert-file={}", paper(&format!("{API}-{name}.crt"))),
            format!("--tls-private-key-file={}", paper(&format!("{API}-{name}.key"))),
            "--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", paper("tokens.crt")),
            format!("--service-account-signing-key-file={}", paper("tokens.key")),
            format!("--cert-dir={}", own(API)),
        ];
        let controllers = [
            self.credentials(CONTROLLERS, machine),
            "--use-service-account-credentials=true".to_owned(),
            format!("--root-ca-file={}", paper("ca.crt")),
            format!("--service-account-private-key-file={}", paper("tokens.key")),
            format!("--cert-dir={}", own(CONTROLLERS)),
        ];
        let scheduler =
            [self.credentials(SCHEDULER, machine), format!("--cert-dir={}", own(SCHEDULER))];
        let line = |program, flags: &[String]| format!("{programs}/{program} {}", flags.join(" "));
        let script = ["-c", SUPERVISE, "supervise"].map(str::to_owned).to_vec();
        let commands = [
            line(ETCD, &[etcd, &["--log-level warn".to_owned()]].concat()),
            line(API, &api),
            line(CONTROLLERS, &controllers),
            line(SCHEDULER, &scheduler),
        ];
        [script, commands.to_vec()].concat()
    }

    fn credentials(&self, user: &str, machine: &Machine) -> String {
        let config = self.config(user, machine);
        let config = config.display();
        format!(
            "--kubeconfig={config} --authentication-kubeconfig={config} --authorization-kubeconfig={config} --bind-address=127.0.0.1"
        )
    }

    fn config(&self, user: &str, machine: &Machine) -> PathBuf {
        self.papers.join(format!("{user}-{}.kubeconfig", machine.name()))
    }

    fn kubeconfig(&self, user: &str, server: &str) -> String {
        let (ca, own) = (self.papers.join("ca.crt"), self.papers.join(user));
        let (ca, own) = (ca.display(), own.display());
        format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: it, cluster: {{server: \"{server}\", certificate-authority: \"{ca}\"}}}}]
users: [{{name: it, user: {{client-certificate: \"{own}.crt\", client-key: \"{own}.key\"}}}}]
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
current-context: it
"
        )
    }

    fn keep(&self, stem: &str, credential: &Credential) -> anyhow::Result<()> {
        Ok(files::write_credential(&self.papers, stem, credential)?)
    }
}
