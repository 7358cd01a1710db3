//! Frames on the serial line between the lab and the agent in its guest.
//!
//! A frame is its kind (1 byte), the number of the request it belongs to and the length of what follows
//! (4 bytes each, little endian), then that many bytes. The agent opens the conversation with [`GREETING`]; what the
//! line carried before is firmware noise. Numbers in payloads are little endian.
//!
//! This file is also compiled into the agent, which has nothing but the standard library.

use std::io::{self, ErrorKind, Read, Write};

/// What the agent writes first.
pub(crate) const GREETING: &[u8] = b"\nrtrec-lab-agent-1\n";

/// The longest payload: one read of a pipe, or one request.
pub(crate) const MAX_PAYLOAD: usize = 32 * 1024;

/// Kinds of frames. Requests are upper case, answers lower case.
pub(crate) mod kind {
    /// Run: words of the command, each ended by NUL. Answered by `OUT` and `ERR` frames, then `EXIT` or `REFUSED`.
    pub(crate) const RUN: u8 = b'R';
    /// Kill the running command with everything in its process group.
    pub(crate) const KILL: u8 = b'K';
    /// Copy the named file onto the disk. Answered by `DONE` with its length (8 bytes), or `REFUSED`.
    pub(crate) const GET: u8 = b'G';
    /// Copy from the disk to a file: length (8), mode (4), name. Answered by `DONE`, or `REFUSED`.
    pub(crate) const PUT: u8 = b'P';
    /// Bytes of standard output.
    pub(crate) const OUT: u8 = b'o';
    /// Bytes of standard error.
    pub(crate) const ERR: u8 = b'e';
    /// The command ended: the status as `wait` gives it (4 bytes).
    pub(crate) const EXIT: u8 = b'x';
    /// The copy is done.
    pub(crate) const DONE: u8 = b'd';
    /// The request could not be met: why, as text.
    pub(crate) const REFUSED: u8 = b'!';
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) request: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, request: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, request, payload: payload.into() }
    }

    /// Writes the frame in one call.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.payload.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let mut bytes = vec![self.kind];
        bytes.extend(self.request.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(&self.payload);
        to.write_all(&bytes)?;
        to.flush()
    }

    /// Reads the next frame.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; 9];
        from.read_exact(&mut header)?;
        let [kind, r0, r1, r2, r3, l0, l1, l2, l3] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)?;
        Ok(Self { kind, request: u32::from_le_bytes([r0, r1, r2, r3]), payload })
    }
}

/// Reads up to and including the greeting.
#[cfg_attr(not(test), allow(dead_code, reason = "the agent does not greet itself"))]
pub(crate) fn wait_for_greeting(from: &mut impl Read) -> io::Result<()> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(GREETING) {
        from.read_exact(&mut byte)?;
        seen.push(byte[0]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_kind_request_length_and_bytes() {
        let frame = Frame::new(kind::OUT, 0x0102_0304, *b"hi\0");
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        assert_eq!(bytes, b"o\x04\x03\x02\x01\x03\0\0\0hi\0");
        assert_eq!(Frame::read(&mut bytes.as_slice()).unwrap(), frame);
    }

    #[test]
    fn noise_before_the_greeting_is_passed_over() {
        let mut line = b"SeaBIOS\n".as_slice().chain(GREETING).chain(b"rest".as_slice());
        wait_for_greeting(&mut line).unwrap();
        let mut rest = String::new();
        line.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "rest");
    }

    #[test]
    fn a_length_beyond_reason_is_refused_before_anything_is_allocated() {
        let error = Frame::read(&mut b"o\0\0\0\0\xff\xff\xff\xff".as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
