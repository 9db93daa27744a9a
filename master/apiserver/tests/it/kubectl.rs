//! Stock `kubectl`, as a user runs it: a client nobody here wrote.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::world::World;

/// A home of its own, so that no cache of another cluster is read.
struct Kubectl {
    home: TempDir,
}

impl Kubectl {
    fn of(world: &World) -> Self {
        let home = TempDir::new().unwrap();
        let path = home.path().join("config");
        std::fs::write(path, world.admin_kubeconfig().to_string()).unwrap();
        Self { home }
    }

    /// Runs a command line with some input; returns whether it succeeded and what it printed.
    async fn try_run(&self, line: &str, input: &str) -> (bool, String) {
        let mut child = Command::new("kubectl")
            .args(line.split_whitespace())
            .env("KUBECONFIG", self.home.path().join("config"))
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed (Debian: kubernetes-client)");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
        let output = output.await.expect("kubectl ends in time").unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs a command line that must succeed and print `expected` somewhere.
    async fn check(&self, line: &str, input: &str, expected: &str) {
        let (succeeded, text) = self.try_run(line, input).await;
        assert!(succeeded && text.contains(expected), "kubectl {line}: {text}");
    }

    /// Runs a command line that must fail and print `expected` somewhere.
    async fn refused(&self, line: &str, input: &str, expected: &str) {
        let (succeeded, text) = self.try_run(line, input).await;
        assert!(!succeeded && text.contains(expected), "kubectl {line}: {text}");
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'web:v1', ports: [{containerPort: 80}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_its_way() {
    let world = World::bootstrapped().await;
    let kubectl = Kubectl::of(&world);
    kubectl.check("version", "", "v1.36.0+trireme").await;
    kubectl.check("api-resources", "", "deployments").await;
    kubectl.check("api-versions", "", "apps/v1").await;
    kubectl.check("get namespaces", "", "kube-node-lease").await;
    kubectl.check("get svc -A", "", "10.96.0.10").await;
    kubectl.check("cluster-info", "", "is running at").await;
    kubectl.check("explain deployment.spec.replicas", "", "FIELD: replicas").await;
    // As kubectl before v1.27 did it: from OpenAPI v2, in protobuf.
    let older = "explain deployment.spec.template.spec.containers --output=plaintext-openapiv2";
    kubectl.check(older, "", "terminationMessagePath").await;
    kubectl.check("auth can-i create pods", "", "yes").await;
    kubectl.refused("auth can-i create pods --as nobody", "", "no").await;
    kubectl.refused("get pods --as nobody", "", "cannot list resource \"pods\"").await;
    kubectl.check("get --raw /readyz?verbose", "", "[+]store ok").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_changes_objects() {
    let world = World::bootstrapped().await;
    let kubectl = Kubectl::of(&world);
    kubectl.check("create -f -", DEPLOYMENT, "deployment.apps/web created").await;
    kubectl.refused("create -f -", DEPLOYMENT, "already exists").await;
    kubectl.check("get deployments", "", "READY").await;
    kubectl.check("get deploy web -o wide", "", "web:v1").await;
    kubectl.check("get deploy web -o yaml", "", "terminationGracePeriodSeconds: 30").await;
    kubectl.check("describe deploy web", "", "RollingUpdateStrategy").await;
    kubectl.check("scale deploy/web --replicas=3", "", "scaled").await;
    kubectl.check("get deploy web -o jsonpath={.spec.replicas}", "", "3").await;
    kubectl.check("set image deploy/web web=web:v2", "", "image updated").await;
    kubectl
        .check(
            "get deploy web -o jsonpath={.spec.template.spec.containers[0].ports[0].containerPort}",
            "",
            "80",
        )
        .await;
    kubectl.check("label deploy web tier=front", "", "labeled").await;
    kubectl.check("annotate deploy web note=x", "", "annotated").await;
    kubectl.check("get deploy -l tier=front -o name", "", "deployment.apps/web").await;
    kubectl.check("patch deploy web -p {\"spec\":{\"paused\":true}}", "", "patched").await;
    kubectl
        .check(
            "patch deploy web --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/paused\"}]",
            "",
            "patched",
        )
        .await;
    kubectl.check("expose deploy web --port=80 --type=NodePort", "", "exposed").await;
    kubectl.check("get svc web", "", "NodePort").await;
    kubectl.check("delete deploy,svc web", "", "deleted").await;
    kubectl.refused("get deploy web", "", "not found").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies() {
    let world = World::bootstrapped().await;
    let kubectl = Kubectl::of(&world);
    kubectl.check("apply -f -", DEPLOYMENT, "created").await;
    kubectl.check("apply -f -", DEPLOYMENT, "unchanged").await;
    kubectl.check("diff -f -", DEPLOYMENT, "").await;
    let changed = DEPLOYMENT.replace("replicas: 2", "replicas: 5").replace("web:v1", "web:v2");
    kubectl.check("apply -f -", &changed, "configured").await;
    kubectl.check("get deploy web -o jsonpath={.spec.replicas}", "", "5").await;
    let wrong = DEPLOYMENT.replace("replicas", "replicsa");
    kubectl.refused("apply -f -", &wrong, "unknown field \"spec.replicsa\"").await;
    kubectl
        .check(
            "apply --dry-run=server -f -",
            &changed.replace("replicas: 5", "replicas: 7"),
            "configured (server dry run)",
        )
        .await;
    kubectl.check("get deploy web -o jsonpath={.spec.replicas}", "", "5").await;
    kubectl.check("create configmap c --from-literal=a=b", "", "created").await;
    kubectl.check("create secret generic s --from-literal=a=b", "", "created").await;
    kubectl.check("wait --for=create configmap/c --timeout=10s", "", "condition met").await;
    kubectl.check("create serviceaccount robot", "", "created").await;
    kubectl.check("create token robot", "", "ey").await;
    kubectl.check("create role r --verb=get --resource=pods", "", "created").await;
    kubectl
        .check("create rolebinding b --role=r --serviceaccount=default:robot", "", "created")
        .await;
    kubectl.check("auth can-i get pods --as system:serviceaccount:default:robot", "", "yes").await;
    kubectl.check("delete configmap --all", "", "\"c\" deleted").await;
    world.end().await;
}

const WIDGETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.acme.io}
spec:
  group: acme.io
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, description: How large it is., maximum: 10}
          status: {type: object, properties: {size: {type: integer}}}
";

const WIDGET: &str = "
apiVersion: acme.io/v1
kind: Widget
metadata: {name: a}
spec: {size: 3}
";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_defines_kinds_and_uses_them() {
    let world = World::bootstrapped().await;
    let kubectl = Kubectl::of(&world);
    kubectl.check("apply -f -", WIDGETS, "created").await;
    kubectl.check("wait --for=condition=Established crd/widgets.acme.io", "", "met").await;
    kubectl.check("apply -f -", WIDGETS, "unchanged").await;
    kubectl.check("api-resources --api-group=acme.io", "", "widgets").await;
    kubectl.check("explain widgets.spec.size", "", "How large it is.").await;
    kubectl.check("apply -f -", WIDGET, "widget.acme.io/a created").await;
    kubectl.check("apply -f -", WIDGET, "unchanged").await;
    kubectl.check("apply -f -", &WIDGET.replace("size: 3", "size: 4"), "configured").await;
    kubectl.check("get wd", "", "SIZE").await;
    kubectl.check("get all", "", "widget.acme.io/a").await;
    kubectl.check("scale widget/a --replicas=5", "", "scaled").await;
    kubectl.check("get wd a -o jsonpath={.spec.size}", "", "5").await;
    kubectl
        .refused("apply -f -", &WIDGET.replace("size: 3", "size: 11"), "less than or equal to 10")
        .await;
    kubectl
        .refused("apply -f -", &WIDGET.replace("size", "sise"), "unknown field \"spec.sise\"")
        .await;
    kubectl.check("delete wd a", "", "deleted").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_servers_side() {
    let world = World::bootstrapped().await;
    let kubectl = Kubectl::of(&world);
    let applied = "deployment.apps/web serverside-applied";
    kubectl.check("apply --server-side -f -", DEPLOYMENT, applied).await;
    let version = "get deploy web -o jsonpath={.metadata.resourceVersion}";
    let (_, before) = kubectl.try_run(version, "").await;
    kubectl.check("apply --server-side -f -", DEPLOYMENT, applied).await;
    kubectl.check(version, "", &before).await;
    kubectl.check("diff --server-side -f -", DEPLOYMENT, "").await;

    kubectl.check("scale deploy/web --replicas=3", "", "scaled").await;
    let conflict = "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    kubectl.refused("apply --server-side -f -", DEPLOYMENT, conflict).await;
    let advice = "Please review the fields above--they currently have other managers.";
    kubectl.refused("apply --server-side -f -", DEPLOYMENT, advice).await;
    kubectl.check("get deploy web -o jsonpath={.spec.replicas}", "", "3").await;
    kubectl.check("apply --server-side --force-conflicts -f -", DEPLOYMENT, applied).await;
    kubectl.check("get deploy web -o jsonpath={.spec.replicas}", "", "2").await;
    let wrong = DEPLOYMENT.replace("replicas", "replicsa");
    let unknown = ".spec.replicsa: field not declared in schema";
    kubectl.refused("apply --server-side -f -", &wrong, unknown).await;

    // From one way of applying to the other, and back.
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {data}\n")
    };
    kubectl.check("apply -f -", &map("{a: one, b: two}"), "configmap/m created").await;
    kubectl
        .check("apply --server-side -f -", &map("{a: other, b: two}"), "serverside-applied")
        .await;
    kubectl.check("get cm m -o jsonpath={.data}", "", "{\"a\":\"other\",\"b\":\"two\"}").await;
    kubectl.check("apply -f -", &map("{b: two}"), "configmap/m configured").await;
    kubectl.check("get cm m -o jsonpath={.data}", "", "{\"b\":\"two\"}").await;
    world.end().await;
}
