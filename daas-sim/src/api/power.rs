//! Power: start, stop, shutdown, reboot, reset. Each is a task under the machine's lock file.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::check::Check;
use super::schema::{Kind, Param};
use super::{Call, NODE, Route, VMID, formats, handler};
use crate::cluster::guests::bounded;
use crate::cluster::locks::Mode;
use crate::cluster::tasks::Run;
use crate::cluster::vm::Powered;
use crate::durations::Operation;
use crate::guest::{GuestError, GuestState};
use crate::http::reply::{Answer, ApiError};
use crate::log::Event;

const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a guest has to end in good order, when the caller does not say.
const SHUTDOWN: Duration = Duration::from_secs(60);

const SKIP_LOCK: Param = Param::may("skiplock", Kind::Bool);
const TIMEOUT: Param = Param::may("timeout", Kind::at_least(0));
const KEEP_ACTIVE: Param = Param::may("keepActive", Kind::Bool);
const MIGRATED_FROM: Param = Param::may("migratedfrom", Kind::format(formats::node));

const START: &[Param] = &[
    NODE,
    VMID,
    SKIP_LOCK,
    TIMEOUT,
    MIGRATED_FROM,
    Param::may("force-cpu", Kind::text()),
    Param::may("machine", Kind::text()),
];
const STOP: &[Param] = &[
    NODE,
    VMID,
    SKIP_LOCK,
    TIMEOUT,
    KEEP_ACTIVE,
    MIGRATED_FROM,
    Param::may("overrule-shutdown", Kind::Bool),
];
const SHUT_DOWN: &[Param] =
    &[NODE, VMID, SKIP_LOCK, TIMEOUT, KEEP_ACTIVE, Param::may("forceStop", Kind::Bool)];
const REBOOT: &[Param] = &[NODE, VMID, TIMEOUT];
const RESET: &[Param] = &[NODE, VMID, SKIP_LOCK];
const POWER: Check = Check::All("/vms/{vmid}", &["VM.PowerMgmt"]);

pub(crate) const ROUTES: &[Route] = &[
    Route::on_node("POST", "/nodes/{node}/qemu/{vmid}/status/start", START, POWER, handler!(start)),
    Route::on_node("POST", "/nodes/{node}/qemu/{vmid}/status/stop", STOP, POWER, handler!(stop)),
    Route::on_node(
        "POST",
        "/nodes/{node}/qemu/{vmid}/status/shutdown",
        SHUT_DOWN,
        POWER,
        handler!(shutdown),
    ),
    Route::on_node(
        "POST",
        "/nodes/{node}/qemu/{vmid}/status/reboot",
        REBOOT,
        POWER,
        handler!(reboot),
    ),
    Route::on_node("POST", "/nodes/{node}/qemu/{vmid}/status/reset", RESET, POWER, handler!(reset)),
];

/// The machine a task works on.
#[derive(Debug, Clone)]
struct Subject {
    node: Arc<str>,
    vmid: u32,
    skip_lock: bool,
}

async fn start(call: Call) -> Answer {
    let subject = subject(&call)?;
    call.task("qmstart", |run| async move {
        let _held = run.lock_vm(subject.vmid, Mode::Exclusive, LOCK_WAIT).await?;
        give_power(&run, &subject).await
    })
}

async fn stop(call: Call) -> Answer {
    let subject = subject(&call)?;
    if call.args.flag("overrule-shutdown").unwrap_or(false) {
        overrule_shutdown(&call, subject.vmid);
    }
    call.task("qmstop", |run| async move {
        let _held = run.lock_vm(subject.vmid, Mode::Exclusive, LOCK_WAIT).await?;
        let powered = check(&run, &subject)?;
        if *powered.state.borrow() == GuestState::Off {
            return Ok(());
        }
        run.spend(Operation::Stop, subject.vmid).await?;
        run.about_to_act()?;
        cut_power(&run, subject.vmid, &powered).await
    })
}

async fn shutdown(call: Call) -> Answer {
    let subject = subject(&call)?;
    let limit = timeout(&call);
    let force = call.args.flag("forceStop").unwrap_or(false);
    call.task("qmshutdown", |run| async move {
        let _held = run.lock_vm(subject.vmid, Mode::Exclusive, LOCK_WAIT).await?;
        end_in_order(&run, &subject, limit, force).await
    })
}

async fn reboot(call: Call) -> Answer {
    let subject = subject(&call)?;
    must_run(&call)?;
    let limit = timeout(&call);
    call.task("qmreboot", |run| async move {
        let _held = run.lock_vm(subject.vmid, Mode::Exclusive, LOCK_WAIT).await?;
        end_in_order(&run, &subject, limit, false).await?;
        give_power(&run, &subject).await
    })
}

async fn reset(call: Call) -> Answer {
    let subject = subject(&call)?;
    must_run(&call)?;
    call.task("qmreset", |run| async move {
        let _held = run.lock_vm(subject.vmid, Mode::Exclusive, LOCK_WAIT).await?;
        let powered = check(&run, &subject)?;
        run.about_to_act()?;
        cut_power(&run, subject.vmid, &powered).await?;
        power_on(&run, &subject, &powered).await
    })
}

fn subject(call: &Call) -> Result<Subject, ApiError> {
    call.root_only(&["skiplock", "migratedfrom", "keepActive"])?;
    let skip_lock = call.args.flag("skiplock").unwrap_or(false);
    Ok(Subject { node: call.node.clone(), vmid: call.vmid(), skip_lock })
}

/// The caller's `timeout` in simulated seconds.
fn timeout(call: &Call) -> Duration {
    let seconds = call.args.int("timeout").and_then(|s| u64::try_from(s).ok());
    seconds.map_or(SHUTDOWN, Duration::from_secs)
}

fn must_run(call: &Call) -> Result<(), ApiError> {
    let vmid = call.vmid();
    let state = call.cluster.state();
    let vm = state.vms.get(&vmid).filter(|vm| vm.node == call.node).ok_or_else(|| {
        let why =
            format!("unable to find configuration file for VM {vmid} on node '{}'", call.node);
        ApiError::died(why)
    })?;
    if vm.running() { Ok(()) } else { Err(ApiError::died(format!("VM {vmid} not running"))) }
}

/// Kills the shutdown tasks of a machine, so that its lock file is free.
fn overrule_shutdown(call: &Call, vmid: u32) {
    let id = vmid.to_string();
    for task in call.cluster.tasks.newest_first() {
        if task.kind == "qmshutdown" && task.id == id && task.progress().exit.is_none() {
            task.cancel.cancel();
        }
    }
}

/// The machine's guest, unless it is missing, locked or a template.
fn check(run: &Run, subject: &Subject) -> Result<Powered, String> {
    let state = run.cluster.state();
    let vm = state.vm(&subject.node, subject.vmid).map_err(|error| error.message)?;
    if !subject.skip_lock {
        run.cluster.check_lock(vm)?;
    }
    vm.guest.clone().ok_or_else(|| "you can't start a vm if it's a template".to_owned())
}

async fn give_power(run: &Run, subject: &Subject) -> Result<(), String> {
    {
        let state = run.cluster.state();
        let vm = state.vm(&subject.node, subject.vmid).map_err(|error| error.message)?;
        if vm.is_template() {
            return Err("you can't start a vm if it's a template".to_owned());
        }
        if vm.running() {
            return Err(format!("VM {} already running", subject.vmid));
        }
    }
    let powered = check(run, subject)?;
    run.spend(Operation::Start, subject.vmid).await?;
    run.about_to_act()?;
    power_on(run, subject, &powered).await
}

async fn power_on(run: &Run, subject: &Subject, powered: &Powered) -> Result<(), String> {
    let seed = {
        let mut state = run.cluster.state();
        let vm = state.vm_mut(&subject.node, subject.vmid).map_err(|error| error.message)?;
        vm.apply_pending();
        vm.started = Some(Instant::now());
        vm.pid = run.task.pid;
        run.cluster.seed(vm)
    };
    bounded("start", powered.guest.start(&seed)).await?;
    run.cluster.log.add(Event::VmStarted { vmid: subject.vmid });
    Ok(())
}

async fn cut_power(run: &Run, vmid: u32, powered: &Powered) -> Result<(), String> {
    bounded("stop", powered.guest.stop()).await?;
    run.cluster.log.add(Event::VmStopped { vmid });
    Ok(())
}

async fn end_in_order(
    run: &Run,
    subject: &Subject,
    limit: Duration,
    force: bool,
) -> Result<(), String> {
    let powered = check(run, subject)?;
    if *powered.state.borrow() == GuestState::Off {
        return Ok(());
    }
    run.spend(Operation::Shutdown, subject.vmid).await?;
    run.about_to_act()?;
    let limit = run.cluster.clock.guest_limit(limit);
    let ended = tokio::select! {
        ended = powered.guest.shutdown(limit) => ended,
        () = run.task.cancel.cancelled() => return Err("interrupted by signal".to_owned()),
    };
    match ended {
        Ok(()) => {
            run.cluster.log.add(Event::VmStopped { vmid: subject.vmid });
            Ok(())
        }
        Err(GuestError::Deadline(_)) if force => {
            run.say("VM quit/powerdown failed - terminating now with SIGTERM");
            cut_power(run, subject.vmid, &powered).await
        }
        Err(GuestError::Deadline(_)) => Err("VM quit/powerdown failed - got timeout".to_owned()),
        Err(error) => Err(format!("VM quit/powerdown failed - {error}")),
    }
}
