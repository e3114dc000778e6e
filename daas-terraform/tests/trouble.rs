//! What can be wrong outside: each a clear error that names the way out; and no secret shows.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use daas_core::machine::{Destroyed, Power, Reservation};
use daas_core::provisioner::{FindingState, Provisioner};
use daas_core::{Error, Kind};
use daas_terraform::TerraformConfig;
use world::trials::{always, run, trial};
use world::{
    Cluster, Files, copy_module, group, half_made, left, make, module, remove, reserve, run_of,
    spec, take_away,
};

fn main() {
    run(vec![
        always("a_missing_program_is_named", a_missing_program_is_named()),
        always("an_old_program_is_refused", an_old_program_is_refused()),
        always("what_is_no_terraform_is_refused", what_is_no_terraform_is_refused()),
        trial("a_missing_module_is_named", a_missing_module_is_named()),
        trial(
            "a_module_that_does_not_take_our_variables_is_told_what_to_add",
            a_module_that_does_not_take_our_variables_is_told_what_to_add(),
        ),
        trial("doctor_tells_what_a_module_lacks", doctor_tells_what_a_module_lacks()),
        trial("a_module_that_is_wrong_is_quoted", a_module_that_is_wrong_is_quoted()),
        trial("a_provider_that_cannot_be_had_is_named", a_provider_that_cannot_be_had_is_named()),
        trial(
            "a_machine_under_another_id_is_not_taken_for_ours",
            a_machine_under_another_id_is_not_taken_for_ours(),
        ),
        trial("no_secret_shows", no_secret_shows()),
        trial(
            "half_a_state_is_made_good_by_the_platform",
            half_a_state_is_made_good_by_the_platform(),
        ),
        trial(
            "half_a_state_without_a_platform_is_no_absence",
            half_a_state_without_a_platform_is_no_absence(),
        ),
        trial(
            "the_lock_of_a_run_that_was_killed_hinders_nobody",
            the_lock_of_a_run_that_was_killed_hinders_nobody(),
        ),
        trial("eight_at_once_get_a_machine_each", eight_at_once_get_a_machine_each()),
    ]);
}

/// Makes a machine with these settings; it fails, and nothing is left once it is destroyed.
async fn fails(files: &Files, config: TerraformConfig) -> Error {
    let provisioner = files.provisioner(config);
    let spec = spec(&files.deployment);
    let held = reserve(&provisioner, &spec).await;
    let error = make(&provisioner, &held, &spec).await.expect_err("it fails");
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(left(&files.runs()), Vec::<std::path::PathBuf>::new());
    error
}

async fn check(change: impl FnOnce(&Files, &mut TerraformConfig), kind: Kind, says: &[&str]) {
    let files = Files::new();
    let mut config = files.config();
    change(&files, &mut config);
    let error = fails(&files, config).await;
    assert_eq!(error.kind(), kind, "{error}");
    for word in says {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

fn program(files: &Files, text: &str) -> std::path::PathBuf {
    let path = files.temp.path().join("program");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A copy of the module of files, with one file changed.
fn changed(files: &Files, name: &str, change: impl FnOnce(String) -> String) -> std::path::PathBuf {
    let copy = files.temp.path().join("module");
    copy_module(&module("files"), &copy, name, change);
    copy
}

async fn a_missing_program_is_named() {
    let change = |_: &Files, c: &mut TerraformConfig| c.program = "/nowhere/terraform".into();
    check(change, Kind::Invalid, &["/nowhere/terraform", "terraform.program"]).await;
}

async fn an_old_program_is_refused() {
    let change = |files: &Files, c: &mut TerraformConfig| {
        c.program = program(files, "#!/bin/sh\necho '{\"terraform_version\":\"0.15.5\"}'\n");
    };
    check(change, Kind::Invalid, &["0.15.5", "1.0 or later"]).await;
}

async fn what_is_no_terraform_is_refused() {
    let change = |files: &Files, c: &mut TerraformConfig| {
        c.program = program(files, "#!/bin/sh\necho hello\n");
    };
    check(change, Kind::Invalid, &["does not tell a version"]).await;
}

async fn a_missing_module_is_named() {
    let change = |_: &Files, c: &mut TerraformConfig| c.module = "/nowhere/module".into();
    check(change, Kind::Invalid, &["/nowhere/module", "does not exist"]).await;
}

async fn a_module_that_does_not_take_our_variables_is_told_what_to_add() {
    let change = |files: &Files, c: &mut TerraformConfig| {
        c.module =
            changed(files, "main.tf", |text| text.replace("\"deployment_id\"", "\"deployment\""));
    };
    check(change, Kind::Invalid, &["takes no variable \"deployment_id\"", "add `variable"]).await;
}

async fn doctor_tells_what_a_module_lacks() {
    let examine = async |change: &(dyn Fn(String) -> String + Sync)| {
        let files = Files::new();
        let mut config = files.config();
        config.module = changed(&files, "main.tf", change);
        let provisioner = files.provisioner(config);
        let findings = provisioner.extras().examine.unwrap().examine(&[]).await;
        findings.into_iter().find(|finding| finding.what.starts_with("module ")).unwrap()
    };
    assert_eq!(examine(&|text| text).await.state, FindingState::Good);
    let lacking = examine(&|text| text.replace("output \"vm_ip\"", "output \"ip\"")).await;
    assert_eq!(lacking.state, FindingState::Bad);
    assert!(lacking.detail.contains("gives no output \"vm_ip\""), "{}", lacking.detail);
}

async fn a_module_that_is_wrong_is_quoted() {
    let change = |files: &Files, c: &mut TerraformConfig| {
        c.module = changed(files, "main.tf", |text| text + "\nlocals { a = var.nothing }\n");
    };
    check(change, Kind::Invalid, &["nothing", "undeclared"]).await;
}

async fn a_provider_that_cannot_be_had_is_named() {
    let change = |files: &Files, c: &mut TerraformConfig| {
        let mirror = files.temp.path().join("mirror");
        std::fs::create_dir(&mirror).unwrap();
        let rc = files.temp.path().join("rc");
        let text = format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
            mirror.display()
        );
        std::fs::write(&rc, text).unwrap();
        c.cli_config_file = Some(rc);
        c.module = changed(files, "main.tf", |text| {
            text + "\nterraform {\n  required_providers {\n    x = {\n      source = \
                    \"nowhere.test/a/x\"\n    }\n  }\n}\nresource \"x_y\" \"z\" {}\n"
        });
    };
    check(change, Kind::Invalid, &["nowhere.test/a/x", "required_providers"]).await;
}

async fn a_machine_under_another_id_is_not_taken_for_ours() {
    let change = |files: &Files, c: &mut TerraformConfig| {
        c.module = changed(files, "main.tf", |text| {
            text.replace("value = terraform_data.machine.output.id", "value = \"7\"")
        });
    };
    check(change, Kind::Invalid, &["vm_id", "7"]).await;
}

async fn no_secret_shows() {
    const PASSWORD: &str = "p  a's\"$w\\o:rd";
    let files = Files::new();
    let mut config = files.config();
    let secret = files.temp.path().join("password");
    std::fs::write(&secret, format!("{PASSWORD}\n")).unwrap();
    config.secret_files.insert("password".into(), secret);
    config.module = changed(&files, "make.sh", |text| {
        text + "printf '%s\\n' \"$TF_VAR_password\" | tee \"$WORLD/heard\" >&2\nexit 1\n"
    });
    let provisioner = files.provisioner(config);
    let spec = spec(&files.deployment);
    let held = reserve(&provisioner, &spec).await;
    let error = make(&provisioner, &held, &spec).await.expect_err("it fails").to_string();
    let heard = std::fs::read_to_string(files.temp.path().join("heard")).unwrap();
    assert_eq!(heard.trim_end(), PASSWORD, "it reaches the module unharmed");
    assert!(error.contains("[redacted]"), "{error}");
    assert!(!error.contains(PASSWORD) && !error.contains("$w"), "{error}");
    let run = files.runs().join(format!("{}.{}", held.session, held.machine));
    let mut read = 0;
    look_through(&run, &mut |path, text| {
        read += 1;
        assert!(!text.contains("$w"), "{}: {text}", path.display());
    });
    assert!(read > 4, "the run directory was looked through");
    let mode = |name: &str| run.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("work/daas.auto.tfvars.json"), 0o600);
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
}

fn look_through(directory: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look_through(&path, look);
        } else if path.file_name().unwrap() != "make.sh" {
            look(&path, &String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
}

/// What a crash in the middle of writing it leaves of a state.
fn cut(run: &Path) {
    let state = run.join("work/terraform.tfstate");
    let text = std::fs::read(&state).unwrap();
    std::fs::write(&state, &text[..text.len() / 2]).unwrap();
}

async fn half_a_state_is_made_good_by_the_platform() {
    let cluster = Cluster::new().await;
    let runs = cluster.temp.path().join("runs");
    let provisioner = cluster.provisioner(cluster.config());
    let spec = spec(&cluster.deployment);
    let held = reserve(&provisioner, &spec).await;
    make(&provisioner, &held, &spec).await.expect("made");
    // As if we had crashed before the end of the apply was written down.
    let run = run_of(&runs, &held);
    std::fs::remove_file(run.join("made.json")).unwrap();
    cut(&run);
    let machine = make(&provisioner, &held, &spec).await.expect("made again");
    assert_eq!(cluster.sim.cluster().vms().len(), 1, "the first was removed before");
    let aside =
        runs.join(".broken").join(format!("{}.tfstate", run.file_name().unwrap().display()));
    assert!(aside.exists(), "what was in it is kept for the administrator");
    let held = Reservation { uuid: machine.uuid, ..held };
    cut(&run);
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
    assert_eq!(cluster.sim.cluster().vms().len(), 0);
    assert_eq!(left(&runs), Vec::<std::path::PathBuf>::new());
}

async fn half_a_state_without_a_platform_is_no_absence() {
    let files = Files::new();
    let provisioner = files.provisioner(files.config());
    let spec = spec(&files.deployment);
    let held = reserve(&provisioner, &spec).await;
    let machine = make(&provisioner, &held, &spec).await.expect("made");
    let held = Reservation { uuid: machine.uuid, ..held };
    let state = run_of(&files.runs(), &held).join("work/terraform.tfstate");
    let whole = std::fs::read(&state).unwrap();
    let damages: [&(dyn Fn() + Sync); 3] =
        [&|| cut(&run_of(&files.runs(), &held)), &|| std::fs::write(&state, "").unwrap(), &|| {
            std::fs::remove_file(&state).unwrap()
        }];
    for damage in damages {
        damage();
        let error = remove(&provisioner, &held).await.expect_err("not told to be gone");
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(error.to_string().contains("terraform.tfstate.backup"), "{error}");
        assert!(files.machine(&held).exists());
    }
    std::fs::write(&state, whole).unwrap();
    assert_eq!(remove(&provisioner, &held).await.expect("removed"), Destroyed::Gone);
    assert!(!files.machine(&held).exists());
}

async fn the_lock_of_a_run_that_was_killed_hinders_nobody() {
    let (cluster, provisioner, held, spec) = half_made().await;
    let run = run_of(&cluster.temp.path().join("runs"), &held);
    rustix::process::kill_process_group(group(&run), rustix::process::Signal::KILL).unwrap();
    drop(provisioner);
    assert!(run.join("work/.terraform.tfstate.lock.info").exists(), "it left its lock");
    take_away(&cluster.temp.path().join("gate"));
    let successor = cluster.provisioner(cluster.config());
    make(&successor, &held, &spec).await.expect("made");
    assert_eq!(cluster.sim.cluster().vms().len(), 1);
}

async fn eight_at_once_get_a_machine_each() {
    let files = Files::new();
    let provisioner = files.provisioner(files.config());
    let one = async || {
        let spec = spec(&files.deployment);
        let held = reserve(&provisioner, &spec).await;
        let machine = make(&provisioner, &held, &spec).await.expect("made");
        let owner = std::fs::read_to_string(files.machine(&held)).unwrap();
        assert_eq!((owner.as_str(), machine.power), (held.session.as_str(), Power::Running));
        Reservation { uuid: machine.uuid, ..held }
    };
    let all = tokio::join!(one(), one(), one(), one(), one(), one(), one(), one());
    let all = [all.0, all.1, all.2, all.3, all.4, all.5, all.6, all.7];
    assert_eq!(provisioner.list().await.unwrap().len(), 8);
    for held in &all {
        assert_eq!(files.made(&held.session), 1);
        assert_eq!(remove(&provisioner, held).await.expect("removed"), Destroyed::Gone);
    }
    assert_eq!(left(&files.runs()), Vec::<std::path::PathBuf>::new());
}
