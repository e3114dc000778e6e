//! Tasks: lists, status, log, and the end of one.

use serde_json::{Value, json};

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, formats, handler};
use crate::cluster::tasks::Task;
use crate::http::reply::{Answer, ApiError, Reply};

/// How many ended tasks `/cluster/tasks` tells of.
const RECENT_MAX: usize = 25;

const UPID: Param = Param::must("upid", Kind::text());
const ONE: &[Param] = &[NODE, UPID];
const LOG: &[Param] = &[
    NODE,
    UPID,
    Param::may("start", Kind::at_least(0)),
    Param::may("limit", Kind::at_least(0)),
    Param::may("download", Kind::Bool),
];
const LIST: &[Param] = &[
    NODE,
    Param::may("errors", Kind::Bool),
    Param::may("limit", Kind::at_least(0)),
    Param::may("since", Kind::at_least(i64::MIN)),
    Param::may("source", Kind::Enum(&["archive", "active", "all"])),
    Param::may("start", Kind::at_least(0)),
    Param::may("statusfilter", Kind::text()),
    Param::may("typefilter", Kind::text()),
    Param::may("until", Kind::at_least(i64::MIN)),
    Param::may("userfilter", Kind::text()),
    Param::may("vmid", Kind::vmid()),
];

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/cluster/tasks", &[], Check::User, handler!(recent)),
    Route::on_node("GET", "/nodes/{node}/tasks", LIST, Check::User, handler!(list)),
    Route::on_node("GET", "/nodes/{node}/tasks/{upid}/status", ONE, Check::User, handler!(status)),
    Route::on_node("GET", "/nodes/{node}/tasks/{upid}/log", LOG, Check::User, handler!(log)),
    Route::on_node("DELETE", "/nodes/{node}/tasks/{upid}", ONE, Check::User, handler!(kill)),
];

async fn recent(call: Call) -> Answer {
    let mut ended = 0;
    let tasks = call.cluster.tasks.newest_first();
    let shown = tasks.iter().filter(|task| sees(&call, task)).filter(|task| {
        let running = task.progress().exit.is_none();
        ended += usize::from(!running);
        running || ended <= RECENT_MAX
    });
    let rows: Vec<Value> = shown
        .map(|task| {
            let mut row = describe(task);
            let progress = task.progress();
            if let Some(exit) = &progress.exit {
                row["endtime"] = json!(progress.endtime);
                row["status"] = json!(exit);
            }
            row["saved"] = json!(u8::from(progress.exit.is_some()).to_string());
            row
        })
        .collect();
    Reply::data(rows)
}

async fn list(call: Call) -> Answer {
    let source = call.args.text("source").unwrap_or("archive");
    let since = call.args.int("since").unwrap_or(i64::MIN);
    let until = call.args.int("until").unwrap_or(i64::MAX);
    let fits = |task: &Task, exit: Option<&str>| {
        let args = &call.args;
        let at_source = match source {
            "active" => exit.is_none(),
            "archive" => exit.is_some(),
            _ => true,
        };
        let failed = exit.is_some_and(|e| e != "OK" && !e.starts_with("WARNINGS"));
        let status = match exit {
            None => "unknown",
            Some("OK") => "ok",
            Some(e) if e.starts_with("WARNINGS") => "warning",
            Some(_) => "error",
        };
        at_source
            && *task.node == *call.node
            && (since..=until).contains(&task.starttime)
            && (!args.flag("errors").unwrap_or(false) || failed)
            && args.text("vmid").is_none_or(|v| v == task.id)
            && args.text("typefilter").is_none_or(|t| t == task.kind)
            && args.text("userfilter").is_none_or(|u| task.who.to_string().contains(u))
            && args.text("statusfilter").is_none_or(|s| formats::split_list(s).any(|s| s == status))
            && sees(&call, task)
    };
    let mut rows = Vec::new();
    for task in call.cluster.tasks.newest_first() {
        let progress = task.progress().clone();
        if !fits(&task, progress.exit.as_deref()) {
            continue;
        }
        let mut row = describe(&task);
        row["status"] = json!(progress.exit.as_deref().unwrap_or("RUNNING"));
        if progress.exit.is_some() {
            row["endtime"] = json!(progress.endtime);
        }
        rows.push(row);
    }
    let total = rows.len() as u64;
    let (start, limit) = page(&call);
    let data = rows.into_iter().skip(start).take(limit).collect::<Vec<_>>();
    Ok(Reply { data: json!(data), total: Some(total), ..Reply::default() })
}

async fn status(call: Call) -> Answer {
    let task = find(&call)?;
    may_see(&call, &task)?;
    let mut row = describe(&task);
    match &task.progress().exit {
        None => row["status"] = json!("running"),
        Some(exit) => {
            row["status"] = json!("stopped");
            row["exitstatus"] = json!(exit);
        }
    }
    Reply::data(row)
}

async fn log(call: Call) -> Answer {
    let task = find(&call)?;
    may_see(&call, &task)?;
    let lines = task.progress().lines.clone();
    let total = lines.len() as u64;
    if lines.is_empty() {
        let data = json!([{"n": 1, "t": "no content"}]);
        return Ok(Reply { data, total: Some(1), ..Reply::default() });
    }
    let (start, limit) = page(&call);
    let shown = lines.iter().enumerate().skip(start).take(limit);
    let data = shown.map(|(n, line)| json!({"n": n + 1, "t": line})).collect::<Vec<_>>();
    Ok(Reply { data: json!(data), total: Some(total), ..Reply::default() })
}

async fn kill(call: Call) -> Answer {
    let task = find(&call)?;
    if !owns(&call, &task) {
        call.require(&format!("/nodes/{}", call.node), "Sys.Modify")?;
    }
    task.cancel.cancel();
    Reply::null()
}

/// `start` and `limit`; no limit at all is 50, and 0 is none.
fn page(call: &Call) -> (usize, usize) {
    let number = |name| call.args.int(name).and_then(|n| usize::try_from(n).ok());
    let limit = match number("limit") {
        None => 50,
        Some(0) => usize::MAX,
        Some(limit) => limit,
    };
    (number("start").unwrap_or(0), limit)
}

fn find(call: &Call) -> Result<std::sync::Arc<Task>, ApiError> {
    let upid = call.args.text("upid").unwrap_or_default();
    if upid.split(':').count() != 9 || !upid.starts_with("UPID:") {
        return Err(ApiError::parameter("upid", "unable to parse worker upid"));
    }
    let task = call.cluster.tasks.get(upid).filter(|task| task.node == call.node);
    task.ok_or_else(|| ApiError::parameter("upid", "no such task"))
}

fn describe(task: &Task) -> Value {
    let mut row = json!({
        "upid": &*task.upid,
        "node": &*task.node,
        "pid": task.pid,
        "pstart": task.pstart,
        "starttime": task.starttime,
        "type": task.kind,
        "id": task.id,
        "user": task.who.user,
    });
    if let Some(token) = &task.who.token {
        row["tokenid"] = json!(token);
    }
    row
}

fn owns(call: &Call, task: &Task) -> bool {
    task.who == call.who || (task.who.user == call.who.user && call.who.token.is_none())
}

fn sees(call: &Call, task: &Task) -> bool {
    owns(call, task) || call.may(&format!("/nodes/{}", task.node), "Sys.Audit")
}

fn may_see(call: &Call, task: &Task) -> Result<(), ApiError> {
    if owns(call, task) {
        return Ok(());
    }
    call.require(&format!("/nodes/{}", task.node), "Sys.Audit")
}
