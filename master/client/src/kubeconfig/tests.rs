//! kubeconfigs as they are found in the wild, and ours.

use super::*;

const ADMIN: Admin<'static> =
    Admin { name: "trireme", servers: &[], ca_pem: b"CA", cert_pem: b"CERT", key_pem: b"KEY" };

fn admin() -> Kubeconfig {
    let servers = ["https://127.0.0.1:6443", "https://127.0.0.1:6444"].map(str::to_owned);
    Kubeconfig::admin(&Admin { servers: &servers, ..ADMIN })
}

#[test]
fn our_own_knows_all_masters_and_stock_clients_the_first() {
    let resolved = resolve(&admin(), &Overrides::default()).unwrap();
    let servers: Vec<_> = resolved.masters.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["https://127.0.0.1:6443/", "https://127.0.0.1:6444/"]);
    assert_eq!(resolved.masters.ca_pem.as_deref(), Some(&b"CA"[..]));
    assert_eq!(resolved.masters.identity.unwrap().key_pem, b"KEY");
    assert_eq!((resolved.namespace.as_str(), resolved.context.as_str()), ("default", "trireme"));
}

#[test]
fn flags_override_the_file() {
    let overrides = Overrides {
        namespace: Some("kube-system".into()),
        server: Some("https://10.0.0.9:6443".into()),
        token: Some("t".into()),
        impersonate: Some("jane".into()),
        ..Overrides::default()
    };
    let resolved = resolve(&admin(), &overrides).unwrap();
    assert_eq!(resolved.namespace, "kube-system");
    assert_eq!(resolved.masters.servers.len(), 1);
    assert!(matches!(resolved.masters.token, Some(Token::Fixed(token)) if token == "t"));
    assert_eq!(resolved.masters.headers["impersonate-user"], "jane");
}

use crate::masters::Token;

#[test]
fn what_is_missing_is_named() {
    let with = |change: fn(&mut Overrides)| {
        let mut overrides = Overrides::default();
        change(&mut overrides);
        resolve(&admin(), &overrides).unwrap_err().to_string()
    };
    assert_eq!(
        with(|o| o.context = Some("nowhere".into())),
        "context \"nowhere\" does not exist. `kctl config get-contexts` lists those that do"
    );
    assert_eq!(
        with(|o| o.user = Some("nobody".into())),
        "user \"nobody\" does not exist in the kubeconfig"
    );
}

#[test]
fn first_file_wins_and_the_rest_is_added() {
    let first = "current-context: a\ncontexts:\n- name: a\n  context: {cluster: one, user: u}\n";
    let second = "current-context: b\ncontexts:\n- name: a\n  context: {cluster: two, user: u}\n\
                  - name: b\n  context: {cluster: two, user: u, namespace: n}\npreferences: {}\n";
    let mut merged = load::parse(first).unwrap();
    merged.merge(load::parse(second).unwrap());
    assert_eq!(merged.current_context, "a");
    assert_eq!(merged.context("a").unwrap().cluster, "one");
    assert_eq!(merged.context("b").unwrap().namespace.as_deref(), Some("n"));
    assert!(merged.other.contains_key("preferences"));
}

#[test]
fn malformed_file_is_named_with_its_line() {
    let folder =
        std::env::temp_dir().join(format!("trireme-kubeconfig-{:016x}", rand::random::<u64>()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("config");
    std::fs::write(&path, "clusters:\n- name: a\n  cluster: [\n").unwrap();
    let error = load_file(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: line ", path.display())), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn saved_file_reads_back_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder =
        std::env::temp_dir().join(format!("trireme-kubeconfig-{:016x}", rand::random::<u64>()));
    let path = folder.join("sub").join("config");
    let mut config = admin();
    config.clusters[0].cluster.other.insert("proxy-url".into(), json!("http://p"));
    save(&config, &path).unwrap();
    assert_eq!(load_file(&path).unwrap(), config);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let mut other = admin();
    other.current_context = "other".into();
    other.contexts[0].name = "other".into();
    merge_into(&path, &other).unwrap();
    let merged = load_file(&path).unwrap();
    assert_eq!(merged.current_context, "other");
    assert_eq!(merged.contexts.len(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
