//! The `daas` program.

mod args;
mod client;
mod commands;
mod exit;
mod interrupt;
mod output;
mod rdp;
mod wire;
mod world;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{BenchCommand, Cli, Command};
use crate::client::Client;
use crate::exit::{Code, Outcome};
use crate::output::{Output, tell};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.code == Code::Unread => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&format!("error: {failure}"));
            if let Some(hint) = &failure.hint {
                tell(&format!("hint: {hint}"));
            }
            failure.code.into()
        }
    }
}

async fn run(cli: Cli) -> Outcome {
    let output = Output { json: cli.json };
    match cli.command {
        Command::Connect(args) => commands::connect::run(&Client::new(&cli.client)?, args).await,
        Command::Session(command) => {
            commands::session::run(&Client::new(&cli.client)?, output, command).await
        }
        Command::Template(command) => {
            commands::session::templates(&Client::new(&cli.client)?, output, &command).await
        }
        Command::Quarantine(command) => {
            commands::quarantine::run(&Client::new(&cli.client)?, output, command).await
        }
        Command::Inventory(args) => {
            commands::inventory::run(|| Client::new(&cli.client), args).await
        }
        Command::Key(command) => commands::key::run(output, command).await,
        Command::Audit(command) => {
            commands::audit::run(|| Client::new(&cli.client), output, command).await
        }
        Command::User(command) => commands::user::run(output, command).await,
        Command::Serve(args) => commands::serve::serve(&args).await,
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Doctor(args) => commands::serve::doctor(output, &args).await,
        Command::Bench(BenchCommand::Herd(args)) => commands::bench::herd(output, args).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "daas", &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end())
        }
    }
}
