//! Functions of text: cel-go's `strings` extension and Kubernetes' regular expressions.

use base64::Engine as _;
use master_api::time;

use super::Answer;
use crate::cel::eval::{Budget, TEXT_A_STEP};
use crate::cel::value::Val;
use crate::custom::pattern;

pub(super) fn call<'a>(name: &str, values: &[Val<'a>], budget: &mut Budget) -> Answer<'a> {
    if let ("string", [of]) = (name, values) {
        return Some(
            shown(of)
                .ok_or_else(|| {
                    format!("type conversion error from '{}' to 'string'", of.type_name())
                })
                .map(Val::text),
        );
    }
    if let ("join", [list, rest @ ..]) = (name, values) {
        return Some(join(list, rest.first()));
    }
    let [Val::Text(text), rest @ ..] = values else { return None };
    let text: &str = text;
    let texts = |list: Vec<String>| Val::list(list.into_iter().map(Val::text).collect());
    Some(Ok(match (name, rest) {
        ("contains", [Val::Text(other)]) => Val::Bool(text.contains(&**other)),
        ("startsWith", [Val::Text(other)]) => Val::Bool(text.starts_with(&**other)),
        ("endsWith", [Val::Text(other)]) => Val::Bool(text.ends_with(&**other)),
        ("jsonpatch.escapeKey", []) => Val::text(text.replace('~', "~0").replace('/', "~1")),
        ("lowerAscii", []) => Val::text(text.to_ascii_lowercase()),
        ("upperAscii", []) => Val::text(text.to_ascii_uppercase()),
        ("trim", []) => Val::text(text.trim()),
        ("reverse", []) => Val::text(text.chars().rev().collect::<String>()),
        ("bytes", []) => Val::Bytes(std::rc::Rc::new(text.as_bytes().to_vec())),
        ("charAt", [Val::Int(at)]) => return Some(char_at(text, *at)),
        ("indexOf" | "lastIndexOf", [Val::Text(other), rest @ ..]) => {
            return Some(index_of(text, other, rest.first(), name == "lastIndexOf"));
        }
        ("substring", [Val::Int(start), rest @ ..]) => {
            return Some(substring(text, *start, rest.first()));
        }
        ("replace", [Val::Text(old), Val::Text(new), rest @ ..]) => {
            let replaced = match limit(rest.first()) {
                Some(count) => text.replacen(&**old, new, count),
                None => text.replace(&**old, new),
            };
            if let Err(spent) = budget.spend(replaced.len() / TEXT_A_STEP) {
                return Some(Err(spent));
            }
            Val::text(replaced)
        }
        ("split", [Val::Text(by), rest @ ..]) => texts(split(text, by, limit(rest.first()))),
        ("matches" | "find" | "findAll", [Val::Text(wanted), rest @ ..]) => {
            return Some(matching(name, text, wanted, limit(rest.first()), budget));
        }
        ("format", [list]) => return Some(format(text, list)),
        _ => return None,
    }))
}

/// A count, where one is given that is not negative.
fn limit(value: Option<&Val<'_>>) -> Option<usize> {
    match value {
        Some(Val::Int(count)) => usize::try_from(*count).ok(),
        _ => None,
    }
}

/// A value as text, if it has one.
pub(super) fn shown(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Text(text) => text.to_string(),
        Val::Bool(is_so) => is_so.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => number.to_string(),
        Val::Bytes(bytes) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => text,
            Err(_) => base64::engine::general_purpose::STANDARD.encode(&**bytes),
        },
        Val::Duration(ns) => format!("{}s", *ns as f64 / 1e9),
        Val::Timestamp(at) if at.subsec_nanosecond() == 0 => time::seconds(*at),
        Val::Timestamp(at) => at.to_string(),
        Val::Quantity(amount) => amount.to_string(),
        Val::Ip(address) => address.to_string(),
        Val::Cidr(address, bits) => format!("{address}/{bits}"),
        Val::Type(name) => (*name).to_owned(),
        Val::Url(url) => url.text.clone(),
        Val::Null
        | Val::List(_)
        | Val::Map(_)
        | Val::Joined(..)
        | Val::JsonList(..)
        | Val::JsonMap(..)
        | Val::Version(_)
        | Val::Format(_)
        | Val::Optional(_)
        | Val::Access(_)
        | Val::Decision(..) => return None,
    })
}

fn join<'a>(list: &Val<'a>, by: Option<&Val<'a>>) -> Result<Val<'a>, String> {
    let by = match by {
        Some(Val::Text(by)) => by.to_string(),
        _ => String::new(),
    };
    let mut parts = Vec::new();
    for item in list.items().unwrap_or_default() {
        match item {
            Val::Text(text) => parts.push(text.into_owned()),
            other => return Err(format!("no such overload: join({})", other.type_name())),
        }
    }
    Ok(Val::text(parts.join(&by)))
}

fn char_at<'a>(text: &str, at: i64) -> Result<Val<'a>, String> {
    let place = usize::try_from(at).map_err(|_| format!("index out of range: {at}"))?;
    match text.chars().nth(place) {
        Some(c) => Ok(Val::text(c)),
        None if place == text.chars().count() => Ok(Val::text("")),
        None => Err(format!("index out of range: {at}")),
    }
}

/// In characters, as all places are.
fn index_of<'a>(
    text: &str,
    other: &str,
    from: Option<&Val<'a>>,
    is_last: bool,
) -> Result<Val<'a>, String> {
    let chars: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = other.chars().collect();
    let from = match from {
        Some(Val::Int(from)) => Some(
            usize::try_from(*from)
                .ok()
                .filter(|from| *from <= chars.len())
                .ok_or_else(|| format!("index out of range: {from}"))?,
        ),
        _ => None,
    };
    let fits = |at: &usize| chars[*at..].starts_with(&wanted);
    let last = chars.len().saturating_sub(wanted.len());
    if wanted.len() > chars.len() {
        return Ok(Val::Int(-1));
    }
    let found = if is_last {
        (0..=from.unwrap_or(last).min(last)).rev().find(fits)
    } else {
        (from.unwrap_or(0)..=last).find(fits)
    };
    Ok(found.map_or(Val::Int(-1), Val::count))
}

fn substring<'a>(text: &str, start: i64, end: Option<&Val<'a>>) -> Result<Val<'a>, String> {
    let count = text.chars().count();
    let end = match end {
        Some(Val::Int(end)) => *end,
        _ => i64::try_from(count).unwrap_or(i64::MAX),
    };
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(format!("index out of range: {}", start.min(end)));
    };
    if from > to || to > count {
        return Err(format!("invalid substring range. start: {start}, end: {end}"));
    }
    Ok(Val::text(text.chars().skip(from).take(to - from).collect::<String>()))
}

fn split(text: &str, by: &str, limit: Option<usize>) -> Vec<String> {
    match limit {
        Some(0) => Vec::new(),
        _ if by.is_empty() => text.chars().map(String::from).collect(),
        Some(count) => text.splitn(count, by).map(str::to_owned).collect(),
        None => text.split(by).map(str::to_owned).collect(),
    }
}

fn matching<'a>(
    name: &str,
    text: &str,
    wanted: &str,
    limit: Option<usize>,
    budget: &mut Budget,
) -> Result<Val<'a>, String> {
    // As upstream counts: what is searched, times what it is searched for.
    budget.spend((text.len() / TEXT_A_STEP + 1) * (wanted.len() / 4 + 1))?;
    let regex = pattern::compile(wanted).map_err(|error| {
        let text = error.to_string();
        format!("error parsing regexp: {}", text.lines().last().unwrap_or_default())
    })?;
    Ok(match name {
        "matches" => Val::Bool(regex.is_match(text)),
        "find" => Val::text(regex.find(text).map_or("", |found| found.as_str())),
        _ => {
            let all = regex.find_iter(text).take(limit.unwrap_or(usize::MAX));
            Val::list(all.map(|found| Val::text(found.as_str())).collect())
        }
    })
}

/// `"%s has %d".format([a, b])`
fn format<'a>(text: &str, list: &Val<'a>) -> Result<Val<'a>, String> {
    let items = list.items().unwrap_or_default();
    let mut items = items.iter();
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut clause: String = String::new();
        let verb = loop {
            match chars.next() {
                Some(c) if c == '.' || c.is_ascii_digit() => clause.push(c),
                Some(c) => break c,
                None => return Err("unexpected end of format string".to_owned()),
            }
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let item =
            items.next().ok_or("index out of range: the format has more clauses than values")?;
        out.push_str(&one(verb, &clause, item)?);
    }
    Ok(Val::text(out))
}

fn one(verb: char, clause: &str, item: &Val<'_>) -> Result<String, String> {
    let precision = clause.strip_prefix('.').and_then(|digits| digits.parse::<usize>().ok());
    let wrong = || format!("error during formatting: %{verb} of a {}", item.type_name());
    match (verb, item) {
        ('s', Val::List(_) | Val::Joined(..) | Val::JsonList(..)) => {
            let items = item.items().unwrap_or_default();
            let parts: Result<Vec<_>, _> = items.iter().map(|item| one('s', "", item)).collect();
            Ok(format!("[{}]", parts?.join(", ")))
        }
        ('s', Val::Null) => Ok("null".to_owned()),
        ('s', _) => shown(item).ok_or_else(wrong),
        ('d', Val::Int(_) | Val::Uint(_)) => shown(item).ok_or_else(wrong),
        ('f', Val::Double(number)) => Ok(format!("{number:.*}", precision.unwrap_or(6))),
        ('f', Val::Int(number)) => Ok(format!("{:.*}", precision.unwrap_or(6), *number as f64)),
        ('e', Val::Double(number)) => Ok(format!("{number:.*e}", precision.unwrap_or(6))),
        ('x', Val::Int(number)) => Ok(format!("{number:x}")),
        ('X', Val::Int(number)) => Ok(format!("{number:X}")),
        ('o', Val::Int(number)) => Ok(format!("{number:o}")),
        ('b', Val::Int(number)) => Ok(format!("{number:b}")),
        ('b', Val::Bool(is_so)) => Ok(u8::from(*is_so).to_string()),
        _ => Err(wrong()),
    }
}
