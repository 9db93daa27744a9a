//! A machine's disk: a file system in a file, so that it can be filled to the brim, slowed down, and damaged.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::cage::BLKIO;
use super::run;

/// As large as the file system appears; the file has holes.
const IMAGE_BYTES: u64 = 1 << 30;
/// In memory, if this machine has no loop devices; then it is never slow.
const MEMORY: &str = "size=512m";
const BALLAST: &str = "ballast";

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) folder: PathBuf,
    /// Processes in it are slowed down.
    group: PathBuf,
}

impl Disk {
    /// Makes and mounts it as `lab/NAME`.
    pub(crate) fn new(lab: &Path, name: &str) -> anyhow::Result<Self> {
        let folder = lab.join(name);
        std::fs::create_dir(&folder)?;
        let is_image = mount_image(&lab.join(format!("{name}.img")), &folder).is_ok();
        if !is_image {
            let target = folder.display().to_string();
            run("mount", &["-t", "tmpfs", "-o", MEMORY, "tmpfs", &target])?;
        }
        let group = Path::new(BLKIO).join(lab.file_name().unwrap_or_default()).join(name);
        if is_image && Path::new(BLKIO).is_dir() {
            std::fs::create_dir_all(&group)?;
        }
        Ok(Self { folder, group })
    }

    /// Where a process says that it belongs to this disk; nothing if it cannot be slowed down.
    pub(crate) fn group_file(&self) -> Option<PathBuf> {
        self.group.is_dir().then(|| self.group.join("cgroup.procs"))
    }

    /// So many bytes a second and no more are written; 0: as many as it can.
    pub(crate) fn limit(&self, bytes_per_second: u64) -> anyhow::Result<()> {
        let device = std::fs::metadata(&self.folder)?.dev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let file = self.group.join("blkio.throttle.write_bps_device");
        std::fs::write(&file, format!("{major}:{minor} {bytes_per_second}"))
            .with_context(|| file.display().to_string())
    }

    /// Takes all room that is left.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let ballast = File::create(self.folder.join(BALLAST))?;
        let mut size = 0;
        let mut step = 64 << 20;
        // Smaller and smaller pieces, until not a block is left.
        while step >= 4096 {
            match nix::fcntl::posix_fallocate(&ballast, size, step) {
                Ok(()) => size += step,
                Err(_) => step /= 2,
            }
        }
        Ok(())
    }

    /// Takes what is free but for so many bytes.
    pub(crate) fn leave(&self, bytes: u64) -> anyhow::Result<()> {
        let room = nix::sys::statvfs::statvfs(&self.folder)?;
        let free = room.blocks_available() * room.fragment_size();
        let ballast = File::create(self.folder.join(BALLAST))?;
        let size = i64::try_from(free.saturating_sub(bytes).max(1))?;
        Ok(nix::fcntl::posix_fallocate(&ballast, 0, size)?)
    }

    /// Gives it back.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.folder.join(BALLAST))?)
    }

    /// Everything in it, but for what is in the file system itself.
    pub(crate) fn wipe(&self, part: &str) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(self.folder.join(part)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn mount_image(image: &Path, folder: &Path) -> anyhow::Result<()> {
    File::create(image)?.set_len(IMAGE_BYTES)?;
    let (image, folder) = (image.display().to_string(), folder.display().to_string());
    run("mkfs.ext4", &["-q", "-m", "0", &image])?;
    run("mount", &["-o", "loop", &image, &folder])
}
