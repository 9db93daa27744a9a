//! JSON patch (RFC 6902), bounded in operations and in what `copy` may multiply.

use serde_json::Value;

use super::PatchError;

const OPERATIONS_MAX: usize = 10_000;
/// What all copies of a patch may add together, as upstream bounds it.
const COPIED_BYTES_MAX: usize = 3 << 20;

/// Applies a list of operations, all or none.
pub fn json_patch(mut target: Value, patch: &Value) -> Result<Value, PatchError> {
    let malformed = |text: &str| PatchError::Malformed(text.to_owned());
    let operations = patch.as_array().ok_or_else(|| {
        malformed("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    })?;
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut copied_bytes = 0;
    for operation in operations {
        apply(&mut target, operation, &mut copied_bytes)?;
    }
    Ok(target)
}

fn fails(text: String) -> PatchError {
    PatchError::DoesNotApply(text)
}

fn member<'a>(operation: &'a Value, name: &str) -> Result<&'a str, PatchError> {
    let found = operation[name].as_str();
    found.ok_or_else(|| fails(format!("operation missing {name} field: missing value")))
}

fn apply(
    target: &mut Value,
    operation: &Value,
    copied_bytes: &mut usize,
) -> Result<(), PatchError> {
    let path = || member(operation, "path").map(rooted);
    // Upstream's library takes what is not there for nothing.
    let value = || operation.get("value").cloned().unwrap_or_default();
    match operation["op"].as_str().unwrap_or("unknown") {
        "add" => add(target, path()?, value()),
        "remove" => remove(target, path()?, "remove").map(drop),
        "replace" => {
            let (path, value) = (path()?, value());
            if let Some(place) = target.pointer_mut(path) {
                *place = value;
                return Ok(());
            }
            // Upstream's library puts a member there that was not.
            let parent = split(path).and_then(|(parent, last)| {
                Some((target.pointer_mut(parent)?.as_object_mut()?, last))
            });
            let Some((fields, last)) = parent else {
                return Err(fails(format!(
                    "replace operation does not apply: doc is missing key: {path}: missing value"
                )));
            };
            fields.insert(last, value);
            Ok(())
        }
        "move" => {
            let (from, path) = (rooted(member(operation, "from")?), path()?);
            if path.starts_with(&format!("{from}/")) {
                return Err(fails(format!(
                    "error in move for path: '{path}': a value cannot move into itself"
                )));
            }
            let moved = remove(target, from, "move")?;
            add(target, path, moved)
        }
        "copy" => {
            let (from, path) = (rooted(member(operation, "from")?), path()?);
            let copied = target.pointer(from).cloned().ok_or_else(|| {
                fails(format!(
                    "copy operation does not apply: doc is missing from path: {from}: missing value"
                ))
            })?;
            *copied_bytes += copied.to_string().len();
            if *copied_bytes > COPIED_BYTES_MAX {
                return Err(PatchError::TooLarge(format!(
                    "Unable to complete the copy, the accumulated size increase of copy operations is {copied_bytes}, exceeding the limit {COPIED_BYTES_MAX}"
                )));
            }
            add(target, path, copied)
        }
        "test" => {
            let path = path()?;
            let expected = operation.get("value").unwrap_or(&Value::Null);
            let found = target.pointer(path).unwrap_or(&Value::Null);
            if found == expected {
                return Ok(());
            }
            Err(fails(format!("testing value {path} failed: test failed")))
        }
        other => Err(fails(format!("Unexpected kind: {other}"))),
    }
}

/// A path from the root. Upstream's library does not look at what is before the first slash.
fn rooted(path: &str) -> &str {
    path.find('/').map_or(path, |start| &path[start..])
}

/// The parent's pointer and the last step of a pointer.
fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let missing = || {
        fails(format!(
            "add operation does not apply: doc is missing path: \"{path}\": missing value"
        ))
    };
    let (parent, last) = split(path).ok_or_else(missing)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.insert(last, value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let at = if last == "-" { items.len() } else { index(&last, path, "add")? };
            if at > items.len() {
                let text = format!(
                    "error in add for path: '{path}': Unable to access invalid index: {at}: invalid index referenced"
                );
                return Err(fails(text));
            }
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing()),
    }
}

fn index(step: &str, path: &str, verb: &str) -> Result<usize, PatchError> {
    let is_canonical = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|_| is_canonical).ok_or_else(|| {
        fails(format!(
            "error in {verb} for path: '{path}': value was not a proper array index: '{step}'"
        ))
    })
}

fn remove(target: &mut Value, path: &str, verb: &str) -> Result<Value, PatchError> {
    let missing = || {
        fails(format!(
            "{verb} operation does not apply: doc is missing path: \"{path}\": missing value"
        ))
    };
    let (parent, last) = split(path).ok_or_else(missing)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(fields)) => fields.remove(&last).ok_or_else(|| {
            fails(format!(
                "error in {verb} for path: '{path}': Unable to remove nonexistent key: {last}: missing value"
            ))
        }),
        Some(Value::Array(items)) => {
            let at = index(&last, path, verb)?;
            if at >= items.len() {
                let text = format!("error in {verb} for path: '{path}': Unable to access invalid index: {at}: invalid index referenced");
                return Err(fails(text));
            }
            Ok(items.remove(at))
        }
        _ => Err(missing()),
    }
}
