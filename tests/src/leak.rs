//! Checks whether repeated work leaks anything.

/// The resource usage of a process or page, by name.
pub type Usage = Vec<(&'static str, f64)>;

/// Runs `rounds`, which does some work and returns the usage after it. Fails if the usage has grown by more than 5 % in
/// each of three runs.
///
/// An allocator's high-water mark rises whenever more happens at once than before. Repetition distinguishes it from a
/// leak, which grows every time.
#[track_caller]
pub fn assert_nothing_left(before: Usage, mut rounds: impl FnMut() -> Usage) {
    const BATCHES: usize = 3;
    let mut history = vec![before];
    for _ in 0..BATCHES {
        let after = rounds();
        let before = history.last().expect("it begins with one");
        let grown = before.iter().zip(&after).any(|((_, before), (_, after))| *after > before * 1.05 + 1.0);
        history.push(after);
        if !grown {
            eprintln!("{history:#?}");
            return;
        }
    }
    panic!("it grows and grows: {history:#?}");
}
