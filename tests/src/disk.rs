//! A small disk that tests fill up. Needs root, or `sudo` without a password.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::process::as_root;

/// A mounted tmpfs, unmounted on drop.
#[derive(Debug)]
pub struct Disk(TempDir);

impl Disk {
    /// Mounts a disk of `bytes` bytes.
    pub fn of_size(bytes: usize) -> Self {
        let disk = Self(TempDir::new().expect("a folder"));
        let size = format!("size={bytes},mode=777");
        let status = as_root("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.path()).status();
        let works = status.is_ok_and(|status| status.success());
        assert!(works, "no disk: this test needs root, or sudo without a password");
        disk
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it up with one file; removing that file frees the space.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("the disk has room for a name");
        while file.write_all(&[0; 512]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process may still have a file open.
        let _ = as_root("umount").arg("-l").arg(self.path()).status();
    }
}
