//! The shape of files: headers, lengths, one clippy configuration, no traces of a machine.

use std::fs;
use std::path::Path;

use crate::arrows;

/// Lines before the tests, at most.
const LINES_MAX: usize = 800;

/// Every complaint, as `path: what is wrong`.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for folder in arrows::FOLDERS {
        walk(&root.join(folder), &mut |path| {
            let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
            let text = fs::read_to_string(path).unwrap_or_default();
            complaints.extend(check_file(&name, &text));
        });
    }
    complaints
}

fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if name.ends_with(".rs") {
        if !text.starts_with("//!") {
            complaints.push(format!("{name}: starts without a `//!` header"));
        }
        let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        if lines > LINES_MAX {
            complaints.push(format!("{name}: {lines} lines before the tests; at most {LINES_MAX}"));
        }
        if text.contains("#[ignore") || text.contains("#[should_panic") {
            complaints.push(format!("{name}: a test that is skipped, or expected to panic"));
        }
    }
    if name.ends_with(".clippy.toml") || name.ends_with("clippy.toml") {
        complaints.push(format!("{name}: silently replaces the one at the top"));
    }
    if name.ends_with("Cargo.toml") {
        complaints.extend(arrows::wrong(name, text));
        if !text.contains("[lints]\nworkspace = true") {
            complaints.push(format!("{name}: does not take the workspace's lints"));
        }
    }
    complaints
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_is_tidy() {
        // Asked when it runs: clones share what they built.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let root = Path::new(&package).join("..");
        assert_eq!(check(&root), Vec::<String>::new());
    }

    #[test]
    fn untidy_files_are_named() {
        let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(LINES_MAX));
        let manifest = "[lints]\nworkspace = true\n";
        #[rustfmt::skip]
        let cases = [
            // name                 text                          complaints
            ("store/a.rs",          "//! Fine.\n",                0),
            ("store/a.rs",          "fn headless() {}\n",         1),
            ("store/a.rs",          &long,                        1),
            ("store/clippy.toml",   "",                           1),
            ("store/mvcc/Cargo.toml", manifest,                   0),
            ("store/mvcc/Cargo.toml", "",                         1),
        ];
        for (name, text, complaints) in cases {
            assert_eq!(check_file(name, text).len(), complaints, "{name}");
        }
    }
}
