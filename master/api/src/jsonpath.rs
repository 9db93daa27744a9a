//! client-go's JSONPath: single paths, as definitions have them, and kubectl's templates of text and paths:
//! `{.items[*].metadata.name}`, ranges, filters, slices, literals.
//!
//! Pure. What is missing prints as nothing, as kubectl's default is.

mod eval;
mod parse;

use serde_json::Value;

/// A template, ready to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Path(Path),
    Range(Path, Vec<Piece>),
}

/// Steps from the current object, or from the whole one if they begin with `$`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path {
    is_absolute: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Index(i64),
    Slice { from: Option<i64>, to: Option<i64>, step: i64 },
    Union(Vec<Step>),
    Filter { left: Operand, test: Option<(Test, Operand)> },
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl Path {
    /// Reads a path: `.spec.containers[0].image`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::path(text)
    }

    /// The names it leads through, if there is nothing else, as in paths that are written to.
    pub fn fields(&self) -> Option<Vec<&str>> {
        let names = self.steps.iter().map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// The first value at the path.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        eval::find(self, value, value).into_iter().next()
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, and the template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pieces = parse::template(text)
            .map_err(|reason| format!("error parsing jsonpath {text}, {reason}"))?;
        Ok(Self { pieces })
    }

    /// Reads one path, however sloppily it is written: `{.a}`, `.a` or `a`.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn parse_relaxed(text: &str) -> Result<Self, String> {
        let bare = text.trim().trim_start_matches('{').trim_end_matches('}');
        let dotted = if bare.starts_with(['.', '[', '$', '@']) {
            bare.to_owned()
        } else {
            format!(".{bare}")
        };
        Self::parse(&format!("{{{dotted}}}"))
    }

    /// The text that the template makes of a value.
    pub fn text(&self, value: &Value) -> String {
        let mut out = String::new();
        eval::write(&self.pieces, value, value, &mut out);
        out
    }

    /// Everything that the template's paths find.
    pub fn values<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = Vec::new();
        for piece in &self.pieces {
            if let Piece::Path(path) = piece {
                found.extend(eval::find(path, value, value));
            }
        }
        found
    }
}

/// A value as templates print it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}}, "n": 1, "flag": true,
                 "conditions": [{"type": "Ready", "status": "True"}, {"type": "Held", "status": "False"}]},
                {"metadata": {"name": "b"}, "n": 12, "conditions": []},
                {"metadata": {"name": "c"}, "n": 5},
            ],
        })
    }

    fn check(template: &str, wanted: &str) {
        let shown = match Template::parse(template) {
            Ok(template) => template.text(&sample()),
            Err(error) => error,
        };
        assert_eq!(shown, wanted, "{template}");
    }

    #[test]
    fn templates_print_what_kubectl_prints() {
        check("{.kind}", "List");
        check("{$.kind}", "List");
        check("kind: {.kind}!", "kind: List!");
        check("{.items[*].metadata.name}", "a b c");
        check("{.items[0].metadata.name}", "a");
        check("{.items[-1].metadata.name}", "c");
        check("{.items[0:2].metadata.name}", "a b");
        check("{.items[::2].metadata.name}", "a c");
        check("{.items[0,2].metadata.name}", "a c");
        check("{..name}", "a b c");
        check("{.items[?(@.n>4)].metadata.name}", "b c");
        check("{.items[?(@.metadata.name==\"b\")].n}", "12");
        check("{.items[?(@.metadata.name!='b')].n}", "1 5");
        check("{.items[?(@.flag)].metadata.name}", "a");
        check("{.items[0].conditions[?(@.type==\"Ready\")].status}", "True");
        check("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x");
        check("{.items[0].metadata.labels['app\\.kubernetes\\.io/name']}", "x");
        check("{.items[0]['metadata'].name}", "a");
        check("{.items[0].metadata['name','labels']}", "a {\"app.kubernetes.io/name\":\"x\"}");
        check("{range .items[*]}{.metadata.name}={.n}{\"\\n\"}{end}", "a=1\nb=12\nc=5\n");
        check("{range .items[*]}[{.metadata.name}, {.n}] {end}done", "[a, 1] [b, 12] [c, 5] done");
        check("{range .items[*]}{range .conditions[*]}{.type};{end}{end}", "Ready;Held;");
        check("{.items[0].conditions[0]}", "{\"status\":\"True\",\"type\":\"Ready\"}");
        check("{.missing.field}", "");
        check("{.items[9].n}", "");
        check("{.items[*]['n']}", "1 12 5");
    }

    #[test]
    fn mistakes_are_named() {
        check("{.a", "error parsing jsonpath {.a, unclosed action");
        check("{.a[0}", "error parsing jsonpath {.a[0}, unterminated array");
        check("{range .a}x", "error parsing jsonpath {range .a}x, not in range, missing end");
        check("{end}", "error parsing jsonpath {end}, not in range, nothing to end");
    }

    #[test]
    fn paths_lead_to_their_values() {
        let object = json!({"spec": {"a.b": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]},
            "metadata": {"labels": {"app.io/x": "l"}}});
        #[rustfmt::skip]
        let cases = [
            (".spec.list[0].v",             json!(1)),   (".spec.list[-1].v",      json!(2)),
            ("$.spec.list[*].n",            json!("x")), (".spec.list[1:].n",      json!("y")),
            (".spec.list[?(@.n==\"y\")].v", json!(2)),   (".spec['a.b']",          json!(1)),
            (".spec.list[?(@.n!='x')].v",   json!(2)),   (".spec.a\\.b",           json!(1)),
            (".spec.list[?(@.v>1)].n",      json!("y")), ("spec.list[1].n",        json!("y")),
            (".metadata.labels.app\\.io/x", json!("l")), (".spec..n",              json!("x")),
        ];
        for (path, expected) in cases {
            assert_eq!(Path::parse(path).unwrap().first(&object), Some(&expected), "{path}");
        }
        assert_eq!(Path::parse(".spec.none.x").unwrap().first(&object), None);
        for wrong in [".spec[", ".spec[x]", ".spec{x}", ".spec.x y"] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Path::parse(".a.b").unwrap().fields(), Some(vec!["a", "b"]));
        assert_eq!(Path::parse(".a[0]").unwrap().fields(), None);
    }

    #[test]
    fn sloppy_paths_are_understood() {
        for text in ["{.kind}", ".kind", "kind", "{kind}"] {
            assert_eq!(Template::parse_relaxed(text).unwrap().text(&sample()), "List", "{text}");
        }
    }
}
