//! A real disk of which files cannot be opened now and then.

use super::*;
use std::io;
use std::sync::atomic::AtomicU64;

#[derive(Debug)]
pub struct OddDisk {
    real: CapDisk,
    odd: Arc<Odd>,
}

/// How often the next files cannot be opened, and why: an error of the system.
#[derive(Debug, Default)]
pub struct Odd {
    times: AtomicU64,
    errno: AtomicU64,
}

impl Odd {
    pub fn refuse(&self, times: u64, errno: i32) {
        self.errno.store(errno.unsigned_abs().into(), Ordering::SeqCst);
        self.times.store(times, Ordering::SeqCst);
    }
}

impl OddDisk {
    /// A store on one.
    pub fn fixture(config: StoreConfig) -> (Fixture, Arc<Odd>) {
        let odd = Arc::<Odd>::default();
        let on = odd.clone();
        (Fixture::with(config, Options::default(), |real| Box::new(Self { real, odd: on })), odd)
    }
}

impl ObjectDisk for OddDisk {
    fn create_tmp(&self, name: &str) -> io::Result<Box<dyn TmpFile>> {
        self.real.create_tmp(name)
    }
    fn remove_tmp(&self, name: &str) -> io::Result<()> {
        self.real.remove_tmp(name)
    }
    fn list_tmp(&self) -> io::Result<Vec<String>> {
        self.real.list_tmp()
    }
    fn publish(&self, tmp: &str, area: Area, name: &str) -> io::Result<()> {
        self.real.publish(tmp, area, name)
    }
    fn sync_folder_of(&self, area: Area, name: &str) -> io::Result<()> {
        self.real.sync_folder_of(area, name)
    }
    fn append(&self, name: &str, at: u64) -> io::Result<Box<dyn TmpFile>> {
        self.real.append(name, at)
    }
    fn open(&self, area: Area, name: &str) -> io::Result<Box<dyn ObjectRead>> {
        let left = self.odd.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() {
            let errno = i32::try_from(self.odd.errno.load(Ordering::SeqCst)).unwrap();
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.real.open(area, name)
    }
    fn remove(&self, area: Area, name: &str) -> io::Result<()> {
        self.real.remove(area, name)
    }
    fn folders(&self, area: Area) -> io::Result<Vec<String>> {
        self.real.folders(area)
    }
    fn list_in(&self, area: Area, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.real.list_in(area, folder)
    }
}
