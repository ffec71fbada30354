//! Puts the page's modules into one: together they are smaller, and one request away. Also part of build.rs.
//!
//! This is no parser: it knows the forms of `import` and `export` that the page uses, and refuses others. Each module
//! becomes a function that returns its exports, after those that it imports.

use std::collections::HashMap;

/// The name of the module that has them all.
pub(super) const BUNDLE: &str = "all.js";

/// The module beside the bundle, as the bundle names it.
const APART: &str = "$apart";

/// A module in its two forms.
#[derive(Debug)]
struct Module {
    /// Its body, as that of a function.
    body: String,
    /// The names that it exports.
    exports: Vec<String>,
}

/// The bundle of the modules `roots` and those that they import, and, for each of them, a module that exports the same from
/// there, for modules that are loaded later. The module `apart` stays one of its own, which the bundle imports. The text of a
/// module is without comments.
pub(super) fn bundle(
    roots: &[&str],
    apart: &str,
    modules: &HashMap<String, String>,
) -> Result<Vec<(String, String)>, String> {
    let mut packer =
        Packer { modules, apart, order: Vec::new(), numbers: HashMap::new(), under_way: Vec::new() };
    for root in roots {
        packer.add(root)?;
    }
    let bodies = packer.order.iter().enumerate().map(|(number, (_, module))| {
        let Module { body, exports } = module;
        format!("export const ${number} = (() => {{\n{body}return {{ {} }};\n}})();\n", exports.join(", "))
    });
    let text = format!("import * as {APART} from \"./{apart}\";\n{}", bodies.collect::<String>());
    let mut files = vec![(BUNDLE.to_owned(), text)];
    files.extend(packer.order.iter().enumerate().map(|(number, (name, module))| {
        let up = "../".repeat(name.matches('/').count());
        let up = if up.is_empty() { "./" } else { &up };
        let exports = module.exports.join(", ");
        let text = format!(
            "import {{ ${number} }} from \"{up}{BUNDLE}\";\nexport const {{ {exports} }} = ${number};\n"
        );
        (name.clone(), text)
    }));
    Ok(files)
}

struct Packer<'a> {
    modules: &'a HashMap<String, String>,
    apart: &'a str,
    /// Each module after those that it imports.
    order: Vec<(String, Module)>,
    numbers: HashMap<String, usize>,
    under_way: Vec<String>,
}

impl Packer<'_> {
    fn text(&self, name: &str) -> Result<&str, String> {
        self.modules.get(name).map(String::as_str).ok_or_else(|| format!("{name} is missing"))
    }

    fn add(&mut self, name: &str) -> Result<usize, String> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        if self.under_way.iter().any(|other| other == name) {
            return Err(format!("{name} imports itself by way of {}", self.under_way.join(", ")));
        }
        self.under_way.push(name.to_owned());
        let (rest, imports) = imports(name, self.text(name)?)?;
        let mut body = String::new();
        for (names, from) in imports {
            let module = if from == self.apart { APART.into() } else { format!("${}", self.add(&from)?) };
            body.push_str(&format!("const {names} = {module};\n"));
        }
        let exports = take_exports(name, &rest, &mut body)?;
        let is_deep = name.contains('/');
        if body.contains("import.meta") || (is_deep && body.contains("import(")) {
            return Err(format!("{name} depends on its own address"));
        }
        self.under_way.pop();
        let number = self.order.len();
        self.order.push((name.to_owned(), Module { body, exports }));
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }
}

/// Separates the imports: the text without them, and for each what it declares, as in `const … = module`, and the name of
/// the module.
fn imports(name: &str, text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let (mut rest, mut imports) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("import ") {
            rest.push_str(line);
            rest.push('\n');
            continue;
        }
        let mut statement = line.to_owned();
        while !statement.ends_with(';') {
            let more = lines.next().ok_or_else(|| format!("{name}: {line}"))?;
            statement.push(' ');
            statement.push_str(more);
        }
        let unknown = || format!("{name}: {statement}");
        let (names, from) = statement
            .strip_prefix("import ")
            .and_then(|rest| rest.strip_suffix("\";")?.split_once(" from \""))
            .ok_or_else(unknown)?;
        let names = match names.strip_prefix("* as ") {
            Some(all) => all.to_owned(),
            None if names.starts_with('{') => names.replace(" as ", ": "),
            None => return Err(unknown()),
        };
        imports.push((names, resolve(name, from).ok_or_else(unknown)?));
    }
    Ok((rest, imports))
}

/// Copies the text without the word `export`; returns the exported names.
fn take_exports(name: &str, text: &str, body: &mut String) -> Result<Vec<String>, String> {
    let mut exports = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let declaration = line.strip_prefix("export ").unwrap_or(line);
        if declaration.len() < line.len() {
            let kinds = ["async function ", "function ", "class ", "const "];
            let named = kinds.iter().find_map(|kind| declaration.strip_prefix(kind));
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = named.map(|rest| rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
            match named.zip(end).and_then(|(rest, end)| rest.get(..end)).filter(|export| !export.is_empty()) {
                Some(export) => exports.push(export.to_owned()),
                None => return Err(format!("{name}: {line}")),
            }
        }
        body.push_str(declaration);
        body.push('\n');
    }
    Ok(exports)
}

/// The name of the module at a relative address.
fn resolve(from: &str, address: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in address.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    address.starts_with('.').then(|| parts.join("/"))
}
