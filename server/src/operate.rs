//! What operators see and change: metrics, logs, the admin API, settings and their reload.

pub mod admin;
pub mod logging;
pub mod metrics;
pub(crate) mod reload;
pub mod scrape;
pub mod settings;
