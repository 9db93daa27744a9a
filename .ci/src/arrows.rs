//! Which package may depend on which: arrows point down the stairs, and rooms see only what is published.
//!
//! A package is named after its path (`store/mvcc` is `store-mvcc`), so a manifest shows its arrows.

/// The folders of the house.
pub(crate) const FOLDERS: &[&str] = &["store", "master", "node", "cli", "chaos"];

/// What a package, or the rooms of a folder (`master-*`), may use of *other* folders.
const MAY_USE: &[(&str, &[&str])] = &[
    ("store", &[]),
    ("store-*", &[]),
    ("master", &["store-env", "store-handle", "store-raft", "store-rocks", "store"]),
    ("master-api", &[]),
    ("master-registry", &[]),
    ("master-*", &["store-env", "store-handle"]),
    ("node", &["store-env", "master-api", "master-client", "master-pki"]),
    ("node-*", &["store-env", "master-api", "master-client"]),
    ("cli", &["store-env", "master-api", "master-client", "master-pki"]),
    ("chaos", &["*"]),
    ("chaos-*", &["*"]),
];

/// Dependencies of `manifest` (a path, and its text) that point up the stairs. Dependencies for tests
/// only are free: a test may build on whatever it needs.
pub(crate) fn wrong(manifest: &str, text: &str) -> Vec<String> {
    let package = manifest.trim_end_matches("/Cargo.toml").replace('/', "-");
    let folder = folder_of(&package);
    let may_use = may_use(&package, folder);
    if may_use.contains(&"*") {
        return Vec::new();
    }
    let shipped = text.split("[dev-dependencies]").next().unwrap_or_default();
    shipped
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| FOLDERS.contains(&folder_of(name)))
        .filter(|name| folder_of(name) != folder && !may_use.contains(name))
        .map(|name| format!("{manifest}: may not depend on {name}"))
        .collect()
}

fn may_use(package: &str, folder: &str) -> &'static [&'static str] {
    let rooms = format!("{folder}-*");
    let row = |name: &str| MAY_USE.iter().find(|(who, _)| *who == name).map(|(_, what)| *what);
    row(package).or_else(|| row(&rooms)).unwrap_or_default()
}

fn folder_of(package: &str) -> &str {
    package.split('-').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_down() {
        #[rustfmt::skip]
        let cases = [
            // manifest                       dependency           fine?
            ("master/Cargo.toml",             "store-raft",        true),
            ("master/Cargo.toml",             "store-mvcc",        false),
            ("master/apiserver/Cargo.toml",   "store-handle",      true),
            ("master/apiserver/Cargo.toml",   "store-raft",        false),
            ("master/registry/Cargo.toml",    "store-handle",      false),
            ("node/kubelet/Cargo.toml",       "master-client",     true),
            ("node/kubelet/Cargo.toml",       "node-cri",          true),
            ("node/kubelet/Cargo.toml",       "master-apiserver",  false),
            ("store/mvcc/Cargo.toml",         "master-api",        false),
            ("chaos/Cargo.toml",              "store-raft",        true),
            ("cli/Cargo.toml",                "tokio",             true),
            ("cli/Cargo.toml",                "node-kubelet",      false),
        ];
        for (manifest, dependency, fine) in cases {
            let text = format!("[dependencies]\n{dependency}.workspace = true\n");
            assert_eq!(wrong(manifest, &text).is_empty(), fine, "{manifest} -> {dependency}");
        }
    }

    #[test]
    fn dependencies_of_tests_are_free() {
        let text = "[dependencies]\n\n[dev-dependencies]\nmaster-apiserver.workspace = true\n";
        assert_eq!(wrong("node/kubelet/Cargo.toml", text), Vec::<String>::new());
    }
}
