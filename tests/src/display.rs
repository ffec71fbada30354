//! An X server without a screen, whose picture is in a file.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use x11rb::{
    connection::Connection,
    protocol::xproto::{ClientMessageEvent, ConfigureWindowAux, ConnectionExt, EventMask, MapState, Window},
    rust_connection::RustConnection,
};

use crate::process::Process;

/// A running Xvfb of 1280×800 pixels, ended on drop.
#[derive(Debug)]
pub struct Display {
    server: Process,
    name: String,
    folder: TempDir,
}

impl Display {
    /// Starts an X server under a free display number.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("Xvfb");
        // Otherwise it would reset after its last client and refuse connections meanwhile: GStreamer tries one sink
        // after the other.
        command.arg("-noreset");
        command.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-fbdir"]);
        command.arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = Process::spawn(&mut command);
        let mut number = String::new();
        let stdout = server.child().stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut number).expect("Xvfb tells its number");
        Self { server, name: format!(":{}", number.trim()), folder }
    }

    /// The value for `DISPLAY`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process of the X server.
    pub fn server(&mut self) -> &mut Process {
        &mut self.server
    }

    /// The current picture.
    pub fn screenshot(&self) -> Screenshot {
        let file = std::fs::read(self.folder.path().join("Xvfb_screen0")).expect("Xvfb's picture");
        // X11/XWDFile.h: big-endian words: header size, width, height, bytes per row, number of colours.
        let word = |index: usize| {
            let bytes = file[index * 4..index * 4 + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes) as usize
        };
        let (width, height, stride) = (word(4), word(5), word(12));
        let start = word(0) + word(19) * 12;
        let row = |y: usize| file[start + y * stride..][..width * 4].to_vec();
        Screenshot { rows: (0..height).map(row).collect() }
    }

    /// Resizes the only window, as a user would.
    #[track_caller]
    pub fn resize_window(&self, width: u32, height: u32) {
        let connection = self.connect();
        let window = window(&connection).expect("a window");
        let size = ConfigureWindowAux::new().width(width).height(height);
        connection.configure_window(window, &size).expect("sent").check().expect("done");
    }

    /// Closes the only window, as a user would.
    #[track_caller]
    pub fn close_window(&self) {
        let connection = self.connect();
        let window = window(&connection).expect("a window");
        let atom = |name: &str| {
            connection.intern_atom(false, name.as_bytes()).expect("sent").reply().expect("an atom").atom
        };
        let message =
            ClientMessageEvent::new(32, window, atom("WM_PROTOCOLS"), [atom("WM_DELETE_WINDOW"), 0, 0, 0, 0]);
        connection
            .send_event(false, window, EventMask::NO_EVENT, message)
            .expect("sent")
            .check()
            .expect("done");
    }

    /// Whether there is a window.
    pub fn has_window(&self) -> bool {
        window(&self.connect()).is_some()
    }

    fn connect(&self) -> RustConnection {
        x11rb::connect(Some(&self.name)).expect("the display answers").0
    }
}

impl Drop for Display {
    /// With SIGTERM it removes its socket and lock.
    fn drop(&mut self) {
        if self.server.is_running() {
            self.server.signal("TERM");
            self.server.wait();
        }
    }
}

/// The first visible window. Without a window manager it is a child of the root window.
fn window(connection: &RustConnection) -> Option<Window> {
    let root = connection.setup().roots.first()?.root;
    let children = connection.query_tree(root).ok()?.reply().ok()?.children;
    let is_seen = |window: &Window| {
        let attributes = connection.get_window_attributes(*window).ok().and_then(|it| it.reply().ok());
        attributes.is_some_and(|attributes| attributes.map_state == MapState::VIEWABLE)
    };
    children.into_iter().find(is_seen)
}

/// A picture of a display.
#[derive(Debug)]
pub struct Screenshot {
    /// Rows of pixels: blue, green, red, unused.
    rows: Vec<Vec<u8>>,
}

/// The bounding box of an area of one colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Its left edge.
    pub left: usize,
    /// Its upper edge.
    pub top: usize,
    /// Its rightmost column.
    pub right: usize,
    /// Its lowest row.
    pub bottom: usize,
    /// The number of pixels with that colour.
    pub pixels: usize,
}

/// Shorter runs of pixels are letters or edges.
const MIN_RUN: usize = 40;

impl Patch {
    /// Its width by its height.
    pub fn aspect(&self) -> f64 {
        (self.right + 1 - self.left) as f64 / (self.bottom + 1 - self.top) as f64
    }

    /// Whether it does not overlap `other`.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.right < other.left
            || other.right < self.left
            || self.bottom < other.top
            || other.bottom < self.top
    }

    /// Whether at least 97 % of it has the colour.
    pub fn is_full(&self) -> bool {
        let area = (self.right + 1 - self.left) * (self.bottom + 1 - self.top);
        self.pixels * 100 >= area * 97
    }
}

impl Screenshot {
    /// The area of this colour (red, green, blue), without letters.
    pub fn find(&self, [r, g, b]: [u8; 3]) -> Option<Patch> {
        let near = |a: u8, b: u8| a.abs_diff(b) < 24;
        self.find_where(|[x, y, z]| near(x, r) && near(y, g) && near(z, b))
    }

    /// The area of the colours for which `wanted` is true.
    pub fn find_where(&self, wanted: impl Fn([u8; 3]) -> bool) -> Option<Patch> {
        let mut patch = Patch { left: usize::MAX, top: usize::MAX, right: 0, bottom: 0, pixels: 0 };
        for (y, row) in self.rows.iter().enumerate() {
            let mut run = 0;
            for (x, pixel) in row.chunks_exact(4).enumerate() {
                run = if wanted([pixel[2], pixel[1], pixel[0]]) { run + 1 } else { 0 };
                if run >= MIN_RUN {
                    patch.pixels += if run == MIN_RUN { MIN_RUN } else { 1 };
                    patch.left = patch.left.min(x + 1 - MIN_RUN);
                    patch.right = patch.right.max(x);
                    patch.top = patch.top.min(y);
                    patch.bottom = patch.bottom.max(y);
                }
            }
        }
        (patch.pixels > 1000).then_some(patch)
    }

    /// The number of pixels within `rows` rows under a patch that are as bright as letters.
    pub fn letters_under(&self, patch: &Patch, rows: usize) -> usize {
        let below = self.rows.iter().skip(patch.bottom + 1).take(rows);
        let bright = |pixel: &[u8]| pixel[..3].iter().all(|part| *part > 150);
        below
            .map(|row| row[patch.left * 4..=patch.right * 4].chunks_exact(4).filter(|it| bright(it)).count())
            .sum()
    }

    /// Saves a PPM for inspection in the folder `$CALLBIN_SCREENSHOTS`, if it is set.
    pub fn save(&self, name: &str) {
        let Some(folder) = std::env::var_os("CALLBIN_SCREENSHOTS") else { return };
        let mut bytes = format!("P6 {} {} 255\n", self.rows[0].len() / 4, self.rows.len()).into_bytes();
        for pixel in self.rows.iter().flat_map(|row| row.chunks_exact(4)) {
            bytes.extend([pixel[2], pixel[1], pixel[0]]);
        }
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).expect("a screenshot is written");
    }
}
