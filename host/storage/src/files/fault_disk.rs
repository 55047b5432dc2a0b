//! A store's disk on the same [`Disk`] as the database's VFS: one power supply, one count of operations.

use super::disk::{Area, ObjectDisk, ObjectRead, TmpFile};
use crate::testing::{Disk, FaultVfs, FileId, Verdict};
use std::io::{self, Cursor, Write};
use std::sync::Arc;

/// Loses what was not synced, fails when it is told to.
#[derive(Debug)]
pub struct FaultDisk {
    power: Power,
    root: &'static str,
    /// Says that it synced, and did not: shows that the crash tests notice.
    pub careless: bool,
}

/// The power-up that something belongs to.
#[derive(Debug, Clone)]
struct Power {
    vfs: Arc<FaultVfs>,
    generation: u64,
}

impl Power {
    /// An operation that is done whole, also when the power fails in it: then it is only not safe.
    fn change<T>(&self, f: impl Fn(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        self.vfs.operate(self.generation, |disk, verdict| match verdict {
            Verdict::Fail(fault) => Err(fault.as_io_error()),
            _ => f(disk),
        })
    }

    /// An operation that makes something safe: it has not happened when the power fails in it.
    fn sync(&self, f: impl Fn(&mut Disk) -> io::Result<()>, failed: impl Fn(&mut Disk)) -> io::Result<()> {
        self.vfs.operate(self.generation, |disk, verdict| match verdict {
            Verdict::Fail(fault) => {
                failed(disk);
                Err(fault.as_io_error())
            }
            Verdict::PowerFails => Ok(()),
            _ => f(disk),
        })
    }
}

impl FaultDisk {
    /// The folder must exist in the eyes of the database's disk: it is there without being made.
    pub fn new(vfs: &Arc<FaultVfs>, root: &'static str) -> Self {
        Self { power: Power { vfs: vfs.clone(), generation: vfs.generation() }, root, careless: false }
    }
    fn tmp(&self, name: &str) -> String {
        format!("{}/tmp/{name}", self.root)
    }
    fn folder(&self, area: Area, name: &str) -> String {
        format!("{}/{}/{}", self.root, area.folder(), &name[..2])
    }
    fn file(&self, area: Area, name: &str) -> String {
        format!("{}/{name}", self.folder(area, name))
    }
    fn make_folder(&self, area: Area, name: &str) -> io::Result<()> {
        let folder = self.folder(area, name);
        if self.power.vfs.look(self.power.generation, |disk| Ok(disk.has_folder(&folder)))? {
            return Ok(());
        }
        self.power.change(|disk| {
            disk.create_folder(&folder);
            Ok(())
        })
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

struct FaultTmp {
    power: Power,
    careless: bool,
    file: FileId,
    at: u64,
}

impl Write for FaultTmp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // In small steps, so that power can go between them.
        let step = bytes.get(..1000).unwrap_or(bytes);
        let (file, at) = (self.file, self.at);
        self.power.vfs.operate(self.power.generation, |disk, verdict| match verdict {
            Verdict::Fail(fault) => {
                disk.write(file, at, &step[..step.len() / 2]);
                Err(fault.as_io_error())
            }
            _ => {
                disk.write(file, at, step);
                Ok(())
            }
        })?;
        self.at += step.len() as u64;
        Ok(step.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TmpFile for FaultTmp {
    fn sync(&mut self) -> io::Result<()> {
        let (file, careless) = (self.file, self.careless);
        self.power.sync(
            |disk| {
                if !careless {
                    disk.sync(file);
                }
                Ok(())
            },
            |disk| disk.fail_sync(file, file),
        )
    }
}

impl ObjectDisk for FaultDisk {
    fn create_tmp(&self, name: &str) -> io::Result<Box<dyn TmpFile>> {
        let path = self.tmp(name);
        let file = self.power.change(|disk| match disk.find(&path) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(disk.create(&path)),
        })?;
        Ok(Box::new(FaultTmp { power: self.power.clone(), careless: self.careless, file, at: 0 }))
    }
    fn remove_tmp(&self, name: &str) -> io::Result<()> {
        self.power.change(|disk| disk.remove(&self.tmp(name)).then_some(()).ok_or_else(not_found))
    }
    fn list_tmp(&self) -> io::Result<Vec<String>> {
        self.power.vfs.look(self.power.generation, |disk| Ok(disk.list(&format!("{}/tmp", self.root))))
    }
    fn publish(&self, tmp: &str, area: Area, name: &str) -> io::Result<()> {
        self.make_folder(area, name)?;
        self.power.change(|disk| {
            disk.rename(&self.tmp(tmp), &self.file(area, name)).then_some(()).ok_or_else(not_found)
        })
    }
    fn sync_folder_of(&self, area: Area, name: &str) -> io::Result<()> {
        for folder in [self.folder(area, name), format!("{}/{}", self.root, area.folder())] {
            self.power.sync(
                |disk| {
                    disk.sync_folder(&folder);
                    Ok(())
                },
                |_| (),
            )?;
        }
        Ok(())
    }
    fn append(&self, name: &str, at: u64) -> io::Result<Box<dyn TmpFile>> {
        self.make_folder(Area::Uploads, name)?;
        let path = self.file(Area::Uploads, name);
        let file = self.power.change(|disk| {
            let file = disk.find(&path).unwrap_or_else(|| disk.create(&path));
            if disk.size(file) < at {
                return Err(io::ErrorKind::InvalidData.into());
            }
            disk.truncate(file, at);
            Ok(file)
        })?;
        Ok(Box::new(FaultTmp { power: self.power.clone(), careless: self.careless, file, at }))
    }
    fn open(&self, area: Area, name: &str) -> io::Result<Box<dyn ObjectRead>> {
        self.power.vfs.look(self.power.generation, |disk| {
            let file = disk.find(&self.file(area, name)).ok_or_else(not_found)?;
            let mut bytes = vec![0; usize::try_from(disk.size(file)).unwrap()];
            disk.read(file, 0, &mut bytes);
            Ok(Box::new(Cursor::new(bytes)) as _)
        })
    }
    fn remove(&self, area: Area, name: &str) -> io::Result<()> {
        self.power.change(|disk| disk.remove(&self.file(area, name)).then_some(()).ok_or_else(not_found))
    }
    fn folders(&self, area: Area) -> io::Result<Vec<String>> {
        let root = format!("{}/{}", self.root, area.folder());
        self.power.vfs.look(self.power.generation, |disk| Ok(disk.list(&root)))
    }
    fn list_in(&self, area: Area, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let folder = format!("{}/{}/{folder}", self.root, area.folder());
        self.power.vfs.look(self.power.generation, |disk| {
            let file = |name: &String| disk.find(&format!("{folder}/{name}")).unwrap();
            let names = disk.list(&folder);
            Ok(names.into_iter().map(|name| (name.clone(), disk.size(file(&name)))).collect())
        })
    }
}
