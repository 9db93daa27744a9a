//! Expressions and what they come to.

use serde_json::json;

use super::*;

/// Evaluates over `self` of some schema; errors are shown as they are.
fn over(schema: &serde_json::Value, object: &serde_json::Value, source: &str) -> String {
    let schema = Structural::compile(schema);
    let names = Names::from([("self", Type::of(&schema))]);
    let program = match Program::compile(source, &names) {
        Ok((program, _)) => program,
        Err(error) => return error.lines().next().unwrap_or_default().to_owned(),
    };
    let names = [("self", json(object, Some(&schema)))];
    match program.run(&names, &mut Budget::new(200_000)) {
        Ok(value) => shown(&value),
        Err(error) => error,
    }
}

fn shown(value: &Val<'_>) -> String {
    if let Some(items) = value.items() {
        let items: Vec<String> = items.iter().map(shown).collect();
        return format!("[{}]", items.join(", "));
    }
    match value {
        Val::Null => "null".to_owned(),
        Val::Bool(is_so) => is_so.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => format!("{number}u"),
        Val::Double(number) => format!("{number:?}"),
        Val::Text(text) => text.to_string(),
        Val::Optional(None) => "none".to_owned(),
        Val::Optional(Some(held)) => format!("some {}", shown(held)),
        other => other.type_name().to_owned(),
    }
}

fn check(source: &str, expected: &str) {
    assert_eq!(over(&json!({"type": "object"}), &json!({}), source), expected, "{source}");
}

#[test]
fn operators_bind_as_the_language_says() {
    #[rustfmt::skip]
    let cases = [
        ("1 + 2 * 3", "7"),                 ("(1 + 2) * 3", "9"),            ("-7 / 2", "-3"),
        ("7 % 4", "3"),                     ("1.5 + 2.0", "3.5"),            ("5u + 1u", "6u"),
        ("'a' + \"b\"", "ab"),              ("[1] + [2, 3]", "[1, 2, 3]"),   ("!true || true && false", "false"),
        ("1 < 2 ? 'y' : 'n'", "y"),         ("2 in [1, 2]", "true"),         ("'k' in {'k': 1}", "true"),
        ("{'a': 1}.a", "1"),                ("{'a': {'b': 2}}['a'].b", "2"), ("[1, 2, 3][1]", "2"),
        ("1 == 1 && 'a' != 'b'", "true"),   ("[1, 2] == [1, 2]", "true"),    ("{'a': 1} == {'a': 1}", "true"),
        ("r'\\d' == '\\\\d'", "true"),      ("'\\u00e9'.size()", "1"),       ("0x10", "16"),
        ("true || 1 / 0 == 1", "true"),     ("1 / 0 == 1 || true", "true"),  ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"), ("-9223372036854775808", "-9223372036854775808"),
        ("// note\n1", "1"),
    ];
    for (source, expected) in cases {
        check(source, expected);
    }
}

#[test]
fn loops_and_functions() {
    #[rustfmt::skip]
    let cases = [
        ("[1, 2, 3].all(x, x > 0)", "true"),              ("[1, 2, 3].exists(x, x > 2)", "true"),
        ("[1, 2, 2].exists_one(x, x == 2)", "false"),     ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),     ("[1, 2, 3].filter(x, x != 2)", "[1, 3]"),
        ("{'a': 1, 'b': 2}.all(k, k.size() == 1)", "true"), ("[5, 6].all(i, v, v == i + 5)", "true"),
        ("[1, 2, 3].sum()", "6"),                         ("[3, 1, 2].max()", "3"),
        ("[3, 1, 2].min()", "1"),                         ("[1, 2].isSorted()", "true"),
        ("['a', 'b'].indexOf('b')", "1"),                 ("[1, 1, 2].distinct()", "[1, 2]"),
        ("[[1], [2, 3]].flatten()", "[1, 2, 3]"),         ("[1, 2, 3].slice(1, 3)", "[2, 3]"),
        ("sets.contains([1, 2], [2])", "true"),           ("sets.intersects([1], [2])", "false"),
        ("'a-b-c'.split('-')", "[a, b, c]"),              ("['a', 'b'].join('/')", "a/b"),
        ("'hello'.replace('l', 'L')", "heLLo"),           ("'HeLLo'.lowerAscii()", "hello"),
        ("'hello'.substring(1, 3)", "el"),                ("'hello'.indexOf('l')", "2"),
        ("'hello'.charAt(4)", "o"),                       ("' x '.trim()", "x"),
        ("'abc'.matches('^a.c$')", "true"),               ("'a1b22'.find('[0-9]+')", "1"),
        ("'a1b22'.findAll('[0-9]+')", "[1, 22]"),         ("'%s is %d'.format(['x', 3])", "x is 3"),
        ("int('42') + 1", "43"),                          ("string(1.5)", "1.5"),
        ("double(3)", "3.0"),                             ("type(1) == int", "true"),
        ("duration('1h') > duration('59m')", "true"),     ("timestamp('2026-01-02T03:04:05Z').getHours()", "3"),
        ("quantity('1Gi').isGreaterThan(quantity('1000Mi'))", "true"), ("quantity('2').asInteger()", "2"),
        ("quantity('1').add(quantity('500m')).compareTo(quantity('1500m'))", "0"), ("isQuantity('x')", "false"),
        ("url('https://a.b:8080/p?q=1').getHostname()", "a.b"), ("url('https://a.b:8080/p').getPort()", "8080"),
        ("isURL('/x')", "true"),                          ("ip('::1').isLoopback()", "true"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"), ("isCIDR('10.0.0.0/33')", "false"),
        ("ip.isCanonical('2001:DB8::1')", "false"),       ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", "true"),
        ("timestamp('2026-01-02T03:04:05Z').getDate('America/New_York')", "1"), ("timestamp('2026-07-02T03:04:05Z').getHours('-02:30')", "0"),
        ("timestamp('2026-01-02T03:04:05Z').getHours('Mars/Crater')", "unknown time zone Mars/Crater"),
        ("semver('1.10.0').isGreaterThan(semver('1.9.9'))", "true"), ("semver('1.0.0-rc.1').compareTo(semver('1.0.0'))", "-1"),
        ("semver('v01.2', true).minor()", "2"),           ("isSemver('v1.2')", "false"),
        ("isSemver('1.2-rc', true)", "false"),            ("semver('1.2.3+a') == semver('1.2.3+b')", "true"),
        ("format.dns1123Label().validate('a.b')", "some [must not contain dots]"), ("format.dns1123Label().validate('ab')", "none"),
        ("format.named('dns1035LabelPrefix').value().validate('ab-')", "none"), ("format.named('no')", "none"),
        ("format.uuid().validate('x').value()", "[does not match the UUID format]"), ("'%d'.format([1])", "1"),
        ("optional.of(3).orValue(4)", "3"),               ("{'a': 1}[?'b'].orValue(9)", "9"),
        ("optional.none().hasValue()", "false"),          ("{'a': 1}.?a.optMap(x, x + 1)", "some 2"),
    ];
    for (source, expected) in cases {
        check(source, expected);
    }
}

#[test]
fn objects_are_typed_by_their_schema() {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"},
        "a.b": {"type": "integer"}, "namespace": {"type": "string"}, "x-y": {"type": "boolean"},
        "at": {"type": "string", "format": "date-time"},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"v": {"type": "integer"}}}},
        "any": {"x-kubernetes-int-or-string": true}}});
    let object = json!({"n": 3, "d": 2, "a.b": 1, "namespace": "ns", "x-y": true, "at": "2026-01-02T03:04:05Z",
        "m": {"k": 7}, "set": ["a", "b"], "keyed": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
        "list": [{"v": 1}, {}], "any": "50%"});
    #[rustfmt::skip]
    let cases = [
        ("self.n + 1", "4"),                            ("self.d / 4.0", "0.5"),
        ("self.a__dot__b", "1"),                        ("self.__namespace__", "ns"),
        ("self.x__dash__y", "true"),                    ("self.at.getFullYear()", "2026"),
        ("self.m['k']", "7"),                           ("self.m.k", "7"),
        ("has(self.s)", "false"),                       ("has(self.n) && self.n > 2", "true"),
        ("self.set == ['b', 'a']", "true"),             ("['b', 'a'] == self.set", "false"),
        ("'a' in self.set", "true"),                    ("self.set + ['a', 'c'] + ['c']", "[a, b, c]"),
        ("self.set + ['c'] == ['c', 'b', 'a']", "true"), ("['a'] + self.set", "[a, a, b]"),
        ("(self.keyed + [self.keyed[0]] + self.keyed).map(i, i.v)", "[1, 2]"),
        ("self.keyed == [self.keyed[1], self.keyed[0]]", "true"), ("(self.set + ['c']).size()", "3"),
        ("(self.set + ['c'])[2]", "c"),                 ("self.at.getHours('+05:30')", "8"),
        ("self.list.exists(i, has(i.v) && i.v == 1)", "true"), ("self.list.map(i, has(i.v))", "[true, false]"),
        ("self.s", "no such key: s"),                   ("type(self.any) == string", "true"),
        ("self.m.all(k, self.m[k] > 1)", "true"),       ("self.?s.orValue('none')", "none"),
        ("self.none", "ERROR: <input>:1:5: undefined field 'none'"),
        ("self.n == 'x'", "ERROR: <input>:1:8: found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.n + self.s", "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.s.frob()", "ERROR: <input>:1:12: undeclared reference to 'frob' (in container '')"),
        ("self.keyed + [{'k': 'a'}]", "ERROR: <input>:1:12: found no matching overload for '_+_' applied to '(list(object), list(map(string, string)))'"),
        ("sets.frob(self.set)", "ERROR: <input>:1:1: undeclared reference to 'sets' (in container '')"),
        ("nobody", "ERROR: <input>:1:1: undeclared reference to 'nobody' (in container '')"),
        ("self.n >", "ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"),
        ("self.n !", "ERROR: <input>:1:8: Syntax error: extraneous input '!' expecting <EOF>"),
        ("self.n ! x", "ERROR: <input>:1:8: Syntax error: mismatched input '!' expecting <EOF>"),
        ("self.n.all(x, true)", "ERROR: <input>:1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"),
    ];
    for (source, expected) in cases {
        assert_eq!(over(&schema, &object, source), expected, "{source}");
    }
}

#[test]
fn sets_are_added_and_compared_in_steps_of_their_length() {
    let schema = json!({"type": "object", "properties": {"set": {"type": "array",
        "x-kubernetes-list-type": "set", "items": {"type": "integer"}}}});
    // The square of that is 1,600 million.
    let object = json!({"set": (0..40_000).collect::<Vec<i64>>()});
    assert_eq!(over(&schema, &object, "self.set + self.set == self.set"), "true");
}

#[test]
fn bombs_end() {
    let deep = format!("{}1{}", "(".repeat(300), ")".repeat(300));
    check(&deep, "ERROR: <input>:1:201: expression recursion limit exceeded: 200");
    let limit = "expression recursion limit exceeded: 1000";
    for (start, link, end) in [("", "1+", "1 == 1"), ("", "!", "true"), ("dyn({})", ".a", "")] {
        let told = |count: usize| {
            let source = format!("{start}{}{end}", link.repeat(count));
            over(&json!({"type": "object"}), &json!({}), &source)
        };
        let longest = told(990);
        assert!(!longest.contains(limit), "{link}: {longest}");
        assert!(told(1_001).contains(limit), "{link}");
    }
    check(&format!("true{}", " && true".repeat(3_000)), "true");
    let spent = "operation cancelled: actual cost limit exceeded";
    let tens = "[1,1,1,1,1,1,1,1,1,1]";
    let nested =
        format!("{tens}.map(a, {tens}.map(b, {tens}.map(c, {tens}.map(d, {tens}.map(e, a)))))");
    check(&nested, spent);
}
