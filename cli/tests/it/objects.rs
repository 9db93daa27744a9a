//! The verbs that work on objects, told as somebody's morning.

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workload_is_made_changed_looked_at_and_deleted() {
    let world = World::start().await;
    world
        .kctl("run hello --image=hello:v1 --port=8080")
        .await
        .prints("deployment.apps/hello created\n");
    world
        .kctl("expose deployment hello --type=LoadBalancer")
        .await
        .prints("service/hello exposed\n");
    world.kctl("get deployment hello -o jsonpath={.spec.replicas}").await.prints("1");
    world
        .kctl("scale deployments/hello --replicas=4")
        .await
        .prints("deployment.apps/hello scaled\n");
    world.kctl("get deploy/hello -o jsonpath={.spec.replicas}").await.prints("4");
    world
        .kctl("set image deployment/hello hello=hello:v2")
        .await
        .prints("deployment.apps/hello image updated\n");
    world.kctl("set image deployment/hello hello=hello:v2").await.prints("");
    world
        .kctl("set resources deployment hello --limits=cpu=500m,memory=128Mi")
        .await
        .prints("deployment.apps/hello resource requirements updated\n");
    world.kctl("set env deployment/hello A=b").await.prints("deployment.apps/hello env updated\n");
    world
        .kctl("get deploy hello -o 'jsonpath={.spec.template.spec.containers[0].image}'")
        .await
        .prints("hello:v2");
    world.kctl("label deployment hello tier=web").await.prints("deployment.apps/hello labeled\n");
    world.kctl("label deployment hello tier-").await.prints("deployment.apps/hello unlabeled\n");
    world
        .kctl("annotate deploy/hello 'note=a b'")
        .await
        .prints("deployment.apps/hello annotated\n");
    world.kctl("rollout pause deployment/hello").await.prints("deployment.apps/hello paused\n");
    world.kctl("rollout resume deployment/hello").await.prints("deployment.apps/hello resumed\n");
    world
        .kctl("get deployments,services -o name -l run=hello")
        .await
        .prints("deployment.apps/hello\nservice/hello\n");
    let table = world.kctl("get services hello").await;
    assert!(table.out.starts_with("NAME    TYPE           CLUSTER-IP"), "{}", table.out);
    assert!(table.out.contains("<pending>"), "{}", table.out);
    world
        .kctl("describe service hello")
        .await
        .shows(&["Type:                     LoadBalancer", "Selector:                 run=hello"]);
    let lines = ["Pod Template:", "  Labels:  run=hello", "   hello:", "    Image:      hello:v2"];
    world.kctl("describe deployment hello").await.shows(&lines);
    world
        .kctl("delete service,deployment hello")
        .await
        .prints("service \"hello\" deleted from default namespace\ndeployment.apps \"hello\" deleted from default namespace\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_created_applied_edited_and_replaced() {
    let world = World::start().await;
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n{data}")
    };
    world.file("a.yaml", &map("  a: one\n  b: two\n"));
    world.kctl("apply -f a.yaml").await.prints("configmap/settings created\n");
    world.kctl("apply -f a.yaml").await.prints("configmap/settings unchanged\n");
    world
        .kctl("patch cm settings --type=merge -p '{\"data\":{\"other\":\"kept\"}}'")
        .await
        .prints("configmap/settings patched\n");
    world.file("a.yaml", &map("  a: changed\n"));
    world.kctl("apply -f a.yaml").await.prints("configmap/settings configured\n");
    world
        .kctl("get cm settings -o jsonpath={.data}")
        .await
        .prints("{\"a\":\"changed\",\"other\":\"kept\"}");
    let editor = [("KUBE_EDITOR", "sed -i s/changed/edited/")];
    world
        .kctl_with("edit configmap settings", "", &editor)
        .await
        .prints("configmap/settings edited\n");
    world.kctl("get cm settings -o jsonpath={.data.a}").await.prints("edited");
    world
        .kctl_with("edit cm settings", "", &[("EDITOR", "true")])
        .await
        .prints("Edit cancelled, no changes made.\n");
    world
        .kctl("create cm x --from-literal=k=v --dry-run=client -o yaml")
        .await
        .prints("apiVersion: v1\ndata:\n  k: v\nkind: ConfigMap\nmetadata:\n  name: x\n");
    world
        .kctl_with("create -f -", &map("  z: z\n").replace("settings", "piped"), &[])
        .await
        .prints("configmap/piped created\n");
    world
        .kctl_with("replace -f -", &map("  z: new\n").replace("settings", "piped"), &[])
        .await
        .prints("configmap/piped replaced\n");
    world
        .kctl("get cm piped settings -o custom-columns=NAME:.metadata.name,Z:.data.z")
        .await
        .prints("NAME       Z\npiped      new\nsettings   <none>\n");
    world
        .kctl("delete -f a.yaml")
        .await
        .prints("configmap \"settings\" deleted from default namespace\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_applies_and_tells_of_conflicts() {
    let world = World::start().await;
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n{data}")
    };
    world.file("a.yaml", &map("  a: one\n  b: two\n"));
    let applied = "configmap/settings serverside-applied\n";
    world.kctl("apply --server-side -f a.yaml").await.prints(applied);
    world.kctl("apply --server-side -f a.yaml").await.prints(applied);
    world.file("a.yaml", &map("  a: other\n"));
    let refused = world.kctl("apply --server-side --field-manager=robot -f a.yaml").await;
    let said = "error: Apply failed with 1 conflict: conflict with \"kctl\": .data.a\nPlease review the fields above";
    assert!(refused.code == Some(1) && refused.err.starts_with(said), "{refused:#?}");
    assert!(refused.err.contains("`--force-conflicts` flag"), "{}", refused.err);
    world
        .kctl("apply --server-side --field-manager=robot --force-conflicts -f a.yaml")
        .await
        .prints(applied);
    world
        .kctl("get cm settings -o jsonpath={.data}")
        .await
        .prints("{\"a\":\"other\",\"b\":\"two\"}");
    // What is not in the file any more goes.
    world.file("a.yaml", &map("  b: two\n"));
    world.kctl("apply --server-side -f a.yaml").await.prints(applied);
    world.file("a.yaml", &map("  c: three\n"));
    world.kctl("apply --server-side -f a.yaml").await.prints(applied);
    world
        .kctl("get cm settings -o jsonpath={.data}")
        .await
        .prints("{\"a\":\"other\",\"c\":\"three\"}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_is_looked_at() {
    let world = World::start().await;
    world.kctl("create namespace shop").await.prints("namespace/shop created\n");
    world.kctl("-n shop create sa robot").await.prints("serviceaccount/robot created\n");
    world
        .kctl("-n shop create role reader --verb=get,list --resource=pods,deployments")
        .await
        .prints("role.rbac.authorization.k8s.io/reader created\n");
    world
        .kctl("-n shop create rolebinding read --role=reader --serviceaccount=shop:robot")
        .await
        .prints("rolebinding.rbac.authorization.k8s.io/read created\n");
    world
        .kctl("-n shop auth can-i list pods --as=system:serviceaccount:shop:robot")
        .await
        .prints("yes\n");
    assert_eq!(
        world
            .kctl("-n shop auth can-i delete pods --as=system:serviceaccount:shop:robot")
            .await
            .code,
        Some(1)
    );
    world.kctl("auth whoami -o jsonpath={.status.userInfo.username}").await.prints("admin");
    let token = world.kctl("-n shop create token robot").await;
    assert_eq!(token.out.split('.').count(), 3, "{token:?}");
    world.kctl("get ns shop -o name").await.prints("namespace/shop\n");
    let kinds = world.kctl("api-resources --namespaced=false --no-headers").await;
    assert!(kinds.out.lines().any(|line| line.starts_with("nodes ")), "{}", kinds.out);
    world.kctl("explain deployment.spec.replicas").await.shows(&["FIELD: replicas <integer>"]);
    world.kctl("explain pods").await.shows(&["KIND:       Pod", "VERSION:    v1"]);
    world.kctl("config current-context").await.prints("test\n");
    world
        .kctl("config set-context --current --namespace=shop")
        .await
        .prints("Context \"test\" modified.\n");
    world.kctl("get sa robot -o name").await.prints("serviceaccount/robot\n");
    let version = world.kctl("version").await;
    assert!(version.out.contains("Server Version: v1.36"), "{version:?}");
    world
        .kctl("wait --for=jsonpath={.metadata.name}=robot sa/robot")
        .await
        .prints("serviceaccount/robot condition met\n");
    world.end().await;
}
