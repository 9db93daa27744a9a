//! The JSONPath of printer columns and of scale: fields, indices, `[*]`, and filters on equality.

use serde_json::Value;

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    /// From the end if negative.
    Index(i64),
    All,
    /// `[?(@.type=="Ready")]`
    Where(Vec<String>, Compared, Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Equal,
    Unequal,
}

impl JsonPath {
    /// Compiles `.spec.containers[0].image`.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = match rest.as_bytes()[0] {
                b'.' => field(&rest[1..], &mut steps)?,
                b'[' => bracket(rest, &mut steps)?,
                _ if steps.is_empty() => field(rest, &mut steps)?,
                _ => return Err(format!("unrecognized character in action: {rest:?}")),
            };
        }
        Ok(Self(steps))
    }

    /// Only names, as paths that are written to must be.
    pub fn fields(&self) -> Option<Vec<&str>> {
        let steps = self.0.iter();
        steps
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                Step::Index(_) | Step::All | Step::Where(..) => None,
            })
            .collect()
    }

    /// The first value at the path.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found.into_iter().next()
    }
}

fn field<'a>(rest: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, String> {
    let mut name = String::new();
    let mut chars = rest.char_indices();
    let mut end = rest.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = at;
                break;
            }
            c if c.is_whitespace() || "{}()\"'".contains(c) => {
                return Err(format!("unrecognized character in action: {c:?}"));
            }
            c => name.push(c),
        }
    }
    match name.as_str() {
        "" if end == rest.len() && steps.is_empty() => {}
        "" => return Err("a name is missing between dots".to_owned()),
        "*" => steps.push(Step::All),
        _ => steps.push(Step::Field(name)),
    }
    Ok(&rest[end..])
}

fn bracket<'a>(rest: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, String> {
    let end = closing(rest).ok_or_else(|| "unterminated array".to_owned())?;
    let inner = rest[1..end].trim();
    let step = if inner == "*" {
        Step::All
    } else if let Some(name) = quoted(inner) {
        Step::Field(name.to_owned())
    } else if let Some(filter) = inner.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        condition(filter)?
    } else {
        Step::Index(inner.parse().map_err(|_| format!("invalid array index {inner}"))?)
    };
    steps.push(step);
    Ok(&rest[end + 1..])
}

/// The bracket that closes the first one; those in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

fn condition(text: &str) -> Result<Step, String> {
    let (left, compared, right) = if let Some((left, right)) = text.split_once("==") {
        (left, Compared::Equal, right)
    } else if let Some((left, right)) = text.split_once("!=") {
        (left, Compared::Unequal, right)
    } else {
        return Err(format!("unsupported filter {text:?}: only == and != are"));
    };
    let path =
        left.trim().strip_prefix("@.").ok_or_else(|| format!("unsupported filter {text:?}"))?;
    let right = right.trim();
    let value = match quoted(right) {
        Some(text) => Value::String(text.to_owned()),
        None => serde_json::from_str(right).map_err(|_| format!("unsupported value {right:?}"))?,
    };
    Ok(Step::Where(path.split('.').map(str::to_owned).collect(), compared, value))
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Self::Index(at), Value::Array(items)) => {
                let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if *at < 0 { at + count } else { *at };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            (Self::All, Value::Array(items)) => items.iter().collect(),
            (Self::All, Value::Object(fields)) => fields.values().collect(),
            (Self::Where(path, compared, wanted), Value::Array(items)) => {
                let fits = |item: &&Value| {
                    let found = path.iter().try_fold(*item, |value, name| value.get(name));
                    (found == Some(wanted)) == (*compared == Compared::Equal)
                };
                items.iter().filter(fits).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_their_values() {
        let object = json!({"spec": {"a.b": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]},
            "metadata": {"labels": {"app.io/x": "l"}}});
        #[rustfmt::skip]
        let cases = [
            (".spec.list[0].v",                 json!(1)),
            (".spec.list[-1].v",                json!(2)),
            ("$.spec.list[*].n",                json!("x")),
            (".spec.list[?(@.n==\"y\")].v",     json!(2)),
            (".spec.list[?(@.n!='x')].v",       json!(2)),
            (".spec['a.b']",                    json!(1)),
            (".spec.a\\.b",                     json!(1)),
            ("spec.list[1].n",                  json!("y")),
            (".metadata.labels.app\\.io/x",     json!("l")),
        ];
        for (path, expected) in cases {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), Some(&expected), "{path}");
        }
        assert_eq!(JsonPath::parse(".spec.none.x").unwrap().first(&object), None);
        for wrong in [".spec[", ".spec..x", ".spec[x]", ".spec{x}"] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
