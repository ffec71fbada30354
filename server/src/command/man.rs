//! `callbin-server man`.

use std::{fs, path::PathBuf};

use clap::Args;

/// The output folder.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The folder; it is created if it is missing.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes a page for the server and one for each command.
pub(super) fn run(options: &Options) -> Result<String, Box<dyn std::error::Error>> {
    let dir = &options.dir;
    let write = || {
        fs::create_dir_all(dir)?;
        clap_mangen::generate_to(super::everything(), dir)
    };
    write().map_err(|error| format!("cannot write to {}: {error}", dir.display()))?;
    Ok(format!("manual pages in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_each_option_and_a_page_for_each_command() {
        let folder = tempfile::TempDir::new().unwrap();
        let dir = folder.path().join("man1");
        run(&Options { dir: dir.clone() }).unwrap();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        let page = read("callbin-server.1").replace("\\-", "-");
        for arg in super::super::everything().get_arguments().filter_map(|arg| arg.get_long()) {
            assert!(page.contains(&format!("--{arg}")), "--{arg} in {page}");
        }
        for (name, words) in [
            ("callbin-server-token.1", "--ttl"),
            ("callbin-server-admin.1", "--admin-secret-file"),
            ("callbin-server-admin-close-room.1", "ROOM"),
            ("callbin-server-health.1", "--admin-addr"),
            ("callbin-server-man.1", "DIR"),
        ] {
            assert!(read(name).replace("\\-", "-").contains(words), "{words} in {name}");
        }
    }
}
