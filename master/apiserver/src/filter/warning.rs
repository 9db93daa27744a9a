//! What a client should know although its request was served.

use http::header::{HeaderValue, WARNING};

use crate::call::{Call, Response};

/// All warnings together may have this many bytes; where they have more, each is cut.
const BYTES_MAX: usize = 4096;
/// How much is left of a warning that is cut.
const CUT_TO: usize = 256;

/// Adds a `Warning` header each (RFC 7234 §5.5), as client-go prints them.
pub fn show(call: &Call, response: &mut Response) {
    for text in shown(&call.warnings) {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// The warnings that there is room for, without what no header may have.
fn shown(warnings: &[String]) -> Vec<String> {
    let length = |warning: &String| warning.chars().count();
    let most = match warnings.iter().map(length).sum::<usize>() > BYTES_MAX {
        true => CUT_TO,
        false => BYTES_MAX,
    };
    let mut left = BYTES_MAX;
    let mut shown = Vec::new();
    for warning in warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).take(most).collect();
        if text.len() > left {
            break;
        }
        left -= text.len();
        shown.push(text);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_cut_only_where_there_are_too_many() {
        let lengths =
            |warnings: &[String]| shown(warnings).iter().map(String::len).collect::<Vec<_>>();
        let long = "x".repeat(1_500);
        assert_eq!(lengths(&[long.clone(), long.clone()]), [1_500, 1_500]);
        assert_eq!(lengths(&[long.clone(), long.clone(), long.clone()]), [256, 256, 256]);
        assert_eq!(lengths(&vec![long; 30]).len(), 16);
        assert_eq!(shown(&["a\nb".to_owned()]), ["ab"]);
    }
}
