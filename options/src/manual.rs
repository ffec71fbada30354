//! Manual pages and shell completions, from the same definitions as `--help`.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::Command;
use clap_complete::Shell;

/// Whether the first argument names a command of `cli`. A program may do its main work without one.
pub fn is_asked(cli: &Command) -> bool {
    let first = std::env::args_os().nth(1).and_then(|first| first.into_string().ok());
    first.is_some_and(|first| cli.get_subcommands().any(|command| command.get_name() == first))
}

/// The options of `program`, with the commands of `cli` and a text about exit codes, for the manual.
pub fn everything(program: Command, cli: &Command, exit_codes: &'static str) -> Command {
    let commands: Vec<Command> = cli.get_subcommands().cloned().collect();
    program.after_help(exit_codes).subcommands(commands)
}

/// Writes a manual page for `command` and one for each subcommand to the folder `dir`, which is created if it is missing.
pub fn write_pages(command: Command, dir: &Path) -> Result<String, String> {
    let write = || {
        fs::create_dir_all(dir)?;
        clap_mangen::generate_to(command, dir)
    };
    write().map_err(|error| format!("cannot write to {}: {error}", dir.display()))?;
    Ok(format!("manual pages in {}", dir.display()))
}

/// The completions of `command` for a shell.
pub fn completions(mut command: Command, shell: Shell) -> Result<String, String> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).map_err(|error| error.to_string())
}

/// Prints what a command made, or its error in the name of `program`. Returns whether it succeeded.
pub fn print(program: &str, result: Result<String, String>) -> bool {
    match &result {
        // A reader that closes the pipe early has what it wants.
        Ok(text) => {
            let _ = writeln!(io::stdout(), "{}", text.trim_end());
        }
        Err(error) => eprintln!("{program}: {error}"),
    }
    result.is_ok()
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn program() -> Command {
        let room = Command::new("room").arg(Arg::new("name").value_name("ROOM"));
        Command::new("program").arg(Arg::new("port").long("port")).subcommand(room)
    }

    #[test]
    fn each_command_has_a_page() {
        let folder = tempfile::TempDir::new().unwrap();
        let dir = folder.path().join("man1");
        write_pages(program(), &dir).unwrap();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap().replace("\\-", "-");
        assert!(read("program.1").contains("--port"));
        assert!(read("program-room.1").contains("ROOM"));
        let error = write_pages(program(), Path::new("/dev/null/x")).unwrap_err();
        assert!(error.contains("/dev/null/x"), "{error}");
    }

    #[test]
    fn shells_complete_options_and_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(program(), shell).unwrap();
            assert!(script.contains("port") && script.contains("room"), "{script}");
        }
    }
}
