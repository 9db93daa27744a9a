//! Request bodies: read up to a bound, decoded against the kind's schema.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use master_api::status::{ApiError, FieldError};
use master_api::{go, meta};
use master_registry::Resource;
use master_registry::schema::{self, FieldValidation, Schema, Sent};
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

/// How unknown fields are taken. Values that are none were refused before ([`super::options::check`]).
pub fn validation(call: &Call) -> FieldValidation {
    match call.query.get("fieldValidation") {
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        _ => FieldValidation::Warn,
    }
}

/// The media type of the body, without parameters.
pub fn media_type(call: &Call) -> &str {
    call.header(CONTENT_TYPE).split(';').next().unwrap_or("").trim()
}

/// The body as an object of the resource.
pub async fn object(call: &mut Call, resource: &Resource) -> Result<Value, ApiError> {
    let bytes = read(call).await?;
    let expected = Expected {
        api_version: &resource.api_version(),
        old_version: "",
        kind: &resource.kind,
        is_custom: resource.custom.is_some(),
    };
    typed(call, &bytes, &resource.schema, &expected)
}

/// The body as an object of another kind than the resource's: a Scale, a Binding.
pub async fn other(
    call: &mut Call,
    schema_name: &str,
    api_version: &str,
    kind: &str,
) -> Result<Value, ApiError> {
    other_of(call, schema_name, api_version, "", kind).await
}

/// The same, of a kind that may also be sent in a version of before.
pub async fn other_of(
    call: &mut Call,
    schema_name: &str,
    api_version: &str,
    old_version: &str,
    kind: &str,
) -> Result<Value, ApiError> {
    let bytes = read(call).await?;
    let expected = Expected { api_version, old_version, kind, is_custom: false };
    typed(call, &bytes, &Schema::builtin(schema_name.to_owned()), &expected)
}

/// What a body is to be.
struct Expected<'a> {
    api_version: &'a str,
    /// Another version that is taken for it; empty if there is none.
    old_version: &'a str,
    kind: &'a str,
    is_custom: bool,
}

/// Decodes; findings become warnings of the call.
fn typed(
    call: &mut Call,
    bytes: &[u8],
    schema: &Schema,
    expected: &Expected<'_>,
) -> Result<Value, ApiError> {
    let validation = validation(call);
    let (mut object, warnings) = if media_type(call) == protobuf::MEDIA_TYPE {
        let mut object = protobuf::decode(bytes)?;
        check_type(&mut object, expected)?;
        let warnings = schema::check(&mut object, schema, validation)?;
        (object, warnings)
    } else {
        let mut sent = Sent::read(bytes, call.header(CONTENT_TYPE), expected.kind)?;
        if expected.is_custom && sent.value.is_object() && meta::kind(&sent.value).is_empty() {
            return Err(ApiError::BadRequest(format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{}' ({})",
                expected.kind,
                String::from_utf8_lossy(bytes),
                go::summary(bytes),
            )));
        }
        check_type(&mut sent.value, expected)?;
        sent.fit(schema, validation)?
    };
    call.warnings.extend(warnings);
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Default::default());
    }
    Ok(object)
}

/// The body says which type it is, or nothing; never another one.
fn check_type(object: &mut Value, expected: &Expected<'_>) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body of the request is no object"));
    }
    if !expected.old_version.is_empty() && meta::api_version(object) == expected.old_version {
        object["apiVersion"] = expected.api_version.into();
    }
    let or = |sent: &str, expected: &str| if sent.is_empty() { expected } else { sent }.to_owned();
    let api_version = or(meta::api_version(object), expected.api_version);
    let kind = or(meta::kind(object), expected.kind);
    if !expected.is_custom && (&*api_version, &*kind) != (expected.api_version, expected.kind) {
        return Err(mistyped(&api_version, &kind, expected));
    }
    if expected.is_custom && kind != expected.kind {
        let (group, _) = meta::split_api_version(expected.api_version);
        let wrong = FieldError::invalid("kind", &*kind, format!("must be {}", expected.kind));
        return Err(ApiError::invalid(group, &kind, meta::name(object), vec![wrong]));
    }
    if api_version != expected.api_version {
        return Err(other_version(&api_version, expected));
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(())
}

fn other_version(api_version: &str, expected: &Expected<'_>) -> ApiError {
    ApiError::bad_request(format!(
        "the API version in the data ({api_version}) does not match the expected API version ({})",
        expected.api_version
    ))
}

fn mistyped(api_version: &str, kind: &str, expected: &Expected<'_>) -> ApiError {
    if kind == expected.kind && is_known(api_version, kind) {
        return other_version(api_version, expected);
    }
    let (_, version) = meta::split_api_version(api_version);
    let problem = misfit(api_version, kind, expected.api_version, expected.kind);
    ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {}: {problem}",
        expected.kind
    ))
}

fn is_known(api_version: &str, kind: &str) -> bool {
    let all = master_registry::builtin();
    all.iter().any(|resource| resource.kind == kind && resource.api_version() == api_version)
}

/// Upstream's types are turned into one another where they are the same kind; any other it does not know, or cannot turn.
pub fn misfit(api_version: &str, kind: &str, wanted_version: &str, wanted_kind: &str) -> String {
    if !is_known(api_version, kind) {
        return unregistered(api_version, kind);
    }
    let (_, version) = meta::split_api_version(api_version);
    let (wanted, _) = meta::split_api_version(wanted_version);
    let package = match wanted.split('.').next().unwrap_or_default() {
        "" => "core",
        package => package,
    };
    format!("converting ({version}.{kind}) to ({package}.{wanted_kind}): unknown conversion")
}

/// What upstream says of a kind that is none of its types.
pub fn unregistered(api_version: &str, kind: &str) -> String {
    format!(
        "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\""
    )
}
