//! `get -w`: what is there, then every change, across lost connections and masters.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use super::{GetArgs, fetch_table, target_path, typed};
use crate::api::discovery::Resource;
use crate::api::find::Target;
use crate::api::{Api, TABLE, with_query};
use crate::error::{Error, Result, said};
use crate::print::table::{self, Printer};
use crate::print::tabs::Tabs;
use crate::print::{Format, without_managed_fields};
use crate::{outln, term};

/// Watches that broke off in a row before the command gives up.
const BREAKS_MAX: u32 = 30;
const PAUSE: Duration = Duration::from_millis(200);

/// Shows what is there (unless only changes are wanted) and then what happens, until interrupted.
pub(super) async fn run(args: &GetArgs, api: &Api, targets: &[Target], format: &Format) -> Result {
    let [target] = targets else {
        return Err(said("you may only specify a single resource type to watch"));
    };
    let is_wide = matches!(format, Format::Table(true));
    let printer = Printer::new(args.look(&target.resource, is_wide, false));
    let mut view = View {
        args,
        resource: &target.resource,
        format,
        printer,
        tabs: Tabs::of_tables(),
        shown: 0,
    };
    let list = fetch_table(args, api, target, true).await?;
    let mut version = version_of(&list);
    let has_rows = list["rows"].as_array().is_some_and(|rows| !rows.is_empty());
    if has_rows && !args.watch_only {
        view.show_all(&list);
    }
    let mut breaks = 0;
    loop {
        match follow(api, target, &mut view, &mut version).await {
            Ok(()) => breaks = 0,
            Err(error) if is_expired(&error) => {
                version = version_of(&fetch_table(args, api, target, false).await?);
            }
            Err(error) if breaks >= BREAKS_MAX || matches!(error, Error::Server { .. }) => {
                return Err(error);
            }
            Err(_) => {
                breaks += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One watch, until it ends; `version` moves with it.
async fn follow(api: &Api, target: &Target, view: &mut View<'_>, version: &mut String) -> Result {
    let path = match &target.name {
        Some(name) => {
            let collection = target.resource.collection(Some(&api.namespace));
            with_query(&collection, &[("fieldSelector", format!("metadata.name={name}"))])
        }
        None => target_path(view.args, api, target)?,
    };
    let query = [
        ("watch", "true".to_owned()),
        ("allowWatchBookmarks", "true".to_owned()),
        ("resourceVersion", version.clone()),
        ("includeObject", if view.is_table() { String::new() } else { "Object".to_owned() }),
    ];
    let accept = if view.is_table() { TABLE } else { "application/json" };
    let mut lines = api.lines(&with_query(&path, &query), accept).await?;
    while let Some(line) = lines.next().await {
        let event: Value = serde_json::from_str(&line?)
            .map_err(|error| said(format!("the watch sent no JSON: {error}")))?;
        let kind = event["type"].as_str().unwrap_or_default();
        let object = &event["object"];
        if kind == "ERROR" {
            let status = serde_json::from_value(object.clone()).unwrap_or_default();
            return Err(Error::Server { status: Box::new(status), doing: None });
        }
        let seen = match object["kind"].as_str() {
            Some("Table") => version_of(&object["rows"][0]["object"]),
            _ => version_of(object),
        };
        if !seen.is_empty() {
            *version = seen;
        }
        if kind != "BOOKMARK" {
            view.show(object, kind);
        }
    }
    Ok(())
}

fn version_of(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

fn is_expired(error: &Error) -> bool {
    matches!(error, Error::Server { status, .. } if status.code == 410 || status.reason == "Expired")
}

/// How changes are printed.
struct View<'a> {
    args: &'a GetArgs,
    resource: &'a Resource,
    format: &'a Format,
    printer: Printer,
    tabs: Tabs,
    shown: usize,
}

impl View<'_> {
    fn is_table(&self) -> bool {
        matches!(self.format, Format::Table(_))
    }

    fn show_all(&mut self, list: &Value) {
        if self.is_table() {
            term::out(&self.printer.text(list, self.resource, "ADDED"));
            return;
        }
        let rows = list["rows"].as_array().cloned().unwrap_or_default();
        rows.iter().for_each(|row| self.show(&row["object"], "ADDED"));
    }

    fn show(&mut self, object: &Value, event: &str) {
        if self.is_table() {
            let made;
            let table = if object["kind"] == "Table" {
                object
            } else {
                made = table::fallback(object);
                &made
            };
            term::out(&self.printer.text(table, self.resource, event));
            return;
        }
        let mut object = typed(object.clone(), self.resource);
        if !self.args.show_managed_fields {
            without_managed_fields(&mut object);
        }
        match self.format {
            Format::Yaml if self.shown > 0 => term::out("---\n"),
            _ => {}
        }
        let text = match self.format {
            Format::Columns(columns) => {
                let has_headers = self.shown == 0 && !self.args.no_headers;
                columns.table(&[object], has_headers, &mut self.tabs)
            }
            format => format.show(&object, self.resource),
        };
        self.shown += 1;
        term::out(&text);
        if matches!(self.format, Format::JsonPath(_)) && !text.ends_with('\n') {
            outln!();
        }
    }
}
