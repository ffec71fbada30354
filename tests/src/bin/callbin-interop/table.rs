//! The results, as a table in Markdown with what is wrong below it.

use std::fmt;

use crate::{call::Way, stack::Role};

/// What is tested, a column each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// What flows in a call that has just begun.
    Way(Way),
    /// All media inactive, and back.
    Hold,
    /// The picture removed and added again.
    Removed,
    /// The picture one way, the other way, and both ways.
    Direction,
    /// An ICE restart.
    Restart,
    /// Data alone first, media with the second offer.
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

/// What is known not to work, and why. An entry that works after all is noted in a run, and then to be removed.
const KNOWN: &[(&str, Role, Column, &str)] = &[];

/// A stack in a role, and what was found.
#[derive(Debug)]
pub struct Row {
    stack: &'static str,
    /// None if it was not run, for this reason.
    role: Result<Role, String>,
    cells: Vec<(Column, Result<(), String>)>,
}

impl Row {
    /// Nothing yet.
    pub fn new(stack: &'static str, role: Role) -> Self {
        Self { stack, role: Ok(role), cells: Vec::new() }
    }

    /// Nothing at all, for a reason.
    pub fn not_run(stack: &'static str, reason: &str) -> Self {
        Self { stack, role: Err(format!("not run: {reason}")), cells: Vec::new() }
    }

    fn role(&self) -> &str {
        self.role.as_ref().map_or_else(String::as_str, |role| role.name())
    }

    /// Adds a result, and shows that something goes on.
    pub fn set(&mut self, column: Column, result: Result<(), String>) {
        let words = result.as_ref().map_or_else(String::as_str, |()| "works");
        eprintln!("{}, {}, {}: {words}", self.stack, self.role(), column.name());
        self.cells.push((column, result));
    }

    /// Whether the latest result is a failure.
    pub fn failed_last(&self) -> bool {
        self.cells.last().is_some_and(|(_, result)| result.is_err())
    }

    fn known(&self, column: Column) -> Option<&'static str> {
        let entry = KNOWN.iter().find(|(stack, role, at, _)| {
            *stack == self.stack && self.role.as_ref() == Ok(role) && *at == column
        });
        entry.map(|(.., reason)| *reason)
    }

    fn cell(&self, column: Column) -> &'static str {
        match self.cells.iter().find(|(at, _)| *at == column) {
            None => "",
            Some((_, Ok(()))) => "yes",
            Some((_, Err(_))) if self.known(column).is_some() => "no, known",
            Some((_, Err(_))) => "**no**",
        }
    }

    /// What is to be said of the results that are not simply good; of several columns at once, if it is the same.
    fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<(Vec<&str>, String)> = Vec::new();
        for (column, result) in &self.cells {
            let words = match (result, self.known(*column)) {
                (Err(error), None) => error.clone(),
                (Err(_), Some(reason)) => format!("known: {reason}"),
                (Ok(()), Some(_)) => "works now: remove it from the known failures".into(),
                (Ok(()), None) => continue,
            };
            match remarks.iter_mut().find(|(_, said)| *said == words) {
                Some((columns, _)) => columns.push(column.name()),
                None => remarks.push((vec![column.name()], words)),
            }
        }
        let place = format!("{}, {}", self.stack, self.role());
        remarks
            .into_iter()
            .map(|(columns, words)| format!("{place}; {}: {words}", columns.join(", ")))
            .collect()
    }
}

/// All rows.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds one.
    pub fn push(&mut self, row: Row) {
        self.0.push(row);
    }

    /// Whether anything fails that is not known to.
    pub fn has_failed(&self) -> bool {
        self.0.iter().any(|row| {
            row.cells.iter().any(|(column, result)| result.is_err() && row.known(*column).is_none())
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Column::ALL.map(Column::name).join(" | ");
        writeln!(f, "| stack | it | {names} |")?;
        writeln!(f, "|---|---|{}", "---|".repeat(Column::ALL.len()))?;
        for row in &self.0 {
            let cells = Column::ALL.map(|column| row.cell(column)).join(" | ");
            writeln!(f, "| {} | {} | {cells} |", row.stack, row.role())?;
        }
        let remarks: Vec<String> = self.0.iter().flat_map(Row::remarks).collect();
        if !remarks.is_empty() {
            writeln!(f)?;
        }
        remarks.iter().try_for_each(|remark| writeln!(f, "- {remark}"))
    }
}
