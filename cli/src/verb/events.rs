//! `kctl events`: what happened, oldest first.

use clap::Args;
use serde_json::Value;

use crate::api::with_query;
use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::print::tabs::Tabs;
use crate::print::{Format, human, list_of};
use crate::{errln, term};

/// List events
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Only those of this object
    #[arg(long = "for", value_name = "TYPE/NAME")]
    object: Option<String>,
    /// Only of these types: Normal, Warning
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// yaml, json, name, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    #[arg(long)]
    no_headers: bool,
}

/// Runs it.
pub async fn run(args: &EventsArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let resource = api.resource("events").await?;
    let mut selector = String::new();
    if let Some(object) = &args.object {
        let (kind, name) =
            object.split_once('/').ok_or_else(|| said("--for must be in resource/name form"))?;
        let kind = api.resource(kind).await?.kind;
        selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
    }
    let scope = if args.all_namespaces { None } else { Some(api.namespace.as_str()) };
    let list =
        api.get(&with_query(&resource.collection(scope), &[("fieldSelector", selector)])).await?;
    let mut events: Vec<Value> = items(&list["items"]).to_vec();
    events.retain(|event| {
        args.types.is_empty()
            || args.types.iter().any(|kind| kind.eq_ignore_ascii_case(text(&event["type"])))
    });
    events.sort_by_key(|event| human::parse_time(last_seen(event)));
    let format = Format::parse(args.output.as_deref())?;
    if !matches!(format, Format::Table(_)) {
        term::out(&format.show(&list_of(events), &resource));
        return Ok(());
    }
    if events.is_empty() {
        errln!("No events found in {} namespace.", api.namespace);
        return Ok(());
    }
    let mut table = String::new();
    let place = if args.all_namespaces { "NAMESPACE\t" } else { "" };
    if !args.no_headers {
        table.push_str(&format!("{place}LAST SEEN\tTYPE\tREASON\tOBJECT\tMESSAGE\n"));
    }
    for event in &events {
        let about = &event["involvedObject"];
        let namespace = if args.all_namespaces {
            format!("{}\t", text(&event["metadata"]["namespace"]))
        } else {
            String::new()
        };
        table.push_str(&format!(
            "{namespace}{}\t{}\t{}\t{}/{}\t{}\n",
            seen(event),
            text(&event["type"]),
            text(&event["reason"]),
            text(&about["kind"]),
            text(&about["name"]),
            term::safe_line(text(&event["message"]).trim()),
        ));
    }
    term::out(&Tabs::of_tables().lay_out(&table));
    Ok(())
}

/// When an event was last seen, whichever of its fields says so.
pub fn last_seen(event: &Value) -> &str {
    let fields = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    fields.into_iter().filter_map(Value::as_str).find(|text| !text.is_empty()).unwrap_or_default()
}

/// `5s`, or `5s (x3 over 2m)`.
pub fn seen(event: &Value) -> String {
    let last = human::age(Some(last_seen(event)));
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
    if count <= 1 {
        return last;
    }
    let first = event["firstTimestamp"].as_str().or(event["eventTime"].as_str());
    format!("{last} (x{count} over {})", human::age(first))
}
