//! A VFS of SQLite's that does what the system's does, and records what changes files.
//!
//! A file of ours is a [`Shim`] with the system's file behind it in the same allocation. Shared memory is not recorded: it is
//! gone with the power, and made anew out of the log.
#![allow(unsafe_code, reason = "SQLite's VFS is a table of C functions")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::{mem, ptr, slice};

use rusqlite::ffi::{
    SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE, SQLITE_OK, SQLITE_OPEN_CREATE, sqlite3_file,
    sqlite3_int64, sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find, sqlite3_vfs_register,
};

use crate::record::{Op, record};

/// A file of SQLite's: its methods come first, as SQLite wants them.
#[repr(C)]
struct Shim {
    base: sqlite3_file,
    path: *mut PathBuf,
    // The system's file follows.
}

/// A fault of the disk beneath SQLite's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing can be written to it: the disk is full.
    Full,
    /// Writing fails.
    Write,
    /// Syncing fails.
    Sync,
}

/// The folders whose logs have a fault.
static FAULTS: Mutex<Vec<(PathBuf, Fault)>> = Mutex::new(Vec::new());

/// Gives the logs beneath a folder a fault, or none any more.
pub(crate) fn set_fault(folder: &Path, fault: Option<Fault>) {
    let mut faults = FAULTS.lock().unwrap();
    faults.retain(|(path, _)| path != folder);
    faults.extend(fault.map(|fault| (folder.to_owned(), fault)));
}

fn fault_of(path: Option<&Path>) -> Option<Fault> {
    let path = path.filter(|path| path.extension().is_some_and(|extension| extension == "db-wal"))?;
    FAULTS.lock().unwrap().iter().find(|(folder, _)| path.starts_with(folder)).map(|(_, fault)| *fault)
}

/// Makes the recording VFS the process's default.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    // SAFETY: the VFS is a copy of the system's, which lives as long as the process, with our functions in it; it is leaked, so
    // it lives as long, too.
    ONCE.call_once(|| unsafe {
        let system = sqlite3_vfs_find(ptr::null());
        let mut ours = *system;
        ours.zName = c"recorded".as_ptr();
        ours.pNext = ptr::null_mut();
        ours.pAppData = system.cast();
        ours.szOsFile = mem::size_of::<Shim>() as c_int + (*system).szOsFile;
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        assert_eq!(sqlite3_vfs_register(Box::leak(Box::new(ours)), 1), SQLITE_OK);
    });
}

/// The system's file behind ours.
///
/// # Safety
/// The file must be one that [`open`] has opened, or is opening.
unsafe fn system(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: `szOsFile` has room for both.
    unsafe { file.cast::<Shim>().add(1).cast() }
}

/// The path of a file, if it has one.
///
/// # Safety
/// The file must be one that [`open`] has opened.
unsafe fn path<'a>(file: *mut sqlite3_file) -> Option<&'a Path> {
    // SAFETY: `open` has set it, and `close` has not run yet.
    unsafe { (*file.cast::<Shim>()).path.as_ref().map(PathBuf::as_path) }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's contract: the name is null or a C string, the file has `szOsFile` bytes.
    unsafe {
        let shim = file.cast::<Shim>();
        (*shim).base.pMethods = ptr::null();
        (*shim).path = ptr::null_mut();
        let named =
            (!name.is_null()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(CStr::from_ptr(name).to_bytes())));
        let is_new = flags & SQLITE_OPEN_CREATE != 0 && named.as_ref().is_some_and(|path| !path.exists());
        let below = (*vfs).pAppData.cast::<sqlite3_vfs>();
        let outcome = (*below).xOpen.unwrap()(below, name, system(file), flags, out_flags);
        if outcome == SQLITE_OK {
            if let Some(path) = named {
                if is_new {
                    record(&path, Op::Create);
                }
                (*shim).path = Box::into_raw(Box::new(path));
            }
            (*shim).base.pMethods = &METHODS;
        }
        outcome
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite's contract: the name is a C string.
    unsafe {
        let below = (*vfs).pAppData.cast::<sqlite3_vfs>();
        let outcome = (*below).xDelete.unwrap()(below, name, sync);
        if outcome == SQLITE_OK {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
            record(&path, Op::Remove);
            if sync != 0 {
                record(path.parent().unwrap(), Op::SyncFolder);
            }
        }
        outcome
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes what `open` has opened, once.
    unsafe {
        let outcome = (*(*system(file)).pMethods).xClose.unwrap()(system(file));
        let path = mem::replace(&mut (*file.cast::<Shim>()).path, ptr::null_mut());
        if !path.is_null() {
            drop(Box::from_raw(path));
        }
        outcome
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's contract: `length` bytes are at `data`.
    unsafe {
        match fault_of(path(file)) {
            Some(Fault::Full) => return SQLITE_FULL,
            Some(Fault::Write) => return SQLITE_IOERR_WRITE,
            Some(Fault::Sync) | None => {}
        }
        let outcome = (*(*system(file)).pMethods).xWrite.unwrap()(system(file), data, length, offset);
        if outcome == SQLITE_OK
            && let Some(path) = path(file)
        {
            let Ok(length) = usize::try_from(length) else { return SQLITE_IOERR };
            let data = slice::from_raw_parts(data.cast::<u8>(), length).to_vec();
            record(path, |path| Op::Write { path, offset: offset as u64, data });
        }
        outcome
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, length: sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let outcome = (*(*system(file)).pMethods).xTruncate.unwrap()(system(file), length);
        if outcome == SQLITE_OK
            && let Some(path) = path(file)
        {
            record(path, |path| Op::Truncate { path, length: length as u64 });
        }
        outcome
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        if fault_of(path(file)) == Some(Fault::Sync) {
            return SQLITE_IOERR_FSYNC;
        }
        let outcome = (*(*system(file)).pMethods).xSync.unwrap()(system(file), flags);
        if outcome == SQLITE_OK
            && let Some(path) = path(file)
        {
            record(path, Op::Sync);
        }
        outcome
    }
}

/// A method that is the system's.
macro_rules! forward {
    ($($name:ident, $field:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $kind)*) -> $result {
            // SAFETY: the file is open, and the arguments are SQLite's own.
            unsafe { (*(*system(file)).pMethods).$field.unwrap()(system(file) $(, $argument)*) }
        }
    )*};
}
forward! {
    read, xRead(data: *mut c_void, length: c_int, offset: sqlite3_int64) -> c_int;
    file_size, xFileSize(size: *mut sqlite3_int64) -> c_int;
    lock, xLock(level: c_int) -> c_int;
    unlock, xUnlock(level: c_int) -> c_int;
    check_reserved_lock, xCheckReservedLock(out: *mut c_int) -> c_int;
    file_control, xFileControl(op: c_int, argument: *mut c_void) -> c_int;
    sector_size, xSectorSize() -> c_int;
    device_characteristics, xDeviceCharacteristics() -> c_int;
    shm_map, xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock, xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier, xShmBarrier() -> ();
    shm_unmap, xShmUnmap(delete: c_int) -> c_int;
}

/// Version 2: shared memory, and no mapped files, whose writes nobody would see.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
