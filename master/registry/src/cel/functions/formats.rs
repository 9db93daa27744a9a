//! Kubernetes' `format` library: whether a text has a format, and what is wrong with it if not.

use master_api::{go, names};

use super::Answer;
use crate::cel::value::Val;
use crate::custom::format;

/// What is wrong with a text.
type Judge = fn(&str) -> Vec<String>;

/// A format by its name in expressions.
#[derive(Debug)]
pub struct Format {
    pub(in crate::cel) name: &'static str,
    judge: Judge,
}

const FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", judge: names::dns1123_label },
    Format { name: "dns1123Subdomain", judge: names::dns1123_subdomain },
    Format { name: "dns1035Label", judge: names::dns1035_label },
    Format { name: "qualifiedName", judge: names::qualified_name },
    Format { name: "dns1123LabelPrefix", judge: |text| names::dns1123_label(&whole(text)) },
    Format { name: "dns1123SubdomainPrefix", judge: |text| names::dns1123_subdomain(&whole(text)) },
    Format { name: "dns1035LabelPrefix", judge: |text| names::dns1035_label(&whole(text)) },
    Format { name: "labelValue", judge: names::label_value },
    Format {
        name: "uri",
        judge: |text| {
            let wrong = format!("parse {}: invalid URI for request", go::quoted(text));
            unless(format::fits("uri", text), &wrong)
        },
    },
    Format {
        name: "uuid",
        judge: |text| unless(format::fits("uuid", text), "does not match the UUID format"),
    },
    Format { name: "byte", judge: |text| unless(format::fits("byte", text), "invalid base64") },
    Format { name: "date", judge: |text| unless(format::fits("date", text), "invalid date") },
    Format {
        name: "datetime",
        judge: |text| unless(format::fits("datetime", text), "invalid datetime"),
    },
];

pub(super) fn call<'a>(name: &str, values: &[Val<'a>]) -> Answer<'a> {
    Some(Ok(match (name, values) {
        ("format.named", [Val::Text(wanted)]) => Val::optional(find(wanted).map(Val::Format)),
        ("validate", [Val::Format(format), Val::Text(text)]) => {
            let wrong = (format.judge)(text);
            let wrong = (!wrong.is_empty()).then(|| wrong.into_iter().map(Val::text).collect());
            Val::optional(wrong.map(Val::list))
        }
        (_, []) => Val::Format(find(name.strip_prefix("format.")?)?),
        _ => return None,
    }))
}

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// A prefix of a generated name: a dash at its end has something behind it later. As upstream has it, with the
/// character before it gone.
fn whole(prefix: &str) -> String {
    let mut name = prefix.to_owned();
    if prefix.len() > 1 && prefix.ends_with('-') {
        name.pop();
        name.pop();
        name.push('a');
    }
    name
}

fn unless(is_fit: bool, wrong: &str) -> Vec<String> {
    if is_fit { Vec::new() } else { vec![wrong.to_owned()] }
}
