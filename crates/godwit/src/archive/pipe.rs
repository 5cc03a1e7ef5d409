//! A bounded pipe between who makes an archive and who reads it: bytes in pieces, blocking at both ends.
//!
//! Not here: what the bytes are. The law: a reader that takes nothing for [`Patience::stall`] ends the pipe, so that it
//! cannot hold anything of the server's for ever.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf, Bytes};
use host::Shutdown;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Bytes of one piece.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces under way: 4 MiB.
const PIECES: usize = 16;

/// How long a writer waits for its reader.
#[derive(Clone)]
pub(crate) struct Patience {
    /// Longest time without a piece taken.
    pub(crate) stall: Duration,
    /// Ends the waiting at once.
    pub(crate) shutdown: Shutdown,
}

/// Makes a pipe; its writer waits as `patience` says, or for ever. To be called within a runtime.
pub(crate) fn pipe(patience: Option<Patience>) -> (PipeWriter, mpsc::Receiver<Bytes>) {
    let (pieces, reader) = mpsc::channel(PIECES);
    let runtime = Handle::current();
    (PipeWriter { pieces, buffer: Vec::with_capacity(PIECE_BYTES), patience, runtime }, reader)
}

/// Takes bytes, on a thread that may block.
pub(crate) struct PipeWriter {
    pieces: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
    patience: Option<Patience>,
    runtime: Handle,
}

impl PipeWriter {
    fn send(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES)));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "whoever took the backup is gone");
        let Some(patience) = &self.patience else {
            return self.pieces.blocking_send(piece).map_err(gone);
        };
        self.runtime.block_on(async {
            tokio::select! {
                sent = tokio::time::timeout(patience.stall, self.pieces.send(piece)) => match sent {
                    Ok(sent) => sent.map_err(gone),
                    Err(_) => {
                        let text = format!("nothing was taken of the backup for {} s", patience.stall.as_secs());
                        Err(io::Error::new(io::ErrorKind::TimedOut, text))
                    }
                },
                () = patience.shutdown.stopping() => {
                    Err(io::Error::new(io::ErrorKind::Interrupted, "the server is stopping"))
                }
            }
        })
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

/// Gives the bytes of a pipe, on a thread that may block.
pub(crate) struct PipeReader {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl PipeReader {
    /// The other end.
    pub(crate) fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, piece: Bytes::new() }
    }
}

impl Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let taken = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..taken]);
        Ok(taken)
    }
}

/// Passes on what is read, and writes it elsewhere too.
pub(crate) struct Tee<R, W> {
    pub(crate) from: R,
    pub(crate) to: W,
}

impl<R: Read, W: FnMut(&[u8]) -> io::Result<()>> Read for Tee<R, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        (self.to)(&into[..read])?;
        Ok(read)
    }
}
