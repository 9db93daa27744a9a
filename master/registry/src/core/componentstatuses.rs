//! `v1/componentstatuses`: whether the parts of the control plane are well; who asks is told at that moment.

use master_api::meta;
use serde_json::Value;

use crate::plain::Plain;
use crate::table::Cell;

pub const COMPONENT_STATUSES: Plain = Plain::bare().cells(&[
    Cell::NAME,
    Cell::text("Status", |component, _| state(component).into()),
    Cell::text("Message", |component, _| told(component, "message").into()),
    Cell::text("Error", |component, _| told(component, "error").into()),
]);

fn told<'a>(component: &'a Value, field: &str) -> &'a str {
    let conditions = meta::items(component, &["conditions"]);
    let health = conditions.iter().find(|one| meta::text(one, &["type"]) == "Healthy");
    health.map_or("", |condition| meta::text(condition, &[field]))
}

fn state(component: &Value) -> &'static str {
    match told(component, "status") {
        "" => "Unknown",
        "True" => "Healthy",
        _ => "Unhealthy",
    }
}
