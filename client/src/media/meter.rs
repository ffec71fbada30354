//! Measurements on received media: counts, the picture's mean colour and motion, the sound's level and pitch. All come
//! from probes, which never wait.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    age::{
        ages::Ages,
        fresh::{Fresh, State},
        ntp::Ntp,
    },
    stats::{AudioStats, ClockStats, RtpStats, VideoStats},
};

/// Time between two measurements of the picture.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Sampled points per row and per column.
const GRID: usize = 24;

/// All measurements of one peer.
#[derive(Debug)]
pub struct Meter {
    born: Instant,
    last_packet: AtomicU64,
    /// RTP packets of the video.
    pub video: Rtp,
    /// RTP packets of the audio.
    pub audio: Rtp,
    frames: AtomicU64,
    /// Milliseconds since `born`.
    last_frame: AtomicU64,
    /// The longest time between two frames since the last statistics, in milliseconds.
    gap: AtomicU64,
    buffers: AtomicU64,
    ages: Mutex<Ages>,
    fresh: Mutex<Fresh>,
    picture: Mutex<Picture>,
    sound: Mutex<Sound>,
}

/// Counts of one medium's packets.
#[derive(Debug, Default)]
pub struct Rtp {
    packets: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Picture {
    width: u32,
    height: u32,
    looked: Option<Instant>,
    yuv: Option<[f64; 3]>,
    grid: Vec<u8>,
    motion: Option<f64>,
    told: Option<(Instant, u64)>,
}

#[derive(Debug, Default)]
struct Sound {
    samples: u64,
    squares: f64,
    crossings: u64,
    rate: u32,
    above: bool,
}

/// The planes of an I420 picture, each with its stride in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// Luma.
    pub y: (&'a [u8], usize),
    /// Blue difference.
    pub u: (&'a [u8], usize),
    /// Red difference.
    pub v: (&'a [u8], usize),
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            last_packet: AtomicU64::new(0),
            video: Rtp::default(),
            audio: Rtp::default(),
            frames: AtomicU64::new(0),
            last_frame: AtomicU64::new(0),
            gap: AtomicU64::new(0),
            buffers: AtomicU64::new(0),
            ages: Mutex::default(),
            fresh: Mutex::default(),
            picture: Mutex::default(),
            sound: Mutex::default(),
        }
    }
}

impl Rtp {
    /// Counts one packet.
    pub fn count(&self, bytes: usize) {
        self.packets.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn stats(&self) -> RtpStats {
        let (packets, bytes) = (self.packets.load(Relaxed), self.bytes.load(Relaxed));
        RtpStats { packets, bytes, ..RtpStats::default() }
    }
}

impl Meter {
    /// Records that a packet of any kind arrived from the network.
    pub fn packet(&self) {
        self.last_packet.store(self.now(), Relaxed);
    }

    /// Milliseconds since `born`.
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Time since the last packet.
    pub fn silence(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.last_packet.load(Relaxed)))
    }

    /// The RTP packets of the video so far.
    pub fn video_packets(&self) -> u64 {
        self.video.packets.load(Relaxed)
    }

    /// Sets the ID of the header extension with the capture time.
    pub fn set_capture_id(&self, id: Option<u8>) {
        lock(&self.ages).set_id(id);
    }

    /// A packet of the picture goes to the decoder. `start` is the beginning of it.
    pub fn picture_packet(&self, start: &[u8], pts: u64) {
        lock(&self.ages).packet(start, pts);
    }

    /// A compound of RTCP packets has come.
    pub fn reports(&self, compound: &[u8]) {
        lock(&self.ages).reports(self.born.elapsed(), Ntp::now(), compound);
    }

    /// A round trip was measured, other than by the reports' blocks.
    pub fn round_trip(&self, time: Duration) {
        lock(&self.ages).round_trip(self.born.elapsed(), time);
    }

    /// Whether new pictures come, and when to look again; `expected` says whether the peer is to send them.
    pub fn look_for_pictures(&self, expected: bool) -> (State, Duration) {
        lock(&self.fresh).look(self.born.elapsed(), expected)
    }

    /// Counts a frame with this timestamp in nanoseconds; returns whether it is the first.
    pub fn frame(&self, pts: Option<u64>) -> bool {
        let now = self.now();
        lock(&self.fresh).frame(self.born.elapsed());
        if let Some(pts) = pts {
            lock(&self.ages).frame(Ntp::now(), pts);
        }
        let before = self.last_frame.swap(now, Relaxed);
        let is_first = self.frames.fetch_add(1, Relaxed) == 0;
        if !is_first {
            self.gap.fetch_max(now.saturating_sub(before), Relaxed);
        }
        is_first
    }

    /// The longest time without a frame since the last call, in milliseconds; `None` before the first frame.
    fn longest_gap(&self) -> Option<u64> {
        let open = self.now().saturating_sub(self.last_frame.load(Relaxed));
        (self.frames() > 0).then(|| self.gap.swap(0, Relaxed).max(open))
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Whether a [`Meter::look`] is due; if so, starts the next interval.
    pub fn wants_to_look(&self) -> bool {
        let mut picture = lock(&self.picture);
        let due = picture.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL);
        if due {
            picture.looked = Some(Instant::now());
        }
        due
    }

    /// Measures a decoded frame.
    pub fn look(&self, width: u32, height: u32, planes: Planes<'_>) {
        let (w, h) = (width as usize, height as usize);
        let grid: Vec<u8> = sample(planes.y, w, h).collect();
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let yuv =
            [mean(grid.iter().copied()), mean(sample(planes.u, cw, ch)), mean(sample(planes.v, cw, ch))];
        let mut picture = lock(&self.picture);
        picture.motion = (picture.grid.len() == grid.len() && !grid.is_empty())
            .then(|| mean(grid.iter().zip(&picture.grid).map(|(a, b)| a.abs_diff(*b))));
        (picture.width, picture.height, picture.yuv, picture.grid) = (width, height, Some(yuv), grid);
    }

    /// Measures a decoded buffer of interleaved 16-bit samples; returns whether it is the first.
    pub fn listen(&self, bytes: &[u8], channels: usize, rate: u32) -> bool {
        let mut sound = lock(&self.sound);
        sound.rate = rate;
        for frame in bytes.chunks_exact(2 * channels.max(1)) {
            let Some((sample, _)) = frame.split_first_chunk::<2>() else { continue };
            let sample = i16::from_le_bytes(*sample);
            sound.samples += 1;
            sound.squares += f64::from(sample) * f64::from(sample);
            // Hysteresis, so that codec noise does not count as pitch.
            let above = if sound.above { sample > -64 } else { sample > 64 };
            sound.crossings += u64::from(above != sound.above);
            sound.above = above;
        }
        self.buffers.fetch_add(1, Relaxed) == 0
    }

    /// The video statistics. The frame rate is that since the last call.
    pub fn video_stats(&self) -> VideoStats {
        let frames = self.frames();
        let mut picture = lock(&self.picture);
        let now = Instant::now();
        let fps = picture.told.map(|(then, before)| {
            frames.saturating_sub(before) as f64 / now.duration_since(then).as_secs_f64().max(0.001)
        });
        picture.told = Some((now, frames));
        let aged = lock(&self.ages).take();
        VideoStats {
            rtp: self.video.stats(),
            frames,
            fps: fps.map(round),
            gap_ms: self.longest_gap(),
            buffer_ms: None,
            glass_age_ms: aged.ages,
            capture_time: aged.origin,
            clock: aged.clock.map(ClockStats::of),
            width: Some(picture.width).filter(|width| *width > 0),
            height: Some(picture.height).filter(|height| *height > 0),
            color: picture.yuv.map(rgb),
            motion: picture.motion.map(round),
        }
    }

    /// The audio statistics. Level and pitch are those since the last call.
    pub fn audio_stats(&self) -> AudioStats {
        let sound = std::mem::take(&mut *lock(&self.sound));
        let heard = sound.samples > 0;
        let samples = sound.samples as f64;
        let rms = (sound.squares / samples.max(1.0)).sqrt() / f64::from(i16::MAX);
        let pitch = sound.crossings as f64 / 2.0 * f64::from(sound.rate) / samples.max(1.0);
        AudioStats {
            rtp: self.audio.stats(),
            buffers: self.buffers.load(Relaxed),
            level_db: heard.then(|| round((20.0 * rms.log10()).max(-100.0))),
            pitch_hz: heard.then(|| round(pitch)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values of a plane at the points of an even grid.
fn sample((plane, stride): (&[u8], usize), width: usize, height: usize) -> impl Iterator<Item = u8> {
    (0..GRID * GRID).filter_map(move |point| {
        let (row, column) = (point / GRID * height / GRID, point % GRID * width / GRID);
        plane.get(row * stride + column).copied()
    })
}

fn mean(values: impl Iterator<Item = u8>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + f64::from(value), count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// BT.601 with limited range, as VP8 uses. The conversion is linear, so the RGB of the mean is the mean of the RGB.
fn rgb([y, u, v]: [f64; 3]) -> [u8; 3] {
    let (y, u, v) = (1.164 * (y - 16.0), u - 128.0, v - 128.0);
    [y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u].map(|c| c.round().clamp(0.0, 255.0) as u8)
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_red_and_motion() {
        let meter = Meter::default();
        let first = meter.video_stats();
        assert_eq!((first.width, first.height, first.fps, first.frames), (None, None, None, 0));
        let (y, u, v) = (vec![81u8; 64 * 48], vec![90u8; 32 * 24], vec![240u8; 32 * 24]);
        meter.look(64, 48, Planes { y: (&y, 64), u: (&u, 32), v: (&v, 32) });
        let stats = meter.video_stats();
        assert_eq!((stats.width, stats.height, stats.motion), (Some(64), Some(48), None));
        assert_eq!(stats.fps, Some(0.0));
        let [r, g, b] = stats.color.unwrap();
        assert!(r > 245 && g < 10 && b < 10, "{r} {g} {b}");

        let y = vec![101u8; 64 * 48];
        meter.look(64, 48, Planes { y: (&y, 64), u: (&u, 32), v: (&v, 32) });
        assert_eq!(meter.video_stats().motion, Some(20.0));
    }

    #[test]
    fn a_gap_is_told_once() {
        let later = |mut meter: Meter| {
            meter.born -= Duration::from_secs(2);
            meter
        };
        let meter = later(Meter::default());
        assert_eq!(meter.video_stats().gap_ms, None);
        assert!(meter.frame(None));
        let meter = later(meter);
        assert!(meter.video_stats().gap_ms >= Some(2000), "it still lasts");
        assert!(!meter.frame(None));
        let gaps = [(); 2].map(|()| meter.video_stats().gap_ms.unwrap());
        assert!(gaps[0] >= 2000 && gaps[1] < gaps[0], "{gaps:?}");
    }

    #[test]
    fn a_short_plane_is_no_panic() {
        Meter::default().look(640, 480, Planes { y: (&[1, 2], 640), u: (&[], 320), v: (&[], 320) });
    }

    #[test]
    fn hears_level_and_pitch() {
        let meter = Meter::default();
        assert_eq!(meter.audio_stats().level_db, None);
        let samples = (0..48_000).map(|n| {
            let wave = (f64::from(n) * 1000.0 * std::f64::consts::TAU / 48_000.0).sin();
            (wave * 0.25 * f64::from(i16::MAX)) as i16
        });
        let bytes: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
        assert!(meter.listen(&bytes, 1, 48_000));
        let stats = meter.audio_stats();
        assert!((stats.level_db.unwrap() + 15.05).abs() < 0.2, "{stats:?}");
        assert!((stats.pitch_hz.unwrap() - 1000.0).abs() < 5.0, "{stats:?}");

        meter.listen(&[0; 9600], 2, 48_000);
        assert_eq!(meter.audio_stats().level_db, Some(-100.0));
    }
}
