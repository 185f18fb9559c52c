//! The data file: one embedded database (`redb`), in which every change of the store is a row.
//!
//! Versions lie under their revision, as in etcd, so that commits append and nothing is overwritten; a version goes when the history that
//! needs it is forgotten. Beside them lie the counters, the tokens that were issued, and the notes of whoever runs the server.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError};
use serde_json::{Value, json};

use super::keeper::Change;
use super::record::{self, Record};
use crate::request::UserInfo;

/// Layout of the rows. A file with a higher number is left alone.
const FORMAT: u64 = 1;
/// Memory for pages; small, because the file is read only once.
const CACHE: usize = 16 << 20;

/// Versions of objects by revision; see `record.rs`.
const VERSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("versions");
/// By resource: the last revision whose event was forgotten.
const FLOORS: TableDefinition<'_, &str, u64> = TableDefinition::new("floors");
/// `format`, `revision` and `compacted`.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// Issued tokens, and whom they stand for until when.
const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");
/// What the server's host wants to find again.
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");

/// Why a data file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another process has it: end that one, or take another file.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It holds something else, and stays as it is: take another file.
    #[error("{} is no data file of a local API server; it stays as it is, give --data another file", .0.display())]
    Foreign(PathBuf),
    /// A newer version wrote it: use that one.
    #[error("{} was written by a newer version: its format is {found}, this version reads up to {FORMAT}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u64,
    },
    /// Its content is broken: bring back a copy, or begin with a new file.
    #[error("{} is damaged: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system refuses it: look at the path, its rights and the disk.
    #[error("cannot use {}: {source}", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open data file. It stays locked until it is dropped.
pub struct DataFile {
    db: Database,
    path: PathBuf,
}

impl std::fmt::Debug for DataFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Everything that a file holds of a store.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The last revision.
    pub(super) revision: u64,
    /// Revisions up to this one were compacted.
    pub(super) compacted: u64,
    /// By resource: the last revision whose event was forgotten.
    pub(super) floors: BTreeMap<String, u64>,
    /// Versions in the order of their revisions.
    pub(super) versions: Vec<(u64, Record)>,
    /// Issued tokens.
    pub(super) tokens: Vec<(String, UserInfo, jiff::Timestamp)>,
}

impl DataFile {
    /// Opens the file at `path`, or makes it (its folder too), readable by its owner only. It is checked as a whole.
    ///
    /// # Errors
    /// See [`DataError`]; a file that is refused stays as it was.
    pub fn open(path: &Path) -> Result<DataFile, DataError> {
        let system = |source| DataError::System { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() > 0 => {}
            Ok(found) if found.is_dir() => return Err(system(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => return Err(DataError::Foreign(path.to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(system(error)),
            Ok(_) | Err(_) => make(path)?,
        }
        let file = DataFile { db: database(path)?, path: path.to_owned() };
        file.check_format()?;
        Ok(file)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the host left under a name.
    ///
    /// # Errors
    /// [`DataError::System`] or [`DataError::Damaged`] when the file cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, DataError> {
        let read = self.db.begin_read().map_err(|e| self.fault(e))?;
        let table = read.open_table(NOTES).map_err(|e| self.fault(e))?;
        Ok(table.get(name).map_err(|e| self.fault(e))?.map(|v| v.value().to_vec()))
    }

    /// Leaves something under a name; it is durable when this returns.
    ///
    /// # Errors
    /// [`DataError::System`] when the file cannot be written.
    pub fn write_note(&self, name: &str, value: &[u8]) -> Result<(), DataError> {
        let write = self.db.begin_write().map_err(|e| self.fault(e))?;
        write.open_table(NOTES).map_err(|e| self.fault(e))?.insert(name, value).map_err(|e| self.fault(e))?;
        write.commit().map_err(|e| self.fault(e))
    }

    fn check_format(&self) -> Result<(), DataError> {
        let foreign = || DataError::Foreign(self.path.clone());
        let read = self.db.begin_read().map_err(|e| self.fault(e))?;
        let table = match read.open_table(COUNTERS) {
            Ok(table) => table,
            Err(TableError::Storage(error)) => return Err(self.fault(error)),
            Err(_) => return Err(foreign()),
        };
        match table.get("format").map_err(|e| self.fault(e))?.map(|v| v.value()) {
            None | Some(0) => Err(foreign()),
            Some(found) if found > FORMAT => Err(DataError::Newer { path: self.path.clone(), found }),
            Some(_) => Ok(()),
        }
    }

    /// Reads everything.
    pub(super) fn load(&self) -> Result<Kept, DataError> {
        let damaged = |why: String| DataError::Damaged { path: self.path.clone(), why };
        let read = self.db.begin_read().map_err(|e| self.fault(e))?;
        let mut kept = Kept::default();
        let counters = read.open_table(COUNTERS).map_err(|e| self.fault(e))?;
        for (name, slot) in [("revision", &mut kept.revision), ("compacted", &mut kept.compacted)] {
            *slot = counters.get(name).map_err(|e| self.fault(e))?.map_or(0, |v| v.value());
        }
        for row in read.open_table(FLOORS).map_err(|e| self.fault(e))?.iter().map_err(|e| self.fault(e))? {
            let (log, floor) = row.map_err(|e| self.fault(e))?;
            kept.floors.insert(log.value().to_owned(), floor.value());
        }
        for row in read.open_table(VERSIONS).map_err(|e| self.fault(e))?.iter().map_err(|e| self.fault(e))? {
            let (rv, bytes) = row.map_err(|e| self.fault(e))?;
            let rv = rv.value();
            let record = record::decode(bytes.value()).ok_or_else(|| damaged(format!("revision {rv} cannot be read")))?;
            kept.versions.push((rv, record));
        }
        if kept.versions.last().is_some_and(|(rv, _)| *rv > kept.revision) {
            return Err(damaged("it holds versions behind its last revision".to_owned()));
        }
        for row in read.open_table(TOKENS).map_err(|e| self.fault(e))?.iter().map_err(|e| self.fault(e))? {
            let (token, user) = row.map_err(|e| self.fault(e))?;
            let (user, until) = read_token(user.value()).ok_or_else(|| damaged("a token cannot be read".to_owned()))?;
            kept.tokens.push((token.value().to_owned(), user, until));
        }
        Ok(kept)
    }

    /// Writes changes in one transaction; they are durable when this returns.
    pub(super) fn write(&self, changes: &[Change]) -> Result<(), DataError> {
        let write = self.db.begin_write().map_err(|e| self.fault(e))?;
        {
            let mut versions = write.open_table(VERSIONS).map_err(|e| self.fault(e))?;
            let mut floors = write.open_table(FLOORS).map_err(|e| self.fault(e))?;
            let mut counters = write.open_table(COUNTERS).map_err(|e| self.fault(e))?;
            let mut tokens = write.open_table(TOKENS).map_err(|e| self.fault(e))?;
            let (mut row, mut revision) = (Vec::new(), None);
            for change in changes {
                match change {
                    Change::Version { log, stored, deleted, .. } => {
                        record::encode(&mut row, log, &stored.key, *deleted, &stored.bytes);
                        versions.insert(stored.rv, &*row).map_err(|e| self.fault(e))?;
                        revision = Some(stored.rv);
                    }
                    Change::Forgotten { log, floor, superseded } => {
                        for rv in superseded {
                            versions.remove(rv).map_err(|e| self.fault(e))?;
                        }
                        floors.insert(&**log, floor).map_err(|e| self.fault(e))?;
                    }
                    Change::Compacted(rv) => {
                        counters.insert("compacted", rv).map_err(|e| self.fault(e))?;
                    }
                    Change::Token { token, user: Some((user, until)) } => {
                        tokens.insert(&**token, token_row(user, *until).as_slice()).map_err(|e| self.fault(e))?;
                    }
                    Change::Token { token, user: None } => {
                        tokens.remove(&**token).map_err(|e| self.fault(e))?;
                    }
                }
            }
            if let Some(rv) = revision {
                counters.insert("revision", rv).map_err(|e| self.fault(e))?;
            }
        }
        write.commit().map_err(|e| self.fault(e))
    }

    fn fault(&self, error: impl Into<redb::Error>) -> DataError {
        fault(&self.path, error.into())
    }
}

fn fault(path: &Path, error: redb::Error) -> DataError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => DataError::InUse(path),
        redb::Error::Io(source) => DataError::System { path, source },
        redb::Error::Corrupted(why) => DataError::Damaged { path, why },
        other => DataError::Damaged { path, why: other.to_string() },
    }
}

/// Opens the database at `path`, which is there.
fn database(path: &Path) -> Result<Database, DataError> {
    let open = || redb::Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true).open(path);
    // What the file's author did not think of is still no reason to end with a panic.
    match std::panic::catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) if error.kind() == io::ErrorKind::InvalidData => {
            Err(DataError::Foreign(path.to_owned()))
        }
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(DataError::Damaged { path: path.to_owned(), why: "it is cut short".to_owned() })
        }
        Ok(Err(error)) => Err(fault(path, error.into())),
        Err(_) => Err(DataError::Damaged { path: path.to_owned(), why: "it cannot be made sense of".to_owned() }),
    }
}

/// Makes a data file. It gets its name when it is complete, so that a file with that name is always whole.
fn make(path: &Path) -> Result<(), DataError> {
    let system = |source| DataError::System { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(system)?;
    let mut name = path.file_name().ok_or_else(|| system(io::ErrorKind::InvalidInput.into()))?.to_owned();
    name.push(".new");
    let new = folder.join(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&new).map_err(system)?;
    let db = redb::Builder::new().set_cache_size(CACHE).create(&new).map_err(|e| fault(path, e.into()))?;
    let fill = || -> Result<(), redb::Error> {
        let write = db.begin_write()?;
        write.open_table(COUNTERS)?.insert("format", FORMAT)?;
        write.open_table(VERSIONS)?;
        write.open_table(FLOORS)?;
        write.open_table(TOKENS)?;
        write.open_table(NOTES)?;
        Ok(write.commit()?)
    };
    fill().map_err(|e| fault(path, e))?;
    drop(db);
    fs::rename(&new, path).map_err(system)?;
    // The name, too, must outlive a loss of power.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(system)
}

fn token_row(user: &UserInfo, until: jiff::Timestamp) -> Vec<u8> {
    json!({"name": user.name, "uid": user.uid, "groups": user.groups, "until": until.to_string()}).to_string().into_bytes()
}

fn read_token(row: &[u8]) -> Option<(UserInfo, jiff::Timestamp)> {
    let doc: Value = serde_json::from_slice(row).ok()?;
    let text = |k: &str| doc[k].as_str().map(str::to_owned);
    let groups = doc["groups"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Some((UserInfo { name: text("name")?, uid: text("uid")?, groups }, text("until")?.parse().ok()?))
}
