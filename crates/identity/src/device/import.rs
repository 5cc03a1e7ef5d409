//! Many devices at once: what a file of a thousand lines asks for, in one transaction.
//!
//! Not here: the file. The laws: a row comes in as a whole or is refused with its reason, and takes no other row with it; a
//! batch is committed as a whole, so that a crash leaves whole rows.

use std::sync::Arc;

use catalog::{Connection, ReadError, Transaction, WriteError};
use hashbrown::HashSet;
use model::{DeviceName, GroupPath, Timestamp};

use super::Device;
use super::change::{NewDevice, enlisted, store};
use crate::identity::{keep_verifier, refuse_reserved};
use crate::password::{Password, Verifier};
use crate::{Actor, ChangeError, Identity, group};

/// Most rows of a batch: some hundred milliseconds of the catalog's writer.
pub const IMPORT_ROWS_MAX: usize = 1_000;

/// A row: a device that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow {
    /// The device.
    pub new: NewDevice,
    /// Groups that it becomes a member of beside its home.
    pub memberships: Vec<GroupPath>,
    /// Whether it gets a password; one that has one keeps it.
    pub password: bool,
}

/// How rows are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Groups that are not there are made.
    pub make_groups: bool,
    /// A device that is there already is changed as its row says, rather than refused.
    pub update: bool,
}

/// What became of a row that came in.
#[derive(Debug)]
pub struct Imported {
    /// Whether nobody had added the device before.
    pub is_new: bool,
    /// The password it got.
    pub password: Option<Password>,
}

/// A row that is right, and what is to be written for it.
struct Judged {
    before: Option<Device>,
    after: Device,
    verifier: Option<Verifier>,
}

/// What the writer's thread takes over into memory.
type Written = (Vec<Device>, Vec<(DeviceName, u64, Verifier)>);

impl Identity {
    /// Takes rows in: each as a whole, or not at all with the reason why. The answers are in the order of the rows; more
    /// than [`IMPORT_ROWS_MAX`] are refused together.
    ///
    /// # Errors
    /// [`ChangeError::Catalog`]: nothing of the batch came in. [`ChangeError::TooManyRows`].
    pub async fn import_devices(
        &self,
        by: &Actor,
        rows: Vec<ImportRow>,
        options: ImportOptions,
    ) -> Result<Vec<Result<Imported, ChangeError>>, ChangeError> {
        bounded(&rows)?;
        let random = Arc::clone(&self.parts.host.random);
        // Made here and not on the writer's thread, which others wait for.
        let passwords: Vec<Option<(Password, Verifier)>> = rows
            .iter()
            .map(|row| {
                row.password.then(|| {
                    let password = Password::generate(&*random);
                    let verifier = Verifier::of(password.reveal().as_bytes(), &*random);
                    (password, verifier)
                })
            })
            .collect();
        let verifiers: Vec<_> = passwords.iter().map(|made| made.as_ref().map(|made| made.1)).collect();
        let (by, parts) = (by.clone(), Arc::clone(&self.parts));
        let clock = Arc::clone(&self.parts.host.clock);
        let (outcomes, _) = self
            .parts
            .catalog
            .write_then(
                move |transaction| {
                    let (now, mut written) = (clock.now(), Written::default());
                    let mut outcomes = Vec::with_capacity(rows.len());
                    for (row, verifier) in rows.iter().zip(verifiers) {
                        let outcome = take(transaction, &by, now, row, verifier, options, &mut written);
                        if let Err(ChangeError::Catalog(error)) = outcome {
                            return Err(error);
                        }
                        outcomes.push(outcome);
                    }
                    Ok((outcomes, written))
                },
                move |(_, (devices, proofs))| {
                    parts.keep_proofs(proofs.iter().map(|(name, version, kept)| (name, *version, *kept)));
                    let is_known = |device: &Device| parts.fleet.state(&device.name).is_some();
                    let concerns_a_session = devices.iter().any(is_known);
                    parts.keep(devices);
                    if concerns_a_session {
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await?;
        let answered = outcomes.into_iter().zip(passwords).map(|(outcome, made)| {
            outcome.map(|(is_new, has_new_password)| Imported {
                is_new,
                password: made.filter(|_| has_new_password).map(|(password, _)| password),
            })
        });
        Ok(answered.collect())
    }

    /// What would become of rows, as far as it can be said without doing it: whether each device would be new.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn judge_import(
        &self,
        rows: Vec<ImportRow>,
        options: ImportOptions,
    ) -> Result<Vec<Result<bool, ChangeError>>, ReadError> {
        let now = self.parts.host.clock.now();
        self.parts
            .catalog
            .read_async(move |connection| {
                let (mut outcomes, mut names) = (Vec::with_capacity(rows.len()), HashSet::new());
                for row in rows {
                    let judged = judge(connection, now, &row, None, options);
                    // Of two rows for one device the second meets what the first will have done.
                    let is_second = !names.insert(row.new.name.clone()) && !options.update;
                    outcomes.push(match judged {
                        Err(ChangeError::Catalog(WriteError::Sql(error))) => return Err(error.into()),
                        Ok(_) if is_second => Err(ChangeError::Exists(row.new.name)),
                        judged => judged.map(|judged| is_new(judged.before.as_ref())),
                    });
                }
                Ok(outcomes)
            })
            .await
    }
}

fn bounded(rows: &[ImportRow]) -> Result<(), ChangeError> {
    if rows.len() > IMPORT_ROWS_MAX { Err(ChangeError::TooManyRows { rows: rows.len() }) } else { Ok(()) }
}

fn is_new(before: Option<&Device>) -> bool {
    before.is_none_or(|before| !before.is_added || before.removal.is_some())
}

/// Judges a row. Nothing is written.
fn judge(
    connection: &Connection<'_>,
    now: Timestamp,
    row: &ImportRow,
    verifier: Option<Verifier>,
    options: ImportOptions,
) -> Result<Judged, ChangeError> {
    let name = &row.new.name;
    refuse_reserved(name)?;
    // Where it is to be comes last: a group is made only for a row that is right otherwise.
    let (before, mut after) = enlisted(connection, &NewDevice { group: None, ..row.new.clone() }, now)?;
    if !options.update && !is_new(before.as_ref()) {
        return Err(ChangeError::Exists(name.clone()));
    }
    for path in row.new.group.iter().chain(&row.memberships) {
        if !options.make_groups {
            group::must_exist(connection, path)?;
        }
    }
    for path in &row.memberships {
        group::join(&mut after, path)?;
    }
    if row.new.group.is_some() {
        after.group.clone_from(&row.new.group);
    }
    let verifier = verifier.filter(|_| !after.has_password);
    after.has_password |= verifier.is_some();
    Ok(Judged { before, after, verifier })
}

/// Takes one row in: whether the device is new, and whether it got a password.
fn take(
    transaction: &Transaction<'_>,
    by: &Actor,
    now: Timestamp,
    row: &ImportRow,
    verifier: Option<Verifier>,
    options: ImportOptions,
    written: &mut Written,
) -> Result<(bool, bool), ChangeError> {
    let Judged { before, mut after, verifier } = judge(transaction, now, row, verifier, options)?;
    for path in row.new.group.iter().chain(&row.memberships) {
        if group::make(transaction, by, path, now)?.is_none() {
            return Err(ChangeError::TooManyGroups);
        }
    }
    store(transaction, by, "device.import", now, before.as_ref(), &mut after)?;
    if let Some(verifier) = verifier {
        let version = keep_verifier(transaction, &after.name, &verifier, now)?;
        written.1.push((after.name.clone(), version, verifier));
    }
    written.0.push(after);
    Ok((is_new(before.as_ref()), verifier.is_some()))
}
