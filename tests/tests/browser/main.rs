//! The client and a browser's own peer connection, without our page: what each offers and answers, and everything that either may
//! change during a call. `make interop` runs this.

mod directions;
mod interruption;
mod renegotiation;
