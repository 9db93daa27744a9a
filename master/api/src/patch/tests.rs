//! Original, patch, expected: in JSON, with a small schema for strategic merges.

use serde_json::{Value, json};

use super::*;

/// `items` merge by name, `ports` by number, `tags` are a set, `whole` is replaced.
#[derive(Clone, Copy)]
struct Schema;

impl PatchMeta for Schema {
    fn field(&self, name: &str) -> (Merge, Self) {
        let how = match name {
            "items" => Merge::ByKey("name"),
            "ports" => Merge::ByKey("port"),
            "tags" => Merge::Set,
            "whole" => Merge::Replace,
            _ => Merge::Plain,
        };
        (how, Self)
    }
}

fn strategic(original: Value, patch: Value) -> Result<Value, String> {
    strategic_merge(original, patch, &Schema).map_err(|error| error.to_string())
}

#[test]
fn merge_patch_follows_rfc_7386() {
    #[rustfmt::skip]
    let cases = [
        (json!({"a": "b"}),         json!({"a": "c"}),                   json!({"a": "c"})),
        (json!({"a": "b"}),         json!({"b": "c"}),                   json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}),         json!({"a": null}),                  json!({})),
        (json!({"a": ["b"]}),       json!({"a": "c"}),                   json!({"a": "c"})),
        (json!({"a": {"b": "c"}}),  json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": "foo"}),       json!({"a": {"b": {"c": null}}}),    json!({"a": {"b": {}}})),
        (json!([1, 2]),             json!({"a": "b", "c": null}),        json!({"a": "b"})),
    ];
    for (target, patch, expected) in cases {
        assert_eq!(merge_patch(target, &patch), expected, "{patch}");
    }
}

#[test]
fn json_patch_applies_or_says_why_not() {
    let doc = || json!({"a": {"b/c": 1}, "l": [1, 2, 3]});
    #[rustfmt::skip]
    let cases = [
        (json!([{"op": "add", "path": "/x", "value": 1}]),            Ok(json!({"a": {"b/c": 1}, "l": [1, 2, 3], "x": 1}))),
        (json!([{"op": "add", "path": "/l/1", "value": 9}]),          Ok(json!({"a": {"b/c": 1}, "l": [1, 9, 2, 3]}))),
        (json!([{"op": "add", "path": "/l/-", "value": 9}]),          Ok(json!({"a": {"b/c": 1}, "l": [1, 2, 3, 9]}))),
        (json!([{"op": "remove", "path": "/a/b~1c"}]),                Ok(json!({"a": {}, "l": [1, 2, 3]}))),
        (json!([{"op": "replace", "path": "/l/0", "value": {}}]),     Ok(json!({"a": {"b/c": 1}, "l": [{}, 2, 3]}))),
        (json!([{"op": "move", "from": "/l/2", "path": "/a/d"}]),     Ok(json!({"a": {"b/c": 1, "d": 3}, "l": [1, 2]}))),
        (json!([{"op": "copy", "from": "/a", "path": "/z"}]),         Ok(json!({"a": {"b/c": 1}, "l": [1, 2, 3], "z": {"b/c": 1}}))),
        (json!([{"op": "test", "path": "/l/0", "value": 1}]),         Ok(doc())),
        (json!([{"op": "test", "path": "/l/0", "value": 2}]),         Err("testing value /l/0 failed: test failed")),
        (json!([{"op": "remove", "path": "/q"}]),
         Err("error in remove for path: '/q': Unable to remove nonexistent key: q: missing value")),
        (json!([{"op": "add", "path": "/q/r", "value": 1}]),
         Err("add operation does not apply: doc is missing path: \"/q/r\": missing value")),
        (json!([{"op": "replace", "path": "/q", "value": 1}]),
         Ok(json!({"a": {"b/c": 1}, "l": [1, 2, 3], "q": 1}))),
        (json!([{"op": "add", "path": "/l/9", "value": 1}]),
         Err("error in add for path: '/l/9': Unable to access invalid index: 9: invalid index referenced")),
        // Counted from the end; a new one may stand after the last.
        (json!([{"op": "add", "path": "/l/-1", "value": 9}]),         Ok(json!({"a": {"b/c": 1}, "l": [1, 2, 3, 9]}))),
        (json!([{"op": "add", "path": "/l/-4", "value": 9}]),         Ok(json!({"a": {"b/c": 1}, "l": [9, 1, 2, 3]}))),
        (json!([{"op": "add", "path": "/l/-5", "value": 9}]),
         Err("error in add for path: '/l/-5': Unable to access invalid index: -5: invalid index referenced")),
        (json!([{"op": "remove", "path": "/l/-1"}]),                  Ok(json!({"a": {"b/c": 1}, "l": [1, 2]}))),
        (json!([{"op": "replace", "path": "/l/-3", "value": 9}]),     Ok(json!({"a": {"b/c": 1}, "l": [9, 2, 3]}))),
        (json!([{"op": "replace", "path": "/l/3", "value": 9}]),
         Err("replace operation does not apply: doc is missing key: /l/3: missing value")),
        (json!([{"op": "test", "path": "/l/-1", "value": 3}]),        Ok(doc())),
        // A member that is not there is nothing; a place that is not there is none.
        (json!([{"op": "test", "path": "/q", "value": null}]),        Ok(doc())),
        (json!([{"op": "test", "path": "/l/3", "value": null}]),
         Err("test operation does not apply: is missing path: /l/3: missing value")),
        (json!([{"op": "test", "path": "/q/r", "value": null}]),
         Err("test operation does not apply: is missing path: /q/r: missing value")),
        (json!([{"op": "copy", "from": "/q", "path": "/z"}]),         Ok(json!({"a": {"b/c": 1}, "l": [1, 2, 3], "z": null}))),
        (json!([{"op": "add", "path": "", "value": {}}]),
         Err("add operation does not apply: doc is missing path: \"\": missing value")),
        (json!([{"op": "frob", "path": "/q"}]),                       Err("Unexpected kind: frob")),
        (json!({}),                                                   Err("json: cannot unmarshal object into Go value of type jsonpatch.Patch")),
    ];
    for (patch, expected) in cases {
        let found = json_patch(doc(), &patch).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{patch}");
    }
}

#[test]
fn copy_bombs_are_refused() {
    let copy = |at: usize| json!({"op": "copy", "from": "/a", "path": format!("/a/{at}")});
    let doc = json!({"a": {"text": "x".repeat(1000)}});
    let bomb = Value::Array((0..40).map(copy).collect());
    assert!(matches!(json_patch(doc, &bomb), Err(PatchError::TooLarge(_))));
    let many = Value::Array(vec![json!({"op": "test", "path": ""}); 10_001]);
    assert!(matches!(json_patch(json!({}), &many), Err(PatchError::TooLarge(_))));
}

#[test]
fn strategic_merge_merges_lists_by_key() {
    #[rustfmt::skip]
    let cases = [
        // original, patch, expected
        (json!({"items": [{"name": "a", "v": 1}, {"name": "b"}]}),
         json!({"items": [{"name": "b", "v": 2}, {"name": "c"}]}),
         json!({"items": [{"name": "a", "v": 1}, {"name": "b", "v": 2}, {"name": "c"}]})),
        (json!({"items": [{"name": "a"}, {"name": "b"}]}),
         json!({"items": [{"name": "a", "$patch": "delete"}]}),
         json!({"items": [{"name": "b"}]})),
        (json!({"items": [{"name": "a"}]}),
         json!({"items": [{"$patch": "replace"}, {"name": "z"}]}),
         json!({"items": [{"name": "z"}]})),
        (json!({"items": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
         json!({"$setElementOrder/items": [{"name": "c"}, {"name": "a"}], "items": [{"name": "b", "$patch": "delete"}, {"name": "c", "v": 1}]}),
         json!({"items": [{"name": "c", "v": 1}, {"name": "a"}]})),
        (json!({"ports": [{"port": 80}]}),
         json!({"$setElementOrder/ports": [{"port": 81}, {"port": 80}], "ports": [{"port": 81, "name": "n"}]}),
         json!({"ports": [{"port": 81, "name": "n"}, {"port": 80}]})),
        (json!({}), json!({"items": [{"name": "a", "x": null}, {"name": "b", "$patch": "delete"}]}),
         json!({"items": [{"name": "a"}]})),
        (json!({}), json!({"items": [{"$patch": "replace"}, {"name": "z"}]}), json!({"items": [{"name": "z"}]})),
        (json!({"tags": ["a", "b"]}), json!({"tags": ["c", "a"]}), json!({"tags": ["c", "a", "b"]})),
        (json!({"tags": ["a", "b"]}), json!({"$deleteFromPrimitiveList/tags": ["a"]}), json!({"tags": ["b"]})),
        (json!({"tags": ["a", "b"]}),
         json!({"$deleteFromPrimitiveList/tags": ["b"], "$setElementOrder/tags": ["c", "a"], "tags": ["c"]}),
         json!({"tags": ["c", "a"]})),
        (json!({"args": ["a", "b"]}), json!({"args": ["c"]}), json!({"args": ["c"]})),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(strategic(original, patch.clone()), Ok(expected), "{patch}");
    }
}

#[test]
fn strategic_merge_obeys_directives_on_objects() {
    #[rustfmt::skip]
    let cases = [
        (json!({"o": {"a": 1, "b": 2}}), json!({"o": {"a": 3}}),                          json!({"o": {"a": 3, "b": 2}})),
        (json!({"o": {"a": 1, "b": 2}}), json!({"o": {"$patch": "replace", "c": 3}}),     json!({"o": {"c": 3}})),
        (json!({"o": {"a": 1, "b": 2}}), json!({"o": {"$patch": "delete"}}),              json!({"o": {}})),
        (json!({"o": {"a": 1, "b": 2}}), json!({"o": {"$retainKeys": ["a"], "a": 5}}),    json!({"o": {"a": 5}})),
        (json!({"o": {"a": 1}}),         json!({"o": null}),                              json!({})),
        (json!({"whole": {"a": 1}}),     json!({"whole": {"b": 1}}),                      json!({"whole": {"b": 1}})),
        (json!({}),                      json!({"o": {"$retainKeys": ["a"], "a": 5}}),    json!({"o": {"a": 5}})),
        (json!({}),                      json!({"o": {"$patch": "replace", "a": 5}}),     json!({})),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(strategic(original, patch.clone()), Ok(expected), "{patch}");
    }
}

#[test]
fn wrong_strategic_patches_are_refused_in_upstreams_words() {
    #[rustfmt::skip]
    let cases = [
        (json!({"items": [{"v": 1}]}),                       "map: map[v:1] does not contain declared merge key: name"),
        (json!({"o": {"$patch": "frob"}}),                   "unknown patch type: frob in map: map[]"),
        (json!({"o": {"$retainKeys": ["b"], "a": 5}}),       "invalid patch format of retainKeys"),
        (json!({"$deleteFromPrimitiveList/tags": "a"}),      "invalid patch format of primitive list"),
        (json!({"$setElementOrder/items": "a"}),             "invalid patch format of setElementOrder list"),
        (json!({"$setElementOrder/items": [{"name": "x"}], "items": [{"name": "y"}]}), "The order in patch list:"),
        (json!([]),                                          "invalid JSON document"),
    ];
    let original = json!({"items": [{"name": "a"}], "o": {"a": 1}, "tags": ["a"]});
    for (patch, expected) in cases {
        let error = strategic(original.clone(), patch).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
