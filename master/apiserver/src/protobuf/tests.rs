//! Bodies written by hand, byte by byte, as client-go writes them.

use super::*;

/// A field with bytes, up to 16,383 of them.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], length(bytes), bytes.to_vec()].concat()
}

/// The same with a number from 16 on.
fn long_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let tag = u16::from(number) << 3 | 2;
    let tag = vec![(tag & 0x7f | 0x80) as u8, (tag >> 7) as u8];
    [tag, length(bytes), bytes.to_vec()].concat()
}

fn length(bytes: &[u8]) -> Vec<u8> {
    match bytes.len() {
        short @ 0..0x80 => vec![short as u8],
        long => vec![(long & 0x7f | 0x80) as u8, (long >> 7) as u8],
    }
}

fn varint_field(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn config_map_is_read_with_its_map_and_without_empty_metadata() {
    let label = [field(1, b"color"), field(2, b"red")].concat();
    // client-go writes every field that is no pointer, empty or not.
    let metadata =
        [field(1, b"c"), field(2, b""), field(3, b"ns"), field(11, &label), field(8, b"")].concat();
    let data = [field(1, b"a"), field(2, b"b")].concat();
    let bytes = body("v1", "ConfigMap", &[field(1, &metadata), field(2, &data)].concat());
    let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": "c", "namespace": "ns", "labels": {"color": "red"}}});
    assert_eq!(decode(&bytes).unwrap(), expected);
}

#[test]
fn pointers_keep_their_zero_and_inline_fields_move_up() {
    let deployment = field(2, &varint_field(1, 0));
    let bytes = body("apps/v1", "Deployment", &deployment);
    assert_eq!(decode(&bytes).unwrap()["spec"]["replicas"], 0);
    let source = field(2, &field(1, &field(1, b"/tmp")));
    let volume = [field(1, b"v"), source].concat();
    let bytes = body("v1", "Pod", &field(2, &field(1, &volume)));
    let expected = json!([{"name": "v", "hostPath": {"path": "/tmp"}}]);
    assert_eq!(decode(&bytes).unwrap()["spec"]["volumes"], expected);
}

#[test]
fn review_and_options_are_found_by_their_kinds() {
    let attributes = [field(1, b"default"), field(2, b"get"), field(5, b"pods")].concat();
    let bytes = body(
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        &field(2, &field(1, &attributes)),
    );
    let expected = json!({"namespace": "default", "verb": "get", "resource": "pods"});
    assert_eq!(decode(&bytes).unwrap()["spec"]["resourceAttributes"], expected);
    let bytes =
        body("v1", "DeleteOptions", &[varint_field(1, 0), field(4, b"Background")].concat());
    let options = decode(&bytes).unwrap();
    assert_eq!(
        (&options["gracePeriodSeconds"], &options["propagationPolicy"]),
        (&json!(0), &json!("Background"))
    );
}

#[test]
fn schemas_of_a_definition_are_read_with_what_may_stand_in_a_schemas_place() {
    let property =
        |name: &[u8], schema: &[u8]| long_field(29, &[field(1, name), field(2, schema)].concat());
    let strings = field(5, b"string");
    let list = [field(5, b"array"), long_field(24, &field(1, &strings))].concat();
    let map = [field(5, b"object"), long_field(30, &field(2, &strings))].concat();
    let closed = long_field(30, &varint_field(1, 0));
    let default = [field(5, b"integer"), field(8, &field(1, b"5"))].concat();
    let schema = [
        field(5, b"object"),
        property(b"list", &list),
        property(b"map", &map),
        property(b"closed", &closed),
        property(b"default", &default),
    ]
    .concat();
    let version =
        [field(1, b"v1"), varint_field(2, 1), varint_field(3, 0), field(4, &field(1, &schema))];
    let spec = [field(1, b"acme.io"), field(7, &version.concat())].concat();
    let bytes = body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &field(2, &spec));
    let schema = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "closed": {"additionalProperties": false},
        "default": {"type": "integer", "default": 5}}});
    let expected = json!({"group": "acme.io", "versions": [{"name": "v1", "served": true,
        "storage": false, "schema": {"openAPIV3Schema": schema}}]});
    assert_eq!(decode(&bytes).unwrap()["spec"], expected);
}

#[test]
fn malformed_bodies_are_refused_and_never_panic() {
    for bytes in [
        &b""[..],
        b"k8s",
        b"k8s\0\x0a\xff",
        b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"{}",
    ] {
        assert_eq!(decode(bytes).unwrap_err().code(), 400);
    }
    let good = body("v1", "ConfigMap", &field(1, &field(1, b"c")));
    for end in 0..good.len() {
        let _ = decode(&good[..end]);
    }
}

#[test]
fn claims_of_devices_are_read_with_the_configuration_that_moves_up() {
    let opaque = field(1, b"driver.example.com");
    let config = [field(1, b"gpu"), field(2, &field(1, &opaque))].concat();
    let request = [field(1, b"gpu"), field(2, &field(1, b"gpus.example.com"))].concat();
    let devices = [field(1, &request), field(3, &config)].concat();
    let bytes = body("resource.k8s.io/v1", "ResourceClaim", &field(2, &field(1, &devices)));
    let expected = json!({"devices": {
        "requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpus.example.com"}}],
        "config": [{"requests": ["gpu"], "opaque": {"driver": "driver.example.com"}}]}});
    assert_eq!(decode(&bytes).unwrap()["spec"], expected);
}
