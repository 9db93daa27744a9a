//! `kctl get`: objects as tables or in another format, once or as they change.

mod watch;

use clap::Args;
use master_api::jsonpath::Template;
use serde_json::Value;

use crate::api::discovery::Resource;
use crate::api::find::{Target, continuation, page_path, type_object};
use crate::api::{Api, TABLE, with_query};
use crate::error::{Error, Result, said};
use crate::flags::{Files, Global, Selection};
use crate::print::table::{self, Look, Printer};
use crate::print::{Format, list_of, without_managed_fields};
use crate::{errln, manifest, outln, term};

/// Display one or many resources
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl get pods                            # the pods of the current namespace
  kctl get pods -o wide -A                 # all pods, with addresses and nodes
  kctl get deployment/web service/web      # two objects of different kinds
  kctl get pod web -o jsonpath='{.status.podIP}'
  kctl get pods -w                         # and what changes from now on")]
pub struct GetArgs {
    /// Kinds and names: pods, pod/NAME, pods,services, all
    #[arg(value_name = "TYPE[/NAME] [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    files: Files,
    /// wide, yaml, json, name, jsonpath=…, jsonpath-as-json=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// Then show changes as they happen
    #[arg(short, long)]
    watch: bool,
    /// Only show changes
    #[arg(long)]
    watch_only: bool,
    /// In a watch, say what happened to each object
    #[arg(long)]
    output_watch_events: bool,
    /// Order by what a JSONPath finds, such as .metadata.creationTimestamp
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Show all labels
    #[arg(long)]
    show_labels: bool,
    /// Show these labels as columns
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Show each object's kind
    #[arg(long)]
    show_kind: bool,
    /// Leave out the line of headers
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    no_headers: bool,
    /// Keep the managed fields in yaml and json
    #[arg(long)]
    show_managed_fields: bool,
    /// Say nothing about objects that do not exist
    #[arg(long)]
    ignore_not_found: bool,
    /// Objects per request; 0 asks for all at once
    #[arg(long, value_name = "N", default_value_t = 500)]
    chunk_size: u32,
    /// GET a path of the API and print the answer as it is
    #[arg(long, value_name = "PATH")]
    raw: Option<String>,
}

/// Runs it.
pub async fn run(args: &GetArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    if let Some(path) = &args.raw {
        let text = api.text(path).await?;
        term::out(&text);
        return Ok(());
    }
    let format = Format::parse(args.output.as_deref())?;
    let sort = args.sort_by.as_deref().map(Template::parse_relaxed).transpose().map_err(said)?;
    let targets = args.targets(&api).await?;
    if args.watch || args.watch_only {
        return watch::run(args, &api, &targets, &format).await;
    }
    match format {
        Format::Table(is_wide) => tables(args, &api, &targets, is_wide, sort.as_ref()).await,
        format => objects(args, &api, &targets, &format, sort.as_ref()).await,
    }
}

impl GetArgs {
    async fn targets(&self, api: &Api) -> Result<Vec<Target>> {
        if !self.files.filename.is_empty() {
            let known = api.discovery().await?;
            let target = |one: manifest::Manifest| {
                let name = one.object["metadata"]["name"].as_str().map(str::to_owned);
                Ok(Target { resource: known.of_object(&one.object)?.clone(), name })
            };
            return manifest::load(&self.files)?.into_iter().map(target).collect();
        }
        if self.words.is_empty() {
            return Err(Error::Raw(
                "You must specify the type of resource to get. Use \"kctl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.".into(),
            ));
        }
        api.targets(&self.words, "the type of resource to get").await
    }

    fn look(&self, resource: &Resource, is_wide: bool, has_kind: bool) -> Look {
        Look {
            is_wide,
            has_namespace: self.selection.all_namespaces && resource.is_namespaced,
            has_headers: !self.no_headers,
            has_kind: self.show_kind || has_kind,
            has_labels: self.show_labels,
            label_columns: self.label_columns.clone(),
            output_watch_events: self.output_watch_events && (self.watch || self.watch_only),
        }
    }
}

/// Prints the server's tables: one for each kind, an empty line between them.
async fn tables(
    args: &GetArgs,
    api: &Api,
    targets: &[Target],
    is_wide: bool,
    sort: Option<&Template>,
) -> Result {
    let groups = by_kind(targets);
    let mut errors = Vec::new();
    let mut has_printed = false;
    for group in &groups {
        let resource = &group[0].resource;
        let mut merged: Option<Value> = None;
        for target in group {
            match fetch_table(args, api, target, sort.is_some()).await {
                Ok(table) => append(&mut merged, table),
                Err(error) if args.ignore_not_found && error.is_not_found() => {}
                Err(error) => errors.push(error),
            }
        }
        let Some(mut table) = merged.filter(has_rows) else { continue };
        if let Some(sort) = sort {
            table::sort(&mut table, sort);
        }
        if has_printed {
            outln!();
        }
        has_printed = true;
        let look = args.look(resource, is_wide, groups.len() > 1);
        term::out(&Printer::new(look).text(&table, resource, ""));
    }
    if !has_printed && errors.is_empty() && !args.ignore_not_found {
        say_nothing_found(args, api, targets);
    }
    Error::all(errors)
}

/// One target's table, all its pages.
async fn fetch_table(
    args: &GetArgs,
    api: &Api,
    target: &Target,
    has_objects: bool,
) -> Result<Value> {
    let path = target_path(args, api, target)?;
    let include = if has_objects { "Object" } else { "" };
    let path = with_query(&path, &[("includeObject", include.to_owned())]);
    let page = if target.name.is_some() { 0 } else { args.chunk_size };
    let mut merged = None;
    let mut more = String::new();
    loop {
        let answer = api.get_as(&page_path(&path, page, &more), TABLE).await?;
        more = continuation(&answer);
        let table = if answer["kind"] == "Table" { answer } else { table::fallback(&answer) };
        append(&mut merged, table);
        if more.is_empty() {
            return merged.ok_or_else(|| said("the server sent nothing"));
        }
    }
}

/// The path that a target is read from, selectors included.
fn target_path(args: &GetArgs, api: &Api, target: &Target) -> Result<String> {
    let resource = &target.resource;
    match &target.name {
        Some(_) if args.selection.all_namespaces => {
            Err(said("a resource cannot be retrieved by name across all namespaces"))
        }
        Some(_) if args.selection.selector.is_some() => {
            Err(said("name cannot be provided when a selector is specified"))
        }
        Some(name) => Ok(resource.object(&api.namespace, name)),
        None => {
            let collection = resource.collection(api.scope(&args.selection));
            Ok(with_query(&collection, &args.selection.query()))
        }
    }
}

/// Prints objects in a format that is not a table.
async fn objects(
    args: &GetArgs,
    api: &Api,
    targets: &[Target],
    format: &Format,
    sort: Option<&Template>,
) -> Result {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for target in targets {
        match api.find(std::slice::from_ref(target), &args.selection).await {
            Ok(some) => found.extend(some),
            Err(error) if args.ignore_not_found && error.is_not_found() => {}
            Err(error) => errors.push(error),
        }
    }
    if let Some(sort) = sort {
        found.sort_by(|a, b| table::order(sort, &a.object, &b.object));
    }
    if !args.show_managed_fields {
        found.iter_mut().for_each(|one| without_managed_fields(&mut one.object));
    }
    let is_single = matches!(targets, [Target { name: Some(_), .. }]);
    if is_single && found.is_empty() {
        return Error::all(errors);
    }
    if let Format::Name = format {
        found.iter().for_each(|one| outln!("{}", one.named()));
        return Error::all(errors);
    }
    let resource = targets.first().map(|target| target.resource.clone()).unwrap_or_default();
    let shown = match (is_single, found.pop()) {
        (true, Some(one)) => one.object,
        (_, last) => list_of(found.into_iter().chain(last).map(|one| one.object).collect()),
    };
    let text = match format {
        Format::Columns(columns) => {
            let mut tabs = crate::print::tabs::Tabs::of_tables();
            columns.table(&crate::print::objects(&shown), !args.no_headers, &mut tabs)
        }
        format => format.show(&shown, &resource),
    };
    term::out(&text);
    Error::all(errors)
}

/// Neighbouring targets of one kind, which share a table.
fn by_kind(targets: &[Target]) -> Vec<Vec<Target>> {
    let mut groups: Vec<Vec<Target>> = Vec::new();
    for target in targets {
        match groups.iter_mut().find(|group| group[0].resource == target.resource) {
            Some(group) => group.push(target.clone()),
            None => groups.push(vec![target.clone()]),
        }
    }
    groups
}

fn append(merged: &mut Option<Value>, mut table: Value) {
    let Some(known) = merged else {
        *merged = Some(table);
        return;
    };
    if let (Some(rows), Some(new)) = (known["rows"].as_array_mut(), table["rows"].as_array_mut()) {
        rows.append(new);
    }
}

fn has_rows(table: &Value) -> bool {
    table["rows"].as_array().is_some_and(|rows| !rows.is_empty())
}

fn say_nothing_found(args: &GetArgs, api: &Api, targets: &[Target]) {
    let is_namespaced = targets.iter().any(|target| target.resource.is_namespaced);
    if is_namespaced && !args.selection.all_namespaces {
        errln!("No resources found in {} namespace.", api.namespace);
    } else {
        errln!("No resources found");
    }
}

/// Writes the kind into an object that a watch or a GET sent without it.
fn typed(mut object: Value, resource: &Resource) -> Value {
    type_object(&mut object, resource);
    object
}
