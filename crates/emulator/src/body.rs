//! The body of an HTTP answer, in one piece or in the ways in which a body can go wrong.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// The piece in which a huge body is sent.
const HUGE_PIECE: usize = 64 * 1024;

/// A body.
pub(crate) enum EmulatorBody {
    /// All at once.
    Whole(Option<Bytes>),
    /// In small pieces with pauses.
    Slow { rest: Bytes, chunk_bytes: usize, pause: Duration, sleep: Pin<Box<Sleep>> },
    /// JSON with a string of this many bytes, made as it is sent.
    Huge { started: bool, remaining: u64 },
}

impl EmulatorBody {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole((!bytes.is_empty()).then(|| Bytes::from(bytes)))
    }

    pub(crate) fn slow(bytes: Vec<u8>, chunk_bytes: usize, pause: Duration) -> Self {
        let rest = Bytes::from(bytes);
        Self::Slow { rest, chunk_bytes: chunk_bytes.max(1), pause, sleep: Box::pin(sleep(pause)) }
    }

    pub(crate) fn huge(bytes: u64) -> Self {
        Self::Huge { started: false, remaining: bytes.max(1) }
    }
}

impl Body for EmulatorBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Slow { rest, .. } if rest.is_empty() => Poll::Ready(None),
            Self::Slow { rest, chunk_bytes, pause, sleep: pending } => {
                if pending.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                pending.set(sleep(*pause));
                let piece = rest.split_to(rest.len().min(*chunk_bytes));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Self::Huge { remaining: 0, .. } => Poll::Ready(None),
            Self::Huge { started, remaining } => Poll::Ready(Some(Ok(Frame::data(huge_piece(started, remaining))))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Slow { rest, .. } => SizeHint::with_exact(rest.len() as u64),
            Self::Huge { .. } => SizeHint::default(),
        }
    }
}

fn huge_piece(started: &mut bool, remaining: &mut u64) -> Bytes {
    if !*started {
        *started = true;
        return Bytes::from_static(b"{\"status\":{\"code\":200,\"is_success\":true},\"data\":\"");
    }
    let length = usize::try_from(*remaining).unwrap_or(HUGE_PIECE).min(HUGE_PIECE);
    *remaining -= length as u64;
    let mut piece = vec![b'a'; length];
    if *remaining == 0 {
        piece.extend_from_slice(b"\"}");
    }
    Bytes::from(piece)
}
