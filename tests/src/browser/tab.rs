//! What a test does with a page, in any browser.

use serde_json::Value;

/// A page's window. Dropping it closes it, as a user would.
pub(super) trait Tab: std::fmt::Debug + Send + Sync {
    /// The value of an expression; a promise is awaited.
    fn eval(&self, js: &str) -> Result<Value, String>;
    /// Goes to another address; it may still be loading afterwards.
    fn navigate(&self, url: &str);
    /// Runs a script in each document that it loads from now on, before the document's own scripts.
    fn before_load(&self, js: &str);
    /// Moves the mouse to a place, and clicks if `presses`.
    fn mouse(&self, x: f64, y: f64, presses: bool);
    /// Types a text where the focus is.
    fn insert(&self, text: &str);
    /// Presses a key, named as in `KeyboardEvent.key`.
    fn press(&self, key: &str);
    /// Sets the size of the window's content.
    fn resize(&self, width: u32, height: u32);
    /// Sets the preferred colour scheme.
    fn set_color_scheme(&self, scheme: &str);
    /// A screenshot as PNG in base64.
    fn screenshot(&self) -> String;
    /// Errors and exceptions on the console so far.
    fn troubles(&self) -> Vec<String>;
}
