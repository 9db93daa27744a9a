//! A path of the machine as a volume: what must be there, or is made.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use crate::error::{Error, Result};

/// Checks the path against its type, making what the type says may be made.
pub(crate) fn ensure(source: &HostPathVolumeSource) -> Result<()> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(Error::Volume(format!("hostPath {} must not contain '..'", path.display())));
    }
    let found = std::fs::metadata(path).ok().map(|meta| meta.file_type());
    match (kind, found) {
        ("DirectoryOrCreate", None) => std::fs::create_dir_all(path).map_err(Error::io(path)),
        ("FileOrCreate", None) => std::fs::write(path, []).map_err(Error::io(path)),
        // The runtime makes a directory of an untyped path that is missing, as it always did.
        ("", _) => Ok(()),
        (_, None) => Err(Error::Volume(format!(
            "hostPath type check failed: {} does not exist",
            path.display()
        ))),
        (kind, Some(found)) => {
            let fits = match kind {
                "Directory" | "DirectoryOrCreate" => found.is_dir(),
                "File" | "FileOrCreate" => found.is_file(),
                "Socket" => found.is_socket(),
                "CharDevice" => found.is_char_device(),
                "BlockDevice" => found.is_block_device(),
                _ => false,
            };
            let refusal = || {
                let path = path.display();
                Error::Volume(format!("hostPath type check failed: {path} is not a {kind}"))
            };
            if fits { Ok(()) } else { Err(refusal()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made_where_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, kind: &str, is_fine: bool| {
            let path = dir.path().join(name).display().to_string();
            let source = HostPathVolumeSource { path, type_: Some(kind.to_owned()) };
            assert_eq!(ensure(&source).is_ok(), is_fine, "{name} as {kind}");
        };
        check("d", "Directory", false);
        check("d", "DirectoryOrCreate", true);
        check("d", "Directory", true);
        check("d", "File", false);
        check("f", "FileOrCreate", true);
        check("f", "File", true);
        check("f", "Socket", false);
        check("../x", "DirectoryOrCreate", false);
    }
}
