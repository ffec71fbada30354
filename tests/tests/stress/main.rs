//! What many or bad peers, and faults around it, can do to a server. Its tests measure, so no other program's run beside them.

mod attack;
mod cluster;
mod crowds;
mod faults;
mod load;
mod memory;
