//! Messages of WebSockets that are not finished: how many bytes of them there may be, and how long they may take.
//!
//! The frames of a connection are followed by their headers (RFC 6455, 5.2), so that control frames between the frames of a message
//! neither count as bytes of it nor give it time.
//!
//! Without this a client could begin a large message on each of thousands of sockets and never end it:
//! the library holds what has come, and its limit is for one message. Two bounds follow: in bytes over
//! the whole process, beyond which sockets with more than a small share are closed; and in time, as a
//! message has to come on at [`RATE`], which rises when memory is scarce.
//!
//! A rate, and not a deadline: a slow connection may send a large message for as long as it goes
//! on. What the object keeps the client waiting for is taken off ([`Unfinished::excuse`]).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use isobar_base::sync::IgnorePoison;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The time within which a message is finished, or has come on by the bytes that its rate asks for.
const WINDOW: Duration = Duration::from_secs(30);
/// Bytes a second that an unfinished message must come at.
const RATE: usize = 16 * 1024;
/// The same while all sockets' unfinished messages take more than half of their memory.
const RATE_IF_SCARCE: usize = 256 * 1024;
/// Bytes of unfinished messages in the whole process; beyond, a socket with more than 64 KiB of them is closed with 1013.
const ALL_BYTES: usize = 64 * 1024 * 1024;
const SHARE_BYTES: usize = 64 * 1024;

/// Bytes of unfinished messages in the process.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// The unfinished message of a socket.
#[derive(Debug, Default)]
pub(super) struct Unfinished(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    frame: Frame,
    /// Whether a message has begun whose last frame is not over.
    is_within_message: bool,
    /// Bytes of the message that have come.
    bytes: usize,
    /// When the window began, and the message's bytes since; none while nothing is unfinished.
    window: Option<(Instant, usize)>,
}

/// Where in a frame the next byte is.
#[derive(Debug)]
enum Frame {
    /// In its header, of which these bytes have come.
    Header { bytes: [u8; 10], length: usize },
    /// In its mask or its payload, of which `left` bytes are to come.
    Payload { left: u64, is_control: bool, is_final: bool },
}

impl Default for Frame {
    fn default() -> Self {
        Self::Header { bytes: [0; 10], length: 0 }
    }
}

impl Frame {
    /// Takes the next bytes of the header, and returns how many. At its end the frame is in its payload.
    fn take_header(&mut self, more: &[u8]) -> usize {
        let Self::Header { bytes, length } = self else { return 0 };
        let mut taken = 0;
        for byte in more {
            bytes[*length] = *byte;
            *length += 1;
            taken += 1;
            let Some(payload) = payload_length(&bytes[..*length]) else { continue };
            let mask = if bytes[1] & 0x80 == 0 { 0 } else { 4 };
            let is_control = bytes[0] & 0x08 != 0;
            *self = Self::Payload { left: payload.saturating_add(mask), is_control, is_final: bytes[0] & 0x80 != 0 };
            break;
        }
        taken
    }
}

/// The payload's length, once the header has it; the mask is behind it.
fn payload_length(header: &[u8]) -> Option<u64> {
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    match header.get(1)? & 0x7f {
        126 => header.get(2..4).map(big_endian),
        127 => header.get(2..10).map(big_endian),
        short => Some(u64::from(short)),
    }
}

impl Unfinished {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in between panics.
        self.0.lock().ignore_poison()
    }

    /// Follows bytes that were read. Returns whether there is room for them.
    fn add(&self, bytes: &[u8], now: Instant) -> bool {
        self.state().add(bytes, now)
    }

    /// Takes time off the window: the client was not waited for.
    pub(super) fn excuse(&self, time: Duration) {
        if let Some((since, _)) = &mut self.state().window {
            *since += time;
        }
    }

    /// Gives its bytes back: they are not in memory any more.
    fn release(&self) {
        ALL.fetch_sub(std::mem::take(&mut self.state().bytes), Ordering::Relaxed);
    }

    /// Whether a window is over without the end of the message and without enough of its bytes.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let is_scarce = ALL.load(Ordering::Relaxed) > ALL_BYTES / 2;
        self.state().is_late(now, is_scarce)
    }
}

impl State {
    /// Follows bytes: headers and payloads, in pieces of any size. Returns whether there is room for
    /// them.
    fn add(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        let before = self.bytes;
        while !bytes.is_empty() {
            self.window.get_or_insert((now, 0));
            let header = self.frame.take_header(bytes);
            bytes = &bytes[header..];
            if let Frame::Payload { left, is_control, is_final } = &mut self.frame {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[taken..];
                *left -= taken as u64;
                let is_over = *left == 0;
                let is_control = *is_control;
                let is_final = *is_final;
                if !is_control {
                    self.is_within_message = true;
                    self.bytes += taken;
                    self.window.iter_mut().for_each(|(_, bytes)| *bytes += taken);
                }
                if is_over {
                    self.frame = Frame::default();
                    self.end_frame(!is_control && is_final);
                }
            }
        }
        let after = self.bytes;
        let all = match after.checked_sub(before) {
            Some(more) => ALL.fetch_add(more, Ordering::Relaxed) + more,
            None => ALL.fetch_sub(before - after, Ordering::Relaxed),
        };
        after <= SHARE_BYTES || all <= ALL_BYTES
    }

    /// A frame is over, and with it perhaps the message.
    fn end_frame(&mut self, ends_message: bool) {
        if ends_message {
            self.is_within_message = false;
            self.bytes = 0;
        }
        if !self.is_within_message {
            self.window = None;
        }
    }

    /// Whether the window is over without enough bytes; then, and else, a new one begins.
    fn is_late(&mut self, now: Instant, is_scarce: bool) -> bool {
        let Some((since, bytes)) = self.window else { return false };
        if now.saturating_duration_since(since) < WINDOW {
            return false;
        }
        self.window = Some((now, 0));
        let rate = if is_scarce { RATE_IF_SCARCE } else { RATE };
        bytes < rate * WINDOW.as_secs() as usize
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.release();
    }
}

/// A connection whose unfinished messages are counted.
#[derive(Debug)]
pub(super) struct Counted<S> {
    io: S,
    unfinished: Arc<Unfinished>,
}

impl<S> Counted<S> {
    pub(super) fn new(io: S, unfinished: Arc<Unfinished>) -> Self {
        Self { io, unfinished }
    }

    /// Returns the connection itself, once the library's buffers are gone: nothing that is read from it from then on is kept, or
    /// counted.
    pub(super) fn into_inner(self) -> S {
        self.unfinished.release();
        self.io
    }
}

/// The process holds too much of unfinished messages.
#[derive(Debug, thiserror::Error)]
#[error("too many messages are unfinished")]
pub(super) struct TooMuch;

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if self.unfinished.add(&buffer.filled()[before..], Instant::now()) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(io::Error::other(TooMuch)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame; the payload may be shorter than the length that its header says.
    fn frame(first: u8, length: u64, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(0x80 | length as u8),
            126..0x1_0000 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        bytes.extend([7; 4]);
        bytes.resize(bytes.len() + payload, 0x81);
        bytes
    }

    fn fed(state: &mut State, bytes: &[u8], piece: usize, now: Instant) {
        bytes.chunks(piece).for_each(|piece| assert!(state.add(piece, now)));
    }

    #[test]
    fn frames_are_followed_in_pieces_of_any_size() {
        let now = Instant::now();
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            for piece in [1, 3, 7, 1000, usize::MAX] {
                let mut state = State::default();
                let whole = |first| frame(first, length, length as usize);
                // Two whole messages with a ping between them, and the second in fragments with one within.
                let ping = frame(0x89, 100, 100);
                let bytes = [whole(0x82), ping.clone(), whole(0x01), ping.clone(), whole(0x80)].concat();
                fed(&mut state, &bytes, piece, now);
                assert_eq!((state.bytes, state.is_within_message, state.window), (0, false, None), "{length}, {piece}");
                // Unfinished: the fragments' payloads and masks, and no ping.
                fed(&mut state, &[whole(0x02), ping.clone(), ping].concat(), piece, now);
                assert_eq!((state.bytes, state.is_within_message), (length as usize + 4, true), "{length}, {piece}");
                fed(&mut state, &whole(0x80), piece, now);
                assert_eq!((state.bytes, state.window), (0, None));
            }
        }
    }

    #[test]
    fn control_frames_give_an_unfinished_message_no_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut state = State::default();
        // The end of one message and the beginning of the next come together.
        fed(&mut state, &[frame(0x82, 3, 3), frame(0x82, 100_000, 10)].concat(), usize::MAX, start);
        for at in 1..30 {
            fed(&mut state, &frame(0x89, 125, 125), usize::MAX, start + second * at);
            assert!(!state.is_late(start + second * at, false), "{at}");
        }
        assert!(state.is_late(start + second * 30, false));
        // A control frame of its own must be finished, too; a finished one leaves nothing behind, with any form of header.
        let mut state = State::default();
        fed(&mut state, &[0x89, 0xfe, 0, 2, 0, 0, 0, 0, 1, 2], 1, start);
        assert_eq!(state.window, None);
        fed(&mut state, &[0x89], 1, start);
        assert!(state.is_late(start + second * 31, false));
    }

    #[test]
    fn each_window_must_bring_its_bytes() {
        let start = Instant::now();
        let window = WINDOW;
        let mut state = State::default();
        // Half of it comes at once: that buys no time for the rest.
        fed(&mut state, &frame(0x82, 32 << 20, 16 << 20), usize::MAX, start);
        assert!(!state.is_late(start + window, false));
        let enough = vec![0; RATE * 30];
        fed(&mut state, &enough, usize::MAX, start + window);
        assert!(!state.is_late(start + window * 2, false));
        fed(&mut state, &enough[1..], usize::MAX, start + window * 2);
        assert!(state.is_late(start + window * 3, false));
        // Where memory is scarce the same is too little.
        fed(&mut state, &enough, usize::MAX, start + window * 3);
        assert!(state.is_late(start + window * 4, true));
        let unfinished = Unfinished(Mutex::new(state));
        let before = ALL.load(Ordering::Relaxed);
        drop(unfinished);
        assert!(ALL.load(Ordering::Relaxed) < before);
    }

    #[test]
    fn a_refused_connection_gives_its_share_back_before_it_lingers() {
        let unfinished = Arc::new(Unfinished::default());
        let counted = Counted::new((), Arc::clone(&unfinished));
        assert!(unfinished.add(&frame(0x82, 100_000, 50_000), Instant::now()));
        assert_eq!(unfinished.state().bytes, 50_004);
        counted.into_inner();
        assert_eq!(unfinished.state().bytes, 0, "others may have it, though this one is still held");
    }
}
