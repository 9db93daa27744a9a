//! Files that change together: a reader sees all of the old ones or all of the new ones.
//!
//! The content lives in a directory of its own; `..data` is a link to it that is replaced by one rename,
//! and the visible names are links through `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::error::{Error, Result};

/// One file: content and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

/// Files by relative path.
pub(crate) type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";

/// Makes `directory` hold exactly `payload`. Returns whether anything changed.
pub(crate) fn write(directory: &Path, payload: &Payload, group: Option<u32>) -> Result<bool> {
    for path in payload.keys() {
        let is_safe = !path.is_empty()
            && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
            && !path.starts_with("..");
        if !is_safe {
            return Err(Error::Volume(format!("invalid path {path:?} in a volume")));
        }
    }
    let data = directory.join(DATA);
    let before = std::fs::read_link(&data).ok();
    if let Some(before) = &before
        && matches(&directory.join(before), payload)
    {
        return Ok(false);
    }
    let fresh = fresh_name(directory);
    let target = directory.join(&fresh);
    fill(&target, payload, group)?;
    let partial = directory.join("..data_tmp");
    let _ = std::fs::remove_file(&partial);
    symlink(&fresh, &partial).map_err(Error::io(&partial))?;
    std::fs::rename(&partial, &data).map_err(Error::io(&data))?;
    link_visible_names(directory, payload)?;
    if let Some(before) = before {
        let _ = std::fs::remove_dir_all(directory.join(before));
    }
    Ok(true)
}

fn fresh_name(directory: &Path) -> String {
    let free = (0_u64..).map(|number| format!("..{number:08}"));
    let mut free = free.filter(|name| std::fs::symlink_metadata(directory.join(name)).is_err());
    free.next().expect("a directory does not hold 2^64 entries")
}

fn matches(directory: &Path, payload: &Payload) -> bool {
    let mut found = BTreeSet::new();
    collect(directory, "", &mut found);
    found.len() == payload.len()
        && payload.iter().all(|(path, file)| {
            let path = directory.join(path);
            let mode = std::fs::metadata(&path).map(|meta| meta.permissions().mode() & 0o777);
            std::fs::read(&path).is_ok_and(|content| content == file.content)
                && mode.is_ok_and(|mode| mode & !0o440 == file.mode & 0o777 & !0o440)
        })
}

fn collect(directory: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), &format!("{path}/"), found),
            _ => drop(found.insert(path)),
        }
    }
}

fn fill(target: &Path, payload: &Payload, group: Option<u32>) -> Result<()> {
    make_directory(target, group)?;
    for (path, file) in payload {
        let mut parent = target.to_owned();
        for part in path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
            parent.push(part);
            make_directory(&parent, group)?;
        }
        let path = target.join(path);
        std::fs::write(&path, &file.content).map_err(Error::io(&path))?;
        // A group that is to read the volume can read its files, whatever their mode says.
        let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
        if group.is_some() {
            chown(&path, None, group).map_err(Error::io(&path))?;
        }
        let permissions = std::fs::Permissions::from_mode(mode & 0o777);
        std::fs::set_permissions(&path, permissions).map_err(Error::io(&path))?;
    }
    Ok(())
}

fn make_directory(path: &Path, group: Option<u32>) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::io(path))?;
    if group.is_some() {
        chown(path, None, group).map_err(Error::io(path))?;
    }
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, permissions).map_err(Error::io(path))
}

fn link_visible_names(directory: &Path, payload: &Payload) -> Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = directory.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link).map_err(Error::io(&link))?;
        }
    }
    for entry in std::fs::read_dir(directory).map_err(Error::io(directory))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            std::fs::remove_file(entry.path()).map_err(Error::io(&entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |content: &str| File { content: content.as_bytes().to_vec(), mode: 0o644 };
        files.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
    }

    #[test]
    fn update_replaces_all_files_at_once_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).ok();
        assert!(write(dir.path(), &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap());
        assert_eq!((read("a"), read("d/b")), (Some("1".into()), Some("2".into())));
        assert!(!write(dir.path(), &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap());
        assert!(write(dir.path(), &payload(&[("a", "9"), ("c", "3")]), None).unwrap());
        assert_eq!((read("a"), read("c"), read("d/b")), (Some("9".into()), Some("3".into()), None));
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 4, "two files, ..data and its target");
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../a", "a/../b", "/a", "..a", ""] {
            assert!(write(dir.path(), &payload(&[(path, "x")]), None).is_err(), "{path}");
        }
    }
}
