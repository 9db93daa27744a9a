//! Secrets on disk: written whole or not at all, readable by their owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::Credential;

/// Writes a file so that a crash leaves either the old content or the new, mode 0600.
pub fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, 0o600)
}

/// Writes a file so that a crash leaves either the old content or the new, mode 0644.
pub fn write_public(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, 0o644)
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.partial"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    fs::File::open(folder)?.sync_all()
}

/// Writes `<stem>.crt` and `<stem>.key` into a folder.
pub fn write_credential(folder: &Path, stem: &str, credential: &Credential) -> io::Result<()> {
    write_secret(&folder.join(format!("{stem}.key")), credential.key_pem.as_bytes())?;
    write_public(&folder.join(format!("{stem}.crt")), credential.certificate_pem.as_bytes())
}

/// Reads `<stem>.crt` and `<stem>.key` from a folder; an error names the file.
pub fn read_credential(folder: &Path, stem: &str) -> io::Result<Credential> {
    let certificate_pem = read(&folder.join(format!("{stem}.crt")))?;
    let key_pem = read(&folder.join(format!("{stem}.key")))?;
    Ok(Credential { certificate_pem, key_pem })
}

/// Reads a text file; an error names it.
pub fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let credential = Credential { certificate_pem: "c".into(), key_pem: "k".into() };
        write_credential(folder.path(), "peer", &credential).unwrap();
        let mode = |name: &str| {
            fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("peer.key"), mode("peer.crt")), (0o600, 0o644));
        assert_eq!(read_credential(folder.path(), "peer").unwrap(), credential);
        assert!(read(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
