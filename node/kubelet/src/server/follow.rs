//! Reads a container's log file as the runtime writes it: a part of it, or on and on.
//!
//! Lines are `TIME STREAM F|P TEXT`; `P` marks a part of a longer line. A file that was rotated away is
//! read to its end before the new one.
//!
//! # Invariants
//! - No link is followed: a container that can write near its log cannot make it another file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

const BLOCK: usize = 64 << 10;

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) follow: bool,
    tail_lines: Option<u64>,
    since: Option<Timestamp>,
    timestamps: bool,
    limit_bytes: Option<u64>,
    stream: Option<String>,
}

impl Options {
    pub(super) fn parse<'a>(
        get: impl Fn(&str) -> Option<&'a str>,
        now_ms: u64,
    ) -> Result<Self, String> {
        let number = |key: &str| match get(key).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => {
                text.parse::<u64>().map(Some).map_err(|_| format!("invalid {key}: {text:?}"))
            }
        };
        let flag = |key: &str| matches!(get(key), Some("true" | "1"));
        let since = match (number("sinceSeconds")?, get("sinceTime").filter(|it| !it.is_empty())) {
            (Some(seconds), _) => {
                let at_ms = now_ms.saturating_sub(seconds * 1_000);
                Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or_default()).ok()
            }
            (None, Some(text)) => {
                Some(text.parse().map_err(|_| format!("invalid sinceTime: {text:?}"))?)
            }
            (None, None) => None,
        };
        let stream = get("stream").filter(|it| matches!(*it, "Stdout" | "Stderr"));
        Ok(Self {
            follow: flag("follow"),
            tail_lines: number("tailLines")?,
            since,
            timestamps: flag("timestamps"),
            limit_bytes: number("limitBytes")?,
            stream: stream.map(str::to_lowercase),
        })
    }
}

/// A place in a log.
#[derive(Debug)]
pub(super) struct Reader {
    root: PathBuf,
    path: PathBuf,
    file: File,
    options: Options,
    /// Bytes read and not yet a whole line.
    pending: Vec<u8>,
    sent_bytes: u64,
    /// The last text was a part: what comes continues its line.
    is_mid_line: bool,
}

fn open_beneath(root: &Path, path: &Path) -> std::io::Result<File> {
    let directory =
        open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(File::from(openat2(&directory, path, how)?))
}

impl Reader {
    /// Opens `path`, relative to `root`, at the place that the options ask for.
    pub(super) fn open(root: &Path, path: &Path, options: Options) -> std::io::Result<Self> {
        let mut file = open_beneath(root, path)?;
        if let Some(lines) = options.tail_lines {
            let start = tail_start(&mut file, lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(Self {
            root: root.to_owned(),
            path: path.to_owned(),
            file,
            options,
            pending: Vec::new(),
            sent_bytes: 0,
            is_mid_line: false,
        })
    }

    /// Whether as much was read as was asked for.
    pub(super) fn is_full(&self) -> bool {
        self.options.limit_bytes.is_some_and(|limit| self.sent_bytes >= limit)
    }

    /// The next piece of text; empty when there is none now.
    pub(super) fn next_chunk(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if self.is_full() {
                return Ok(Vec::new());
            }
            let mut block = vec![0; BLOCK];
            let count = self.file.read(&mut block)?;
            if count == 0 {
                if !self.reopen_if_rotated()? {
                    return Ok(Vec::new());
                }
                continue;
            }
            self.pending.extend_from_slice(&block[..count]);
            let text = self.take_lines();
            if !text.is_empty() {
                return Ok(text);
            }
        }
    }

    fn reopen_if_rotated(&mut self) -> std::io::Result<bool> {
        let Ok(fresh) = open_beneath(&self.root, &self.path) else { return Ok(false) };
        let is_same = fresh.metadata()?.ino() == self.file.metadata()?.ino();
        if !is_same {
            self.file = fresh;
        }
        Ok(!is_same)
    }

    fn take_lines(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let end = self.pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.pending.split_off(end);
        let lines = std::mem::replace(&mut self.pending, rest);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.line(line.strip_suffix(b"\n").unwrap_or(line), &mut out);
        }
        if let Some(limit) = self.options.limit_bytes {
            let left = usize::try_from(limit.saturating_sub(self.sent_bytes)).unwrap_or(usize::MAX);
            out.truncate(left);
        }
        self.sent_bytes += u64::try_from(out.len()).unwrap_or(u64::MAX);
        out
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(stream), Some(tag)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let body = parts.next().unwrap_or_default();
        let time = String::from_utf8_lossy(time);
        if let Some(since) = self.options.since
            && time.parse::<Timestamp>().is_ok_and(|at| at < since)
        {
            return;
        }
        if self.options.stream.as_ref().is_some_and(|wanted| wanted.as_bytes() != stream) {
            return;
        }
        if self.options.timestamps && !self.is_mid_line {
            out.extend_from_slice(time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(body);
        self.is_mid_line = tag == b"P";
        if !self.is_mid_line {
            out.push(b'\n');
        }
    }
}

/// Where the last `lines` lines begin.
fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let (mut end, mut found) = (length, 0);
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(u64::try_from(BLOCK).expect("small"));
        let size = usize::try_from(end - start).expect("at most a block");
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..size])?;
        for at in (0..size).rev() {
            let position = start + u64::try_from(at).expect("at most a block");
            // The end of the last line is no beginning.
            if block[at] == b'\n' && position + 1 < length {
                found += 1;
                if found == lines {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.1Z stdout F one\n\
                       2026-01-01T00:00:01.1Z stderr F two\n\
                       2026-01-01T00:00:02.1Z stdout P thr\n\
                       2026-01-01T00:00:02.1Z stdout F ee\n";

    fn read(root: &Path, query: &str) -> String {
        let pairs: Vec<(&str, &str)> =
            query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let get = |key: &str| pairs.iter().find(|(known, _)| *known == key).map(|(_, it)| *it);
        let options = Options::parse(get, 1_767_225_602_000).unwrap();
        let mut reader = Reader::open(root, Path::new("c/0.log"), options).unwrap();
        let mut text = Vec::new();
        loop {
            let chunk = reader.next_chunk().unwrap();
            if chunk.is_empty() {
                return String::from_utf8(text).unwrap();
            }
            text.extend(chunk);
        }
    }

    #[test]
    fn the_wanted_part_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("c")).unwrap();
        std::fs::write(dir.path().join("c/0.log"), LOG).unwrap();
        let check = |query: &str, expected: &str| assert_eq!(read(dir.path(), query), expected);
        check("", "one\ntwo\nthree\n");
        check("tailLines=3", "two\nthree\n");
        check("tailLines=0", "");
        check("tailLines=99", "one\ntwo\nthree\n");
        check("sinceSeconds=1", "two\nthree\n");
        check("sinceTime=2026-01-01T00:00:02Z", "three\n");
        check("stream=Stderr", "two\n");
        check("limitBytes=5", "one\nt");
        check("timestamps=true&tailLines=2", "2026-01-01T00:00:02.1Z three\n");
    }

    #[test]
    fn rotated_file_is_read_to_its_end_and_then_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "t stdout F a\n").unwrap();
        let mut reader = Reader::open(dir.path(), Path::new("0.log"), Options::default()).unwrap();
        assert_eq!(reader.next_chunk().unwrap(), b"a\n");
        assert!(reader.next_chunk().unwrap().is_empty());
        let mut old = File::options().append(true).open(&path).unwrap();
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        old.write_all(b"t stdout F b\n").unwrap();
        std::fs::write(&path, "t stdout F c\n").unwrap();
        assert_eq!(reader.next_chunk().unwrap(), b"b\n");
        assert_eq!(reader.next_chunk().unwrap(), b"c\n");
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/shadow", dir.path().join("0.log")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("c")).unwrap();
        for path in ["0.log", "c/shadow", "../0.log"] {
            assert!(Reader::open(dir.path(), Path::new(path), Options::default()).is_err());
        }
    }
}
