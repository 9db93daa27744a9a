//! Objects in full, as `kubectl describe` lays them out.

mod config;
mod generic;
mod node;
pub mod pod;
mod service;
mod workload;

use master_api::jsonpath::shown;
use serde_json::Value;

use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::Result;
use crate::object::{items, text};
use crate::print::human;
use crate::print::tabs::Tabs;
use crate::term;
use crate::verb::events::{last_seen, seen};

/// A longer annotation gets lines of its own.
const ANNOTATION_BYTES_MAX: usize = 140;

/// Lines of `key:\tvalue`, indented by levels of two spaces.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// `Key:  value`
    pub fn line(&mut self, level: usize, key: &str, value: impl AsRef<str>) {
        let value = term::safe_line(value.as_ref());
        self.text.push_str(&format!("{}{key}:\t{value}\n", "  ".repeat(level)));
    }

    /// A line of its own, tabs and all.
    pub fn raw(&mut self, level: usize, line: impl AsRef<str>) {
        self.text.push_str(&format!("{}{}\n", "  ".repeat(level), term::safe(line.as_ref())));
    }

    /// `Key:  a=b`, each further pair on a line of its own.
    pub fn pairs(&mut self, level: usize, key: &str, map: &Value) {
        let pad = "  ".repeat(level);
        let pairs: Vec<_> = map
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", shown(value)))
            .collect();
        self.list(&format!("{pad}{key}:"), &pad, &pairs);
    }

    /// As [`Page::pairs`], for annotations: `key: value`, without what only machines read; long ones and
    /// those of several lines below their key, cut off.
    pub fn annotations(&mut self, level: usize, key: &str, map: &Value) {
        let pad = "  ".repeat(level);
        let mut lines = Vec::new();
        for (key, value) in map.as_object().into_iter().flatten() {
            if key == crate::verb::apply::LAST_APPLIED {
                continue;
            }
            let value = shown(value);
            let value = value.trim_end_matches('\n');
            if key.len() + value.len() + 2 <= ANNOTATION_BYTES_MAX && !value.contains('\n') {
                lines.push(format!("{key}: {value}"));
                continue;
            }
            lines.push(format!("{key}:"));
            lines.extend(value.lines().map(|line| format!("  {}", shortened(line))));
        }
        self.list(&format!("{pad}{key}:"), &pad, &lines);
    }

    /// Values below each other beside one key.
    pub fn list(&mut self, key: &str, pad: &str, values: &[String]) {
        if values.is_empty() {
            self.text.push_str(&format!("{key}\t<none>\n"));
        }
        for (place, value) in values.iter().enumerate() {
            let head = if place == 0 { key } else { pad };
            self.text.push_str(&format!("{head}\t{}\n", term::safe_line(value)));
        }
    }

    /// The conditions of a status.
    pub fn conditions(&mut self, conditions: &Value, columns: &[(&str, &str)]) {
        // kubectl puts a space before the tabs of a node's.
        let separator = if columns.len() > 3 { " \t" } else { "\t" };
        if items(conditions).is_empty() {
            return;
        }
        self.raw(0, "Conditions:");
        let headers: Vec<_> = columns.iter().map(|(header, _)| *header).collect();
        let rules: Vec<_> = headers.iter().map(|header| "-".repeat(header.len())).collect();
        self.raw(1, headers.join("\t"));
        self.raw(1, rules.join("\t"));
        for condition in items(conditions) {
            let cell = |field: &str| match (field, text(&condition[field])) {
                ("lastHeartbeatTime" | "lastTransitionTime", time) => human::long_time(time),
                (_, value) => term::safe_line(value),
            };
            let cells: Vec<_> = columns.iter().map(|(_, field)| cell(field)).collect();
            self.raw(1, cells.join(separator));
        }
    }

    /// With the tabs replaced by columns.
    pub fn lay_out(&self) -> String {
        Tabs::of_descriptions().lay_out(&self.text)
    }
}

/// The description of one object.
pub async fn describe(api: &Api, found: &Found, with_events: bool) -> Result<String> {
    let mut page = Page::default();
    let object = &found.object;
    match (found.resource.group.as_str(), found.resource.kind.as_str()) {
        ("", "Pod") => pod::describe(&mut page, object),
        ("", "Node") => node::describe(api, &mut page, object).await?,
        ("", "Service") => service::describe(api, &mut page, found).await?,
        ("", "ConfigMap") => config::config_map(&mut page, object),
        ("", "Secret") => config::secret(&mut page, object),
        ("", "ServiceAccount") => config::service_account(api, &mut page, object).await?,
        ("", "Namespace") => config::namespace(api, &mut page, object).await?,
        ("", "PersistentVolumeClaim") => config::claim(api, &mut page, object).await?,
        ("apps", "Deployment") => workload::deployment(api, &mut page, object).await?,
        ("apps", "ReplicaSet" | "DaemonSet" | "StatefulSet") | ("", "ReplicationController") => {
            workload::controller(api, &mut page, found).await?;
        }
        ("batch", "Job") => workload::job(&mut page, object),
        _ => generic::describe(&mut page, object),
    }
    if with_events && found.resource.kind != "Namespace" {
        events(api, &mut page, found).await?;
    }
    Ok(page.lay_out())
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(ANNOTATION_BYTES_MAX - 2) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

/// Name and namespace.
fn head(page: &mut Page, object: &Value) {
    let metadata = &object["metadata"];
    page.line(0, "Name", text(&metadata["name"]));
    if metadata.get("namespace").is_some() {
        page.line(0, "Namespace", text(&metadata["namespace"]));
    }
}

fn labels(page: &mut Page, object: &Value) {
    page.pairs(0, "Labels", &object["metadata"]["labels"]);
    page.annotations(0, "Annotations", &object["metadata"]["annotations"]);
}

/// `ReplicaSet/web-abc`, if something owns it.
fn controller_of(object: &Value) -> Option<String> {
    let owners = items(&object["metadata"]["ownerReferences"]);
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some(format!("{}/{}", text(&owner["kind"]), text(&owner["name"])))
}

async fn events(api: &Api, page: &mut Page, found: &Found) -> Result {
    let metadata = &found.object["metadata"];
    let mut selector =
        format!("involvedObject.name={},involvedObject.kind={}", found.name(), found.resource.kind);
    // A node's events name it by its name, not by its uid.
    if found.resource.kind != "Node" {
        selector.push_str(&format!(",involvedObject.uid={}", text(&metadata["uid"])));
    }
    let resource = api.resource("events").await?;
    let scope = Some(found.namespace()).filter(|namespace| !namespace.is_empty());
    let path = with_query(&resource.collection(scope), &[("fieldSelector", selector)]);
    let list = match api.get(&path).await {
        Ok(list) => list,
        // Who may read an object need not be allowed to read events.
        Err(error) if error.reason() == "Forbidden" => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut events: Vec<&Value> = items(&list["items"]).iter().collect();
    events.sort_by_key(|event| human::parse_time(last_seen(event)));
    if events.is_empty() {
        page.line(0, "Events", "<none>");
        return Ok(());
    }
    page.raw(0, "Events:");
    page.raw(1, "Type\tReason\tAge\tFrom\tMessage");
    page.raw(1, "----\t------\t----\t----\t-------");
    for event in events {
        let from = match (text(&event["source"]["component"]), text(&event["reportingComponent"])) {
            ("", reporter) => reporter,
            (component, _) => component,
        };
        page.raw(
            1,
            format!(
                "{}\t{}\t{}\t{from}\t{}",
                text(&event["type"]),
                text(&event["reason"]),
                seen(event),
                term::safe_line(text(&event["message"]).trim()).replace('\t', " ")
            ),
        );
    }
    Ok(())
}
