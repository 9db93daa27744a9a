//! JSON patch (RFC 6902), bounded in operations and in what `copy` may multiply.

use serde_json::Value;

use super::PatchError;

const OPERATIONS_MAX: usize = 10_000;
/// What all copies of a patch may add together, as upstream bounds it.
const COPIED_BYTES_MAX: usize = 3 << 20;

/// What a member is that is not there.
static NOTHING: Value = Value::Null;

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
            if path.is_empty() {
                *target = value;
                return Ok(());
            }
            let missing = |what| {
                fails(format!(
                    "replace operation does not apply: doc is missing {what}: {path}: missing value"
                ))
            };
            match holder(target, path) {
                // Upstream's library puts a member there that was not.
                Some((Value::Object(fields), last)) => drop(fields.insert(last, value)),
                Some((list, last)) => *child(list, &last).ok_or_else(|| missing("key"))? = value,
                None => return Err(missing("path")),
            }
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
            let copied = found(target, from).cloned().ok_or_else(|| {
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
            let found = if path.is_empty() { Some(&*target) } else { found(target, path) };
            let found = found.ok_or_else(|| {
                fails(format!(
                    "test operation does not apply: is missing path: {path}: missing value"
                ))
            })?;
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

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The object or list that a path's last step is in, and that step.
fn holder<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (above, last) = path.rsplit_once('/')?;
    let mut steps = above.split('/').skip(1);
    let holder = steps.try_fold(target, |value, step| child(value, &unescaped(step)))?;
    (holder.is_object() || holder.is_array()).then(|| (holder, unescaped(last)))
}

fn child<'a>(value: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(fields) => fields.get_mut(step),
        Value::Array(items) => place(step, items.len()).and_then(|at| items.get_mut(at)),
        _ => None,
    }
}

/// The value at a path: nothing where an object has no such member, `None` where there is no such place.
fn found<'a>(target: &'a mut Value, path: &str) -> Option<&'a Value> {
    let (holder, last) = holder(target, path)?;
    let is_object = holder.is_object();
    child(holder, &last).map(|value| &*value).or(is_object.then_some(&NOTHING))
}

/// A place in a list of `length`, counted from its end if it is negative, as upstream's library does.
fn place(step: &str, length: usize) -> Option<usize> {
    let at: isize = step.parse().ok()?;
    if at < 0 { length.checked_sub(at.unsigned_abs()) } else { usize::try_from(at).ok() }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    match holder(target, path) {
        Some((Value::Object(fields), last)) => drop(fields.insert(last, value)),
        Some((Value::Array(items), last)) if last == "-" => items.push(value),
        Some((Value::Array(items), last)) => {
            // After the last one is a place, too.
            let at = index(&last, items.len() + 1, path, "add")?;
            items.insert(at, value);
        }
        _ => {
            return Err(fails(format!(
                "add operation does not apply: doc is missing path: \"{path}\": missing value"
            )));
        }
    }
    Ok(())
}

fn index(step: &str, length: usize, path: &str, verb: &str) -> Result<usize, PatchError> {
    if step.parse::<isize>().is_err() {
        return Err(fails(format!(
            "error in {verb} for path: '{path}': value was not a proper array index: '{step}'"
        )));
    }
    place(step, length).filter(|at| *at < length).ok_or_else(|| {
        fails(format!(
            "error in {verb} for path: '{path}': Unable to access invalid index: {step}: invalid index referenced"
        ))
    })
}

fn remove(target: &mut Value, path: &str, verb: &str) -> Result<Value, PatchError> {
    match holder(target, path) {
        Some((Value::Object(fields), last)) => fields.remove(&last).ok_or_else(|| {
            fails(format!(
                "error in {verb} for path: '{path}': Unable to remove nonexistent key: {last}: missing value"
            ))
        }),
        Some((Value::Array(items), last)) => {
            let at = index(&last, items.len(), path, verb)?;
            Ok(items.remove(at))
        }
        _ => Err(fails(format!(
            "{verb} operation does not apply: doc is missing path: \"{path}\": missing value"
        ))),
    }
}
