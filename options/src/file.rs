//! The TOML file: its values become the defaults of the command line's options.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::OptionsError;

/// A configuration file.
pub(super) struct File {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// An option in a file with its values as on the command line, each with its line.
struct Entry {
    option: String,
    line: usize,
    values: Vec<(String, usize)>,
}

impl File {
    /// Reads the file: it may set the options of `command`, except those in `not_in_file`.
    pub(super) fn read(path: PathBuf, command: &Command, not_in_file: &[&str]) -> Result<Self, OptionsError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return Err(OptionsError::Unreadable(path, error)),
        };
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let table = match DeTable::parse(&text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                // Its own text quotes the line, which may have a secret.
                let at = error.span().map_or(1, |span| line(span.start));
                return Err(OptionsError::InvalidLine(path, at, error.message().to_owned()));
            }
        };
        let entries = table.into_iter().map(|(name, value)| {
            let at = line(name.span().start);
            let invalid = |why| OptionsError::InvalidLine(path.clone(), at, why);
            // Accept `max_queue`, too.
            let option = name.get_ref().replace('_', "-");
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(&option));
            let arg = arg
                .filter(|_| !not_in_file.contains(&option.as_str()))
                .ok_or_else(|| invalid(format!("unknown option {:?}", name.get_ref())))?;
            let values = values(&value, matches!(arg.get_action(), ArgAction::Append), &line)
                .ok_or_else(|| invalid(format!("{} cannot have a value of this kind", name.get_ref())))?;
            Ok(Entry { option, line: at, values })
        });
        let entries = entries.collect::<Result<_, OptionsError>>()?;
        Ok(Self { path, entries })
    }

    /// Makes the file's values the defaults of the options.
    pub(super) fn as_defaults(&self, command: Command) -> Command {
        let options: Vec<(clap::Id, String)> = command
            .get_arguments()
            .filter_map(|arg| Some((arg.get_id().clone(), arg.get_long()?.to_owned())))
            .collect();
        self.entries.iter().fold(command, |command, entry| {
            let values: Vec<String> = entry.values.iter().map(|(value, _)| value.clone()).collect();
            match options.iter().find(|(_, long)| *long == entry.option) {
                Some((id, _)) => command.mut_arg(id, |arg| arg.default_values(values)),
                None => command,
            }
        })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The line of an option's value, or else of its name.
    pub(super) fn line_of(&self, arg: &Arg, value: &str) -> Option<usize> {
        let entry = self.entries.iter().find(|entry| arg.get_long() == Some(&entry.option))?;
        let found = entry.values.iter().find(|(text, _)| text == value);
        Some(found.map_or(entry.line, |(_, line)| *line))
    }
}

/// Converts a value to the form of the command line. An array is allowed if `many`.
fn values(
    value: &Spanned<DeValue<'_>>,
    many: bool,
    line: &impl Fn(usize) -> usize,
) -> Option<Vec<(String, usize)>> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Array(all) if many => {
            let all = all.iter().map(|value| values(value, false, line));
            return Some(all.collect::<Option<Vec<_>>>()?.concat());
        }
        _ => return None,
    };
    Some(vec![(text, line(value.span().start))])
}
