//! Mounts that the kubelet makes itself: memory-backed volumes and parts of volumes.
//!
//! # Invariants
//! - A part of a volume never lies outside of it, whatever links the containers make meanwhile: the
//!   kernel resolves it beneath the volume, and the result is mounted by its descriptor.
//! - Nothing is deleted while something is still mounted in it.

use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};

fn kernel(what: impl Into<String>) -> impl FnOnce(nix::Error) -> Error {
    let what = what.into();
    move |source| Error::Kernel { what, source }
}

/// Whether something is mounted at `path`.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    match path.parent() {
        Some(parent) => device(path).is_some() && device(path) != device(parent),
        None => true,
    }
}

/// Mounts memory at `path`, unless it is there already.
pub(crate) fn memory(path: &Path, bytes_max: Option<u64>) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::io(path))?;
    if is_mounted(path) {
        return Ok(());
    }
    let options = bytes_max.map(|bytes| format!("size={bytes}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, options.as_deref())
        .map_err(kernel(format!("mount tmpfs at {}", path.display())))
}

/// Mounts `part` of the volume at `root` onto `target`, which then is what a container gets.
pub(crate) fn part(root: &Path, part: &str, target: &Path) -> Result<()> {
    let is_directory_flag = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let what = || format!("subPath {part:?} of {}", root.display());
    let volume = open(root, is_directory_flag | OFlag::O_DIRECTORY, Mode::empty())
        .map_err(kernel(what()))?;
    let how = OpenHow::new().flags(is_directory_flag).resolve(ResolveFlag::RESOLVE_BENEATH);
    let opened = match openat2(&volume, part, how) {
        Err(nix::Error::ENOENT) => {
            make_beneath(&volume, part).map_err(kernel(what()))?;
            openat2(&volume, part, how)
        }
        other => other,
    };
    let opened = opened.map_err(kernel(what()))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    if is_mounted(target) || is_same(&source, target) {
        return Ok(());
    }
    let is_directory = std::fs::metadata(&source).is_ok_and(|meta| meta.is_dir());
    if is_directory {
        std::fs::create_dir_all(target).map_err(Error::io(target))?;
    } else {
        let parent = target.parent().unwrap_or(target);
        std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
        std::fs::write(target, []).map_err(Error::io(target))?;
    }
    mount(Some(&source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(kernel(what()))
}

fn is_same(source: &Path, target: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(target).is_some() && id(source) == id(target)
}

/// Makes the missing directories of `part`, one by one, each beneath the volume.
fn make_beneath(volume: &std::os::fd::OwnedFd, part: &str) -> nix::Result<()> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    let mut parent = volume.try_clone().map_err(|_| nix::Error::EMFILE)?;
    // Whoever may write to the volume may write to its parts.
    let by_descriptor = |fd: &std::os::fd::OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let io =
        |error: std::io::Error| error.raw_os_error().map_or(nix::Error::EIO, nix::Error::from_raw);
    let permissions = std::fs::metadata(by_descriptor(volume)).map_err(io)?.permissions();
    for name in part.split('/').filter(|name| !name.is_empty()) {
        match nix::sys::stat::mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                parent = openat2(&parent, name, how)?;
                std::fs::set_permissions(by_descriptor(&parent), permissions.clone())
                    .map_err(io)?;
            }
            Err(nix::Error::EEXIST) => parent = openat2(&parent, name, how)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is mounted at or under `directory`, the latest first.
fn mounted_under(directory: &Path) -> Result<Vec<PathBuf>> {
    let file = Path::new("/proc/self/mountinfo");
    let table = std::fs::read_to_string(file).map_err(Error::io(file))?;
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut found: Vec<PathBuf> = targets.filter(|path| path.starts_with(directory)).collect();
    found.reverse();
    Ok(found)
}

/// The kernel writes blanks in paths as octal.
fn unescape(path: &str) -> PathBuf {
    PathBuf::from(path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
}

/// Unmounts everything under `directory`.
pub fn unmount_all(directory: &Path) -> Result<()> {
    for target in mounted_under(directory)? {
        match umount2(&target, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(source) => {
                let what = format!("unmount {}", target.display());
                return Err(Error::Kernel { what, source });
            }
        }
    }
    Ok(())
}

/// Unmounts and deletes a directory.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    unmount_all(directory)?;
    if let Some(left) = mounted_under(directory)?.first() {
        return Err(Error::Volume(format!("{} is still mounted", left.display())));
    }
    std::fs::remove_dir_all(directory).map_err(Error::io(directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn part_of_a_volume_cannot_lead_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (root, target) = (dir.path().join("volume"), dir.path().join("target"));
        std::fs::create_dir(&root).unwrap();
        symlink("/etc", root.join("out")).unwrap();
        symlink("../..", root.join("up")).unwrap();
        for path in ["out", "up", "../target", "out/passwd"] {
            assert!(part(&root, path, &target).is_err(), "{path}");
        }
        assert!(mounted_under(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn part_of_a_volume_is_made_where_it_is_missing_and_unmounted_before_deletion() {
        let dir = tempfile::tempdir().unwrap();
        let (root, pod) = (dir.path().join("volume"), dir.path().join("pod"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&pod).unwrap();
        let target = pod.join("subpath");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o2777)).unwrap();
        part(&root, "a/b", &target).unwrap();
        for made in ["a", "a/b"] {
            assert_eq!(std::fs::metadata(root.join(made)).unwrap().mode() & 0o7777, 0o2777);
        }
        part(&root, "a/b", &target).unwrap();
        std::fs::write(target.join("file"), "kept").unwrap();
        remove(&pod).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("a/b/file")).unwrap(), "kept");
    }
}
