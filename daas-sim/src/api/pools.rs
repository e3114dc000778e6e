//! Resource pools, read.

use serde_json::{Value, json};

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, Route, formats, handler};
use crate::http::reply::{Answer, ApiError, Reply};

const KIND: Param = Param::may("type", Kind::Enum(&["qemu", "lxc", "storage"]));
const LIST: &[Param] = &[Param::may("poolid", Kind::format(formats::pool)), KIND];
const ONE: &[Param] = &[Param::must("poolid", Kind::format(formats::pool)), KIND];
const AUDIT: Check = Check::All("/pool/{poolid}", &["Pool.Audit"]);

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/pools", LIST, Check::User, handler!(list)),
    Route::new("GET", "/pools/{poolid}", ONE, AUDIT, handler!(one)),
];

async fn list(call: Call) -> Answer {
    if let Some(id) = call.args.text("poolid") {
        call.require(&format!("/pool/{id}"), "Pool.Audit")?;
        let members = members(&call, id)?;
        return Reply::data(json!([{"poolid": id, "members": members}]));
    }
    let ids: Vec<String> = call.cluster.state().access.pools.keys().cloned().collect();
    let seen = ids.into_iter().filter(|id| call.may(&format!("/pool/{id}"), "Pool.Audit"));
    Reply::data(seen.map(|id| json!({"poolid": id})).collect::<Vec<_>>())
}

async fn one(call: Call) -> Answer {
    let id = call.args.text("poolid").unwrap_or_default();
    let members = members(&call, id)?;
    Reply::data(json!({"members": members}))
}

fn members(call: &Call, id: &str) -> Result<Vec<Value>, ApiError> {
    let state = call.cluster.state();
    let Some(vmids) = state.access.pools.get(id) else {
        return Err(ApiError::died(format!("pool '{id}' does not exist")));
    };
    if call.args.text("type").is_some_and(|t| t != "qemu") {
        return Ok(Vec::new());
    }
    let vms = vmids.iter().filter_map(|vmid| state.vms.get(vmid));
    let shown = vms.map(|vm| {
        let mut row = json!({
            "id": format!("qemu/{}", vm.vmid),
            "type": "qemu",
            "vmid": vm.vmid,
            "node": &*vm.node,
            "status": vm.status(),
        });
        if let Some(name) = vm.name() {
            row["name"] = json!(name);
        }
        row
    });
    Ok(shown.collect())
}
