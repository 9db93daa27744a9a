//! `-o custom-columns=NAME:.metadata.name,…`

use master_api::jsonpath::{Template, shown};
use serde_json::Value;

use super::tabs::Tabs;
use crate::error::{Result, said};
use crate::term;

/// Headers and the path below each.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    columns: Vec<(String, Template)>,
}

impl Columns {
    /// Reads `HEADER:path,HEADER:path`.
    pub fn parse(spec: &str) -> Result<Self> {
        if spec.is_empty() {
            return Err(said("custom-columns format specified but no custom columns given"));
        }
        let column = |part: &str| match part.split_once(':') {
            Some((header, path)) => {
                Ok((header.to_owned(), Template::parse_relaxed(path).map_err(said)?))
            }
            None => Err(said(format!(
                "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
            ))),
        };
        Ok(Self { columns: split(spec).into_iter().map(column).collect::<Result<_>>()? })
    }

    /// Reads a file: headers in the first line, paths in the second.
    pub fn from_file(text: &str) -> Result<Self> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
            return Err(said("a custom-columns file has a line of headers and a line of paths"));
        };
        let pairs: Vec<_> = headers
            .split_whitespace()
            .zip(paths.split_whitespace())
            .map(|(header, path)| format!("{header}:{path}"))
            .collect();
        Self::parse(&pairs.join(","))
    }

    /// The table of these objects.
    pub fn table(&self, objects: &[Value], has_headers: bool, tabs: &mut Tabs) -> String {
        let mut text = String::new();
        if has_headers {
            let headers: Vec<_> = self.columns.iter().map(|(header, _)| header.as_str()).collect();
            text.push_str(&format!("{}\n", headers.join("\t")));
        }
        for object in objects {
            let cells: Vec<_> = self.columns.iter().map(|(_, path)| cell(path, object)).collect();
            text.push_str(&format!("{}\n", cells.join("\t")));
        }
        tabs.lay_out(&text)
    }
}

fn cell(path: &Template, object: &Value) -> String {
    let found = path.values(object);
    if found.is_empty() {
        return "<none>".into();
    }
    let texts: Vec<_> = found
        .into_iter()
        .map(|value| if value.is_null() { "<nil>".into() } else { term::safe_line(&shown(value)) })
        .collect();
    texts.join(",").replace('\t', " ")
}

/// Splits at commas that are not inside brackets or parentheses.
fn split(spec: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (place, c) in spec.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&spec[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&spec[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_show_values_lists_and_gaps() {
        let columns = Columns::parse("NAME:.metadata.name,IMAGES:.spec.c[*].image,X:x").unwrap();
        let objects = [
            json!({"metadata": {"name": "a"}, "spec": {"c": [{"image": "i"}, {"image": "j"}]}}),
            json!({"metadata": {"name": "longer"}, "x": null}),
        ];
        assert_eq!(
            columns.table(&objects, true, &mut Tabs::of_tables()),
            "NAME     IMAGES   X\na        i,j      <none>\nlonger   <none>   <nil>\n"
        );
        assert!(Columns::parse("NAME").is_err());
    }
}
