//! Messages as JSON and as bytes of the wire, by their descriptors.
//!
//! Names are those of the protocol's files, bytes are base64, 64-bit numbers strings, and what is zero is
//! left out: as etcd's gateway writes them. It reads them in every form that protobuf's JSON allows.

mod words;

use std::sync::LazyLock;

use bytes::Bytes;
use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};
use tonic::Status;

/// What `build.rs` has found in the protocol's files.
static FILES: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(&bytes[..]).expect("protoc wrote it when this was built")
});

/// The method of this path: `/package.Service/Method`.
pub(super) fn method(path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = FILES.get_service_by_name(service)?;
    service.methods().find(|known| known.name() == method)
}

/// The bytes of a message that is given as JSON; of the empty one if nothing is given.
pub(super) fn to_wire(kind: MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, Status> {
    if json.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut reader = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize_with_options(kind.clone(), &mut reader, &options);
    let message = message.map_err(|error| {
        Status::invalid_argument(words::explain(&kind, json, &error.to_string()))
    })?;
    Ok(message.encode_to_vec())
}

/// The JSON of a message.
pub(super) fn from_wire(kind: MessageDescriptor, message: Bytes) -> Result<String, Status> {
    let failed = |error: &dyn std::error::Error| Status::internal(error.to_string());
    let message = DynamicMessage::decode(kind, message).map_err(|error| failed(&error))?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(true)
        .skip_default_fields(true);
    let mut writer = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut writer, &options).map_err(|error| failed(&error))?;
    String::from_utf8(writer.into_inner()).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(method_path: &str, json: &str) -> Result<String, String> {
        let kind = method(method_path).unwrap().input();
        let wire = to_wire(kind.clone(), json.as_bytes()).map_err(|s| s.message().to_owned())?;
        Ok(from_wire(kind, wire.into()).unwrap())
    }

    #[test]
    fn json_is_read_in_every_form_and_written_in_one() {
        let (range, watch) = ("/etcdserverpb.KV/Range", "/etcdserverpb.Watch/Watch");
        let lease = "/etcdserverpb.Lease/LeaseGrant";
        #[rustfmt::skip]
        let cases = [
            (range, "",                                                "{}"),
            (range, "{}",                                              "{}"),
            (range, r#"{"key":"Zm9v","limit":"5","revision":7}"#,      r#"{"key":"Zm9v","limit":"5","revision":"7"}"#),
            (range, r#"{"range_end":"AA==","rangeEnd":null}"#,         r#"{"range_end":"AA=="}"#),
            (range, r#"{"rangeEnd":"-_8="}"#,                          r#"{"range_end":"+/8="}"#),
            (range, r#"{"sort_order":"DESCEND","sort_target":3}"#,     r#"{"sort_order":"DESCEND","sort_target":"MOD"}"#),
            (range, r#"{"sort_order":"UP","limit":1}"#,                r#"{"limit":"1"}"#),
            (range, r#"{"serializable":true,"limit":0,"other":[1]}"#,  r#"{"serializable":true}"#),
            (lease, r#"{"TTL":60,"ID":"-1"}"#,                         r#"{"TTL":"60","ID":"-1"}"#),
            (watch, r#"{"create_request":{"key":"YQ=="}}"#,            r#"{"create_request":{"key":"YQ=="}}"#),
            (watch, r#"{"progress_request":{}}"#,                      r#"{"progress_request":{}}"#),
        ];
        for (method, json, expected) in cases {
            assert_eq!(there_and_back(method, json).as_deref(), Ok(expected), "{json}");
        }
        for broken in ["{", "[]", r#"{"key":5}"#, r#"{"key":"?"}"#] {
            assert!(there_and_back(range, broken).is_err(), "{broken}");
        }
    }
}
