//! Whether what comes and goes leaves anything behind.

/// What a process or a page uses, by name.
pub type Usage = Vec<(&'static str, f64)>;

/// Has everything be used by `rounds`, and demands that in the end it uses no more than before, give or take a
/// twentieth. `rounds` does its work and tells what is used afterwards.
///
/// An allocator's high-water mark may rise once more, on a day when more goes on at the same time than ever
/// before. That is told from a leak by going on: a leak grows every time.
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
