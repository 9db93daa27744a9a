//! A master on loopback, a kubeconfig for it, and `kctl` as a process.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use master_apiserver::{KubeletClient, Server, ServerConfig, TlsMaterial};
use master_client::kubeconfig::{self, Admin, Kubeconfig};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use store_env::clock::SystemClock;
use store_env::task::{Crew, Group};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// One master, and a folder with a kubeconfig for it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    crew: Crew,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    line: String,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl World {
    /// A master with the objects of every cluster.
    pub(crate) async fn start() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let server_pair = issue(&issuer, "kube-apiserver", "", ExtendedKeyUsagePurpose::ServerAuth);
        let admin = issue(&issuer, "admin", "system:masters", ExtendedKeyUsagePurpose::ClientAuth);

        let stop = CancellationToken::new();
        let mut group = Group::under(&stop);
        let clock = SystemClock::shared();
        let handle = store_handle::local::Local::start(clock.clone(), &mut group);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(ServerConfig {
            handle,
            clock,
            cluster: Default::default(),
            tls: TlsMaterial {
                cert_chain_pem: server_pair.0.into(),
                key_pem: server_pair.1.into(),
                client_ca_pem: ca_pem.clone().into(),
            },
            kubelet_client: KubeletClient {
                cert_chain_pem: admin.0.clone().into(),
                key_pem: admin.1.clone().into(),
                ca_pem: ca_pem.clone().into(),
            },
            sa_keys_pem: master_auth::tokens::generate_pem().unwrap().into(),
            sa_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            master_name: "master-1".into(),
            advertise: address,
        })
        .unwrap();
        server.run_background(&mut group);
        let serving = server.clone();
        group.spawn("server", |stop| serving.serve(listener, stop));
        let mut crew = Crew::new();
        crew.spawn(async move { group.run(Duration::from_secs(10)).await.unwrap() });
        assert!(server.cacher().wait_for(1, PATIENCE).await);
        server.bootstrap(None).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let servers = [format!("https://{address}")];
        let config = Kubeconfig::admin(&Admin {
            name: "test",
            servers: &servers,
            ca_pem: ca_pem.as_bytes(),
            cert_pem: admin.0.as_bytes(),
            key_pem: admin.1.as_bytes(),
        });
        kubeconfig::save(&config, &folder.path().join("kubeconfig")).unwrap();
        Self { folder, stop, crew }
    }

    /// A file's path in the world's folder, written.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `kctl` with words that are separated by spaces; `'…'` holds words together.
    pub(crate) async fn kctl(&self, line: &str) -> Said {
        self.kctl_with(line, "", &[]).await
    }

    /// As [`World::kctl`], with standard input and environment.
    pub(crate) async fn kctl_with(&self, line: &str, input: &str, env: &[(&str, &str)]) -> Said {
        let mut command = self.command(line);
        command.envs(env.iter().copied());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = ended.unwrap_or_else(|_| panic!("kctl {line}: still running")).unwrap();
        Said {
            line: line.to_owned(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }

    /// The process, ready to be started.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kctl"));
        command
            .args(words(line))
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Stops everything and waits for it.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.crew.finish(Duration::from_secs(20)).await;
    }
}

impl Said {
    /// It succeeded and printed exactly this.
    #[track_caller]
    pub(crate) fn prints(&self, wanted: &str) -> &Self {
        assert_eq!((self.code, self.out.as_str()), (Some(0), wanted), "{self:#?}");
        self
    }

    /// It succeeded, and each of these lines is in what it printed.
    #[track_caller]
    pub(crate) fn shows(&self, lines: &[&str]) -> &Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        for line in lines {
            assert!(
                self.out.lines().any(|one| one == *line),
                "{line:?} is not in {}\n{}",
                self.line,
                self.out
            );
        }
        self
    }

    /// It failed with 1, saying exactly this.
    #[track_caller]
    pub(crate) fn fails(&self, wanted: &str) -> &Self {
        assert_eq!((self.code, self.err.trim_end()), (Some(1), wanted), "{self:#?}");
        self
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        if place % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    group: &str,
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![usage];
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}
