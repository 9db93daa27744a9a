//! Config maps, secrets (their sizes only), service accounts, namespaces, claims.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use master_api::jsonpath::shown;
use serde_json::Value;

use super::{Page, head, labels};
use crate::api::{Api, with_query};
use crate::error::Result;
use crate::object::{items, text};

pub(super) fn config_map(page: &mut Page, object: &Value) {
    head(page, object);
    labels(page, object);
    page.raw(0, "\nData\n====");
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        page.raw(0, format!("{key}:\n----\n{}\n", text(value).replace('\t', "        ")));
    }
    page.raw(0, "\nBinaryData\n====");
    for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
        page.raw(0, format!("{key}: {} bytes", decoded_len(value)));
    }
    page.raw(0, "");
}

pub(super) fn secret(page: &mut Page, object: &Value) {
    head(page, object);
    labels(page, object);
    page.raw(0, format!("\nType:  {}\n\nData\n====", text(&object["type"])));
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        // Whoever may read the secret asks for it by `get -o yaml`, not by the way.
        page.line(0, key, format!("{} bytes", decoded_len(value)));
    }
}

fn decoded_len(value: &Value) -> usize {
    BASE64.decode(text(value)).map_or(0, |bytes| bytes.len())
}

pub(super) async fn service_account(api: &Api, page: &mut Page, object: &Value) -> Result {
    head(page, object);
    labels(page, object);
    let names = |value: &Value| {
        items(value).iter().map(|one| text(&one["name"]).to_owned()).collect::<Vec<_>>()
    };
    page.list("Image pull secrets:", "", &names(&object["imagePullSecrets"]));
    page.list("Mountable secrets:", "", &names(&object["secrets"]));
    let namespace = text(&object["metadata"]["namespace"]);
    let query = [("fieldSelector", "type=kubernetes.io/service-account-token".to_owned())];
    let path = with_query(&api.resource("secrets").await?.collection(Some(namespace)), &query);
    let is_ours = |secret: &&Value| {
        secret["metadata"]["annotations"]["kubernetes.io/service-account.name"]
            == object["metadata"]["name"]
    };
    let tokens = match api.get(&path).await {
        Ok(list) => items(&list["items"])
            .iter()
            .filter(is_ours)
            .map(|one| text(&one["metadata"]["name"]).to_owned())
            .collect(),
        Err(_) => Vec::new(),
    };
    page.list("Tokens:", "", &tokens);
    Ok(())
}

pub(super) async fn namespace(api: &Api, page: &mut Page, object: &Value) -> Result {
    head(page, object);
    labels(page, object);
    page.line(0, "Status", text(&object["status"]["phase"]));
    page.conditions(
        &object["status"]["conditions"],
        &[
            ("Type", "type"),
            ("Status", "status"),
            ("LastTransitionTime", "lastTransitionTime"),
            ("Reason", "reason"),
            ("Message", "message"),
        ],
    );
    let name = text(&object["metadata"]["name"]);
    let quotas = api.get(&api.resource("resourcequotas").await?.collection(Some(name))).await?;
    if items(&quotas["items"]).is_empty() {
        page.raw(0, "\nNo resource quota.");
    } else {
        page.raw(0, "\nResource Quotas");
    }
    for quota in items(&quotas["items"]) {
        page.line(1, "Name", text(&quota["metadata"]["name"]));
        page.raw(1, "Resource\tUsed\tHard");
        page.raw(1, "--------\t---\t---");
        for (name, hard) in quota["status"]["hard"].as_object().into_iter().flatten() {
            page.raw(
                1,
                format!(
                    "{name}\t{}\t{}",
                    shown(&quota["status"]["used"][name.as_str()]),
                    shown(hard)
                ),
            );
        }
    }
    limit_ranges(api, page, name).await
}

async fn limit_ranges(api: &Api, page: &mut Page, name: &str) -> Result {
    let ranges = api.get(&api.resource("limitranges").await?.collection(Some(name))).await?;
    if items(&ranges["items"]).is_empty() {
        page.raw(0, "\nNo LimitRange resource.");
        return Ok(());
    }
    page.raw(0, "\nResource Limits");
    page.raw(1, "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit");
    for range in items(&ranges["items"]) {
        for limit in items(&range["spec"]["limits"]) {
            let names: std::collections::BTreeSet<&String> =
                ["min", "max", "default", "defaultRequest"]
                    .iter()
                    .filter_map(|field| limit[*field].as_object())
                    .flat_map(serde_json::Map::keys)
                    .collect();
            for name in names {
                let cell = |field: &str| match shown(&limit[field][name.as_str()]) {
                    empty if empty.is_empty() => "-".to_owned(),
                    value => value,
                };
                page.raw(
                    1,
                    format!(
                        "{}\t{name}\t{}\t{}\t{}\t{}",
                        text(&limit["type"]),
                        cell("min"),
                        cell("max"),
                        cell("defaultRequest"),
                        cell("default")
                    ),
                );
            }
        }
    }
    Ok(())
}

pub(super) async fn claim(api: &Api, page: &mut Page, object: &Value) -> Result {
    let (spec, status) = (&object["spec"], &object["status"]);
    head(page, object);
    page.line(0, "StorageClass", text(&spec["storageClassName"]));
    page.line(0, "Status", text(&status["phase"]));
    page.line(0, "Volume", text(&spec["volumeName"]));
    labels(page, object);
    let finalizers: Vec<_> = items(&object["metadata"]["finalizers"]).iter().map(text).collect();
    page.line(0, "Finalizers", format!("[{}]", finalizers.join(" ")));
    page.line(0, "Capacity", shown(&status["capacity"]["storage"]));
    let modes: Vec<_> = items(&status["accessModes"]).iter().map(text).collect();
    page.line(0, "Access Modes", modes.join(","));
    page.line(0, "VolumeMode", text(&spec["volumeMode"]));
    let namespace = text(&object["metadata"]["namespace"]);
    let pods = api.get(&api.resource("pods").await?.collection(Some(namespace))).await?;
    let uses = |pod: &&Value| {
        items(&pod["spec"]["volumes"]).iter().any(|volume| {
            volume["persistentVolumeClaim"]["claimName"] == object["metadata"]["name"]
        })
    };
    let users: Vec<_> = items(&pods["items"])
        .iter()
        .filter(uses)
        .map(|pod| text(&pod["metadata"]["name"]).to_owned())
        .collect();
    page.list("Used By:", "", &users);
    Ok(())
}
