//! Objects from files: YAML or JSON, several in one, whole directories, standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Result, said};
use crate::flags::Files;

/// An object and the file that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub source: String,
    pub object: Value,
}

/// Reads everything that `-f` names, in order.
pub fn load(files: &Files) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for name in &files.filename {
        if name == "-" {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| said(format!("standard input: {error}")))?;
            manifests.extend(parse(&text, "STDIN")?);
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(said(format!(
                "{name}: kctl reads files only; fetch it first, for instance `curl -L {name} | kctl … -f -`"
            )));
        }
        let path = Path::new(name);
        if !path.exists() {
            return Err(said(format!("the path {name:?} does not exist")));
        }
        for path in expand(path, files.recursive)? {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| said(format!("{}: {error}", path.display())))?;
            manifests.extend(parse(&text, &path.display().to_string())?);
        }
    }
    if manifests.is_empty() && !files.filename.is_empty() {
        return Err(said(format!("no objects passed to it in {}", files.filename.join(", "))));
    }
    Ok(manifests)
}

fn expand(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).map_err(|error| said(format!("{}: {error}", path.display())))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            if recursive {
                found.extend(expand(&path, true)?);
            }
        } else if matches!(extension, Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Reads the objects in a text; those of a `List` one by one.
pub fn parse(text: &str, source: &str) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for (first_line, document) in documents(text) {
        let object = document_value(document, first_line)
            .map_err(|reason| said(format!("error parsing {source}: {reason}")))?;
        flatten(object, source, first_line, &mut manifests)?;
    }
    Ok(manifests)
}

fn flatten(object: Value, source: &str, line: usize, into: &mut Vec<Manifest>) -> Result {
    if object.is_null() {
        return Ok(());
    }
    let at = format!("{source}: the object at line {line}");
    if !object.is_object() {
        return Err(said(format!(
            "{at} is no mapping: an object has apiVersion, kind and metadata"
        )));
    }
    for field in ["apiVersion", "kind"] {
        if object[field].as_str().is_none_or(str::is_empty) {
            return Err(said(format!("{at} cannot be decoded: {field} is not set")));
        }
    }
    let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match object["items"].as_array() {
        Some(items) if is_list => {
            items.iter().try_for_each(|item| flatten(item.clone(), source, line, into))
        }
        _ => {
            into.push(Manifest { source: source.to_owned(), object });
            Ok(())
        }
    }
}

/// One document's value; the reason of a failure begins with the line in the file.
pub fn document_value(text: &str, first_line: usize) -> std::result::Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| {
            format!("line {}: {}", line_of(first_line, error.line()), without_place(&error))
        });
    }
    // Modes such as 0644 are octal to everyone who writes them.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().and_then(|at| usize::try_from(at.line()).ok());
        let line = line_of(first_line, at.unwrap_or(1));
        let text = error.without_snippet().to_string();
        format!("line {line}: {}", text.lines().next().unwrap_or_default())
    })
}

fn line_of(first: usize, within: usize) -> usize {
    first + within.max(1) - 1
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// The documents of a YAML stream with the line that each begins on. Empty ones are left out.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut first_line, mut place) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_separator = line.trim_end() == "---" || line.starts_with("--- ");
        if is_separator {
            found.push((first_line, &text[start..place]));
            start = place + if line.trim_end() == "---" { line.len() } else { 4 };
            first_line = number + if line.trim_end() == "---" { 2 } else { 1 };
        }
        place += line.len();
    }
    found.push((first_line, &text[start..]));
    found.retain(|(_, document)| has_content(document));
    found
}

fn has_content(document: &str) -> bool {
    document.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && !line.starts_with('%')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &str) {
        let shown = match parse(text, "f.yaml") {
            Ok(manifests) => {
                let names = manifests.iter().map(|one| one.object["metadata"]["name"].to_string());
                names.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert!(shown.starts_with(wanted), "{shown}\ninstead of\n{wanted}");
    }

    #[test]
    fn files_hold_one_or_many() {
        let pod = |name: &str| format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n");
        check(&pod("a"), "\"a\"");
        check(&format!("# c\n---\n{}---\n\n---\n{}...\n", pod("a"), pod("b")), "\"a\" \"b\"");
        check("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"j\"}}", "\"j\"");
        check(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: x}}\n",
            "\"x\"",
        );
    }

    #[test]
    fn mistakes_carry_file_and_line() {
        check(
            "apiVersion: v1\nkind: Pod\n---\na: b\n c: d\n",
            "error: error parsing f.yaml: line 5: ",
        );
        check("a: [\n", "error: error parsing f.yaml: line ");
        check("{\"a\": 1,\n \"b\" 2}", "error: error parsing f.yaml: line 2: expected `:`");
        check(
            "a: 1\n",
            "error: f.yaml: the object at line 1 cannot be decoded: apiVersion is not set",
        );
        check("- a\n", "error: f.yaml: the object at line 1 is no mapping");
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(document_value("mode: 0644", 1).unwrap()["mode"], 420);
    }
}
