//! C functions that no safe binding calls, or not safely enough for what strangers send. All unsafe code of callbin is
//! here.

pub mod ice;
pub mod text;
