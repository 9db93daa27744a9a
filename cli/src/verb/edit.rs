//! `kctl edit`: an object in the user's editor, opened again with the reason when it is refused.

use std::path::Path;

use clap::Args;
use master_client::yaml;
use serde_json::Value;

use crate::api::Api;
use crate::api::find::Found;
use crate::error::{Result, said};
use crate::flags::{Change, Global, Selection};
use crate::print::without_managed_fields;
use crate::{errln, manifest, object, outln};

const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

/// Edit a resource in $KUBE_EDITOR or $EDITOR
#[derive(Args, Debug)]
pub struct EditArgs {
    /// TYPE/NAME or TYPE NAME
    #[arg(value_name = "TYPE/NAME", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    change: Change,
}

/// Runs it.
pub async fn run(args: &EditArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let targets = api.targets(&args.words, "the type of resource to edit").await?;
    for mut found in api.find(&targets, &Selection::default()).await? {
        without_managed_fields(&mut found.object);
        edit(&api, args, &found).await?;
    }
    Ok(())
}

async fn edit(api: &Api, args: &EditArgs, found: &Found) -> Result {
    let file = tempfile::Builder::new()
        .prefix("kctl-edit-")
        .suffix(".yaml")
        .tempfile()
        .map_err(|error| said(format!("a temporary file cannot be made: {error}")))?;
    let original = yaml::to_string(&found.object);
    let mut text = format!("{HEADER}{original}");
    let mut failure = String::new();
    loop {
        let shown = with_failure(&text, &failure);
        std::fs::write(file.path(), &shown).map_err(|error| said(error.to_string()))?;
        open_editor(file.path())?;
        let edited =
            std::fs::read_to_string(file.path()).map_err(|error| said(error.to_string()))?;
        let content = without_comments(&edited);
        if content.trim().is_empty() {
            return Err(said("Edit cancelled, saved file was empty."));
        }
        if content == original || (!failure.is_empty() && edited == shown) {
            if failure.is_empty() {
                outln!("Edit cancelled, no changes made.");
                return Ok(());
            }
            return Err(keep(&edited, &failure));
        }
        text = format!("{HEADER}{content}");
        match send(api, args, found, &content).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = error.to_string(),
        }
    }
}

async fn send(api: &Api, args: &EditArgs, found: &Found, content: &str) -> Result {
    let modified: Value = manifest::document_value(content, 1).map_err(said)?;
    for field in ["apiVersion", "kind"] {
        if modified[field] != found.object[field] {
            return Err(said(format!("{field} cannot be changed")));
        }
    }
    for field in ["name", "namespace"] {
        if modified["metadata"][field] != found.object["metadata"][field] {
            return Err(said(format!(
                "At least one of apiVersion, kind and name was changed: metadata.{field}"
            )));
        }
    }
    match object::change_to(api, &args.change, found, &modified).await? {
        Some(changed) => object::report(&args.change, &found.resource, &changed, "edited"),
        None => {
            outln!("Edit cancelled, no changes made.");
            Ok(())
        }
    }
}

fn with_failure(text: &str, failure: &str) -> String {
    if failure.is_empty() {
        return text.to_owned();
    }
    let lines: String = failure.lines().map(|line| format!("# {line}\n")).collect();
    let body = text.strip_prefix(HEADER).unwrap_or(text);
    format!("{HEADER}{lines}#\n{body}")
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, after)| after);
    }
    rest.to_owned()
}

/// What the user typed is not thrown away.
fn keep(edited: &str, failure: &str) -> crate::error::Error {
    let kept = tempfile::Builder::new().prefix("kctl-edit-").suffix(".yaml").tempfile();
    let path = kept.and_then(|file| {
        std::fs::write(file.path(), edited)?;
        file.keep().map(|(_, path)| path).map_err(|error| error.error)
    });
    if let Ok(path) = path {
        errln!("A copy of your changes has been stored to {:?}", path.display().to_string());
    }
    crate::error::Error::Raw(format!("{failure}\nEdit cancelled, no valid changes were saved."))
}

fn open_editor(path: &Path) -> Result {
    let wanted =
        ["KUBE_EDITOR", "EDITOR", "VISUAL"].into_iter().find_map(|name| std::env::var(name).ok());
    let editor = wanted.filter(|editor| !editor.trim().is_empty()).unwrap_or_else(|| "vi".into());
    // Through the shell: editors are set with their flags (`code --wait`).
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status()
        .map_err(|error| said(format!("unable to launch the editor {editor:?}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(said(format!(
        "there was a problem with the editor {editor:?}. Set KUBE_EDITOR to another one."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_at_the_top_are_not_part_of_the_object() {
        let text = format!("{HEADER}a: 1\n# kept\nb: 2\n");
        assert_eq!(without_comments(&text), "a: 1\n# kept\nb: 2\n");
        assert_eq!(
            without_comments(&with_failure(&text, "error: x\nmore")),
            "a: 1\n# kept\nb: 2\n"
        );
    }
}
