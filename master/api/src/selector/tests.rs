//! Notation in, canonical notation out; then what matches.

use serde_json::json;

use super::*;

#[test]
fn label_selectors_parse_to_their_canonical_form() {
    #[rustfmt::skip]
    let cases = [
        ("",                        Ok("")),
        ("a=b",                     Ok("a=b")),
        ("a==b, c != d",            Ok("a=b,c!=d")),
        ("a in (y, x),b notin (z)", Ok("a in (x,y),b!=z")),
        ("a,!b",                    Ok("a,!b")),
        ("a=",                      Ok("a=")),
        ("a in ()",                 Ok("a=")),
        ("x.io/n>1,y<2",            Ok("x.io/n>1,y<2")),
        ("a=b,",                    Err("found '', expected: identifier after ','")),
        ("=b",                      Err("found '=', expected: !, identifier, or 'end of string'")),
        ("a in b",                  Err("unable to parse requirement: found 'b' expected: '('")),
        ("a b",                     Err("unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt")),
    ];
    for (text, expected) in cases {
        let found = LabelSelector::parse(text).map(|selector| selector.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }
    assert!(LabelSelector::parse("a=-b").is_err());
    assert!(LabelSelector::parse("-a=b").is_err());
}

#[test]
fn label_selectors_match_labels() {
    let labels = json!({"app": "web", "n": "5"});
    #[rustfmt::skip]
    let cases = [
        ("",                  true),
        ("app=web",           true),
        ("app!=web",          false),
        ("tier!=x",           true),
        ("app in (db,web)",   true),
        ("app notin (db)",    true),
        ("tier",              false),
        ("!tier",             true),
        ("n>4,n<6",           true),
        ("n>5",               false),
        ("app=web,tier",      false),
    ];
    for (text, expected) in cases {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels), expected, "{text}");
    }
    assert!(!LabelSelector::parse("a").unwrap().matches(&Value::Null));
}

#[test]
fn json_selectors_combine_labels_and_expressions() {
    let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
        {"key": "c", "operator": "NotIn", "values": ["d", "e"]}, {"key": "f", "operator": "Exists"},
    ]});
    let selector = LabelSelector::from_json(&selector).unwrap();
    assert_eq!(selector.to_string(), "a=b,c notin (d,e),f");
    assert!(selector.matches(&json!({"a": "b", "f": ""})));
    assert!(LabelSelector::from_json(&json!({"matchExpressions": [{"operator": "x"}]})).is_err());
}

#[test]
fn wrong_json_selectors_are_named_by_field() {
    let selector = json!({"matchLabels": {"a": "-"}, "matchExpressions": [
        {"key": "k", "operator": "In"}, {"key": "k", "operator": "Exists", "values": ["v"]},
        {"key": "k", "operator": "Is"},
    ]});
    let fields: Vec<String> = validate(&selector, &FieldPath::new("spec.selector"))
        .into_iter()
        .map(|error| error.field)
        .collect();
    assert_eq!(
        fields,
        [
            "spec.selector.matchLabels",
            "spec.selector.matchExpressions[0].values",
            "spec.selector.matchExpressions[1].values",
            "spec.selector.matchExpressions[2].operator",
        ]
    );
}

#[test]
fn field_selectors_parse_and_match() {
    let fields: BTreeMap<String, String> = [("metadata.name", "x"), ("status.phase", "Running")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    #[rustfmt::skip]
    let cases = [
        ("",                                     Some(true)),
        ("metadata.name=x",                      Some(true)),
        ("metadata.name==x,status.phase!=Failed", Some(true)),
        ("status.phase!=Running",                Some(false)),
        ("spec.nodeName=",                       Some(true)),
        ("nonsense",                             None),
        ("a=b=c",                                None),
    ];
    for (text, expected) in cases {
        let found = FieldSelector::parse(text).ok().map(|selector| selector.matches(&fields));
        assert_eq!(found, expected, "{text}");
    }
    let selector = FieldSelector::parse(r"a=b\,c").unwrap();
    assert_eq!(selector.required("a"), Some("b,c"));
    assert_eq!(selector.to_string(), r"a=b\,c");
}
