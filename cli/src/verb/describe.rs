//! `kctl describe`: everything about an object, and what happened to it.

use clap::Args;

use crate::api::Api;
use crate::api::find::{Found, Target};
use crate::error::{Error, Result, said};
use crate::flags::{Files, Global, Selection};
use crate::object;
use crate::{describe, errln, manifest, term};

/// Show details of one or many resources
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// Kinds and names; a name may be the beginning of several
    #[arg(value_name = "TYPE[/NAME] [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    files: Files,
    /// With the events about it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    show_events: bool,
}

/// Runs it.
pub async fn run(args: &DescribeArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let mut found = Vec::new();
    for manifest in manifest::load(&args.files)? {
        let placed = object::place(&api, flags, manifest).await?;
        found.push(Found { object: api.get(&placed.path()).await?, resource: placed.resource });
    }
    let mut errors = Vec::new();
    if found.is_empty() {
        if args.words.is_empty() {
            return Err(said(
                "You must specify the type of resource to describe. Use \"kctl api-resources\" for a complete list of supported resources.",
            ));
        }
        for target in api.targets(&args.words, "the type of resource to describe").await? {
            match find(&api, args, &target).await {
                Ok(some) => found.extend(some),
                Err(error) => errors.push(error),
            }
        }
    }
    if found.is_empty() && errors.is_empty() {
        errln!("No resources found in {} namespace.", api.namespace);
    }
    for (place, one) in found.iter().enumerate() {
        if place > 0 {
            term::out("\n\n");
        }
        term::out(&describe::describe(&api, one, args.show_events).await?);
    }
    Error::all(errors)
}

/// What is called so, or else everything whose name begins so.
async fn find(api: &Api, args: &DescribeArgs, target: &Target) -> Result<Vec<Found>> {
    match api.find(std::slice::from_ref(target), &args.selection).await {
        Err(error) if error.is_not_found() => {
            let Some(prefix) = &target.name else { return Err(error) };
            let all = Target { resource: target.resource.clone(), name: None };
            let mut found = api.find(&[all], &args.selection).await?;
            found.retain(|one| one.name().starts_with(prefix.as_str()));
            if found.is_empty() { Err(error) } else { Ok(found) }
        }
        outcome => outcome,
    }
}
