//! Bad input gets the error that kubectl's users expect.

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_explained() {
    let world = World::start().await;
    world
        .kctl("get gizmos")
        .await
        .fails("error: the server doesn't have a resource type \"gizmos\"");
    world
        .kctl("get pod nobody")
        .await
        .fails("Error from server (NotFound): pods \"nobody\" not found");
    world
        .kctl("get deploy/x")
        .await
        .fails("Error from server (NotFound): deployments.apps \"x\" not found");
    world
        .kctl("delete pods")
        .await
        .fails("error: resource(s) were provided, but no name was specified");
    world
        .kctl("-n nowhere create cm x")
        .await
        .fails("Error from server (NotFound): namespaces \"nowhere\" not found");
    world.file("broken.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n   bad: y\n");
    let broken = world.kctl("apply -f broken.yaml").await;
    assert!(broken.err.starts_with("error: error parsing broken.yaml: line "), "{broken:?}");
    world.file("kind.yaml", "apiVersion: v1\nkind: Gizmo\nmetadata:\n  name: x\n");
    let unknown = world.kctl("create -f kind.yaml").await;
    assert!(unknown.err.contains("no matches for kind \"Gizmo\" in version \"v1\""), "{unknown:?}");
    world.file("field.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\nspeck: {}\n");
    let field = world.kctl("create -f field.yaml").await;
    assert!(field.code == Some(1) && field.err.contains("unknown field \"speck\""), "{field:?}");
    world.kctl("create cm Bad_Name").await;
    world.kctl("create ns twice").await.prints("namespace/twice created\n");
    let twice = world.kctl("create ns twice").await;
    assert!(twice.code == Some(1) && twice.err.contains("already exists"), "{twice:?}");
    world.kctl("label ns twice a=b").await.prints("namespace/twice labeled\n");
    world
        .kctl("label ns twice a=c")
        .await
        .fails("error: 'a' already has a value (b), and --overwrite is false");
    world.kctl("get pods -o xml").await.fails("error: unable to match a printer suitable for the output format \"xml\", allowed formats are: custom-columns,custom-columns-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,wide,yaml");
    let nothing = world.kctl("get pods").await;
    assert_eq!(
        (nothing.code, nothing.err.as_str()),
        (Some(0), "No resources found in default namespace.\n")
    );
    let unreachable = world.kctl("get pods --server https://127.0.0.1:1").await;
    assert_eq!(unreachable.code, Some(1));
    assert!(unreachable.err.contains("https://127.0.0.1:1: connection refused"), "{unreachable:?}");
    assert!(unreachable.err.contains("kctl status"), "{unreachable:?}");
    world.end().await;
}
