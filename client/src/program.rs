//! The program: from the flags to the exit code.

use std::time::Instant;

use async_std::task;
use callbin_options::manual;
use callbin_protocol::printable;
use clap::CommandFactory;

use crate::{
    app::App,
    cli::{self, Cli, Command, Options},
    conference,
    events::{Event, Reporter},
    exit::{ExitCode, Failure},
    media::{
        encode::list,
        input::{devices, grab},
    },
    session,
    view::{self, detect::has_display},
    whip,
};

/// Runs the program and returns its exit code. Event times count from `started`.
pub fn run(cli: &Cli, started: Instant) -> ExitCode {
    match &cli.command {
        Command::Call { options, .. } | Command::Wait { options, .. } | Command::Room { options, .. } => {
            run_call(&cli.command, options, started)
        }
        Command::Codecs { json } => print(list::codecs(*json)),
        Command::Man { dir } => print(manual::write_pages(Cli::command(), dir)),
        Command::Completions { shell } => print(manual::completions(Cli::command(), *shell)),
        Command::Devices { json } => print(devices::list(*json)),
        Command::Record { options, .. } => run_call(&cli.command, &options.for_recording(), started),
        Command::Publish { options, .. } => run_call(&cli.command, &options.for_publishing(), started),
        Command::Play { options, .. } => run_call(&cli.command, &options.for_playing(), started),
        Command::Window(options) => view::window::run(options),
        Command::Grab(options) => grab::run(options),
    }
}

fn print(result: Result<String, String>) -> ExitCode {
    if manual::print("callbin", result) { ExitCode::Success } else { ExitCode::Internal }
}

fn run_call(command: &Command, options: &Options, started: Instant) -> ExitCode {
    let reporter = Reporter::new(started, options.events).on_stderr(options.data.uses_stdout());
    match task::block_on(run_mode(command, options, started)) {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            let message = failure.message.clone();
            reporter.tell_scripts(None, &Event::Error { code: failure.code as u8, message });
            eprintln!("callbin: {}", printable(&failure.message));
            failure.code
        }
    }
}

async fn run_mode(command: &Command, options: &Options, started: Instant) -> Result<(), Failure> {
    let mut app = App::new(options.clone(), started)?;
    let result = match command {
        Command::Call { peer, remote_offerer, .. } => session::call(&mut app, peer, *remote_offerer).await,
        Command::Wait { once, .. } => session::wait(&mut app, *once).await,
        Command::Room { room, max_peers, view, .. } => {
            // A member of a room need not watch: without a display there is no window.
            app.headless |= *view == cli::View::None;
            app.headless |= *view == cli::View::Auto && app.options.video_sink.is_none() && !has_display();
            conference::run(&mut app, room, *max_peers).await
        }
        Command::Record { room, max_peers, .. } => conference::run(&mut app, room, *max_peers).await,
        Command::Publish { url, .. } | Command::Play { url, .. } => whip::run(&mut app, url).await,
        _ => Ok(()),
    };
    app.close();
    result
}
