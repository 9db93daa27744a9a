//! A request's query string.
//!
//! Unknown parameters are ignored and wrong values refused, as upstream does.

use std::str::FromStr;

use master_api::percent;
use master_api::selector::FieldSelector;

/// The parameters, in order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// A value that does not fit its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue(pub String);

impl Query {
    /// Reads `a=b&c=d`; what cannot be decoded is left out.
    pub fn parse(raw: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |text: &str| percent::decode(&text.replace('+', " "));
            Some((decode(key)?, decode(value)?))
        };
        // As Go: a semicolon separates nothing, and whatever has one counts for nothing.
        let is_sound = |part: &&str| !part.is_empty() && !part.contains(';');
        Self { pairs: raw.split('&').filter(is_sound).filter_map(pair).collect() }
    }

    /// The first value of a parameter; `None` if it is missing or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
        value.filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Whether a switch is on: everything but absence, `false` and `0` is, also an empty value.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
        value.is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A parameter of some type.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, BadValue> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // All that are parsed are whole numbers.
        let wrong = |_| BadValue(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        text.parse().map(Some).map_err(wrong)
    }

    /// The value that a field selector demands of `field`, if it does so by equality.
    pub fn exact_field(&self, field: &str) -> Option<String> {
        let selector = FieldSelector::parse(self.get("fieldSelector")?).ok()?;
        selector.required(field).map(str::to_owned)
    }

    /// All parameters, in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_typed() {
        let query = Query::parse("watch=&limit=5&labelSelector=a%3Db%2Cc+in+%28d%29&x=%zz&n=abc");
        assert!(query.flag("watch") && !query.flag("pretty"));
        assert_eq!(query.parsed::<i64>("limit"), Ok(Some(5)));
        assert!(query.parsed::<i64>("n").is_err());
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert_eq!(query.get("x"), None);
        assert_eq!(Query::parse("limit=2;x&a=%3B").pairs(), [("a".into(), ";".into())]);
    }

    #[test]
    fn exact_field_is_found_among_others() {
        let exact = |selector: &str| {
            Query { pairs: vec![("fieldSelector".into(), selector.into())] }
                .exact_field("metadata.name")
        };
        assert_eq!(exact("a=b,metadata.name=x"), Some("x".into()));
        assert_eq!(exact("metadata.name==x"), Some("x".into()));
        assert_eq!(exact("metadata.name!=x"), None);
        assert_eq!(exact(r"metadata.name=x\,y"), Some("x,y".into()));
    }
}
