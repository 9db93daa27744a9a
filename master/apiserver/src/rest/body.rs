//! Request bodies: read up to a bound, decoded against the kind's schema.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use master_api::meta;
use master_api::status::ApiError;
use master_registry::Resource;
use master_registry::schema::{self, FieldValidation, Schema};
use serde_json::Value;

use crate::call::Call;
use crate::protobuf;

/// As upstream: twice what a store takes, and some.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The body, whole.
pub async fn read(call: &mut Call) -> Result<Bytes, ApiError> {
    let taken = call.body.lock().take();
    let Some(mut body) = taken else { return Ok(Bytes::new()) };
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(format!("unable to read the request body: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > BODY_BYTES_MAX {
            return Err(ApiError::TooLarge(format!("limit is {BODY_BYTES_MAX}")));
        }
        // Most bodies come in one frame: that one is not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// How unknown fields are taken.
pub fn validation(call: &Call) -> Result<FieldValidation, ApiError> {
    match call.query.get("fieldValidation") {
        None | Some("Warn") => Ok(FieldValidation::Warn),
        Some("Ignore") => Ok(FieldValidation::Ignore),
        Some("Strict") => Ok(FieldValidation::Strict),
        Some(other) => Err(ApiError::bad_request(format!(
            "invalid fieldValidation {other:?}: must be Ignore, Warn or Strict"
        ))),
    }
}

/// The media type of the body, without parameters.
pub fn media_type(call: &Call) -> &str {
    call.header(CONTENT_TYPE).split(';').next().unwrap_or("").trim()
}

/// The body as an object of the resource.
pub async fn object(call: &mut Call, resource: &Resource) -> Result<Value, ApiError> {
    let bytes = read(call).await?;
    let object = typed(call, &bytes, &resource.schema)?;
    check_type(object, &resource.api_version(), &resource.kind)
}

/// The body as an object of another kind than the resource's: a Scale, a Binding.
pub async fn other(
    call: &mut Call,
    schema_name: &str,
    api_version: &str,
    kind: &str,
) -> Result<Value, ApiError> {
    let bytes = read(call).await?;
    let object = typed(call, &bytes, &Schema::builtin(schema_name.to_owned()))?;
    check_type(object, api_version, kind)
}

/// Decodes; findings become warnings of the call.
fn typed(call: &mut Call, bytes: &[u8], schema: &Schema) -> Result<Value, ApiError> {
    let validation = validation(call)?;
    let content_type = call.header(CONTENT_TYPE).to_owned();
    let (object, warnings) = if media_type(call) == protobuf::MEDIA_TYPE {
        let mut object = protobuf::decode(bytes)?;
        let warnings = schema::check(&mut object, schema, validation)?;
        (object, warnings)
    } else {
        schema::decode(bytes, &content_type, schema, validation)?
    };
    call.warnings.extend(warnings);
    Ok(object)
}

/// The body says which type it is, or nothing; never another one.
fn check_type(mut object: Value, api_version: &str, kind: &str) -> Result<Value, ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body of the request is no object"));
    }
    let (sent_version, sent_kind) = (meta::api_version(&object), meta::kind(&object));
    if !sent_kind.is_empty() && sent_kind != kind {
        return Err(ApiError::bad_request(format!(
            "{sent_kind} in version {sent_version:?} cannot be handled as a {kind}: the kind in the data ({sent_kind}) does not match the expected kind ({kind})"
        )));
    }
    if !sent_version.is_empty() && sent_version != api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({sent_version}) does not match the expected API version ({api_version})"
        )));
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Default::default());
    }
    Ok(object)
}
