//! Reads transport-wide reports (draft-holmer-rmcat-transport-wide-cc-extensions-01).

/// Most packets of one report that are read: more than a second of any call.
const MAX_PACKETS: usize = 4096;
/// Units of the reference time and of the deltas, in seconds.
const REFERENCE: f64 = 0.064;
const DELTA: f64 = 0.000_25;

/// What a report says.
#[derive(Debug, PartialEq)]
pub(super) struct Report {
    /// The number of the first packet.
    pub(super) first: u16,
    /// For each packet: when it arrived, in seconds after an unknown moment. The moments of all reports are the same,
    /// but the clock starts over every twelve days.
    pub(super) arrivals: Vec<Option<f64>>,
}

/// A packet's status.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    Lost,
    Small,
    Large,
}

/// Reads the body of the RTCP packet after both SSRCs; `None` if it is not valid.
pub(super) fn parse(body: &[u8]) -> Option<Report> {
    let (header, mut rest) = body.split_first_chunk::<8>()?;
    let [b0, b1, c0, c1, r0, r1, r2, _] = *header;
    let count = usize::from(u16::from_be_bytes([c0, c1])).min(MAX_PACKETS);
    // A signed number of 24 bits.
    let reference = i32::from_be_bytes([r0, r1, r2, 0]) >> 8;
    let mut statuses = Vec::with_capacity(count);
    while statuses.len() < count {
        let (chunk, after) = rest.split_first_chunk::<2>()?;
        rest = after;
        add_chunk(&mut statuses, u16::from_be_bytes(*chunk), count);
    }
    statuses.truncate(count);
    let mut at = f64::from(reference) * REFERENCE;
    let mut arrivals = Vec::with_capacity(count);
    for status in statuses {
        let delta = match status {
            Status::Lost => None,
            Status::Small => {
                let (delta, after) = rest.split_first()?;
                rest = after;
                Some(f64::from(*delta))
            }
            Status::Large => {
                let (delta, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                Some(f64::from(i16::from_be_bytes(*delta)))
            }
        };
        arrivals.push(delta.map(|delta| {
            at += delta * DELTA;
            at
        }));
    }
    Some(Report { first: u16::from_be_bytes([b0, b1]), arrivals })
}

fn add_chunk(statuses: &mut Vec<Status>, chunk: u16, count: usize) {
    let is_vector = chunk & 0x8000 != 0;
    if !is_vector {
        let run = usize::from(chunk & 0x1fff).min(count - statuses.len());
        statuses.extend(std::iter::repeat_n(Status::of(chunk >> 13), run));
    } else if chunk & 0x4000 == 0 {
        statuses.extend((0..14).rev().map(|bit| Status::of((chunk >> bit) & 1)));
    } else {
        statuses.extend((0..7).rev().map(|pair| Status::of((chunk >> (2 * pair)) & 3)));
    }
}

impl Status {
    fn of(bits: u16) -> Self {
        match bits & 3 {
            1 => Self::Small,
            2 => Self::Large,
            _ => Self::Lost,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a report of packets from `first` on, with the times of arrival in units of 250 µs.
    pub(crate) fn write(first: u16, arrivals: &[Option<i64>]) -> Vec<u8> {
        let start = arrivals.iter().flatten().next().copied().unwrap_or(0);
        let reference = start.div_euclid(256);
        let mut body = [first.to_be_bytes(), u16::try_from(arrivals.len()).unwrap().to_be_bytes()].concat();
        body.extend(&i32::try_from(reference % (1 << 23)).unwrap().to_be_bytes()[1..]);
        body.push(0);
        let mut last = reference * 256;
        let mut deltas = Vec::new();
        for seven in arrivals.chunks(7) {
            let mut chunk = 0xc000u16;
            for (place, arrival) in seven.iter().enumerate() {
                let Some(at) = arrival else { continue };
                let delta = at - last;
                last = *at;
                let small = u8::try_from(delta).ok();
                chunk |= (if small.is_some() { 1 } else { 2 }) << (2 * (6 - place));
                match small {
                    Some(delta) => deltas.push(delta),
                    None => deltas.extend(i16::try_from(delta).unwrap().to_be_bytes()),
                }
            }
            body.extend(chunk.to_be_bytes());
        }
        body.extend(deltas);
        body
    }

    #[test]
    fn reads_runs_and_vectors_of_both_kinds() {
        // Reference 1 (64 ms); 2 packets as a run, 14 as a vector of bits, then 3 of a vector of pairs.
        let chunks: [u16; 3] = [0x2002, 0b1010_0000_0000_0001, 0b1110_0001_0000_0000];
        let mut body = vec![0xff, 0xff, 0, 19, 0, 0, 1, 9];
        body.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
        body.extend([4, 8, 12, 16, 0xff, 0xfc, 40]);
        let report = parse(&body).unwrap();
        assert_eq!((report.first, report.arrivals.len()), (65_535, 19));
        let ms = |at: f64| (at * 1000.0 * 100.0).round() / 100.0;
        let found: Vec<_> =
            report.arrivals.iter().enumerate().filter_map(|(place, at)| Some((place, ms((*at)?)))).collect();
        assert_eq!(found, [(0, 65.0), (1, 67.0), (2, 70.0), (15, 74.0), (16, 73.0), (18, 83.0)]);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let body = write(7, &[Some(10), None, Some(20), Some(900)]);
        assert!(parse(&body).is_some());
        (0..body.len()).for_each(|length| assert_eq!(parse(&body[..length]), None));
    }

    #[test]
    fn the_clock_may_be_before_zero() {
        assert_eq!(parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0, 0x20, 1, 4]).unwrap().arrivals, [Some(-0.063)]);
    }

    proptest! {
        #[test]
        fn nothing_panics_or_grows(body in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(report) = parse(&body) {
                prop_assert!(report.arrivals.len() <= MAX_PACKETS);
            }
        }

        #[test]
        fn what_is_written_is_read(first: u16, deltas in prop::collection::vec(prop::option::of(-200i64..600), 1..200)) {
            let mut at = 5000;
            let arrivals: Vec<_> = deltas.iter().map(|delta| delta.map(|delta| { at += delta; at })).collect();
            let report = parse(&write(first, &arrivals)).unwrap();
            prop_assert_eq!(report.first, first);
            let ticks = report.arrivals.iter().map(|at| at.map(|at| (at / DELTA).round() as i64));
            prop_assert_eq!(ticks.collect::<Vec<_>>(), arrivals);
        }
    }
}
