//! Parts of the pages in `docs/`.

/// The first code block of a page in this language.
#[track_caller]
pub fn code(page: &str, language: &str) -> String {
    let start = format!("```{language}\n");
    let code = page.split(&start).nth(1).and_then(|rest| rest.split("```").next());
    code.unwrap_or_else(|| panic!("no {language}")).to_owned()
}
