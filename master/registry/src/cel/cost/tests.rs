//! Expressions and what they cost at most, as apiextensions-apiserver v0.36.3 estimates it.

use serde_json::Value;

use super::*;
use crate::cel::{Program, Type};
use crate::custom::structural::Structural;

/// What the expressions are about.
const SCHEMA: &str = r#"{"type": "object",
 "properties": {"spec": 
{"type": "object",
 "required": ["name"],
 "properties": {"name": {"type": "string",
 "maxLength": 10},
 "free": {"type": "string"},
 "kind": {"type": "string",
 "enum": ["a",
 "bcd"]},
 "n": {"type": "integer"},
 "d": {"type": "number"},
 "b": {"type": "boolean"},
 "size": {"x-kubernetes-int-or-string": true},
 "short": {"x-kubernetes-int-or-string": true,
 "maxLength": 3},
 "when": {"type": "string",
 "format": "date-time"},
 "day": {"type": "string",
 "format": "date"},
 "lasts": {"type": "string",
 "format": "duration"},
 "data": {"type": "string",
 "format": "byte",
 "maxLength": 100},
 "tags": {"type": "array",
 "maxItems": 5,
 "items": {"type": "string",
 "maxLength": 7}},
 "words": {"type": "array",
 "items": {"type": "string"}},
 "numbers": {"type": "array",
 "maxItems": 20,
 "items": {"type": "integer"}},
 "labels": {"type": "object",
 "additionalProperties": {"type": "string",
 "maxLength": 63},
 "maxProperties": 8},
 "any": {"type": "object",
 "additionalProperties": {"type": "integer"}},
 "deep": {"type": "array",
 "maxItems": 10,
 "items": {"type": "array",
 "maxItems": 3,
 "items": {"type": "string",
 "maxLength": 4}}},
 "list": {"type": "array",
 "maxItems": 6,
 "items": {"type": "object",
 "required": ["id"],
 "properties": {"id": {"type": "string",
 "maxLength": 12},
 "other": {"type": "string",
 "maxLength": 200},
 "items": {"type": "array",
 "maxItems": 4,
 "items": {"type": "string",
 "maxLength": 9}}}}},
 "pod": {"type": "object",
 "x-kubernetes-embedded-resource": true,
 "x-kubernetes-preserve-unknown-fields": true},
 "namespace": {"type": "string",
 "maxLength": 30},
 "a-b": {"type": "string",
 "maxLength": 40}}}}}"#;

#[rustfmt::skip]
const COSTS: &[(&str, u64)] = &[
    ("true", 0),
    ("self.spec.name == 'x'", 4),
    ("self.spec.name != self.spec.free", 10),
    ("self.spec.n == 5", 3),
    ("self.spec.n + 1 > 5 && self.spec.d < 2.0", 9),
    ("self.spec.b || !self.spec.b", 7),
    ("self.spec.kind == 'abc'", 4),
    ("self.spec.kind in ['a', 'b']", 15),
    ("self.spec.name.size() > 3", 5),
    ("size(self.spec.tags) > 3", 5),
    ("self.spec.free.matches('^[a-z]+$')", 629_149),
    ("self.spec.name.matches(self.spec.free)", 3_932_166),
    ("self.spec.free.contains('abc')", 314_576),
    ("self.spec.name.contains(self.spec.kind)", 10),
    ("self.spec.free.startsWith('abcdefghijklmnop')", 5),
    ("self.spec.name.endsWith(self.spec.free)", 314_579),
    ("self.spec.name < self.spec.free", 10),
    ("self.spec.size == 5", 4),
    ("self.spec.size < 5", 4),
    ("string(self.spec.size).size() > 1", 314_578),
    ("self.spec.short == 'a'", 4),
    ("self.spec.when < timestamp('2026-01-01T00:00:00Z')", 5),
    ("self.spec.day == self.spec.when", 8),
    ("self.spec.lasts > duration('5m')", 5),
    ("string(self.spec.data) == 'x'", 14),
    ("bytes(self.spec.name) == self.spec.data", 20),
    ("self.spec.when.getFullYear() > 2000", 5),
    ("has(self.spec.name)", 2),
    ("has(self.spec.name) ? self.spec.name == 'a' : self.spec.n == 1", 6),
    ("self.spec.tags.all(t, t.size() > 3)", 34),
    ("self.spec.tags.exists(t, t == 'x')", 34),
    ("self.spec.tags.exists_one(t, t.startsWith('abc'))", 25),
    ("self.spec.words.all(t, t.matches('^[a-z0-9]*$'))", 989_564_344_729),
    ("self.spec.tags.map(t, t + 'x').all(t, t.size() > 1)", 125),
    ("self.spec.tags.map(t, t != 'q', t.size()).sum() > 5", 100),
    ("self.spec.tags.filter(t, t.contains('abc')).size() > 1", 101),
    ("self.spec.deep.all(a, a.all(b, b == 'x'))", 204),
    ("self.spec.deep.map(a, a[0]).exists(b, b.contains('x'))", 205),
    ("self.spec.list.all(a, self.spec.list.all(b, a.id == b.id || a.other != b.other))", 3_502),
    ("self.spec.list.all(a, a.items.all(i, i == a.other))", 280),
    ("self.spec.list.all(a, a.items.exists(i, i.contains(a.other)) && a.id.matches('x*'))", 7_930),
    ("self.spec.list.map(a, a.id).all(i, i.contains('abcdefghijklmnop'))", 123),
    ("self.spec.labels.all(k, k.size() > 3 && self.spec.labels[k].contains('x'))", 300),
    ("self.spec.labels.exists(k, v, v.contains('abc'))", 252),
    ("self.spec.tags.all(i, t, i < 3 && t != 'z')", 39),
    ("self.spec.tags.transformList(i, t, t.upperAscii()).join(',') == 'A'", 1_844_674_407_370_955_359),
    ("self.spec.tags.transformList(i, t, i > 1, t + string(i)).size() > 1", 9_223_372_036_854_776_421),
    ("self.spec.any.all(k, self.spec.any[k] > 5)", 4_044_505),
    ("'x' in self.spec.words", 1_048_578),
    ("'x' in self.spec.labels", 4),
    ("self.spec.tags == ['a', 'b']", 14),
    ("self.spec.words == self.spec.tags", 7),
    ("self.spec.tags + self.spec.words == self.spec.tags", 11),
    ("(self.spec.tags + self.spec.words).all(w, w != 'x')", 4_194_328),
    ("self.spec.name + self.spec.free == 'abc'", 314_584),
    ("(self.spec.name + 'abc').matches('ab*c')", 13),
    ("self.spec.tags.isSorted()", 23),
    ("self.spec.words.isSorted()", 329_854_432_053),
    ("self.spec.numbers.sum() == self.spec.numbers.max() + self.spec.numbers.min()", 71),
    ("self.spec.tags.indexOf('x') > 1", 24),
    ("self.spec.free.indexOf('x') > 1", 314_577),
    ("self.spec.free.lastIndexOf('x', 5) > 1", 314_577),
    ("self.spec.tags.sort() == self.spec.tags", 71),
    ("self.spec.numbers.sort() == self.spec.numbers", 819),
    ("self.spec.numbers.distinct().size() == 3", 816),
    ("self.spec.numbers.reverse()[0] == 3", 35),
    ("self.spec.numbers.slice(1, 4).all(n, n > 1)", 33),
    ("self.spec.deep.flatten().size() > 3", 26),
    ("sets.contains(self.spec.tags, ['a', 'b'])", 24),
    ("sets.equivalent(self.spec.numbers, [1, 2, 3])", 134),
    ("sets.intersects(self.spec.words, self.spec.tags)", 5_242_882),
    ("self.spec.free.split(',').all(p, p.size() > 1)", 19_503_506),
    ("self.spec.free.split(',', 3).all(p, p.contains('abc'))", 629_162),
    ("self.spec.tags.join(', ').contains('abc')", 33),
    ("self.spec.tags.join().size() > 3", 19),
    ("'%s: %d'.format([self.spec.name, self.spec.n]) == 'x'", 18),
    ("self.spec.free.format([self.spec.n]) == self.spec.name", 314_596),
    ("self.spec.free.replace('a', 'bcd').contains('x')", 1_572_867),
    ("self.spec.name.replace('', 'yyy').matches('abcdefgh')", 45),
    ("self.spec.name.replace('abc', 'a', 2).upperAscii() == 'A'", 16),
    ("self.spec.free.trim().lowerAscii().substring(1, 5).charAt(2) == 'x'", 943_724),
    ("self.spec.name.find('[0-9]+').size() > 1", 15),
    ("self.spec.free.findAll('[0-9]+').all(f, f.size() < 5)", 19_503_506),
    ("self.spec.name.findAll('[0-9]+', 3).size() == 2", 15),
    ("quantity(self.spec.name).isGreaterThan(quantity('5'))", 9),
    ("quantity(self.spec.free) == quantity(self.spec.name)", 314_584),
    ("quantity('1Gi').asInteger() > self.spec.n", 6),
    ("url(self.spec.free).getHost() == 'example.com'", 314_579),
    ("isURL(self.spec.free) && url(self.spec.name) == url(self.spec.free)", 629_160),
    ("url('https://a/b').getQuery().exists(k, k == 'x')", 18_446_744_073_709_551_615),
    ("isIP(self.spec.free) && ip(self.spec.free).family() == 4", 629_154),
    ("ip(self.spec.name) == ip('1.1.1.1') || ip.isCanonical(self.spec.free)", 629_158),
    ("isCIDR(self.spec.free) && cidr(self.spec.free).containsIP(ip(self.spec.name))", 629_163),
    ("cidr(self.spec.free).containsIP(self.spec.free)", 629_156),
    ("cidr('10.0.0.0/8').containsCIDR(self.spec.free) && cidr('10.0.0.0/8').containsCIDR(cidr(self.spec.name))", 314_599),
    ("cidr(self.spec.name).ip().isLoopback() && cidr(self.spec.name).masked() == cidr(self.spec.free) && cidr(self.spec.name).prefixLength() > 3", 314_603),
    ("semver(self.spec.free).major() > 1 && isSemver(self.spec.name)", 314_585),
    ("semver(self.spec.free).compareTo(semver(self.spec.name)) > 0", 314_585),
    ("semver(self.spec.free) == semver(self.spec.name)", 314_584),
    ("format.dns1123Label().validate(self.spec.free).hasValue()", 10_066_341),
    ("!format.named('uuid').value().validate(self.spec.name).hasValue()", 135),
    ("self.?spec.?name.orValue('x') == 'x'", 5),
    ("self.spec.?tags[?0].orValue('x').contains('abcdefghijkl')", 3_689_348_814_741_910_533),
    ("self.spec.?name.optMap(n, n.matches('abcd')).orValue(true)", 1_844_674_407_370_955_285),
    ("self.spec.?tags.optMap(t, t.all(x, x.contains('abc'))).orValue(false)", 18_446_744_073_709_551_615),
    ("self.spec.?name.optFlatMap(n, optional.of(n + 'x')).hasValue()", 1_844_674_407_370_955_285),
    ("optional.of(self.spec.free).value().contains('abc')", 1_844_674_407_370_955_269),
    ("self == oldSelf", 2),
    ("self.spec == oldSelf.spec", 4),
    ("self.spec.free == oldSelf.spec.free", 314_579),
    ("self.spec.words.all(w, w in oldSelf.spec.words)", 1_099_516_870_654),
    ("self.spec.tags.all(w, oldSelf.spec.tags.exists(o, o == w))", 264),
    ("self.spec.list == oldSelf.spec.list", 7),
    ("self.spec.tags[0].contains(self.spec.free)", 943_726),
    ("self.spec.labels['x'].contains(self.spec.free)", 8_178_905),
    ("self.spec.deep[0][1] == 'x'", 6),
    ("{'a': self.spec.free, 'b': 'x'}.all(k, k.contains('x'))", 42),
    ("{'a': self.spec.free}['a'].contains('xyz')", 314_607),
    ("[self.spec.free, 'x'].all(t, t.contains('xyz'))", 22),
    ("[1, 2, 3].all(i, [4, 5].exists(j, j > i))", 95),
    ("[].all(x, x == 1)", 11),
    ("(self.spec.b ? self.spec.tags : self.spec.words).all(t, t.contains('x'))", 4_194_307),
    ("(self.spec.b ? self.spec.name : self.spec.free).matches('abcd')", 314_579),
    ("self.metadata.name.startsWith(self.spec.name)", 10),
    ("self.metadata.name.size() < 30 && self.metadata.generateName == ''", 8),
    ("self.kind == self.apiVersion", 314_577),
    ("self.spec.pod.kind == self.spec.pod.metadata.name", 314_582),
    ("self.spec.namespace.contains('x')", 1_844_674_407_370_955_267),
    ("self.spec.a__dash__b.contains('abcdefghijklm')", 35),
    ("type(self.spec.size) == string ? self.spec.size.matches('[0-9]+%') : self.spec.size > 5", 629_154),
    ("dyn(self.spec.free).contains('abcdef')", 314_577),
    ("dyn(self.spec.free) == 'abcdef'", 5),
    ("dyn(self.spec.tags)[0] == dyn(self.spec.name)", 9),
    ("int(self.spec.name) > 5 && double(self.spec.free) > 1.5 && uint(self.spec.n) > 1u", 15),
    ("self.spec.numbers.all(n, n >= 0) && self.spec.numbers.exists(n, n == 5) || self.spec.numbers.size() == 0", 213),
    ("self.spec.numbers.map(n, n * 2).filter(n, n > 5).exists_one(n, n == 10)", 667),
    ("-self.spec.n < 3 && self.spec.n % 2 == 0", 10),
    ("self.spec.list.filter(a, a.id == 'x').map(a, a.other)[0] == 'y'", 207),
    ("self.spec.list.exists(a, a.id.contains(a.other) && a.other.contains(a.id))", 4_876),
    ("self.spec.list.all(a, size(a.items) > 1 && a.other.contains('abc') && a.items.all(i, i.contains(a.id)))", 1_180),
    ("self.spec.tags.map(t, [t, t + t]).all(p, p[1].contains('xyz'))", 9_223_372_036_854_776_515),
    ("self.spec.tags.map(t, {'k': t}).all(m, m.k == 'a')", 260),
    ("self.spec.tags.exists(i, t, t.contains('x') && i > 1)", 54),
    ("self.spec.tags.existsOne(i, t, t == 'x')", 25),
    ("self.spec.labels.transformList(k, v, k + v).all(x, x.contains('abc'))", 567),
    ("self.spec.labels.map(k, self.spec.labels[k]).exists(v, v == 'q')", 191),
    ("self.spec.words.first().hasValue()", 5),
    ("self.spec.numbers.sort().first().orValue(5) > 1", 817),
    ("self.spec.deep.exists(d, d.exists(e, e.contains('ab'))) || self.spec.deep.map(d, d.size()).max() > 2", 439),
    ("sign(quantity(self.spec.name)) > 0", 9),
    ("self.spec.__namespace__.contains('x')", 15),
    ("self.spec.tags.map(t, t.size()).max() > 3", 90),
    ("self.spec.list.all(a, a.id.size() > 1 && a.items.exists(i, i == a.id))", 328),
    ("string(self.spec.n).size() > 1", 6),
    ("self.spec.tags.all(t, self.spec.labels.all(k, self.spec.words.exists(w, w == t + k)))", 545_259_319),
    ("self.spec.when == oldSelf.spec.when", 10),
    ("self.spec.data.size() > 5", 5),
    ("self.spec.numbers.exists(n, n in [1, 2, 3])", 364),
];

#[test]
fn costs_are_those_of_upstream() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let schema = Structural::compile_root(&schema);
    let sizes = Sizes::of(&schema, true).unwrap();
    let names = Names::from([("self", Type::of(&schema)), ("oldSelf", Type::of(&schema))]);
    let mut wrong = Vec::new();
    for (source, expected) in COSTS {
        match Program::compile(source, &names) {
            Ok((program, _)) => {
                let cost = program.cost_max(&names, &sizes);
                if cost != *expected {
                    wrong.push(format!("{source}: {cost} in place of {expected}"));
                }
            }
            Err(error) => wrong.push(format!("{source}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(sizes.times_max(), 1_048_576);
}

#[test]
fn bombs_are_too_dear() {
    let names = Names::from([("self", Type::Dyn)]);
    let sizes =
        Sizes::of(&Structural::compile_root(&serde_json::json!({"type": "object"})), true).unwrap();
    let cost = |source: &str| Program::compile(source, &names).unwrap().0.cost_max(&names, &sizes);
    // Each step doubles what is before it.
    let chain = |steps| format!("optional.of(1){}.hasValue()", ".optMap(x, x)".repeat(steps));
    assert!(cost(&chain(8)) < u64::MAX);
    assert_eq!(cost(&chain(40)), u64::MAX);
}

#[test]
fn what_must_be_sent_bounds_how_many_fit() {
    let fit = |required: Value| {
        let schema = Structural::compile(&serde_json::json!({"type": "object",
            "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
            "required": required}));
        Sizes::of(&schema, schema.embedded).unwrap().times_max()
    };
    assert_eq!(fit(serde_json::json!([])), 1_048_576);
    assert_eq!(fit(serde_json::json!(["apiVersion", "kind", "metadata"])), 73_156);
}
