//! `kctl cp`: files into and out of a container, as a tar stream through exec.
//!
//! What comes out of a container is not trusted: paths that lead outside the target, absolute paths and
//! links are refused (CVE-2019-1002101, CVE-2019-11246, CVE-2019-11249).

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use tokio::sync::mpsc;

use crate::api::find::Found;
use crate::api::stream::{Input, STDERR, STDOUT};
use crate::api::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::Global;
use crate::verb::attach::Terminal;
use crate::{errln, term, workload};

/// Copy files between containers and this machine
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl cp app.conf web:/etc/app.conf
  kctl cp web:/var/log/app ./logs -c main
  kctl cp other-namespace/web:/tmp/x x")]
pub struct CpArgs {
    /// A path, or [NAMESPACE/]POD:PATH
    source: String,
    /// A path, or [NAMESPACE/]POD:PATH
    target: String,
    /// Which container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Local(PathBuf),
    Remote { namespace: Option<String>, pod: String, path: String },
}

/// Runs it.
pub async fn run(args: &CpArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    match (End::parse(&args.source)?, End::parse(&args.target)?) {
        (End::Local(from), End::Remote { namespace, pod, path }) => {
            let pod = find(&api, namespace, pod).await?;
            upload(&api, args, &pod, &from, &path).await
        }
        (End::Remote { namespace, pod, path }, End::Local(to)) => {
            let pod = find(&api, namespace, pod).await?;
            download(&api, args, &pod, &path, &to).await
        }
        (End::Local(_), End::Local(_)) => {
            Err(said("one of src or dest must be a remote file specification: POD:PATH"))
        }
        _ => Err(said("one of src or dest must be a local file specification")),
    }
}

impl End {
    fn parse(word: &str) -> Result<Self> {
        let Some((place, path)) =
            word.split_once(':').filter(|(place, _)| !place.starts_with(['.', '/']))
        else {
            return Ok(Self::Local(PathBuf::from(word)));
        };
        if path.is_empty() {
            return Err(said("filepath can not be empty"));
        }
        let (namespace, pod) = match place.split_once('/') {
            None => (None, place),
            Some((namespace, pod)) => (Some(namespace.to_owned()), pod),
        };
        if pod.is_empty() {
            return Err(said(format!("{word:?} names no pod: write [NAMESPACE/]POD:PATH")));
        }
        Ok(Self::Remote { namespace, pod: pod.to_owned(), path: path.to_owned() })
    }
}

async fn find(api: &Api, namespace: Option<String>, pod: String) -> Result<Found> {
    let resource = api.resource("pods").await?;
    let namespace = namespace.unwrap_or_else(|| api.namespace.clone());
    let object = api.get(&resource.object(&namespace, &pod)).await?;
    Ok(Found { resource, object })
}

/// Runs a command in the container; gives its output.
async fn exec(
    api: &Api,
    args: &CpArgs,
    pod: &Found,
    command: &[&str],
    input: Option<Input>,
) -> Result<Vec<u8>> {
    let (container, _) = workload::container(&pod.object, args.container.as_deref())?;
    let terminal = Terminal { has_stdin: input.is_some(), is_tty: false };
    let mut query = terminal.query(&container);
    query.extend(command.iter().map(|word| ("command", (*word).to_owned())));
    let path = with_query(&format!("{}/exec", pod.path()), &query);
    let mut output = Vec::new();
    let mut complaints = Vec::new();
    let collect = |channel: u8, data: &[u8]| match channel {
        STDOUT => output.extend_from_slice(data),
        STDERR => complaints.extend_from_slice(data),
        _ => {}
    };
    let outcome = match input {
        Some(input) => api.run_piped(&path, input, collect).await,
        None => {
            let (_, no_sizes) = mpsc::channel(1);
            api.stream(&path).await?.carry(None, no_sizes, collect).await
        }
    };
    match outcome {
        Ok(()) => Ok(output),
        Err(Error::Exit(code)) => {
            let text = term::safe(String::from_utf8_lossy(&complaints).trim());
            Err(said(format!(
                "{} in the container failed with exit code {code}: {text}",
                command[0]
            )))
        }
        Err(error) => Err(error),
    }
}

async fn upload(api: &Api, args: &CpArgs, pod: &Found, from: &Path, to: &str) -> Result {
    if !from.exists() {
        return Err(said(format!("{} doesn't exist in local filesystem", from.display())));
    }
    // `kctl cp file pod:/dir` means into the directory, as cp does.
    let is_folder =
        to.ends_with('/') || exec(api, args, pod, &["test", "-d", to], None).await.is_ok();
    let trimmed = to.trim_end_matches('/');
    let full = if is_folder {
        let name =
            from.file_name().ok_or_else(|| said(format!("{} has no name", from.display())))?;
        format!("{trimmed}/{}", name.to_string_lossy())
    } else {
        trimmed.to_owned()
    };
    let (folder, name) = full.rsplit_once('/').unwrap_or((".", &full));
    let folder = if folder.is_empty() { "/" } else { folder };
    let archive = pack(from, name).map_err(|error| said(format!("{}: {error}", from.display())))?;
    let input: Input = Box::pin(std::io::Cursor::new(archive));
    exec(api, args, pod, &["tar", "-xmf", "-", "-C", folder], Some(input)).await.map(drop)
}

fn pack(from: &Path, name: &str) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    if from.is_dir() {
        builder.append_dir_all(name, from)?;
    } else {
        builder.append_path_with_name(from, name)?;
    }
    builder.into_inner()
}

async fn download(api: &Api, args: &CpArgs, pod: &Found, from: &str, to: &Path) -> Result {
    let trimmed = from.trim_end_matches('/');
    let (folder, name) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
    let folder = if folder.is_empty() { "/" } else { folder };
    let name = if name.is_empty() { "." } else { name };
    let archive = exec(api, args, pod, &["tar", "-cf", "-", "-C", folder, name], None).await?;
    let target = if to.is_dir() && name != "." { to.join(name) } else { to.to_owned() };
    unpack(archive.as_slice(), name, &target)
}

/// Unpacks what lies at or below `name` in the archive to `target`.
fn unpack(archive: impl Read, name: &str, target: &Path) -> Result {
    let failed = |error: std::io::Error| said(format!("{}: {error}", target.display()));
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let Some(below) = safe_below(&path, name) else {
            errln!(
                "warning: skipping {:?}: it leads outside of what was asked for",
                path.display().to_string()
            );
            continue;
        };
        let place =
            if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) };
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&place).map_err(failed)?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty())
                {
                    std::fs::create_dir_all(parent).map_err(failed)?;
                }
                let mut file = std::fs::File::create(&place).map_err(failed)?;
                std::io::copy(&mut entry, &mut file).map_err(failed)?;
            }
            tar::EntryType::Symlink | tar::EntryType::Link => {
                errln!("warning: skipping link {:?}", path.display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The part of a path below `name`; `None` if it is not below it or climbs out.
fn safe_below(path: &Path, name: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    if name == "." { Some(clean) } else { clean.strip_prefix(name).ok().map(Path::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_local_or_remote() {
        let remote = |namespace: Option<&str>, pod: &str, path: &str| End::Remote {
            namespace: namespace.map(str::to_owned),
            pod: pod.into(),
            path: path.into(),
        };
        assert_eq!(End::parse("web:/etc/x").unwrap(), remote(None, "web", "/etc/x"));
        assert_eq!(End::parse("ns/web:x").unwrap(), remote(Some("ns"), "web", "x"));
        assert_eq!(End::parse("./a:b").unwrap(), End::Local("./a:b".into()));
        assert_eq!(End::parse("a/b").unwrap(), End::Local("a/b".into()));
        assert!(End::parse("web:").is_err());
    }

    #[test]
    fn archive_cannot_write_outside_its_target() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, link: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(if kind.is_file() { 2 } else { 0 });
            let bytes = name.as_bytes();
            header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            header.set_cksum();
            builder.append(&header, if kind.is_file() { &b"hi"[..] } else { &b""[..] }).unwrap();
        };
        add("d/good", tar::EntryType::Regular, "");
        add("d/../../evil", tar::EntryType::Regular, "");
        add("/evil", tar::EntryType::Regular, "");
        add("other", tar::EntryType::Regular, "");
        add("d/link", tar::EntryType::Symlink, "/etc");
        add("d/link/passwd", tar::EntryType::Regular, "");
        let archive = builder.into_inner().unwrap();

        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("to").join("d");
        unpack(archive.as_slice(), "d", &target).unwrap();
        assert_eq!(std::fs::read(target.join("good")).unwrap(), b"hi");
        assert!(
            !folder.path().join("evil").exists() && !folder.path().join("to").join("evil").exists()
        );
        // The link was never made: what was to go through it is an ordinary file.
        assert!(target.join("link").is_dir() && target.join("link").join("passwd").is_file());
    }
}
