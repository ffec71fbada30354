//! The results as a table in Markdown, with remarks on failures below it.

use std::fmt;

use crate::{call::Way, stack::Role};

/// The tests, one column each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// A medium in one direction, in a new call.
    Way(Way),
    /// All media inactive, then active again.
    Hold,
    /// Video removed and added again.
    Removed,
    /// Video in one direction, then the other, then both.
    Direction,
    /// An ICE restart.
    Restart,
    /// Only data first, media with the second offer.
    MediaLater,
    /// The peer's camera with the second offer.
    CameraLater,
}

impl Column {
    const ALL: [Self; 12] = [
        Self::Way(Way::PictureOut),
        Self::Way(Way::PictureIn),
        Self::Way(Way::SoundOut),
        Self::Way(Way::SoundIn),
        Self::Way(Way::TextOut),
        Self::Way(Way::TextIn),
        Self::Hold,
        Self::Removed,
        Self::Direction,
        Self::Restart,
        Self::MediaLater,
        Self::CameraLater,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Way(way) => way.name(),
            Self::Hold => "hold",
            Self::Removed => "remove, add",
            Self::Direction => "direction",
            Self::Restart => "ICE restart",
            Self::MediaLater => "media later",
            Self::CameraLater => "camera later",
        }
    }
}

/// A known failure and its reason.
pub type Known = (&'static str, Role, Column, &'static str);

/// The known failures. A run notes an entry that works; remove it then.
pub const KNOWN: &[Known] = &[
    ("aiortc", Role::CalledAnswers, Column::Hold, OTHER_NUMBERS),
    ("aiortc", Role::CalledAnswers, Column::Removed, OTHER_NUMBERS),
    ("aiortc", Role::CalledAnswers, Column::Direction, OTHER_NUMBERS),
    ("libdatachannel", Role::CallsOffers, Column::Removed, NO_REJECTION),
    ("libdatachannel", Role::CalledAnswers, Column::Removed, NO_REJECTION),
    ("example.c", Role::CallsAnswers, Column::Way(Way::PictureOut), BEFORE_THE_OFFER),
    ("example.c", Role::CallsAnswers, Column::Way(Way::SoundOut), BEFORE_THE_OFFER),
];

const OTHER_NUMBERS: &str =
    "its later offers give payload types of the first another codec, against RFC 3264, section 8.3.2";
const BEFORE_THE_OFFER: &str = "it starts its encoders before the offer, with payload types of its own";
const NO_REJECTION: &str =
    "it leaves the m-line that it removes as it was, and sends the new one with the same SSRC";

/// The results of a stack in one role.
#[derive(Debug)]
pub struct Row {
    stack: &'static str,
    /// The role, or the reason why the stack was not run.
    role: Result<&'static str, String>,
    cells: Vec<(Column, Result<(), String>)>,
    second_try: bool,
}

impl Row {
    /// A row without results yet.
    pub fn new(stack: &'static str, role: Role) -> Self {
        Self::named(stack, role.name())
    }

    /// A row of a stack that has roles of its own.
    pub fn named(stack: &'static str, role: &'static str) -> Self {
        Self { stack, role: Ok(role), cells: Vec::new(), second_try: false }
    }

    /// A row for a stack that was not run.
    pub fn not_run(stack: &'static str, reason: &str) -> Self {
        Self { stack, role: Err(format!("not run: {reason}")), cells: Vec::new(), second_try: false }
    }

    fn role(&self) -> &str {
        match &self.role {
            Ok(role) => role,
            Err(reason) => reason,
        }
    }

    /// Adds a result, and prints it as progress.
    pub fn set(&mut self, column: Column, result: Result<(), String>) {
        let words = result.as_ref().map_or_else(String::as_str, |()| "works");
        eprintln!("{}, {}, {}: {words}", self.stack, self.role(), column.name());
        self.cells.push((column, result));
    }

    /// Whether the latest result is a failure.
    pub fn failed_last(&self) -> bool {
        self.cells.last().is_some_and(|(_, result)| result.is_err())
    }

    fn known(&self, known: &[Known], column: Column) -> Option<&'static str> {
        let entry = known.iter().find(|(stack, role, at, _)| {
            *stack == self.stack && self.role.as_ref() == Ok(&role.name()) && *at == column
        });
        entry.map(|(.., reason)| *reason)
    }

    fn cell(&self, known: &[Known], column: Column) -> &'static str {
        match self.cells.iter().find(|(at, _)| *at == column) {
            None => "",
            Some((_, Ok(()))) => "yes",
            Some((_, Err(_))) if self.known(known, column).is_some() => "no, known",
            Some((_, Err(_))) => "**no**",
        }
    }

    /// Remarks on results that are not plain successes; columns with the same remark share one line.
    fn remarks(&self, known: &[Known]) -> Vec<String> {
        let mut remarks: Vec<(Vec<&str>, String)> = Vec::new();
        for (column, result) in &self.cells {
            let words = match (result, self.known(known, *column)) {
                (Err(error), None) => error.clone(),
                (Err(_), Some(reason)) => format!("known: {reason}"),
                (Ok(()), Some(reason)) => format!("worked in this run, but is known to fail: {reason}"),
                (Ok(()), None) => continue,
            };
            match remarks.iter_mut().find(|(_, said)| *said == words) {
                Some((columns, _)) => columns.push(column.name()),
                None => remarks.push((vec![column.name()], words)),
            }
        }
        let place = format!("{}, {}", self.stack, self.role());
        let said =
            remarks.into_iter().map(|(columns, words)| format!("{place}; {}: {words}", columns.join(", ")));
        said.chain(self.second_try.then(|| format!("{place}: this is the second try"))).collect()
    }

    /// Whether there are failures that are not known.
    pub fn has_failed(&self, known: &[Known]) -> bool {
        self.cells.iter().any(|(column, result)| result.is_err() && self.known(known, *column).is_none())
    }

    /// Marks the row as a repetition of a failed one.
    pub fn on_second_try(self) -> Self {
        Self { second_try: true, ..self }
    }
}

/// All rows.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    known: &'static [Known],
}

impl Table {
    /// An empty table with a list of known failures.
    pub fn new(known: &'static [Known]) -> Self {
        Self { rows: Vec::new(), known }
    }

    /// Adds rows.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// Whether there are failures that are not known.
    pub fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| row.has_failed(self.known))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Column::ALL.map(Column::name).join(" | ");
        writeln!(f, "| stack | it | {names} |")?;
        writeln!(f, "|---|---|{}", "---|".repeat(Column::ALL.len()))?;
        for row in &self.rows {
            let cells = Column::ALL.map(|column| row.cell(self.known, column)).join(" | ");
            writeln!(f, "| {} | {} | {cells} |", row.stack, row.role())?;
        }
        let remarks: Vec<String> = self.rows.iter().flat_map(|row| row.remarks(self.known)).collect();
        if !remarks.is_empty() {
            writeln!(f)?;
        }
        remarks.iter().try_for_each(|remark| writeln!(f, "- {remark}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(known: &'static [Known], result: Result<(), String>) -> Table {
        let mut row = Row::new("a", Role::CallsOffers);
        row.set(Column::Hold, result);
        let mut table = Table::new(known);
        table.extend([row]);
        table
    }

    const LISTED: &[Known] = &[("a", Role::CallsOffers, Column::Hold, "because")];

    #[test]
    fn a_failure_fails_the_run_unless_it_is_known() {
        let new = table(&[], Err("broken".into()));
        assert!(new.has_failed() && new.to_string().contains("- a, calls, offers; hold: broken"), "{new}");
        let known = table(LISTED, Err("broken".into()));
        assert!(!known.has_failed() && known.to_string().contains("known: because"), "{known}");
    }

    #[test]
    fn a_known_failure_that_works_is_only_noted() {
        let table = table(LISTED, Ok(()));
        assert!(!table.has_failed() && table.to_string().contains("worked in this run"), "{table}");
    }

    #[test]
    fn what_was_not_run_says_why_and_fails_nothing() {
        let mut table = Table::new(&[]);
        table.extend([Row::not_run("a", "EXAMPLES not set")]);
        assert!(!table.has_failed() && table.to_string().contains("not run: EXAMPLES not set"), "{table}");
    }
}
