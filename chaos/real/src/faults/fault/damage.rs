//! A follower ends, something happens to its files, and it is started: it must find out, or be none the worse. Then
//! its disk is replaced, as an operator would.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::{Fault, Field};

const FLIPPED_BYTES: usize = 16;
const CUT_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug)]
pub(super) enum Damage {
    /// Some bytes of one file.
    Flip,
    /// The end of the newest part of the log.
    Cut,
}

impl Fault for Damage {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let number = field.follower();
        let name = field.name(number);
        let machine = &mut field.machines[number];
        machine.kill()?;
        let data = machine.store();
        let mut files = files(&data)?;
        let what = match self {
            Self::Flip => {
                let file = files.swap_remove(field.rng.random_range(0..files.len()));
                flip(&file, &mut field.rng)?;
                format!("bytes flipped in {}", file.strip_prefix(&data)?.display())
            }
            Self::Cut => {
                let file = files.into_iter().filter(|file| is_log(file)).max();
                let file = file.context("no log is found")?;
                let cut = cut(&file, &mut field.rng)?;
                format!("{cut} bytes cut off {}", file.strip_prefix(&data)?.display())
            }
        };
        machine.start()?;
        field.spoiled.push(number);
        Ok(format!("{name}: {what}"))
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn heal(&mut self, _field: &mut Field) -> anyhow::Result<()> {
        // It is replaced.
        Ok(())
    }
}

/// All files that hold something.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        match kind?.is_dir() {
            true => all.extend(files(&path)?),
            false if path.metadata()?.len() > 0 => all.push(path),
            false => {}
        }
    }
    all.sort();
    Ok(all)
}

/// kstore's `log/*.log`, etcd's `wal/*.wal`; their names grow.
fn is_log(file: &Path) -> bool {
    let ends_with = |extension| file.extension().is_some_and(|it| it == extension);
    let lies_in = |folder| file.parent().is_some_and(|it| it.ends_with(folder));
    (ends_with("log") && lies_in("log")) || (ends_with("wal") && lies_in("wal"))
}

fn flip(path: &Path, rng: &mut SmallRng) -> anyhow::Result<()> {
    let used = used(path)?.max(1);
    let at = rng.random_range(0..used);
    let file = File::options().read(true).write(true).open(path)?;
    let mut bytes = [0; FLIPPED_BYTES];
    let read = file.read_at(&mut bytes, at)?;
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    Ok(file.write_all_at(&bytes[..read], at)?)
}

/// Cuts off the end of what was written; how much.
fn cut(path: &Path, rng: &mut SmallRng) -> anyhow::Result<u64> {
    let used = used(path)?;
    let cut = rng.random_range(1..=CUT_BYTES_MAX).min(used);
    File::options().write(true).open(path)?.set_len(used - cut)?;
    Ok(cut)
}

/// How much of a file is not the zeros that were allocated in advance.
fn used(path: &Path) -> anyhow::Result<u64> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn log_is_cut_before_the_zeros_and_bytes_are_flipped_in_place() {
        let folder = std::env::temp_dir().join(format!("kchaos-damage-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("log")).unwrap();
        let log = folder.join("log/000007.log");
        let mut content = vec![7; 100_000];
        content.resize(200_000, 0);
        std::fs::write(&log, &content).unwrap();
        std::fs::write(folder.join("log/LOG"), "x").unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let found: Vec<_> = files(&folder).unwrap().into_iter().filter(|it| is_log(it)).collect();
        assert_eq!(found, std::slice::from_ref(&log));
        flip(&log, &mut rng).unwrap();
        let flipped = std::fs::read(&log).unwrap();
        let differ = flipped.iter().zip(&content).filter(|(one, other)| one != other).count();
        assert_eq!((flipped.len(), differ), (content.len(), FLIPPED_BYTES));
        let cut = cut(&log, &mut rng).unwrap();
        assert!((1..=CUT_BYTES_MAX).contains(&cut));
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 100_000 - cut);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
