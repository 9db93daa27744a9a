//! Reading a template: text, `{…}` actions, and the paths in them.

use serde_json::Value;

use super::{Operand, Path, Piece, Step, Test};

type Parsed<T> = Result<T, String>;

/// The template's pieces, ranges nested.
pub(super) fn template(text: &str) -> Parsed<Vec<Piece>> {
    let mut open: Vec<(Path, Vec<Piece>)> = Vec::new();
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(start) = rest.find('{') else {
            pieces.push(Piece::Text(rest.to_owned()));
            break;
        };
        if start > 0 {
            pieces.push(Piece::Text(rest[..start].to_owned()));
        }
        let length = action_length(&rest[start + 1..]).ok_or("unclosed action")?;
        let action = rest[start + 1..start + 1 + length].trim();
        rest = &rest[start + 2 + length..];
        if action == "end" {
            let (path, outer) = open.pop().ok_or("not in range, nothing to end")?;
            let inner = std::mem::replace(&mut pieces, outer);
            pieces.push(Piece::Range(path, inner));
        } else if let Some(range) = action.strip_prefix("range ") {
            open.push((path(range.trim())?, std::mem::take(&mut pieces)));
        } else if let Some(literal) = quoted(action) {
            pieces.push(Piece::Text(literal));
        } else {
            pieces.push(Piece::Path(path(action)?));
        }
    }
    if open.is_empty() { Ok(pieces) } else { Err("not in range, missing end".into()) }
}

/// How long an action is, up to its closing brace outside quotes.
fn action_length(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(place),
            _ => {}
        }
    }
    None
}

/// The content of `"…"` or `'…'`, escapes resolved.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            other => out.push(other),
        }
    }
    Some(out)
}

/// One path.
pub(super) fn path(text: &str) -> Parsed<Path> {
    let mut rest = text;
    let mut steps = Path::default();
    if let Some(after) = rest.strip_prefix('$') {
        steps.is_absolute = true;
        rest = after;
    } else if let Some(after) = rest.strip_prefix('@') {
        rest = after;
    }
    while !rest.is_empty() {
        rest = step(rest, &mut steps.steps)?;
    }
    Ok(steps)
}

/// Reads one step; gives what is left.
fn step<'t>(text: &'t str, steps: &mut Vec<Step>) -> Parsed<&'t str> {
    if let Some(rest) = text.strip_prefix("..") {
        steps.push(Step::Recursive);
        return if rest.starts_with('[') { Ok(rest) } else { field(rest, steps) };
    }
    if let Some(rest) = text.strip_prefix('.') {
        return if rest.is_empty() || rest.starts_with('[') {
            Ok(rest)
        } else {
            field(rest, steps)
        };
    }
    if let Some(rest) = text.strip_prefix('[') {
        let length = bracket_length(rest).ok_or("unterminated array")?;
        steps.push(bracket(rest[..length].trim())?);
        return Ok(&rest[length + 1..]);
    }
    field(text, steps)
}

fn field<'t>(text: &'t str, steps: &mut Vec<Step>) -> Parsed<&'t str> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((place, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = place;
                break;
            }
            c if c.is_whitespace() || matches!(c, '{' | '}') => {
                let code = u32::from(c);
                return Err(format!("unrecognized character in action: U+{code:04X} '{c}'"));
            }
            c => name.push(c),
        }
    }
    match name.as_str() {
        "" => return Err(format!("a field's name is missing in {text:?}")),
        "*" => steps.push(Step::Wildcard),
        _ => steps.push(Step::Field(name)),
    }
    Ok(&text[end..])
}

/// How long the content of brackets is, with what is nested in it.
fn bracket_length(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    for (place, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ']') if depth == 0 => return Some(place),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Parsed<Step> {
    if let Some(inner) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter(inner.trim());
    }
    let parts = split_outside_quotes(text, ',');
    if parts.len() > 1 {
        return parts
            .iter()
            .map(|part| bracket(part.trim()))
            .collect::<Parsed<_>>()
            .map(Step::Union);
    }
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(name) = quoted(text) {
        return Ok(Step::Field(name));
    }
    if text.contains(':') {
        return slice(text);
    }
    text.parse().map(Step::Index).map_err(|_| format!("invalid array index {text}"))
}

fn slice(text: &str) -> Parsed<Step> {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |place: usize| match parts.get(place).map(|part| part.trim()) {
        None | Some("") => Ok(None),
        Some(part) => part.parse().map(Some).map_err(|_| format!("invalid array index {text}")),
    };
    let step = number(2)?.unwrap_or(1);
    if step < 1 || parts.len() > 3 {
        return Err(format!("invalid array index {text}"));
    }
    Ok(Step::Slice { from: number(0)?, to: number(1)?, step })
}

fn filter(text: &str) -> Parsed<Step> {
    const TESTS: [(&str, Test); 6] = [
        ("==", Test::Equal),
        ("!=", Test::NotEqual),
        ("<=", Test::LessOrEqual),
        (">=", Test::MoreOrEqual),
        ("<", Test::Less),
        (">", Test::More),
    ];
    for (sign, test) in TESTS {
        let Some(place) = find_outside_quotes(text, sign) else { continue };
        let left = operand(text[..place].trim())?;
        let right = operand(text[place + sign.len()..].trim())?;
        return Ok(Step::Filter { left, test: Some((test, right)) });
    }
    Ok(Step::Filter { left: operand(text)?, test: None })
}

fn operand(text: &str) -> Parsed<Operand> {
    if let Some(literal) = quoted(text) {
        return Ok(Operand::Literal(Value::String(literal)));
    }
    if text.starts_with(['@', '$', '.']) {
        return path(text).map(Operand::Path);
    }
    let literal = serde_json::from_str(text);
    literal.map(Operand::Literal).map_err(|_| format!("unrecognized {text:?} in a filter"))
}

fn find_outside_quotes(text: &str, sign: &str) -> Option<usize> {
    let mut quote = None;
    for (place, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if text[place..].starts_with(sign) => return Some(place),
            _ => {}
        }
    }
    None
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(place) = find_outside_quotes(rest, &separator.to_string()) {
        parts.push(&rest[..place]);
        rest = &rest[place + separator.len_utf8()..];
    }
    parts.push(rest);
    parts
}
