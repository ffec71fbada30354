//! Whether what comes and goes leaves anything behind.

/// What a process or a page uses, by name.
pub type Usage = Vec<(&'static str, f64)>;

/// Does `rounds`, which tells what is used after its work, and demands that this is no more than before, give or
/// take a twentieth.
///
/// An allocator's high-water mark rises when more goes on at the same time than ever before. It is told from a
/// leak by going on: a leak grows every time.
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
