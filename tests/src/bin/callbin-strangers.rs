//! Sends random descriptions and candidates from a grammar to real webrtcbins. Prints each seed that ends the process:
//! a bug to fix.
//!
//! ```text
//! callbin-strangers [FROM [COUNT]]      tries COUNT (1000) seeds, starting with FROM (1)
//! ```

use std::process::ExitCode;

use callbin_tests::strangers;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    if args.first().is_some_and(|word| word == "victim") {
        if let (Ok(from), Ok(end)) = (number(1, 0), number(2, 0)) {
            strangers::run(from, end);
        }
        return ExitCode::SUCCESS;
    }
    let (Ok(from), Ok(count)) = (number(0, 1), number(1, 1000)) else {
        eprintln!("usage: callbin-strangers [FROM [COUNT]]");
        return ExitCode::from(2);
    };
    let program = std::env::current_exe().unwrap_or_default();
    let outcome = strangers::survive(&program, from, count);
    for death in &outcome.deaths {
        println!("seed {}: {}", death.seed, death.how);
    }
    println!(
        "{count} strangers: {} descriptions answered, {} refused, {} deaths",
        outcome.answered,
        outcome.refused,
        outcome.deaths.len()
    );
    if outcome.deaths.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
