//! From the words of a command line (`pods a b`, `deploy/x svc/y`, `pods,services -l a=b`) to objects.

use serde_json::Value;

use super::discovery::{Discovery, Resource};
use super::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::Selection;

/// How many objects a page of a list holds, unless a command says otherwise.
const PAGE_SIZE: u32 = 500;

/// One thing that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub resource: Resource,
    /// `None`: every object that the selection leaves.
    pub name: Option<String>,
}

/// An object with its kind and where it lives.
#[derive(Clone, Debug)]
pub struct Found {
    pub resource: Resource,
    pub object: Value,
}

impl Found {
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// `deployment.apps/x`
    pub fn named(&self) -> String {
        self.resource.named(self.name())
    }

    /// The object's own path.
    pub fn path(&self) -> String {
        self.resource.object(self.namespace(), self.name())
    }
}

/// Reads the words.
pub fn targets(known: &Discovery, words: &[String]) -> Result<Vec<Target>> {
    let slashed = words.iter().filter(|word| word.contains('/')).count();
    if slashed == 0 {
        return plain(known, words);
    }
    if slashed < words.len() {
        return Err(said(
            "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kctl get resource/<resource_name>' instead of 'kctl get resource resource/<resource_name>'",
        ));
    }
    let mut targets = Vec::new();
    for word in words {
        let (kind, name) = word.split_once('/').unwrap_or((word, ""));
        if kind.is_empty() || name.is_empty() || name.contains('/') {
            return Err(said(format!(
                "arguments in resource/name form must have a single resource and name, not {word:?}"
            )));
        }
        for kind in kind.split(',') {
            targets
                .push(Target { resource: known.find(kind)?.clone(), name: Some(name.to_owned()) });
        }
    }
    Ok(targets)
}

fn plain(known: &Discovery, words: &[String]) -> Result<Vec<Target>> {
    let Some((kinds, names)) = words.split_first() else { return Ok(Vec::new()) };
    let mut resources = Vec::new();
    for kind in kinds.split(',').filter(|kind| !kind.is_empty()) {
        let category = known.category(kind);
        match known.find(kind) {
            Ok(resource) => resources.push(resource.clone()),
            Err(error) if category.is_empty() => return Err(error),
            Err(_) => resources.extend(category.into_iter().cloned()),
        }
    }
    let of_kind = |resource: Resource| -> Vec<Target> {
        if names.is_empty() {
            return vec![Target { resource, name: None }];
        }
        let named = |name: &String| Target { resource: resource.clone(), name: Some(name.clone()) };
        names.iter().map(named).collect()
    };
    Ok(resources.into_iter().flat_map(of_kind).collect())
}

impl Api {
    /// The targets that words mean; `what` is said when there are none.
    pub async fn targets(&self, words: &[String], what: &str) -> Result<Vec<Target>> {
        if words.is_empty() {
            return Err(said(format!(
                "You must specify {what}. `kctl api-resources` lists the kinds."
            )));
        }
        targets(self.discovery().await?, words)
    }

    /// The namespace of a request; `None` is all of them.
    pub fn scope(&self, selection: &Selection) -> Option<&str> {
        if selection.all_namespaces { None } else { Some(&self.namespace) }
    }

    /// The objects of targets: each named one, and all that the selection leaves of the others.
    pub async fn find(&self, targets: &[Target], selection: &Selection) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for target in targets {
            let resource = &target.resource;
            match &target.name {
                Some(_) if selection.all_namespaces => {
                    return Err(said(
                        "a resource cannot be retrieved by name across all namespaces",
                    ));
                }
                Some(_) if selection.selector.is_some() => {
                    return Err(said("name cannot be provided when a selector is specified"));
                }
                Some(name) => {
                    let mut object = self.get(&resource.object(&self.namespace, name)).await?;
                    type_object(&mut object, resource);
                    found.push(Found { resource: resource.clone(), object });
                }
                None => {
                    let list = self.list(resource, selection, PAGE_SIZE).await?;
                    let each = |object: &Value| Found {
                        resource: resource.clone(),
                        object: object.clone(),
                    };
                    found.extend(list["items"].as_array().into_iter().flatten().map(each));
                }
            }
        }
        Ok(found)
    }

    /// Finds by words; an empty outcome is an error if nothing could have been meant by it.
    pub async fn find_words(&self, words: &[String], selection: &Selection) -> Result<Vec<Found>> {
        let targets = self.targets(words, "the type of resource").await?;
        self.find(&targets, selection).await
    }

    /// Finds exactly one object, such as `deployment/x`.
    pub async fn find_one(&self, words: &[String]) -> Result<Found> {
        let targets = self.targets(words, "a resource, such as deployment/web").await?;
        match targets.as_slice() {
            [Target { name: Some(_), .. }] => {}
            _ => return Err(said("exactly one resource is wanted, such as deployment/web")),
        }
        let mut found = self.find(&targets, &Selection::default()).await?;
        found.pop().ok_or(Error::Exit(1))
    }

    /// A list, page by page, as one list object; items carry their kind.
    pub async fn list(
        &self,
        resource: &Resource,
        selection: &Selection,
        page: u32,
    ) -> Result<Value> {
        let path = with_query(&resource.collection(self.scope(selection)), &selection.query());
        let mut list = self.get(&page_path(&path, page, "")).await?;
        let mut more = continuation(&list);
        while !more.is_empty() {
            let mut next = self.get(&page_path(&path, page, &more)).await?;
            more = continuation(&next);
            if let (Some(items), Some(new)) =
                (list["items"].as_array_mut(), next["items"].as_array_mut())
            {
                items.append(new);
            }
        }
        for item in list["items"].as_array_mut().into_iter().flatten() {
            type_object(item, resource);
        }
        Ok(list)
    }
}

impl Selection {
    /// The query parameters of a list or watch.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        vec![
            ("labelSelector", self.selector.clone().unwrap_or_default()),
            ("fieldSelector", self.field_selector.clone().unwrap_or_default()),
        ]
    }
}

/// The token for the page after this one; empty on the last.
pub fn continuation(list: &Value) -> String {
    list["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

/// The path of a page of a list.
pub fn page_path(path: &str, page: u32, token: &str) -> String {
    let limit = if page == 0 { String::new() } else { page.to_string() };
    with_query(path, &[("limit", limit), ("continue", token.to_owned())])
}

/// Items of a list come without their kind: writes it in.
pub fn type_object(object: &mut Value, resource: &Resource) {
    if let Some(map) = object.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| resource.api_version().into());
        map.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::discovery::tests::sample;

    fn check(words: &str, wanted: &str) {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let shown = match targets(&sample(), &words) {
            Ok(targets) => {
                let show = |target: &Target| {
                    let name = target.name.as_deref().unwrap_or("*");
                    format!("{}/{name}", target.resource.plural)
                };
                targets.iter().map(show).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string().chars().take(40).collect(),
        };
        assert_eq!(shown, wanted);
    }

    #[test]
    fn words_become_targets() {
        check("pods", "pods/*");
        check("po a b", "pods/a pods/b");
        check("pods,deploy", "pods/* deployments/*");
        check("pods,deploy x", "pods/x deployments/x");
        check("deploy/x no/y", "deployments/x nodes/y");
        check("all", "pods/* events/* deployments/* events/*");
        check("pods deploy/x", "error: there is no need to specify a res");
        check("pods/", "error: arguments in resource/name form m");
        check("gizmos", "error: the server doesn't have a resourc");
    }
}
